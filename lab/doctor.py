# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks what this machine lacks for a lab, and shows the command that installs it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.apt_sources import controller_mirror
from lab.engine import Engine, detect_needs
from lab.images import real_image
from lab.packages import find_runner
from lab.places import cache_dir
from lab.platforms import PLATFORMS, Platform, chosen_platforms, upstream_world
from lab.run import LabError, run
from lab.trust import BUNDLE_VARIABLES, certificates, controller_bundle
from lab.upstream import addresses, reach

MEMORY_NEEDED = 2 * 1024**3
"""Bytes: a host that compiles, the services, and Ansible."""
DISK_NEEDED = 5 * 1024**3
"""Bytes: images and a host's own layer."""

PROGRAMS = {
    "podman": "podman", "mmdebstrap": "mmdebstrap", "apt-ftparchive": "apt-utils",
    "dpkg-deb": "dpkg", "gpg": "gnupg", "gpgconf": "gnupg", "ssh": "openssh-client",
    "ssh-keygen": "openssh-client", "git": "git", "iptables": "iptables",
}  # fmt: skip
"""Program to the Debian package that has it."""
MODULES = ("fastapi", "uvicorn", "requests", "trustme", "cryptography", "yaml", "multipart")
SYSTEM_PATH = "/usr/sbin:/sbin"
"""Not on an ordinary user's PATH, but on sudo's."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_HELPER = "/usr/lib/apt/apt-helper"
NETAVARK = (Path("/usr/lib/podman/netavark"), Path("/usr/libexec/podman/netavark"))


@dataclass(frozen=True)
class Finding:
    """One check of the machine. `remedy` is empty if it passed."""

    name: str
    found: str
    remedy: str = ""


def examine() -> int:
    """Print every finding; 1 if anything is missing."""
    looks: list[Callable[[], list[Finding]]] = [
        _programs, _modules, _cgroups, _engine, _memory, _disk, _packages, _trust, _runner,
    ]  # fmt: skip
    findings: list[Finding] = []
    for look in looks:
        try:
            findings += look()
        except LabError as error:
            findings.append(Finding(look.__name__.strip("_"), str(error), "see the message"))
    for one in findings:
        print(f"{'ok     ' if not one.remedy else 'MISSING'}  {one.name}: {one.found}")
        if one.remedy:
            print(f"         -> {one.remedy}")
    return 1 if any(one.remedy for one in findings) else 0


def _install(*packages: str) -> str:
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install --no-install-recommends {' '.join(packages)}"


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


def _programs() -> list[Finding]:
    wanted = dict(PROGRAMS)
    needs = detect_needs()
    # An engine needs one runtime; with cgroup v1 it must be runc.
    if needs.legacy_cgroups or not (_which("crun") or _which("runc")):
        wanted["runc"] = "runc"
    if os.geteuid() != 0:
        wanted |= {"sudo": "sudo", "newuidmap": "uidmap"}
    missing = sorted({package for program, package in wanted.items() if not _which(program)})
    if not any(path.exists() for path in NETAVARK):
        missing.append("netavark")
    if not KEYRING.exists():
        missing.append("debian-archive-keyring")
    if missing:
        return [Finding("programs", f"not installed: {' '.join(missing)}", _install(*missing))]
    return [Finding("programs", "all there")]


def _modules() -> list[Finding]:
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        return [Finding("python modules", f"not there: {' '.join(missing)}", "make venv")]
    return [Finding("python modules", "all there")]


def _cgroups(root: Path = Path("/")) -> list[Finding]:
    groups = root / "sys/fs/cgroup"
    # v2, or v1 with the hierarchy that systemd keeps its units in (systemd, "Control Group APIs").
    if not ((groups / "cgroup.controllers").exists() or (groups / "systemd").is_dir()):
        return [Finding("cgroups", f"none at {groups}: systemd cannot run in a container",
                        "mount them: mount -t cgroup2 cgroup2 /sys/fs/cgroup; in a container, take"
                        " a machine or a privileged container")]  # fmt: skip
    needs = detect_needs(root)
    found = "v1 or hybrid: runc, systemd told to accept it" if needs.legacy_cgroups else "v2"
    if needs.no_ulimits:
        found += "; no CAP_SYS_RESOURCE: containers without ulimits"
    return [Finding("cgroups", found)]


def _engine() -> list[Finding]:
    if not _which("podman"):
        return [Finding("engine", "podman is not installed", _install("podman"))]
    done = Engine()("info", "--format", "{{.Version.Version}} {{.Host.OCIRuntime.Name}}",
                    check=False)  # fmt: skip
    if done.returncode == 0:
        return [Finding("engine", f"podman {done.stdout.strip()}")]
    words = (done.stderr.strip().splitlines() or ["no answer"])[-1]
    return [Finding("engine", f"podman does not work: {words}", "sudo podman info says why")]


def _memory(meminfo: Path = Path("/proc/meminfo")) -> list[Finding]:
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = sum(int(fields[name].split()[0]) for name in ("MemAvailable", "SwapFree")) * 1024
    lacks = available < MEMORY_NEEDED
    remedy = f"a lab takes {_size(MEMORY_NEEDED)}: end other programs, or add swap" if lacks else ""
    return [Finding("memory", f"{_size(available)} available", remedy)]


def _disk() -> list[Finding]:
    found = []
    for name, path in (("cache", cache_dir()), ("containers", Path("/var/lib"))):
        free = shutil.disk_usage(path).free
        remedy = "" if free >= DISK_NEEDED else f"free {_size(DISK_NEEDED)} at {path}"
        found.append(Finding(f"disk for {name}", f"{_size(free)} free at {path}", remedy))
    return found


def _packages() -> list[Finding]:
    """Where the hosts' packages come from, in the world that WORLD asks for."""
    return _upstream(chosen_platforms()) if upstream_world() else _mirror()


