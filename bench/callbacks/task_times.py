# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes how long each task took, and what it changed, to the file that BENCH_TASK_TIMES names."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_times
type: aggregate
short_description: Times of tasks, for `python -m bench`
description:
  - From a task's start to the next task's, on the controller's clock.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Notes each task's start; the end of one is the start of the next."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.times: list[dict[str, Any]] = []
        self.running: tuple[str, float] | None = None
        self.changed = False

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """A task begins, so the one before has ended."""
        self._end()
        self.running = (task.get_name(), time.monotonic())

    def v2_runner_on_ok(self, result: Any) -> None:
        """A host is through with the task."""
        self.changed = self.changed or result.is_changed()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The play is over."""
        self._end()
        with open(os.environ["BENCH_TASK_TIMES"], "w", encoding="utf-8") as stream:
            json.dump(self.times, stream)

    def _end(self) -> None:
        if self.running:
            name, start = self.running
            seconds = time.monotonic() - start
            self.times.append({"task": name, "seconds": seconds, "changed": self.changed})
        self.running = None
        self.changed = False
