#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of the `upgrade_info` action; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: upgrade_info_io
short_description: Facts of a host that matter to an upgrade to the next release
description:
  - Internal to the action M(runnerhost.toolkit.upgrade_info). Not for use in a playbook.
  - Read-only, in check mode too.
version_added: 0.1.0
options:
  python:
    description: The target's own version of Python.
    type: str
    required: true
  folders:
    description: Folders whose free space is wanted.
    type: list
    elements: str
    required: true
  venv_places:
    description: Folders below which virtual environments are looked for, as paths or patterns.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing the host.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: none
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: Read the facts of a host that is to go to noble
  runnerhost.toolkit.upgrade_info_io:
    python: "3.12"
    folders: [/usr, /var]
"""

RETURN = r"""
facts:
  description: What the action upgrade_info bases its report on.
  type: dict
  returned: always
"""

import glob
import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypedDict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_sources,
    _dpkg,
    _files,
    _pythons,
    _runner_processes,
    _system,
    _systemd,
    _upgrades,
    _venvs,
)

_RESTART = ("/run/reboot-required", "/var/run/reboot-required")
_PENDING = "/run/runnerhost/*.restart"
_OURS = "/etc/apt/sources.list.d/runnerhost-"


def origins(names: dict[str, dict[str, str]]) -> tuple[dict[str, str], set[str]]:
    """Whose each installed package is, and which of the held ones have an update.

    The distribution's origin is that of dpkg itself, so that a mirror with another one counts.

    Returns:
        Packages that are not the distribution's with their origin (empty: no source has this
        version), and names of held packages with an update.
    """
    apt = importlib.import_module("apt")
    cache = apt.Cache()

    def of(package: Any) -> set[str]:
        versions = package.installed.origins if package.installed else []
        # What dpkg's own record offers is in the archive "now".
        return {str(origin.origin) for origin in versions if origin.archive != "now"}

    own = of(cache["dpkg"])
    foreign, newer = {}, set()
    for package in cache:
        if not package.is_installed:
            continue
        found = of(package)
        if not found & own:
            foreign[str(package.shortname)] = next(iter(sorted(found)), "")
        if package.is_upgradable and names.get(package.shortname, {}).get("status", "").startswith(
            "hold "
        ):
            newer.add(str(package.shortname))
    return foreign, newer


def simulated(*words: str) -> str:
    """What apt would do; it locks nothing then."""
    return _system.run(["apt-get", "-q", "-s", *words], timeout=120).stdout


class Source(TypedDict):
    """A source that is not the distribution's."""

    file: str
    url: str
    suite: str
    ours: bool


class Mount(TypedDict):
    """A folder's file system, and the megabytes that are free there."""

    path: str
    device: int
    free_mb: int


def sources() -> list[Source]:
    """Sources that are not the distribution's, one for each address and suite."""
    known = _apt_sources.indexes()
    own = _apt_sources.distribution_origins(known)
    found: dict[tuple[str, str, str], Source] = {}
    for one in known:
        file = one.entry.rpartition(":")[0]
        if one.origin not in own:
            found[file, one.uri, one.suite] = {
                "file": file,
                # An address may hold a password.
                "url": re.sub(r"//[^/@]*@", "//", one.uri),
                "suite": one.suite,
                "ours": file.startswith(_OURS),
            }
    return list(found.values())


def mounts(folders: list[str]) -> list[Mount]:
    """Each folder's file system, and the megabytes that are free there."""
    found: list[Mount] = []
    for folder in folders:
        if os.path.isdir(folder):
            free = os.statvfs(folder)
            found.append(
                {
                    "path": folder,
                    "device": os.stat(folder).st_dev,
                    "free_mb": free.f_bavail * free.f_frsize // 1_000_000,
                }
            )
    return found


def restart() -> list[str] | None:
    """Packages that wait for a restart of the host; None if none is due."""
    for path in _RESTART:
        if os.path.exists(path):
            of = f"{path}.pkgs"
            return sorted(set(_files.read_text(of).split())) if os.path.exists(of) else []
    return None


def services() -> tuple[list[str], list[str]]:
    """The runner's services that are in service, and the isolated runners of the host."""
    names = list(_runner_processes.managed())
    isolated = [re.sub(r"gitlab-runner-(.+)\.service", r"\1", name) for name in names[1:]]
    found = _systemd.units(names)
    return [name for name in names if _upgrades.is_in_service(found.get(name, {}))], isolated


def facts(python: str, folders: list[str], places: list[str]) -> Mapping[str, object]:
    """Everything that the judgement takes."""
    everything = _dpkg.packages(["*"])
    records = {
        name: record
        for name, record in everything.items()
        if re.match(r"(?:lib|idle-)?python3\.", name) or name.startswith("gitlab-runner")
    }
    lists = bool(glob.glob("/var/lib/apt/lists/*Packages*"))
    foreign, newer = origins(everything) if lists else ({}, set())
    unfinished = _dpkg.unfinished()
    pending = re.findall(r"(?m)^Inst (\S+)", simulated("dist-upgrade")) if not unfinished else []
    conflicting = [
        name for name in _pythons.family(python, records) if _dpkg.is_installed(records[name])
    ]
    going = simulated("remove", *conflicting) if conflicting and not unfinished else ""
    in_service, isolated = services()
    system = _system.system_version()
    # As if the upgrade had taken the system's own away, which it does.
    after = _venvs.Interpreters(going=frozenset([f"/usr/bin/python{system}"]))
    found = _venvs.find(places, after)
    return {
        "system": system,
        "venvs": [asdict(venv) for venv in found.venvs if venv.state != _venvs.ALIVE],
        "venvs_complete": found.complete,
        "packages": records,
        "held": sorted(n for n, r in everything.items() if r["status"].startswith("hold ")),
        "unfinished": unfinished,
        "lists": lists,
        "foreign": foreign,
        "sources": sources(),
        "along": re.findall(r"(?m)^Remv (\S+)", going),
        "updates": sorted({*pending, *newer}),
        "mounts": mounts(folders),
        "restart": restart(),
        "pending": [
            os.path.basename(path).removesuffix(".restart") for path in glob.glob(_PENDING)
        ],
        "in_service": in_service,
        "isolated": isolated,
        "other_runners": _runner_processes.others(),
    }


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "python": {"type": "str", "required": True},
            "folders": {"type": "list", "elements": "str", "required": True},
            "venv_places": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    problem = _system.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    asked = module.params
    try:
        found = facts(asked["python"], asked["folders"], asked["venv_places"])
    except ModuleNotFoundError as error:
        module.fail_json(msg=f"{error}: the host lacks python3-apt, which Ansible's apt needs too")
    module.exit_json(changed=False, facts=found)


if __name__ == "__main__":
    main()
