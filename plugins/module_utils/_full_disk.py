# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses the runner while a disk is full, and writes metrics about pauses, disks and tokens.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from datetime import datetime, timezone

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _drain, _files
from ansible_collections.runnerhost.toolkit.plugins.module_utils._disk_space import shortage
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import SERVICE

PAUSED_TEXT = "runnerhost-paused.toml"
"""config.toml without its runners, written together with config.toml: mode 0600."""
FULL_MARK = f"{_drain.LEASES}/disk-full"
# The check runs every minute; the lease covers two missed checks.
LEASE_SECONDS = 180.0
# Otherwise a disk just above the limit would pause and resume the runner again and again.
HYSTERESIS_POINTS = 2.0


def full_mark(unit: str) -> str:
    """The file that marks a pause of this service because of a full disk."""
    return FULL_MARK + unit.removesuffix(".service").removeprefix(SERVICE)


def watch_disk(folder: str, unit: str, paths: list[str], space: float, inodes: float) -> str:
    """Pauses the runner while a disk is full; returns a message about what was done."""
    mark = full_mark(unit)
    ours = os.path.exists(mark)
    more = HYSTERESIS_POINTS if ours else 0.0
    short = shortage(paths, space + more if space else 0, inodes + more if inodes else 0)
    if not short:
        if not ours:
            return ""
        with suppress(FileNotFoundError):
            os.unlink(mark)
        done = _drain.resume(folder)
        if done != "nothing":
            _drain.reload(unit)
        return "enough disk space is free again: the runner takes jobs"
    if _drain.is_paused(folder):
        if ours:
            _drain.renew(folder, LEASE_SECONDS)
        return ""
    text, whole = _drain.raw(f"{folder}/{PAUSED_TEXT}"), _drain.raw(f"{folder}/{_drain.CONFIG}")
    if text is None or whole is None:
        return ""
    # Write the mark first: without it, the pause would only end when its lease expires.
    os.makedirs(_drain.LEASES, mode=0o755, exist_ok=True)
    _files.write_atomic(mark, short + "\n", 0o644)
    _drain.set_resume_timer(unit, on=True)
    if not _drain.pause(folder, _drain.digest(whole), text.decode(), LEASE_SECONDS):
        return ""
    _drain.reload(unit)
    return f"{short}: the runner takes no new jobs"


def token_ends(text: str) -> dict[str, float]:
    """Runner -> expiry of its token, in seconds since 1970, if the token expires.

    Reads line by line: Python 3.10 has no TOML parser, and both the daemon and the toolkit write
    one key per line.
    """
    found = {}
    for table in re.split(r"(?m)^\[\[runners\]\]\s*$", text)[1:]:
        name = re.search(r'(?m)^\s*name = ("(?:[^"\\]|\\.)*")', table)
        ends = re.search(r"(?m)^\s*token_expires_at = (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)", table)
        if name and ends and not ends[1].startswith("0001"):
            moment = datetime.fromisoformat(ends[1]).replace(tzinfo=timezone.utc)
            with suppress(ValueError):
                found[str(json.loads(name[1]))] = moment.timestamp()
    return found


def write_metrics(path: str, places: dict[str, str]) -> None:
    """Writes a file for the textfile collector of node_exporter; it contains no secret.

    Args:
        path: the file.
        places: folder of config.toml -> unit, of each service.
    """
    paused, full, ends_of = [], [], {}
    for folder, unit in places.items():
        label = f'{{service="{unit.removesuffix(".service")}"}}'
        is_paused = _drain.is_paused(folder)
        paused.append(f"runnerhost_paused{label} {int(is_paused)}")
        full.append(f"runnerhost_disk_full{label} {int(os.path.exists(full_mark(unit)))}")
        whole = f"{folder}/{_drain.KEPT if is_paused else _drain.CONFIG}"
        ends_of.update(token_ends((_drain.raw(whole) or b"").decode(errors="replace")))
    lines = [
        "# HELP runnerhost_paused 1 while the runner takes no new jobs.",
        "# TYPE runnerhost_paused gauge",
        *paused,
        "# HELP runnerhost_disk_full 1 while the runner is paused because a disk is full.",
        "# TYPE runnerhost_disk_full gauge",
        *full,
        "# HELP runnerhost_token_expires_timestamp_seconds Expiry of a runner's token.",
        "# TYPE runnerhost_token_expires_timestamp_seconds gauge",
    ]
    for name, ends in sorted(ends_of.items()):
        # The text format escapes as JSON does (prometheus.io, exposition formats).
        label = json.dumps(name, ensure_ascii=False)
        lines.append(f"runnerhost_token_expires_timestamp_seconds{{runner={label}}} {ends:.0f}")
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    _files.write_atomic(path, "\n".join(lines) + "\n", 0o644)
