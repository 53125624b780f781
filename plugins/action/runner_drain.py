# SPDX-License-Identifier: Apache-2.0
"""Drains a host's runner: a pause that can be taken back, then a wait that says for what."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_processes
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import place
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _runner_file,
    _runner_toml,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    LOOK,
    ToolkitAction,
)

MODULE = "runnerhost.toolkit.runner_drain"
# An idle runner shows so within a few seconds.
QUIET_SECONDS = 4
# How often it says what it waits for, in seconds.
SAYS_EVERY = 10
display = Display()


class ActionModule(ToolkitAction):
    """The task's controller side."""

    _own: dict[str, str]
    _waits_for_others = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns ``changed``, ``jobs``, ``waited``; fails at the deadline unless told to go on."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables = task_vars or {}
        _, args = self.validate_argument_spec(
            {
                "state": {"type": "str", "choices": ["drained", "resumed"], "default": "drained"},
                "deadline": {"type": "int", "default": 7200},
                "at_deadline": {
                    "type": "str",
                    "choices": ["give_up", "go_on"],
                    "default": "give_up",
                },
                "lease": {"type": "int", "default": 120},
                "folder": {"type": "str", "default": "/etc/gitlab-runner"},
                "unit": {"type": "str", "default": "gitlab-runner.service"},
                "isolated": {"type": "list", "elements": "str", "default": []},
                "other_runners": {
                    "type": "str",
                    "choices": ["ignore", "wait", "refuse", "refuse_binary"],
                    "default": "ignore",
                },
                "reason": {"type": "str", "default": ""},
            }
        )
        if args["lease"] < 3 * SAYS_EVERY // 2:
            raise AnsibleActionFail(f"lease got {args['lease']}, it takes 15 seconds or more")
        self._lease = args["lease"]
        self._places = [{"folder": args["folder"], "unit": args["unit"]}]
        for name in args["isolated"]:
            of = place(name)
            self._places.append({"folder": of.folder, "unit": of.unit})
        others = args["other_runners"] if args["state"] == "drained" else "ignore"
        self._own = {where["unit"]: f"{where['folder']}/config.toml" for where in self._places}
        self._waits_for_others = others == "wait"
        if others != "ignore":
            warnings = self._other_runners(others, args["reason"], args["at_deadline"])
            if warnings:
                result["warnings"] = warnings
        if self._task.check_mode:
            looks = [self._call(where, "look")["look"] for where in self._places]
            pending = args["state"] == "drained" or any(look["paused"] for look in looks)
            jobs = [job["text"] for look in looks for job in look["jobs"]]
            return {**result, "changed": pending, "jobs": jobs}
        if args["state"] == "resumed":
            answers = self._resume()
            if any(answer["resumed"] == "merged" for answer in answers):
                result["warnings"] = ["a runner was added by hand during the drain; it was kept"]
            return {**result, "changed": any(a["changed"] for a in answers), "jobs": []}
        done = self._drain(args["deadline"], args["at_deadline"])
        warnings = [*result.pop("warnings", []), *done.pop("warnings", [])]
        return {**result, **done, **({"warnings": warnings} if warnings else {})}

    def _other_runners(self, how: str, reason: str, at_deadline: str) -> list[str]:
        """Refuses where a daemon that the toolkit does not manage is in the way; warnings else."""
        look = self.ask(LOOK, {"other_runners_beside": self._own}, self._variables)["look"]
        stands, others = _runner_processes.in_the_way(look["other_runners"]["daemons"], how)
        if how == "wait" and at_deadline == "go_on":
            stands, others = [], [*stands, *others]
        self.refuse(_runner_processes.refusal(stands, reason))
        return _runner_processes.warnings({**look["other_runners"], "daemons": others})

    def _drain(self, deadline: int, at_deadline: str) -> dict[str, Any]:
        start = time.monotonic()
        # All of them before any wait: none takes a job while another one ends its own.
        began = [self._pause(where) for where in self._places]
        changed = "paused" in began
        patience = QUIET_SECONDS
        while True:
            # Other daemons are the host's: one look at them is enough.
            looks = [
                self._call(where, "look", patience=patience, lease=self._lease, **more)["look"]
                for where, more in zip(self._places, self._looks_at_others(), strict=True)
            ]
            waited = int(time.monotonic() - start)
            jobs = [job["text"] for look in looks for job in look["jobs"]] + [
                one["text"]
                for look in looks
                for one in look.get("others", [])
                if one["activity"] != "idle"
            ]
            # Its host, a disk with room again or another controller may have taken a pause back:
            # what such a runner is seen to do counts for nothing.
            lost = [
                where
                for where, look, was in zip(self._places, looks, began, strict=True)
                if was != "nothing" and not look["paused"]
            ]
            for where in lost:
                self._pause(where)
            if not lost and all(look["idle"] for look in looks):
                return {"changed": changed, "jobs": [], "waited": waited}
            named = "; ".join(jobs) or (
                "a runner whose pause was taken back by something else: paused again"
                if lost
                else "a job that the log does not name"
            )
            then = "gives up" if at_deadline == "give_up" else "goes on"
            name = self._variables.get("inventory_hostname", "host")
            left = max(0, deadline - waited)
            display.display(f"[{name}] waits for {named}; {then} in {left} s")
            if waited >= deadline:
                break
            # Long enough for each to be seen idle, however many there are.
            patience = max(QUIET_SECONDS, min(SAYS_EVERY, deadline - waited) // len(self._places))
        if at_deadline == "go_on":
            return {
                "changed": changed,
                "jobs": jobs,
                "waited": waited,
                "warnings": [f"goes on after {waited} s though these run: {named}"],
            }
        self._resume()
        raise AnsibleActionFail(
            f"gave up after {waited} s, all is as it was: still running: {named}. "
            "A longer deadline, or at_deadline=go_on"
        )

    def _looks_at_others(self) -> list[dict[str, Any]]:
        first = {"own": self._own} if self._waits_for_others else {}
        return [first, *({} for _ in self._places[1:])]

    def _resume(self) -> list[dict[str, Any]]:
        """Takes the pause of each back, of all even if one of them cannot be."""
        answers, failed = [], []
        for where in self._places:
            try:
                answers.append(self._call(where, "resume"))
            except AnsibleActionFail as problem:
                failed.append(problem)
        if failed:
            raise failed[0]
        return answers

    def _pause(self, where: dict[str, str]) -> str:
        """``paused``; ``joined`` where it was so already; ``nothing`` without a config.toml."""
        for _ in range(_runner_file.TRIES):
            if self._call(where, "look", patience=0, lease=self._lease)["look"]["paused"]:
                # Another controller's drain, or our own that was cut off: the look renewed it.
                return "joined"
            with self.quiet():
                read = self.ask(
                    _runner_file.IO, {"op": "read", "folder": where["folder"]}, self._variables
                )["read"]
                if not read["exists"]:
                    return "nothing"
                try:
                    text = _runner_file.without_runners(
                        _runner_toml.parse(_runner_file.decode(read["text"]))
                    )
                except _runner_toml.TomlError as error:
                    raise AnsibleActionFail(
                        f"config.toml on the host is no valid TOML ({error}): mend it first"
                    ) from None
                answer = self.ask(
                    MODULE,
                    {
                        "op": "pause",
                        **where,
                        "expected": read["sha256"],
                        "text": _runner_file.encode(text),
                        "lease": self._lease,
                    },
                    self._variables,
                )
            if answer["paused"]:
                return "paused"
        raise AnsibleActionFail(
            f"config.toml was changed by something else at {_runner_file.TRIES} tries"
        )

    def _call(self, where: dict[str, str], op: str, **more: Any) -> dict[str, Any]:
        return self.ask(MODULE, {"op": op, **where, **more}, self._variables)
