# SPDX-License-Identifier: GPL-3.0-or-later
"""A golden image, baked where no systemd runs: two clones of it, each somebody of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from lab import golden as lab_golden
from lab.engine import Engine
from lab.golden import BUILDER, Golden
from lab.hosts import login_files, ssh_command, wait_ready
from lab.platforms import PLATFORMS
from lab.run import run as run_command
from tests.lab.leaks import known_secrets
from tests.lab.site import Run, Site, until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

CLONES = ("clone-a", "clone-b")
BOTH = ",".join(CLONES)
PASSWORD = "repos1tory-Secret"
MACHINE = "0123456789abcdef0123456789abcdef"
BAKE: dict[str, Any] = {
    # What the repositories ask for is needed to bake, and must not stay.
    "network_access_repository_credentials": [
        {"url": "http://mirror.example.com/", "login": "hosts", "password": PASSWORD}
    ],
}


@pytest.fixture(scope="module")
def golden(site: Site) -> Iterator[Golden]:
    """The builder, fresh, and the inventory of its clones."""
    one = Golden(site.lab, PLATFORMS["jammy"], CLONES)
    lab_golden.write_inventory(one)
    lab_golden.start_builder(one)
    # As a machine that was booted, on which the package was installed: its script saves a
    # config.toml without an entry.
    builder_sh(
        one,
        f"echo {MACHINE} > /etc/machine-id; echo {MACHINE} > /var/lib/dbus/machine-id; "
        "mkdir -m 0700 /etc/gitlab-runner; cd /etc/gitlab-runner; "
        "echo s_0123456789ab > .runner_system_id; printf 'concurrent = 1\\n' > config.toml; "
        "printf '# [[runners]]\\n' > config.toml.old",
    )
    try:
        yield one
    finally:
        lab_golden.forget(one)


def play(site: Site, name: str, hosts: str, *arguments: str, **more: Any) -> Run:
    run = site.playbook(name, "--limit", hosts, *arguments, **more)
    assert run.code == 0, run.output
    return run


def builder_sh(golden: Golden, script: str) -> str:
    """Not over SSH: a baked machine has no host keys."""
    name = golden.lab.container(BUILDER)
    return Engine().exec(name, "sh", "-ec", script, timeout=120).stdout


def in_image(golden: Golden, script: str) -> str:
    """A script's output in the image as it is, without any process of its own."""
    return Engine()(
        "run", "--rm", "--network=none", "--systemd=false", golden.image, "sh", "-c", script,
        timeout=120,
    ).stdout  # fmt: skip


def test_bake_without_systemd(site: Site, golden: Golden) -> None:
    check = play(site, "image.yml", BUILDER, "--check", extra=BAKE)
    bake = play(site, "image.yml", BUILDER, extra=BAKE)
    assert bake.counts(BUILDER)["changed"] == check.counts(BUILDER)["changed"] > 0
    # Nothing was started, by the package's script neither.
    assert builder_sh(golden, "ps -eo args | grep -c '[g]itlab-runner run' || true") == "0\n"
    assert (
        builder_sh(
            golden, "ls /etc/init.d /run/systemd | grep -cE 'gitlab-runner|^system$' || true"
        )
        == "0\n"
    )
    again = play(site, "image.yml", BUILDER, extra=BAKE)
    # The credentials, which each baking needs and takes away.
    assert changed_tasks(again) == {
        "runnerhost.toolkit.runner_host : prepare | Write the network settings, the repositories "
        "and the runner's files",
        "runnerhost.toolkit.runner_host : operations | image | Remove the machine's identity",
    }
    plain = play(site, "image.yml", BUILDER)
    assert plain.counts(BUILDER)["changed"] == 0, plain.output
    lab_golden.commit(golden)


def changed_tasks(run: Run) -> set[str]:
    """The tasks that changed something."""
    found, task = set(), ""
    for line in run.output.splitlines():
        if match := re.match(r"TASK \[(.*)\]", line):
            task = match.group(1)
        elif line.startswith("changed:"):
            found.add(task)
    return found


def test_image_is_nobody_and_holds_no_secret(site: Site, golden: Golden) -> None:
    assert in_image(
        golden, "wc -c < /etc/machine-id; ls /var/lib/dbus/machine-id 2>&1 | tail -c 26"
    ) == ("0\nNo such file or directory\n")
    left = in_image(
        golden,
        "ls -A /etc/gitlab-runner; ls /etc/ssh | grep host_; ls /etc/apt/auth.conf.d; true",
    )
    assert left == ""
    secrets = {*known_secrets(site), PASSWORD}
    for tokens in site.variables["lab_runner_tokens"].values():
        secrets |= set(tokens)
    assert len(secrets) > 10
    patterns = "\n".join(sorted(secrets))
    found = in_image(
        golden,
        f"cat > /dev/shm/p <<'X'\n{patterns}\nX\n"
        "grep -rlF -f /dev/shm/p / --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev; "
        "grep -rlE 'glrt-[0-9A-Za-z_-]{20}|BEGIN [A-Z ]*PRIVATE KEY-----$' "
        "/etc /home /root /var /usr/local /opt; true",
    )
    assert found == ""


