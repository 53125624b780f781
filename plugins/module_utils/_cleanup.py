# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance of a host by its timers: removes old files of jobs, pauses on a full disk, metrics.

The timers of a host start it (``python3 -m …_cleanup clean|disk``): standard library of Python
3.10 alone. ``clean`` runs as the job user, which cannot remove files of other users.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _full_disk, _old_files
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import place

SHOWN = 20
"""The number of paths that a run reports if it cannot remove them."""


def main() -> int:
    """Entry point of the commands ``clean`` and ``disk``."""
    parser = argparse.ArgumentParser(prog="_cleanup", description="Maintenance of a runner host.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    clean = verbs.add_parser("clean", help="remove old files of jobs")
    for name in ("builds", "cache", "temporary"):
        clean.add_argument(f"--{name}", action="append", default=[], metavar="FOLDER")
        clean.add_argument(f"--{name}-days", type=float, default=0.0, help="0: never")
    disk = verbs.add_parser("disk", help="pause the runner while a disk is full")
    disk.add_argument("--path", action="append", default=[])
    disk.add_argument("--space", type=float, default=0.0, help="per cent that must be free")
    disk.add_argument("--inodes", type=float, default=0.0, help="per cent that must be free")
    disk.add_argument("--metrics", default="", help="a file for a textfile collector")
    disk.add_argument(
        "--isolated", action="append", default=[], metavar="NAME", help="pause this runner as well"
    )
    asked = parser.parse_args()
    if asked.verb == "disk":
        places = [place(name) for name in ("", *asked.isolated)]
        for one in places:
            said = _full_disk.watch_disk(
                one.folder, one.unit, asked.path, asked.space, asked.inodes
            )
            if said:
                sys.stdout.write(f"{one.service}: {said}\n")
        if asked.metrics:
            _full_disk.write_metrics(asked.metrics, {one.folder: one.unit for one in places})
        return 0
    return clean_all(asked)


def clean_all(asked: argparse.Namespace) -> int:
    """Removes old files; returns 1 if some could not be removed."""
    now = time.time()
    failures: list[_old_files.Failure] = []
    for kind, folders, days, remove in (
        ("checkouts", asked.builds, asked.builds_days, _old_files.clean_builds),
        ("cached files", asked.cache, asked.cache_days, _old_files.clean_files),
        ("temporary files", asked.temporary, asked.temporary_days, _old_files.clean_temporary),
    ):
        for folder in folders:
            exists = days > 0 and os.path.isdir(folder)
            removed = remove(folder, days, now, failures) if exists else []
            if removed:
                told = f"{len(removed)} {kind} that were unused for {days:g} days"
                sys.stdout.write(f"{folder}: removed {told}\n")
    for one in failures[:SHOWN]:
        sys.stderr.write(f"cannot remove {one}\n")
    if len(failures) > SHOWN:
        sys.stderr.write(f"cannot remove {len(failures) - SHOWN} more\n")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
