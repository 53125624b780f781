# SPDX-License-Identifier: GPL-3.0-or-later
"""A runner that shares nothing: what a hostile build job reaches of it, and every verb."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.engine import Engine
from tests.lab.earlier import compare
from tests.lab.gitlab_proxy import proxy
from tests.lab.manifest import take
from tests.lab.site import Run, Site, queue, until
from tests.lab.test_drain import begun, succeeds

pytestmark = pytest.mark.lab

NAME = "gitlab-runner-publish"
HOME = f"/home/{NAME}"
FOLDER = f"/etc/{NAME}"
# Stands for what a publishing job has: in a file, in its environment, on a command line, in /tmp.
MARKER = "pypi-marker-5f0c1d"


@pytest.fixture(scope="module")
def variables(site: Site) -> Iterator[dict[str, Any]]:
    """Of a host with a build runner and an isolated one that GitLab creates."""
    network = Engine().network(site.lab.network)
    assert network is not None
    with site.gitlab() as gitlab:
        token = gitlab.create_token("create_runner", "manage_runner")
    with proxy(str(network.gateway)) as (address, _):
        yield values(site, token, address)


def values(site: Site, token: str, address: str) -> dict[str, Any]:
    """The inventory's, for an access token and the controller's proxy."""
    return {
        "gitlab_runner_api_proxy": address,
        "gitlab_runner_api_token": token,
        "gitlab_runner_api_ca_certificate": site.variables["lab_gitlab_ca_file"],
        "gitlab_runner_isolated": [
            {
                "name": "publish",
                "environment": {"PUBLISHES": "1"},
                "runners": [
                    {
                        "name": "publish",
                        "gitlab": {
                            "runner_type": "instance_type",
                            "tag_list": ["publish"],
                            "run_untagged": False,
                        },
                    }
                ],
            }
        ],
    }


def provision(site: Site, variables: dict[str, Any], *arguments: str) -> Run:
    run = site.playbook("site.yml", *arguments, extra=variables)
    assert run.code == 0, run.output
    assert variables["gitlab_runner_api_token"] not in run.output
    return run


@pytest.fixture(scope="module")
def plain(site: Site) -> dict[str, Any]:
    """The host as most hosts begin: provisioned without the isolated runner."""
    assert site.playbook("site.yml").code == 0
    return take(site.sh)


@pytest.fixture(scope="module")
def ready(site: Site, plain: dict[str, Any], variables: dict[str, Any]) -> Site:
    """The same host with the isolated runner."""
    check = provision(site, variables, "--check", "--diff")
    assert check.counts()["changed"] > 0
    assert site.sh(f"ls -d {FOLDER} 2>/dev/null || true") == ""
    provision(site, variables)
    again = provision(site, variables)
    assert again.counts()["changed"] == 0, again.output
    return site


def test_it_is_the_one_that_an_earlier_version_left(ready: Site, plain: dict[str, Any]) -> None:
    compare("isolated", plain, take(ready.sh))


def publishing(site: Site, *script: str, **options: Any) -> int:
    """A job on a protected tag, for the isolated runner."""
    given = {"protected": True, **options}
    return queue(site, *script, variables={"SECRET": MARKER}, tags=["publish"], **given)


def pid(site: Site, unit: str) -> str:
    return site.sh(f"systemctl show -P MainPID {unit}.service").strip()


@pytest.fixture
def publishes(ready: Site) -> Iterator[Site]:
    """While a publishing job runs, with its secret in every place where jobs have one."""
    job = publishing(
        ready,
        f"umask; touch {HOME}/go-not; rm {HOME}/go-not",
        f"echo {MARKER} > ~/secret; echo {MARKER} > /tmp/of-publish; echo {MARKER} > ~/readable",
        "chmod 0644 ~/readable",
        f"sh -c 'while ! test -e ~/go; do sleep 0.2; done' {MARKER} &",
        "echo begun",
        "wait",
        "rm ~/go",
    )
    with ready.gitlab() as gitlab:
        until(lambda: "begun" in gitlab.trace(job), 60, "the publishing job runs")
    yield ready
    ready.sh(f"touch {HOME}/go; chown {NAME}: {HOME}/go")
    succeeds(ready, job)


def test_a_service_of_its_own(ready: Site) -> None:
    assert ready.sh(f"systemctl is-active {NAME}.service").strip() == "active"
    assert pid(ready, NAME) != pid(ready, "gitlab-runner")
    assert ready.sh(f"stat -c '%a %U' {HOME} {FOLDER}").split("\n")[:2] == [
        f"700 {NAME}",
        "700 root",
    ]
    with ready.gitlab() as gitlab:
        (made,) = [r for r in gitlab.control("GET", "/runners") if r["description"] == "publish"]
        assert made["access_level"] == "ref_protected"


def test_it_takes_protected_jobs_alone_in_its_own_environment(ready: Site) -> None:
    job = publishing(ready, "id -un; echo $PUBLISHES; umask; pwd; ls /home/gitlab-runner || true")
    succeeds(ready, job)
    with ready.gitlab() as gitlab:
        trace = gitlab.trace(job)
    assert f"\n{NAME}\n1\n0077\n{HOME}/builds/" in trace.replace("\r", "")
    assert "Permission denied" in trace
    unprotected = publishing(ready, "echo no", protected=False)
    build = queue(ready, "id -un")
    succeeds(ready, build)
    with ready.gitlab() as gitlab:
        assert "\ngitlab-runner\n" in gitlab.trace(build).replace("\r", "")
        assert gitlab.job(unprotected).state == "pending"
        gitlab.cancel_job(unprotected, "canceled")


def test_hostile_build_job_finds_nothing(publishes: Site) -> None:
    """It looks where a job's secrets lie, and tries the ways out of its service."""
    unit = pid(publishes, NAME)
    tries = (
        f"cat {HOME}/secret {HOME}/readable /tmp/of-publish; ls -la {HOME} {FOLDER}; "
        f"cat {FOLDER}/config.toml {FOLDER}/env-file; "
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'; ps axeww; "
        f"ls -l /proc/{unit}/fd /proc/{unit}/root/tmp; grep -rsh pypi-m /tmp /var/tmp /home"
    )
    job = queue(
        publishes,
        f"({tries}) 2>&1 | tee seen || true",
        f"systemd-run --user --quiet --wait --pipe bash -c {shlex.quote(tries)} || true",
        f"systemd-run --quiet --wait --pipe --uid={NAME} cat {HOME}/secret || true",
        f"loginctl enable-linger {NAME} || true",
        f"su - {NAME} -c id </dev/null || true",
        f"sudo -n -u {NAME} id || true",
        f"kill -9 {unit} || true",
        f"nsenter -t {unit} -m ls /tmp || true",
        "echo the end",
    )
    succeeds(publishes, job)
    with publishes.gitlab() as gitlab:
        trace = gitlab.trace(job)
    assert "the end" in trace
    assert MARKER not in trace
    assert f"({NAME})" not in trace, "it became the other user"
    assert pid(publishes, NAME) == unit


