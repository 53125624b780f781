# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes checkouts, cached files and temporary files that no job has used for some days.

Runs on the hosts: standard library of Python 3.10 alone, as the job user.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

DAY = 86400.0
_SCRATCH = ".runnerhost-old-"


def working_directories() -> set[str]:
    """Working directories of this user's processes: they and their parents are in use."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                found.add(os.readlink(f"/proc/{name}/cwd"))
    return found


def in_use(path: str, directories: Iterable[str]) -> bool:
    """True if the folder or one below it is the working directory of a process."""
    return any(cwd == path or cwd.startswith(path + "/") for cwd in directories)


@dataclass(frozen=True)
class Failure:
    """A path that could not be removed, and the reason."""

    path: str
    reason: str

    def __str__(self) -> str:
        try:
            found = os.lstat(self.path)
        except OSError:
            return f"{self.path}: {self.reason}"
        return f"{self.path} (owner {owner(found.st_uid)}): {self.reason}"


def owner(uid: int) -> str:
    """The name of a user, or its number if it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def failure(path: str, error: OSError) -> Failure:
    """The reason why a path could not be removed: often, its folder belongs to another user."""
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
    """All mount points, including bind mounts (proc(5))."""
    with suppress(OSError), open(table, encoding="utf-8", errors="surrogateescape") as stream:
        return {
            re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), line.split()[4])
            for line in stream
        }
    return set()


def mounted(path: str) -> list[Failure]:
    """Mount points at a path or below it, whose files are not removed."""
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return [
        Failure(one, "something is mounted there")
        for one in sorted(mount_points())
        if one == real or one.startswith(real + "/")
    ]


def checkouts(builds: str, failures: list[Failure] | None = None) -> Iterator[str]:
    """Folders of projects below a builds folder, at any depth of groups.

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
    """Renamed folders that an earlier run could not delete; their content is not searched."""
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
    """Time of the last job, in seconds since 1970: each job fetches or clones."""
    marks = ("", "/.git", "/.git/HEAD", "/.git/index", "/.git/FETCH_HEAD")
    times = [0.0]
    for path in [*(checkout + mark for mark in marks), f"{checkout}.tmp"]:
        with suppress(OSError):
            times.append(os.lstat(path).st_mtime)
    return max(times)


def put_aside(path: str, failures: list[Failure]) -> str:
    """Renames a folder or file, so that a job that starts now creates it again.

    Returns the new path, empty after a failure. It is always the same path: if an earlier run could
    not delete it, nothing is renamed, so that there is never more than one.
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
    """Deletes a renamed path; adds to ``failures`` what cannot be deleted."""
    found = mounted(scratch)
    if found:
        failures += found
        return False

    def failed(__: object, path: str, about: tuple[type, BaseException, object]) -> None:
        error = about[1]
        with suppress(OSError):
            # An empty folder of another user can be removed but not opened.
            os.rmdir(path)
            return
        # A folder is not empty because of an earlier failure, which is reported.
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
    """Makes this user's read-only folders writable, such as those of Go's module cache."""
    with suppress(OSError):
        found = os.lstat(folder)
        if found.st_uid == os.geteuid() and found.st_mode & 0o700 != 0o700:
            os.chmod(folder, stat.S_IMODE(found.st_mode) | 0o700)
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                make_writable(entry.path)


def remove_tree(path: str, failures: list[Failure]) -> bool:
    """Renames a folder or file, then deletes it."""
    scratch = put_aside(path, failures)
    return bool(scratch) and delete(scratch, failures)


def clean_builds(builds: str, days: float, now: float, failures: list[Failure]) -> list[str]:
    """Removes checkouts that no job has used for a number of days; returns their paths."""
    busy = working_directories()
    removed = []
    for path in list(left_over(builds)):
        delete(path, failures)
    for path in list(checkouts(builds, failures)):
        if now - last_used(path) < days * DAY or in_use(path, busy):
            continue
        # Rename both first: a deletion takes minutes, in which a job may create them again.
        beside, scratch = put_aside(f"{path}.tmp", failures), put_aside(path, failures)
        if beside:
            delete(beside, failures)
        if scratch and delete(scratch, failures):
            removed.append(path)
            parent = os.path.dirname(path)
            # Remove empty groups and slots, but not the builds folder itself.
            while parent != builds and parent.startswith(builds + "/"):
                try:
                    os.rmdir(parent)
                except OSError:
                    break
                parent = os.path.dirname(parent)
    return removed


def clean_files(folder: str, days: float, now: float, failures: list[Failure]) -> list[str]:
    """Removes files that were not read or written for a number of days, and empty folders."""
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
    """Removes this user's entries in a shared folder that were not changed for a number of days."""
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
