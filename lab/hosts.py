# SPDX-License-Identifier: GPL-3.0-or-later
"""Runner hosts: containers with systemd and sshd, reached over SSH like any server."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from lab.engine import LABEL, Container, Engine, Network, PutFile
from lab.package_index import index_environment, pip_files
from lab.places import NAMES, Lab, write
from lab.platforms import Platform
from lab.run import LabError, run, until

PLATFORM_LABEL = "runnerhost.platform"
BOOT_TIMEOUT = 120.0
"""Seconds from the start of a container to a settled system that answers SSH."""


def admin_key(lab: Lab) -> Path:
    """The administrator's private key; created if it is missing."""
    return _key(lab.ssh / "id_ed25519", "runnerhost lab")


def host_key(lab: Lab, platform: Platform) -> Path:
    """A host's private key, created by the controller to be known before the first contact."""
    return _key(lab.ssh / "hosts" / platform.name, platform.name)


def _key(path: Path, comment: str) -> Path:
    public = path.with_suffix(".pub")
    if not (path.exists() and public.exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.new")
        for leftover in (scratch, scratch.with_name(f"{scratch.name}.pub")):
            leftover.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(scratch)])
        scratch.with_name(f"{scratch.name}.pub").rename(public)
        scratch.rename(path)
    return path


def write_known_hosts(lab: Lab, network: Network, platforms: list[Platform]) -> Path:
    """The file that pins every host's key to its address."""
    lines = []
    for platform in platforms:
        public = host_key(lab, platform).with_suffix(".pub").read_text().split()
        lines.append(f"{network.address(platform.number)} {public[0]} {public[1]}\n")
    path = lab.ssh / "known_hosts"
    write(path, "".join(lines), 0o600)
    return path


def ssh_options(lab: Lab) -> list[str]:
    """Options of every SSH connection to a host of this lab."""
    return [
        "-o", f"UserKnownHostsFile={lab.ssh / 'known_hosts'}",
        "-o", "StrictHostKeyChecking=yes",
        "-o", "ControlMaster=auto",
        "-o", "ControlPersist=60s",
        "-o", f"ControlPath={lab.control_dir}/%C",
    ]  # fmt: skip


def ssh_command(lab: Lab, address: str, *options: str) -> list[str]:
    """A command line that logs in to a host as its administrator."""
    return ["ssh", *ssh_options(lab), "-o", "BatchMode=yes", "-i", str(admin_key(lab)),
            *options, f"admin@{address}"]  # fmt: skip


def make_control_dir(lab: Lab) -> None:
    """The folder of shared connections; rejected if other users have access."""
    folder = lab.control_dir
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.owner() != Path(lab.state).owner():
        raise LabError(f"{folder} belongs to somebody else")
    folder.chmod(0o700)


def close_connections(lab: Lab) -> None:
    """End the shared SSH connections of this lab."""
    if lab.control_dir.is_dir():
        for control in lab.control_dir.iterdir():
            run(["ssh", "-O", "exit", "-o", f"ControlPath={control}", "admin@lab"], check=False)
        shutil.rmtree(lab.control_dir, ignore_errors=True)


def find(engine: Engine, lab: Lab, platform: Platform) -> Container | None:
    """The platform's container, running or not."""
    name = lab.container(platform.name)
    return next((one for one in engine.containers(lab.id) if one.name == name), None)


def is_ready(container: Container | None, image: str, address: str) -> bool:
    """Whether the container can be kept as it is."""
    return (
        container is not None
        and container.running
        and container.image == image
        and container.address == address
        and answers(address)
    )


def start(
    engine: Engine,
    lab: Lab,
    network: Network,
    platform: Platform,
    image: str,
    more: Iterable[PutFile] = (),
) -> None:
    """Replace a host, if it exists, by a fresh one; returns before it has booted.

    `more`: files that it has from its start.
    """
    name = lab.container(platform.name)
    gateway = network.gateway
    # A shared connection to the old host would fail the first login to the new one.
    exit_master = ssh_command(lab, network.address(platform.number), "-O", "exit")
    run(exit_master, check=False, timeout=10)
    engine.remove(name)
    engine(
        "create", "--name", name, "--hostname", platform.name,
        "--label", f"{LABEL}={lab.id}", "--label", f"{PLATFORM_LABEL}={platform.name}",
        *network.options(platform.number),
        *(word for one in NAMES for word in ("--add-host", f"{one}:{gateway}")),
        # If a host restarts, its container ends and the engine starts it again.
        "--restart", "unless-stopped",
        *engine.host_options(), image, *engine.systemd_command(),
    )  # fmt: skip
    files = [*login_files(lab, platform), *pip_files(index_environment()), *more]
    if engine.needs.legacy_cgroups:
        # On cgroup v1 a user manager that stops hangs for 100 s and the next login waits:
        # the administrator's stays up.
        files.append(PutFile("/var/lib/systemd/linger/admin", ""))
    engine.put(name, files)
    engine("start", name)


def login_files(lab: Lab, platform: Platform) -> list[PutFile]:
    """Files that a host needs for the administrator's login and its host key."""
    private = host_key(lab, platform)
    return [
        PutFile("/etc/ssh/ssh_host_ed25519_key", private.read_bytes(), 0o600),
        PutFile("/etc/ssh/ssh_host_ed25519_key.pub", private.with_suffix(".pub").read_bytes()),
        PutFile(
            "/home/admin/.ssh/authorized_keys", admin_key(lab).with_suffix(".pub").read_bytes()
        ),
    ]


def wait_ready(engine: Engine, lab: Lab, network: Network, platform: Platform) -> str:
    """Wait until the system has settled and answers SSH.

    Returns "" for a system that is `running`, else what is failed or odd.
    """
    name = lab.container(platform.name)
    state = ""

    def settled() -> bool:
        nonlocal state
        done = engine.exec(name, "systemctl", "is-system-running", check=False)
        state = done.stdout.strip()
        if state in ("running", "degraded"):
            return True
        current = find(engine, lab, platform)
        if current is None or not current.running:
            said = engine("logs", "--tail", "20", name, check=False)
            words = said.stdout + said.stderr
            raise LabError(f"host {platform.name} ended while it booted\n{words}")
        return False

    deadline = time.monotonic() + BOOT_TIMEOUT
    try:
        until(settled, timeout=BOOT_TIMEOUT, what=f"host {platform.name} to boot", interval=0.2)
    except LabError as error:
        jobs = engine.exec(name, "systemctl", "--no-pager", "list-jobs", check=False).stdout
        raise LabError(f"{error} (it is {state or 'silent'})\n{jobs}".rstrip()) from error
    # The file came in as root's; sshd wants the user's, an administrator may edit it.
    engine.exec(name, "chown", "-R", "admin:admin", "/home/admin/.ssh")
    address = network.address(platform.number)
    until(
        lambda: answers(address),
        timeout=max(1.0, deadline - time.monotonic()),
        what=f"SSH of host {platform.name} at {address}",
    )
    if state == "running":
        return ""
    failed = engine.exec(
        name, "systemctl", "--failed", "--no-legend", "--plain", "--no-pager", check=False
    ).stdout.strip()
    return f"{state}: {failed or 'no unit failed'}"


def answers(address: str, port: int = 22) -> bool:
    """Whether an SSH server greets at `address`."""
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
