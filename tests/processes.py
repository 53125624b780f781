# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes found by a mark in their environment, which all that they start inherit."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def marked(mark: str) -> list[int]:
    """The living processes that have a mark, ``NAME=value``, in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def kill_marked(mark: str) -> None:
    """SIGKILL to all of them, those that they start meanwhile too.

    Not by the process group: Ansible's forks have sessions of their own, and would go on.
    """
    while pids := marked(mark):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