def test_two_clones_are_two_hosts(site: Site, golden: Golden) -> None:
    lab_golden.boot(golden)
    for name in CLONES:
        assert site.sh("systemctl is-enabled gitlab-runner runnerhost-disk.timer", name) == (
            "enabled\nenabled\n"
        )
    first = play(site, "site.yml", BOTH)
    # Nothing is installed any more, and no Python checked anew.
    assert not [
        task for task in changed_tasks(first) if re.search(r"Install|Create a virtual env", task)
    ]
    again = play(site, "site.yml", BOTH)
    for name in CLONES:
        assert first.counts(name)["changed"] > 0
        assert again.counts(name)["changed"] == 0, again.output
    play(site, "verify.yml", BOTH)
    ids = {site.sh("cat /etc/gitlab-runner/.runner_system_id", name) for name in CLONES}
    machines = {site.sh("cat /etc/machine-id", name) for name in CLONES}
    assert len(ids) == len(machines) == 2
    assert all(re.fullmatch(r"s_[0-9a-f]{12}\n?", one) for one in ids), ids


def test_each_clone_takes_jobs_with_the_hosts_environment(site: Site, golden: Golden) -> None:
    """The service started at boot, before the environment was there."""
    with site.gitlab() as gitlab:
        gitlab.create_project("test/image")
        for name in CLONES:
            job = gitlab.queue_job(
                "test/image",
                ['test -n "$PIP_CACHE_DIR"', "hostname"],
                variables={"GIT_STRATEGY": "none"},
                tags=[name],
            )
            done = gitlab.wait_job(job, 60)
            assert done.state == "success", gitlab.trace(job)
            assert name in gitlab.trace(job)


def test_clone_without_host_keys_makes_its_own(site: Site, golden: Golden) -> None:
    """As one that no cloud-init gives any; this lab's have theirs from their maker."""
    site.sh("rm /etc/ssh/ssh_host_*; systemctl restart --no-block ssh", CLONES[0], check=False)
    container = site.lab.container(CLONES[0])

    def keys() -> str:
        done = Engine().exec(
            container,
            "sh",
            "-c",
            "ls /etc/ssh/ssh_host_*_key; systemctl is-active ssh",
            check=False,
        )
        return done.stdout if "\nactive" in done.stdout else ""

    made = until(keys, 30, "new host keys and an SSH server")
    assert "/etc/ssh/ssh_host_ed25519_key" in made


def test_host_with_runners_is_no_image(site: Site, golden: Golden) -> None:
    before = site.sh("cat /etc/machine-id /etc/gitlab-runner/.runner_system_id", CLONES[1])
    run = site.playbook("image.yml", "--limit", CLONES[1])
    assert run.code != 0
    assert "refused, nothing was changed: /etc/gitlab-runner/config.toml has a" in run.output
    assert run.counts(CLONES[1])["changed"] == 0
    assert before == site.sh("cat /etc/machine-id /etc/gitlab-runner/.runner_system_id", CLONES[1])


def test_running_machine_is_baked_and_baked_again(site: Site) -> None:
    """One with systemd, which is to be snapshotted; then booted once, which must not show."""
    engine, platform = Engine(), PLATFORMS["jammy"]
    container = site.lab.container(platform.name)
    network = engine.network(site.lab.network)
    assert network is not None

    def root(script: str) -> str:
        return engine.exec(container, "sh", "-c", script, timeout=60).stdout

    is_nobody = (
        "systemctl is-active gitlab-runner runnerhost-disk.timer; cat /etc/machine-id; "
        "ls -A /etc/gitlab-runner; ls /etc/ssh | grep host_; true"
    )
    play(site, "image.yml", platform.name)
    assert root(is_nobody) == "inactive\ninactive\n"
    assert root("systemctl is-enabled gitlab-runner runnerhost-disk.timer") == "enabled\n" * 2

    login = ssh_command(site.lab, network.address(platform.number), "-O", "exit")
    run_command(login, check=False, timeout=10)
    engine("restart", "--time", "20", container, timeout=60)
    until(lambda: root("ls /etc/ssh/ssh_host_*_key; true"), 30, "host keys of its own")
    # The lab's again, which it knows.
    engine.put(container, login_files(site.lab, platform))
    root("systemctl restart ssh")
    wait_ready(engine, site.lab, network, platform)
    until(lambda: root("cat /etc/gitlab-runner/.runner_system_id; true"), 30, "a runner's id")
    assert root("systemctl is-active gitlab-runner") == "active\n"

    play(site, "image.yml", platform.name)
    assert root(is_nobody).splitlines()[0] == "inactive"
    assert (
        root("cat /etc/machine-id; ls -A /etc/gitlab-runner; ls /etc/ssh | grep host_; true") == ""
    )
