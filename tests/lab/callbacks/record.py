# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints a run as one JSON document: its tasks, when each began and ended, each host's result."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: stdout
short_description: A run as JSON, for the lab's tests
description:
  - The part of ansible.posix.json's format that the tests read.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Collects results and prints them when the run is over."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "record"

    def __init__(self) -> None:
        super().__init__()
        self.plays: list[dict[str, Any]] = []

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A play begins."""
        self.plays.append({"play": {"name": play.get_name()}, "tasks": []})

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """A task begins."""
        told = {"name": task.get_name(), "duration": {"start": _now(), "end": _now()}}
        self.plays[-1]["tasks"].append({"task": told, "hosts": {}})

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """A handler begins."""
        self.v2_playbook_on_task_start(task, False)

    def _result(self, result: Any) -> None:
        task = self.plays[-1]["tasks"][-1]
        told = {**self._clean(result), "action": result._task.action}
        task["hosts"][result._host.get_name()] = told
        task["task"]["duration"]["end"] = _now()

    def _clean(self, result: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._dump_results(result._result))
        return found

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A host's task failed."""
        self._result(result)

    v2_runner_on_ok = v2_runner_on_skipped = v2_runner_on_unreachable = _result

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The run is over."""
        hosts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        self._display.display(json.dumps({"plays": self.plays, "stats": hosts}, indent=1))


def _now() -> str:
    return datetime.now(UTC).isoformat()
