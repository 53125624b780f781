# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the inventory's variables for what a host has, into a file on the controller."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_processes
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import (
    DROP_INS,
    names_of,
    place,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _adopt,
    _runner_lists,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._config_action import (
    TOKENS,
    ConfigAction,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import HOST_INFO
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data


class ActionModule(ConfigAction):
    """The task's controller side."""

    def act(self) -> Mapping[str, object]:
        """Returns ``path``, ``vault`` and ``left_out``; a file that differs is not overwritten."""
        args = self._task.args
        self.no_file_on_host(TOKENS)
        info = self.ask(HOST_INFO, {"globs": [DROP_INS]}, self.variables)["info"]
        here = names_of(info["globs"][DROP_INS])
        names = sorted({*here, *args["isolated"]})
        services = [(name, self._config(name)) for name in ("", *names)]
        found = _adopt.adopt(
            services,
            str(args["url"]),
            lambda url, lists: _runner_lists.entries_problems(
                url, lists, allowed=args["environment_allowed"]
            ),
        )
        path = os.path.abspath(os.path.expanduser(str(args["file"])))
        lines = [self._write(path, found.text)]
        if found.vault:
            lines.append(f"put into the vault: {', '.join(found.vault)}")
        lines += [f"left out: {text}" for text in found.left_out]
        return {
            # Of the host nothing.
            "changed": False,
            "path": path,
            "vault": list(found.vault),
            "left_out": found.left_out,
            "msg": lines,
            "_ansible_verbose_always": True,
        }

    def _config(self, name: str) -> Data:
        of = place(name)
        # The host's other daemons are named once, with the main service's runners.
        file = self.io_of(of.folder, of.unit).read(other_runners=not name)
        for text in _runner_processes.warnings(file.other_runners) if not name else []:
            self.warn(text)
        return self.config_of(file, of.folder)

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
                "another folder with -e gitlab_runner_adopt_folder=FOLDER; nothing was written"
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
