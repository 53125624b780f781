# SPDX-License-Identifier: GPL-3.0-or-later
"""A transaction of apt in the background, so that a controller can ask how far it is.

It goes on if the controller dies, as dpkg must not be cut off.
Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files

FOLDER = "/run"
ARCHIVES = "/var/cache/apt/archives"
_PREFIX = "runnerhost-apt-"
# Seconds after which an unread answer is removed.
_OLD = 3600
# The job that this process is, if it is one.
_own = ""


def start(work: Callable[[], dict[str, Any]]) -> str:
    """Runs it in a process of its own; returns the folder that stands for it."""
    for left in glob.glob(f"{FOLDER}/{_PREFIX}*"):
        # Of a controller that died before it had the answer.
        with contextlib.suppress(OSError):
            if time.time() - os.stat(left).st_mtime > _OLD and not _is_running(left):
                shutil.rmtree(left, ignore_errors=True)
    job = tempfile.mkdtemp(prefix=_PREFIX, dir=FOLDER)
    _files.write_atomic(f"{job}/began", "", 0o600, os.getuid(), os.getgid())
    # The child inherits the lock, and holds it until its end.
    lock = os.open(job, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os.close(lock)
        return job
    os.setsid()
    if os.fork():
        os._exit(0)
    _detach(lock)
    globals()["_own"] = job
    try:
        answer = work()
    except BaseException as error:
        answer = {"failed": True, "msg": f"apt_transaction: {type(error).__name__}: {error}"}
    with contextlib.suppress(OSError):
        _files.write_atomic(f"{job}/answer", json.dumps(answer), 0o600, os.getuid(), os.getgid())
    os._exit(0)


def _detach(lock: int) -> None:
    """No channel to the login that started it, which would wait for its end."""
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != lock:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _is_running(job: str) -> bool:
    handle = os.open(job, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def wait(job: str, patience: float) -> dict[str, Any]:
    """The answer, or the job and its phase if it is not at its end by then."""
    if not re.fullmatch(re.escape(f"{FOLDER}/{_PREFIX}") + r"\w+", job) or not os.path.isdir(job):
        return {"failed": True, "msg": f"apt_transaction: there is no job {job}"}
    end = time.monotonic() + patience
    while True:
        running = _is_running(job)
        with contextlib.suppress(FileNotFoundError):
            answer: dict[str, Any] = json.loads(_files.read_text(f"{job}/answer"))
            shutil.rmtree(job, ignore_errors=True)
            return answer
        if not running:
            shutil.rmtree(job, ignore_errors=True)
            return {"failed": True, "msg": "apt_transaction: it was killed before its end"}
        if time.monotonic() >= end:
            return {"changed": False, "job": job, "phase": describe(job)}
        time.sleep(0.1)


def phase(text: str) -> None:
    """Records the phase of the job; with an empty text, apt's own progress counts."""
    if _own:
        _files.write_atomic(f"{_own}/phase", text, 0o600, os.getuid(), os.getgid())


@contextlib.contextmanager
def status() -> Iterator[int | None]:
    """Where apt shall write how far it is (APT::Status-Fd); None outside of a job."""
    if not _own:
        yield None
        return
    handle = os.open(f"{_own}/status", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def describe(job: str) -> str:
    """The phase or progress of a job, in apt's own words if there are any."""
    said, lines = "", []
    with contextlib.suppress(FileNotFoundError):
        said = _files.read_text(f"{job}/phase")
    with contextlib.suppress(FileNotFoundError):
        lines = _files.read_text(f"{job}/status").splitlines()
    if said:
        return said
    last = next((line for line in reversed(lines) if line.count(":") >= 3), "")
    kind, __, percent, words = (last.split(":", 3) + [""] * 4)[:4]
    if kind == "dlstatus":
        count = re.search(r"(\d+) of (\d+)", words)
        return (
            f"downloading {count[1]} of {count[2]} packages{_downloaded(job)}"
            if count
            else "downloading packages"
        )
    if kind == "pmstatus":
        # An architecture in the package's name has a colon of its own.
        named = re.match(r"pmstatus:.*?:(\d+(?:\.\d+)?):(.*)", last)
        if named:
            percent, words = named[1], named[2]
        return f"{words[:1].lower()}{words[1:]} ({float(percent):.0f} %)"
    return "starting apt, or waiting for another process that works on packages"


def _downloaded(job: str) -> str:
    """How much has come since the job began."""
    began = os.stat(f"{job}/began").st_mtime
    size = 0
    for path in glob.glob(f"{ARCHIVES}/*.deb") + glob.glob(f"{ARCHIVES}/partial/*.deb"):
        with contextlib.suppress(OSError):
            # Not the time of its text, which is the repository's.
            info = os.stat(path)
            size += info.st_size if info.st_ctime >= began else 0
    return f", {size / 1e6:.0f} MB so far" if size >= 1e6 else ""
