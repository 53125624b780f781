# SPDX-License-Identifier: GPL-3.0-or-later
"""WORLD=upstream: what it asks for, what it writes, and what it refuses before anything is made."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import demo, images, upstream, world
from lab.cli import main
from lab.engine import Engine, Needs, parse_network
from lab.inventory import inventory, write_inventory, write_tokens
from lab.packages import find_runner
from lab.places import CHECKOUT, Lab
from lab.platforms import PLATFORMS, Platform, chosen_platforms
from lab.run import LabError
from standins.gitlab.client import JobInfo

NETWORK = parse_network(
    {"name": "n", "subnets": [{"subnet": "10.89.3.0/24", "gateway": "10.89.3.1"}]}
)
KEYS = {name: (Path(f"/keys/{name}.asc"), name.upper()) for name in ("python", "runner", "company")}


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    """WORLD=upstream, and nothing else said."""
    monkeypatch.setenv("WORLD", "upstream")
    for variable in ("LAB_IMAGE_JAMMY", "LAB_IMAGE_NOBLE", "LAB_GITLAB_RUNNER", "HOSTS"):
        monkeypatch.delenv(variable, raising=False)


# --- choosing


@pytest.mark.parametrize("verb", ["status", "down", "doctor", "up", "demo"])
def test_an_unknown_world_is_refused(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_lab() -> Lab:
        raise LabError("no lab was to be looked at")

    monkeypatch.setenv("WORLD", "upsteam")
    monkeypatch.setattr("lab.cli.lab_from_environment", no_lab)
    assert main([verb]) == 1
    said = capsys.readouterr()
    assert "WORLD=upsteam: no such world (there are: stand-in upstream)" in said.err
    assert said.out == ""


@pytest.mark.parametrize("named", ["", "stand-in"])
def test_the_labs_own_is_the_default(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD", named)
    assert chosen_platforms("jammy noble") == list(PLATFORMS.values())


@pytest.mark.usefixtures("real")
def test_hosts_are_the_real_releases() -> None:
    jammy, noble = chosen_platforms("jammy noble")
    assert [images.real_image(one) for one in (jammy, noble)] == ["ubuntu:22.04", "ubuntu:24.04"]
    assert (jammy.system_python, noble.system_python) == ("3.10", "3.12")
    assert jammy.pythons == ("3.9", "3.10", "3.11", "3.12", "3.13")
    assert noble.pythons == ("3.10", "3.11", "3.12", "3.13")
    # Nothing for the lab's mirror to repack, and no source file that names it.
    assert all(not one.foreign_pythons and not one.vendor_source for one in (jammy, noble))


@pytest.mark.usefixtures("real")
def test_another_image_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_IMAGE_JAMMY", "registry.example/ubuntu:22.04")
    (jammy,) = chosen_platforms()
    assert images.real_image(jammy) == "registry.example/ubuntu:22.04"


@pytest.mark.usefixtures("real")
def test_a_runner_of_ones_own_contradicts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_GITLAB_RUNNER", "/bin/true")
    with pytest.raises(LabError, match="takes GitLab's own package: unset LAB_GITLAB_RUNNER"):
        find_runner()


# --- the inventory


def variables(lab: Lab, host: str) -> dict[str, Any]:
    """What Ansible makes of the lab's inventory and its group_vars for a host."""
    program = Path(sys.executable).with_name("ansible-inventory")
    done = subprocess.run(
        [str(program), "-i", str(lab.inventory.parent), "--host", host],
        cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def written(folder: Path, keys: dict[str, tuple[Path, str]]) -> tuple[Lab, dict[str, Any]]:
    """A lab's inventory on disk, and its data."""
    lab = Lab("other", folder)
    platforms = chosen_platforms("jammy noble")
    tokens = {platform.name: ["glrt-x"] for platform in platforms}
    data = inventory(lab, NETWORK, platforms, find_runner(), keys, tokens, {}, {}, {})
    write_inventory(lab, data)
    return lab, data


def defaults(role: str) -> set[str]:
    """Names of a role's variables that say where packages come from."""
    path = CHECKOUT / "roles" / role / "defaults" / "main.yml"
    return {name for name in yaml.safe_load(path.read_text()) if "_repository_" in name}


REPOSITORY_VARIABLES = defaults("python_versions") | defaults("gitlab_runner")


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("host", ["jammy", "noble"])
def test_the_roles_defaults_hold(tmp_path: Path, host: str) -> None:
    lab, data = written(tmp_path, {})
    found = variables(lab, host)
    assert len(REPOSITORY_VARIABLES) >= 9
    assert REPOSITORY_VARIABLES & set(found) == set()
    assert not [name for name in found if name.startswith(("lab_mirror", "lab_company"))]
    assert found["lab_runner_version"] == "latest"
    assert found["lab_pythons"][host] == list(PLATFORMS[host].real().pythons)
    # What is the lab's own all the same: GitLab and its CA.
    assert "lab_gitlab_url" in found["gitlab_runner_url"]
    assert list(data["all"]["children"]) == ["runner_hosts"]


def test_the_labs_own_repositories_are_named_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD", raising=False)
    lab, _ = written(tmp_path, KEYS)
    found = variables(lab, "noble")
    assert {name for name in REPOSITORY_VARIABLES if name.endswith(("_url", "_key"))} <= set(found)
    assert found["lab_runner_version_next"]


# --- before anything is made


class Server(http.server.BaseHTTPRequestHandler):
    """Has `/there` and nothing else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/there" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Not a word."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a web server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


class FakeEngine(Engine):
    """An engine that has no image and can pull none; it remembers what it was asked to do."""

    def __init__(self) -> None:
        super().__init__(Needs(legacy_cgroups=False, no_ulimits=False))
        self.asked: list[str] = []

    def __call__(self, *arguments: str, **_: Any) -> subprocess.CompletedProcess[str]:
        self.asked.append(arguments[0])
        if arguments[0] == "pull":
            raise LabError("podman pull: exit 125\nError: registry: connection refused")
        return subprocess.CompletedProcess(list(arguments), 1, "", "")


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between a test and its own server."""
    monkeypatch.setenv("no_proxy", "*")


def test_addresses_are_the_roles_defaults() -> None:
    found = upstream.addresses(list(PLATFORMS.values()))
    assert list(found) == [
        "deadsnakes for jammy",
        "GitLab's packages for jammy",
        "deadsnakes for noble",
        "GitLab's packages for noble",
        "the key of GitLab's packages",
    ]
    assert all(address.startswith("https://") for address in found.values())
    assert found["deadsnakes for jammy"].endswith("/deadsnakes/ppa/ubuntu/dists/jammy/InRelease")
    assert "//dists" not in "".join(found.values())


@pytest.mark.usefixtures("direct")
def test_what_answers_and_what_does_not(server: str) -> None:
    assert upstream.reach(f"{server}/there") == ""
    assert upstream.reach(f"{server}/gone") == "HTTP 404"
    assert "refused" in upstream.reach("http://127.0.0.1:1/")
    assert upstream.reach("http://no-such-host.invalid/") != ""


@pytest.mark.usefixtures("real", "direct")
def test_all_that_is_out_of_reach_is_named_and_nothing_is_made(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = FakeEngine()
    given = {"deadsnakes for jammy": f"{server}/gone", "the key": f"{server}/there"}
    monkeypatch.setattr(upstream, "addresses", lambda platforms: given)
    monkeypatch.setattr(world, "Engine", lambda: engine)
    monkeypatch.setenv("RUNNERHOST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("lab.cli.lab_from_environment", lambda: Lab("x", tmp_path / "checkout"))
    assert main(["demo"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"lab: WORLD=upstream: cannot reach deadsnakes for jammy: {server}/gone: HTTP 404",
        "WORLD=upstream: cannot reach image ubuntu:22.04 (LAB_IMAGE_JAMMY names another): "
        "Error: registry: connection refused",
        "nothing was made",
    ]
    assert engine.asked == ["image", "pull"]
    assert not (tmp_path / "checkout").exists()
    # A lock, and nothing else.
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["locks"]


@pytest.mark.usefixtures("real", "direct")
def test_where_all_is_in_reach_it_goes_on(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "addresses", lambda platforms: {"the key": f"{server}/there"})
    engine = FakeEngine()
    monkeypatch.setattr(engine, "image_exists", lambda name: name == "ubuntu:22.04")
    upstream.preflight(engine, chosen_platforms("jammy"))
    with pytest.raises(LabError, match=r"image ubuntu:24\.04"):
        upstream.preflight(engine, chosen_platforms("noble"))


# --- what the demo says


def judged(folder: Path, package: str, platform: Platform, pythons: Sequence[str]) -> demo.Result:
    """The demo's verdict on a host on which all is well, with this package of the runner."""
    lab = Lab("x", folder)
    write_tokens(lab, {platform.name: [{"id": 7, "token": "glrt-x"}]})
    made = world.World(lab, NETWORK, (platform,), find_runner(), True)
    job = JobInfo(
        id=1, name="wheels", state="success", revision=1, pipeline_id=1, sha="0" * 40, runner_id=7,
        system_id="s_1", failure_reason=None, exit_code=0, checksum_ok=True, created_at=1.0,
        started_at=2.0, finished_at=3.0, trace_size=1, finished=True, active=False, pickups=[],
        uploads=[],
    )  # fmt: skip
    archive = (
        " 500 http://archive jammy/main amd64 Packages\n     release o=Ubuntu\n"
        " 500 http://ppa jammy/main amd64 Packages\n     release o=LP-PPA-deadsnakes\n"
    )
    answers = {
        "system": "Ubuntu 22.04.5 LTS", "compiler": "cc 11", "cmake": "cmake 3.22", "ninja": "1.10",
        "runner": "Version:      18.5.0", "runner package": package, "service": "active",
        "archives": archive, "kernel": "Linux",
    }  # fmt: skip
    wheels = []
    for version in pythons:
        place = "archive" if version == platform.system_python else "ppa"
        answers[f"full {version}"] = f"{version}.1 (main)"
        answers[f"policy {version}"] = (
            f" *** {version}.1-1 500\n        500 http://{place} jammy/main amd64 Packages\n"
        )
        tag = f"cp{version.replace('.', '')}"
        wheels.append(demo.Wheel(version, "w.whl", f"{tag}-{tag}-linux_x86_64", 1.0))
    return demo.judge(made, platform, pythons, job, "gitlab-runner 18.5.0", wheels, answers)


@pytest.mark.usefixtures("real")
def test_the_demos_table_calls_real_things_real(tmp_path: Path) -> None:
    (jammy,) = chosen_platforms("jammy")
    result = judged(tmp_path, "18.5.0-1", jammy, jammy.pythons)
    assert result.problems == ()
    rows = dict(result.rows)
    assert rows["system"] == "Ubuntu 22.04.5 LTS (userland: the real one, ubuntu:22.04)"
    assert rows["python 3.10"] == "3.10.1 from Ubuntu"
    assert rows["gitlab-runner"] == "18.5.0 (GitLab's own package), package 18.5.0-1"
    assert rows["gitlab"] == "the lab's own, a stand-in"
    assert "stand-in" not in "".join(text for name, text in result.rows if name != "gitlab")


@pytest.mark.usefixtures("real")
def test_a_package_that_is_not_its_program_is_a_problem(tmp_path: Path) -> None:
    (jammy,) = chosen_platforms("jammy")
    result = judged(tmp_path, "18.4.0-1", jammy, jammy.pythons)
    assert result.problems == ("jammy: package gitlab-runner '18.4.0-1', not 18.5.0",)
