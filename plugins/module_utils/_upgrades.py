# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of an upgrade to the next release, judged from the facts of a host.

Pure: what `upgrade_info` found and what the inventory wants go in, words come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_sources,
    _pythons,
    _runner_processes,
)

# How many names a line shows.
SHOWN = 8
# The order in which obstacles are told.
KINDS = (
    "dpkg",
    "lists",
    "conflict",
    "held",
    "updates",
    "restart",
    "space",
    "pythons",
    "runner",
    "services",
)


@dataclass(frozen=True)
class Obstacle:
    """One thing that stands in the way.

    Attributes:
        kind: one of `KINDS`; `runner_host_prepare_upgrade_accept` names it.
        what: what was found.
        why: what it does to the upgrade.
        remedy: what to do about it.
        cured: whether ``runner_host_prepare_upgrade_apply`` does so.
    """

    kind: str
    what: str
    why: str
    remedy: str
    cured: bool = False

    def line(self) -> str:
        """All of it in one line."""
        return f"{self.kind}: {self.what}. {self.why}. Remedy: {self.remedy}"


@dataclass(frozen=True)
class Goal:
    """Where a host is to go.

    Attributes:
        release: the host's own, ``jammy``.
        target: the next one, ``noble``.
        system: the host's own Python, ``3.10``.
        python: the target's own, ``3.12``.
        wanted: versions that the inventory wants.
        free: megabytes that must be free by folder; those on one file system add up.
    """

    release: str
    target: str
    system: str
    python: str
    wanted: tuple[str, ...]
    free: Mapping[str, int]


def next_release(release: str) -> str:
    """The LTS after a release; empty if none is known."""
    known = _apt_sources.RELEASES
    later = known[known.index(release) + 1 :] if release in known else ()
    return later[0] if later else ""


def conflicts(facts: Mapping[str, Any], goal: Goal) -> list[str]:
    """Installed packages of the version that the target has as its own.

    The host's own release does not have them: each is a third party's build, which may be newer
    than the target's.
    """
    if goal.python == goal.system:
        return []
    records = facts["packages"]
    # With the ones that are half installed: they are in the way as well.
    return [
        name
        for name in _pythons.family(goal.python, records)
        if records[name]["status"].split()[-1] not in ("config-files", "not-installed")
    ]


def held(facts: Mapping[str, Any], goal: Goal) -> tuple[list[str], list[str]]:
    """Packages on hold: ours, which the run after the upgrade must replace, and all others that the
    upgrade would have to."""
    names = sorted(facts["held"])
    ours = set(conflicts(facts, goal)).union(
        *(_pythons.family(version, names) for version in goal.wanted)
    )
    others = [name for name in names if name not in ours and name not in facts["foreign"]]
    return [name for name in names if name in ours], others


def obstacles(facts: Mapping[str, Any], goal: Goal) -> list[Obstacle]:
    """What was found on the host itself, in the order of `KINDS`."""
    found = []
    if facts["unfinished"]:
        found.append(
            Obstacle(
                "dpkg",
                f"dpkg has left undone: {some(facts['unfinished'])}",
                "The upgrader does not start on a host with broken packages",
                "make provision finishes it; by hand: dpkg --configure -a",
            )
        )
    if not facts["lists"]:
        found.append(
            Obstacle(
                "lists",
                "apt's lists are not there",
                "It cannot be said whose a package is, nor which updates are pending",
                "apt-get update",
            )
        )
    found += [*_conflict(facts, goal), *_held(facts, goal)]
    if facts["updates"]:
        found.append(
            Obstacle(
                "updates",
                f"{len(facts['updates'])} pending updates: {some(facts['updates'])}",
                "The upgrader refuses to start before all are installed",
                "apt-get dist-upgrade",
            )
        )
    if facts["restart"] is not None:
        of = f", for {some(facts['restart'])}" if facts["restart"] else ""
        found.append(
            Obstacle(
                "restart",
                f"the host waits for a restart{of}",
                "The upgrader refuses to start before it",
                "restart the host when no job runs",
            )
        )
    found += _space(facts["mounts"], goal.free)
    found += [
        Obstacle(
            "services",
            f"a runner that the toolkit does not manage: {one['text']}",
            "The upgrade restarts the host and would end it with its jobs",
            _runner_processes.remedy(one),
        )
        for one in _runner_processes.in_the_way(facts["other_runners"], "refuse")[0]
    ]
    return found


def _conflict(facts: Mapping[str, Any], goal: Goal) -> list[Obstacle]:
    names = conflicts(facts, goal)
    if not names:
        return []
    versions = sorted({facts["packages"][name]["version"] for name in names})
    what = f"a third party's Python {goal.python} ({', '.join(versions)}): {some(names)}"
    why = (
        f"{goal.target} has {goal.python} as its own; where the third party's build is the newer "
        "one, the upgrade removes python3-venv and python3-dev without a word (deadsnakes #297)"
    )
    along = sorted(set(facts["along"]) - set(names))
    if along:
        return [
            Obstacle(
                "conflict",
                f"{what}, and {some(along)} would go with it",
                why,
                f"remove {some(along)} yourself, or what makes it need the third party's build",
            )
        ]
    return [
        Obstacle(
            "conflict",
            what,
            why,
            f"runner_host_prepare_upgrade_apply removes them; provision after the upgrade "
            f"brings {goal.python} back if it is wanted",
            cured=True,
        )
    ]


