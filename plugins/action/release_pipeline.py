# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushes the CI/CD component to GitLab and writes the pipelines of projects; on the controller."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _pipeline_warnings
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import Projects
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_settings import (
    Settings,
    Template,
    settings_of,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_sync import (
    Missing,
    Sync,
)

PYTHONS = "python_versions_wanted"


class ActionModule(ToolkitAction):
    """The task's controller side, which is all of it."""

    def act(self) -> Mapping[str, object]:
        """Returns what was done and what was refused."""
        template = Template()
        settings, problems = settings_of(self._task.args, template.inputs)
        name = "release_pipeline_projects"
        if not self._task.args["projects"] and not any(one.startswith(name) for one in problems):
            # Without projects only the component is written: nobody wants that who has set some.
            problems += [one for one in self.set_elsewhere([f"{name}: empty"]) if "; " in one]
        self.refuse_here(problems)
        try:
            api = self._api(settings) if settings.needs_gitlab else None
            sync = Sync(settings, template, api, bool(self._task.check_mode))
            sync.run()
        except Missing as missing:
            self.refuse(missing.problems)
        except ApiProblem as problem:
            raise AnsibleActionFail(str(problem)) from None
        sync.warnings += _pipeline_warnings.same_runners(settings.wanted)
        sync.warnings += _pipeline_warnings.other_gitlabs(
            settings.url, {"gitlab_project_url": self._text("gitlab_project_url")}
        )
        if settings.has_component:
            sync.warnings += _pipeline_warnings.private_component(
                settings.component, settings.visibility, settings.wanted
            )
        sync.warnings += _pipeline_warnings.pythons(settings.wanted, self._pythons())
        return {
            "changed": sync.changed,
            "diff": sync.diff,
            "commit": sync.commit,
            "refused": sync.refused,
            **({"warnings": sync.warnings} if sync.warnings else {}),
            "msg": sync.lines,
            # The role's next task shows both where something was refused.
            "_ansible_verbose_always": not sync.refused,
        }

    def _text(self, name: str) -> str:
        """A variable of the inventory; empty where it is not set."""
        try:
            return str(self._templar.template(self.variables.get(name)) or "")
        except Exception:
            # The playbook that uses it tells why.
            return ""

    def _pythons(self) -> set[str]:
        """Those of the hosts of the inventory that this repository's playbooks provision."""
        hosts = self.variables.get("hostvars") or {}
        names = (self.variables.get("groups") or {}).get("runner_hosts") or []
        found: set[str] = set()
        for name in names:
            try:
                listed = self._templar.template(hosts[name][PYTHONS])
            except Exception:
                # Not set, or set by what only a run on the host knows.
                return set()
            found |= {str(one) for one in listed or ()}
        return found

    def _api(self, settings: Settings) -> Projects:
        args = self._task.args
        return Projects(
            settings.url, settings.token, args["api_ca_certificate"], args["api_proxy"],
            variable="release_pipeline_api_token",
        )  # fmt: skip
