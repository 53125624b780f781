# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a host's runners: of the inventory's settings, the host's facts and apt's offer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import UPSTREAM
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _env_file,
    _job_user,
    _network,
    _runner_versions,
    _service_files,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_checks import OWN_ID
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_host import (
    HostFacts,
    Logind,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_settings import Settings
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_versions import (
    Packages,
    Repository,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import Service

# The generation of a service that comes out of an image.
IMAGE = "image"


@dataclass(frozen=True)
class PlannedService:
    """A service, and what the host has and should have of it.

    Attributes:
        service: the service.
        environment: the lines of its env-file; may hold a proxy's password.
        generation: the mark of the settings that it is started with.
        account: its user.
        unit_missing: whether the host has no such unit.
        converged: whether systemd has nothing left to do for it.
    """

    service: Service
    environment: str
    generation: str
    account: _job_user.Account
    unit_missing: bool
    converged: bool

    def public(self) -> dict[str, Any]:
        """What tasks and templates use of it."""
        return {
            **self.service.public(),
            "generation": self.generation,
            "unit_missing": self.unit_missing,
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a host's runners need; see RETURN of the module runner_plan."""

    services: tuple[PlannedService, ...]
    leaving: tuple[Service, ...]
    files: list[_service_files.File]
    job_users: str
    new_groups: list[str]
    logind: Logind
    repository: Repository
    repository_is_new: bool
    packages: Packages
    records: Mapping[str, Mapping[str, str]]
    converged: bool
    units_stale: bool
    service_there: bool
    machine: str
    machine_note: str
    settings: Settings

    def public(self) -> dict[str, Any]:
        """The same as tasks read it."""
        paths, packages = self.settings.paths, self.packages
        return {
            "services": [one.public() for one in self.services],
            "services_leaving": [_service_files.with_files_to_remove(one) for one in self.leaving],
            "files": self.files,
            "job_users": self.job_users,
            "accounts": [asdict(one.account) for one in self.services],
            "new_groups": self.new_groups,
            "logind": {"kill": self.logind.kill, "only": list(self.logind.only)},
            "sources": self.repository.sources,
            "preferences": self.repository.preferences,
            # What `packages` simulates an installation with.
            "repository": {
                "files": {
                    paths.sources: self.repository.sources,
                    paths.preferences: self.repository.preferences,
                },
                "duplicates": [
                    {"uris": [self.settings.wanted.url], "suites": [self.settings.wanted.suite]},
                    # It goes where a mirror takes its place.
                    {"uris": [UPSTREAM], "suites": []},
                ],
                "versions": packages.offered,
            },
            "fresh": self.repository_is_new,
            "packages": packages.wanted,
            "missing": packages.missing,
            "installed": packages.installed,
            "upgrade": packages.upgrade,
            "info": self.records,
            "converged": self.converged,
            "units_stale": self.units_stale,
            "service_there": self.service_there,
            "machine": self.machine,
            "machine_note": self.machine_note,
            "own_id": OWN_ID,
        }


def make(
    settings: Settings,
    facts: HostFacts,
    network: _network.Network,
    repository: Repository,
    packages: Packages,
    new_groups: Iterable[str],
) -> Plan:
    """The plan, of what has been checked before."""
    logind = wanted_logind(settings, facts.logind_foreign)
    planned = [planned_service(one, settings, facts, network) for one in settings.services]
    choices = _service_files.HostChoices(
        user_manager=settings.user_manager, image=settings.image, secret=bool(network.login)
    )
    files = [
        item
        for one in planned
        for item in _service_files.written(
            one.service,
            one.generation,
            one.environment,
            choices,
            home_is_link=facts.kinds.get(one.service.home) == "link",
        )
    ]
    return Plan(
        services=tuple(planned),
        leaving=tuple(one for one in settings.leaving if one.name in facts.isolated),
        files=files,
        job_users=_job_user.note(settings.services),
        new_groups=sorted(new_groups),
        logind=logind,
        repository=repository,
        repository_is_new=facts.texts.get(settings.paths.sources) != repository.sources,
        packages=packages,
        records=facts.packages,
        converged=facts.logind == logind and all(one.converged for one in planned),
        units_stale=any(units_stale(one, facts) for one in settings.services),
        service_there=any(service_there(facts.unit(one)) for one in settings.services),
        machine=facts.machine,
        machine_note=json.dumps({"host": settings.host, "machine": facts.machine}) + "\n",
        settings=settings,
    )


# --- one service ---------------------------------------------------------------------------------


def planned_service(
    service: Service, settings: Settings, facts: HostFacts, network: _network.Network
) -> PlannedService:
    """What the host has and should have of a service."""
    environment = environment_of(service, network)
    hidden = settings.services[0].home if service.isolated else ""
    mark = generation(
        service, settings.image, environment, [path for path, __ in network.authorities], hidden
    )
    before = _job_user.noted(facts.texts.get(settings.paths.job_users, ""))
    return PlannedService(
        service=service,
        environment=environment,
        generation=mark,
        account=_job_user.account(service, facts.accounts.get(service.user), before),
        unit_missing=facts.unit(service).get("LoadState") != "loaded",
        converged=converged(
            service, mark, facts.unit(service), facts.manager(service), settings.user_manager
        ),
    )


def environment_of(service: Service, network: _network.Network) -> str:
    """The env-file's lines: the user's, and what the network needs where the user has not said."""
    ours = {"PIP_CACHE_DIR": service.pip_cache_dir, **network.environment()}
    return _env_file.render(_network.with_given(ours, service.environment))


def generation(
    service: Service, image: bool, environment: str, authorities: Sequence[str], hidden: str = ""
) -> str:
    """Digest of what the service reads only at its start; a running one with another is restarted.

    That of an image matches no host: a clone's service starts before its environment is there.

    Args:
        service: the service.
        image: whether an image is being made.
        environment: its env-file's lines.
        authorities: files of private CAs on the host.
        hidden: the home that its jobs do not see.
    """
    if image:
        return IMAGE
    read_at_start = {
        "environment": environment,
        "listen_address": service.settings.get("listen_address", ""),
        "session_server": service.settings.get("session_server", {}),
        "user": [service.user, service.home],
        "umask": service.umask,
        "hide_processes": service.hide_processes,
        "authorities": list(authorities),
    }
    if hidden:
        read_at_start["hidden"] = hidden
    text = json.dumps(read_at_start, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def converged(
    service: Service,
    mark: str,
    unit: Mapping[str, str],
    manager: Mapping[str, str],
    user_manager: bool,
) -> bool:
    """True if systemd has nothing left to do for a service.

    Args:
        service: the service.
        mark: its generation.
        unit: its unit's properties.
        manager: those of its user's systemd manager.
        user_manager: whether the user keeps that.
    """
    disabled = any("zz-runnerhost" in path for path in manager.get("DropInPaths", "").split())
    return (
        unit.get("ActiveState") == "active"
        and unit.get("UnitFileState") == "enabled"
        and unit.get("NeedDaemonReload") == "no"
        and (unit.get("KillSignal"), unit.get("KillMode")) == ("3", "mixed")
        and service.drop_in in unit.get("DropInPaths", "").split()
        and unit.get("generation") == mark
        and unit.get("steady") != "no"
        and disabled == (not user_manager)
    )


def units_stale(service: Service, facts: HostFacts) -> bool:
    """True if systemd has not loaded what lies on disk; a killed run may have left it so."""
    unit, manager = facts.unit(service), facts.manager(service)
    return unit.get("LoadState") == "loaded" and (
        "yes" in (unit.get("NeedDaemonReload"), manager.get("NeedDaemonReload"))
        or service.drop_in not in unit.get("DropInPaths", "").split()
    )


def service_there(unit: Mapping[str, str]) -> bool:
    """True unless the host has no such service; one whose file is gone may still run."""
    return (unit.get("LoadState", "not-found"), unit.get("ActiveState", "inactive")) != (
        "not-found",
        "inactive",
    )


# --- the host ------------------------------------------------------------------------------------


def wanted_logind(settings: Settings, foreign: Logind) -> Logind:
    """What logind should have in force.

    A host that kills every user's processes already goes on doing so: naming users would narrow it.
    """
    if not settings.kill_leftover_processes:
        return foreign
    if foreign.kill and not foreign.only:
        return Logind(kill=True, only=())
    others = foreign.only if foreign.kill else ()
    users = (one.user for one in settings.services)
    return Logind(kill=True, only=tuple(sorted({*others, *users})))


def needs_offer(settings: Settings, facts: HostFacts, repository: Repository) -> bool:
    """True if apt must be asked what the repository offers."""
    written = (
        facts.texts.get(settings.paths.sources),
        facts.texts.get(settings.paths.preferences),
    )
    return (
        bool(_runner_versions.missing(facts.packages, settings.wanted.pattern))
        or _runner_versions.wants_newest(settings.wanted, facts.packages)
        or written != (repository.sources, repository.preferences)
    )
