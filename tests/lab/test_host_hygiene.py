# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that stays fit for jobs: limits where they run, old builds gone, no job on a full disk."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

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


def test_what_cannot_be_removed_is_named_and_fails_the_unit(ready: Site) -> None:
    unit = "runnerhost-clean.service"
    ready.sh(
        f"cd {BUILDS} && install -d t/0/g/stuck/.git t/0/g/stuck/of-root t/0/g/stuck.tmp; "
        "touch t/0/g/stuck/of-root/file; chown -R gitlab-runner: t; "
        "chown -R root: t/0/g/stuck/of-root; "
        "find t/0/g/stuck t/0/g/stuck.tmp -exec touch -d '40 days ago' {} +"
    )
    for _ in range(2):
        ready.sh(f"systemctl start {unit}", check=False)
        assert ready.sh(f"systemctl show -P Result {unit}").strip() == "exit-code"
        assert ready.sh(f"ls -A {BUILDS}/t/0/g").split().count(".runnerhost-old-stuck") == 1
    journal = ready.sh(f"journalctl -u {unit} --no-pager -o cat")
    assert (
        f"cannot remove {BUILDS}/t/0/g/.runnerhost-old-stuck/of-root/file (owner root)" in journal
    )
    assert "belongs to root" in journal
    ready.sh(f"chown -R gitlab-runner: {BUILDS}/t; systemctl start {unit}")
    assert ".runnerhost-old" not in ready.sh(f"ls -A {BUILDS}/t/0/g")


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
    assert "enough disk space is free again" in journal


def test_timers_are_there_and_the_journal_is_bounded(ready: Site) -> None:
    timers = ready.sh("systemctl is-active runnerhost-clean.timer runnerhost-disk.timer")
    assert timers.split() == ["active", "active"]
    assert "SystemMaxUse=1G" in ready.sh("systemd-analyze cat-config systemd/journald.conf")


def test_builds_on_a_disk_of_their_own(ready: Site) -> None:
    """A disk as it is after mkfs and mount: root's, with lost+found."""
    ready.sh("mkdir -p /srv/ci && mount -t tmpfs -o size=40m,mode=0755 tmpfs /srv/ci")
    ready.sh("mkdir -m 0700 /srv/ci/lost+found")
    runner = {
        "name": "build",
        "token": ready.variables["lab_runner_tokens"]["jammy"][0],
        "builds_dir": "/srv/ci",
        "cache_dir": "/srv/more/cache",
    }
    extra = {**EXTRA, "gitlab_runner_runners": [runner]}
    run = ready.playbook("site.yml", "--tags", "gitlab_runner", extra=extra)
    assert run.code == 0, run.output
    # A container's mounts are private: the running service has not got the new disk.
    ready.sh("systemctl restart gitlab-runner.service")
    job = queue(ready, "pwd")
    with ready.gitlab() as gitlab:
        assert gitlab.wait_job(job, 90).state == "success", gitlab.trace(job)
        assert "/srv/ci/" in gitlab.trace(job)
    ready.sh("chmod 0755 /srv/ci; chown root: /srv/ci /srv/more/cache")
    verified = ready.playbook("verify.yml", extra=extra)
    assert verified.code != 0
    # The report has lines of its own length.
    said = re.sub(r"\s+", " ", verified.output)
    assert "builds_dir of runner 'build': expected to be gitlab-runner's to write" in said
    # The jobs' files are there by now.
    refused = ready.playbook("site.yml", "--tags", "gitlab_runner", extra=extra)
    assert "belongs to root and is not empty" in re.sub(r"\s+", " ", refused.output)
    ready.sh("chown gitlab-runner: /srv/ci /srv/more/cache")
    assert ready.playbook("site.yml", "--tags", "gitlab_runner", extra=extra).code == 0
    ready.sh("umount -l /srv/ci")


def test_an_account_that_jobs_cannot_run_as_is_refused(ready: Site) -> None:
    ready.sh("chage -d 2026-01-01 -M 90 gitlab-runner")
    refused = ready.playbook("site.yml", extra=EXTRA)
    assert refused.code != 0
    assert "its password expired on 2026-04-01: chage -M -1 gitlab-runner" in re.sub(
        r"\s+", " ", refused.output
    )
    verified = ready.playbook("verify.yml", extra=EXTRA)
    assert "root can become gitlab-runner: expected an answer" in re.sub(
        r"\s+", " ", verified.output
    )
    ready.sh("chage -M -1 gitlab-runner")
    assert ready.playbook("site.yml", "--tags", "gitlab_runner", extra=EXTRA).code == 0


def test_a_file_that_is_not_there_is_refused(ready: Site) -> None:
    runner = {
        "name": "build",
        "token": ready.variables["lab_runner_tokens"]["jammy"][0],
        "tls-ca-file": "/etc/ssl/company/nowhere.pem",
    }
    refused = ready.playbook("site.yml", extra={**EXTRA, "gitlab_runner_runners": [runner]})
    assert refused.code != 0
    assert refused.counts()["changed"] == 0
    assert "(build).tls-ca-file: /etc/ssl/company/nowhere.pem" in re.sub(
        r"\s+", " ", refused.output
    )


def test_jobs_clone_over_ssh_and_have_their_groups(ready: Site, tmp_path: Path) -> None:
    """With a real sshd, git and key; all of it goes again with its entry."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True
    )
    public = (tmp_path / "key.pub").read_text(encoding="utf-8").strip()
    ready.sh(
        "groupadd --system lab-docker; useradd -m -s /bin/bash lab-git && cd ~lab-git && "
        "install -d -m 0700 -o lab-git .ssh && "
        f"echo '{public}' > .ssh/authorized_keys && chown lab-git .ssh/authorized_keys && "
        "su lab-git -c 'git init -q --bare dependency.git'"
    )
    host_key = ready.sh("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub").strip()
    secret = (tmp_path / "key").read_text(encoding="utf-8")
    extra = {
        **EXTRA,
        "gitlab_runner_user_groups": ["lab-docker"],
        "gitlab_runner_known_hosts": [f"127.0.0.1 {host_key}"],
        "gitlab_runner_ssh_keys": [{"name": "deploy", "key": secret, "hosts": ["127.0.0.1"]}],
    }
    check = ready.playbook("site.yml", "--check", "--diff", extra=extra)
    run = ready.playbook("site.yml", "-vvv", "--diff", extra=extra)
    assert (check.code, run.code) == (0, 0), run.output
    for output in (check.output, run.output):
        assert secret.splitlines()[2] not in output
    assert ready.playbook("site.yml", extra=extra).counts()["changed"] == 0
    job = queue(
        ready, "git ls-remote ssh://lab-git@127.0.0.1/~/dependency.git && echo cloned", "id -Gn"
    )
    with ready.gitlab() as gitlab:
        assert gitlab.wait_job(job, 90).state == "success", gitlab.trace(job)
        assert "cloned" in gitlab.trace(job)
        assert "lab-docker" in gitlab.trace(job)
    verified = ready.playbook("verify.yml", extra=extra)
    assert verified.code == 0, verified.output
    assert ready.playbook("site.yml", extra=EXTRA).code == 0
    assert "lab-docker" not in ready.sh("id -Gn gitlab-runner")
    left = ready.sh("ls /var/lib/runnerhost/ssh /etc/ssh/ssh_config.d /var/lib/runnerhost")
    assert "gitlab-runner.conf" not in left
    assert "deploy" not in left
    assert "job-users" not in left
