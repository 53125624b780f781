# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the files of indexes with tags and pipelines; on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _pipeline_settings
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._doctor_api import DoctorApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._watch import Watch


class ActionModule(ToolkitAction):
    """The task's controller side, which is all of it."""

    def act(self) -> Mapping[str, object]:
        """Returns what was compared, and what nobody has released."""
        args = self._task.args
        inputs = _pipeline_settings.Template().inputs
        wanted, problems = _pipeline_settings.wanted_of(args, inputs)
        url, token = str(args["url"]).rstrip("/"), str(args["api_token"])
        problems += _pipeline_settings.missing(args, "tags and pipelines are read")
        if int(args["days"]) < 1:
            problems.append(
                f"{_pipeline_settings.ROLE}_watch_days: invalid value; expected 1 or more"
            )
        self.refuse_here(problems)
        try:
            api = DoctorApi(
                url, token, args["api_ca_certificate"], args["api_proxy"],
                variable=f"{_pipeline_settings.ROLE}_api_token",
            )  # fmt: skip
            watch = Watch(
                api, wanted, inputs, int(args["days"]), datetime.now(timezone.utc),
                # GitLab docs, "PyPI packages in the package registry": any name will do.
                ("runnerhost", token), args["api_ca_certificate"] or True,
            )  # fmt: skip
            watch.run()
        except ApiProblem as problem:
            raise AnsibleActionFail(str(problem)) from None
        return {
            "changed": False,
            "findings": watch.findings,
            "problems": watch.problems,
            "msg": watch.lines,
            "_ansible_verbose_always": not (watch.findings or watch.problems),
        }
