# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs other programs, with helpful messages about failures."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

QUICK = 60.0
"""Seconds that an ordinary command may take."""


class LabError(RuntimeError):
    """Something that the user can act on; its text is printed without a traceback."""


def run(
    command: Sequence[str],
    *,
    stdin: str | bytes | None = None,
    timeout: float = QUICK,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    log: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `command` and return its output (text; stdout and stderr separately).

    With `log`, stdout and stderr go to that file instead (for long steps).
    Raises LabError if the program is missing, fails (unless `check` is
    false) or takes longer than `timeout` seconds.
    """
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        if log is None:
            done = subprocess.run(
                command, input=data, capture_output=True, timeout=timeout, env=env, cwd=cwd
            )
        else:
            with log.open("ab") as sink:
                done = subprocess.run(
                    command, input=data, stdout=sink, stderr=subprocess.STDOUT,
                    timeout=timeout, env=env, cwd=cwd,
                )  # fmt: skip
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise LabError(f"no such directory: {cwd}") from error
        raise LabError(f"{command[0]}: not installed (see `python -m lab doctor`)") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{_shown(command)}: took longer than {timeout:.0f} s") from error
    result = subprocess.CompletedProcess(
        list(command),
        done.returncode,
        (done.stdout or b"").decode(errors="replace"),
        (done.stderr or b"").decode(errors="replace"),
    )
    if check and result.returncode != 0:
        said = (result.stderr or result.stdout).strip()
        if log is not None:
            said = _tail(log)
        raise LabError(f"{_shown(command)}: exit {result.returncode}\n{said}".rstrip())
    return result


def until(
    condition: Callable[[], bool], *, timeout: float, what: str, interval: float = 0.1
) -> None:
    """Return as soon as `condition` is true; LabError after `timeout` seconds.

    For states without a notification; `what` completes "waited N s for …".
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout:.0f} s for {what}")
        time.sleep(interval)


def _shown(command: Sequence[str]) -> str:
    words = " ".join(command)
    return words if len(words) <= 120 else words[:117] + "..."


def _tail(log: Path, lines: int = 25) -> str:
    text = log.read_text(errors="replace").splitlines()
    return "\n".join([*text[-lines:], f"(all of it: {log})"])
