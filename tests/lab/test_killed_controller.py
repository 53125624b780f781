# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller is killed in the middle: the next run ends converged, and nothing is lost.

The points come from what a run has changed here, by `SEED`; each is printed (`pytest -s`).
"""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.gitlab_proxy import by_api
from tests.lab.kills import CHANCE, DPKG, REQUESTS, Change, Point, changes, chosen
from tests.lab.site import Site, queue
from tests.lab.test_drain import config, is_whole, succeeds
from tests.lab.test_upgrade import OLD, version

pytestmark = pytest.mark.lab

SEED = os.environ.get("KILL_SEED", "20261121")
ALL, FEW = 10, 3
# All kinds of tasks, with few packages.
SMALL = {
    "build_tools_packages": ["ninja-build"],
    "python_versions_wanted": ["3.9"],
    "python_versions_packages": ["python{version}", "python{version}-venv"],
}
UP = {"gitlab_runner_version": "latest", "gitlab_runner_concurrent": 3}
DOWN = {
    "gitlab_runner_version": OLD,
    "gitlab_runner_allow_downgrade": True,
    "gitlab_runner_concurrent": 2,
}
# Only dpkg writes there, and only while it works.
IN_TRANSACTION = """
mark=$(mktemp)
for _ in $(seq 1800); do
  if [ -n "$(find /var/lib/dpkg/status /var/lib/dpkg/updates -newer $mark)" ]; then
    echo yes
    break
  fi
  sleep 0.05
done
rm $mark
"""
ASKED = "GitLab is asked about a runner"
TOKEN = r"glrt-[A-Za-z0-9_.-]{12,}"


@pytest.fixture(scope="module")
def variables(site: Site) -> Iterator[dict[str, Any]]:
    """Of a host with a runner that the toolkit creates, and one with a token."""
    with by_api(site) as (api, _):
        yield {
            **SMALL,
            **api,
            "gitlab_runner_runners": [
                {"name": "made", "gitlab": {"runner_type": "instance_type"}},
                {"name": "given", "token": site.variables["lab_runner_tokens"]["jammy"][0]},
            ],
        }


def fresh(site: Site) -> None:
    """A new host that nobody has touched, in a GitLab that knows of no created runner."""
    site.verb("reset", "jammy")
    with site.gitlab() as gitlab:
        for runner in gitlab.control("GET", "/runners"):
            if "Managed by Runnerhost" in str(gitlab.runner(runner["id"])["maintenance_note"]):
                gitlab.delete_runner(runner["id"])


def moment(site: Site, point: Point) -> Callable[[threading.Event], bool]:
    """What tells that the point has come."""
    if point.moment == CHANCE:
        return lambda over: over.wait(point.after) or True
    if point.moment == DPKG:
        # The way to the host is open before the run makes the machine busy.
        site.sh("true")
        return lambda _: "yes" in site.sh(IN_TRANSACTION)
    method, path = REQUESTS[point.moment]
    with site.gitlab() as gitlab:
        gitlab.fault(path, "delay", method=method, delay=2)

    def asked(over: threading.Event) -> bool:
        with site.gitlab() as gitlab:
            while not (came := any(fault["hits"] for fault in gitlab.faults())):
                if over.wait(0.05):
                    break
        return came

    return asked


def kill(site: Site, playbook: str, point: Point, extra: dict[str, Any]) -> None:
    """A run that is killed at a point."""
    print(f"\nseed {SEED}: {playbook} is killed at: {point}", flush=True)
    with site.gitlab() as gitlab:
        since = gitlab.last_request()
    hit = site.killed(playbook, point.task, moment(site, point), extra)
    assert hit, f"{playbook} was not killed at: {point}\n{site.outputs[-1]}"
    if point.moment in REQUESTS:
        with site.gitlab() as gitlab:
            # GitLab does what it was asked for, though nobody hears of it.
            gitlab.wait_request(lambda entry: entry["fault"] == "delay", 30, since=since)
            gitlab.clear_faults()


def ends(site: Site, playbook: str, extra: dict[str, Any]) -> None:
    """The next run ends converged, and one more changes nothing."""
    run = site.playbook(playbook, extra=extra)
    assert run.code == 0, run.output
    again = site.playbook(playbook, extra=extra)
    assert again.code == 0, again.output
    assert again.counts()["changed"] == 0, again.output


def nothing_is_lost(site: Site, extra: dict[str, Any], begun: float) -> None:
    """Both runners work, GitLab has none twice, no secret lies about."""
    tokens = site.variables["lab_runner_tokens"]["jammy"]
    with site.gitlab() as gitlab:
        runners = gitlab.control("GET", "/runners")
    assert len(runners) == 1 + len(tokens)
    assert is_whole(site)
    text = config(site)
    ids = {int(number) for number in re.findall(r"(?m)^ *id = (\d+)", text)}
    assert text.count("[[runners]]") == len(ids) == 2
    assert ids <= {runner["id"] for runner in runners}
    verified = site.sh("gitlab-runner verify 2>&1")
    assert verified.count("is valid") == 2, verified
    succeeds(site, queue(site, "echo after the kill"))
    api = str(extra["gitlab_runner_api_token"])
    places = "/etc /usr/local /var /run /root /home /tmp /opt /srv"
    with_token = site.sh(f"grep -rlE -- '{TOKEN}|{api}' {places} 2>/dev/null || true")
    assert with_token.split() == ["/etc/gitlab-runner/config.toml"]
    assert site.sh(f"find {places} -name '.runnerhost-*'") == ""
    assert site.sh("find /root/.ansible /home/admin/.ansible -type f 2>/dev/null || true") == ""
    assert site.sh("dpkg --audit") == ""
    assert on_controller(site.temporary, {api, *re.findall(TOKEN, text), *tokens}, begun) == []


def on_controller(top: Path, secrets: set[str], begun: float) -> list[str]:
    """Files in the playbooks' temporary folder, written since `begun`, that hold a secret."""
    known = [secret.encode() for secret in secrets]
    found = []
    for folder, _, names in os.walk(top):
        for path in (Path(folder) / name for name in names):
            info = path.lstat()
            if stat.S_ISREG(info.st_mode) and info.st_mtime >= begun:
                content = path.read_bytes()
                if any(secret in content for secret in known):
                    found.append(str(path))
    return found


