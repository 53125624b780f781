# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of a lab's parts."""

from __future__ import annotations

import json
from typing import Any

from lab import hosts
from lab.engine import Engine
from lab.places import HEALTH_PATH, Lab
from lab.platforms import PLATFORMS
from lab.run import LabError

HOST_LINES = 200
BODY_LENGTH = 200


def show(lab: Lab, of: str) -> None:
    """Print the log of `of`: "gitlab", "mirror" or a host's journal."""
    if of == "gitlab":
        log = lab.state / "gitlab" / "requests.jsonl"
        if not log.exists():
            raise LabError(f"lab {lab.name} has no GitLab log (python -m lab up)")
        for line in log.read_text().splitlines():
            print(request_line(json.loads(line)))
    elif of == "mirror":
        if not lab.service_log.exists():
            raise LabError(f"lab {lab.name} has no service log (python -m lab up)")
        for line in lab.service_log.read_text(errors="replace").splitlines():
            if HEALTH_PATH not in line:
                print(line)
    else:
        engine = Engine()
        if of not in PLATFORMS or hosts.find(engine, lab, PLATFORMS[of]) is None:
            raise LabError(f"no log of {of!r}: gitlab, mirror or a host that is up")
        done = engine.exec(
            lab.container(of), "journalctl", "--no-pager", "--lines", str(HOST_LINES)
        )
        print(done.stdout, end="")


def request_line(entry: dict[str, Any]) -> str:
    """A request of GitLab's log in one line."""
    fields = ("seq", "method", "path", "status")
    known = " ".join(str(entry.get(field, "-")) for field in fields)
    body = entry.get("request_body") or entry.get("body")
    return f"{known} {json.dumps(body)[:BODY_LENGTH]}" if body else known
