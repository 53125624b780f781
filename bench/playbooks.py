# SPDX-License-Identifier: GPL-3.0-or-later
"""Running playbooks against the bench's host, with the wall clock beside them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.places import CHECKOUT, Lab
from lab.run import LabError

CALLBACKS = Path(__file__).parent / "callbacks"
FACTS = "bench/facts.yml"
SITE = "playbooks/site.yml"
IMAGE = "playbooks/image.yml"
VERIFY = "playbooks/verify.yml"
TIMEOUT = 900.0
"""Seconds that one playbook may take."""

# What ansible-core 2.19 says at -vvv for every module that it sends to a host
# (plugins/action/__init__.py), whichever task or action plugin asked for it.
_MODULE = re.compile(r"^(?:<[^>]*> )?Using module file .*/(\S+)\.py$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One run of a playbook."""

    seconds: float
    changed: tuple[str, ...] = ()
    """Names of the tasks that changed something."""
    tasks: tuple[tuple[str, float], ...] = ()
    """Name and seconds, in order."""
    modules: tuple[str, ...] = ()
    """Modules sent to the host, in order; only of a verbose run."""


@dataclass(frozen=True)
class Host:
    """A host of the bench's lab, and how it is set up."""

    lab: Lab
    platform: str
    """The host's name in the inventory; the lab's other hosts are left alone."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables beside the inventory's. They may refer to secrets, and hold none."""

    def play(self, playbook: str, *, verbose: bool = False) -> Run:
        """Run one playbook; LabError where it fails."""
        with tempfile.TemporaryDirectory(prefix="runnerhost-bench-") as folder:
            extra, times = Path(folder) / "vars.json", Path(folder) / "times.json"
            extra.write_text(json.dumps(self.variables))
            command = [
                str(Path(sys.executable).with_name("ansible-playbook")),
                "-i", str(self.lab.inventory.parent), "--limit", self.platform,
                "-e", f"@{extra}", playbook,
                *(["-vvv"] if verbose else []),
            ]  # fmt: skip
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
            environment = {
                **os.environ,
                "PATH": path,
                "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
                "ANSIBLE_CALLBACKS_ENABLED": "task_times",
                "ANSIBLE_FORCE_COLOR": "0",
                "BENCH_TASK_TIMES": str(times),
            }
            start = time.monotonic()
            try:
                done = subprocess.run(
                    command, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL,
                    capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise LabError(f"{playbook}: not done after {TIMEOUT:.0f} s") from error
            seconds = time.monotonic() - start
            if done.returncode:
                # Not the output of a verbose run, which is thousands of lines.
                tail = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
                raise LabError(f"{playbook}: exit {done.returncode}\n{tail}")
            changed, tasks = read_times(times)
            if not tasks:
                raise LabError(f"{playbook}: no task ran; does the inventory name {self.platform}?")
            return Run(seconds, changed, tasks, modules_of(done.stdout))


def modules_of(output: str) -> tuple[str, ...]:
    """The modules that a verbose run sent to the host, by file name."""
    return tuple(_MODULE.findall(output))


def read_times(path: Path) -> tuple[tuple[str, ...], tuple[tuple[str, float], ...]]:
    """What the callback wrote: the tasks that changed something, and every task's seconds."""
    if not path.exists():
        raise LabError("the callback bench/callbacks/task_times.py wrote nothing")
    entries = json.loads(path.read_text())
    return (
        tuple(entry["task"] for entry in entries if entry["changed"]),
        tuple((entry["task"], entry["seconds"]) for entry in entries),
    )


def slowest(runs: Sequence[Run], count: int) -> list[tuple[str, float]]:
    """The tasks that cost most over several runs: name and median seconds."""
    seen: dict[str, list[float]] = {}
    for run in runs:
        for name, seconds in run.tasks:
            seen.setdefault(name, []).append(seconds)
    medians = [(name, sorted(values)[len(values) // 2]) for name, values in seen.items()]
    return sorted(medians, key=lambda item: -item[1])[:count]
