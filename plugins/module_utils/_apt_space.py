# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host has room for the packages of a transaction.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Nearly all of what packages bring.
UNPACKED = "/usr"
# Of the C library (strerror of ENOSPC), which apt repeats.
FULL = "No space left on device"


def names(changes: Mapping[str, Any]) -> list[str]:
    """The packages of a simulated transaction, as ``apt-cache show`` takes them."""
    upgrades = {name: new for name, (__, new) in changes["upgrades"].items()}
    return [f"{name}={version}" for name, version in {**changes["installs"], **upgrades}.items()]


def lacking(records: str, upgraded: Sequence[str], archives: str) -> list[dict[str, Any]]:
    """The file systems that have too little room.

    Args:
        records: of the packages, from ``apt-cache show``.
        upgraded: those of them that take an older version's place.
        archives: the folder that apt downloads to.

    Returns:
        Of each a ``path`` in it, and the bytes that it ``needs`` and ``has``.
    """
    new, replaced, downloads = 0, [0], 0
    for record in records.split("\n\n"):
        # deb-control(5): in KiB, and in bytes.
        unpacked = 1024 * _number(record, "Installed-Size")
        downloads += _number(record, "Size")
        if (match := re.search(r"^Package: (\S+)", record, re.M)) and match[1] in upgraded:
            replaced.append(unpacked)
        else:
            new += unpacked
    needs: dict[int, dict[str, Any]] = {}
    # dpkg has both versions of one package at a time.
    for path, size in ((UNPACKED, new + max(replaced)), (archives, downloads)):
        place = _there(path)
        one = needs.setdefault(os.stat(place).st_dev, {"path": place, "needs": 0})
        one["needs"] += size
    found = [{**one, "has": _free(one["path"])} for one in needs.values()]
    return [one for one in found if one["needs"] > one["has"]]


def full(path: str) -> dict[str, Any]:
    """A file system that has run full, as `lacking` returns it; what it needs is not known."""
    return {"path": path, "needs": 0, "has": _free(path)}


def _free(path: str) -> int:
    system = os.statvfs(path)
    return system.f_bavail * system.f_frsize


def _number(record: str, field: str) -> int:
    match = re.search(rf"^{field}: (\d+)", record, re.M)
    return int(match[1]) if match else 0


def _there(path: str) -> str:
    """The path, or the nearest folder above it that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    return path
