# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the project, without what a user or the lab has left in the checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePath

ROOT = Path(__file__).resolve().parents[1]


def files(pattern: str, root: Path = ROOT) -> list[Path]:
    """What matches a pattern of paths (`roles/*/meta/argument_specs.yml`), sorted.

    In a checkout of git only what it tracks, elsewhere all that is there.
    """
    found = sorted(root.glob(pattern))
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False
    ) if (root / ".git").exists() else None  # fmt: skip
    if listed is None or listed.returncode != 0:
        return found
    tracked = {root / name for name in listed.stdout.split("\0")}
    return [path for path in found if path in tracked]


def roles(root: Path = ROOT) -> list[str]:
    """The names of the project's roles."""
    return [PurePath(path).parts[-3] for path in files("roles/*/tasks/main.yml", root)]
