# SPDX-License-Identifier: GPL-3.0-or-later
"""A real release upgrade of a host: what do-release-upgrade does, on the stand-in's userland.

Debian's next release in place of Ubuntu's. The packages, their scripts and dpkg are real. Ubuntu's
own part is done here after its source (ubuntu-release-upgrader, DistUpgradeController.py): what
happens to the source files, how apt is called, which packages are removed. The new name is
written to the file that the image diverts (`platforms/prepare.sh`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab import hosts
from lab.engine import Container, Engine, Network, PutFile
from lab.images import debian_mirror, real_image
from lab.places import Lab
from lab.platforms import Platform, platform_after
from lab.progress import step
from lab.run import LabError, run
from lab.world import known_platforms, note_offer, note_release, release_of, up

TIMEOUT = 900.0
"""Seconds for one step of apt over a slow mirror."""

SOURCES = "/etc/apt/sources.list"
PARTS = "/etc/apt/sources.list.d"
OWN = f"{PARTS}/ubuntu.sources"
OTHERS = f"{PARTS}/third-party.sources"
MOVED = f"# Ubuntu sources have moved to {OWN}\n"
UNPARSED = (
    "# This file could not be automatically migrated to a .sources file during the upgrade.\n"
)
POCKETS = ("", "-updates", "-security", "-backports", "-proposed")
KNOWN_OPTIONS = ("arch", "trusted")
"""What python-apt 2.4 to 2.7 takes in the brackets of a one-line entry (aptsources/sourceslist.py);
with any other, `signed-by` too, the line counts as invalid."""

RENAMED = ("/usr/lib/os-release", "/etc/lsb-release")
APT = (
    "env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "LC_ALL=C.UTF-8",
    "apt-get", "-q", "-y",
)  # fmt: skip
KEEP_FILES = ("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold")
# An interrupted lab is created again, so writes need not be synced to the disk.
FAST = ("-o", "Dpkg::Options::=--force-unsafe-io")

_LINE = re.compile(
    r"^(?P<off>#?)\s*(?P<type>deb(?:-src)?)\s+(?:\[(?P<options>[^\]]*)\]\s+)?"
    r"(?P<uri>[a-z+]+:\S+)\s+(?P<suite>\S+)\s*(?P<components>[^#]*)"
)


@dataclass(frozen=True)
class Releases:
    """The release and mirrors of the distribution's entries, before and after.

    Attributes:
        old: suite of the old release.
        new: suite of the new one.
        mirrors: the addresses that the upgrader knows as the distribution's.
    """

    old: str
    new: str
    mirrors: tuple[str, ...]

    def known(self, uri: str) -> bool:
        """Whether an address is one of the distribution's."""
        return uri.rstrip("/") in {one.rstrip("/") for one in self.mirrors}

    def moved(self, suites: Iterable[str]) -> list[str]:
        """The same pockets of the new release; suites of neither release are left out."""
        pockets = {self.old + pocket: self.new + pocket for pocket in POCKETS}
        found = [pockets.get(suite, suite) for suite in suites]
        return [suite for suite in dict.fromkeys(found) if suite in pockets.values()]


def upgraded_sources(files: Mapping[str, str], releases: Releases) -> dict[str, str | None]:
    """apt's source files as the upgrader leaves them; None for a removed file.

    As it does since Ubuntu 24.04: one-line files become deb822 files first, without the options
    that it cannot carry over; then what is not from a known mirror gets `Enabled: no`, and its
    suites stay as they were.
    """
    done: dict[str, str | None] = {}
    stanzas: dict[str, list[str]] = {}
    for path, text in files.items():
        if path.endswith(".list"):
            invalid = _migrate(path, text, releases, stanzas)
            done[path] = MOVED if path == SOURCES else None
            if invalid:
                done[f"{path}.disabled"] = UNPARSED + "".join(f"# {line}\n" for line in invalid)
        elif path.endswith(".sources"):
            stanzas.setdefault(path, []).extend(
                part.strip("\n") + "\n" for part in re.split(r"\n{2,}", text) if part.strip()
            )
    for path, parts in stanzas.items():
        done[path] = "\n".join(_moved(part, releases) for part in parts)
    return done


