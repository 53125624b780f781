# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a host's network settings, in the order in which they must be written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_sources import (
    DISTRIBUTION_SOURCES,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _authorities, _network

# What another role that includes network_access leaves out.
_REMOVALS = ("absent", "distribution_restored")

Item = dict[str, Any]
"""An item of file_set."""


@dataclass(frozen=True)
class Mirror:
    """The distribution's mirror; an empty text for none."""

    text: str
    url: str
    suites: list[str]
    releases: list[str]


def plan(network: _network.Network, mirror: Mirror, removes: bool) -> dict[str, Any]:
    """What the role does: RETURN of the module network_plan.

    Args:
        network: proxies, credentials and private CAs.
        mirror: the distribution's.
        removes: whether what the variables do not name goes.
    """
    files = [
        *_authority_files(network),
        _file(_network.APT_AUTH, network.apt_auth(), mode="0600", secret=True),
        *_proxy_files(network),
        *_mirror_files(mirror),
    ]
    names = [os.path.basename(path).replace(".crt", ".pem") for path, __ in network.authorities]
    return {
        "files": [one for one in files if removes or one.get("state") not in _REMOVALS],
        "authorities": {
            "folder": _authorities.FOLDER,
            "unless_found": {
                "glob": "/etc/ssl/certs/runnerhost-*.pem",
                "names": names,
                "others": not removes,
            },
        },
    }


def _authority_files(network: _network.Network) -> list[Item]:
    keep = [path for path, __ in network.authorities]
    return [
        {"path": f"{_authorities.FOLDER}/runnerhost-*.crt", "state": "absent", "keep": keep},
        *({"path": path, "content": text} for path, text in network.authorities),
    ]


def _proxy_files(network: _network.Network) -> list[Item]:
    """apt's setting, and the program that it names, which is never missing meanwhile."""
    program = _file(_network.APT_DIRECT, network.apt_direct(), mode="0755")
    setting = _file(_network.APT_CONF, network.apt_conf())
    if not network.apt_direct():
        return [setting, program]
    # apt runs it as the user _apt, whatever umask the folder was once made with.
    folder = {"path": os.path.dirname(_network.APT_DIRECT), "state": "directory", "mode": "0755"}
    return [folder, program, setting]


def _mirror_files(mirror: Mirror) -> list[Item]:
    """The mirror's source file, and the distribution's own entries."""
    if not mirror.text:
        return [
            {"path": DISTRIBUTION_SOURCES, "state": "absent"},
            {"path": DISTRIBUTION_SOURCES, "state": "distribution_restored"},
        ]
    return [
        {"path": DISTRIBUTION_SOURCES, "content": mirror.text},
        {
            "path": DISTRIBUTION_SOURCES,
            "state": "duplicates_absent",
            "uris": [mirror.url],
            "suites": mirror.suites,
            "releases": mirror.releases,
        },
    ]


def mirror_problems(url: str, suites: list[str], answer: Mapping[str, Any], why: str) -> list[str]:
    """Why apt cannot use a mirror of the distribution; empty if it can.

    Args:
        url: its address.
        suites: its suites.
        answer: what apt_candidates_info returned for the package ca-certificates.
        why: apt's error in words.
    """
    variable = "network_access_distribution_url"
    if answer["error"]:
        return [f"{variable}: {url} (suites {', '.join(suites)}) cannot be used; {why}"]
    # What every release has: a suite that exists and is empty is no distribution.
    if not answer["offer"].get("ca-certificates"):
        return [f"{variable}: {url} offers no ca-certificates"]
    return []


def _file(path: str, text: str, **more: Any) -> Item:
    """A file that is there as long as it has anything to say."""
    return {"path": path, "state": "file" if text else "absent", "content": text, **more}
