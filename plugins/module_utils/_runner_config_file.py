# SPDX-License-Identifier: GPL-3.0-or-later
"""A service's config.toml and state file as they go to the controller, for a merge.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import os
import time
from typing import TypedDict

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _drain,
    _files,
    _runner_health,
    _systemd,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._full_disk import PAUSED_TEXT

STATE_FILE = "runnerhost.json"


class Read(TypedDict, total=False):
    """Everything that the controller needs for a merge; texts are hex."""

    exists: bool
    text: str
    sha256: str
    state_text: str
    safe: bool
    paused_sha256: str
    system_id: str
    now: float
    active: bool
    pid: int
    complaints: list[tuple[float, str]]


def encode(text: str) -> str:
    """Text for the way back: hex, since Ansible cuts the value of a no_log option, which is the
    same text in base64, out of every answer.
    """
    return text.encode("utf-8", "surrogateescape").hex()


def true_path(folder: str, check: bool) -> str:
    """Where the whole configuration lies: beside config.toml while a drain is under way."""
    if check and _drain.is_paused(folder):
        return f"{folder}/{_drain.KEPT}"
    return _drain.full_config_path(folder)


def read(path: str, unit: str, *, complaints: bool) -> Read:
    """Everything that the controller needs for a merge; tokens are in it.

    Args:
        path: where the configuration lies.
        unit: the service.
        complaints: whether to read in the journal which runners the daemon leaves alone.
    """
    folder = os.path.dirname(path)
    content = _drain.raw(path)
    state = _drain.raw(f"{folder}/{STATE_FILE}")
    files = [_files.file_info(one) for one in (path, f"{folder}/{STATE_FILE}")]
    service = _systemd.units([unit]).get(unit, {})
    pid = int(service.get("MainPID") or 0)
    found: Read = {
        "exists": content is not None,
        "text": encode((content or b"").decode("utf-8", "surrogateescape")),
        "sha256": _drain.digest(content) if content is not None else "",
        "state_text": encode((state or b"").decode("utf-8", "surrogateescape")),
        "safe": all(
            item["kind"] == "absent" or (item["mode"], item["uid"]) == ("0600", 0) for item in files
        ),
        "paused_sha256": _drain.digest(_drain.raw(f"{folder}/{PAUSED_TEXT}") or b""),
        "system_id": (_drain.raw(f"{folder}/.runner_system_id") or b"").decode().strip(),
        "now": time.time(),
        "active": service.get("ActiveState") == "active",
        "pid": pid,
    }
    if complaints:
        found["complaints"] = _complaints(path, pid)
    return found


def _complaints(path: str, pid: int) -> list[tuple[float, str]]:
    """Of which runners the daemon says that it leaves them alone; hex, as all that goes back."""
    if os.path.basename(path) != _drain.CONFIG:
        # In a pause it has none.
        return []
    return [(moment, encode(text)) for moment, text in _runner_health.complaints(pid, path)]
