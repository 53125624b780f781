# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses one runner service of a host, resumes it, and lists the jobs that it still runs.

The daemon reloads a config.toml without ``[[runners]]``: it takes no new jobs and continues the
running ones (tried with gitlab-runner 18.5.0). The full file is kept beside it. A pause has a
lease: when it expires, the host itself restores the file. So does each start of the service.

Runs on the hosts, as part of a module and by itself (``python3 -m …_drain resume``): standard
library of Python 3.10 alone.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TypedDict

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files, _system, _systemd
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import resume_of

CONFIG = "config.toml"
KEPT = "config.toml.runnerhost-drained"
"""The full file while the runner is paused: mode 0600, because it contains tokens."""
STATE = "runnerhost-drain.json"
"""State file with the digests of both files; it contains no secret."""
LEASES = "/run/runnerhost"
"""Contains the leases. A reboot removes it."""
_ID = re.compile(rb"^\s*id\s*=\s*(\d+)\s*$", re.M)
_RUNNERS = re.compile(rb"^\[\[runners\]\]\s*$", re.M)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')
_STARTED = "Initializing executor providers"
"""The daemon logs this just before it starts to handle signals (17.4 to 19.3)."""
LEAST_SECONDS = 1.0
"""Age from which the journal is checked for that message; a start takes a third of it."""
YOUNG_SECONDS = 10.0
"""Age from which a daemon counts as started: with log_level=error it does not log the message."""
_ADDED, _REMOVED = "Added job to processing list", "Removed job from processing list"


def digest(content: bytes) -> str:
    """sha256, hex."""
    return hashlib.sha256(content).hexdigest()


def raw(path: str) -> bytes | None:
    """The content of a file; None if it does not exist."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Locks the config.toml of a folder for one writer (the daemon itself uses no lock)."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# --- the lease -------------------------------------------------------------------------------


def _lease_path(folder: str) -> str:
    return f"{LEASES}/drain-{digest(folder.encode())[:12]}.json"


def renew(folder: str, seconds: float) -> None:
    """Extends the lease to ``seconds`` from now, by a clock that cannot be set."""
    os.makedirs(LEASES, mode=0o755, exist_ok=True)
    until = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
    _files.write_atomic(_lease_path(folder), json.dumps({"until": until}) + "\n", 0o644)


def lease_left(folder: str) -> float:
    """Seconds until the lease expires; 0 without a lease."""
    try:
        until = float(json.loads(_files.read_text(_lease_path(folder)))["until"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
    return max(0.0, until - time.clock_gettime(time.CLOCK_BOOTTIME))


# --- pause and resume ------------------------------------------------------------------------


def pause(folder: str, expected: str, text: str, seconds: float) -> bool:
    """Replaces config.toml by ``text``, the configuration without runners.

    Args:
        folder: the folder of config.toml.
        expected: digest of the config.toml that the caller has read.
        text: the configuration during the pause.
        seconds: duration of the lease.

    Returns:
        False if config.toml has changed since it was read; then nothing is written.
    """
    path = f"{folder}/{CONFIG}"
    with locked(folder):
        whole = raw(path)
        if whole is None or digest(whole) != expected or is_paused(folder):
            return False
        renew(folder, seconds)
        state = {"full": expected, "paused": digest(text.encode())}
        _files.write_atomic(f"{folder}/{STATE}", json.dumps(state) + "\n", 0o600)
        _files.write_atomic(f"{folder}/{KEPT}", whole.decode(), 0o600)
        # The daemon may have rotated a token in the meantime; then its file must be kept.
        if raw(path) != whole:
            _forget(folder)
            return False
        _files.write_atomic(path, text, 0o600)
    return True


def is_paused(folder: str) -> bool:
    """True if a pause is in effect, or was interrupted before it took effect."""
    return os.path.exists(f"{folder}/{KEPT}")


def resume(folder: str) -> str:
    """Ends a pause.

    Returns:
        ``resumed``; ``nothing`` if there was no pause, or if it was interrupted before it took
        effect; ``merged`` if a runner was added during the pause, which is kept.
    """
    path = f"{folder}/{CONFIG}"
    if not os.path.isdir(folder):
        # An isolated runner of the inventory that was never installed on the host.
        return "nothing"
    with locked(folder):
        kept = raw(f"{folder}/{KEPT}")
        if kept is None:
            _forget(folder)
            return "nothing"
        current = raw(path)
        done = "resumed"
        if current is not None and not _is_paused_text(folder, current):
            if set(_ID.findall(kept)) <= set(_ID.findall(current)) and _RUNNERS.search(current):
                # The pause never took effect, and the daemon may have written the file since.
                _forget(folder)
                return "nothing"
            added = _RUNNERS.search(current)
            if added:
                kept = kept.rstrip(b"\n") + b"\n\n" + current[added.start() :]
                done = "merged"
        # A new file, not the kept one renamed: the daemon reloads only a newer modification time.
        _files.write_atomic(path, kept.decode(), 0o600)
        _forget(folder)
    return done


def _is_paused_text(folder: str, content: bytes) -> bool:
    try:
        state = json.loads(_files.read_text(f"{folder}/{STATE}"))
    except (OSError, ValueError):
        return not _RUNNERS.search(content)
    return bool(state.get("paused") == digest(content))


def _forget(folder: str) -> None:
    for path in (f"{folder}/{KEPT}", f"{folder}/{STATE}", _lease_path(folder)):
        with suppress(FileNotFoundError):
            os.unlink(path)


def full_config_path(folder: str) -> str:
    """Path of the full configuration; a pause whose lease has expired is ended first."""
    if is_paused(folder):
        if lease_left(folder) > 0:
            return f"{folder}/{KEPT}"
        resume(folder)
    return f"{folder}/{CONFIG}"


# --- running jobs ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A job that the daemon runs.

    Attributes:
        id: its number in GitLab.
        project: its project, as the daemon's log names it.
        age: seconds since the daemon received it.
    """

    id: str
    project: str
    age: int

    def __str__(self) -> str:
        minutes, rest = divmod(self.age, 60)
        return f"job {self.id} ({self.project}), {minutes} min {rest} s"


