# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror of Debian's packages: the one that the controller's apt uses.

`apt-get indextargets` reports what apt really uses; the first line of a file
does not: machines have other sources, including unreachable ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.run import LabError, run

MAIN, SECURITY = "Debian", "Debian-Security"
"""Labels in the Release files of Debian's two archives."""


@dataclass(frozen=True)
class Mirror:
    """Addresses of Debian's two archives."""

    main: str
    security: str

    def lines(self, suite: str) -> list[str]:
        """sources.list lines for a stable suite with its updates."""
        return [
            f"deb {self.main} {suite} main",
            f"deb {self.main} {suite}-updates main",
            *self.security_lines(suite),
        ]

    def security_lines(self, suite: str) -> list[str]:
        return [f"deb {self.security} {suite}-security main"] if self.security else []


def parse_indextargets(text: str) -> Mirror | None:
    """Parses lines "LABEL|ADDRESS" of apt's index targets; None if Debian is not among them."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        label, _, address = line.partition("|")
        if address.startswith(("http://", "https://", "file:", "copy:", "ftp://")):
            found.setdefault(label, address)
    if MAIN not in found:
        return None
    return Mirror(found[MAIN], found.get(SECURITY, ""))


def parse_sources_list(lines: Sequence[str]) -> Mirror | None:
    """Parses a one-line-style sources.list of Debian, as mmdebstrap writes it."""
    main = security = ""
    for line in lines:
        words = [word for word in line.split() if not word.startswith("[") and "=" not in word]
        if len(words) < 3 or words[0] != "deb":
            continue
        if words[2].endswith("-security"):
            security = security or words[1]
        else:
            main = main or words[1]
    return Mirror(main, security) if main else None


def controller_mirror() -> Mirror | None:
    """The controller's mirror of Debian; None if the controller is not a Debian system."""
    done = run(
        ["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)",
         "Created-By: Packages", "Origin: Debian"],
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise LabError(f"apt-get indextargets: exit {done.returncode}\n{done.stderr.strip()}")
    return parse_indextargets(done.stdout)