def test_the_hostile_look_finds_a_secret_that_lies_open(publishes: Site) -> None:
    """The test above can fail: the same words, read by one who may."""
    seen = publishes.sh(
        f"cat {HOME}/secret; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep {MARKER}", check=False
    )
    assert seen.count(MARKER) >= 2


@pytest.mark.slow
def test_verify_rotate_and_adopt_know_it(
    ready: Site, variables: dict[str, Any], tmp_path: Path
) -> None:
    extra = {**variables, "runner_host_verify_roles": ["gitlab_runner"]}
    run = ready.playbook("verify.yml", extra=extra)
    assert run.code == 0, run.output
    assert "jammy-build: valid" in run.output
    assert "publish: valid" in run.output
    before = ready.sh(f"cat {FOLDER}/config.toml"), ready.sh("cat /etc/gitlab-runner/config.toml")
    run = ready.playbook(
        "rotate.yml", extra={**variables, "gitlab_runner_rotate_names": ["publish"]}
    )
    assert run.code == 0, run.output
    assert "publish: has a new token" in run.output
    assert "jammy-build" not in run.output
    after = ready.sh(f"cat {FOLDER}/config.toml"), ready.sh("cat /etc/gitlab-runner/config.toml")
    assert after[0] != before[0]
    assert after[1] == before[1]
    succeeds(ready, publishing(ready, "echo with the new token"))
    run = ready.playbook(
        "adopt.yml", extra={**variables, "gitlab_runner_adopt_folder": str(tmp_path)}
    )
    assert run.code == 0, run.output
    assert "name: publish" in (tmp_path / "jammy.yml").read_text()
    assert provision(ready, variables).counts()["changed"] == 0


@pytest.mark.slow
def test_restart_waits_for_its_job_alone(publishes: Site, variables: dict[str, Any]) -> None:
    """A changed environment restarts the one service, once it is idle."""
    before = pid(publishes, NAME), pid(publishes, "gitlab-runner")
    (entry,) = variables["gitlab_runner_isolated"]
    other = {**variables, "gitlab_runner_isolated": [{**entry, "environment": {"PUBLISHES": "2"}}]}
    run = provision(publishes, other)
    assert "Pending on this host" in run.output
    assert (pid(publishes, NAME), pid(publishes, "gitlab-runner")) == before
    publishes.sh(f"touch {HOME}/go; chown {NAME}: {HOME}/go")
    until(lambda: pid(publishes, NAME) not in (before[0], "0"), 60, "it restarts when idle")
    assert pid(publishes, "gitlab-runner") == before[1]
    assert provision(publishes, other).counts()["changed"] == 0
    provision(publishes, variables)


@pytest.mark.slow
def test_a_host_that_an_isolated_runner_has_left_verifies(
    ready: Site, variables: dict[str, Any]
) -> None:
    """With the entry that takes it away still in the inventory."""
    (entry,) = variables["gitlab_runner_isolated"]
    gone = {**variables, "gitlab_runner_isolated": [{"name": entry["name"], "state": "absent"}]}
    provision(ready, gone)
    assert provision(ready, gone).counts()["changed"] == 0
    extra = {**gone, "runner_host_verify_roles": ["gitlab_runner"]}
    run = ready.playbook("verify.yml", extra=extra)
    assert run.code == 0, run.output
    provision(ready, variables)


@pytest.mark.slow
def test_retired_host_has_nothing_left_of_it(ready: Site, variables: dict[str, Any]) -> None:
    job = begun(ready, "retired")
    run = ready.playbook(
        "retire.yml",
        extra=variables,
        on_line={f"waits for job {job}": lambda: ready.sh("touch /var/tmp/retired")},
    )
    assert run.code == 0, run.output
    succeeds(ready, job)
    units = ready.sh("systemctl list-unit-files 'gitlab-runner*' 'runnerhost*' --no-legend || true")
    assert units == ""
    assert ready.sh(f"ls -d {FOLDER} 2>/dev/null || true") == ""
    assert ready.sh(f"ls -d {HOME}").strip() == HOME
    with ready.gitlab() as gitlab:
        for runner in gitlab.control("GET", "/runners"):
            assert gitlab.managers(int(runner["id"])) == []
    again = ready.playbook("retire.yml", extra=variables)
    assert again.counts()["changed"] == 0, again.output
