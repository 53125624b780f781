# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own sources and pins in a scratch folder, as the run that is planned leaves them.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_sources,
    _files,
    _system,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_request import Request
from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_scratch import Scratch

_MIRROR = os.path.basename(_apt_sources.DISTRIBUTION_SOURCES)


def copy_sources(asked: Request, scratch: Scratch, own: Mapping[str, str]) -> dict[str, str]:
    """The host's own sources, as the run that is planned leaves them; the texts by path."""
    distribution, planned = asked.distribution_sources, asked.files
    mirror = _apt_sources.duplicates_of(distribution)
    theirs: frozenset[tuple[str, str]] | None = None
    folder, release = own["sources_folder"], _system.release()
    known = {}
    for path, text in _apt_sources.source_texts().items():
        if path in planned:
            continue
        restored = asked.distribution_restored and not distribution
        if (distribution or restored) and os.path.basename(path) == _MIRROR:
            # As it was: apt refuses one repository with two keys.
            continue
        if restored:
            text = _apt_sources.with_distribution(text, release)
        is_own = path in _apt_sources.DISTRIBUTION_FILES
        cut = _apt_sources.cutter(path)
        here = replace(mirror, releases=tuple(asked.distribution_suites) if is_own else ())
        if here.releases and cut(text, here)[1]:
            # As file_set does when it comes to it.
            theirs = _apt_sources.third_parties() if theirs is None else theirs
            here = replace(here, theirs=theirs)
        # file_set never touches the toolkit's own.
        ours = os.path.basename(path).startswith("runnerhost-")
        for duplicates in (here, *(() if ours else asked.planned_duplicates())):
            text, __ = cut(text, duplicates)
        known[path] = text
    if distribution:
        known[_apt_sources.DISTRIBUTION_SOURCES] = distribution
    known.update({p: t for p, t in planned.items() if t and os.path.dirname(p) == folder})
    for path, text in known.items():
        inside = "./sources.list" if path == own["sources"] else os.path.basename(path)
        scratch.add(inside, text, path)
    return known


def copy_pins(planned: Mapping[str, str], scratch: Scratch, own: Mapping[str, str]) -> list[str]:
    """The host's own pins and the planned ones; returns the host's own files."""
    folder, found = own["preferences_folder"], {}
    if os.path.isfile(own["preferences"]):
        found[own["preferences"]] = _files.read_text(own["preferences"])
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = f"{folder}/{name}"
        # What apt reads of such a folder (apt_preferences(5)).
        if os.path.isfile(path) and re.fullmatch(r"[A-Za-z0-9_-]+(?:\.pref)?", name):
            found[path] = _files.read_text(path)
    theirs = [path for path, text in found.items() if text.strip() and path not in planned]
    ours = {p: t for p, t in planned.items() if t and os.path.dirname(p) == folder}
    for path, text in {**{p: found[p] for p in theirs}, **ours}.items():
        name = "preferences.d/" + os.path.basename(path)
        scratch.add("./preferences" if path == own["preferences"] else name, text, path)
    return theirs
