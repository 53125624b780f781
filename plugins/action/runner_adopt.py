# SPDX-License-Identifier: Apache-2.0
"""Writes the inventory's variables for what a host has, into a file on the controller."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_processes
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import place
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _adopt,
    _isolated,
    _runner_file,
    _runner_lists,
    _runner_toml,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    LOOK,
    ToolkitAction,
)


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns ``path``, ``vault`` and ``left_out``; a file that differs is not overwritten."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        args = self._task.args
        self.no_file_on_host("the runners' tokens")
        look = self.ask(LOOK, {"globs": [_isolated.HERE]}, variables)["look"]
        here = _isolated.names_of(look["globs"][_isolated.HERE])
        names = sorted({*here, *map(str, args.get("isolated") or [])})
        services = [(name, self._config(name, variables)) for name in ("", *names)]
        allowed = [str(name) for name in args.get("environment_allowed") or []]
        found = _adopt.adopt(
            services,
            str(args["url"]),
            lambda url, lists: _runner_lists.entries_problems(url, lists, allowed=allowed),
        )
        path = os.path.abspath(os.path.expanduser(str(args["file"])))
        said = self._write(path, found.text)
        lines = [said]
        if found.vault:
            lines.append(f"put into the vault: {', '.join(found.vault)}")
        lines += [f"left out: {text}" for text in found.left_out]
        return {
            **result,
            # Of the host nothing.
            "changed": False,
            "path": path,
            "vault": list(found.vault),
            "left_out": found.left_out,
            "msg": lines,
            "_ansible_verbose_always": True,
        }

    def _config(self, name: str, variables: dict[str, Any]) -> _runner_toml.Data:
        of = place(name)
        with self.quiet():
            # The host's other daemons are named once, with the main service's runners.
            where = {"folder": of.folder, "unit": of.unit, "other_runners": not name}
            read = self.ask(_runner_file.IO, {"op": "read", **where}, variables)["read"]
        for text in _runner_processes.warnings(read["other_runners"]) if not name else []:
            self.warn(text)
        try:
            return _runner_toml.parse(_runner_file.decode(read["text"]))
        except _runner_toml.TomlError as error:
            raise AnsibleActionFail(
                f"{of.folder}/config.toml on the host is no valid TOML ({error}): mend it first"
            ) from None

    def _write(self, path: str, text: str) -> str:
        try:
            with open(path, encoding="utf-8") as stream:
                before: str | None = stream.read()
        except FileNotFoundError:
            before = None
        except (OSError, ValueError) as error:
            raise AnsibleActionFail(f"{path}: cannot be read: {error}") from None
        if before == text:
            return f"{path} says what the host has"
        if before is not None:
            raise AnsibleActionFail(
                f"{path} exists and differs from what the host has: rename or remove it, or name "
                "another folder with -e adopt_folder=FOLDER; nothing was written"
            )
        if self._task.check_mode:
            return f"would write {path}"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(
                os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
            ) as stream:
                stream.write(text)
        except OSError as error:
            raise AnsibleActionFail(f"{path}: cannot be written: {error}") from None
        return f"wrote {path}"
