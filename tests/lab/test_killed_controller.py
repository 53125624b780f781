"""The controller is killed in the middle: the next run ends converged, and nothing is lost."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab.site import Site, until
from tests.lab.test_drain import config, is_whole, queue, succeeds
from tests.lab.test_upgrade import OLD, version

pytestmark = pytest.mark.lab

SEED = 20261121
DPKG = "dpkg"
REQUEST = "GitLab is asked"

# Every task of a cold provision that changes something, in its order; what is awaited then.
COLD = (
    ("network_access : files |", ""),
    ("build_tools : packages |", DPKG),
    ("python_versions : repository |", ""),
    ("python_versions : install |", DPKG),
    ("python_versions : prove |", ""),
    ("gitlab_runner : user |", ""),
    ("gitlab_runner : files |", ""),
    ("gitlab_runner : package | Install", DPKG),
    ("gitlab_runner : config | Swap", REQUEST),
    ("gitlab_runner : service | Load", ""),
)
UPGRADE = (
    ("gitlab_runner : files |", ""),
    ("gitlab_runner : upgrade | Keep", ""),
    ("gitlab_runner : upgrade | Pause", ""),
    ("gitlab_runner : upgrade | Install", DPKG),
    ("gitlab_runner : upgrade | Watch", ""),
    ("gitlab_runner : upgrade | Take jobs", ""),
    ("gitlab_runner : config | Swap", ""),
    ("gitlab_runner : service | Load", ""),
)


def chosen(points: tuple[tuple[str, str], ...], count: int, *always: int) -> list[tuple[str, str]]:
    """So many of the points in their order, by the seed; some of them always."""
    others = [i for i in range(len(points)) if i not in always]
    picked = {*always, *random.Random(SEED).sample(others, count - len(always))}
    return [points[i] for i in sorted(picked)]


def moment(site: Site, awaited: str) -> Callable[[], object]:
    """What to wait for once the task has begun."""
    if awaited == DPKG:
        return lambda: until(
            lambda: site.sh("pgrep -x dpkg || true").strip(), 120, "apt is in its transaction"
        )
    if awaited == REQUEST:
        with site.gitlab() as gitlab:
            last = gitlab.last_request()

        def asked() -> None:
            with site.gitlab() as gitlab:
                gitlab.wait_request(
                    lambda entry: entry["path"] == "/api/v4/runners/verify", 60, since=last
                )

        return asked
    pause = random.Random(f"{SEED} {awaited}").uniform(0.0, 1.5)
    # A moment by chance within the task: there is no condition to wait for.
    return lambda: time.sleep(pause)


def killed_at(site: Site, playbook: str, point: tuple[str, str], extra: dict[str, Any]) -> bool:
    """Kills a run at a point; False if the run came to its end without it."""
    task, awaited = point
    return site.killed(playbook, f"TASK [runnerhost.toolkit.{task}", moment(site, awaited), extra)


def settled(site: Site, extra: dict[str, Any], tokens_before: int) -> None:
    """Converged, nothing lost, nothing left over."""
    again = site.playbook("site.yml", extra=extra)
    assert again.code == 0, again.output
    assert again.counts()["changed"] == 0, again.output
    with site.gitlab() as gitlab:
        assert len(gitlab.control("GET", "/runners")) == tokens_before
    assert is_whole(site)
    assert config(site).count("[[runners]]") == 1
    succeeds(site, queue(site, "echo after the kill"))
    token = site.sh("grep '^ *token = ' /etc/gitlab-runner/config.toml").split('"')[1]
    found = site.sh(
        f"grep -rlF -- {token} /etc /tmp /var/tmp /root /home /run /var/lib 2>/dev/null || true"
    )
    assert found.split() == ["/etc/gitlab-runner/config.toml"]
    left = site.sh("find /etc /usr/local /var/lib/runnerhost -name '.runnerhost-*'")
    assert left == ""
    assert site.sh("dpkg --audit") == ""


def runners(site: Site) -> int:
    with site.gitlab() as gitlab:
        return len(gitlab.control("GET", "/runners"))


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(chosen(COLD, 3, 7, 8), id="three"),
        pytest.param(list(COLD[:5]), id="first five", marks=pytest.mark.slow),
        pytest.param(list(COLD[5:]), id="last five", marks=pytest.mark.slow),
    ],
)
def test_cold_provision(site: Site, points: list[tuple[str, str]]) -> None:
    """One host, killed again and again on its way; the last run ends it."""
    site.verb("reset", "jammy")
    before = runners(site)
    # An old version, so that the tests of upgrades can go on from here.
    extra = {"gitlab_runner_version": OLD}
    hit = [killed_at(site, "site.yml", point, extra) for point in points]
    assert all(hit), f"never reached: {[p for p, h in zip(points, hit, strict=True) if not h]}"
    run = site.playbook("site.yml", extra=extra)
    assert run.code == 0, run.output
    settled(site, extra, before)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([point], id=point[0].split("| ")[-1] or "files")
        if point in chosen(UPGRADE, 3, 3, 4)
        else pytest.param([point], id=point[0].split("| ")[-1], marks=pytest.mark.slow)
        for point in UPGRADE
    ],
)
def test_upgrade(site: Site, points: list[tuple[str, str]]) -> None:
    """Killed at the point; the next run ends it, and the new version is proven."""
    back = {"gitlab_runner_version": OLD, "gitlab_runner_allow_downgrade": True}
    old = site.playbook("site.yml", extra=back)
    assert old.code == 0, old.output
    before, jobs = runners(site), queue(site, "echo before")
    succeeds(site, jobs)
    extra = {"gitlab_runner_version": "latest"}
    hit = [killed_at(site, "upgrade.yml", point, extra) for point in points]
    assert all(hit), f"never reached: {points}"
    run = site.playbook("upgrade.yml", extra=extra)
    assert run.code == 0, run.output
    assert version(site) == str(site.variables["lab_runner_version_next"])
    assert "unproven" not in site.sh("ls /var/lib/runnerhost/gitlab-runner")
    settled(site, extra, before)
