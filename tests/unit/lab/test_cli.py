# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line, places, inventory, demo: the parts that need no lab."""

from __future__ import annotations

import io
import json
import multiprocessing
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import yaml

from lab import cli, world
from lab.cli import build_parser, main
from lab.demo import (
    installed_origin,
    job_script,
    parse_origins,
    parse_recap,
    parse_times,
    read_artifacts,
)
from lab.engine import Container, parse_network
from lab.inventory import inventory, read_pythons, write_inventory
from lab.package_index import parse_pip_config, pip_files
from lab.packages import find_runner
from lab.places import Lab, digest, lab_from_environment, locked, new_folder, write
from lab.platforms import PLATFORMS
from lab.run import LabError, run, until
from lab.services import ServeSettings

NETWORK = parse_network(
    {"name": "n", "subnets": [{"subnet": "10.89.3.0/24", "gateway": "10.89.3.1"}]}
)


# --- command line


@pytest.mark.parametrize(
    "verb",
    ["up", "down", "status", "reset", "shell", "submit", "logs", "doctor", "demo"],
)  # fmt: skip
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args([verb, "--help"])
    assert end.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_errors_are_words_and_not_tracebacks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_NAME", "No Such/Name")
    assert main(["status"]) == 1
    assert "LAB_NAME 'No Such/Name'" in capsys.readouterr().err


@dataclass
class NoContainers:
    """An engine in whose network nothing runs."""

    def network(self, _: str) -> None:
        return None

    def containers(self, _: str) -> list[Container]:
        return []


