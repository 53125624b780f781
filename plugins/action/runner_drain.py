# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drains a host's runner: a pause that can be taken back, then a wait that says for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_processes
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import place
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._config_action import ConfigAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import HOST_INFO
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_drain import (
    SAYS_EVERY,
    Drain,
    Status,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_file import (
    TRIES,
    HostFile,
    encode,
    without_runners,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data

MODULE = "runnerhost.toolkit.runner_drain_io"
# Between two calls the controller may say what it waits for, and be late.
LEAST_LEASE = 3 * SAYS_EVERY // 2


class ActionModule(ConfigAction):
    """The task's controller side."""

    def act(self) -> Mapping[str, object]:
        """Drains or resumes; fails at the deadline unless told to go on."""
        args = self._task.args
        if args["lease"] < LEAST_LEASE:
            self.refuse(
                [f"lease: invalid value {args['lease']}; expected {LEAST_LEASE} seconds or more"]
            )
        drained = args["state"] == "drained"
        others = args["other_runners"] if drained else "ignore"
        places = [(of.folder, of.unit) for of in map(place, args["services"])]
        files = {unit: f"{folder}/config.toml" for folder, unit in places}
        warnings = self._other_runners(others, files) if others != "ignore" else []
        services = [_Service(self, folder, unit, args["lease"]) for folder, unit in places]
        if others == "wait" and not self._task.check_mode:
            # Other daemons are the host's: with one of its services they are asked about.
            services[0].beside = files
        drain = Drain(services, self._say)
        result: dict[str, object]
        if self._task.check_mode:
            seen = [service.status(0) for service in services]
            result = {
                "changed": drained or any(one.paused for one in seen),
                "jobs": [job for one in seen for job in one.jobs],
            }
        elif drained:
            done = drain.run(args["deadline"], go_on=args["at_deadline"] == "go_on")
            warnings += done.warnings
            result = {"changed": done.changed, "jobs": done.jobs, "waited": done.waited}
        else:
            answers = drain.resume()
            if "merged" in answers:
                warnings.append("a runner was added by hand during the drain; it was kept")
            result = {"changed": any(one != "nothing" for one in answers), "jobs": []}
        return {**result, "warnings": warnings} if warnings else result

    def _other_runners(self, how: str, files: dict[str, str]) -> list[str]:
        """Refuses where a daemon that the toolkit does not manage is in the way; else warnings."""
        args = self._task.args
        answer = self.ask(HOST_INFO, {"other_runners_beside": files}, self.variables)
        found: _runner_processes.Report = answer["info"]["other_runners"]
        in_the_way, others = _runner_processes.in_the_way(found["daemons"], how)
        if how == "wait" and args["at_deadline"] == "go_on":
            in_the_way, others = [], [*in_the_way, *others]
        self.refuse(_runner_processes.refusal(in_the_way, args["reason"]))
        return _runner_processes.warnings({"daemons": others, "stopped": found["stopped"]})

    def _say(self, text: str) -> None:
        Display().display(f"[{self.variables.get('inventory_hostname', 'host')}] {text}")


@dataclass
class _Service:
    """One service on the host."""

    action: ActionModule
    folder: str
    unit: str
    lease: int
    beside: dict[str, str] | None = None

    def pause(self) -> str:
        """Puts config.toml without its runners in its place; see `Daemon`."""
        for __ in range(TRIES):
            if self.status(0).paused:
                # Another controller's drain, or our own that was cut off: the question renewed it.
                return "joined"
            file = self.action.io_of(self.folder, self.unit).read()
            if not file.exists:
                return "nothing"
            if self._swap(file, self.action.config_of(file, self.folder)):
                return "paused"
        raise AnsibleActionFail(
            f"config.toml was changed by something else at each of {TRIES} tries; find what "
            "writes it, and run again"
        )

    def _swap(self, file: HostFile, config: Data) -> bool:
        arguments = {
            "op": "pause",
            "expected": file.sha256,
            "text": encode(without_runners(config)),
            "lease": self.lease,
        }
        return bool(self.action.ask_quietly(MODULE, arguments, self.folder, self.unit)["paused"])

    def status(self, patience: int) -> Status:
        """What it does, by one call that renews the pause; see `Daemon`."""
        more = {"beside": self.beside} if self.beside is not None else {}
        answer = self._ask({"op": "status", "patience": patience, "lease": self.lease, **more})
        return Status.from_answer(answer["status"])

    def resume(self) -> str:
        """Takes the pause back; see `Daemon`."""
        return str(self._ask({"op": "resume"})["resumed"])

    def _ask(self, arguments: Mapping[str, object]) -> Mapping[str, Any]:
        where = {"folder": self.folder, "unit": self.unit}
        return self.action.ask(MODULE, {**arguments, **where}, self.action.variables)
