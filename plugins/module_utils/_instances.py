# SPDX-License-Identifier: GPL-3.0-or-later
"""What a runner service has on its host, by its name: a unit, a folder, units that go with it.

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
"""The package's own service, whose jobs are the host's ordinary ones."""
UNITS = "/etc/systemd/system"
DROP_INS = f"{UNITS}/{SERVICE}-*.service.d/zz-runnerhost.conf"
"""Where a host tells which isolated runners the toolkit has made there."""


@dataclass(frozen=True)
class Place:
    """Where a runner's daemon lives.

    Attributes:
        service: its name, without ``.service``.
        unit: its unit.
        drop_in: the toolkit's settings of that unit.
        folder: where its config.toml lies.
        resume: the unit that takes its pause back, without ``.service`` or ``.timer``.
        clean: the unit that removes what its jobs no longer use, likewise.
    """

    service: str
    unit: str
    drop_in: str
    folder: str
    resume: str
    clean: str


def place(name: str = "") -> Place:
    """The place of an isolated runner; with an empty name that of the package's own service."""
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
    """The isolated runners whose drop-ins these are."""
    found = (re.search(rf"/{SERVICE}-([^/]+)\.service\.d/", path) for path in paths)
    return [match[1] for match in found if match]


def resume_of(unit: str) -> str:
    """The unit, without its ending, that takes a pause of the given service back."""
    return place(unit.removesuffix(".service").removeprefix(SERVICE).removeprefix("-")).resume
