# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as time goes by: Pythons go and get newer, the system asks for a restart, things drift.

The tests run in their order: each starts from the host that the one before left.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.engine import Engine
from lab.keys import ensure_key
from lab.mirror import PYTHON_LABEL, PYTHON_ORIGIN, PYTHON_PATH, publish
from lab.packages import pack
from lab.platforms import PLATFORMS
from lab.run import run as run_command
from tests.lab.releases import make_venvs
from tests.lab.site import Run, Site, queue
from tests.lab.test_drain import begun, is_whole, succeeds
from tests.lab.test_mirror import Server
from tests.lab.test_os_upgrade import version_of

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HOME = "/home/gitlab-runner"
PROJECT = f"{HOME}/builds/x/0/group/project"
OLD, NEW = f"{PROJECT}/.tox/py39", f"{PROJECT}/.nox/tests-3-11"
WITHOUT_OLD: dict[str, Any] = {
    "python_versions_wanted": ["3.11"],
    "python_versions_remove_unlisted": True,
}


def flat(run: Run) -> str:
    """The output, its lines joined as Ansible broke them."""
    return re.sub(r"\s+", " ", run.output)


@pytest.fixture(scope="module")
def ready(site: Site) -> Site:
    """The host, provisioned, with what jobs left of tox and nox."""
    run = site.playbook("site.yml")
    assert run.code == 0, run.output
    site.sh(
        "sudo -u gitlab-runner -H bash -euc '\n"
        f"mkdir -p {PROJECT}\n"
        f"python3.9 -m venv --without-pip {OLD}; python3.11 -m venv --without-pip {NEW}'"
    )
    return site


# --- Pythons that go ----------------------------------------------------------------------------


def test_end_of_life_is_warned_of(ready: Site) -> None:
    run = ready.playbook("site.yml")
    assert run.counts()["changed"] == 0, run.output
    assert "Python 3.9 reached its end of life on 2025-10-31" in flat(run)
    silent = ready.playbook("site.yml", extra={"python_versions_end_of_life_warning_days": -1})
    assert "end of life" not in silent.output


def test_removal_of_a_version_names_first_which_venvs_it_breaks(ready: Site) -> None:
    says = f"{OLD}: dead, /usr/bin/python3.9 is gone (made with Python 3.9.2)"
    check = ready.playbook("site.yml", "--check", extra=WITHOUT_OLD)
    assert check.code == 0, check.output
    assert says in flat(check)
    assert "ok" in ready.sh(f"{OLD}/bin/python -c 'print(\"ok\")'")
    run = ready.playbook("site.yml", extra=WITHOUT_OLD)
    assert run.code == 0, run.output
    assert says in flat(run)
    assert flat(run).index(says) < flat(run).index("Remove the versions that are no longer")
    assert NEW not in run.output
    # Only named: the folder is a job's.
    assert ready.sh(f"test -L {OLD}/bin/python && ! test -e {OLD}/bin/python && echo dead")
    again = ready.playbook("site.yml", extra=WITHOUT_OLD)
    assert again.counts()["changed"] == 0, again.output


