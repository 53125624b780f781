# SPDX-License-Identifier: GPL-3.0-or-later
"""A runner that has stopped asking for jobs though its service runs.

After three failures in a row the daemon leaves a runner alone for an hour
(``unhealthy_requests_limit``, ``unhealthy_interval``; gitlab-runner 19.3,
commands/health_helper.go): a 403, an address that is none, an executor that it does not know. It
says so in its log at the level ``error``, the cause before it, and forgets it when it loads its
file again. That heals a 403 that is over, and nothing else.

Runs on the hosts too: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _drain,
    _runner_cli,
    _secrets,
    _system,
)

COMPLAINT = "is unhealthy and will be disabled"
# What it says of each failure (network/gitlab.go; commands/multi.go).
FORBIDDEN = "Checking for jobs... forbidden"
CAUSES = (FORBIDDEN, "Checking for jobs... client error", "marking Runner as unhealthy")
_SAID = "|".join(re.escape(text) for text in (COMPLAINT, *CAUSES))
# The daemon's own default.
INTERVAL = 3600.0
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_INTERVALS = re.compile(r'^\s*unhealthy_interval\s*=\s*"([^"]*)"', re.M)
# What a runner's short token leaves away (gitlab-runner 19.3, helpers/shorten_token.go).
_PREFIX = re.compile(r"^(?:glrt-|glrtr-)?(?:t\d_)?")


def seconds(duration: Any) -> float:
    """One of Go's durations, the daemon's default for none and for what is none."""
    found = _DURATION.findall(str(duration or ""))
    return sum(float(number) * _UNITS[unit] for number, unit in found) or INTERVAL


def complaints(pid: int, path: str) -> list[tuple[float, str]]:
    """What the daemon has said of runners that it leaves alone, since it loaded its file.

    Args:
        pid: the daemon, 0 for none.
        path: its file.

    Returns:
        The moment of each line, as seconds since 1970, and the line.
    """
    content = _drain.raw(path)
    if content is None or not pid:
        return []
    loaded = os.stat(path).st_mtime
    texts = _INTERVALS.findall(content.decode("utf-8", "replace"))
    longest = max([INTERVAL, *map(seconds, texts)])
    # Only the lines of one process, and of the time that counts: the journal may be large.
    done = _system.run(
        [
            "journalctl",
            "--no-pager",
            "--output=json",
            "--output-fields=MESSAGE",
            f"--since=-{longest:.0f}s",
            f"--grep={_SAID}",
            "--lines=200",
            f"_PID={pid}",
        ]
    )
    return [(moment, text) for moment, text in entries(done.stdout.splitlines()) if moment > loaded]


def entries(lines: Iterable[str]) -> list[tuple[float, str]]:
    """Moment and message of journald's entries (``journalctl -o json``)."""
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
            message = entry["MESSAGE"]
            if isinstance(message, list):
                # journald gives a text with escape codes as numbers.
                message = bytes(message).decode(errors="replace")
            found.append((int(entry["__REALTIME_TIMESTAMP"]) / 1e6, str(message)))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def asleep(
    said: Sequence[Sequence[Any]], runners: Iterable[Mapping[str, Any]], now: float
) -> list[str]:
    """The names of those runners that the daemon leaves alone now.

    Args:
        said: from `complaints`.
        runners: of config.toml.
        now: the host's time.
    """
    return [
        str(runner.get("name"))
        for runner in runners
        if any(COMPLAINT in text for text in _about(said, runner, now))
    ]


def causes(
    said: Sequence[Sequence[Any]], runners: Iterable[Mapping[str, Any]], now: float
) -> dict[str, str]:
    """Why it leaves runners alone, where no 403 was among the failures: by name, in its own words.

    To load the file again would heal none of these.
    """
    found = {}
    for runner in runners:
        texts = _about(said, runner, now)
        other = [text for text in texts if any(cause in text for cause in CAUSES)]
        if other and not any(FORBIDDEN in text for text in texts):
            found[str(runner.get("name"))] = _secrets.redact_text(_runner_cli.plain(other[-1]))
    return found


def _about(said: Sequence[Sequence[Any]], runner: Mapping[str, Any], now: float) -> list[str]:
    """The lines about a runner that still count; each names it by the begin of its token."""
    mark = _PREFIX.sub("", str(runner.get("token", "")))[:6]
    ends = seconds(runner.get("unhealthy_interval"))
    return [
        str(text) for moment, text in said if mark and mark in str(text) and moment + ends > now
    ]


def wake(unit: str, path: str) -> None:
    """Makes the daemon reload its file and forget the health of its runners."""
    with _drain.locked(os.path.dirname(path)):
        # The file's time tells later runs what the daemon said before.
        os.utime(path)
    _drain.reload(unit)
