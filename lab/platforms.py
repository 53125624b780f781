# SPDX-License-Identifier: GPL-3.0-or-later
"""The platforms of a lab's hosts, as data.

A platform is a Debian userland that answers to the name of an Ubuntu release, or
with WORLD=upstream that release itself. Another platform is one more entry in PLATFORMS.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lab.run import LabError

WORLD_VARIABLE = "WORLD"
STAND_IN, UPSTREAM = "stand-in", "upstream"


@dataclass(frozen=True)
class ForeignPython:
    """A Python of an older Debian release that the lab's PPA offers for a platform."""

    version: str
    """For example "3.9"."""
    suite: str
    """Debian suite whose packages these are."""
    libraries: tuple[str, ...]
    """Packages of that suite that the interpreter needs and the userland lacks."""


@dataclass(frozen=True)
class Platform:
    """The content and the identity of a host of this platform."""

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
    image: str
    """The real release's image, by the short name that podman knows it by."""
    ubuntu_python: str
    """Version that the real release brings."""
    deadsnakes_pythons: tuple[str, ...]
    """Some of the versions that the real PPA has for it (its description; noble: issue 284 of
    github.com/deadsnakes/issues)."""
    vendor_source: bool = False
    """Whether GitLab's script.deb.sh was once run on it (`lab.vendor`)."""
    upstream: bool = False
    """Whether its hosts are the real release with the real repositories."""

    def real(self) -> Platform:
        """The same platform in the world of WORLD=upstream."""
        # The vendor's script would name the lab's mirror, which is not there.
        return replace(self, system_python=self.ubuntu_python, foreign_pythons=(),
                       vendor_source=False, upstream=True)  # fmt: skip

    @property
    def pythons(self) -> tuple[str, ...]:
        """Every version that a host of this platform can have, oldest first."""
        versions = [python.version for python in self.foreign_pythons] + [self.system_python]
        if self.upstream:
            versions += self.deadsnakes_pythons
        return tuple(sorted(versions, key=lambda text: [int(part) for part in text.split(".")]))

    @property
    def image_variable(self) -> str:
        """Environment variable that names a real image to use instead."""
        return f"LAB_IMAGE_{self.name.upper()}"


PLATFORMS: Mapping[str, Platform] = {
    platform.name: platform
    for platform in (
        Platform(
            name="jammy",
            number=0,
            debian="bookworm",
            ubuntu_version="22.04",
            ubuntu_name="22.04.5 LTS (Jammy Jellyfish)",
            system_python="3.11",
            foreign_pythons=(
                ForeignPython("3.9", "bullseye", ("libssl1.1", "libffi7", "libmpdec3")),
            ),
            image="ubuntu:22.04",
            ubuntu_python="3.10",
            deadsnakes_pythons=("3.9", "3.11", "3.12", "3.13"),
        ),
        Platform(
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
            image="ubuntu:24.04",
            ubuntu_python="3.12",
            deadsnakes_pythons=("3.10", "3.11", "3.13"),
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


def upstream_world() -> bool:
    """Whether WORLD asks for real images and repositories in place of the lab's own."""
    named = os.environ.get(WORLD_VARIABLE) or STAND_IN
    if named not in (STAND_IN, UPSTREAM):
        raise LabError(
            f"{WORLD_VARIABLE}={named}: no such world (there are: {STAND_IN} {UPSTREAM})"
        )
    return named == UPSTREAM


def all_platforms() -> Mapping[str, Platform]:
    """Every platform by its name, as it is in the world that WORLD asks for."""
    if upstream_world():
        return {name: platform.real() for name, platform in PLATFORMS.items()}
    return PLATFORMS


def platform_after(platform: Platform) -> Platform | None:
    """The lab's release after a platform's; None where there is none."""
    platforms = list(all_platforms().values())
    later = platforms[[one.name for one in platforms].index(platform.name) + 1 :]
    return later[0] if later else None


def chosen_platforms(names: str | None = None) -> list[Platform]:
    """The platforms that `names` (else the variable HOSTS) asks for, in that order."""
    asked = (names or os.environ.get("HOSTS") or DEFAULT_HOSTS).replace(",", " ").split()
    unknown = [name for name in asked if name not in PLATFORMS]
    if unknown or not asked:
        raise LabError(f"no such platform: {' '.join(unknown)} (there are: {' '.join(PLATFORMS)})")
    return [all_platforms()[name] for name in dict.fromkeys(asked)]
