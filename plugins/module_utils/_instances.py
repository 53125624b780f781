# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and paths of a runner service on its host: its unit, its folder, and related units.

The package's own service has the empty name. Runs on the controller and on the hosts: standard
library of Python 3.10 alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# A Unix user's name has at most 32 characters, 14 of which are the prefix.
NAME = re.compile(r"[a-z][a-z0-9-]{0,15}\Z")
SERVICE = "gitlab-runner"
"""The service of the package, which runs the jobs of all runners that are not isolated."""
UNITS = "/etc/systemd/system"
DROP_INS = f"{UNITS}/{SERVICE}-*.service.d/zz-runnerhost.conf"
"""Drop-ins of the isolated runners that the toolkit has installed on a host."""


@dataclass(frozen=True)
class Place:
    """Names and paths of a runner service.

    Attributes:
        service: its name, without ``.service``.
        unit: its unit.
        drop_in: the toolkit's drop-in for that unit.
        folder: the folder of its config.toml.
        resume: the unit that ends its pause, without ``.service`` or ``.timer``.
        clean: the unit that removes old files of its jobs, likewise.
    """

    service: str
    unit: str
    drop_in: str
    folder: str
    resume: str
    clean: str


def place(name: str = "") -> Place:
    """Names and paths of an isolated runner, or of the service of the package (empty name)."""
    suffix = f"-{name}" if name else ""
    unit = f"{SERVICE}{suffix}.service"
    return Place(
        service=SERVICE + suffix,
        unit=unit,
        drop_in=f"{UNITS}/{unit}.d/zz-runnerhost.conf",
        folder=f"/etc/{SERVICE}{suffix}",
        resume=f"runnerhost-resume{suffix}",
        clean=f"runnerhost-clean{suffix}",
    )


def names_of(paths: Iterable[str]) -> list[str]:
    """Names of the isolated runners to which these drop-ins belong."""
    found = (re.search(rf"/{SERVICE}-([^/]+)\.service\.d/", path) for path in paths)
    return [match[1] for match in found if match]


def resume_of(unit: str) -> str:
    """The unit that ends a pause of the given service, without ``.service`` or ``.timer``."""
    return place(unit.removesuffix(".service").removeprefix(SERVICE).removeprefix("-")).resume
