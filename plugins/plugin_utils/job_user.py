# SPDX-License-Identifier: Apache-2.0
"""The jobs' account and what the inventory names on the host for them: asked, and made."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import runner_keys
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils.controller import CA_FOLDER


def certificates(authorities: Iterable[tuple[str, str]]) -> set[str]:
    """Files of certificates that a run brings: private CAs, and what ca-certificates makes."""
    names = [os.path.basename(path).removesuffix(".crt") for path, _ in authorities]
    return {
        # The runner's package depends on ca-certificates.
        "/etc/ssl/certs/ca-certificates.crt",
        *(f"{CA_FOLDER}/{name}.crt" for name in names),
        *(f"/etc/ssl/certs/{name}.pem" for name in names),
    }


def _present(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [r for r in service["runners"] if r.get("state", "present") != "absent"]


def checks(
    at: str, runners: str, service: Mapping[str, Any], made: Collection[str] | None
) -> list[dict[str, Any]]:
    """What the host is asked about a service's paths, for `host_look`.

    Args:
        at: what a service's own variables begin with, for messages.
        runners: the variable with its runners.
        service: user, home, pip_cache_dir and runners.
        made: files that this run brings; none for an image, whose clones get all files later.
    """
    user, home = str(service["user"]), os.path.normpath(str(service["home"]))
    of = {"user": user, "home": home}
    found: list[dict[str, Any]] = [
        {
            "label": f"{at}home",
            "path": home,
            "kind": "folder",
            "execute": True,
            "link": True,
            "user": user,
        },
        {
            "label": f"{at}pip_cache_dir",
            "path": os.path.normpath(str(service["pip_cache_dir"])),
            "kind": "folder",
            **of,
        },
    ]
    for runner in _present(service):
        for key, value, kind in runner_keys.host_paths(runner):
            one: dict[str, Any] = {
                "label": f"{runners} ({runner['name']}).{key}",
                "path": value,
                "kind": kind,
            }
            if kind == "folder":
                one |= {"path": os.path.normpath(value), "execute": key == "builds_dir", **of}
            elif made is None or value in made:
                continue
            elif kind == "private_key":
                one["certificate"] = str(runner.get("tls-cert-file"))
            found.append(one)
    return found


def folders(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The folders that a service's jobs write to, for `file_set`; no other user looks into them."""
    paths = [
        os.path.normpath(value)
        for runner in _present(service)
        for _, value, kind in runner_keys.host_paths(runner)
        if kind == "folder"
    ]
    home = os.path.normpath(str(service["home"]))
    return [
        {"path": path, "state": "directory", "mode": "0700", "owner": str(service["user"])}
        for path in dict.fromkeys(paths)
        # Its own task keeps the home.
        if path != home
    ]


def account_problems(variable: str, user: str, found: Mapping[str, Any] | None) -> list[str]:
    """Why jobs cannot run as an account that the host has."""
    if not found or not found.get("problem"):
        return []
    return [f"{variable}: jobs cannot run as {user!r} on the host: {found['problem']}"]
