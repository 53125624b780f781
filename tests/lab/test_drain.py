# SPDX-License-Identifier: GPL-3.0-or-later
"""A drain on a lab host: what it waits for, what takes it back."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.hosts import wait_ready
from lab.jobs import SCRATCH_PROJECT
from lab.platforms import PLATFORMS
from tests.lab.site import BIN, ROOT, Site, queue, until

pytestmark = pytest.mark.lab

PLAYBOOK = "../tests/lab/playbooks/drain.yml"


def begun(site: Site, flag: str) -> int:
    """A job that runs until the flag's file is there."""
    site.sh(f"rm -f /var/tmp/{flag}")
    job = queue(
        site, "echo begun", f"until test -e /var/tmp/{flag}; do sleep 0.2; done", "echo end"
    )
    with site.gitlab() as gitlab:
        until(lambda: "begun" in gitlab.trace(job), 60, "the job runs")
    return job


def state(site: Site, job: int) -> str:
    with site.gitlab() as gitlab:
        return gitlab.job(job).state


def succeeds(site: Site, job: int) -> None:
    with site.gitlab() as gitlab:
        done = gitlab.wait_job(job, 60)
        assert done.state == "success", gitlab.trace(job)
        assert len(done.pickups) == 1


def config(site: Site) -> str:
    return site.sh("cat /etc/gitlab-runner/config.toml")


def is_whole(site: Site) -> bool:
    """True if the runner has its entries and nothing of the drain is left."""
    files = site.sh("ls /etc/gitlab-runner")
    return "[[runners]]" in config(site) and "drain" not in files


@pytest.fixture(scope="module")
def ready(site: Site) -> Site:
    """The host, provisioned."""
    run = site.playbook("site.yml")
    assert run.code == 0, run.output
    return site


def pid(site: Site) -> str:
    return site.sh("systemctl show gitlab-runner --property=MainPID --value").strip()


def test_deadline_gives_up_and_all_is_as_it_was(ready: Site) -> None:
    before = config(ready), pid(ready)
    job = begun(ready, "one")
    run = ready.playbook(PLAYBOOK, extra={"drain_state": "drained", "drain_deadline": 12})
    assert run.code != 0
    assert f"waits for job {job} ({SCRATCH_PROJECT})" in run.output, run.output
    assert "gave up after" in run.output
    assert (config(ready), pid(ready)) == before
    assert is_whole(ready)
    other = queue(ready, "echo other")
    succeeds(ready, other)
    ready.sh("touch /var/tmp/one")
    succeeds(ready, job)


def test_check_mode_pauses_nothing(ready: Site) -> None:
    before = config(ready)
    run = ready.playbook(PLAYBOOK, "--check", extra={"drain_state": "drained"})
    assert run.code == 0, run.output
    assert run.counts()["changed"] == 1
    assert config(ready) == before


def test_drained_host_takes_no_job_until_it_is_resumed(ready: Site) -> None:
    before = config(ready), pid(ready)
    job = begun(ready, "two")
    run = ready.playbook(
        PLAYBOOK,
        # The run of site.yml below must end before the host takes the pause back.
        extra={"drain_state": "drained", "drain_lease": 600},
        on_line={f"waits for job {job}": lambda: ready.sh("touch /var/tmp/two")},
    )
    assert run.code == 0, run.output
    succeeds(ready, job)
    assert "[[runners]]" not in config(ready)
    waiting = queue(ready, "echo later")
    # A run of the playbook meanwhile: it sees the whole configuration beside the paused one.
    changed = ready.playbook("site.yml", extra={"gitlab_runner_concurrent": 3})
    assert changed.code == 0, changed.output
    assert state(ready, waiting) == "pending"
    run = ready.playbook(PLAYBOOK, extra={"drain_state": "resumed"})
    assert run.code == 0, run.output
    succeeds(ready, waiting)
    assert is_whole(ready)
    assert "concurrent = 3" in config(ready)
    assert pid(ready) == before[1]
    again = ready.playbook(PLAYBOOK, extra={"drain_state": "resumed"})
    assert again.counts()["changed"] == 0


def start_and_kill(site: Site) -> None:
    """A controller that dies in the middle of a drain."""
    process = subprocess.Popen(
        [str(BIN / "ansible-playbook"), "-i", str(site.inventory),
         str(Path("tests/lab/playbooks/drain.yml")), "-e", "drain_state=drained"],
        cwd=ROOT, env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        until(lambda: "[[runners]]" not in config(site), 60, "the pause")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_host_takes_a_dead_controllers_drain_back(ready: Site) -> None:
    job = begun(ready, "three")
    start_and_kill(ready)
    until(lambda: is_whole(ready), 120, "the host takes the pause back")
    other = queue(ready, "echo other")
    succeeds(ready, other)
    ready.sh("touch /var/tmp/three")
    succeeds(ready, job)
    until(
        lambda: "inactive" in ready.sh("systemctl is-active runnerhost-resume.timer", check=False),
        60,
        "nothing watches any more",
    )


def test_reboot_takes_a_drain_back(ready: Site) -> None:
    run = ready.playbook(PLAYBOOK, extra={"drain_state": "drained"})
    assert run.code == 0, run.output
    assert "[[runners]]" not in config(ready)
    engine, platform = Engine(), PLATFORMS["jammy"]
    network = engine.network(ready.lab.network)
    assert network is not None
    engine("restart", "--time", "10", ready.lab.container("jammy"), timeout=120)
    wait_ready(engine, ready.lab, network, platform)
    until(lambda: is_whole(ready), 30, "the runner starts with its runners")
    succeeds(ready, queue(ready, "echo back"))
