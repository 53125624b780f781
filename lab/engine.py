# SPDX-License-Identifier: GPL-3.0-or-later
"""Podman through its command line, on ordinary and on unusual machines.

Two special cases are detected, and options are only forced if they apply
(both seen on virtual machines with podman 4.3):

- cgroups v1 or "hybrid": crun refuses (`cgroups in hybrid mode not supported`),
  runc works; systemd 256 and newer must be told to accept v1.
- no CAP_SYS_RESOURCE: podman's default ulimits fail (`setrlimit
  RLIMIT_NOFILE: Operation not permitted`), so there must be none.
"""

from __future__ import annotations

import io
import ipaddress
import json
import os
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.places import cache_dir, digest, write
from lab.run import QUICK, LabError, run

LABEL = "runnerhost.lab"
"""Label of everything that belongs to a lab; its value is the lab's id."""

CAP_SYS_RESOURCE = 24
"""Bit number, linux/capability.h."""


@dataclass(frozen=True)
class Needs:
    """Requirements of this machine that an ordinary one does not have."""

    legacy_cgroups: bool
    no_ulimits: bool
    apparmor: bool = False

    def containers_conf(self) -> str:
        """Text of a containers.conf; empty if podman's defaults work."""
        parts = []
        if self.no_ulimits:
            parts.append("[containers]\ndefault_ulimits = []\n")
        if self.legacy_cgroups:
            parts.append('[engine]\nruntime = "runc"\n')
        return "".join(parts)


