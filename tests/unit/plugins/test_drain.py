# SPDX-License-Identifier: GPL-3.0-or-later
"""A pause of the runner: taken back from wherever it was cut off, and nothing lost."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _drain,
    _runner_processes,
    _system,
    _systemd,
)
from ansible_collections.runnerhost.toolkit.plugins.modules import runner_drain_io
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _runner_toml
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_file import without_runners

WHOLE = """concurrent = 2

[session_server]
  session_timeout = 1800

[[runners]]
  name = "build"
  id = 7
  token = "glrt-one"
  pre_build_script = "[[runners]]\\n[ -f x ]"
  [runners.cache]
    Type = "s3"

[[runners]]
  name = "release"
  id = 8
  token = "glrt-two"
"""
PAUSED = without_runners(_runner_toml.parse(WHOLE))
ADDED = PAUSED + '\n[[runners]]\n  name = "by hand"\n  id = 9\n  token = "glrt-three"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with config.toml, and leases of its own."""
    monkeypatch.setattr(_drain, "LEASES", str(tmp_path / "run"))
    made = tmp_path / "gitlab-runner"
    made.mkdir()
    (made / "config.toml").write_text(WHOLE, encoding="utf-8")
    return made


def pause(folder: Path, lease: float = 60) -> bool:
    content = (folder / "config.toml").read_bytes()
    return _drain.pause(str(folder), _drain.digest(content), PAUSED, lease)


def text(folder: Path) -> str:
    return (folder / "config.toml").read_text(encoding="utf-8")


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_paused_text_has_everything_but_the_runners() -> None:
    assert "runners]]" not in PAUSED
    assert "glrt-" not in PAUSED
    assert "concurrent = 2" in PAUSED
    assert "session_timeout = 1800" in PAUSED


def test_pause_and_resume(folder: Path) -> None:
    assert pause(folder)
    assert text(folder) == PAUSED
    assert (folder / _drain.KEPT).stat().st_mode & 0o777 == 0o600
    assert _drain.lease_left(str(folder)) > 50
    assert _drain.resume(str(folder)) == "resumed"
    assert text(folder) == WHOLE
    assert left(folder) == {"config.toml"}
    assert _drain.lease_left(str(folder)) == 0
    assert _drain.resume(str(folder)) == "nothing"


def test_resumed_file_is_newer_than_the_paused_one(folder: Path) -> None:
    """The daemon loads a file only if it is newer than the one that it has."""
    pause(folder)
    before = (folder / "config.toml").stat().st_mtime_ns
    _drain.resume(str(folder))
    assert (folder / "config.toml").stat().st_mtime_ns > before


def test_another_file_than_the_one_read_is_not_paused(folder: Path) -> None:
    assert not _drain.pause(str(folder), "0" * 64, PAUSED, 60)
    assert (text(folder), left(folder)) == (WHOLE, {"config.toml"})


def test_a_pause_is_not_made_twice(folder: Path) -> None:
    assert pause(folder)
    assert not pause(folder)
    assert _drain.resume(str(folder)) == "resumed"
    assert text(folder) == WHOLE


def test_cut_off_before_the_pause_took_effect(folder: Path) -> None:
    """The copy lies there, the daemon still has its runners, and has rotated a token since."""
    pause(folder)
    rotated = WHOLE.replace("glrt-one", "glrt-newer")
    (folder / "config.toml").write_text(rotated, encoding="utf-8")
    assert _drain.resume(str(folder)) == "nothing"
    assert (text(folder), left(folder)) == (rotated, {"config.toml"})


@pytest.mark.parametrize("lost", ["note", "lease"])
def test_cut_off_with_something_missing(folder: Path, lost: str) -> None:
    pause(folder)
    if lost == "note":
        (folder / _drain.STATE).unlink()
    else:
        for path in (folder.parent / "run").iterdir():
            path.unlink()
    assert _drain.resume(str(folder)) == "resumed"
    assert (text(folder), left(folder)) == (WHOLE, {"config.toml"})


def test_runner_added_by_hand_meanwhile_is_kept(folder: Path) -> None:
    pause(folder)
    (folder / "config.toml").write_text(ADDED, encoding="utf-8")
    assert _drain.resume(str(folder)) == "merged"
    assert text(folder).startswith(WHOLE.rstrip("\n"))
    assert text(folder).count("[[runners]]\n") == 3
    assert '"by hand"' in text(folder)


def test_emptied_file_is_put_back(folder: Path) -> None:
    pause(folder)
    (folder / "config.toml").unlink()
    assert _drain.resume(str(folder)) == "resumed"
    assert text(folder) == WHOLE


def test_whole_configuration_is_found_while_a_drain_is_held(folder: Path) -> None:
    pause(folder)
    assert _drain.full_config_path(str(folder)) == f"{folder}/{_drain.KEPT}"
    assert text(folder) == PAUSED


def test_drain_that_nobody_holds_is_taken_back(folder: Path) -> None:
    pause(folder, lease=0)
    assert _drain.full_config_path(str(folder)) == f"{folder}/config.toml"
    assert text(folder) == WHOLE


def line(message: str | list[int], at: int) -> str:
    return json.dumps({"MESSAGE": message, "__REALTIME_TIMESTAMP": str(at * 1_000_000)})


ADD = "Added job to processing list   builds=1 job={} max_builds=2 repo_url={}"
REMOVE = "Removed job from processing list   builds=0 job={}"


