# SPDX-License-Identifier: GPL-3.0-or-later
"""Another version of the runner: no job lost, and one that does not start is taken back."""

from __future__ import annotations

import pytest

from lab.packages import RUNNER_VARIABLE, find_runner
from tests.lab.site import Site, queue, until
from tests.lab.test_drain import begun, config, is_whole, pid, succeeds

pytestmark = [pytest.mark.lab, pytest.mark.slow]

RUNNER = find_runner()
OLD, BROKEN = RUNNER.old, RUNNER.broken


def version(site: Site) -> str:
    return site.sh("dpkg-query -W -f '${Version}' gitlab-runner")


@pytest.fixture(scope="module")
def old(site: Site) -> Site:
    """The host with an old version."""
    run = site.playbook("site.yml", extra={"gitlab_runner_version": OLD})
    assert run.code == 0, run.output
    assert version(site) == f"{OLD}-1"
    return site


@pytest.mark.skipif(
    not BROKEN, reason=f"skipped: {RUNNER_VARIABLE} lists no release that fails to start (17.5.0)"
)
def test_release_that_does_not_start_is_rolled_back(old: Site) -> None:
    """It installs well: dpkg and apt report success."""
    before = config(old)
    job = begun(old, "broken")
    run = old.playbook(
        "upgrade.yml",
        extra={"gitlab_runner_version": BROKEN},
        on_line={f"waits for job {job}": lambda: old.sh("touch /var/tmp/broken")},
    )
    assert run.code != 0
    assert f"{OLD}-1 is back and works." in run.output, run.output
    assert "$HOME is not defined" in run.output
    assert version(old) == f"{OLD}-1"
    assert is_whole(old)
    assert config(old) == before
    succeeds(old, job)
    succeeds(old, queue(old, "echo again"))


def test_deadline_leaves_the_packages_alone(old: Site) -> None:
    before = config(old), pid(old)
    job = begun(old, "late")
    extra = {"gitlab_runner_version": "latest", "gitlab_runner_drain_deadline": 3}
    run = old.playbook("upgrade.yml", extra=extra)
    assert run.code != 0
    assert f"Nothing was replaced: {OLD}-1 stays installed." in run.output, run.output
    assert f"job {job}" in run.output
    assert (config(old), pid(old), version(old)) == (*before, f"{OLD}-1")
    old.sh("touch /var/tmp/late")
    succeeds(old, job)


def test_apt_that_fails_before_it_has_replaced_anything(old: Site) -> None:
    before = config(old), pid(old)
    hook = "/etc/apt/apt.conf.d/99broken"
    old.sh(f"""echo 'DPkg::Pre-Invoke {{"false";}};' > {hook}""")
    run = old.playbook("upgrade.yml", extra={"gitlab_runner_version": "latest"})
    old.sh(f"rm {hook}")
    assert run.code != 0
    assert "Problem executing scripts DPkg::Pre-Invoke" in run.output, run.output
    assert f"Nothing was replaced: {OLD}-1 stays installed." in run.output
    assert "is back" not in run.output
    assert (config(old), pid(old), version(old)) == (*before, f"{OLD}-1")


def test_apt_that_would_fail_stops_the_upgrade_before_the_drain(old: Site) -> None:
    source = "/etc/apt/sources.list.d/vendor.list"
    old.sh(f"echo 'deb http://x.test' > {source}")
    run = old.playbook("upgrade.yml", extra={"gitlab_runner_version": "latest"})
    old.sh(f"rm {source}")
    assert run.code != 0
    assert f"{source}" in run.output, run.output
    assert "refused, nothing was changed" in run.output
    assert "Pause the runner" not in run.output


def test_upgrade_to_the_newest_waits_for_the_running_job(old: Site) -> None:
    check = old.playbook("upgrade.yml", "--check")
    assert check.code == 0, check.output
    job = begun(old, "newest")
    run = old.playbook(
        "upgrade.yml",
        extra={"gitlab_runner_version": "latest"},
        on_line={f"waits for job {job}": lambda: old.sh("touch /var/tmp/newest")},
    )
    assert run.code == 0, run.output
    newest = str(old.variables["lab_runner_version_next"])
    assert version(old) == newest
    succeeds(old, job)
    until(lambda: is_whole(old), 10, "the runner is back")
    succeeds(old, queue(old, "echo after"))
    again = old.playbook("upgrade.yml", extra={"gitlab_runner_version": "latest"})
    assert again.counts()["changed"] == 0, again.output
