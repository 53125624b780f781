# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares what indexes are told of projects with the claims of real jobs; on the controller."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _pipeline_settings,
    _preflight,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._preflight_run import (
    Preflight,
    PreflightApi,
)


class ActionModule(ToolkitAction):
    """The task's controller side, which is all of it."""

    def act(self) -> Mapping[str, object]:
        """Returns what to tell the indexes, and what does not agree."""
        args = self._task.args
        inputs = _pipeline_settings.Template().inputs
        wanted, problems = _pipeline_settings.wanted_of(args, inputs)
        url, token = str(args["url"]).rstrip("/"), str(args["api_token"])
        problems += _pipeline_settings.missing(args, "projects are compared")
        own = [given for one in wanted if one.project for given in one.packages]
        if url and any(map(_preflight.uses, own)):
            said = _preflight.issuer_problem(url, bool(args["issuer_onboarded"]))
            problems += [said] if said else []
        self.refuse_here(problems)
        try:
            api = PreflightApi(
                url, token, args["api_ca_certificate"], args["api_proxy"],
                variable="release_pipeline_api_token",
            )  # fmt: skip
            run = Preflight(api, wanted, inputs, bool(args["start"]) and not self._task.check_mode)
            run.run()
        except ApiProblem as problem:
            raise AnsibleActionFail(str(problem)) from None
        return {
            "changed": False,
            "problems": run.problems,
            "warnings": run.warnings,
            "msg": run.lines,
            "_ansible_verbose_always": not run.problems,
        }
