# SPDX-License-Identifier: GPL-3.0-or-later
"""A project's checkout on this machine, committed to by the lab's own user."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.run import run

_IGNORED = (".git", "__pycache__", "*.egg-info", "build", "dist")


@dataclass(frozen=True)
class Checkout:
    """A folder with a git repository."""

    folder: Path

    @classmethod
    def copy_of(cls, source: Path, folder: Path) -> Checkout:
        """A new repository with the files of `source`, not yet committed."""
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*_IGNORED))
        made = cls(folder)
        made.git("init", "--quiet", "--initial-branch=main")
        return made

    def git(self, *words: str, when: str = "") -> str:
        """The output of git, without the settings of this machine's user, who may sign commits.

        `when`: the time of a commit; the same files are then the same commit.
        """
        names = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "lab"), ("EMAIL", "lab@runnerhost.test"), ("DATE", when))
            if value
        }
        plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        environment = {**os.environ, **names, **plain}
        return run(["git", *words], cwd=self.folder, env=environment).stdout.strip()

    def commit(self, message: str, when: str = "") -> str:
        """Commit all files; the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message, when=when)
        return self.git("rev-parse", "HEAD")