def running(lines: Iterable[str], now: float) -> list[Job]:
    """Running jobs of a daemon, from its journal since its start (``journalctl -o json``).

    The daemon logs at the level ``info`` when it adds a job to its list and when it removes it
    (gitlab-runner 19.3, commands/multi.go).
    """
    jobs: dict[str, Job] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        message = entry.get("MESSAGE") or ""
        if isinstance(message, list):
            # journald encodes a text with escape codes as a list of numbers.
            message = bytes(message).decode(errors="replace")
        fields = _fields(_ANSI.sub("", str(message)))
        if fields.get("msg", "").startswith(_ADDED):
            began = int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6
            jobs[fields.get("job", "?")] = Job(
                fields.get("job", "?"),
                fields.get("project_full_path") or _project(fields.get("repo_url", "")),
                max(0, int(now - began)),
            )
        elif fields.get("msg", "").startswith(_REMOVED):
            jobs.pop(fields.get("job", "?"), None)
    return list(jobs.values())


def _fields(message: str) -> dict[str, str]:
    """Fields of a log line of the daemon, in any ``log_format``."""
    if message.startswith("{"):
        try:
            return {str(key): str(value) for key, value in json.loads(message).items()}
        except ValueError:
            return {}
    found = {key: value.strip('"') for key, value in _FIELD.findall(message)}
    for text in (_ADDED, _REMOVED):
        if text in message:
            found["msg"] = text
    return found


def _project(url: str) -> str:
    path = re.sub(r"^[a-z]+://[^/]*/", "", url).removesuffix(".git")
    return path or "project unknown"


def jobs_of(pid: int) -> list[Job]:
    """The jobs that the daemon with this process id runs."""
    if not pid:
        return []
    done = _system.run(
        [
            "journalctl",
            "--no-pager",
            "--output=json",
            # Read only the message: the journal also has each part of the jobs' output.
            "--output-fields=MESSAGE",
            f"--grep={_ADDED}|{_REMOVED}",
            "-b",
            f"_PID={pid}",
        ]
    )
    return running(done.stdout.splitlines(), time.time())


