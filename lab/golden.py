# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden images in a lab: a container without systemd, its image, and clones of it.

The inventory beside the lab's own names these machines (`golden.yml`); `lab down` removes them,
and whoever made an image removes it (`forget`).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from lab.engine import LABEL, Engine, Network
from lab.hosts import (
    PLATFORM_LABEL,
    admin_key,
    answers,
    close_connections,
    login_files,
    make_control_dir,
    ssh_options,
    start,
    wait_ready,
    write_known_hosts,
)
from lab.images import ensure_image
from lab.jobs import connect
from lab.package_index import index_environment, pip_files
from lab.places import GITLAB_NAME, MIRROR_NAME, Lab, write
from lab.platforms import PLATFORMS, Platform
from lab.run import LabError, run, until

BUILDER = "builder"
FIRST_NUMBER = 50
"""Of the addresses in the lab's network, away from its hosts'."""
COMMIT_TIMEOUT = 300.0


@dataclass(frozen=True)
class Golden:
    """The machines of one golden image.

    Attributes:
        lab: a lab that is up.
        platform: what the builder and its clones are.
        clones: names of the clones.
    """

    lab: Lab
    platform: Platform
    clones: tuple[str, ...]

    @property
    def machines(self) -> dict[str, Platform]:
        """Builder and clones, as platforms of their own: a platform's name is its host's."""
        return {
            name: replace(self.platform, name=name, number=FIRST_NUMBER + number)
            for number, name in enumerate((BUILDER, *self.clones))
        }

    @property
    def image(self) -> str:
        """The name of what the builder becomes."""
        return f"localhost/runnerhost-golden:{self.lab.id}"

    def network(self) -> Network:
        """The lab's network."""
        found = Engine().network(self.lab.network)
        if found is None:
            raise LabError(f"lab {self.lab.name} is not up (python -m lab up)")
        return found


def write_inventory(golden: Golden) -> None:
    """The machines as hosts of their own, each with a runner in the lab's GitLab (0600)."""
    lab, network = golden.lab, golden.network()
    hosts = {}
    with connect(lab) as gitlab:
        for name, machine in golden.machines.items():
            made = gitlab.create_runner(description=name, tag_list=name, run_untagged=True)
            hosts[name] = {
                "ansible_host": network.address(machine.number),
                "ansible_user": "admin",
                "ansible_ssh_private_key_file": str(admin_key(lab)),
                "ansible_ssh_common_args": shlex.join(ssh_options(lab)),
                # These hosts have their own entries, as the lab's hosts do.
                "lab_pythons": {name: list(golden.platform.pythons)},
                "lab_runner_tokens": {name: [made.token]},
            }
    groups = ("runner_hosts", "stand_in_packages")
    data: dict[str, Any] = {
        "all": {"children": {group: {"hosts": {name: {} for name in hosts}} for group in groups}}
    }
    data["all"]["children"]["runner_hosts"]["hosts"] = hosts
    text = "# Written by lab/golden.py; gone after `python -m lab down`.\n"
    write(lab.inventory.parent / "golden.yml", text + yaml.safe_dump(data), 0o600)


def _write_known_hosts(golden: Golden) -> None:
    """Adds their host keys to the lab's file, which each `lab up` writes again."""
    platforms = [*PLATFORMS.values(), *golden.machines.values()]
    write_known_hosts(golden.lab, golden.network(), platforms)


def start_builder(golden: Golden) -> None:
    """A fresh builder: the platform's image with an SSH server as its first process, no systemd."""
    engine, lab, network = Engine(), golden.lab, golden.network()
    machine = golden.machines[BUILDER]
    name, gateway = lab.container(BUILDER), network.gateway
    make_control_dir(lab)
    _write_known_hosts(golden)
    engine.remove(name)
    engine(
        "create", "--name", name, "--hostname", BUILDER,
        "--label", f"{LABEL}={lab.id}", "--label", f"{PLATFORM_LABEL}={BUILDER}",
        *network.options(machine.number), "--systemd=false",
        "--add-host", f"{GITLAB_NAME}:{gateway}", "--add-host", f"{MIRROR_NAME}:{gateway}",
        ensure_image(engine, golden.platform),
        "/bin/sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D",
    )  # fmt: skip
    engine.put(name, [*login_files(lab, machine), *pip_files(index_environment())])
    engine("start", name)
    engine.exec(name, "chown", "-R", "admin:admin", "/home/admin/.ssh")
    address = network.address(machine.number)
    until(lambda: answers(address), timeout=30, what=f"SSH of the builder at {address}")


def commit(golden: Golden) -> str:
    """The builder's files as an image; the builder is gone afterwards."""
    engine, name = Engine(), golden.lab.container(BUILDER)
    # Otherwise the next builder would reuse its connection.
    close_connections(golden.lab)
    make_control_dir(golden.lab)
    engine("stop", "--time", "2", name)
    changes = ["--change", "CMD=/lib/systemd/systemd", "--change", "STOPSIGNAL=SIGRTMIN+3"]
    engine("commit", "--quiet", *changes, name, golden.image, timeout=COMMIT_TIMEOUT)
    engine.remove(name)
    return golden.image


def boot(golden: Golden, names: Sequence[str] = ()) -> None:
    """Fresh clones (of these names; else all), booted."""
    engine, network = Engine(), golden.network()
    machines = [golden.machines[name] for name in names or golden.clones]
    _write_known_hosts(golden)
    for machine in machines:
        start(engine, golden.lab, network, machine, golden.image)
    for machine in machines:
        odd = wait_ready(engine, golden.lab, network, machine)
        if odd:
            raise LabError(f"the clone {machine.name} is {odd}")


def forget(golden: Golden) -> None:
    """Remove the image and all its machines."""
    engine, lab = Engine(), golden.lab
    engine.remove(*(lab.container(name) for name in golden.machines))
    run(engine.command("rmi", "--force", golden.image), check=False, timeout=60)
    (lab.inventory.parent / "golden.yml").unlink(missing_ok=True)
