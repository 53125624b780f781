# SPDX-License-Identifier: GPL-3.0-or-later
"""`lab doctor`: what is missing is named, each with what to do about it."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import doctor, upstream
from lab.apt_sources import Mirror
from lab.cli import main
from lab.engine import Needs
from lab.platforms import PLATFORMS
from lab.run import LabError
from lab.trust import BUNDLE_VARIABLES

GIB = 1024**2
"""In kilobytes, as /proc/meminfo counts."""


class Machine:
    """A machine that has all that a lab takes; each test takes one thing away."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.programs = {*doctor.PROGRAMS, "runc", "crun", "sudo", "newuidmap"}
        self.modules = True
        self.podman = subprocess.CompletedProcess([], 0, "4.3.1 crun\n", "")
        self.free = 20 * 1024**3
        self.memory = 8 * GIB
        self.swap = 0
        self.mirror: Mirror | None = Mirror(
            "http://mirror.example/debian", "http://mirror.example/s"
        )
        self.silent_suite = ""
        self.authorities = 100
        self.legacy = False
        for path in ("sys/fs/cgroup", "proc/self", "keyring", "netavark"):
            (root / path).mkdir(parents=True)
        (root / "sys/fs/cgroup/cgroup.controllers").touch()
        (root / "proc/self/status").write_text("CapBnd:\t000001ffffffffff\n")

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{program}" if program in self.programs else None

    def find_spec(self, name: str) -> object | None:
        return object() if self.modules or name != "requests" else None

    def engine(self) -> Callable[..., subprocess.CompletedProcess[str]]:
        return lambda *words, check=True: self.podman

    def fetch(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        failed = self.silent_suite and f"/{self.silent_suite}/" in command[-2]
        return subprocess.CompletedProcess(command, 100 if failed else 0, "", "")

    def meminfo(self) -> Path:
        path = self.root / "meminfo"
        path.write_text(f"MemAvailable: {self.memory} kB\nSwapFree: {self.swap} kB\n")
        return path

    def bundle(self) -> dict[bytes, str]:
        return {str(number).encode(): "" for number in range(self.authorities)}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine that `examine` looks at."""
    made = Machine(tmp_path)
    cgroups, memory = doctor._cgroups, doctor._memory

    def _cgroups() -> list[doctor.Finding]:
        return cgroups(made.root)

    def _memory() -> list[doctor.Finding]:
        return memory(made.meminfo())

    for name, value in {
        "_which": made.which,
        "_cgroups": _cgroups,
        "_memory": _memory,
        "Engine": made.engine,
        "run": made.fetch,
        "detect_needs": lambda root=None: Needs(legacy_cgroups=made.legacy, no_ulimits=False),
        "controller_mirror": lambda: made.mirror,
        "controller_bundle": lambda: "",
        "certificates": lambda _: made.bundle(),
        "cache_dir": lambda: tmp_path,
        "KEYRING": tmp_path / "keyring",
        "NETAVARK": (tmp_path / "netavark",),
        "find_runner": lambda: "stand-in 1.2.3",
    }.items():
        monkeypatch.setattr(doctor, name, value)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=made.free))
    monkeypatch.setattr(importlib.util, "find_spec", made.find_spec)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for variable in (*BUNDLE_VARIABLES, "WORLD", "HOSTS"):
        monkeypatch.delenv(variable, raising=False)
    return made


def missing(said: str) -> list[tuple[str, str]]:
    """What `examine` printed as missing: its line, and what to do."""
    lines = said.splitlines()
    return [
        (line.removeprefix("MISSING  "), lines[index + 1].strip().removeprefix("-> "))
        for index, line in enumerate(lines)
        if line.startswith("MISSING")
    ]


def test_a_whole_machine_lacks_nothing(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.examine() == 0
    said = capsys.readouterr().out
    assert missing(said) == []
    # One line for each: none was left out.
    for name in (
        "programs", "python modules", "cgroups: v2", "engine: podman 4.3.1 crun", "memory",
        "disk for cache", "Debian bookworm", "trusted authorities: 100", "gitlab-runner",
    ):  # fmt: skip
        assert f"ok       {name}" in said


def _no_podman(machine: Machine) -> None:
    machine.programs.remove("podman")


def _broken_podman(machine: Machine) -> None:
    machine.podman = subprocess.CompletedProcess([], 125, "", "x\nError: no subuid ranges\n")


def _no_cgroups(machine: Machine) -> None:
    (machine.root / "sys/fs/cgroup/cgroup.controllers").unlink()


def _v1_without_runc(machine: Machine) -> None:
    machine.legacy = True
    (machine.root / "sys/fs/cgroup/cgroup.controllers").unlink()
    (machine.root / "sys/fs/cgroup/systemd").mkdir()
    machine.programs.remove("runc")


def _no_memory(machine: Machine) -> None:
    machine.memory, machine.swap = GIB, GIB // 2


def _no_disk(machine: Machine) -> None:
    machine.free = 1024**3


def _silent_mirror(machine: Machine) -> None:
    machine.silent_suite = "bullseye"


def _no_security(machine: Machine) -> None:
    machine.mirror = Mirror("http://mirror.example/debian", "")


def _no_authorities(machine: Machine) -> None:
    machine.authorities = 0


def _no_modules(machine: Machine) -> None:
    machine.modules = False


def _no_apt_utils(machine: Machine) -> None:
    machine.programs -= {"apt-ftparchive", "mmdebstrap"}


@pytest.mark.parametrize(
    ("take_away", "wanted"),
    [
        (
            _no_podman,
            [
                (
                    "programs: not installed: podman",
                    "apt-get install --no-install-recommends podman",
                ),
                (
                    "engine: podman is not installed",
                    "apt-get install --no-install-recommends podman",
                ),
            ],
        ),
        (
            _broken_podman,
            [
                (
                    "engine: podman does not work: Error: no subuid ranges",
                    "sudo podman info says why",
                )
            ],
        ),
        (
            _no_cgroups,
            [("cgroups: none at", "mount them: mount -t cgroup2 cgroup2 /sys/fs/cgroup")],
        ),
        (
            _v1_without_runc,
            [("programs: not installed: runc", "apt-get install --no-install-recommends runc")],
        ),
        (
            _no_memory,
            [("memory: 1.5 GiB available", "a lab takes 2.0 GiB: end other programs, or add swap")],
        ),
        (
            _no_disk,
            [
                ("disk for cache: 1.0 GiB free at", "free 5.0 GiB at "),
                ("disk for containers: 1.0 GiB free at /var/lib", "free 5.0 GiB at /var/lib"),
            ],
        ),
        (
            _silent_mirror,
            [
                (
                    "Debian bullseye: http://mirror.example/debian no answer",
                    "apt's sources must name a mirror that answers and has bullseye: http",
                )
            ],
        ),
        (
            _no_security,
            [("Debian's archive: http", "add the security archive to apt's sources, then apt-get")],
        ),
        (
            _no_authorities,
            [
                (
                    "trusted authorities: 0",
                    "apt-get install --no-install-recommends ca-certificates",
                )
            ],
        ),
        (_no_modules, [("python modules: not there: requests", "make venv")]),
        (
            _no_apt_utils,
            [
                (
                    "programs: not installed: apt-utils mmdebstrap",
                    "apt-get install --no-install-recommends apt-utils mmdebstrap",
                )
            ],
        ),
    ],
)
def test_what_is_missing_is_named_with_what_helps(
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    take_away: Callable[[Machine], None],
    wanted: list[tuple[str, str]],
) -> None:
    take_away(machine)
    assert doctor.examine() == 1
    found = missing(capsys.readouterr().out)
    assert len(found) == len(wanted), found
    for (line, remedy), (wanted_line, wanted_remedy) in zip(found, wanted, strict=True):
        assert line.startswith(wanted_line)
        assert remedy.startswith(wanted_remedy)


def test_a_bundle_that_is_not_there_is_named(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CERT", "/no/such.pem")
    assert doctor.examine() == 1
    assert missing(capsys.readouterr().out) == [
        (
            "PIP_CERT: /no/such.pem: no such file",
            "unset PIP_CERT, or name a file of PEM certificates",
        )
    ]


def test_who_is_not_root_is_told_sudo(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    machine.programs.remove("newuidmap")
    assert doctor.examine() == 1
    ((_, remedy),) = missing(capsys.readouterr().out)
    assert remedy == "sudo apt-get install --no-install-recommends uidmap"


def test_one_look_that_fails_does_not_end_the_others(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Mirror:
        raise LabError("apt-get indextargets: exit 100")

    monkeypatch.setattr(doctor, "controller_mirror", broken)
    assert doctor.examine() == 1
    said = capsys.readouterr().out
    assert missing(said) == [("packages: apt-get indextargets: exit 100", "see the message")]
    assert "ok       trusted authorities" in said


def test_upstream_looks_at_the_real_sources(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD", "upstream")
    monkeypatch.setattr(doctor, "reach", lambda url: "refused" if "deadsnakes" in url else "")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    ((line, remedy),) = missing(said)
    address = upstream.addresses([PLATFORMS["jammy"]])["deadsnakes for jammy"]
    assert line == f"deadsnakes for jammy: {address} refused"
    assert remedy == "WORLD=upstream needs it: a way to the internet, or no WORLD"
    assert "image for jammy: ubuntu:22.04, pulled by `up`" in said
    assert "Debian bookworm" not in said
