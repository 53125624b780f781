# SPDX-License-Identifier: GPL-3.0-or-later
"""Units and settings as systemd and logind have loaded them.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from typing import Any, TypedDict

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files, _system


def has_systemd() -> bool:
    """True if systemd is PID 1 (same test as sd_booted(3)) and may be contacted.

    While an image is built, SYSTEMD_OFFLINE=1 forbids it (systemd.io/ENVIRONMENT).
    """
    return os.environ.get("SYSTEMD_OFFLINE") != "1" and os.path.isdir("/run/systemd/system")


UNIT_PROPERTIES = [
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "MainPID",
    "NRestarts",
    "DropInPaths",
    "KillSignal",
    "KillMode",
]


def units(names: list[str]) -> dict[str, dict[str, str]]:
    """Properties of loaded units, by name; empty without systemd."""
    if not names or not has_systemd():
        return {}
    done = _system.run(["systemctl", "show", *names, "--property=" + ",".join(UNIT_PROPERTIES)])
    found: dict[str, dict[str, str]] = {}
    for block in done.stdout.split("\n\n"):
        pairs = (line.partition("=") for line in block.splitlines())
        properties = {key: value for key, mark, value in pairs if mark}
        if "Id" in properties:
            found[properties["Id"]] = properties
    return found


def masked(found: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Messages about masked units (systemd.unit(5)), each with the command to unmask it.

    Args:
        found: properties of units, by name.
    """
    lines = []
    for name, unit in found.items():
        if unit.get("LoadState") == "masked":
            real = unit.get("Id") or name
            runtime = "--runtime " if unit.get("UnitFileState") == "masked-runtime" else ""
            lines.append(
                f"{real} is masked on the host, so systemd does not start it: "
                f"systemctl unmask {runtime}{real}, then run this again"
            )
    return lines


class Logind(TypedDict):
    """KillUserProcesses and KillOnlyUsers of logind.conf(5)."""

    kill: bool
    only: list[str]


def logind() -> Logind | None:
    """KillUserProcesses and KillOnlyUsers of the running logind; None if it does not run."""
    done = _system.run(
        [
            "busctl",
            "get-property",
            "org.freedesktop.login1",
            "/org/freedesktop/login1",
            "org.freedesktop.login1.Manager",
            "KillUserProcesses",
            "KillOnlyUsers",
        ]
    )
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != 2:
        return None
    return {
        "kill": lines[0].split()[-1] == "true",
        "only": sorted({word.strip('"') for word in lines[1].split()[2:]}),
    }


def logind_foreign(ours: str) -> dict[str, Any]:
    """The settings of `logind` as the host's other files have them.

    Files in the order of logind.conf(5): a drop-in's name decides, whatever its folder. Returned
    as ``undone_by`` is the file that ends the killing of processes after the toolkit's begins it.
    """
    drop_ins: dict[str, str] = {}
    for folder in ("/usr/lib", "/usr/local/lib", "/run", "/etc"):
        for path in glob.glob(f"{folder}/systemd/logind.conf.d/*.conf"):
            drop_ins[os.path.basename(path)] = path
    kill = False
    only: list[str] = []
    undone_by = ""
    for path in ["/etc/systemd/logind.conf", *(drop_ins[name] for name in sorted(drop_ins))]:
        if path == ours or not os.path.isfile(path):
            continue
        for line in _files.read_text(path).splitlines():
            key, mark, value = line.strip().partition("=")
            if not mark:
                continue
            if key.strip() == "KillUserProcesses":
                kill = value.strip().lower() in ("1", "yes", "true", "on")
                if "logind.conf.d/" in path and os.path.basename(path) > os.path.basename(ours):
                    undone_by = "" if kill else path
            elif key.strip() == "KillOnlyUsers":
                only = [*only, *value.split()] if value.strip() else []
    return {"kill": kill, "only": only, "undone_by": undone_by}
