# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a host fit for jobs: old builds and caches go; no job on a full disk; metrics of both.

Runs on the hosts by itself (``python3 -m …_cleanup clean|disk``), started by timers: standard
library of Python 3.10 alone. ``clean`` runs as the job user, who can remove nobody else's files.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import pwd
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _drain, _files
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import SERVICE, place

DAY = 86400.0
PAUSED_TEXT = "runnerhost-paused.toml"
"""config.toml without its runners, written by the run that wrote config.toml: 0600."""
FULL_MARK = f"{_drain.LEASES}/disk-full"
# The watch comes every minute: a lease of three lets one be missed.
LEASE_SECONDS = 180.0
# A disk that is just above the limit would pause and resume at every look.
HYSTERESIS_POINTS = 2.0
_SCRATCH = ".runnerhost-old-"
SHOWN = 20
"""How many paths a run names that it could not remove."""


# --- what is old --------------------------------------------------------------------------------


def working_directories() -> set[str]:
    """Where this user's processes are; what lies there or above is in use."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                found.add(os.readlink(f"/proc/{name}/cwd"))
    return found


def in_use(path: str, directories: Iterable[str]) -> bool:
    """True if a process works in the folder or below it."""
    return any(cwd == path or cwd.startswith(path + "/") for cwd in directories)


@dataclass(frozen=True)
class Failure:
    """What could not be removed."""

    path: str
    reason: str

    def __str__(self) -> str:
        try:
            found = os.lstat(self.path)
        except OSError:
            return f"{self.path}: {self.reason}"
        return f"{self.path} (owner {owner(found.st_uid)}): {self.reason}"


def owner(uid: int) -> str:
    """A user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def failure(path: str, error: OSError) -> Failure:
    """Why a path could not be removed: the folder around it, as a rule, belongs to another user."""
    reason = error.strerror or str(error)
    folder = os.path.dirname(path)
    with suppress(OSError):
        around = os.lstat(folder)
        if error.errno in (errno.EACCES, errno.EPERM) and around.st_uid != os.geteuid():
            reason += f"; its folder {folder} belongs to {owner(around.st_uid)}"
        elif error.errno == errno.EPERM:
            reason += "; is it immutable? See lsattr"
    return Failure(path, reason)


def mount_points(table: str = "/proc/self/mountinfo") -> set[str]:
    """Where something is mounted, bind mounts too (proc(5))."""
    with suppress(OSError), open(table, encoding="utf-8", errors="surrogateescape") as stream:
        return {
            re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4])
            for line in stream
        }
    return set()


def mounted(path: str) -> list[Failure]:
    """What is mounted at a path or below it: those files stay."""
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return [
        Failure(one, "something is mounted there")
        for one in sorted(mount_points())
        if one == real or one.startswith(real + "/")
    ]


def checkouts(builds: str, failures: list[Failure] | None = None) -> Iterator[str]:
    """The projects' folders below a builds folder, however deep their groups are.

    The runner lays them out as ``<builds>/<short token>/<slot>/<group>/<project>``, with a
    ``<project>.tmp`` beside each (gitlab-runner 19.3, common/build.go).
    """
    try:
        entries = list(os.scandir(builds))
    except OSError as error:
        if failures is not None and not isinstance(error, FileNotFoundError):
            failures.append(failure(builds, error))
        return
    names = {entry.name for entry in entries}
    for entry in entries:
        if (
            not entry.is_dir(follow_symlinks=False)
            or entry.name.endswith(".tmp")
            or entry.name.startswith(_SCRATCH)
        ):
            continue
        if f"{entry.name}.tmp" in names or os.path.lexists(f"{entry.path}/.git"):
            yield entry.path
        else:
            yield from checkouts(entry.path, failures)


