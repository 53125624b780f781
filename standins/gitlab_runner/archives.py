# SPDX-License-Identifier: GPL-3.0-or-later
"""Zip archives of artifacts and caches, with modes and symbolic links."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import shutil
import stat
import subprocess
import time
import zipfile

from standins.gitlab_runner.log import log


def matched_files(options: dict[str, list[str]]) -> list[str]:
    """Return the paths that an archive holds, relative to the current folder."""
    found: set[str] = set()
    base = os.getcwd()
    for pattern in options.get("path", []):
        hits: set[str] = set()
        for hit in glob.iglob(pattern, recursive=True, include_hidden=True):
            hits.add(hit)
            if os.path.isdir(hit) and not os.path.islink(hit):
                for folder, folders, files in os.walk(hit):
                    hits |= {os.path.join(folder, name) for name in (*folders, *files)}
        inside = {
            os.path.relpath(hit, base)
            for hit in hits
            if os.path.realpath(os.path.dirname(os.path.abspath(hit))).startswith(
                os.path.realpath(base)
            )
        }
        if inside:
            log.info(f"{pattern}: found {len(inside)} matching artifact files and directories")
        else:
            log.warning(
                f"{pattern}: no matching files. Ensure that the artifact path is relative "
                f"to the working directory ({base})"
            )
        found |= inside
    if "untracked" in options:
        listed = subprocess.run(
            ["git", "ls-files", "-o", "-z"], stdout=subprocess.PIPE, check=False
        ).stdout.decode(errors="surrogateescape")
        names = {name for name in listed.split("\0") if name}
        log.info(f"untracked: found {len(names)} files")
        found |= names
    for pattern in options.get("exclude", []):
        simple = pattern.replace("**/", "*")
        found = {
            name
            for name in found
            if not fnmatch.fnmatch(name, simple) and not fnmatch.fnmatch(name, pattern)
        }
    return sorted(found)


def write_zip(target: str, names: list[str]) -> None:
    """Write an archive with modes and symbolic links."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            state = os.lstat(name)
            info = zipfile.ZipInfo(name, time.localtime(state.st_mtime)[:6])
            info.external_attr = (state.st_mode & 0xFFFF) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            if stat.S_ISLNK(state.st_mode):
                archive.writestr(info, os.readlink(name))
            elif stat.S_ISDIR(state.st_mode):
                info.filename += "/"
                archive.writestr(info, b"")
            elif stat.S_ISREG(state.st_mode):
                with open(name, "rb") as file, archive.open(info, "w") as out:
                    shutil.copyfileobj(file, out)


def extract_zip(source: str) -> None:
    """Unpack an archive into the current folder, with modes and symbolic links."""
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            path = os.path.normpath(info.filename)
            if path.startswith(("/", "../")) or path == "..":
                raise ValueError(f"{info.filename} lies outside of the working directory")
            if stat.S_ISLNK(mode):
                os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                os.symlink(archive.read(info).decode(), path)
            else:
                archive.extract(info)
                if mode:
                    os.chmod(path, stat.S_IMODE(mode))
