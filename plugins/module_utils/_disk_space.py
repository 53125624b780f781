# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of a host's file systems is free.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable


def free_percent(path: str) -> tuple[float, float]:
    """Free space and free inodes for an ordinary user, in percent.

    A file system without a number of inodes (btrfs) has 100 percent of them free.
    """
    found = os.statvfs(path)
    space = 100.0 * found.f_bavail / found.f_blocks if found.f_blocks else 100.0
    inodes = 100.0 * found.f_favail / found.f_files if found.f_files else 100.0
    return space, inodes


def existing(path: str) -> str:
    """The path, or its nearest existing parent folder."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return path


def shortage(paths: Iterable[str], space: float, inodes: float) -> str:
    """The first file system with less free space or inodes than required; empty if none."""
    for path in dict.fromkeys(existing(path) for path in paths):
        free_space, free_inodes = free_percent(path)
        if free_space < space:
            return f"{path} has {free_space:.1f} % of its space free, less than {space:g} %"
        if free_inodes < inodes:
            return f"{path} has {free_inodes:.1f} % of its inodes free, less than {inodes:g} %"
    return ""
