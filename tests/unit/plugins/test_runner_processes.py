# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes of a host are runner daemons, whose they are, and whether they run a job."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _drain,
    _runner_processes,
    _runner_search,
    _system,
)

TOKEN = "glrt-" + "a" * 20
CONFIG = f"""concurrent = 2
[[runners]]
  name = "deploy"
  id = 7
  token = "{TOKEN}"
  executor = "{{}}"
  [runners.cache]
    name = "not this"
"""
UNIT = "/system.slice/{}"
RUN = ["run", "--config", "/etc/deploy/config.toml", "--service", "gitlab-runner-deploy"]


class Proc:
    """A made-up /proc and the files of its host."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.path = folder / "proc"
        self.path.mkdir()
        self.file("/etc/deploy/config.toml", CONFIG.format("shell"))

    def file(self, path: str, text: str = "") -> str:
        at = self.root / path.lstrip("/")
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text, encoding="utf-8")
        return str(at)

    def add(
        self,
        pid: int,
        argv: list[str],
        exe: str = "/usr/bin/gitlab-runner",
        parent: int = 1,
        cgroup: str = UNIT.format("gitlab-runner-deploy.service"),
        uid: int = 0,
        environ: str = "",
        nspid: str = "",
    ) -> None:
        at = self.path / str(pid)
        at.mkdir()
        (at / "cmdline").write_text("".join(f"{word}\0" for word in argv))
        (at / "environ").write_text("".join(f"{pair}\0" for pair in environ.split()))
        (at / "stat").write_text(f"{pid} (a b) c) S {parent} 0 0")
        (at / "status").write_text(f"Name:\tx\nUid:\t{uid}\t0\nNSpid:\t{pid}{nspid}\n")
        (at / "cgroup").write_text(f"4:pids:/elsewhere\n1:name=systemd:{cgroup}\n0::/\n")
        (at / "exe").symlink_to(exe)
        (at / "cwd").symlink_to("/srv")
        (at / "root").symlink_to(self.root)

    def others(self, **own: str) -> list[_runner_search.Daemon]:
        mine = {"gitlab-runner.service": "/etc/gitlab-runner/config.toml", **own}
        return _runner_processes.others(mine, str(self.path))


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(_drain, "jobs_of", lambda pid: [])
    monkeypatch.setattr(_drain, "journal_is_whole", lambda pid: False)
    return Proc(tmp_path)


def test_own_services_are_left_out_and_a_second_one_is_named(proc: Proc) -> None:
    own = ["run", "--config", "/etc/gitlab-runner/config.toml"]
    proc.add(1, ["/sbin/init"], exe="/usr/lib/systemd/systemd", parent=0)
    proc.add(10, ["/usr/bin/gitlab-runner", *own], cgroup=UNIT.format("gitlab-runner.service"))
    proc.add(11, ["/usr/bin/gitlab-runner", *RUN])
    (one,) = proc.others()
    assert (one["pid"], one["unit"]) == (11, "gitlab-runner-deploy.service")
    assert one["text"] == (
        "gitlab-runner-deploy.service (pid 11, user root, binary /usr/bin/gitlab-runner, "
        "configuration /etc/deploy/config.toml, runners: deploy (id 7)), runs no job now"
    )
    assert TOKEN not in str(one)
    assert proc.others(**{"gitlab-runner-deploy.service": "/etc/deploy/config.toml"}) == []


def test_the_own_unit_with_another_configuration_is_not_drained_and_so_named(proc: Proc) -> None:
    proc.add(10, ["gitlab-runner", *RUN], cgroup=UNIT.format("gitlab-runner.service"))
    assert [one["unit"] for one in proc.others()] == ["gitlab-runner.service"]


@pytest.mark.parametrize(
    ("argv", "exe"),
    [
        (["gitlab-runner", "run"], "/usr/local/bin/gitlab-runner"),
        (["gitlab-runner", "--debug", "--log-level", "debug", "run"], "/opt/gitlab-runner-18"),
        (["gitlab-ci-multi-runner", "run"], "/usr/bin/gitlab-ci-multi-runner"),
        (["gitlab-runner", "run-single", "-u", "https://x", "-t", TOKEN], "/usr/bin/gitlab-runner"),
        # `exec -a ci-agent`, and a binary that was replaced since.
        (["ci-agent", "run"], "/usr/bin/gitlab-runner"),
        (["/usr/bin/gitlab-runner", "run"], "/usr/bin/gitlab-runner (deleted)"),
        (["/usr/bin/python3", "-I", "/opt/x/gitlab-runner", "run"], "/usr/bin/python3.11"),
        (["gitlab-runner", "run", "--user", "stop"], "/usr/bin/gitlab-runner"),
        (
            ["/usr/bin/qemu-aarch64-static", "/usr/bin/gitlab-runner", "run"],
            "/usr/bin/qemu-aarch64",
        ),
    ],
)
def test_daemon_however_it_is_called(proc: Proc, argv: list[str], exe: str) -> None:
    proc.add(11, argv, exe=exe, cgroup="/user.slice/user-0.slice/session-4.scope")
    (one,) = proc.others()
    assert one["unit"] == ""
    assert "pid 11 (user root, started by hand in session-4.scope" in one["text"]
    assert TOKEN not in str(one)


@pytest.mark.parametrize(
    ("argv", "exe"),
    [
        (["gitlab-runner", "artifacts-uploader", "--name", "run"], "/usr/bin/gitlab-runner"),
        (["gitlab-runner", "cache-archiver", "run"], "/usr/bin/gitlab-runner"),
        (["gitlab-runner-helper", "read-logs", "--path", "run"], "/usr/bin/gitlab-runner-helper"),
        (["gitlab-runner", "register", "--name", "run"], "/usr/bin/gitlab-runner"),
        (["su", "-c", "gitlab-runner run"], "/usr/bin/su"),
        (["sudo", "gitlab-runner", "run"], "/usr/bin/sudo"),
        (["docker", "run", "gitlab/gitlab-runner"], "/nowhere/docker"),
        # What it starts is the daemon.
        (["/bin/sh", "/opt/gitlab-runner.sh", "run"], "/usr/bin/dash"),
        (["vim", "gitlab-runner"], "/usr/bin/vim"),
        (["/usr/bin/python3", "-c", "run"], "/usr/bin/python3.10"),
    ],
)
def test_no_daemon(proc: Proc, argv: list[str], exe: str) -> None:
    proc.add(11, argv, exe=exe)
    assert proc.others() == []


def test_renamed_copy_is_known_by_its_content(proc: Proc) -> None:
    binary = proc.file("/opt/ci-agent", "\x7fELF..path\tgitlab.com/gitlab-org/gitlab-runner\n")
    other = proc.file("/opt/other", "\x7fELF..path\tgithub.com/docker/cli\n")
    script = "/opt/agent.py"
    proc.file(script, "NAME = 'gitlab-runner'\n")
    proc.add(11, ["ci-agent", *RUN], exe=binary)
    proc.add(12, ["other", "run"], exe=other)
    proc.add(13, ["python3", script, *RUN], exe="/usr/bin/python3.10")
    assert [one["pid"] for one in proc.others()] == [11, 13]


@pytest.mark.parametrize(
    ("cgroup", "nspid", "unit", "says"),
    [
        ("/system.slice/ci.service", "", "ci.service", "ci.service (pid 11"),
        ("/system.slice/system-ci.slice/ci@2.service", "", "ci@2.service", "ci@2.service"),
        ("/user.slice/user-0.slice/user@0.service/app.slice/gitlab-runner.service", "", "",
         "gitlab-runner.service of systemctl --user of root"),
        ("/user.slice/user-0.slice/session-c4.scope", "", "", "by hand in session-c4.scope"),
        ("/system.slice/cron.service", "", "", "started by cron"),
        ("/system.slice/ssh.service", "", "", "started by hand in ssh.service"),
        ("/system.slice/docker-0123456789abcdef.scope", "\t1", "", "the container 0123456789ab"),
        ("/", "\t1", "", "in a container"),
        ("/", "", "", "started by hand"),
    ],
)  # fmt: skip
def test_how_it_was_started(proc: Proc, cgroup: str, nspid: str, unit: str, says: str) -> None:
    proc.add(11, ["gitlab-runner", *RUN], cgroup=cgroup, nspid=nspid)
    (one,) = proc.others()
    assert one["unit"] == unit
    assert says in one["text"]


@pytest.mark.parametrize(
    ("words", "environ", "uid", "config"),
    [
        (["run", "-c", "own.toml"], "", 0, "/srv/own.toml"),
        (["run", "--config=/x/../y.toml"], "", 0, "/y.toml"),
        (["run"], "CONFIG_FILE=/e.toml", 0, "/e.toml"),
        (["run"], "HOME=/h", 0, "/etc/gitlab-runner/config.toml"),
        (["run"], "HOME=/h", 65534, "/h/.gitlab-runner/config.toml"),
        (["run-single"], "", 0, ""),
    ],
)
def test_its_configuration(
    proc: Proc, words: list[str], environ: str, uid: int, config: str
) -> None:
    proc.add(11, ["gitlab-runner", *words], environ=environ, uid=uid)
    assert [one["config"] for one in proc.others()] == [config]


def test_a_job_is_a_process_below_it(proc: Proc) -> None:
    proc.add(11, ["gitlab-runner", *RUN])
    assert proc.others()[0]["activity"] == "idle"
    proc.add(12, ["su", "-s", "/bin/bash", "deploy"], exe="/usr/bin/su", parent=11)
    (one,) = proc.others()
    assert (one["activity"], "runs a job" in one["text"]) == ("busy", True)


def test_a_runner_that_a_job_starts_is_part_of_the_job(proc: Proc) -> None:
    own = ["run", "--config", "/etc/gitlab-runner/config.toml"]
    proc.add(10, ["gitlab-runner", *own], cgroup=UNIT.format("gitlab-runner.service"))
    proc.add(11, ["bash"], exe="/usr/bin/bash", parent=10)
    proc.add(12, ["gitlab-runner", *RUN], parent=11, cgroup="/user.slice/session-c1.scope")
    assert proc.others() == []


@pytest.mark.parametrize(
    ("executor", "unit", "jobs", "whole", "activity"),
    [
        ("shell", "", [], False, "idle"),
        ("docker", "x.service", [_drain.Job("5", "a/b", 1)], True, "busy"),
        ("docker", "x.service", [], True, "idle"),
        # log_level = "error", or a journal that has been rotated.
        ("docker", "x.service", [], False, "unknown"),
        ("docker", "session-1.scope", [], True, "unknown"),
        ("", "x.service", [], False, "unknown"),
    ],
)
def test_jobs_of_other_executors_are_known_from_the_journal(
    proc: Proc,
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    unit: str,
    jobs: list[_drain.Job],
    whole: bool,
    activity: str,
) -> None:
    monkeypatch.setattr(_drain, "jobs_of", lambda pid: jobs)
    monkeypatch.setattr(_drain, "journal_is_whole", lambda pid: whole)
    proc.file("/etc/deploy/config.toml", CONFIG.format(executor))
    proc.add(11, ["gitlab-runner", *RUN], cgroup=UNIT.format(unit))
    assert [one["activity"] for one in proc.others()] == [activity]


def test_configuration_that_cannot_be_read_proves_nothing(proc: Proc) -> None:
    os.unlink(proc.root / "etc/deploy/config.toml")
    os.mkfifo(proc.root / "etc/deploy/config.toml")
    proc.add(11, ["gitlab-runner", *RUN])
    (one,) = proc.others()
    assert (one["runners"], one["activity"]) == (None, "unknown")
    assert "runners not known" in one["text"]


def test_runners_written_otherwise_are_not_taken_for_none(proc: Proc) -> None:
    proc.file("/etc/deploy/config.toml", 'runners = [{name = "a", executor = "docker"}]\n')
    proc.add(11, ["gitlab-runner", *RUN])
    (one,) = proc.others()
    assert (one["runners"], one["activity"]) == (None, "unknown")


def test_who_is_in_the_way_of_what(proc: Proc) -> None:
    proc.file("/etc/none/config.toml", "concurrent = 1\n")
    proc.file("/etc/docker/config.toml", CONFIG.format("docker"))
    proc.add(11, ["gitlab-runner", *RUN])
    proc.add(12, ["gitlab-runner", "run", "-c", "/etc/none/config.toml"])
    proc.add(
        13, ["gitlab-runner", "run", "-c", "/etc/docker/config.toml"], exe="/opt/gitlab-runner"
    )
    found = proc.others()

    def stands(how: str) -> list[int]:
        return [one["pid"] for one in _runner_processes.in_the_way(found, how)[0]]

    assert stands("wait") == [13]
    assert stands("refuse") == [11, 13]
    assert stands("refuse_binary") == [11]
    (said, _) = _runner_processes.refusal(
        _runner_processes.in_the_way(found, "refuse")[0], "it ends"
    )
    assert "gitlab-runner-deploy.service (pid 11" in said
    assert "kill --signal=SIGQUIT --kill-who=main gitlab-runner-deploy.service" in said
    assert "gitlab_runner_isolated" in said


def test_what_would_start_one(tmp_path: Path) -> None:
    def file(path: str, text: str) -> None:
        at = tmp_path / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(text, encoding="utf-8")

    system = "etc/systemd/system"
    file(f"{system}/gitlab-runner.service", 'ExecStart=/usr/bin/gitlab-runner "run"\n')
    file(f"{system}/gitlab-runner.service.d/zz-runnerhost.conf", "ExecStart=gitlab-runner run\n")
    file(f"{system}/ci.service", '[Service]\nExecStart=/opt/gitlab-runner \\\n  "run"\n')
    file(f"{system}/ci@.service", "ExecStart=/usr/bin/gitlab-runner run --config /etc/%i.toml\n")
    file(f"{system}/wrapped.service", "ExecStart=/bin/sh /opt/start --now\n")
    file("opt/start", "#!/bin/sh\nexec gitlab-runner run\n")
    file(f"{system}/runs.service", "ExecStart=/usr/bin/gitlab-runner run\n")
    file(f"{system}/no.service", "# gitlab-runner run\nExecStart=/usr/bin/gitlab-runner verify\n")
    file("home/a/.config/systemd/user/r.service", "ExecStart=%h/bin/gitlab-runner run\n")
    file("etc/cron.d/no", "@daily root gitlab-runner verify && run-parts /run/x; echo run\n")
    file("etc/cron.d/ci", "@reboot ci /opt/gitlab-runner --debug run\n")
    file("etc/init.d/gitlab-ci-multi-runner", "#!/bin/sh\ngitlab-ci-multi-runner run &\n")
    found = _runner_search.definitions(["runs.service"], ["gitlab-runner.service"], str(tmp_path))
    assert found == [
        "/etc/cron.d/ci",
        "/etc/init.d/gitlab-ci-multi-runner",
        f"/{system}/ci.service",
        f"/{system}/ci@.service",
        f"/{system}/wrapped.service",
        "/home/a/.config/systemd/user/r.service",
    ]


def test_journal_is_whole_if_it_has_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(0, "Configuration loaded   builds=0"), (1, "")]

    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        code, text = answers.pop(0)
        return subprocess.CompletedProcess(argv, code, text, "")

    monkeypatch.setattr(_system, "run", run)
    assert _drain.journal_is_whole(7)
    assert not _drain.journal_is_whole(7)
