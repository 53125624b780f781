# SPDX-License-Identifier: GPL-3.0-or-later
"""A pause of one host's runner that can be taken back, and what jobs it still runs.

A config.toml without ``[[runners]]`` is hot-reloaded: the daemon takes no new job, and running
ones go on (tried with gitlab-runner 18.5.0). The whole file lies beside it meanwhile. The pause has
a lease: if nobody renews it, the host itself puts the file back, and so does every start of the
service.

Runs on the hosts, as part of a module and by itself (``python3 -m …drain resume``): standard
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
"""The whole file while the runner is paused: 0600, since tokens are in it."""
NOTE = "runnerhost-drain.json"
"""Digests of both files, to tell them apart; no secret."""
LEASES = "/run/runnerhost"
"""Gone after a reboot, and with it every lease."""
_ID = re.compile(rb"^\s*id\s*=\s*(\d+)\s*$", re.M)
_RUNNERS = re.compile(rb"^\[\[runners\]\]\s*$", re.M)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')
_STARTED = "Initializing executor providers"
"""The daemon's line right beside the one where it begins to take signals (17.4 to 19.3)."""
LEAST_SECONDS = 1.0
"""A daemon of that age may be asked whether it takes signals; it takes a third of it to start."""
YOUNG_SECONDS = 10.0
"""One of that age is not asked: with log_level=error it does not say."""
_ADDED, _REMOVED = "Added job to processing list", "Removed job from processing list"


def digest(content: bytes) -> str:
    """sha256, hex."""
    return hashlib.sha256(content).hexdigest()


def raw(path: str) -> bytes | None:
    """A file's bytes, None where there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """One writer of the folder's config.toml at a time (the daemon knows no lock)."""
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
    """Extends the lease to ``seconds`` from now, by a clock that nobody sets."""
    os.makedirs(LEASES, mode=0o755, exist_ok=True)
    until = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
    _files.write_atomic(_lease_path(folder), json.dumps({"until": until}) + "\n", 0o644)


