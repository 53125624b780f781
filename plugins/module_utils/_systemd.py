# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd and logind, as they have their units and settings loaded.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _system


def has_systemd() -> bool:
    """True if systemd is PID 1 (systemd's own test, sd_booted(3)), and is to be talked to.

    While an image is baked it is not: SYSTEMD_OFFLINE is systemd's own switch for that
    (systemd.io/ENVIRONMENT).
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
    "DropInPaths",
    "KillSignal",
    "KillMode",
]


def units(names: list[str]) -> dict[str, dict[str, str]]:
    """Properties of units as systemd has them loaded, by name; empty without systemd."""
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
    """What is wrong with units that are masked (systemd.unit(5)), and the command that helps.

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


def logind() -> dict[str, Any]:
    """KillUserProcesses and KillOnlyUsers as the running logind has them; empty if none runs."""
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
        return {}
    return {
        "kill": lines[0].split()[-1] == "true",
        "only": sorted({word.strip('"') for word in lines[1].split()[2:]}),
    }
