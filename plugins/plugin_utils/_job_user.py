# SPDX-License-Identifier: Apache-2.0
"""The jobs' account and what the inventory names on the host for them: asked, and made."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _runner_validation,
    _ssh_access,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import CA_FOLDER

NOTE = "/var/lib/runnerhost/job-users.json"
"""Which groups the inventory has given to which user: one that it no longer names is taken away."""
MAIN = {
    "groups": "gitlab_runner_user_groups",
    "shell": "gitlab_runner_user_shell",
    "known_hosts": "gitlab_runner_known_hosts",
    "ssh_keys": "gitlab_runner_ssh_keys",
}
"""What an isolated runner's entry calls by a short name."""
DEFAULTS: dict[str, Any] = {"groups": [], "shell": "", "known_hosts": [], "ssh_keys": []}
_GROUP_OF = {
    "docker": re.compile(r"docker\.io|docker-ce|moby-engine"),
    "libvirt": re.compile(r"libvirt-daemon-system"),
    "sbuild": re.compile(r"sbuild"),
}
"""Groups that these packages make where they are not there yet."""
_GROUP = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")


def problems(at: str, service: Mapping[str, Any]) -> list[str]:
    """What is wrong with what a service says of its user; ``at`` is empty for the main one's."""
    names = {key: f"{at}.{key}" if at else name for key, name in MAIN.items()}
    found = []
    groups, shell = service["groups"], service["shell"]
    if not isinstance(groups, list):
        found.append(f"{names['groups']}: expected a list of groups")
        groups = []
    found += [
        f"{names['groups']}: invalid value {group!r}; expected a Unix group's name"
        for group in groups
        if not isinstance(group, str) or not _GROUP.match(group) or group == "root"
    ]
    if not isinstance(shell, str) or (shell and not re.match(r"/[A-Za-z0-9._/-]+\Z", shell)):
        found.append(
            f"{names['shell']}: invalid value {shell!r}; expected a path such as /bin/bash"
        )
    found += _ssh_access.known_hosts_problems(names["known_hosts"], service["known_hosts"])
    return found + _ssh_access.keys_problems(names["ssh_keys"], service["ssh_keys"])


def noted(text: str) -> dict[str, list[str]]:
    """The groups that the toolkit has given, by user."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def account(
    service: Mapping[str, Any], found: Mapping[str, Any] | None, before: Mapping[str, list[str]]
) -> dict[str, Any]:
    """What the user should be, and whether it is: for the user module."""
    now = list(found["groups"]) if found else []
    given = before.get(str(service["user"]), [])
    wanted = sorted({*now} - {*given} | {*service["groups"]})
    shell = str(service["shell"] or (found["shell"] if found else "/bin/bash"))
    return {
        "user": str(service["user"]),
        "home": str(service["home"]),
        "shell": shell,
        "groups": wanted,
        "missing": found is None,
        "changed": not found or (sorted(now), found["shell"]) != (wanted, shell),
    }


def new_groups(
    variable: str, missing: list[str], packages: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Missing groups that a package of this run brings, and a refusal of each other one."""
    listed = [str(package) for package in packages]
    brought = [
        group
        for group in missing
        if group in _GROUP_OF and any(_GROUP_OF[group].fullmatch(name) for name in listed)
    ]
    refused = [
        f"{variable}: the host has no group {group!r}; "
        + (
            "add the package that brings it to build_tools_extra_packages, or "
            if group in _GROUP_OF
            else ""
        )
        + f"make it on the host: groupadd --system {group}"
        for group in missing
        if group not in brought
    ]
    return brought, refused


def note(services: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The file that says which groups the inventory gives, for `file_set`."""
    given = {str(s["user"]): sorted({*s["groups"]}) for s in services if s["groups"]}
    if not given:
        return {"path": NOTE, "state": "absent"}
    return {"path": NOTE, "content": json.dumps(given, sort_keys=True) + "\n"}


def access(name: str, service: Mapping[str, Any], image: bool) -> list[dict[str, Any]]:
    """A service's SSH files; none in an image, which holds no secret."""
    lines = [] if image else _ssh_access.host_lines(service["known_hosts"])
    keys = [] if image else list(service["ssh_keys"])
    return _ssh_access.files(name, str(service["user"]), lines, keys)


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
    """What the host is asked about a service's paths, for `host_info`.

    Args:
        at: what a service's own variables begin with, for messages.
        runners: the variable with its runners.
        service: user, home, pip_cache_dir and runners.
        made: files that this run brings; none for an image, whose clones get all files later.
    """
    user, home = str(service["user"]), os.path.normpath(str(service["home"]))
    of = {"user": user, "home": home}
    present = _present(service)
    found: list[dict[str, Any]] = [
        {
            "label": f"{at}home",
            "path": home,
            "kind": "folder",
            # The builds are there, unless each runner says where its own are.
            "execute": not present or any(not r.get("builds_dir") for r in present),
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
    if service["shell"] and made is not None:
        label = f"{at}shell" if at.endswith(".") else MAIN["shell"]
        found.append({"label": label, "path": str(service["shell"]), "kind": "program"})
    for runner in present:
        for key, value, kind in _runner_validation.host_paths(runner):
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
        for _, value, kind in _runner_validation.host_paths(runner)
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
