# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that `lab up` writes: addresses, keys and tokens of this lab."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lab.engine import Network
from lab.hosts import admin_key, ssh_options
from lab.mirror import COMPANY_ORIGIN, Repository
from lab.packages import Runner
from lab.places import (
    CHECKOUT,
    DEFAULT_NAME,
    GITLAB_NAME,
    GITLAB_PORT,
    INDEXES,
    MIRROR_NAME,
    MIRROR_PORT,
    Lab,
    write,
)
from lab.platforms import Platform, platform_after


def inventory(
    lab: Lab,
    network: Network,
    platforms: Sequence[Platform],
    runner: Runner,
    keys: Mapping[str, tuple[Path, str]],
    tokens: Mapping[str, Sequence[str]],
    index_environment: Mapping[str, str],
    releases: Mapping[str, Platform],
    publishing: Mapping[str, Any],
) -> dict[str, Any]:
    """The inventory's data.

    `keys`: "python", "runner", "company" to key file and fingerprint; {} where the
    repositories are the real ones, so that the roles' own defaults hold.
    `releases`: host to the release that it was upgraded to.
    `publishing`: variables of a lab whose hosts publish (`lab.publishing`).
    """
    options = shlex.join(ssh_options(lab))
    hosts = {
        platform.name: {
            "ansible_host": network.address(platform.number),
            "ansible_port": 22,
            "ansible_user": "admin",
            "ansible_ssh_private_key_file": str(admin_key(lab)),
            "ansible_ssh_common_args": options,
        }
        for platform in platforms
    }
    version, version_next = runner.package_versions
    children = {"runner_hosts": {"hosts": hosts}}
    stand_ins: dict[str, Any] = {}
    if keys:
        # What group_vars say of the lab's own repositories.
        children["stand_in_packages"] = {"hosts": {name: {} for name in hosts}}
        stand_ins = {
            "lab_mirror_url": f"http://{MIRROR_NAME}:{MIRROR_PORT}",
            "lab_python_key_file": str(keys["python"][0]),
            "lab_python_key_fingerprint": keys["python"][1],
            "lab_runner_key_file": str(keys["runner"][0]),
            "lab_runner_key_fingerprint": keys["runner"][1],
            "lab_company_key_file": str(keys["company"][0]),
            "lab_company_key_fingerprint": keys["company"][1],
            "lab_company_origin": COMPANY_ORIGIN,
            "lab_runner_version_next": version_next,
        }
    return {
        "all": {
            "vars": {
                "lab_gitlab_url": f"https://{GITLAB_NAME}:{GITLAB_PORT}",
                "lab_gitlab_ca_file": str(lab.ca_file),
                **stand_ins,
                "lab_pythons": {
                    platform.name: list(releases.get(platform.name, platform).pythons)
                    for platform in platforms
                },
                # Its own Python is another than Ubuntu's.
                "lab_target_pythons": {
                    platform.name: later.system_python
                    if (later := platform_after(releases.get(platform.name, platform)))
                    else ""
                    for platform in platforms
                },
                "lab_runner_version": version,
                "lab_runner_tokens": {host: list(some) for host, some in tokens.items()},
                "lab_index_environment": dict(index_environment),
                **{
                    f"lab_{which}_url": f"https://{name}:{port}"
                    for which, (name, port) in INDEXES.items()
                },
                **publishing,
            },
            "children": children,
        }
    }


def write_inventory(lab: Lab, data: Mapping[str, Any]) -> Path:
    """Write the inventory to `lab.inventory` (0600, because it contains tokens)."""
    text = "# Written by `python -m lab up`; gone after `python -m lab down`.\n"
    text += yaml.safe_dump(data, sort_keys=False)
    if not lab.inventory.exists() or lab.inventory.read_text() != text:
        write(lab.inventory, text, 0o600)
    if lab.name != DEFAULT_NAME:
        link = lab.inventory.parent / "group_vars"
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(CHECKOUT / "inventories/lab/group_vars", link.parent))
    return lab.inventory


def copy_keys(lab: Lab, repositories: Mapping[str, Repository]) -> dict[str, tuple[Path, str]]:
    """Put the repositories' public keys and fingerprints into the lab's state."""
    found = {}
    for name, repository in repositories.items():
        path = lab.state / "keys" / f"{name}.asc"
        write(path, repository.key.public.read_bytes())
        write(path.with_suffix(".fingerprint"), repository.key.fingerprint + "\n")
        found[name] = (path, repository.key.fingerprint)
    return found


def read_tokens(lab: Lab) -> dict[str, list[dict[str, Any]]]:
    """Runners made for each host: id and token."""
    path = lab.state / "runner-tokens.json"
    if not path.exists():
        return {}
    found: dict[str, list[dict[str, Any]]] = json.loads(path.read_text())
    return found


def read_pythons(lab: Lab) -> dict[str, tuple[str, ...]]:
    """The versions of Python of each host, as the inventory tells the roles."""
    data = yaml.safe_load(lab.inventory.read_text())
    found: dict[str, list[str]] = data["all"]["vars"]["lab_pythons"]
    return {host: tuple(versions) for host, versions in found.items()}


def write_tokens(lab: Lab, tokens: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    write(lab.state / "runner-tokens.json", json.dumps(tokens), 0o600)