def _upstream(platforms: Sequence[Platform]) -> list[Finding]:
    found = []
    for name, address in addresses(platforms).items():
        why = reach(address)
        remedy = "WORLD=upstream needs it: a way to the internet, or no WORLD" if why else ""
        found.append(Finding(name, f"{address} {why or 'answers'}", remedy))
    # Only pulling it would be a sure test, which takes long: `up` does it.
    found += [Finding(f"image for {platform.name}", f"{real_image(platform)}, pulled by `up`")
              for platform in platforms]  # fmt: skip
    return found


def _mirror() -> list[Finding]:
    mirror = controller_mirror()
    if mirror is None:
        return [Finding("Debian's archive", "not among apt's sources: mmdebstrap's default")]
    if not mirror.security:
        remedy = "add the security archive to apt's sources, then apt-get update"
        return [Finding("Debian's archive", f"{mirror.main}, no Debian-Security", remedy)]
    found = []
    suites = {platform.debian for platform in PLATFORMS.values()}
    suites |= {one.suite for platform in PLATFORMS.values() for one in platform.foreign_pythons}
    for suite in sorted(suites):
        address = f"{mirror.main.rstrip('/')}/dists/{suite}/Release"
        # apt's own transport: it knows the proxies and authorities that apt is set to.
        with tempfile.TemporaryDirectory(prefix="rh-doctor-") as scratch:
            helper = run(
                [APT_HELPER, "-q", "download-file", address, f"{scratch}/Release"],
                check=False,
                timeout=30,
            )
        remedy = ""
        if helper.returncode != 0:
            remedy = f"apt's sources must name a mirror that answers and has {suite}: {address}"
        state = "answers" if not remedy else "no answer"
        found.append(Finding(f"Debian {suite}", f"{mirror.main} {state}", remedy))
    return found


def _trust() -> list[Finding]:
    found = []
    for variable in BUNDLE_VARIABLES:
        named = os.environ.get(variable)
        if named and not Path(named).is_file():
            remedy = f"unset {variable}, or name a file of PEM certificates"
            found.append(Finding(variable, f"{named}: no such file", remedy))
    count = len(certificates(controller_bundle()))
    remedy = "" if count else _install("ca-certificates")
    return [*found, Finding("trusted authorities", f"{count}, handed on to the hosts", remedy)]


def _runner() -> list[Finding]:
    return [Finding("gitlab-runner", str(find_runner()))]


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB"