def journal_is_whole(pid: int) -> bool:
    """True if the journal has the messages of a daemon since its start, at the level ``info``."""
    done = _system.run(
        [
            *("journalctl", "--no-pager", "--output=cat", "--lines=1", "-b"),
            *("--grep=Starting multi-runner|Configuration loaded", f"_PID={pid}"),
        ]
    )
    return done.returncode == 0 and bool(done.stdout.strip())


class Status(TypedDict):
    """State of a service during a drain.

    Attributes:
        active: whether the service runs.
        pid: process id of its daemon.
        jobs: the running jobs.
        busy: whether a job runs or the daemon has just started.
        paused: whether it takes no new jobs.
        lease: seconds until the pause ends by itself.
    """

    active: bool
    pid: int
    jobs: list[dict[str, object]]
    busy: bool
    paused: bool
    lease: float


def status(unit: str, folder: str) -> Status:
    """The state of a service now."""
    state = _systemd.units([unit]).get(unit, {})
    pid = int(state.get("MainPID") or 0)
    jobs = jobs_of(pid)
    return {
        "active": state.get("ActiveState", "") == "active",
        "pid": pid,
        "jobs": [{**asdict(job), "text": str(job)} for job in jobs],
        # Each stage of a job is a child process of the daemon, which also shows jobs with
        # log_level=error. A daemon that has just started must not be stopped yet.
        "busy": bool(jobs) or (bool(pid) and (_system.has_children(pid) or not is_listening(pid))),
        "paused": is_paused(folder),
        "lease": lease_left(folder),
    }


def reload(unit: str) -> None:
    """Makes the daemon reload its file now; otherwise it does so within three seconds."""
    await_listening(unit)
    _system.run(["systemctl", "kill", "--signal=SIGHUP", "--kill-who=main", unit])


def age(pid: int) -> float | None:
    """Seconds since a process started; None if it does not exist."""
    try:
        # The name in brackets may hold blanks: the fields start after its end (proc(5)).
        fields = _files.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        ticks = int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def is_listening(pid: int) -> bool:
    """False if the daemon has just started: then a signal would end it (exit 2, a failed unit).

    The journal shows when it handles signals; /proc does not: Go's runtime catches every signal
    from the start, and ends the program on those without a handler.
    """
    old = age(pid) if pid else None
    if old is None or old >= YOUNG_SECONDS:
        return True
    if old < LEAST_SECONDS:
        return False
    lines = ["journalctl", "--no-pager", "--output=cat", "--lines=1", f"--grep={_STARTED}", "-b"]
    return bool(_system.run([*lines, f"_PID={pid}"]).stdout.strip())


def await_listening(unit: str) -> None:
    """Waits until the daemon of a service handles signals, if it has just started."""
    end = time.monotonic() + 2 * YOUNG_SECONDS
    while time.monotonic() < end:
        if is_listening(int(_systemd.units([unit]).get(unit, {}).get("MainPID") or 0)):
            return
        time.sleep(0.2)


def set_resume_timer(unit: str, on: bool) -> None:
    """Starts or stops the timer that ends an abandoned pause of the service."""
    how = ["start"] if on else ["--no-block", "stop"]
    _system.run(["systemctl", *how, f"{resume_of(unit)}.timer"])


def main() -> int:
    """``resume``: called by the host's timer and by each start of the service."""
    parser = argparse.ArgumentParser(prog="_drain", description="End a pause of the runner.")
    parser.add_argument("verb", choices=["resume"])
    parser.add_argument("--folder", default="/etc/gitlab-runner")
    parser.add_argument("--unit", default="gitlab-runner.service")
    parser.add_argument("--if-expired", action="store_true", help="only if its lease has expired")
    asked = parser.parse_args()
    if asked.if_expired and lease_left(asked.folder) > 0:
        return 0
    done = resume(asked.folder)
    if done != "nothing":
        reload(asked.unit)
        sys.stdout.write(f"the abandoned pause of {asked.unit} was ended: {done}\n")
    set_resume_timer(asked.unit, on=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