@pytest.fixture(scope="module")
def cold(site: Site, variables: dict[str, Any]) -> list[Change]:
    """What a cold provision changes."""
    fresh(site)
    return changes(site.record("site.yml", extra={**variables, **DOWN}))


@pytest.fixture(scope="module")
def upgrade(site: Site, variables: dict[str, Any]) -> list[Change]:
    """What an upgrade changes, and the host afterwards."""
    old = site.playbook("site.yml", extra={**variables, **DOWN})
    assert old.code == 0, old.output
    return changes(site.record("upgrade.yml", extra={**variables, **UP}))


def test_three_kills_on_the_way_to_a_provisioned_host(
    site: Site, variables: dict[str, Any]
) -> None:
    """One after the other on one host: the run after each goes on from what it has left."""
    begun = time.time()
    extra = {**variables, **DOWN}
    foreseen = changes(site.record("site.yml", "--check", extra=extra))
    # The one after which a careless run would make a second runner.
    for point in chosen(foreseen, FEW, f"{SEED} cold", ["GitLab makes a runner"]):
        kill(site, "site.yml", point, extra)
    ends(site, "site.yml", extra)
    nothing_is_lost(site, extra, begun)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(ALL))
def test_cold_provision(
    site: Site, variables: dict[str, Any], cold: list[Change], number: int
) -> None:
    """A fresh host for each point."""
    begun = time.time()
    extra = {**variables, **DOWN}
    fresh(site)
    point = chosen(cold, ALL, f"{SEED} cold", tuple(REQUESTS))[number]
    kill(site, "site.yml", point, extra)
    ends(site, "site.yml", extra)
    nothing_is_lost(site, extra, begun)


def other_version(site: Site) -> tuple[dict[str, Any], str]:
    """What leads the host to the version that it does not have, and that version."""
    if version(site) == f"{OLD}-1":
        return UP, str(site.variables["lab_runner_version_next"])
    return DOWN, f"{OLD}-1"


def is_upgraded(site: Site, extra: dict[str, Any], wanted: str, begun: float) -> None:
    """It ends with the wanted version, checked, nothing lost."""
    ends(site, "upgrade.yml", extra)
    assert version(site) == wanted
    assert "unproven" not in site.sh("ls /var/lib/runnerhost/gitlab-runner")
    nothing_is_lost(site, extra, begun)


def test_three_kills_on_the_way_to_another_version(
    site: Site, variables: dict[str, Any], upgrade: list[Change]
) -> None:
    """One after the other, as above."""
    begun, before = time.time(), identities(site)
    more, wanted = other_version(site)
    extra = {**variables, **more}
    for point in chosen(upgrade, FEW, f"{SEED} upgrade", [ASKED]):
        kill(site, "upgrade.yml", point, extra)
    is_upgraded(site, extra, wanted, begun)
    assert identities(site) == before


@pytest.mark.slow
@pytest.mark.parametrize("number", range(ALL))
def test_upgrade(site: Site, variables: dict[str, Any], upgrade: list[Change], number: int) -> None:
    """From whichever version the host has to the other one."""
    begun, before = time.time(), identities(site)
    more, wanted = other_version(site)
    extra = {**variables, **more}
    kill(site, "upgrade.yml", chosen(upgrade, ALL, f"{SEED} upgrade", [ASKED])[number], extra)
    is_upgraded(site, extra, wanted, begun)
    assert identities(site) == before


def identities(site: Site) -> set[str]:
    """Ids and tokens of the host's runners."""
    return set(re.findall(r"(?m)^ *(?:id|token) = .*$", config(site)))