def _migrate(path: str, text: str, releases: Releases, stanzas: dict[str, list[str]]) -> list[str]:
    """Adds a one-line file's entries to deb822 files; returns the lines that it cannot take."""
    invalid = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if not match:
            continue
        options = (match["options"] or "").split()
        if any(option.partition("=")[0] not in KNOWN_OPTIONS for option in options):
            if not match["off"]:
                invalid.append(line)
            continue
        if match["off"] and match["type"] == "deb-src":
            continue
        target = path.removesuffix(".list") + ".sources"
        if path == SOURCES:
            target = OWN if releases.known(match["uri"]) else OTHERS
        fields = {
            "Enabled": "no" if match["off"] else "",
            "Types": match["type"],
            "URIs": match["uri"],
            "Suites": match["suite"],
            "Components": " ".join(match["components"].split()),
        }
        stanzas.setdefault(target, []).append(
            "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
        )
    return invalid


def _moved(stanza: str, releases: Releases) -> str:
    """A stanza with its suites moved, or disabled where it is not the distribution's."""
    fields = dict(re.findall(r"(?m)^([A-Za-z-]+):[ \t]*(.*)$", stanza))
    if fields.get("Enabled", "yes").lower() == "no" or not fields.get("URIs"):
        return stanza
    suites = releases.moved(fields.get("Suites", "").split())
    if not any(releases.known(uri) for uri in fields["URIs"].split()) or not suites:
        return stanza + "Enabled: no\n"
    return re.sub(r"(?m)^Suites:.*$", f"Suites: {' '.join(suites)}", stanza)


def renamed(text: str, old: Platform, new: Platform) -> str:
    """The text of os-release or lsb-release for the new release."""
    for before, after in (
        (old.ubuntu_name, new.ubuntu_name),
        (old.ubuntu_name.partition(" (")[0], new.ubuntu_name.partition(" (")[0]),
        (old.ubuntu_version, new.ubuntu_version),
        (old.name, new.name),
    ):
        text = text.replace(before, after)
    return text


def next_platform(platform: Platform) -> Platform:
    """The release that hosts of a platform are upgraded to. Raises LabError if there is none."""
    later = platform_after(platform)
    if later is None:
        raise LabError(f"the lab has no release after {platform.name}")
    return later


@dataclass
class Upgrade:
    """A release upgrade of one host, in the same steps as the upgrader."""

    engine: Engine
    lab: Lab
    host: Platform
    network: Network
    container: Container
    old: Platform
    new: Platform

    def sh(self, script: str, timeout: float = TIMEOUT) -> str:
        """A script's output, as root on the host. Raises LabError if it fails."""
        return self.engine.exec(
            self.container.name, "bash", "-euo", "pipefail", "-c", script, timeout=timeout
        ).stdout

    def ssh(self, *command: str) -> None:
        """Runs a command over SSH, as an administrator would start an upgrade."""
        address = self.network.address(self.host.number)
        run(
            [*hosts.ssh_command(self.lab, address), "sudo", "-n", *command],
            timeout=TIMEOUT,
            log=self.lab.state / "os-upgrade.log",
        )

    def packages(self, pattern: str) -> set[str]:
        """Installed packages that match one of apt's patterns (apt-patterns(7))."""
        lines = self.sh(f"LC_ALL=C apt list --installed {pattern!r} 2>/dev/null || true")
        return {line.partition("/")[0] for line in lines.splitlines() if "/" in line}

    def rewrite_sources(self) -> None:
        """The source files as the upgrader leaves them."""
        paths = self.sh(f"ls {SOURCES} {PARTS}/*.list {PARTS}/*.sources 2>/dev/null || true")
        files = {path: self.sh(f"cat {path}") for path in paths.split()}
        mirror = debian_mirror(self.engine, self.old)
        releases = Releases(self.old.debian, self.new.debian, (mirror.main, mirror.security))
        after = upgraded_sources(files, releases)
        self.engine.put(
            self.container.name,
            [PutFile(path, text) for path, text in after.items() if text is not None],
        )
        gone = [path for path, text in after.items() if text is None]
        if gone:
            self.sh(f"rm {' '.join(gone)}")

    def rename(self) -> None:
        """Change the name of the release."""
        self.engine.put(
            self.container.name,
            [
                PutFile(path, renamed(self.sh(f"cat {path}"), self.old, self.new))
                for path in RENAMED
            ],
        )

    def remove(self, candidates: set[str]) -> list[str]:
        """Remove obsolete packages on which nothing else depends; returns their names."""
        here = sorted(candidates & self.packages("?installed"))
        while here:
            said = self.sh(f"{' '.join(APT)} --simulate remove {' '.join(here)}")
            goes = set(re.findall(r"(?m)^Remv (\S+)", said))
            others = goes - candidates
            if not others:
                self.ssh(*APT, "remove", *here)
                break
            # The upgrader skips a package whose removal would remove others.
            blamed = [one for one in here if self._takes(one, others)]
            here = [one for one in here if one not in blamed]
        return here

    def _takes(self, package: str, others: set[str]) -> bool:
        said = self.sh(f"{' '.join(APT)} --simulate remove {package}")
        return bool(others & set(re.findall(r"(?m)^Remv (\S+)", said)))


