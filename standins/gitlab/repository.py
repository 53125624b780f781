# SPDX-License-Identifier: GPL-3.0-or-later
"""A project's bare repository, by git's own commands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class Repository:
    """A project's bare repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def git(self, *words: str, stdin: bytes = b"", index: str = "") -> bytes:
        """The output of git, with this file as its index; raises CalledProcessError."""
        person = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Administrator"), ("EMAIL", "admin@example.com"))
        }
        return subprocess.run(
            ["git", "-C", str(self.folder), *words], input=stdin, capture_output=True, check=True,
            timeout=30,
            env={**os.environ, **person, **({"GIT_INDEX_FILE": index} if index else {})},
        ).stdout  # fmt: skip

    def commit_of(self, ref: str) -> str:
        """The commit of a branch, tag or SHA; empty if there is none."""
        try:
            done = self.git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        except subprocess.CalledProcessError:
            return ""
        return done.decode().strip()

    def is_empty(self) -> bool:
        """Whether it has no branch."""
        return not self.git("for-each-ref", "--count=1", "refs/heads")

    def refs(self) -> dict[str, str]:
        """Branches and tags by their full names, with what each points to."""
        words = ("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags")
        lines = self.git(*words).decode().splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def about(self, commit: str) -> dict[str, str]:
        """A commit's message and so on, as CI/CD variables."""
        words = ("log", "-1", "--format=%an <%ae>%x00%cI%x00%B", commit)
        author, date, message = self.git(*words).decode("utf-8", "replace").split("\0", 2)
        message = message.strip("\n")
        title, _, description = message.partition("\n")
        return {
            "CI_COMMIT_MESSAGE": message,
            "CI_COMMIT_TITLE": title,
            "CI_COMMIT_DESCRIPTION": description.strip("\n"),
            "CI_COMMIT_AUTHOR": author,
            "CI_COMMIT_TIMESTAMP": date,
        }

    def blob(self, commit: str, path: str) -> tuple[str, str] | None:
        """Mode and id of a file."""
        line = self.git("ls-tree", "-z", commit, "--", path).decode().rstrip("\0")
        about, _, found = line.partition("\t")
        mode, kind, number = about.split() if about else ("", "", "")
        return (mode, number) if found == path and kind == "blob" else None

    def last_commit(self, commit: str, path: str) -> str:
        """The last commit up to this one that changed a file."""
        words = ("log", "-1", "--format=%H", commit, "--", f":(literal){path}")
        return self.git(*words).decode().strip()
