# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner's own command line, as the modules on a host call it.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets, _system
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import BINARY

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LEVEL = re.compile(r"^(?:(?:TRACE|DEBUG|INFO|WARNING|ERROR|FATAL|PANIC): ?)+")


def plain(text: str) -> str:
    """The runner's own words without colours, the level in front, and padding; a line stays one.

    Of a line in JSON its message, and what belongs to it.
    """
    lines = []
    for line in _COLOUR.sub("", text).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            line = " ".join(str(entry[key]) for key in ("msg", "status", "error") if entry.get(key))
        lines.append(" ".join(_LEVEL.sub("", line.strip()).split()))
    return "\n".join(line for line in lines if line)


def verify(
    path: str,
    names: Iterable[str],
    environment: Mapping[str, str],
    reasons: dict[str, str] | None = None,
) -> dict[str, str]:
    """GitLab's answers about runners, by name: ``valid``, ``refused`` or ``unanswered``.

    `verify`'s exit code alone does not tell: it is 0 when GitLab is down.

    Args:
        path: config.toml.
        names: the runners.
        environment: the environment that leads to GitLab.
        reasons: gets, by name, why there is no answer.
    """
    answers = {}
    for name in names:
        done = _system.run(
            [
                BINARY,
                "--log-format",
                "json",
                "verify",
                "--config",
                path,
                "--name",
                name,
            ],
            timeout=60,
            env=environment,
        )
        said = done.stderr + done.stdout
        if done.returncode == 0 and ("is valid" in said or "is alive" in said):
            answers[name] = "valid"
        elif "is not valid" in said or "is removed" in said:
            answers[name] = "refused"
        else:
            answers[name] = "unanswered"
            if reasons is not None:
                reasons[name] = reason(done.stderr)
    return answers


def unanswered(why: str) -> str:
    """The message about a missing answer of GitLab, with the reason.

    Args:
        why: the runner's own words; a status of HTTP among them was an answer.
    """
    status = re.search(r"(?<![\w.:/])([345]\d\d)(?= [A-Z]|$)", why)
    if not status and "should return application/json" not in why.lower():
        return f"GitLab gave no answer: {why}" if why else "GitLab gave no answer"
    hint = ""
    if not status or status[1] == "404":
        hint = "; is the address that of a GitLab, and nothing behind it?"
    return f"GitLab answered with an error: {why}{hint}"


def reason(log: str) -> str:
    """The cause that the runner's log (in JSON) names last, in its own words, without a secret."""
    said = ""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("warning", "error", "fatal", "panic"):
            said = str(entry.get("status") or entry.get("error") or entry.get("msg") or said)
    return _secrets.redact_text(plain(said))