def offer(lab: Lab, host: Platform) -> Platform:
    """Make the mirror offer the release after a host's; returns that release."""
    new = next_platform(release_of(lab, host))
    note_offer(lab, new)
    up(lab, known_platforms(Engine(), lab, [host]))
    return new


def upgrade(lab: Lab, host: Platform, *, remove_obsolete: bool = True) -> Platform:
    """Upgrade a running host to the next release and restart it; returns that release.

    Args:
        lab: the lab, which is up.
        host: the platform that the host was made as.
        remove_obsolete: whether the old release's packages go that the new one has not
            (RemoveObsoletes, on by default in Ubuntu). What came from third parties stays.

    Raises:
        LabError: for a real Ubuntu image, which has an upgrader of its own; where no such host runs
            or apt fails.
    """
    if real_image(host):
        raise LabError(f"{host.name} is a real Ubuntu: run do-release-upgrade on it")
    old = release_of(lab, host)
    new = next_platform(old)
    engine = Engine()
    found = hosts.find(engine, lab, host)
    network = engine.network(lab.network)
    if found is None or not found.running or network is None:
        raise LabError(f"lab {lab.name} has no running host {host.name} (python -m lab up)")
    note_release(lab, host, new)
    # The mirror needs the new release's suite, and the inventory its Pythons.
    up(lab, known_platforms(engine, lab, [host]))
    todo = Upgrade(engine, lab, host, network, found, old, new)
    with step(f"host {host.name}: sources for {new.name}"):
        obsolete = todo.packages("?obsolete")
        foreign = todo.packages("?not(?narrow(?installed,?origin(Debian)))") - obsolete
        todo.rewrite_sources()
        todo.ssh(*APT, "-o", "APT::Update::Error-Mode=any", "update")
    for words in (("upgrade", "--without-new-pkgs"), ("dist-upgrade",)):
        with step(f"host {host.name}: apt-get {words[0]}"):
            todo.ssh(*APT, *KEEP_FILES, *FAST, *words)
    if remove_obsolete:
        with step(f"host {host.name}: obsolete packages"):
            unused = todo.packages("?garbage")
            todo.remove((todo.packages("?obsolete") | unused) - obsolete - foreign)
    todo.rename()
    with step(f"host {host.name} boots as {new.name}"):
        restart(engine, lab, network, host)
    return new


def restart(engine: Engine, lab: Lab, network: Network, host: Platform) -> str:
    """Restart a host and keep its files; returns the result of `hosts.wait_ready`."""
    address = network.address(host.number)
    # A shared connection to the old system would hang.
    run(hosts.ssh_command(lab, address, "-O", "exit"), check=False, timeout=10)
    begun = time.monotonic()
    engine("restart", "--time", "30", lab.container(host.name), timeout=120)
    said = hosts.wait_ready(engine, lab, network, host)
    if said:
        print(f"  host {host.name} is {said} after {time.monotonic() - begun:.0f} s", flush=True)
    return said
