# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner services of a host as one list: the package's own first, then the isolated ones.

Made from the role's variables, which have been validated before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import (
    SERVICE,
    Place,
    place,
)

VARIABLE = "gitlab_runner_isolated"
ISOLATED_UMASK = "0077"
_MAIN_NAMES = {"groups": "user_groups", "shell": "user_shell"}
"""What a setting of the package's own service is called where an isolated one's name differs."""

Entry = Mapping[str, Any]
"""A runner of the inventory: the keys of ``[[runners]]``, with ``gitlab`` and ``state``."""


@dataclass(frozen=True, kw_only=True)
class Service(Place):
    """A runner service: what the inventory says of it, and where it lives on its host.

    Attributes:
        name: of an isolated runner; empty for the package's own service.
        user: the Unix user of its jobs.
        home: that user's home.
        pip_cache_dir: where that user's pip keeps its cache.
        umask: of its jobs.
        hide_processes: whether its jobs see no other user's processes.
        runners: the inventory's entries, those with ``state: absent`` among them; may hold tokens.
        concurrent: how many jobs it runs at once.
        settings: further global keys of config.toml.
        environment: of its jobs.
        groups: supplementary groups of the user.
        shell: the user's login shell; empty for the default.
        known_hosts: lines of known_hosts.
        ssh_keys: SSH keys of its jobs; secret.
    """

    name: str
    user: str
    home: str
    pip_cache_dir: str
    umask: str
    hide_processes: bool
    runners: tuple[Entry, ...] = field(repr=False)
    concurrent: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict, repr=False)
    groups: tuple[str, ...] = ()
    shell: str = ""
    known_hosts: tuple[str, ...] = ()
    ssh_keys: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @property
    def isolated(self) -> bool:
        """True for all but the package's own service."""
        return bool(self.name)

    @property
    def present(self) -> list[Entry]:
        """The runners that it is to have."""
        return present(self.runners)

    @property
    def builds(self) -> list[str]:
        """The folders of its jobs' checkouts."""
        return self._folders("builds_dir", f"{self.home}/builds")

    @property
    def cache(self) -> list[str]:
        """The folders of its jobs' caches."""
        return self._folders("cache_dir", f"{self.home}/cache", self.pip_cache_dir)

    def _folders(self, key: str, *first: str) -> list[str]:
        given = (str(runner[key]) for runner in self.present if runner.get(key))
        return list(dict.fromkeys([*first, *given]))

    def variable(self, key: str) -> str:
        """What the inventory calls one of its settings, for messages."""
        if self.name:
            return f"{VARIABLE} ({self.name}).{key}"
        return main_variable(key)

    def public(self) -> dict[str, Any]:
        """What tasks and templates use of it: nothing that may hold a secret."""
        places = {one.name: getattr(self, one.name) for one in fields(Place)}
        return {
            "name": self.name,
            "isolated": self.isolated,
            **places,
            "user": self.user,
            "home": self.home,
            "umask": self.umask,
            "hide_processes": self.hide_processes,
            "builds": self.builds,
            "cache": self.cache,
            "runners": [str(runner["name"]) for runner in self.present],
        }


def main_variable(key: str) -> str:
    """The variable with a setting of the package's own service."""
    return f"gitlab_runner_{_MAIN_NAMES.get(key, key)}"


def isolated_account(entry: Mapping[str, Any]) -> tuple[str, str]:
    """The user of an isolated runner and that user's home, as its entry says or by default."""
    user = str(entry.get("user") or f"{SERVICE}-{entry['name']}")
    return user, str(entry.get("home") or f"/home/{user}")


def present(entries: Iterable[Entry]) -> list[Entry]:
    """The entries of a list of runners, or of isolated runners, that are to be there."""
    return [entry for entry in entries if entry.get("state", "present") != "absent"]


def services(variables: Mapping[str, Any]) -> list[Service]:
    """The host's services: the package's own first.

    Args:
        variables: the role's, without ``gitlab_runner_`` but as `runner_plan` has them (``groups``,
            ``shell``). Each may be left out.
    """
    isolated = present(variables.get("isolated") or [])
    return [_main(variables), *(_isolated(entry) for entry in isolated)]


def one_service(variables: Mapping[str, Any], name: str) -> Service:
    """One of them, by its name; KeyError if the inventory does not name it."""
    return {service.name: service for service in services(variables)}[name]


def leaving_services(variables: Mapping[str, Any]) -> list[Service]:
    """The isolated runners with ``state: absent``."""
    entries = variables.get("isolated") or []
    return [_isolated(entry) for entry in entries if entry.get("state") == "absent"]


def services_to_remove(variables: Mapping[str, Any], found: Iterable[str]) -> list[Service]:
    """All services of a host that is retired.

    Args:
        variables: as for `services`.
        found: names of the isolated runners that the host has, those of an older inventory too.
    """
    here = {*found}
    listed = [
        *services(variables),
        *(one for one in leaving_services(variables) if one.name in here),
    ]
    unknown = here - {one.name for one in listed}
    return [*listed, *(_isolated({"name": name}) for name in sorted(unknown))]


def _main(variables: Mapping[str, Any]) -> Service:
    user = str(variables.get("user") or SERVICE)
    home = str(variables.get("home") or f"/home/{user}")
    return Service(
        **asdict(place()),
        name="",
        user=user,
        home=home,
        pip_cache_dir=str(variables.get("pip_cache_dir") or f"{home}/.cache/pip"),
        umask=str(variables.get("umask") or "0022"),
        hide_processes=bool(variables.get("hide_processes", True)),
        runners=tuple(variables.get("runners") or ()),
        **_common(variables),
    )


def _isolated(entry: Mapping[str, Any]) -> Service:
    name = str(entry["name"])
    user, home = isolated_account(entry)
    return Service(
        **asdict(place(name)),
        name=name,
        user=user,
        home=home,
        pip_cache_dir=f"{home}/.cache/pip",
        umask=ISOLATED_UMASK,
        hide_processes=True,
        runners=tuple(protected(entry.get("runners") or ())),
        **_common(entry),
    )


def _common(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the variables and an entry of the list of isolated runners call by the same names."""
    return {
        "concurrent": values.get("concurrent", 1),
        "settings": values.get("settings") or {},
        "environment": values.get("environment") or {},
        "groups": tuple(values.get("groups") or ()),
        "shell": str(values.get("shell") or ""),
        "known_hosts": tuple(values.get("known_hosts") or ()),
        "ssh_keys": tuple(values.get("ssh_keys") or ()),
    }


def protected(runners: Iterable[Entry]) -> list[Entry]:
    """An isolated runner's entries; one that GitLab is to create takes protected refs alone.

    A variable that an unprotected branch could read is no secret (GitLab docs, "Protected
    branches", and "Prevent runners from revealing sensitive information").
    """
    found = []
    for runner in runners:
        wanted = runner.get("gitlab")
        # One that is there already may be other hosts' as well.
        if isinstance(wanted, Mapping) and not runner.get("token") and "id" not in wanted:
            runner = {**runner, "gitlab": {"access_level": "ref_protected", **wanted}}
        found.append(runner)
    return found
