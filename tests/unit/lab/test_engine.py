# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine wrapper sees of a machine and of podman's answers."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from lab.engine import (
    Needs,
    PutFile,
    detect_needs,
    parse_container,
    parse_network,
    route_mtu,
    tar_of,
)

ALL_CAPABILITIES = 0x1FFFFFFFFFF


def machine(root: Path, *, v2: bool, bounding: int, apparmor: str | None = None) -> Path:
    """A machine's files, as far as they are looked at."""
    files = {"proc/self/status": f"Name:\tx\nCapBnd:\t{bounding:016x}\n"}
    if v2:
        files["sys/fs/cgroup/cgroup.controllers"] = "cpu memory\n"
    if apparmor is not None:
        files["sys/module/apparmor/parameters/enabled"] = f"{apparmor}\n"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_nothing_is_forced_on_an_ordinary_machine(tmp_path: Path) -> None:
    needs = detect_needs(machine(tmp_path, v2=True, bounding=ALL_CAPABILITIES))
    assert needs == Needs(legacy_cgroups=False, no_ulimits=False, apparmor=False)
    assert needs.containers_conf() == ""


def test_hybrid_cgroups_need_runc(tmp_path: Path) -> None:
    needs = detect_needs(machine(tmp_path, v2=False, bounding=ALL_CAPABILITIES))
    assert needs.containers_conf() == '[engine]\nruntime = "runc"\n'


def test_a_missing_cap_sys_resource_forbids_ulimits(tmp_path: Path) -> None:
    needs = detect_needs(machine(tmp_path, v2=True, bounding=ALL_CAPABILITIES & ~(1 << 24)))
    assert needs.containers_conf() == "[containers]\ndefault_ulimits = []\n"


@pytest.mark.parametrize(("said", "wanted"), [("Y", True), ("N", False)])
def test_apparmor_is_seen(tmp_path: Path, said: str, wanted: bool) -> None:
    root = machine(tmp_path, v2=True, bounding=ALL_CAPABILITIES, apparmor=said)
    assert detect_needs(root).apparmor is wanted


def test_mtu_is_that_of_the_default_route(tmp_path: Path) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/route").write_text(
        "Iface\tDestination\tGateway\neth1\t0A000000\t00000000\neth0\t00000000\t0100000A\n"
    )
    for name, mtu in (("eth0", 1400), ("eth1", 1500)):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
        (tmp_path / "sys/class/net" / name / "mtu").write_text(f"{mtu}\n")
    assert route_mtu(tmp_path) == 1400


def test_mtu_is_unknown_without_a_route(tmp_path: Path) -> None:
    assert route_mtu(tmp_path) is None


def test_network_and_addresses() -> None:
    network = parse_network(
        {"name": "n", "subnets": [{"subnet": "10.89.3.0/24", "gateway": "10.89.3.1"}]}
    )
    assert str(network.gateway) == "10.89.3.1"
    assert [network.address(number) for number in (0, 1)] == ["10.89.3.10", "10.89.3.11"]
    # Whatever replaces a host at its address has its MAC address too.
    assert network.options(1) == [
        "--network", "n", "--ip", "10.89.3.11", "--mac-address", "02:00:0a:59:03:0b",
    ]  # fmt: skip


def test_container_without_network_has_no_address() -> None:
    found = parse_container(
        {
            "Name": "c",
            "State": {"Running": False},
            "ImageName": "localhost/i:1",
            "NetworkSettings": {"Networks": None},
            "Config": {"Labels": None},
        }
    )
    assert (found.running, found.address, dict(found.labels)) == (False, "", {})


def test_tar_keeps_modes_and_is_the_same_each_time() -> None:
    files = [PutFile("/etc/key", b"secret", 0o600), PutFile("/etc/plain", "text")]
    assert tar_of(files) == tar_of(files)
    with tarfile.open(fileobj=io.BytesIO(tar_of(files))) as archive:
        modes = {member.name: (member.mode, member.uid) for member in archive}
    assert modes == {"etc/key": (0o600, 0), "etc/plain": (0o644, 0)}
