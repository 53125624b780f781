# SPDX-License-Identifier: GPL-3.0-or-later
"""Files: reading and writing them safely.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import os
import stat
import tempfile
from typing import TypedDict


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


def file_look(path: str, want_text: bool = False) -> FileFacts:
    """Kind, mode and owner of a path, and its text if requested."""
    try:
        info = os.lstat(path)
    except OSError:
        return {"kind": "absent"}
    kind = (
        "file"
        if stat.S_ISREG(info.st_mode)
        else "directory"
        if stat.S_ISDIR(info.st_mode)
        else "link"
        if stat.S_ISLNK(info.st_mode)
        else "other"
    )
    look: FileFacts = {
        "kind": kind,
        "mode": f"{stat.S_IMODE(info.st_mode):04o}",
        "uid": info.st_uid,
        "gid": info.st_gid,
        "mtime": info.st_mtime,
    }
    if want_text and kind == "file":
        look["text"] = read_text(path)
    return look


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
    handle, temporary = tempfile.mkstemp(prefix=".runnerhost-", dir=folder)
    try:
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


def remove_stale_temporaries(folder: str) -> list[str]:
    """Removes temporary files of killed runs, which may contain secrets; returns their paths."""
    removed = []
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            if name.startswith(".runnerhost-"):
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    os.unlink(path)
                    removed.append(path)
    return removed
