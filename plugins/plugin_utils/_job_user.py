# SPDX-License-Identifier: GPL-3.0-or-later
"""A service's user and the folders of its jobs: validated, asked about, and as they should be."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _system
from ansible_collections.runnerhost.toolkit.plugins.module_utils._host_checks import Check
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _authorities,
    _runner_validation,
    _ssh_access,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import (
    Service,
    main_variable,
)

DEFAULTS: dict[str, Any] = {"groups": [], "shell": "", "known_hosts": [], "ssh_keys": []}
_GROUP_OF = {
    "docker": re.compile(r"docker\.io|docker-ce|moby-engine"),
    "libvirt": re.compile(r"libvirt-daemon-system"),
    "sbuild": re.compile(r"sbuild"),
}
"""Groups that these packages make where they are not there yet."""
_SCRIPT = re.compile(r"(?:(?:bash|sh|source|\.)\s+)?(/[\w./-]+)")
_CACHES = re.compile(
    r"(?:\w+_)?(?:CACHE|CACHE_DIR|CACHE_HOME)|CCACHE_DIR|CARGO_HOME|RUSTUP_HOME|GOPATH"
)
"""Variables of the environment whose folder a program of a job makes itself."""
_GROUP = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")


def problems(at: str, service: Mapping[str, Any]) -> list[str]:
    """What is wrong with what a service says of its user; ``at`` is empty for the main one's."""
    names = {key: f"{at}.{key}" if at else main_variable(key) for key in DEFAULTS}
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


def login_problems(services: Iterable[Service], login: str) -> list[str]:
    """Why jobs cannot run as the login of Ansible, which may become root.

    Args:
        services: the host's.
        login: the inventory's ansible_user; empty if it names none.
    """
    return [
        f"{service.variable('user')}: invalid value {login!r}, Ansible's own login (ansible_user): "
        "each job would have its rights; expected a user for jobs alone"
        for service in services
        if service.user == login
    ]


def noted(text: str) -> dict[str, list[str]]:
    """The groups that the toolkit has given, by user, as `note` writes them."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def note(services: Iterable[Service]) -> str:
    """Which groups the inventory gives to which user, to remove those that it drops later."""
    given = {one.user: sorted({*one.groups}) for one in services if one.groups}
    return json.dumps(given, sort_keys=True) + "\n" if given else ""


@dataclass(frozen=True)
class Account:
    """What a service's user should be, for the user module.

    Attributes:
        user: its name.
        home: its home.
        shell: its login shell.
        groups: its supplementary groups.
        missing: whether the host does not have it.
        changed: whether it differs from that.
    """

    user: str
    home: str
    shell: str
    groups: list[str]
    missing: bool
    changed: bool


def account(
    service: Service, found: Mapping[str, Any] | None, before: Mapping[str, list[str]]
) -> Account:
    """What the user should be, and whether it is.

    Args:
        service: whose user it is.
        found: the account that the host has, as `host_info` returns it.
        before: the groups that the toolkit has given, by user.
    """
    now = list(found["groups"]) if found else []
    given = before.get(service.user, [])
    wanted = sorted({*now} - {*given} | {*service.groups})
    shell = service.shell or (str(found["shell"]) if found else "/bin/bash")
    return Account(
        user=service.user,
        home=service.home,
        shell=shell,
        groups=wanted,
        missing=found is None,
        changed=not found or (sorted(now), found["shell"]) != (wanted, shell),
    )


def account_problems(service: Service, found: Mapping[str, Any] | None) -> list[str]:
    """Why the service cannot use the account that the host has."""
    if not found:
        return []
    problems = []
    if found["home"] != service.home:
        # A user that is there already keeps its home.
        problems.append(
            f"{service.variable('home')}: invalid value {service.home!r}; the user {service.user} "
            f"exists with the home {found['home']!r}: set the variable to that"
        )
    if found.get("problem"):
        problems.append(
            f"{service.variable('user')}: jobs cannot run as {service.user!r} on the host: "
            f"{found['problem']}"
        )
    return problems


def new_groups(
    variable: str, missing: Iterable[str], packages: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Missing groups that a package of this run brings, and a refusal of each other one."""
    listed = [str(package) for package in packages]
    wanted = list(missing)
    brought = [
        group
        for group in wanted
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
        for group in wanted
        if group not in brought
    ]
    return brought, refused


