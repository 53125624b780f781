# SPDX-License-Identifier: GPL-3.0-or-later
"""prepare_upgrade.yml: names what stands in the way, takes it away, and the upgrade goes well.

What becomes of a host whose obstacles nobody has looked for: test_os_upgrade.py.
"""

from __future__ import annotations

import re

import pytest

from tests.lab.releases import (
    FAMILY,
    NEWER,
    Host,
    files,
    has,
    heals,
    identity,
    make_venvs,
    newer_python,
)
from tests.lab.site import Run, Site, queue, until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

APPLY = {"runner_host_prepare_upgrade_apply": True}


@pytest.fixture(scope="module")
def before(site: Site) -> Host:
    """A provisioned host with every obstacle that can be made on it."""
    first = site.playbook("site.yml")
    assert first.code == 0, first.output
    site.sh("DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y dist-upgrade")
    make_venvs(site)
    newer_python(site)
    return Host.of(site)


@pytest.fixture(scope="module")
def offered(before: Host) -> Site:
    """The same host, once the mirror has the next release too."""
    before.site.verb("os-upgrade", "jammy", "--offer")
    return before.site


def words(run: Run) -> str:
    """What a run has said, in one line, without YAML's doubled quotes."""
    return re.sub(r"\s+", " ", run.output).replace("''", "'")


def state(site: Site) -> str:
    """What a run that changes nothing must leave as it was."""
    return site.sh(
        "dpkg-query -W; apt-mark showhold; systemctl is-enabled gitlab-runner; "
        "systemctl is-active gitlab-runner; sha256sum /etc/gitlab-runner/config.toml; "
        "find /etc/apt /etc/systemd -type f | sort | xargs sha256sum"
    )


def test_every_obstacle_is_named_and_nothing_is_changed(before: Host) -> None:
    site = before.site
    site.sh(
        "apt-mark hold less python3.9; touch /run/reboot-required\n"
        "dpkg-query -W -f '${db:Status-Abbrev}' less | grep -q hi"
    )
    was = state(site)
    run = site.playbook(
        "prepare_upgrade.yml", extra={"runner_host_prepare_upgrade_free_mb": {"/usr": 10**9}}
    )
    assert run.code == 2, run.output
    assert run.counts()["changed"] == 0
    said = words(run)
    family = ", ".join(sorted(FAMILY.split()))
    assert f"conflict: a third party's Python 3.13 ({NEWER}): {family}." in said
    assert "held: on hold: python3.9." in said
    assert "held: on hold: less." in said
    assert "restart: the host waits for a restart." in said
    assert "MB are free for /usr. The upgrade takes about 1000000000 MB there" in said
    # The mirror does not have the next release yet.
    assert "(suite noble) cannot be used; there is no such suite" in said
    assert "pythons: python_versions_repository_url" in said
    # What the upgrade will do, which is no obstacle.
    assert "disables /etc/apt/sources.list.d/newer-python.list (file:/srv/ppa/ ./)" in said
    assert "runnerhost-deadsnakes.sources, " in said
    assert "/home/gitlab-runner/v3.11" in said
    assert "updates:" not in said
    assert state(site) == was
    # What it cannot take away ends it before it has changed anything.
    run = site.playbook("prepare_upgrade.yml", extra=APPLY)
    assert run.code == 2, run.output
    assert "cannot be removed by this play (held, restart, pythons)" in words(run)
    assert state(site) == was
    site.sh("apt-mark unhold less; rm /run/reboot-required")


def test_a_version_that_the_target_does_not_have_is_named(offered: Site) -> None:
    wanted = {"python_versions_wanted": ["3.7", "3.9", "3.13"], "gitlab_runner_version": "99.1.0"}
    run = offered.playbook("prepare_upgrade.yml", extra=wanted)
    assert run.code == 2, run.output
    said = words(run)
    assert "pythons: python_versions_wanted: 3.7 is not available from" in said
    assert "on offer there: 3.9, 3.11" in said
    assert "runner: gitlab_runner_version: invalid value '99.1.0', which" in said
    # An accepted obstacle is told, and does not count.
    run = offered.playbook(
        "prepare_upgrade.yml",
        extra={
            "python_versions_wanted": ["3.7"],
            "runner_host_prepare_upgrade_accept": ["pythons", "conflict", "held"],
        },
    )
    assert run.code == 0, run.output
    assert "accepted: pythons: python_versions_wanted: 3.7" in words(run)
    assert "jammy can be upgraded to noble. The runner still takes jobs" in words(run)


def test_obstacles_are_taken_away_once_no_job_runs(before: Host, offered: Site) -> None:
    site = offered
    was = state(site)
    predicted = site.changes(
        "prepare_upgrade.yml", "--check", "-e", "runner_host_prepare_upgrade_apply=true"
    )
    assert predicted
    assert state(site) == was
    job = queue(site, "echo begun", "until test -e /var/tmp/go; do sleep 0.2; done")
    with site.gitlab() as gitlab:
        until(lambda: "begun" in gitlab.trace(job), 60, "the job runs")
        run = site.playbook(
            "prepare_upgrade.yml",
            extra=APPLY,
            on_line={f"waits for job {job}": lambda: site.sh("touch /var/tmp/go")},
        )
        assert run.code == 0, run.output
        assert gitlab.wait_job(job, 60).state == "success", gitlab.trace(job)
    assert "The runner takes no jobs until the next make provision" in words(run)
    assert site.sh("systemctl is-enabled gitlab-runner; systemctl is-active gitlab-runner || true",
                   check=False).split() == ["disabled", "inactive"]  # fmt: skip
    assert not any(has(site, name) for name in FAMILY.split())
    assert has(site, "python3.9")
    assert site.sh("apt-mark showhold") == ""
    # The whole configuration, tokens and all.
    assert identity(site) == before.identity
    again = site.playbook("prepare_upgrade.yml", extra=APPLY)
    assert again.code == 0, again.output
    assert again.counts()["changed"] == 0, again.output


def test_an_upgrade_that_is_called_off_is_undone_by_site(before: Host, offered: Site) -> None:
    assert offered.playbook("prepare_upgrade.yml", extra=APPLY).code == 0
    heals(offered)
    assert offered.sh("systemctl is-enabled gitlab-runner").strip() == "enabled"
    assert identity(offered) == before.identity
    assert files(offered) == before.files


def test_the_upgrade_takes_nothing_away_and_site_undoes_the_rest(
    before: Host, offered: Site
) -> None:
    site = offered
    newer_python(site)
    assert site.playbook("prepare_upgrade.yml", extra=APPLY).code == 0
    site.verb("os-upgrade", "jammy")
    assert "VERSION_CODENAME=noble" in site.sh("cat /etc/os-release")
    # Without this the same upgrade has taken both away: test_os_upgrade.py.
    assert has(site, "python3-venv")
    assert has(site, "python3-dev")
    assert has(site, "python3.13") not in ("", NEWER)
    # No job of a half-made host.
    assert site.sh("systemctl is-active gitlab-runner", check=False).strip() == "inactive"
    heals(site)
    assert site.sh("systemctl is-active gitlab-runner").strip() == "active"
    assert identity(site) == before.identity
    assert files(site) == before.files
