# SPDX-License-Identifier: GPL-3.0-or-later
"""Base of the action plugins that work on a service's config.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _runner_toml
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    HOST_INFO,
    ToolkitAction,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_file import (
    IO,
    READ,
    ConfigIO,
    HostFile,
    gitlab_environment,
    invalid_toml,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data

TOKENS = "the runners' tokens"


class ConfigAction(ToolkitAction):
    """An action that has its own calls and those of `runner_config_io` sent to the host."""

    def ask_quietly(
        self, module: str, arguments: Mapping[str, Any], folder: str, unit: str
    ) -> Mapping[str, Any]:
        """A module's answer about one service; tokens may be in it."""
        with self.quiet():
            if arguments.get("op") == READ:
                return self._read(folder, unit, bool(arguments.get("other_runners")))
            return self.ask(module, {**arguments, "folder": folder, "unit": unit}, self.variables)

    def _read(self, folder: str, unit: str, other_runners: bool) -> Mapping[str, Any]:
        """The service's file, by the module that the run has built and sent before."""
        asked = {
            "runner_config": {"folder": folder, "unit": unit},
            "other_runners": other_runners,
        }
        info = self.ask(HOST_INFO, asked, self.variables)["info"]
        others = {"other_runners": info["other_runners"]} if other_runners else {}
        return {"read": {**info["runner_config"], **others}}

    def environment(self) -> dict[str, str]:
        """How the host reaches GitLab, as the task's service does."""
        ours = self.network(self.variables).environment()
        return gitlab_environment(ours, self._task.args.get("environment") or {})

    def ask_host(self, arguments: Mapping[str, Any], module: str = IO) -> Mapping[str, Any]:
        """A module's answer about the task's service, which may ask GitLab for it."""
        args = self._task.args
        with self.quiet():
            environment = self.environment()
        return self.ask_quietly(
            module, {**arguments, "environment": environment}, args["folder"], args["unit"]
        )

    def io(self) -> ConfigIO:
        """The task's service on the host."""
        return ConfigIO(self.ask_host)

    def io_of(self, folder: str, unit: str) -> ConfigIO:
        """Another service of the host, only to read."""
        return ConfigIO(lambda arguments: self.ask_quietly(IO, arguments, folder, unit))

    @staticmethod
    def config_of(file: HostFile, folder: str) -> Data:
        """A file's data; ends the task if it is not TOML."""
        try:
            return file.config()
        except _runner_toml.TomlError as error:
            raise AnsibleActionFail(invalid_toml(folder, error)) from None
