"""The kinds of host that a lab can have: data, nothing else.

A kind is a Debian userland that answers to the name of an Ubuntu release.
Another kind is one more entry in KINDS.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from lab.run import LabError


@dataclass(frozen=True)
class ForeignPython:
    """A Python of an older Debian release that the lab's PPA offers for a kind."""

    version: str
    """For example "3.9"."""
    suite: str
    """Debian suite whose packages these are."""
    libraries: tuple[str, ...]
    """Packages of that suite that the interpreter needs and the userland lacks."""


@dataclass(frozen=True)
class Kind:
    """What a host of this kind is made of and what it says it is."""

    name: str
    """Ubuntu's codename: also the host's name in the inventory."""
    number: int
    """Fixes the host's address in the lab's network."""
    debian: str
    """Suite of the userland."""
    ubuntu_version: str
    ubuntu_name: str
    """For example "22.04.5 LTS (Jammy Jellyfish)"."""
    system_python: str
    """Version that the userland's own packages bring."""
    foreign_pythons: tuple[ForeignPython, ...]
    vendor_source: bool = False
    """Whether GitLab's script.deb.sh was once run on it (`lab.vendor`)."""

    @property
    def pythons(self) -> tuple[str, ...]:
        """Every version that a host of this kind can have, oldest first."""
        versions = [python.version for python in self.foreign_pythons] + [self.system_python]
        return tuple(sorted(versions, key=lambda text: [int(part) for part in text.split(".")]))

    @property
    def image_variable(self) -> str:
        """Environment variable that names a real image to use instead."""
        return f"LAB_IMAGE_{self.name.upper()}"


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="jammy",
            number=0,
            debian="bookworm",
            ubuntu_version="22.04",
            ubuntu_name="22.04.5 LTS (Jammy Jellyfish)",
            system_python="3.11",
            foreign_pythons=(
                ForeignPython("3.9", "bullseye", ("libssl1.1", "libffi7", "libmpdec3")),
            ),
        ),
        Kind(
            name="noble",
            number=1,
            debian="trixie",
            ubuntu_version="24.04",
            ubuntu_name="24.04.3 LTS (Noble Numbat)",
            system_python="3.13",
            foreign_pythons=(
                ForeignPython("3.9", "bullseye", ("libssl1.1", "libffi7", "libmpdec3")),
                # Its libraries are there: the t64 packages provide the old names.
                ForeignPython("3.11", "bookworm", ()),
            ),
            vendor_source=True,
        ),
    )
}
DEFAULT_HOSTS = "jammy"

PRELOADED = (
    "build-essential", "cmake", "curl", "git", "libbz2-dev", "libffi-dev", "liblzma-dev",
    "libsqlite3-dev", "libssl-dev", "ninja-build", "patchelf", "pkg-config", "python3-dev",
    "python3-pip-whl", "python3-setuptools-whl", "python3-venv", "zlib1g-dev",
    # What the foreign Pythons depend on, beside their own libraries.
    "libexpat1-dev", "media-types", "tzdata",
)  # fmt: skip
"""Packages whose files an image holds ready (not installed): a provision fetches them from
the image instead of from the distribution's mirror."""


def chosen_kinds(names: str | None = None) -> list[Kind]:
    """The kinds that `names` (else the variable HOSTS) asks for, in that order."""
    asked = (names or os.environ.get("HOSTS") or DEFAULT_HOSTS).replace(",", " ").split()
    unknown = [name for name in asked if name not in KINDS]
    if unknown or not asked:
        raise LabError(f"no such kind of host: {' '.join(unknown)} (there are: {' '.join(KINDS)})")
    return [KINDS[name] for name in dict.fromkeys(asked)]
