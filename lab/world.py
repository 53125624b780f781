# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole lab: up, down, and its current state.

The state is always read from the engine, the kernel and the servers, never
from files: the next `up` completes one that was killed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab import hosts, services
from lab.engine import Engine, Network
from lab.images import ensure_image, real_image
from lab.inventory import (
    copy_keys,
    inventory,
    read_tokens,
    write_inventory,
    write_tokens,
)
from lab.mirror import (
    COMPANY_PYTHON_PATH,
    COMPANY_RUNNER_PATH,
    Repository,
    ensure_company_mirror,
    ensure_python_repository,
    ensure_runner_repository,
)
from lab.package_index import index_environment
from lab.packages import Runner, find_runner
from lab.pki import ensure_server_certificate
from lab.places import INDEXES, Lab, cache_dir, locked, write
from lab.platforms import Platform, all_platforms, upstream_world
from lab.progress import step
from lab.publishing import ensure_publishing, publishing_variables
from lab.upstream import preflight
from lab.vendor import vendor_files

if TYPE_CHECKING:
    from standins.gitlab.client import LabGitLab

TOKENS_PER_HOST = 10


@dataclass(frozen=True)
class World:
    """A lab that is up."""

    lab: Lab
    network: Network
    platforms: tuple[Platform, ...]
    runner: Runner
    changed: bool
    """Whether anything was created or started."""


def _lock_path(lab: Lab) -> Path:
    # Outside the state folder, which `down` removes.
    return cache_dir() / "locks" / f"{lab.id}.lock"


def release_of(lab: Lab, platform: Platform) -> Platform:
    """The release that a host has now: as made, or as upgraded (`lab.os_upgrade`)."""
    return all_platforms()[_releases(lab).get(platform.name, platform.name)]


def note_release(lab: Lab, platform: Platform, release: Platform) -> None:
    """Record the release that a host is upgraded to; its own platform after it is created again."""
    noted = {**_releases(lab), platform.name: release.name}
    known = {name: one for name, one in noted.items() if name != one}
    if known != _releases(lab):
        write(lab.state / "releases.json", json.dumps(known))


def _releases(lab: Lab) -> dict[str, str]:
    path = lab.state / "releases.json"
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found


def note_offer(lab: Lab, release: Platform) -> None:
    """Make the mirror offer a release that no host has yet, from the next `up` on."""
    offered = sorted({*_offered(lab), release.name})
    if offered != _offered(lab):
        write(lab.state / "offered.json", json.dumps(offered))


def _offered(lab: Lab) -> list[str]:
    path = lab.state / "offered.json"
    found: list[str] = json.loads(path.read_text()) if path.exists() else []
    return found


def up(
    lab: Lab,
    platforms: Sequence[Platform],
    *,
    fresh: Sequence[str] = (),
    publishing: bool = False,
) -> World:
    """Create and start everything that is missing.

    `fresh`: hosts that are created again. `publishing`: give the hosts a runner for uploads,
    which they keep from then on.
    """
    engine = Engine()
    message = f"  waiting for another command on lab {lab.name}"
    with locked(_lock_path(lab), wait_message=message):
        runner = find_runner()
        if upstream_world():
            preflight(engine, platforms)
        images = {platform.name: ensure_image(engine, platform) for platform in platforms}
        repositories: dict[str, Repository] = {}
        if not upstream_world():
            there = known_platforms(engine, lab, platforms)
            suites = {one.name for one in there} | {release_of(lab, one).name for one in there}
            suites |= set(_offered(lab))
            repositories = _stand_in_repositories(
                engine, runner, [one for one in all_platforms().values() if one.name in suites]
            )
        lab.make_state()
        hosts.make_control_dir(lab)
        network = engine.network(lab.network) or engine.make_network(lab.network, lab.id)
        secrets = services.ensure_secrets(lab)
        gateway = str(network.gateway)
        hosts.write_known_hosts(lab, network, known_platforms(engine, lab, platforms))

        started = []
        for platform in platforms:
            found = hosts.find(engine, lab, platform)
            address, image = network.address(platform.number), images[platform.name]
            if platform.name in fresh or not hosts.is_ready(found, image, address):
                more = vendor_files(platform, repositories["runner"]) if repositories else []
                hosts.start(engine, lab, network, platform, image, more)
                note_release(lab, platform, platform)
                started.append(platform)
        settings = services.ServeSettings(
            address=gateway,
            certificate=str(ensure_server_certificate(lab, gateway)),
            repositories={one.path: str(one.folder) for one in repositories.values()},
            runner=str(runner),
            **secrets,
        )
        with step("services: GitLab, package mirror and package indexes"):
            served = services.ensure_service(lab, settings)
        for platform in started:
            with step(f"host {platform.name} boots"):
                odd = hosts.wait_ready(engine, lab, network, platform)
            if odd:
                print(f"  host {platform.name} is {odd}", flush=True)
        tokens = _ensure_tokens(lab, gateway, secrets, platforms)
        if publishing:
            with _gitlab(lab, gateway, secrets) as gitlab:
                ensure_publishing(lab, gitlab, [platform.name for platform in platforms])
        # The company's two repositories have one key.
        named = {name: one for name, one in repositories.items() if name != "company_runner"}
        keys = copy_keys(lab, named)
        releases = {platform.name: release_of(lab, platform) for platform in platforms}
        write_inventory(
            lab,
            inventory(
                lab,
                network,
                platforms,
                runner,
                keys,
                tokens,
                index_environment(),
                releases,
                publishing_variables(lab, services.gitlab_url(gateway), secrets),
            ),
        )
        return World(lab, network, tuple(platforms), runner, bool(started) or served)


