# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the templates of a set of files and hands the whole set to the module in one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _templates
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import ROOT
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction

MODULE = "runnerhost.toolkit.file_set"


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def act(self) -> Mapping[str, object]:
        """Runs the module; the result is the module's own, with a message that names the paths."""
        result: dict[str, Any] = {}
        variables = self.variables
        files: list[dict[str, Any]] = []
        secrets: dict[str, str] = {}
        for item in self._task.args["files"]:
            name, own = item.pop("template"), item.pop("vars")
            if name:
                item["content"] = self._render(name, {**variables, **own})
            if item["secret"]:
                secrets[item["path"]] = item.pop("content") or ""
            files.append(item)
        answer = self._execute_module(
            module_name=MODULE,
            module_args={
                "files": files,
                "_secrets": secrets,
                "commands": self._task.args["commands"],
            },
            task_vars=variables,
        )
        result.update(answer)
        result.pop("invocation", None)
        if result.get("changed"):
            verb = "would change" if self._task.check_mode else "changed"
            result["msg"] = f"{verb}: {', '.join(result['changed_paths'])}"
        if result.get("duplicates"):
            done = "would be" if self._task.check_mode else "is"
            result["warnings"] = [
                f"{path} {done} removed: its only active entries are for the repository"
                if path in result.get("removed_duplicates", [])
                else f"another entry for the repository {done} disabled in {path}"
                for path in result["duplicates"]
            ]
        return result

    def _render(self, name: str, variables: Mapping[str, Any]) -> str:
        """A template of the role."""
        role = self._task.args["templates_of"]
        folder = ROOT / "roles" / role / "templates"
        try:
            path = folder / name if role else Path(self._find_needle("templates", name))
        except AnsibleError as error:
            raise AnsibleActionFail(f"{name}: {error}") from error
        return _templates.rendered(path, self._loader, self._templar, variables)