def test_running_jobs_from_the_journal() -> None:
    colour = list(f"\x1b[0;m{ADD.format(5, 'https://g.test/a/b.git')} \x1b[0;mx=y".encode())
    newer = json.dumps(
        {"msg": "Added job to processing list", "job": 9, "project_full_path": "c/d"}
    )
    lines = [
        line("Starting multi-runner", 1),
        line(ADD.format(4, "https://g.test/a/a.git"), 10),
        line(colour, 20),
        line(REMOVE.format(4), 30),
        line(newer, 40),
        "no json",
        line("", 50),
    ]
    assert _drain.running(lines, now=140) == [
        _drain.Job("5", "a/b", 120),
        _drain.Job("9", "c/d", 100),
    ]


def test_a_job_in_words() -> None:
    assert str(_drain.Job("5", "a/b", 125)) == "job 5 (a/b), 2 min 5 s"


@pytest.mark.parametrize(
    ("patience", "seconds", "busy", "looks", "idle"),
    [
        (10, 0.0, [False] * 99, 7, True),
        # One look takes longer than the whole patience: two that were quiet are enough.
        (4, 5.0, [False, False], 2, True),
        (4, 5.0, [False, True], 2, False),
        (4, 5.0, [True], 1, False),
        # Who only asks whether it is paused does not wait.
        (0, 0.1, [False], 1, False),
    ],
)
def test_a_quiet_that_has_begun_is_seen_to_its_end(
    patience: int,
    seconds: float,
    busy: list[bool],
    looks: int,
    idle: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, left = [0.0], list(busy)

    def info(unit: str, folder: str) -> dict[str, Any]:
        clock[0] += seconds
        return {"busy": left.pop(0), "pid": 7}

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda more: clock.append(clock.pop() + more))
    monkeypatch.setattr(_drain, "renew", lambda *_: None)
    monkeypatch.setattr(_drain, "status", info)
    asked = {"patience": patience, "folder": "f", "unit": "u", "lease": 120}
    assert runner_drain_io.status(asked)["idle"] is idle
    assert len(busy) - len(left) == looks


def test_a_job_of_another_daemon_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, left = [0.0], ["busy", "unknown", *["idle"] * 99]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda more: clock.append(clock.pop() + more))
    monkeypatch.setattr(_drain, "renew", lambda *_: None)
    monkeypatch.setattr(_drain, "status", lambda *_: {"busy": False, "pid": 7})
    own = {"u": "f/config.toml"}
    asked = {"patience": 10, "folder": "f", "unit": "u", "lease": 120, "beside": own}

    def others(given: dict[str, str]) -> list[dict[str, Any]]:
        assert given == own
        return [{"activity": left.pop(0)}]

    monkeypatch.setattr(_runner_processes, "others", others)
    assert runner_drain_io.status(asked)["idle"]
    # Two looks that were not quiet, and seven that were, half a second apart.
    assert 101 - len(left) == 9
    left[:] = ["busy"] * 99
    assert not runner_drain_io.status(asked)["idle"]


def test_only_the_lines_about_jobs_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon's journal of some days has a line for each part of each trace."""
    asked: list[list[str]] = []

    def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
        asked.append(argv)
        return subprocess.CompletedProcess(argv, 0, line(ADD.format(4, "https://g.test/a"), 1), "")

    monkeypatch.setattr(_system, "run", run)
    assert [job.id for job in _drain.jobs_of(7)] == ["4"]
    (grep,) = (word for word in asked[0] if word.startswith("--grep="))
    texts = grep.removeprefix("--grep=").split("|")
    assert [any(text in one for one in (ADD, REMOVE)) for text in texts] == [True, True]
    assert "--output-fields=MESSAGE" in asked[0]
    assert _drain.jobs_of(0) == []


@pytest.mark.parametrize(
    ("seconds", "said", "listens"),
    [
        (None, "", True),
        (0.2, "Initializing executor providers", False),
        (2.0, "", False),
        (2.0, "Initializing executor providers", True),
        (60.0, "", True),
    ],
)
def test_daemon_that_has_just_started_takes_no_signal(
    monkeypatch: pytest.MonkeyPatch, seconds: float | None, said: str, listens: bool
) -> None:
    """One ends it within its first 0.3 s (seen with 17.4 to 19.3)."""
    monkeypatch.setattr(_drain, "age", lambda _: seconds)
    monkeypatch.setattr(
        _system, "run", lambda argv, **_: subprocess.CompletedProcess(argv, 0, said, "")
    )
    assert _drain.is_listening(17) is listens


def test_reload_waits_for_a_daemon_that_has_just_started(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    ages = iter([0.1, 0.5, 30.0])

    def age(_: int) -> float:
        events.append("looks")
        return next(ages)

    def run(argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        events.append(" ".join(argv))
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(_drain, "age", age)
    monkeypatch.setattr(_system, "run", run)
    monkeypatch.setattr(_systemd, "units", lambda _: {"a.service": {"MainPID": "17"}})
    _drain.reload("a.service")
    kill = "systemctl kill --signal=SIGHUP --kill-who=main a.service"
    assert events == ["looks", "looks", "looks", kill]


def test_age_of_a_process() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert 0 <= (_drain.age(process.pid) or 0) < 5
        finally:
            process.kill()
    assert _drain.age(process.pid) is None


def test_daemon_that_has_just_started_is_not_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain ends in a stop as a rule: it waits for this too."""
    monkeypatch.setattr(_systemd, "units", lambda _: {"a.service": {"MainPID": "17"}})
    monkeypatch.setattr(_system, "has_children", lambda _: False)
    monkeypatch.setattr(_drain, "jobs_of", lambda _: [])
    for listens in (False, True):
        monkeypatch.setattr(_drain, "is_listening", lambda _, listens=listens: listens)
        assert _drain.status("a.service", str(folder))["busy"] is not listens