def test_verify_tells_of_a_dead_venv_and_fails_for_none(ready: Site, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    extra = {**WITHOUT_OLD, "runner_host_verify_report": str(report)}
    run = ready.playbook("verify.yml", extra=extra)
    assert run.code == 0, run.output
    host = json.loads(report.read_text())["hosts"]["jammy"]
    assert host["differences"] == []
    assert host["notes"][0] == "2 virtual environments: 1 alive, 1 dead"
    assert host["notes"][1].startswith(f"{OLD}: dead")


def test_a_dead_venv_is_removed_by_the_command_that_is_named(ready: Site, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    ready.playbook("verify.yml", extra={**WITHOUT_OLD, "runner_host_verify_report": str(report)})
    notes = json.loads(report.read_text())["hosts"]["jammy"]["notes"]
    ready.sh(notes[1].partition("; to remove it: ")[2])
    assert ready.sh(f"ls -A {PROJECT} {PROJECT}/.tox").split() == [
        *(f"{PROJECT}:", ".nox", ".tox", f"{PROJECT}/.tox:"),
    ]
    assert version_of(ready, NEW.removeprefix(f"{HOME}/"), "ssl") == "3.11"


# --- drift --------------------------------------------------------------------------------------


def test_drift_is_told_in_words_and_as_json(ready: Site, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    extra = {**WITHOUT_OLD, "runner_host_verify_report": str(report)}
    ready.sh("chmod 0644 /etc/gitlab-runner/env-file; systemctl disable gitlab-runner 2>&1")
    run = ready.playbook("verify.yml", extra=extra)
    assert run.code != 0
    assert "gitlab-runner.service: expected enabled and running, found disabled" in flat(run)
    found = json.loads(report.read_text())["hosts"]["jammy"]["differences"]
    assert {(one["what"], one["expected"], one["found"], one["source"]) for one in found} == {
        (
            "/etc/gitlab-runner/env-file",
            "mode 0600",
            "mode 0644",
            "tests/host",
        ),
        (
            "gitlab-runner.service",
            "enabled and running",
            "disabled and active",
            "tests/host",
        ),
    }
    assert {one["where"].partition("::")[0] for one in found} == {
        "tests/host/test_gitlab_runner.py"
    }
    mended = ready.playbook("site.yml", extra=WITHOUT_OLD)
    assert mended.code == 0, mended.output
    again = ready.playbook("verify.yml", extra=extra)
    assert again.code == 0, again.output
    assert "nothing differs from the inventory" in again.output
    assert json.loads(report.read_text())["hosts"]["jammy"]["differences"] == []


def test_a_host_that_does_not_answer_is_in_the_report(ready: Site, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    more = {"runner_hosts": {"hosts": {"gone": {"ansible_host": "127.0.0.1", "ansible_port": 1}}}}
    path = tmp_path / "gone.yml"
    path.write_text(yaml.safe_dump({"all": {"children": more}}), encoding="utf-8")
    extra = {**WITHOUT_OLD, "runner_host_verify_report": str(report)}
    run = ready.playbook("verify.yml", "-i", str(path), extra=extra)
    assert run.code != 0
    hosts = json.loads(report.read_text())["hosts"]
    assert hosts["jammy"]["differences"] == []
    assert hosts["gone"]["differences"] == []
    (obstacle,) = hosts["gone"]["obstacles"]
    assert obstacle["source"] == "connection"
    assert "Connection refused" in obstacle["found"]
    assert run.code == 4


# --- a point release ----------------------------------------------------------------------------


@pytest.fixture
def upstream(ready: Site, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A copy of the lab's Pythons that gets newer: its folder, and its address."""
    made = json.loads((ready.lab.state / "serve.json").read_text())["repositories"]
    root = tmp_path / "deadsnakes"
    shutil.copytree(made[PYTHON_PATH], root)
    network = Engine().network(ready.lab.network)
    assert network is not None
    served = Server(root, str(network.gateway))
    try:
        yield root, served.url
    finally:
        served.off()


def release(root: Path) -> None:
    """Upstream's next point release: 3.9.3 in the place of 3.9.2.

    The same build with another number, which it also says of itself; Debian has no second one.
    """
    platform = PLATFORMS["jammy"]
    pool = root / "pool" / platform.name
    for deb in sorted(pool.glob("*python3.9*_3.9.2-*.deb")):
        tree = pool / "tree"
        run_command(["dpkg-deb", "-R", str(deb), str(tree)], timeout=120)
        control = tree / "DEBIAN" / "control"
        control.write_text(control.read_text().replace("3.9.2-", "3.9.3-"))
        program = tree / "usr" / "bin" / "python3.9"
        if program.is_file() and not program.is_symlink():
            whole = program.read_bytes()
            assert b"\x003.9.2\x00" in whole
            program.write_bytes(whole.replace(b"\x003.9.2\x00", b"\x003.9.3\x00"))
        deb.unlink()
        pack(tree, pool / deb.name.replace("3.9.2-", "3.9.3-"))
    shutil.rmtree(root / "dists")
    key = ensure_key("deadsnakes", "Runnerhost lab PPA for deadsnakes", "never")
    publish(root, platform.name, "main", PYTHON_ORIGIN, PYTHON_LABEL, key)


def test_venvs_live_on_after_a_point_release(ready: Site, upstream: tuple[Path, str]) -> None:
    root, url = upstream
    extra = {"python_versions_repository_url": url}
    first = ready.playbook("site.yml", extra=extra)
    assert first.code == 0, first.output
    make_venvs(ready)
    said = ready.sh(f"{HOME}/v3.9/bin/python --version; /usr/bin/python3.9 --version")
    assert said == "Python 3.9.2\n" * 2
    release(root)
    ready.sh("apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y upgrade 2>&1")
    assert ready.sh(f"{HOME}/v3.9/bin/python --version") == "Python 3.9.3\n"
    assert version_of(ready, "v3.9", "here") == "3.9"
    assert version_of(ready, "v3.9-pip", "pip") == "3.9"
    assert "version = 3.9.2" in ready.sh(f"cat {HOME}/v3.9/pyvenv.cfg")
    verified = ready.playbook("verify.yml", extra=extra)
    assert verified.code == 0, verified.output
    assert "5 virtual environments: 5 alive" in flat(verified)
    # The new one is checked, once.
    checked = ready.playbook("site.yml", extra=extra)
    assert checked.counts()["changed"] == 1, checked.output
    assert ready.playbook("site.yml", extra=extra).counts()["changed"] == 0


# --- restarts -----------------------------------------------------------------------------------


def booted(site: Site) -> str:
    """Tells one boot from another, in a container too."""
    return site.sh("systemctl show --property=UserspaceTimestampMonotonic --value").strip()


def ask_for_a_restart(site: Site) -> None:
    """As packages' scripts do."""
    site.sh(
        "echo '*** System restart required ***' > /run/reboot-required\n"
        "printf 'libc6\\nlinux-base\\nlibc6\\n' > /run/reboot-required.pkgs"
    )


@pytest.fixture(scope="module")
def whole(ready: Site) -> Site:
    """The host as the inventory has it, whatever the tests above left."""
    run = ready.playbook("site.yml")
    assert run.code == 0, run.output
    return ready


def test_host_that_asks_for_no_restart_is_left_alone(whole: Site) -> None:
    before = booted(whole)
    run = whole.playbook("reboot.yml")
    assert run.code == 0, run.output
    assert run.counts()["changed"] == 0
    assert "needs no restart" in flat(run)
    assert booted(whole) == before


def test_host_that_cannot_be_drained_is_left_as_it_was_and_no_other_is_touched(
    whole: Site, tmp_path: Path
) -> None:
    data = yaml.safe_load((whole.inventory / "hosts.yml").read_text(encoding="utf-8"))
    # A second host, after the first: one machine under two names.
    host = data["all"]["children"]["runner_hosts"]["hosts"]["jammy"]
    path = tmp_path / "second.yml"
    path.touch(mode=0o600)
    more = {"runner_hosts": {"hosts": {"second": host}}}
    path.write_text(yaml.safe_dump({"all": {"children": more}}), encoding="utf-8")
    ask_for_a_restart(whole)
    before = booted(whole)
    job = begun(whole, "reboot-late")
    run = whole.playbook("reboot.yml", "-i", str(path), extra={"gitlab_runner_drain_deadline": 4})
    assert run.code != 0
    assert "gave up after" in run.output
    assert booted(whole) == before
    assert is_whole(whole)
    assert "second" not in run.output.partition("PLAY RECAP")[2]
    succeeds(whole, queue(whole, "echo meanwhile"))
    whole.sh("touch /var/tmp/reboot-late")
    succeeds(whole, job)


def test_restart_waits_for_the_running_job_and_the_host_takes_jobs_again(whole: Site) -> None:
    ask_for_a_restart(whole)
    before = booted(whole)
    check = whole.playbook("reboot.yml", "--check")
    assert check.code == 0, check.output
    assert "asks for a restart: libc6, linux-base" in flat(check)
    assert check.counts()["changed"] > 0
    assert booted(whole) == before
    assert is_whole(whole)
    job = begun(whole, "reboot")
    run = whole.playbook(
        "reboot.yml",
        extra={"gitlab_runner_reboot_timeout": 120},
        on_line={f"waits for job {job}": lambda: whole.sh("touch /var/tmp/reboot")},
    )
    assert run.code == 0, run.output
    assert booted(whole) != before
    succeeds(whole, job)
    assert is_whole(whole)
    succeeds(whole, queue(whole, "echo back"))
    again = whole.playbook("reboot.yml")
    assert again.counts()["changed"] == 0, again.output
    verified = whole.playbook("verify.yml")
    assert verified.code == 0, verified.output
