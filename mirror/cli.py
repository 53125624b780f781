# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from ansible_collections.runnerhost.toolkit.mirror import config
from ansible_collections.runnerhost.toolkit.mirror.aptly import Failed
from ansible_collections.runnerhost.toolkit.mirror.snapshots import VARIABLES, Mirror


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes a snapshot and prints its variables; or lists or drops snapshots. 1 if it could not."""
    parser = argparse.ArgumentParser(
        prog="mirror", description="Dated, signed snapshots of the packages that runner hosts need."
    )
    parser.add_argument("settings", type=Path, help="the mirror's settings, a YAML file")
    today = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    parser.add_argument("--name", default=today, help="the new snapshot's name (default: today)")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--list", action="store_true", help="only list the snapshots")
    other.add_argument("--show", metavar="NAME", help="print a snapshot's variables")
    other.add_argument("--drop", metavar="NAME", help="remove a snapshot that no host uses")
    asked = parser.parse_args(arguments)
    try:
        mirror = Mirror(
            config.load(asked.settings), lambda line: print(f"  {line}", file=sys.stderr)
        )
        if asked.list:
            print("".join(f"{name}\n" for name in mirror.finished()), end="")
        elif asked.show:
            if asked.show not in mirror.finished():
                raise config.Refused(f"snapshot {asked.show!r} does not exist")
            print((mirror.public / asked.show / VARIABLES).read_text(encoding="utf-8"), end="")
        elif asked.drop:
            mirror.drop(asked.drop)
        else:
            print(mirror.make(asked.name), end="")
    except (config.Refused, Failed, OSError) as problem:
        print(
            "".join(f"mirror: {line}\n" for line in _told(problem).splitlines()),
            file=sys.stderr,
            end="",
        )
        return 1
    except KeyboardInterrupt:
        print("mirror: interrupted; run it again to start the snapshot over", file=sys.stderr)
        return 130
    return 0


def _told(problem: Exception) -> str:
    """A file's name and what is wrong with it, without a number."""
    if isinstance(problem, OSError) and problem.filename:
        return f"{problem.filename}: {problem.strerror}"
    return str(problem)