def lease_left(folder: str) -> float:
    """Seconds that the lease still has; 0 for none."""
    try:
        until = float(json.loads(_files.read_text(_lease_path(folder)))["until"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
    return max(0.0, until - time.clock_gettime(time.CLOCK_BOOTTIME))


# --- pause and resume ------------------------------------------------------------------------


def pause(folder: str, expected: str, text: str, seconds: float) -> bool:
    """Puts ``text``, the configuration without runners, in the place of config.toml.

    Args:
        folder: where config.toml lies.
        expected: digest of the config.toml that the caller has read.
        text: what it reads while it is paused.
        seconds: the lease.

    Returns:
        False if config.toml is another one by now; nothing was changed then.
    """
    path = f"{folder}/{CONFIG}"
    with locked(folder):
        whole = raw(path)
        if whole is None or digest(whole) != expected or is_paused(folder):
            return False
        renew(folder, seconds)
        note = {"full": expected, "paused": digest(text.encode())}
        _files.write_atomic(f"{folder}/{NOTE}", json.dumps(note) + "\n", 0o600)
        _files.write_atomic(f"{folder}/{KEPT}", whole.decode(), 0o600)
        # The daemon may have rotated a token since; its file is the right one then.
        if raw(path) != whole:
            _forget(folder)
            return False
        _files.write_atomic(path, text, 0o600)
    return True


def is_paused(folder: str) -> bool:
    """True if a pause is in force, or was interrupted on its way."""
    return os.path.exists(f"{folder}/{KEPT}")


def resume(folder: str) -> str:
    """Takes a pause back.

    Returns:
        ``resumed``; ``nothing`` if there was no pause (or it was interrupted before it took
        effect); ``merged`` if a runner was added meanwhile, which is kept.
    """
    path = f"{folder}/{CONFIG}"
    if not os.path.isdir(folder):
        # A runner that the inventory names and that never came to the host.
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
                # It never came to the pause, and the daemon may have written since.
                _forget(folder)
                return "nothing"
            added = _RUNNERS.search(current)
            if added:
                kept = kept.rstrip(b"\n") + b"\n\n" + current[added.start() :]
                done = "merged"
        # Written anew, not renamed: the daemon loads a file only if it is newer.
        _files.write_atomic(path, kept.decode(), 0o600)
        _forget(folder)
    return done


def _is_paused_text(folder: str, content: bytes) -> bool:
    try:
        note = json.loads(_files.read_text(f"{folder}/{NOTE}"))
    except (OSError, ValueError):
        return not _RUNNERS.search(content)
    return bool(note.get("paused") == digest(content))


def _forget(folder: str) -> None:
    for path in (f"{folder}/{KEPT}", f"{folder}/{NOTE}", _lease_path(folder)):
        with suppress(FileNotFoundError):
            os.unlink(path)


def truth(folder: str) -> str:
    """Where the whole configuration lies now; a pause that nobody holds is taken back first."""
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
        age: seconds since the daemon took it.
    """

    id: str
    project: str
    age: int

    def __str__(self) -> str:
        minutes, rest = divmod(self.age, 60)
        return f"job {self.id} ({self.project}), {minutes} min {rest} s"


def running(lines: Iterable[str], now: float) -> list[Job]:
    """The jobs of a daemon, from its journal since its start (``journalctl -o json``).

    The daemon logs each job when it adds it to its list and when it takes it off
    (gitlab-runner 19.3, commands/multi.go), at the level ``info``.
    """
    jobs: dict[str, Job] = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        message = entry.get("MESSAGE") or ""
        if isinstance(message, list):
            # journald gives a text with escape codes as numbers.
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
    """A line of the daemon's log, in any of its formats (``log_format``)."""
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
    """The jobs that the daemon with this process number runs; empty where none does."""
    if not pid:
        return []
    done = _system.run(
        [
            "journalctl",
            "--no-pager",
            "--output=json",
            # Each part of a job's trace is a line too: a hundred thousand in a day.
            "--output-fields=MESSAGE",
            f"--grep={_ADDED}|{_REMOVED}",
            "-b",
            f"_PID={pid}",
        ]
    )
    return running(done.stdout.splitlines(), time.time())


def journal_is_whole(pid: int) -> bool:
    """True if the journal has a daemon's messages since its start, at the level ``info``."""
    done = _system.run(
        [
            *("journalctl", "--no-pager", "--output=cat", "--lines=1", "-b"),
            *("--grep=Starting multi-runner|Configuration loaded", f"_PID={pid}"),
        ]
    )
    return done.returncode == 0 and bool(done.stdout.strip())


class Status(TypedDict):
    """What a drain waits for.

    Attributes:
        active: whether the service runs.
        pid: of its daemon.
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
    """What a drain waits for now."""
    state = _systemd.units([unit]).get(unit, {})
    pid = int(state.get("MainPID") or 0)
    jobs = jobs_of(pid)
    return {
        "active": state.get("ActiveState", "") == "active",
        "pid": pid,
        "jobs": [{**asdict(job), "text": str(job)} for job in jobs],
        # A stage of a job is a process below the daemon; with log_level=error the log is silent.
        # And one that has just started must not be stopped yet.
        "busy": bool(jobs) or (bool(pid) and (_system.has_children(pid) or not is_listening(pid))),
        "paused": is_paused(folder),
        "lease": lease_left(folder),
    }


def reload(unit: str) -> None:
    """Has the daemon read its file now; it would do so within three seconds by itself."""
    await_listening(unit)
    _system.run(["systemctl", "kill", "--signal=SIGHUP", "--kill-who=main", unit])


def age(pid: int) -> float | None:
    """Seconds since a process began; None if there is none."""
    try:
        # The name in brackets may hold blanks: the fields start after its end (proc(5)).
        fields = _files.read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        ticks = int(fields[19])
    except (OSError, IndexError, ValueError):
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def is_listening(pid: int) -> bool:
    """True unless the daemon has just started: a signal ends it then (exit 2, a failed unit).

    Its journal tells when that is over. /proc does not: Go's runtime catches every signal from the
    first moment on, and ends the program for those that it has no order for.
    """
    old = age(pid) if pid else None
    if old is None or old >= YOUNG_SECONDS:
        return True
    if old < LEAST_SECONDS:
        return False
    lines = ["journalctl", "--no-pager", "--output=cat", "--lines=1", f"--grep={_STARTED}", "-b"]
    return bool(_system.run([*lines, f"_PID={pid}"]).stdout.strip())


def await_listening(unit: str) -> None:
    """Waits until a signal does not end the service's daemon, if it has just started."""
    end = time.monotonic() + 2 * YOUNG_SECONDS
    while time.monotonic() < end:
        if is_listening(int(_systemd.units([unit]).get(unit, {}).get("MainPID") or 0)):
            return
        time.sleep(0.2)


def watch(unit: str, on: bool) -> None:
    """Starts or stops the timer that takes an abandoned pause of the service back."""
    how = ["start"] if on else ["--no-block", "stop"]
    _system.run(["systemctl", *how, f"{resume_of(unit)}.timer"])


def main() -> int:
    """``resume``: what the host's own timer and each start of the service call."""
    parser = argparse.ArgumentParser(prog="drain", description="Take a pause of the runner back.")
    parser.add_argument("verb", choices=["resume"])
    parser.add_argument("--folder", default="/etc/gitlab-runner")
    parser.add_argument("--unit", default="gitlab-runner.service")
    parser.add_argument("--if-expired", action="store_true", help="only if its lease is over")
    asked = parser.parse_args()
    if asked.if_expired and lease_left(asked.folder) > 0:
        return 0
    done = resume(asked.folder)
    if done != "nothing":
        reload(asked.unit)
        told = f"the pause of {asked.unit} was not taken back by whoever asked for it: {done}"
        sys.stdout.write(f"{told}\n")
    watch(asked.unit, on=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
