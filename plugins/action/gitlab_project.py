# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets CI/CD variables, protected refs and access of projects in GitLab; on the controller."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _project_settings
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_access import AccessApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_sync import Refused, Sync

WOULD = "check mode, nothing was changed; a run would have these results:"


class ActionModule(ToolkitAction):
    """The task's controller side, which is all of it."""

    def act(self) -> Mapping[str, object]:
        """Returns what was done, and what GitLab has refused."""
        args = self._task.args
        self.refuse(_project_settings.untyped(args))
        settings, problems = _project_settings.settings_of(args)
        self.refuse_here(problems)
        if args["index_tokens_only"]:
            settings = _project_settings.with_index_tokens_only(settings)
        try:
            api = AccessApi(
                settings.url,
                settings.token,
                args["api_ca_certificate"],
                args["api_proxy"],
                variable="gitlab_project_api_token",
                secrets=frozenset(
                    one.value for place in settings.places for one in place.variables or ()
                ),
            )
            sync = Sync(settings, api, bool(self._task.check_mode))
            sync.run()
        except Refused as refused:
            self.refuse(refused.problems)
        except ApiProblem as problem:
            raise AnsibleActionFail(str(problem)) from None
        return {
            "changed": sync.changed,
            "diff": sync.diff,
            "failures": sync.failed,
            "warnings": sync.warnings,
            "msg": [WOULD, *sync.lines] if sync.check and sync.changed else sync.lines,
            "_ansible_verbose_always": not sync.failed,
        }
