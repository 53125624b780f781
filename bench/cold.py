# SPDX-License-Identifier: GPL-3.0-or-later
"""A cold provision against what apt and pip alone need for the same packages.

Fresh hosts, one after the other: containers of the same image, with the same address and the same
lab around them. On the one `site.yml` runs. On the other one `apt-get update` and one
`apt-get install` run, over one SSH connection, with the repositories, pins and keys that `site.yml`
writes already in place, and with exactly the packages and versions that `site.yml` installed:
afterwards both hosts' dpkg records are compared, and a difference fails the bench. Then pip
installs the lock of the tools for publishing into a virtual environment; both hosts fetch it.

How the package cache is equally warm: an image holds only a part of the .deb files ready. So a
provision that is not measured comes first, and all .deb files that it leaves in apt's cache are
put into that of both hosts before the clock runs. apt must then say that it needs to fetch
nothing; otherwise the bench fails. The lists are those of the image on both, and both read them
anew while the clock runs. Each is measured twice, in the order that `ORDER` has.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from bench.playbooks import SITE, Host, Run
from lab.engine import Engine
from lab.hosts import ssh_command
from lab.places import CHECKOUT
from lab.platforms import PLATFORMS
from lab.progress import step
from lab.run import LabError, run
from lab.world import reset

LOCK = CHECKOUT / "requirements-release.txt"
ARCHIVES = "/var/cache/apt/archives"
APT_FILES = ("/etc/apt/sources.list.d", "/etc/apt/preferences.d")
"""Folders in which `site.yml` writes what apt is to know of repositories."""
ORDER = ("site", "apt", "apt", "site")
"""A machine's disk gets slower, or faster, by the minute: it then does so for both alike.

The last one leaves the host provisioned, for all that is measured next.
"""
TIMEOUT = 900.0

# What apt-get says before it fetches, of all that it will install.
_FETCH = re.compile(r"^Need to get (?P<fetch>.+?)(?:/(?P<all>.+?))? of archives\.$", re.MULTILINE)


@dataclass(frozen=True)
class Recipe:
    """What a provision without measurement has left: all that apt alone is to be given."""

    packages: tuple[str, ...]
    """``name=version`` of what was not there before, or in another version."""
    record: dict[str, str]
    """Package to version, of the whole host afterwards."""
    folder: Path
    """On the controller: ``archives`` and ``etc``."""


def installed(engine: Engine, name: str) -> dict[str, str]:
    """Package to version, of all that dpkg calls installed in a container."""
    shown = engine.exec(
        name, "dpkg-query", "-W", "-f", r"${db:Status-Status} ${Package} ${Version}\n"
    ).stdout
    lines = (line.split() for line in shown.splitlines())
    return {line[1]: line[2] for line in lines if line[0] == "installed"}


def added(before: dict[str, str], after: dict[str, str]) -> tuple[str, ...]:
    """``name=version`` of every package that is new, or in another version than before."""
    return tuple(
        f"{name}={version}"
        for name, version in sorted(after.items())
        if before.get(name) != version
    )


def learn(host: Host, folder: Path) -> Recipe:
    """Provisions a fresh host and keeps what apt alone needs to do the same."""
    engine = Engine()
    name = host.lab.container(host.platform)
    before = installed(engine, name)
    host.play(SITE)
    after = installed(engine, name)
    packages = added(before, after)
    if not packages:
        raise LabError(f"host {host.platform} is not fresh: site.yml installed nothing")
    engine("cp", f"{name}:{ARCHIVES}", str(folder / "archives"), timeout=120)
    for file in (folder / "archives").iterdir():
        # What is not a whole package: apt's lock, and the folder of half ones.
        if file.is_dir():
            file.rmdir()
        elif file.suffix != ".deb":
            file.unlink()
    for path in APT_FILES:
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        engine("cp", f"{name}:{path}", str(target))
    return Recipe(packages, after, folder)


def fresh(host: Host, recipe: Recipe) -> None:
    """A new host in place of the old one, with every .deb file in apt's cache."""
    reset(host.lab, PLATFORMS[host.platform])
    name = host.lab.container(host.platform)
    Engine()("cp", f"{recipe.folder}/archives/.", f"{name}:{ARCHIVES}/", timeout=120)
    # What the bench itself wrote must not be written back while the clock runs: dpkg syncs too.
    os.sync()


def provision(host: Host, recipe: Recipe) -> Run:
    """`site.yml` on a fresh host."""
    fresh(host, recipe)
    done = host.play(SITE)
    compare(recipe.record, installed(Engine(), host.lab.container(host.platform)), "site.yml")
    return done


def apt_seconds(host: Host, recipe: Recipe) -> float:
    """Seconds of apt and pip alone on a fresh host."""
    fresh(host, recipe)
    engine, name = Engine(), host.lab.container(host.platform)
    for path in APT_FILES:
        engine("cp", f"{recipe.folder}{path}/.", f"{name}:{path}/")
    engine("cp", str(LOCK), f"{name}:/root/lock.txt")
    network = engine.network(host.lab.network)
    if network is None:
        raise LabError(f"the network of lab {host.lab.name} is gone")
    login = ssh_command(host.lab, network.address(PLATFORMS[host.platform].number))
    # As Ansible's apt module calls it.
    install = [
        "apt-get", "-y", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confdef",
        "-o", "Dpkg::Options::=--force-confold", "install", *recipe.packages,
    ]  # fmt: skip
    script = (
        "set -e; export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8; "
        f"apt-get -q -o APT::Update::Error-Mode=any update >&2; {shlex.join(install)}; "
        "/usr/bin/python3 -m venv /opt/tools; "
        "/opt/tools/bin/pip install -q --no-cache-dir --require-hashes --only-binary :all: "
        "-r /root/lock.txt >&2"
    )
    start = time.monotonic()
    done = run([*login, f"sudo sh -c {shlex.quote(script)}"], timeout=TIMEOUT)
    seconds = time.monotonic() - start
    check_fetched(done.stdout)
    compare(recipe.record, installed(engine, name), "apt alone")
    return seconds


def both(host: Host, recipe: Recipe) -> tuple[list[float], list[Run]]:
    """Seconds of apt alone, and the provisions, in turn."""
    apt: list[float] = []
    runs: list[Run] = []
    for which in ORDER:
        if which == "apt":
            with step(f"apt and pip alone on a fresh host, {len(recipe.packages)} packages"):
                apt.append(apt_seconds(host, recipe))
        else:
            with step("cold provision of a fresh host, one runner"):
                runs.append(provision(host, recipe))
    return apt, runs


def check_fetched(output: str) -> None:
    """Raises LabError unless apt had all packages in its cache."""
    match = _FETCH.search(output)
    if match is None or match["fetch"] != "0 B":
        said = match.group() if match else "apt does not say what it fetches"
        raise LabError(f"the package cache was not warm, so nothing can be compared: {said}")


def compare(wanted: dict[str, str], found: dict[str, str], who: str) -> None:
    """Raises LabError where a host has other packages than the one that was learnt from."""
    if wanted != found:
        wrong = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
        raise LabError(f"{who} installed other packages than the first provision: {wrong}")