def certificates(authorities: Iterable[tuple[str, str]]) -> set[str]:
    """Files of certificates that a run brings: private CAs, and what ca-certificates makes."""
    names = [os.path.basename(path).removesuffix(".crt") for path, __ in authorities]
    return {
        # The runner's package depends on ca-certificates.
        _system.TRUST_BUNDLE,
        *(f"{_authorities.FOLDER}/{name}.crt" for name in names),
        *(f"/etc/ssl/certs/{name}.pem" for name in names),
    }


def checks(service: Service, made: Collection[str] | None) -> list[Check]:
    """What the host is asked about a service's paths, for `host_info`.

    Args:
        service: whose jobs use them.
        made: files that this run brings; none for an image, whose clones get all files later.
    """
    home = os.path.normpath(service.home)
    present = service.present
    found: list[Check] = [
        {
            "label": service.variable("home"),
            "path": home,
            "kind": "folder",
            # The builds are there, unless each runner says where its own are.
            "execute": not present or any(not r.get("builds_dir") for r in present),
            "link": True,
            "user": service.user,
            "groups": service.groups,
        },
        {
            "label": service.variable("pip_cache_dir"),
            "path": os.path.normpath(service.pip_cache_dir),
            "kind": "folder",
            "user": service.user,
            "home": home,
            "groups": service.groups,
        },
    ]
    if service.shell and made is not None and service.shell not in made:
        label = service.variable("shell")
        found.append({"label": label, "path": service.shell, "kind": "program"})
    if made is not None:
        found += _environment_checks(service, home)
        found += _host_key_checks(service)
        found += _script_checks(service)
    for runner in present:
        for key, value, kind in _runner_validation.host_paths(runner):
            one: Check = {
                "label": f"{service.variable('runners')} ({runner['name']}).{key}",
                "path": value,
                "kind": kind,
            }
            if kind == "folder":
                one["path"] = os.path.normpath(value)
                one["execute"] = key == "builds_dir"
                one["user"], one["home"], one["groups"] = service.user, home, service.groups
            elif made is None or value in made:
                continue
            elif kind == "private_key":
                one["certificate"] = str(runner.get("tls-cert-file"))
            found.append(one)
    return found


def _script_checks(service: Service) -> Iterator[Check]:
    """Scripts that are nothing but the path of one on the host."""
    for runner in service.present:
        for key in (key for key in runner if key.endswith("_script")):
            named = _SCRIPT.fullmatch(str(runner[key]).strip())
            if named:
                yield {
                    "label": f"{service.variable('runners')} ({runner['name']}).{key}",
                    "path": named[1],
                    "kind": "file",
                    "mild": True,
                }


def _host_key_checks(service: Service) -> Iterator[Check]:
    """Hosts for which jobs have a key, and that ssh must know."""
    lines = "\n".join(_ssh_access.host_lines(list(service.known_hosts)))
    if "StrictHostKeyChecking" in str(service.environment.get("GIT_SSH_COMMAND")):
        return
    for key in service.ssh_keys:
        for host in key["hosts"]:
            if not re.search(r"[*?!]", host):
                yield {
                    "label": f"{service.variable('ssh_keys')} ({key['name']}).hosts",
                    "path": str(host),
                    "kind": "host_key",
                    "home": service.home,
                    "lines": lines,
                    "mild": True,
                }


def _environment_checks(service: Service, home: str) -> Iterator[Check]:
    """Folders that the jobs' environment names; not those that are made for the user.

    Programs make the folders of their caches below those, and nobody makes one for TMPDIR there.
    """
    made = (home, service.pip_cache_dir, *folders(service))
    own = tuple(f"{os.path.normpath(path)}/" for path in made)
    for name, value in service.environment.items():
        path = os.path.normpath(str(value))
        label = f"{service.variable('environment')}.{name}"
        if not path.startswith("/") or f"{path}/".startswith(f"{home}/") or f"{path}/" in own:
            continue
        if name == "TMPDIR":
            yield {"label": label, "path": path, "kind": "directory"}
        elif _CACHES.fullmatch(name) and not path.startswith(own):
            yield {
                "label": label,
                "path": path,
                "kind": "writable",
                "user": service.user,
                "groups": service.groups,
                "mild": True,
            }


def folders(service: Service) -> list[str]:
    """The folders beside its home that a service's jobs write to."""
    paths = [
        os.path.normpath(value)
        for runner in service.present
        for __, value, kind in _runner_validation.host_paths(runner)
        if kind == "folder"
    ]
    home = os.path.normpath(service.home)
    return [path for path in dict.fromkeys(paths) if path != home]