def _held(facts: Mapping[str, Any], goal: Goal) -> list[Obstacle]:
    ours, others = held(facts, goal)
    found = []
    if ours:
        found.append(
            Obstacle(
                "held",
                f"on hold: {some(ours)}",
                "They must be replaced by the new release's build",
                "runner_host_prepare_upgrade_apply takes the hold away (it does not come "
                "back by itself)",
                cured=True,
            )
        )
    if others:
        found.append(
            Obstacle(
                "held",
                f"on hold: {some(others)}",
                "apt keeps them in the old release's version, and what depends on them too",
                f"apt-mark unhold {' '.join(others)}",
            )
        )
    return found


def _space(mounts: Sequence[Mapping[str, Any]], free: Mapping[str, int]) -> list[Obstacle]:
    """File systems with less room than all of their folders together need."""
    found = []
    devices = {mount["path"]: mount["device"] for mount in mounts}
    for device in dict.fromkeys(devices.values()):
        paths = [path for path, other in devices.items() if other == device]
        needed = sum(free[path] for path in paths)
        there = min(mount["free_mb"] for mount in mounts if mount["device"] == device)
        if there < needed:
            found.append(
                Obstacle(
                    "space",
                    f"{there} MB are free for {', '.join(paths)}",
                    f"The upgrade takes about {needed} MB there "
                    "(runner_host_prepare_upgrade_free_mb)",
                    "make room, apt-get clean and autoremove among others",
                )
            )
    return found


def notes(facts: Mapping[str, Any], goal: Goal) -> list[str]:
    """What is worth knowing beforehand, and does not stand in the way."""
    found = []
    ours = [source for source in facts["sources"] if source["ours"]]
    theirs = [source for source in facts["sources"] if not source["ours"]]
    if ours:
        found.append(
            f"the upgrader disables {some(_files(ours))}; provision writes them anew for "
            f"{goal.target}"
        )
    found += [
        f"the upgrader disables {source['file']} ({source['url']} {source['suite']}), which is not "
        "the toolkit's: enable it by hand where it is still wanted"
        for source in theirs
    ]
    mine = {
        name
        for version in (*goal.wanted, goal.python)
        for name in _pythons.family(version, facts["foreign"])
    }
    by_origin: dict[str, list[str]] = {}
    for name, origin in facts["foreign"].items():
        if name not in mine and not name.startswith("gitlab-runner"):
            by_origin.setdefault(origin, []).append(name)
    for origin, names in sorted(by_origin.items()):
        whose = f"from {origin}" if origin else "from no source that the host has"
        found.append(f"{some(sorted(names))} {whose}: they stay in the old release's build")
    if goal.system != goal.python:
        comes = (
            "provision brings it back from the Pythons' repository"
            if goal.system in goal.wanted
            else "it does not come back: add it to python_versions_wanted where jobs need it"
        )
        found.append(f"the upgrader removes {goal.system}, {goal.release}'s own Python; {comes}")
    found += _venvs(facts["venvs"], goal)
    if not facts["venvs_complete"]:
        found.append("there are too many virtual environments: not all of them were checked")
    found += [f"waits for a restart: {unit}" for unit in facts["pending"]]
    return found


def _venvs(venvs: Sequence[Mapping[str, Any]], goal: Goal) -> list[str]:
    """What becomes of virtual environments, and which are dead already."""
    own = f"/usr/bin/python{goal.system}"
    going = [str(venv["path"]) for venv in venvs if venv["interpreter"] == own]
    dead = [str(venv["path"]) for venv in venvs if venv["interpreter"] != own]
    found = []
    if going and goal.system != goal.python:
        lives = (
            f"those made by python{goal.system} live again after provision"
            if goal.system in goal.wanted
            else f"those made by python{goal.system} stay dead"
        )
        found.append(
            f"virtual environments of {goal.release}'s own Python: {some(going)}; {lives}, those "
            f"made by python3 have {goal.python} then, without their packages"
        )
    if dead:
        found.append(f"virtual environments that are dead already: {some(dead)}")
    return found


def _files(sources: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(source["file"]) for source in sources))


def some(names: Iterable[str]) -> str:
    """The first few of a list of names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more


def is_in_service(unit: Mapping[str, str]) -> bool:
    """True if a service runs, or would after a boot."""
    return unit.get("UnitFileState") == "enabled" or unit.get("ActiveState") not in (
        None,
        "inactive",
        "failed",
    )
