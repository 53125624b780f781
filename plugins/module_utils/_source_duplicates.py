# SPDX-License-Identifier: GPL-3.0-or-later
"""Other apt sources of a repository that the toolkit writes: disabled, removed, and taken back.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import replace

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_sources,
    _files,
    _system,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._file_items import Item


def source_files(folder: str = "/etc/apt") -> list[str]:
    """apt's source files, without the toolkit's own."""
    paths = [f"{folder}/sources.list", *sorted(glob.glob(f"{folder}/sources.list.d/*"))]
    return [
        path
        for path in paths
        if path.endswith((".list", ".sources"))
        and not os.path.basename(path).startswith("runnerhost-")
        and os.path.isfile(path)
    ]


def third_parties(items: Iterable[Item]) -> frozenset[tuple[str, str]]:
    """Whose entries a mirror of the distribution leaves alone; apt is asked only where it matters.

    Asked before anything is written: apt says nothing once it reads one repository with two keys.
    """
    releases = {release for item in items for release in item.releases}
    duplicates = _apt_sources.Duplicates(releases=tuple(releases))
    for path in _apt_sources.DISTRIBUTION_FILES if releases else ():
        if (
            path in source_files()
            and _apt_sources.cutter(path)(_files.read_exact(path), duplicates)[1]
        ):
            return _apt_sources.third_parties()
    return frozenset()


def remove_duplicates(
    item: Item, check: bool, theirs: frozenset[tuple[str, str]] = frozenset()
) -> tuple[list[str], list[str]]:
    """Other source files that name the repository: their entries disabled, empty files removed.

    For a mirror of the distribution no file is removed: all come back when it goes. Entries of
    ``theirs`` do not count as the distribution's.

    Returns both kinds of files, and those that are removed.
    """
    touched = []
    removed = []
    releases = tuple(item.releases)
    note = _apt_sources.NOTE_DISTRIBUTION if releases else _apt_sources.NOTE
    suites = _apt_sources.of_any_release(item.suites)
    wanted = _apt_sources.Duplicates(tuple(item.uris), tuple(suites), note=note)
    own = replace(wanted, releases=releases, theirs=theirs)
    for path in source_files():
        text = _files.read_exact(path)
        distributions = path in _apt_sources.DISTRIBUTION_FILES
        without, found = _apt_sources.cutter(path)(text, own if distributions else wanted)
        if not found:
            continue
        touched.append(path)
        # What the distribution's mirror has disabled is put back when it goes.
        stays = (
            distributions
            or _apt_sources.NOTE_DISTRIBUTION in without
            or _apt_sources.has_entries(without, path.endswith(".sources"))
        )
        if not stays:
            removed.append(path)
        if check:
            continue
        if stays:
            _rewrite(path, without)
        else:
            os.unlink(path)
    return touched, removed


def restore_distribution(check: bool) -> list[str]:
    """The source files with what a mirror of the distribution replaced enabled again."""
    touched = []
    for path in source_files():
        text = _files.read_exact(path)
        restored = _apt_sources.with_distribution(text, _system.release())
        if restored != text:
            touched.append(path)
            if not check:
                _rewrite(path, restored)
    return touched


def _rewrite(path: str, text: str) -> None:
    """A file's text replaced, with its owner and mode as they are."""
    info = os.stat(path)
    _files.write_atomic(path, text, info.st_mode & 0o7777, info.st_uid, info.st_gid)
