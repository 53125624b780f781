"""A host that stays fit for jobs: limits where they run, old builds gone, no job on a full disk."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.site import Site, queue
from tests.lab.test_drain import begun, config, state, succeeds

pytestmark = [pytest.mark.lab, pytest.mark.slow]

BUILDS = "/home/gitlab-runner/builds"
METRICS = "/var/lib/prometheus/node-exporter/runnerhost.prom"
EXTRA = {
    "gitlab_runner_job_limits": {"TasksMax": 60, "CPUWeight": 50},
    "gitlab_runner_metrics_file": METRICS,
}


@pytest.fixture(scope="module")
def ready(site: Site) -> Iterator[Site]:
    """The host with limits; its builds on a small disk of their own."""
    run = site.playbook("site.yml", extra=EXTRA)
    assert run.code == 0, run.output
    site.sh(
        f"install -d -o gitlab-runner -g gitlab-runner {BUILDS} && "
        f"mount -t tmpfs -o size=40m,mode=0755,uid=$(id -u gitlab-runner) tmpfs {BUILDS}"
    )
    yield site
    site.sh(f"umount -l {BUILDS}")


def test_second_run_changes_nothing(ready: Site) -> None:
    assert ready.playbook("site.yml", extra=EXTRA).counts()["changed"] == 0


def test_limits_bind_the_jobs_themselves(ready: Site) -> None:
    slice_ = ready.sh('echo "user-$(id -u gitlab-runner).slice"').strip()
    job = begun(ready, "limited")
    inside = ready.sh("cat /proc/$(pgrep -u gitlab-runner -n bash)/cgroup")
    assert slice_ in inside
    shown = ready.sh(f"systemctl show {slice_} --property=TasksMax --value").strip()
    assert shown == "60"
    ready.sh("touch /var/tmp/limited")
    succeeds(ready, job)


def test_job_that_makes_too_many_processes_is_stopped(ready: Site) -> None:
    held = ready.sh(
        "cat /sys/fs/cgroup/{pids/,}user.slice/user-$(id -u gitlab-runner).slice/pids.max "
        "2>/dev/null || true"
    )
    if not held:
        pytest.skip(
            "skipped: the kernel has no pids cgroup for the jobs' slice (containers on cgroup v1 "
            "get their controllers read-only); what systemd has is tested above"
        )
    assert held.strip() == "60"
    many = queue(ready, "for i in $(seq 200); do sleep 30 & done; echo all of them")
    with ready.gitlab() as gitlab:
        assert gitlab.wait_job(many, 90).state == "failed"


def test_old_checkout_goes_and_the_used_one_stays(ready: Site) -> None:
    ready.sh(
        f"cd {BUILDS} && for name in old new; do "
        "install -d -o gitlab-runner -g gitlab-runner t/0/g/$name/.git t/0/g/$name.tmp; done; "
        "chown -R gitlab-runner: t; "
        "find t/0/g/old t/0/g/old.tmp -exec touch -d '40 days ago' {} +; "
        "sudo -u gitlab-runner touch -d '20 days ago' /tmp/job-left; "
        "install -d -m 0700 /tmp/of-root; touch -d '90 days ago' /tmp/of-root"
    )
    ready.sh("systemctl start runnerhost-clean.service")
    left = ready.sh(f"ls {BUILDS}/t/0/g /tmp")
    assert "old" not in left
    assert "new" in left
    assert "of-root" in left
    assert "job-left" in left, "it was changed (ctime) a moment ago"
    journal = ready.sh("journalctl -u runnerhost-clean.service --no-pager -o cat")
    assert f"{BUILDS}: removed 1 checkouts that were unused for 30 days" in journal


def test_full_disk_pauses_the_runner_until_there_is_room(ready: Site) -> None:
    before = config(ready)
    running = begun(ready, "on-a-full-disk")
    ready.sh(f"head -c 39M /dev/zero > {BUILDS}/filler || true")
    ready.sh("systemctl start runnerhost-disk.service")
    assert "[[runners]]" not in config(ready)
    assert "runnerhost_disk_full 1" in ready.sh(f"cat {METRICS}")
    waiting = queue(ready, "echo there is room")
    ready.sh("touch /var/tmp/on-a-full-disk")
    succeeds(ready, running)
    assert state(ready, waiting) == "pending"
    # A run meanwhile works on the whole file.
    assert ready.playbook("site.yml", extra=EXTRA).counts()["changed"] == 0
    ready.sh(f"rm {BUILDS}/filler; systemctl start runnerhost-disk.service")
    succeeds(ready, waiting)
    assert config(ready) == before
    journal = ready.sh("journalctl -u runnerhost-disk.service --no-pager -o cat")
    assert f"{BUILDS} has" in journal
    assert "less than 5 %: the runner takes no new job" in journal
    assert "there is room again" in journal


def test_timers_are_there_and_the_journal_is_bounded(ready: Site) -> None:
    timers = ready.sh("systemctl is-active runnerhost-clean.timer runnerhost-disk.timer")
    assert timers.split() == ["active", "active"]
    assert "SystemMaxUse=1G" in ready.sh("systemd-analyze cat-config systemd/journald.conf")