def _stand_in_repositories(
    engine: Engine, runner: Runner, platforms: Sequence[Platform]
) -> dict[str, Repository]:
    """The lab's own repositories, and a company's mirror of both."""
    python, packages = ensure_python_repository(engine, platforms), ensure_runner_repository(runner)
    return {
        "python": python,
        "runner": packages,
        "company": ensure_company_mirror(python, COMPANY_PYTHON_PATH),
        "company_runner": ensure_company_mirror(packages, COMPANY_RUNNER_PATH),
    }


def known_platforms(engine: Engine, lab: Lab, platforms: Sequence[Platform]) -> list[Platform]:
    """The wanted platforms and those that are there from earlier."""
    there = {one.labels.get(hosts.PLATFORM_LABEL, "") for one in engine.containers(lab.id)}
    there |= {platform.name for platform in platforms}
    return [platform for platform in all_platforms().values() if platform.name in there]


def _ensure_tokens(
    lab: Lab, gateway: str, secrets: dict[str, str], platforms: Sequence[Platform]
) -> dict[str, list[str]]:
    """Create runners for every host through GitLab's API; [] without a GitLab."""
    if not services.gitlab_exists():
        return {platform.name: [] for platform in platforms}
    known = read_tokens(lab)
    with _gitlab(lab, gateway, secrets) as gitlab:
        for platform in platforms:
            mine = known.setdefault(platform.name, [])
            while len(mine) < TOKENS_PER_HOST:
                made = gitlab.create_runner(
                    description=f"{platform.name} {len(mine) + 1}",
                    # The host's own tag: with several hosts a job can choose.
                    tag_list=platform.name,
                    run_untagged=True,
                )
                mine.append({"id": made.id, "token": made.token})
                write_tokens(lab, known)
    return {platform.name: [one["token"] for one in known[platform.name]] for platform in platforms}


def _gitlab(lab: Lab, gateway: str, secrets: dict[str, str]) -> LabGitLab:
    from standins.gitlab.client import LabGitLab

    url = services.gitlab_url(gateway)
    return LabGitLab(url, secrets["lab_secret"], secrets["admin_token"], lab.ca_file)


def reset(lab: Lab, platform: Platform) -> World:
    """Replace one host by a fresh one; the others stay as they are, in the inventory too."""
    there = known_platforms(Engine(), lab, [platform])
    return up(lab, there, fresh=[platform.name])


def down(lab: Lab) -> None:
    """Remove the whole lab; the cache is kept."""
    engine = Engine()
    with locked(_lock_path(lab)):
        hosts.close_connections(lab)
        network = engine.network(lab.network)
        services.stop(lab)
        if network:
            # Stop the services first: the gateway's address disappears with the last host.
            services.stop_orphan(lab, str(network.gateway))
        engine.remove(*(one.name for one in engine.containers(lab.id)))
        if network:
            engine("network", "rm", "--force", lab.network)
        lab.inventory.unlink(missing_ok=True)
        shutil.rmtree(lab.state, ignore_errors=True)


@dataclass(frozen=True)
class HostStatus:
    """One host as it is now."""

    name: str
    address: str
    state: str
    """"ready", "running, no SSH", "stopped"."""
    image: str


@dataclass(frozen=True)
class Status:
    """A lab as it is now."""

    network: Network | None
    hosts: tuple[HostStatus, ...]
    service_pid: int | None
    gitlab: bool
    mirror: bool
    indexes: bool
    runner: str
    """The content of the mirror's package gitlab-runner: "real …" or "stand-in …"."""
    packages: bool
    """Whether the mirror has packages: it has none with WORLD=upstream."""

    @property
    def is_up(self) -> bool:
        """Whether all parts answer."""
        return bool(self.hosts) and self.mirror and self.indexes and (
            self.gitlab or not services.gitlab_exists()
        ) and all(host.state == "ready" for host in self.hosts)  # fmt: skip


def status(lab: Lab) -> Status:
    """Read the state of the lab; changes nothing."""
    engine = Engine()
    network = engine.network(lab.network)
    gateway = str(network.gateway) if network else ""
    found = []
    for one in engine.containers(lab.id):
        state = "stopped"
        if one.running:
            state = "ready" if hosts.answers(one.address) else "running, no SSH"
        name = one.labels.get(hosts.PLATFORM_LABEL, one.name)
        real = name in all_platforms() and real_image(all_platforms()[name])
        image = f"{one.image}{' (real Ubuntu)' if real else ''}"
        found.append(HostStatus(name, one.address, state, image))
    settings = services.settings_of(lab)
    return Status(
        network=network,
        hosts=tuple(found),
        service_pid=services.service_pid(lab),
        gitlab=bool(gateway) and lab.secrets.exists() and services.gitlab_answers(lab, gateway),
        mirror=bool(gateway) and services.health(gateway) is not None,
        indexes=bool(gateway)
        and all(services.index_answers(lab, gateway, which) for which in INDEXES),
        runner=settings.runner if settings else "none, the lab is not up",
        packages=not settings or bool(settings.repositories),
    )
