# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the tokens of projects, with age and scope; on the controller."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _project_settings
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_steps import today
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._token_report_run import (
    Report,
    TokensApi,
)


class ActionModule(ToolkitAction):
    """The task's controller side, which is all of it."""

    def act(self) -> Mapping[str, object]:
        """Returns the tokens without their values, and what is due."""
        args = self._task.args
        self.refuse(_project_settings.untyped(args))
        settings, problems = _project_settings.settings_of({**args, "purge": False})
        days = int(args["index_token_days"])
        if days < 0:
            problems.append("gitlab_project_index_token_days: invalid value; expected 0 or more")
        self.refuse(problems)
        secrets = frozenset(one.value for place in settings.places for one in place.variables or ())

        def api(variable: str, url: str, token: str) -> TokensApi:
            return TokensApi(
                url, token, args["api_ca_certificate"], args["api_proxy"], variable, secrets
            )

        try:
            own = api("gitlab_project_api_token", settings.url, settings.token)
            report = Report(settings, own, days, today())
            report.run()
            for one in args["access_tokens"]:
                name, token = one["name"], str(one["token"] or "")
                # Which one it is has been told already.
                if token and token != settings.token:
                    report.ask(name, api(name, one["url"].rstrip("/"), token))
        except ApiProblem as problem:
            raise AnsibleActionFail(str(problem)) from None
        findings = report.findings()
        return {
            "changed": False,
            "findings": findings,
            "msg": report.lines(),
            "_ansible_verbose_always": not findings,
        }