def left_over(folder: str) -> Iterator[str]:
    """What an earlier run has put aside and could not delete; deeper than that it does not look."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(_SCRATCH):
            yield entry.path
        elif entry.is_dir(follow_symlinks=False) and not os.path.lexists(f"{entry.path}/.git"):
            yield from left_over(entry.path)


def last_used(checkout: str) -> float:
    """When a job last worked there, in seconds since 1970: each fetches, or clones anew."""
    marks = ("", "/.git", "/.git/HEAD", "/.git/index", "/.git/FETCH_HEAD")
    times = [0.0]
    for path in [*(checkout + mark for mark in marks), f"{checkout}.tmp"]:
        with suppress(OSError):
            times.append(os.lstat(path).st_mtime)
    return max(times)


def put_aside(path: str, failures: list[Failure]) -> str:
    """Renames a folder or file out of the way, for a job that begins now; empty if it cannot.

    The name is always the same one: what an earlier run has put aside and could not delete keeps
    the next from being put there, so that there is never more than one.
    """
    folder, name = os.path.split(path)
    scratch = os.path.join(folder, f"{_SCRATCH}{name}")
    if not os.path.lexists(path):
        return ""
    found = mounted(path)
    if not found and os.path.lexists(scratch):
        found = [Failure(path, f"{scratch} is still there from an earlier run")]
    if found:
        failures += found
        return ""
    try:
        os.rename(path, scratch)
    except OSError as error:
        failures.append(failure(path, error))
        return ""
    return scratch


def delete(scratch: str, failures: list[Failure]) -> bool:
    """Deletes what was put aside; adds what of it cannot be deleted."""
    found = mounted(scratch)
    if found:
        failures += found
        return False

    def failed(__: object, path: str, about: tuple[type, BaseException, object]) -> None:
        error = about[1]
        with suppress(OSError):
            # An empty folder of another user, which cannot be opened.
            os.rmdir(path)
            return
        # A folder that is not empty only follows from what could not be deleted in it.
        if isinstance(error, OSError) and error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
            failures.append(failure(path, error))

    if os.path.isdir(scratch) and not os.path.islink(scratch):
        make_writable(scratch)
        shutil.rmtree(scratch, onerror=failed)
    else:
        try:
            os.unlink(scratch)
        except OSError as error:
            failures.append(failure(scratch, error))
    return not os.path.lexists(scratch)


def make_writable(folder: str) -> None:
    """Lets this user delete in its own read-only folders, such as those of Go's module cache."""
    with suppress(OSError):
        found = os.lstat(folder)
        if found.st_uid == os.geteuid() and found.st_mode & 0o700 != 0o700:
            os.chmod(folder, stat.S_IMODE(found.st_mode) | 0o700)
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                make_writable(entry.path)


def remove_tree(path: str, failures: list[Failure]) -> bool:
    """Removes a folder or file, out of the way first: a job that begins now makes its own anew."""
    scratch = put_aside(path, failures)
    return bool(scratch) and delete(scratch, failures)


def clean_builds(builds: str, days: float, now: float, failures: list[Failure]) -> list[str]:
    """Removes checkouts that no job has used for so many days; returns their paths."""
    busy = working_directories()
    removed = []
    for path in list(left_over(builds)):
        delete(path, failures)
    for path in list(checkouts(builds, failures)):
        if now - last_used(path) < days * DAY or in_use(path, busy):
            continue
        # Both before either is deleted: that takes minutes, in which a job may make them anew.
        beside, scratch = put_aside(f"{path}.tmp", failures), put_aside(path, failures)
        if beside:
            delete(beside, failures)
        if scratch and delete(scratch, failures):
            removed.append(path)
            parent = os.path.dirname(path)
            # Groups and slots that are empty now; never the builds folder itself.
            while parent != builds and parent.startswith(builds + "/"):
                try:
                    os.rmdir(parent)
                except OSError:
                    break
                parent = os.path.dirname(parent)
    return removed