@pytest.mark.parametrize(
    ("runner", "repositories", "said"),
    [
        ("stand-in 19.3.0", {"/runner": "/r"}, "gitlab-runner  stand-in 19.3.0\n"),
        ("real 18.5.0 (older: 17.5.5)", {"/runner": "/r"}, "  real 18.5.0 (older: 17.5.5)\n"),
        ("GitLab's own package, latest", {}, "gitlab-runner  GitLab's own package, latest\n"),
    ],
)
@pytest.mark.parametrize("named", ["", "/nowhere/gitlab-runner"])
def test_status_tells_the_runner_that_the_lab_has(
    runner: str,
    repositories: dict[str, str],
    said: str,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And not the one that LAB_GITLAB_RUNNER names at that moment."""
    monkeypatch.setenv("LAB_GITLAB_RUNNER", named)
    monkeypatch.setattr(world, "Engine", NoContainers)
    monkeypatch.setattr(cli, "lab_from_environment", lambda: Lab("one", tmp_path))
    settings = ServeSettings("10.0.0.1", "cert.pem", repositories, runner, "secret", "glpat-x")
    write(tmp_path / ".lab" / "one" / "serve.json", json.dumps(asdict(settings)))
    assert main(["status"]) == 1
    assert said in capsys.readouterr().out


def test_status_of_no_lab_and_of_an_older_checkouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(world, "Engine", NoContainers)
    monkeypatch.setattr(cli, "lab_from_environment", lambda: Lab("one", tmp_path))
    assert main(["status"]) == 1
    assert "gitlab-runner  none, the lab is not up\n" in capsys.readouterr().out
    settings = asdict(ServeSettings("10.0.0.1", "cert.pem", {}, "", "secret", "glpat-x"))
    del settings["runner"]
    write(tmp_path / ".lab" / "one" / "serve.json", json.dumps(settings))
    assert main(["status"]) == 1
    assert "gitlab-runner  unknown until the next up\n" in capsys.readouterr().out


# --- places


def test_labs_of_two_checkouts_differ(tmp_path: Path) -> None:
    assert Lab("demo", tmp_path / "a").id != Lab("demo", tmp_path / "b").id


def test_lab_name_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_NAME", "")
    assert lab_from_environment().name == "demo"


def test_state_is_nobody_elses(tmp_path: Path) -> None:
    lab = Lab("x", tmp_path)
    assert lab.make_state().stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".lab/.gitignore").read_text() == "*\n"


def test_write_is_whole_and_has_its_mode(tmp_path: Path) -> None:
    write(tmp_path / "a/b", "one", 0o600)
    write(tmp_path / "a/b", b"two", 0o600)
    assert (tmp_path / "a/b").read_text() == "two"
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_folder_appears_only_when_it_is_done(tmp_path: Path) -> None:
    target = tmp_path / "made"
    (tmp_path / ".made.left-by-a-killed-run").mkdir()

    def interrupted() -> None:
        with new_folder(target) as scratch:
            (scratch / "file").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with new_folder(target) as scratch:
        (scratch / "file").write_text("whole")
    assert (target / "file").read_text() == "whole"


def _hold(path: Path, held: multiprocessing.synchronize.Event) -> None:
    with locked(path):
        held.set()
        multiprocessing.Event().wait(60)


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "lock", held))
    process.start()
    assert held.wait(30)
    process.kill()
    process.join(30)
    with locked(tmp_path / "lock"):
        pass


def test_digest_depends_on_every_part() -> None:
    assert len({digest("a", "b"), digest("ab"), digest("b", "a"), digest(b"a", "b")}) == 4


# --- running programs


def test_missing_program_is_named() -> None:
    with pytest.raises(LabError, match="no-such-program: not installed"):
        run(["no-such-program"])


def test_failure_tells_what_was_said() -> None:
    with pytest.raises(LabError, match=r"exit 3\nbecause"):
        run(["sh", "-c", "echo because >&2; exit 3"])


def test_wait_ends() -> None:
    with pytest.raises(LabError, match="for a miracle"):
        until(lambda: False, timeout=0.05, what="a miracle", interval=0.01)


# --- inventory


def test_inventory(tmp_path: Path) -> None:
    lab = Lab("other", tmp_path)
    names = ("python", "runner", "company")
    keys = {name: (tmp_path / f"{name}.asc", name.upper()) for name in names}
    platforms = [PLATFORMS["jammy"], PLATFORMS["noble"]]
    tokens = {"jammy": ["glrt-x"], "noble": ["glrt-y"]}
    data = inventory(lab, NETWORK, platforms, find_runner(), keys, tokens, {}, {}, {})
    path = write_inventory(lab, data)
    assert path == tmp_path / ".lab/other/inventory/hosts.yml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (path.parent / "group_vars").is_symlink()
    read = yaml.safe_load(path.read_text())
    host = read["all"]["children"]["runner_hosts"]["hosts"]["jammy"]
    assert (host["ansible_host"], host["ansible_user"]) == ("10.89.3.10", "admin")
    assert "StrictHostKeyChecking=yes" in host["ansible_ssh_common_args"]
    assert read["all"]["vars"]["lab_runner_tokens"] == tokens
    assert read["all"]["vars"]["lab_company_key_fingerprint"] == "COMPANY"
    wanted = {"jammy": ("3.9", "3.11"), "noble": ("3.9", "3.11", "3.13")}
    assert read_pythons(lab) == wanted


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("", {}),
        (
            "global.index-url='https://i.example/simple'",
            dict.fromkeys(("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), "https://i.example/simple"),
        ),
        ("global.index-url='https://me:pw@i.example/simple'", {}),
        (
            ":env:.index-url='https://env.example/'\nglobal.index-url='https://file.example/'",
            dict.fromkeys(("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), "https://env.example/"),
        ),
        (":env:.cert='/some/where.pem'", {"PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"}),
        (":env:.default-timeout='180'\nfreeze.timeout='1'", {"PIP_DEFAULT_TIMEOUT": "180"}),
        (":env:.find-links='/opt/wheels'", {}),
    ],
)  # fmt: skip
def test_index_environment(said: str, wanted: dict[str, str]) -> None:
    assert parse_pip_config(said) == wanted


def test_a_hosts_pip_has_the_controllers_index_and_no_second_one() -> None:
    said = (
        "global.index-url='https://i.example/simple'\n:env:.default-timeout='180'\n"
        "global.extra-index-url='https://more.example/'"
    )
    (file,) = pip_files(parse_pip_config(said))
    assert file.path == "/etc/pip.conf"
    assert file.content == (
        "[global]\nindex-url = https://i.example/simple\ndefault-timeout = 180\n"
    )
    assert pip_files({}) == []


# --- demo

RECAP = """\
PLAY RECAP *****
\x1b[0;32mjammy\x1b[0m      : \x1b[0;32mok=13  \x1b[0m changed=0    unreachable=0    failed=0
"""
ARCHIVES = """\
Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://mirror.example/ppa jammy/main amd64 Packages
     release v=,o=LP-PPA-deadsnakes,a=jammy,n=jammy,l=LP-PPA-deadsnakes,c=main,b=amd64
     origin mirror.example
 500 http://debian.example bookworm/main amd64 Packages
     release v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64
"""
POLICY = """\
python3.9:
  Installed: 3.9.2-1
  Version table:
     3.9.9-1 500
        500 http://debian.example bookworm/main amd64 Packages
 *** 3.9.2-1 500
        500 http://mirror.example/ppa jammy/main amd64 Packages
        100 /var/lib/dpkg/status
"""


def test_recap() -> None:
    counts = parse_recap(RECAP.splitlines())
    assert counts == {"jammy": {"ok": 13, "changed": 0, "unreachable": 0, "failed": 0}}


def test_origin_is_that_of_the_installed_version() -> None:
    origins = parse_origins(ARCHIVES)
    assert installed_origin(POLICY, origins) == "LP-PPA-deadsnakes"
    assert installed_origin(POLICY.replace("***", "   "), origins) == ""


def test_times_need_both_ends() -> None:
    assert parse_times("3.9 start 1.5\n3.9 end 4.0\n3.11 start 5\n") == {"3.9": 2.5}


def test_job_script_has_one_command_a_line() -> None:
    lines = job_script(["3.9", "3.11"])
    assert not [line for line in lines if ";" in line or "&&" in line or "\n" in line]
    assert sum("-m unittest" in line for line in lines) == 2


def test_wheels_are_judged_by_what_they_say() -> None:
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("d-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: cp39-cp39-linux_x86_64\n")
        archive.writestr("d/_native.so", b"")
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("wheels/times.txt", "3.9 start 1\n3.9 end 3\n")
        archive.writestr("wheels/3.9/d-1-cp311-cp311-linux_x86_64.whl", wheel.getvalue())
    (found,) = read_artifacts(bundle.getvalue())
    assert (found.version, found.tags, found.seconds) == ("3.9", "cp39-cp39-linux_x86_64", 2.0)
