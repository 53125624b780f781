# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself: what a host is, `up` after anything, `down` without a rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import yaml

from lab import hosts, services
from lab.engine import Engine
from lab.packages import find_runner
from lab.places import MIRROR_NAME, MIRROR_PORT, Lab
from lab.platforms import PLATFORMS
from lab.run import until
from lab.world import status

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
JAMMY = PLATFORMS["jammy"]
UP_TIMEOUT = 900.0
"""Seconds: images may have to be built."""


def command(lab: Lab, *words: str) -> subprocess.Popen[str]:
    """Start a lab command of `lab`."""
    return subprocess.Popen(
        [sys.executable, "-m", "lab", *words],
        cwd=ROOT, env={**os.environ, "LAB_NAME": lab.name, "HOSTS": "jammy"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def call(lab: Lab, *words: str) -> str:
    """Run a lab command to its good end and return what it printed."""
    with command(lab, *words) as process:
        try:
            said, _ = process.communicate(timeout=UP_TIMEOUT)
        finally:
            process.kill()
    assert process.returncode == 0, said
    return said


def on_host(lab: Lab, script: str, host: str = "jammy") -> str:
    """What `script` prints when the administrator runs it over SSH."""
    addresses = {one.name: one.address for one in status(lab).hosts}
    done = subprocess.run(
        [*hosts.ssh_command(lab, addresses[host]), script],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def leftovers(lab: Lab) -> list[str]:
    """Everything of `lab` that exists."""
    engine = Engine()
    found = [one.name for one in engine.containers(lab.id)]
    found += [lab.network] if engine.network(lab.network) else []
    paths = (lab.state, lab.inventory, lab.control_dir)
    found += [str(path) for path in paths if path.exists()]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        mine = f"LAB_NAME={lab.name}".encode() in environment
        if b"serve" in words and mine and (entry / "cwd").resolve() == ROOT:
            found.append(f"process {entry.name}")
    return found


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab of these tests' own, up; gone at the end."""
    made = Lab("labtest")
    call(made, "down")
    try:
        call(made, "up")
        yield made
    finally:
        call(made, "down")


def test_second_up_changes_nothing(lab: Lab) -> None:
    before = (status(lab), lab.inventory.read_text())
    assert "was up already" in call(lab, "up")
    assert (status(lab), lab.inventory.read_text()) == before
    assert status(lab).runner == str(find_runner())


@pytest.mark.parametrize(
    ("ask", "wanted"),
    [
        (". /etc/os-release; echo $ID $VERSION_ID $VERSION_CODENAME", "ubuntu 22.04 jammy"),
        ("umask", "0002"),
        ("stat -c %a $HOME", "750"),
        ("tr : '\\n' < /etc/environment | grep -c snap", "1"),
        ("sudo -n id -u", "0"),
        ("systemctl is-system-running", "running"),
        ("dpkg-query -W -f '${Status}' libpam-systemd", "install ok installed"),
        ("dpkg-query -W python3-debian 2>/dev/null || echo none", "none"),
        ("systemctl is-enabled apt-daily.timer", "enabled"),
        ("grep -h ^.nrconf /etc/needrestart/conf.d/*.conf", "$nrconf{restart} = 'a';"),
        ("python3.12 -c 1 >/dev/null 2>&1 || echo trapped", "trapped"),
        ("dpkg-divert --truename /usr/lib/os-release", "/usr/lib/os-release.distrib"),
    ],
)
def test_host_has_ubuntus_ways_and_traps(lab: Lab, ask: str, wanted: str) -> None:
    assert on_host(lab, ask) == wanted


def test_every_host_has_a_machine_id_of_its_own(lab: Lab) -> None:
    before = on_host(lab, "cat /etc/machine-id")
    address = status(lab).hosts[0].address
    call(lab, "reset", "jammy")
    assert status(lab).hosts[0].address == address
    after = on_host(lab, "cat /etc/machine-id")
    assert len(after) == 32
    assert after != before


@pytest.mark.parametrize(
    "path",
    [
        "deadsnakes/ppa/ubuntu/dists/jammy/InRelease",
        "runner/gitlab-runner/ubuntu/dists/jammy/InRelease",
    ],
)
def test_host_reaches_the_mirror(lab: Lab, path: str) -> None:
    said = on_host(lab, f"curl -fsS http://{MIRROR_NAME}:{MIRROR_PORT}/{path}")
    assert "BEGIN PGP SIGNED MESSAGE" in said


def test_mirror_lists_no_folders(lab: Lab) -> None:
    network = status(lab).network
    assert network is not None
    url = f"http://{network.gateway}:{MIRROR_PORT}/deadsnakes/ppa/ubuntu/../../../"
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(url, timeout=10).status_code == 404


def _kill_service(lab: Lab) -> None:
    pid = services.service_pid(lab)
    assert pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: services.service_pid(lab) is None, timeout=10, what="the services to die")


def _stop_host(lab: Lab) -> None:
    Engine()("stop", "--time", "0", lab.container("jammy"))


def _remove_host(lab: Lab) -> None:
    Engine().remove(lab.container("jammy"))


def _lose_state(lab: Lab) -> None:
    subprocess.run(["rm", "-rf", str(lab.state)], check=True)


@pytest.mark.parametrize("damage", [_kill_service, _stop_host, _remove_host, _lose_state])
def test_up_repairs(lab: Lab, damage: Callable[[Lab], None]) -> None:
    damage(lab)
    assert not status(lab).is_up
    call(lab, "up")
    assert status(lab).is_up
    assert on_host(lab, "whoami") == "admin"


def mirrors(lab: Lab) -> list[str]:
    """First lines of what the host reads from its lab's two repositories."""
    root = f"http://{MIRROR_NAME}:{MIRROR_PORT}"
    return [
        on_host(lab, f"curl -fsS {root}/{path}/dists/jammy/InRelease | head -n 1")
        for path in ("deadsnakes/ppa/ubuntu", "runner/gitlab-runner/ubuntu")
    ]


def test_two_labs_at_once_and_one_of_them_goes(lab: Lab) -> None:
    """Made at the same time; the other one does not notice the end of the first."""
    other = Lab("labtest-2")
    signed = ["-----BEGIN PGP SIGNED MESSAGE-----"] * 2
    call(other, "down")
    call(lab, "down")
    try:
        with command(lab, "up") as one, command(other, "up") as two:
            said = [process.communicate(timeout=UP_TIMEOUT)[0] for process in (one, two)]
        assert (one.returncode, two.returncode) == (0, 0), said
        mine, its = status(lab), status(other)
        assert mine.is_up
        assert its.is_up
        assert mine.network is not None
        assert its.network is not None
        assert not mine.network.subnet.overlaps(its.network.subnet)
        assert mine.service_pid != its.service_pid
        assert mirrors(lab) == mirrors(other) == signed
        # Neither host trusts the other lab's GitLab, nor knows its runners.
        assert lab.ca_file.read_text() != other.ca_file.read_text()
        machine = on_host(lab, "cat /etc/machine-id")
        assert machine != on_host(other, "cat /etc/machine-id")

        call(other, "down")
        assert leftovers(other) == []
        assert status(lab) == mine
        assert on_host(lab, "cat /etc/machine-id") == machine
        assert mirrors(lab) == signed
        assert "was up already" in call(lab, "up")
    finally:
        call(other, "down")


def test_down_ends_services_whose_state_is_gone(lab: Lab) -> None:
    _lose_state(lab)
    call(lab, "down")
    assert leftovers(lab) == []


def _has_network(lab: Lab) -> bool:
    return Engine().network(lab.network) is not None


def _has_container(lab: Lab) -> bool:
    return bool(Engine().containers(lab.id))


def _has_service(lab: Lab) -> bool:
    return services.service_pid(lab) is not None


@pytest.mark.parametrize("moment", [_has_network, _has_container, _has_service])
def test_killed_up_is_repaired_and_down_leaves_nothing(
    lab: Lab, moment: Callable[[Lab], bool]
) -> None:
    call(lab, "down")
    assert leftovers(lab) == []
    with command(lab, "up") as process:
        until(lambda: moment(lab), timeout=UP_TIMEOUT, what=moment.__name__, interval=0.02)
        process.kill()
    call(lab, "up")
    assert status(lab).is_up
    assert on_host(lab, "whoami") == "admin"


@pytest.fixture(scope="module")
def both(lab: Lab) -> Lab:
    """The lab with a host on each platform."""
    call(lab, "up", "--hosts", "jammy noble")
    return lab


def test_inventory_has_both_hosts_with_their_own_things(both: Lab) -> None:
    data = yaml.safe_load(both.inventory.read_text())["all"]
    found = data["children"]["runner_hosts"]["hosts"]
    assert list(found) == ["jammy", "noble"]
    assert len({host["ansible_host"] for host in found.values()}) == 2
    tokens = data["vars"]["lab_runner_tokens"]
    assert len({*tokens["jammy"], *tokens["noble"]}) == 20
    assert data["vars"]["lab_pythons"]["noble"] == ["3.9", "3.11", "3.13"]


@pytest.mark.parametrize(
    ("ask", "wanted"),
    [
        (". /etc/os-release; echo $ID $VERSION_ID $VERSION_CODENAME", "ubuntu 24.04 noble"),
        ("umask; stat -c %a $HOME", "0002\n750"),
        ("systemctl is-system-running", "running"),
        ("dpkg-query -W python3-debian 2>/dev/null || echo none", "none"),
        ("python3.12 -c 1 >/dev/null 2>&1 || echo trapped", "trapped"),
        ("readlink -f /usr/bin/python3", "/usr/bin/python3.13"),
        # apt verifies with Sequoia, as it does not on jammy.
        ("dpkg-query -W -f '${db:Status-Abbrev}' sqv", "ii"),
    ],
)
def test_noble_has_ubuntus_ways_and_traps(both: Lab, ask: str, wanted: str) -> None:
    assert on_host(both, ask, "noble") == wanted


def test_vendors_source_is_harmless_until_another_names_its_repository(both: Lab) -> None:
    """The same repository with another Signed-By makes apt fail on the whole host."""
    update = "sudo apt-get -qq update -o APT::Update::Error-Mode=any 2>&1"
    assert on_host(both, update, "noble") == ""
    newest = find_runner().package_versions[1]
    candidate = "apt-cache policy gitlab-runner | grep Candidate"
    assert on_host(both, candidate, "noble") == f"Candidate: {newest}"
    twin = "/etc/apt/sources.list.d/twin.list"
    write = (
        "sed 's,/usr/share/keyrings,/etc/apt/keyrings,'"
        " /etc/apt/sources.list.d/runner_gitlab-runner.list"
    )
    said = on_host(both, f"{write} | sudo tee {twin} >/dev/null; {update} || true", "noble")
    assert "Conflicting values set for option Signed-By" in said
    on_host(both, f"sudo rm {twin}; {update}", "noble")


def test_reset_of_one_host_keeps_the_other(both: Lab) -> None:
    jammy = on_host(both, "cat /etc/machine-id")
    call(both, "reset", "noble")
    assert on_host(both, "cat /etc/machine-id") == jammy
    found = yaml.safe_load(both.inventory.read_text())["all"]["children"]["runner_hosts"]["hosts"]
    assert list(found) == ["jammy", "noble"]


def test_down_leaves_nothing_of_either(both: Lab) -> None:
    call(both, "down")
    assert leftovers(both) == []
