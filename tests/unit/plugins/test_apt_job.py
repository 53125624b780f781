# SPDX-License-Identifier: GPL-3.0-or-later
"""A transaction in the background: it says what it does, and its end is not missed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _apt_job

PROGRAM = """
import sys, time
from ansible_collections.runnerhost.toolkit.plugins.module_utils import _apt_job, _system
_apt_job.FOLDER = sys.argv[1]
def work():
    _apt_job.phase("reading the package lists")
    while not _system.os.path.exists(sys.argv[1] + "/go"):
        time.sleep(0.02)
    _apt_job.phase("")
    with _apt_job.status() as handle:
        _system.run(["sh", "-c", f"echo dlstatus:1:5:Retrieving file 12 of 40 >&{handle}"],
                 pass_fds=[handle])
    while not _system.os.path.exists(sys.argv[1] + "/end"):
        time.sleep(0.02)
    if sys.argv[2:]:
        raise ValueError("odd")
    return {"changed": True, "pid": _system.os.getpid()}
print(_apt_job.start(work))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_apt_job, "FOLDER", str(tmp_path))
    monkeypatch.setattr(_apt_job, "ARCHIVES", str(tmp_path / "archives"))
    (tmp_path / "archives/partial").mkdir(parents=True)
    return tmp_path


def start(folder: Path, *more: str) -> str:
    """A job; the program that starts it ends at once, with all that reads its output."""
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), *more], capture_output=True, text=True,
        timeout=30, check=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    return done.stdout.strip()


def until(job: str, text: str) -> None:
    end = time.monotonic() + 10
    while (said := _apt_job.wait(job, 0).get("phase", "")) != text:
        assert time.monotonic() < end, said


def test_it_says_what_it_does_and_answers_once(folder: Path) -> None:
    job = start(folder)
    until(job, "reading the package lists")
    (folder / "archives/partial/a.deb").write_bytes(b"x" * 31_000_000)
    (folder / "go").touch()
    until(job, "downloading 12 of 40 packages, 31 MB so far")
    (folder / "end").touch()
    answer = _apt_job.wait(job, 10)
    assert answer["changed"]
    assert not Path(job).exists()
    assert _apt_job.wait(job, 0)["failed"]


def test_one_that_breaks_or_is_killed_is_a_failure(folder: Path) -> None:
    (folder / "go").touch()
    job = start(folder, "odd")
    (folder / "end").touch()
    assert _apt_job.wait(job, 10)["msg"] == "apt_transaction: ValueError: odd"
    (folder / "end").unlink()
    job = start(folder)
    until(job, "downloading 12 of 40 packages")
    held = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if str(folder).encode() in path.read_bytes() and int(path.parent.name) != os.getpid()
    ]
    for pid in held:
        os.kill(pid, signal.SIGKILL)
    assert _apt_job.wait(job, 10)["msg"] == "apt_transaction: it was killed before its end"


def test_a_path_that_is_no_job_is_none(folder: Path) -> None:
    for odd in ("/etc", f"{folder}/archives", f"{folder}/runnerhost-apt-x/../archives"):
        assert _apt_job.wait(odd, 0)["failed"]
    assert (folder / "archives").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("pmstatus:cmake:53.2:Unpacking cmake (amd64)", "unpacking cmake (amd64) (53 %)"),
        ("pmstatus:libc6:amd64:93.0:Setting up libc6 (amd64)", "setting up libc6 (amd64) (93 %)"),
        ("dlstatus:3:10.0:Retrieving file 3 of 9 (2s remaining)", "downloading 3 of 9 packages"),
        ("", "starting apt, or waiting for another process that works on packages"),
    ],
)
def test_apts_own_words(folder: Path, line: str, says: str) -> None:
    (folder / "began").touch()
    (folder / "status").write_text(f"{line}\n")
    assert _apt_job.describe(str(folder)) == says