def detect_needs(root: Path = Path("/")) -> Needs:
    """Check the machine's cgroups and capabilities (below `root`, for tests)."""
    v2 = (root / "sys/fs/cgroup/cgroup.controllers").exists()
    bounding = ~0
    for line in (root / "proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            bounding = int(line.split()[1], 16)
    apparmor = root / "sys/module/apparmor/parameters/enabled"
    return Needs(
        legacy_cgroups=not v2,
        no_ulimits=not bounding >> CAP_SYS_RESOURCE & 1,
        apparmor=apparmor.exists() and apparmor.read_text().strip() == "Y",
    )


@dataclass(frozen=True)
class Network:
    """A lab's network as the engine has it."""

    name: str
    subnet: ipaddress.IPv4Network
    gateway: ipaddress.IPv4Address

    def address(self, number: int) -> str:
        """Address of the `number`th host (from 0), away from the gateway."""
        return str(self.subnet.network_address + 10 + number)

    def options(self, number: int) -> list[str]:
        """Options of `podman create` for the `number`th host.

        Its MAC address follows from its address: packets for a host that replaces another one, or
        restarts, would else go to the old MAC until the kernel forgets it, half a minute later.
        """
        address = ipaddress.IPv4Address(self.address(number))
        mac = ":".join(f"{byte:02x}" for byte in b"\x02\x00" + address.packed)
        return ["--network", self.name, "--ip", str(address), "--mac-address", mac]


@dataclass(frozen=True)
class Container:
    """A container as the engine has it."""

    name: str
    running: bool
    image: str
    address: str
    labels: Mapping[str, str]


class Engine:
    """Podman as root (through sudo where the caller is not)."""

    def __init__(self, needs: Needs | None = None) -> None:
        self.needs = detect_needs() if needs is None else needs
        self._prefix = self._build_prefix()

    def _build_prefix(self) -> list[str]:
        prefix = [] if os.geteuid() == 0 else ["sudo"]
        if conf := self.needs.containers_conf():
            path = cache_dir() / "engine" / f"containers-{digest(conf)}.conf"
            if not path.exists():
                write(path, conf)
            prefix += ["env", f"CONTAINERS_CONF={path}"]
        return [*prefix, "podman"]

    def command(self, *arguments: str) -> list[str]:
        """The whole command line, for callers that run it themselves."""
        return [*self._prefix, *arguments]

    def __call__(
        self,
        *arguments: str,
        stdin: str | bytes | None = None,
        timeout: float = QUICK,
        check: bool = True,
        log: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return run(self.command(*arguments), stdin=stdin, timeout=timeout, check=check, log=log)

    def _inspect(self, *arguments: str) -> list[dict[str, Any]]:
        done = self(*arguments, check=False)
        if done.returncode != 0:
            return []
        found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
        return found

    # Images

    def image_exists(self, name: str) -> bool:
        return self("image", "exists", name, check=False).returncode == 0

    def image_id(self, name: str) -> str:
        """The image's id; empty if there is none."""
        found = self._inspect("image", "inspect", name)
        return str(found[0]["Id"]) if found else ""

    # Networks

    def network(self, name: str) -> Network | None:
        found = self._inspect("network", "inspect", name)
        return parse_network(found[0]) if found else None

    def make_network(self, name: str, lab_id: str) -> Network:
        """Create a bridge network with a free subnet."""
        # Without the engine's name server: hosts know two names, by --add-host.
        options = ["--disable-dns", "--label", f"{LABEL}={lab_id}"]
        if (mtu := route_mtu()) and mtu != 1500:
            # Packets larger than the outgoing interface allows would be dropped silently.
            options += ["--opt", f"mtu={mtu}"]
        self("network", "create", *options, name)
        network = self.network(name)
        if network is None:
            raise LabError(f"podman made network {name} but does not show it")
        return network

    # Containers

    def containers(self, lab_id: str) -> list[Container]:
        """Every container of a lab, running or not, by name."""
        names = self(
            "ps", "--all", "--filter", f"label={LABEL}={lab_id}", "--format", "{{.Names}}"
        ).stdout.split()
        if not names:
            return []
        found = self._inspect("container", "inspect", *names)
        return sorted((parse_container(one) for one in found), key=lambda one: one.name)

    def remove(self, *names: str) -> None:
        """Remove containers immediately, running or not; missing ones are not an error."""
        if names:
            self("rm", "--force", "--ignore", "--time", "0", *names, timeout=120)

    def put(self, container: str, files: Iterable[PutFile]) -> None:
        """Place files in a container that need not run."""
        self("cp", "-", f"{container}:/", stdin=tar_of(files))

    def exec(
        self, container: str, *command: str, timeout: float = QUICK, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a container as root."""
        return self("exec", container, *command, timeout=timeout, check=check)

    def systemd_command(self) -> list[str]:
        """PID 1 of a host."""
        legacy = ["SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"] if self.needs.legacy_cgroups else []
        return ["/lib/systemd/systemd", *legacy]

    def host_options(self) -> list[str]:
        """Options of every host container."""
        # Without SYS_ADMIN, systemd silently ignores ProtectProc, PrivateTmp and the like.
        # Without SYS_PTRACE, root would not see all processes, as it does on every real host.
        options = ["--systemd=always", "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE"]
        if self.needs.apparmor:
            # Podman's profile forbids mounts, and with them the same protections.
            options += ["--security-opt", "apparmor=unconfined"]
        return options


@dataclass(frozen=True)
class PutFile:
    """A file for `Engine.put`: absolute path, content, octal mode; owned by root."""

    path: str
    content: str | bytes
    mode: int = 0o644


def tar_of(files: Iterable[PutFile]) -> bytes:
    """A reproducible tar archive of `files`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in files:
            data = file.content.encode() if isinstance(file.content, str) else file.content
            info = tarfile.TarInfo(file.path.lstrip("/"))
            info.size, info.mode = len(data), file.mode
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def parse_network(found: Mapping[str, Any]) -> Network:
    """A `podman network inspect` entry."""
    subnet = found["subnets"][0]
    return Network(
        name=found["name"],
        subnet=ipaddress.IPv4Network(subnet["subnet"]),
        gateway=ipaddress.IPv4Address(subnet["gateway"]),
    )


def parse_container(found: Mapping[str, Any]) -> Container:
    """A `podman container inspect` entry."""
    networks: Mapping[str, Any] = found["NetworkSettings"].get("Networks") or {}
    addresses: Sequence[str] = [one["IPAddress"] for one in networks.values()]
    return Container(
        name=found["Name"],
        running=bool(found["State"]["Running"]),
        image=found["ImageName"],
        address=addresses[0] if addresses else "",
        labels=found["Config"].get("Labels") or {},
    )


def route_mtu(root: Path = Path("/")) -> int | None:
    """MTU of the interface of the default route; None if there is no such route."""
    table = root / "proc/net/route"
    if not table.exists():
        return None
    for line in table.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            return int((root / "sys/class/net" / fields[0] / "mtu").read_text())
    return None