def clean_files(folder: str, days: float, now: float, failures: list[Failure]) -> list[str]:
    """Removes files that nobody has read or written for so many days, and folders left empty."""
    removed = []

    def unreadable(error: OSError) -> None:
        if error.filename and not isinstance(error, FileNotFoundError):
            failures.append(failure(str(error.filename), error))

    def old(path: str) -> bool:
        found = os.lstat(path)
        return now - max(found.st_mtime, found.st_atime) >= days * DAY

    for inside, __, names in os.walk(folder, topdown=False, onerror=unreadable):
        for name in names:
            path = os.path.join(inside, name)
            try:
                if old(path):
                    os.unlink(path)
                    removed.append(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                failures.append(failure(path, error))
        if inside != folder:
            with suppress(OSError):
                os.rmdir(inside)
    return removed


def clean_temporary(folder: str, days: float, now: float, failures: list[Failure]) -> list[str]:
    """Removes this user's own entries of a shared folder that are untouched for so many days."""
    busy = working_directories()
    removed = []
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        try:
            found = os.lstat(path)
        except OSError:
            continue
        if found.st_uid != os.geteuid():
            continue
        if name.startswith(_SCRATCH):
            delete(path, failures)
            continue
        old = now - max(found.st_mtime, found.st_ctime) >= days * DAY
        if old and not in_use(path, busy) and remove_tree(path, failures):
            removed.append(path)
    return removed


# --- the disk -----------------------------------------------------------------------------------


def free_percent(path: str) -> tuple[float, float]:
    """Free space and free inodes for an ordinary user, in per cent of all.

    A filesystem that counts no inodes (btrfs) has 100 per cent of them free.
    """
    found = os.statvfs(path)
    space = 100.0 * found.f_bavail / found.f_blocks if found.f_blocks else 100.0
    inodes = 100.0 * found.f_favail / found.f_files if found.f_files else 100.0
    return space, inodes


def existing(path: str) -> str:
    """The path, or the nearest folder above it that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    return path


def shortage(paths: Iterable[str], space: float, inodes: float) -> str:
    """Which filesystem has less than so many per cent free; empty if none."""
    for path in dict.fromkeys(existing(path) for path in paths):
        free_space, free_inodes = free_percent(path)
        if free_space < space:
            return f"{path} has {free_space:.1f} % of its space free, less than {space:g} %"
        if free_inodes < inodes:
            return f"{path} has {free_inodes:.1f} % of its inodes free, less than {inodes:g} %"
    return ""


def full_mark(unit: str) -> str:
    """Tells that a full disk has paused this service."""
    return FULL_MARK + unit.removesuffix(".service").removeprefix(SERVICE)


def watch_disk(folder: str, unit: str, paths: list[str], space: float, inodes: float) -> str:
    """Pauses the runner on a full disk and takes that back; returns what was done, in words."""
    mark = full_mark(unit)
    ours = os.path.exists(mark)
    more = HYSTERESIS_POINTS if ours else 0.0
    short = shortage(paths, space + more if space else 0, inodes + more if inodes else 0)
    if not short:
        if not ours:
            return ""
        with suppress(FileNotFoundError):
            os.unlink(mark)
        done = _drain.resume(folder)
        if done != "nothing":
            _drain.reload(unit)
        return "there is room again: the runner takes jobs"
    if _drain.is_paused(folder):
        if ours:
            _drain.renew(folder, LEASE_SECONDS)
        return ""
    text, whole = _drain.raw(f"{folder}/{PAUSED_TEXT}"), _drain.raw(f"{folder}/{_drain.CONFIG}")
    if text is None or whole is None:
        return ""
    # The mark first: without it nobody would take the pause back before its lease ends.
    os.makedirs(_drain.LEASES, mode=0o755, exist_ok=True)
    _files.write_atomic(mark, short + "\n", 0o644)
    _drain.watch(unit, on=True)
    if not _drain.pause(folder, _drain.digest(whole), text.decode(), LEASE_SECONDS):
        return ""
    _drain.reload(unit)
    return f"{short}: the runner takes no new job"


# --- metrics ------------------------------------------------------------------------------------


def token_ends(text: str) -> dict[str, float]:
    """Runner -> the end of its token, in seconds since 1970, of those whose token has one.

    Read-only, line by line: the host's Python reads no TOML, and both the daemon and the toolkit
    write one key to a line.
    """
    found = {}
    for table in re.split(r"(?m)^\[\[runners\]\]\s*$", text)[1:]:
        name = re.search(r'(?m)^\s*name = ("(?:[^"\\]|\\.)*")', table)
        ends = re.search(r"(?m)^\s*token_expires_at = (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)", table)
        if name and ends and not ends[1].startswith("0001"):
            moment = datetime.fromisoformat(ends[1]).replace(tzinfo=timezone.utc)
            with suppress(ValueError):
                found[str(json.loads(name[1]))] = moment.timestamp()
    return found


def write_metrics(path: str, places: dict[str, str]) -> None:
    """A file for node_exporter's textfile collector; no secret is in it.

    Args:
        path: the file.
        places: folder of each service's config.toml -> its unit.
    """
    paused, full, ends_of = [], [], {}
    for folder, unit in places.items():
        label = f'{{service="{unit.removesuffix(".service")}"}}'
        is_paused = _drain.is_paused(folder)
        paused.append(f"runnerhost_paused{label} {int(is_paused)}")
        full.append(f"runnerhost_disk_full{label} {int(os.path.exists(full_mark(unit)))}")
        whole = f"{folder}/{_drain.KEPT if is_paused else _drain.CONFIG}"
        ends_of.update(token_ends((_drain.raw(whole) or b"").decode(errors="replace")))
    lines = [
        "# HELP runnerhost_paused 1 while the runner takes no new job.",
        "# TYPE runnerhost_paused gauge",
        *paused,
        "# HELP runnerhost_disk_full 1 while it does so because a disk is full.",
        "# TYPE runnerhost_disk_full gauge",
        *full,
        "# HELP runnerhost_token_expires_timestamp_seconds When a runner's token ends.",
        "# TYPE runnerhost_token_expires_timestamp_seconds gauge",
    ]
    for name, ends in sorted(ends_of.items()):
        # The text format escapes as JSON does (prometheus.io, exposition formats).
        label = json.dumps(name, ensure_ascii=False)
        lines.append(f"runnerhost_token_expires_timestamp_seconds{{runner={label}}} {ends:.0f}")
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    _files.write_atomic(path, "\n".join(lines) + "\n", 0o644)


# --- as a program -------------------------------------------------------------------------------


def main() -> int:
    """``clean`` and ``disk``, as the host's timers call them."""
    parser = argparse.ArgumentParser(prog="_cleanup", description="Keep a host fit for jobs.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    clean = verbs.add_parser("clean", help="remove what is old")
    for name in ("builds", "cache", "temporary"):
        clean.add_argument(f"--{name}", action="append", default=[], metavar="FOLDER")
        clean.add_argument(f"--{name}-days", type=float, default=0.0, help="0: never")
    disk = verbs.add_parser("disk", help="pause the runner while a disk is full")
    disk.add_argument("--path", action="append", default=[])
    disk.add_argument("--space", type=float, default=0.0, help="per cent that must be free")
    disk.add_argument("--inodes", type=float, default=0.0, help="per cent that must be free")
    disk.add_argument("--metrics", default="", help="a file for a textfile collector")
    disk.add_argument(
        "--isolated", action="append", default=[], metavar="NAME", help="pause this runner as well"
    )
    asked = parser.parse_args()
    if asked.verb == "disk":
        places = [place(name) for name in ("", *asked.isolated)]
        for one in places:
            said = watch_disk(one.folder, one.unit, asked.path, asked.space, asked.inodes)
            if said:
                sys.stdout.write(f"{one.service}: {said}\n")
        if asked.metrics:
            write_metrics(asked.metrics, {one.folder: one.unit for one in places})
        return 0
    return clean_all(asked)


def clean_all(asked: argparse.Namespace) -> int:
    """Removes what is old; says what cannot be removed, and returns 1 then."""
    now = time.time()
    failures: list[Failure] = []
    for kind, folders, days, remove in (
        ("checkouts", asked.builds, asked.builds_days, clean_builds),
        ("cached files", asked.cache, asked.cache_days, clean_files),
        ("temporary files", asked.temporary, asked.temporary_days, clean_temporary),
    ):
        for folder in folders:
            exists = days > 0 and os.path.isdir(folder)
            removed = remove(folder, days, now, failures) if exists else []
            if removed:
                told = f"{len(removed)} {kind} that were unused for {days:g} days"
                sys.stdout.write(f"{folder}: removed {told}\n")
    for one in failures[:SHOWN]:
        sys.stderr.write(f"cannot remove {one}\n")
    if len(failures) > SHOWN:
        sys.stderr.write(f"cannot remove {len(failures) - SHOWN} more\n")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
