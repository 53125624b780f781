# SPDX-License-Identifier: GPL-3.0-or-later
"""dpkg's and apt's own records of packages.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Mapping

_DPKG_STATUS = "/var/lib/dpkg/status"
# Beside it: what dpkg has done since it last wrote it, left by a transaction that was cut off.
_JOURNAL = "updates/[0-9]*"
_APT_STATES = "/var/lib/apt/extended_states"


def packages(patterns: list[str], status_file: str = _DPKG_STATUS) -> dict[str, dict[str, str]]:
    """dpkg's own record of each package that matches a pattern: version and status.

    Reads the file that dpkg-query reads: one look for any number of names. A record is keyed by the
    package's name; where ``name:architecture`` is asked for, that architecture's by that too.
    """
    exact = {p for p in patterns if not set(p) & set("*?[")}
    globs = [p for p in patterns if p not in exact]
    apart = {p for p in exact if ":" in p}
    found: dict[str, dict[str, str]] = {}
    name = version = status = architecture = ""

    def keep() -> None:
        if name and (name in exact or any(fnmatch.fnmatchcase(name, p) for p in globs)):
            found[name] = {"version": version, "status": status}
        for asked in apart:
            bare, __, wanted = asked.partition(":")
            # apt takes a package for all architectures as one of any.
            if bare == name and architecture in (wanted, "all"):
                found[asked] = {"version": version, "status": status}

    try:
        with open(status_file, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line == "\n":
                    keep()
                    name = version = status = architecture = ""
                elif line.startswith("Package: "):
                    name = line[9:].strip()
                elif line.startswith("Version: "):
                    version = line[9:].strip()
                elif line.startswith("Status: "):
                    status = line[8:].strip()
                elif apart and line.startswith("Architecture: "):
                    architecture = line[14:].strip()
    except FileNotFoundError:
        return {}
    keep()
    return found


def providers(names: set[str], status_file: str = _DPKG_STATUS) -> dict[str, list[str]]:
    """Installed packages that provide each of the names (deb-control(5)); unprovided ones left out.

    Apart from `packages`: what another package provides is no record of the name, and has not its
    version.
    """
    found: dict[str, list[str]] = {}
    name = status = ""
    try:
        with open(status_file, encoding="utf-8", errors="replace") as stream:
            # dpkg writes the status before what is provided.
            for line in stream:
                if line.startswith("Package: "):
                    name = line[9:].strip()
                elif line.startswith("Status: "):
                    status = line[8:].strip()
                elif line.startswith("Provides: ") and status.endswith(" ok installed"):
                    given = {one.split()[0].partition(":")[0] for one in line[10:].split(",")}
                    for one in given & names:
                        found.setdefault(one, []).append(name)
    except FileNotFoundError:
        return {}
    return found


def provided(asked: list[str], records: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """A record for each name that is not installed and that an installed package provides."""
    # As a rule there are none, and dpkg's file is not read again.
    lacking = {n for n in asked if not set(n) & set("*?[") and not is_installed(records.get(n))}
    wanted = automatic() if lacking else set()
    return {
        name: {
            "version": "",
            "status": "install ok installed",
            # One that somebody wanted, if there is one.
            "provided_by": min(by, key=lambda one: (one in wanted, one)),
        }
        for name, by in (providers(lacking) if lacking else {}).items()
    }


def unfinished(status_file: str = _DPKG_STATUS) -> list[str]:
    """What a transaction that was cut off has left undone; empty as a rule.

    Packages that are neither installed nor gone (dpkg(1), "Package states"), and dpkg's journal.
    """
    found = []
    name = ""
    try:
        with open(status_file, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith("Package: "):
                    name = line[9:].strip()
                elif line.startswith("Status: "):
                    __, flag, state = line[8:].split()
                    whole = state in ("installed", "config-files", "not-installed")
                    if flag != "ok" or not whole:
                        found.append(name)
    except FileNotFoundError:
        return []
    journal = glob.glob(os.path.join(glob.escape(os.path.dirname(status_file)), _JOURNAL))
    return [*found, *(["dpkg's journal"] if journal else [])]


def automatic(states_file: str = _APT_STATES) -> set[str]:
    """Packages that apt holds for installed by itself, which autoremove may take (apt-mark(8)).

    Each as ``name`` and as ``name:architecture``.
    """
    found = set()
    name = architecture = ""
    try:
        with open(states_file, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith("Package: "):
                    name = line[9:].strip()
                elif line.startswith("Architecture: "):
                    architecture = line[14:].strip()
                elif line.startswith("Auto-Installed: 1"):
                    found |= {name, f"{name}:{architecture}"}
    except FileNotFoundError:
        return set()
    return found


def is_installed(record: Mapping[str, str] | None) -> bool:
    """True if dpkg calls the package installed and configured (held or not)."""
    return bool(record) and (record or {}).get("status", "").endswith(" ok installed")
