# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: reading and writing them safely.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from typing import TypedDict

_TEMPORARY = ".runnerhost-"
# Another run may sweep what is made before it is locked.
_TRIES = 5


class FileFacts(TypedDict, total=False):
    """What is at a path; only ``kind`` if there is nothing.

    Attributes:
        kind: absent, file, directory, link or other.
        mode: as ``0644``.
    """

    kind: str
    mode: str
    uid: int
    gid: int
    mtime: float
    text: str


def file_info(path: str, want_text: bool = False) -> FileFacts:
    """Kind, mode and owner of a path, and its text if requested."""
    try:
        stats = os.lstat(path)
    except OSError:
        return {"kind": "absent"}
    kind = (
        "file"
        if stat.S_ISREG(stats.st_mode)
        else "directory"
        if stat.S_ISDIR(stats.st_mode)
        else "link"
        if stat.S_ISLNK(stats.st_mode)
        else "other"
    )
    info: FileFacts = {
        "kind": kind,
        "mode": f"{stat.S_IMODE(stats.st_mode):04o}",
        "uid": stats.st_uid,
        "gid": stats.st_gid,
        "mtime": stats.st_mtime,
    }
    if want_text and kind == "file":
        info["text"] = read_text(path)
    return info


def read_text(path: str) -> str:
    """The text of a file; bytes that are not UTF-8 are replaced."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def read_exact(path: str) -> str:
    """The text of a file, from which `write_atomic` writes the same bytes again."""
    with open(path, "rb") as stream:
        return stream.read().decode("utf-8", "surrogateescape")


def write_atomic(path: str, text: str, mode: int, uid: int = 0, gid: int = 0) -> None:
    """Writes a file completely or not at all, and never with wider permissions than asked for.

    The temporary file is in the same folder, so that the rename is atomic. It is removed after a
    failure.
    """
    folder = os.path.dirname(path) or "."
    try:
        _write(path, folder, text, mode, uid, gid)
    except OSError as error:
        if error.errno is None:
            raise
        # The error of a full disk does not name the file.
        raise OSError(error.errno, error.strerror, path) from error


def _write(path: str, folder: str, text: str, mode: int, uid: int, gid: int) -> None:
    handle, temporary = _own_temporary(folder)
    try:
        # Open, and so locked, until it has its name.
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(text.encode("utf-8", "surrogateescape"))
            stream.flush()
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
            os.rename(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _own_temporary(folder: str) -> tuple[int, str]:
    for __ in range(_TRIES):
        handle, path = tempfile.mkstemp(prefix=_TEMPORARY, dir=folder)
        if _lock_own(handle, path):
            return handle, path
    raise OSError(f"{folder}: temporary files do not stay there")


def scratch_folder(prefix: str, place: str) -> tuple[int, str]:
    """Makes a folder that `sweep_folders` leaves alone as long as this process keeps it open.

    Returns:
        An open descriptor of the folder, which holds its lock, and the path.
    """
    for __ in range(_TRIES):
        path = tempfile.mkdtemp(prefix=prefix, dir=place)
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            if _lock_own(handle, path):
                return handle, path
    raise OSError(f"{place}: temporary folders do not stay there")


def sweep_folders(prefix: str, place: str) -> None:
    """Removes the folders of `scratch_folder` that killed runs have left."""
    for name in os.listdir(place) if os.path.isdir(place) else ():
        if name.startswith(prefix):
            path = os.path.join(place, name)
            # OSError: no folder, or the run that made it is alive.
            with contextlib.suppress(OSError), _abandoned(path, os.O_DIRECTORY):
                shutil.rmtree(path, ignore_errors=True)


def remove_stale_temporaries(folder: str) -> list[str]:
    """Removes temporary files of killed runs, which may contain secrets; returns their paths.

    Those of living runs stay.
    """
    removed = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if name.startswith(_TEMPORARY) and os.path.isfile(path) and not os.path.islink(path):
            with contextlib.suppress(OSError), _abandoned(path):
                os.unlink(path)
                removed.append(path)
    return removed


def _lock_own(handle: int, path: str) -> bool:
    """Locks what was just made; false, and closed, if another run swept it before."""
    fcntl.flock(handle, fcntl.LOCK_EX)
    if os.path.exists(path):
        return True
    os.close(handle)
    return False


@contextlib.contextmanager
def _abandoned(path: str, flags: int = 0) -> Iterator[None]:
    """Holds the lock of what a killed run left; an OSError where its run is alive."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
