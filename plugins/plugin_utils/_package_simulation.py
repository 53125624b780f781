# SPDX-License-Identifier: GPL-3.0-or-later
"""What apt has simulated, judged before a host is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

RUNNER = "gitlab-runner"

Wanted = Mapping[str, list[str]]
"""The packages that each variable asks for."""


def asking(names: list[str], wanted: Wanted) -> str:
    """The variables that ask for any of the names; all of them where none does."""
    bare = {name.partition("=")[0] for name in names}
    found = [
        variable
        for variable, asked in wanted.items()
        if bare & {str(name).partition("=")[0] for name in asked}
    ]
    return ", ".join(found or wanted)


def judge(
    found: Mapping[str, Any], wanted: Wanted, expected: Mapping[str, list[str]]
) -> tuple[list[str], list[str]]:
    """Why a simulated transaction must not be made, and warnings.

    Args:
        found: what apt_candidates_info returned as ``simulated``.
        wanted: the packages that each variable asks for.
        expected: versions that a repository offers of packages that must come from it.
    """
    unreadable = unread_sources(found["unreadable"])
    if not found["error"]:
        return [
            *_other_sources(found, wanted, expected),
            *_removed_runner(found, wanted),
            *_no_room(found["no_room"]),
        ], [*unreadable, *_removed(found, wanted)]
    if found["stops"]:
        where = "; ".join(found["unreadable"])
        return [
            "apt can do nothing on this host until its configuration is corrected: "
            + (f"{where}: " if where else "")
            + found["error"]
        ], []
    if found["unfinished"] and not found["unknown"]:
        # apt judges nothing before dpkg has finished, which the run does first.
        return [], [f"the installation cannot be simulated: {found['error']}", *unreadable]
    # What apt could not read may be where it is.
    where_else = [f"apt cannot read {one}" for one in found["unreadable"]]
    return [*_not_installable(found, wanted), *where_else], []


def unread_sources(sources: list[str]) -> list[str]:
    """Warnings of sources that apt cannot read."""
    return [
        f"apt cannot read an apt source of the host, and what is wanted does not need it: {one}"
        for one in sources
    ]


def _not_installable(found: Mapping[str, Any], wanted: Wanted) -> list[str]:
    """What apt refuses."""
    pins = f" (pins of the host: {', '.join(found['pins'])})" if found["pins"] else ""
    problems = []
    for name, why in found["unknown"].items():
        close = found["nearest"].get(name, "")
        hint = f"; did you mean {close}?" if close and close != name.partition("=")[0] else ""
        if name in found["pinned"]:
            why, hint = f"a pin of the host's apt keeps it away{pins}", ""
        problems.append(f"{asking([name], wanted)}: cannot install {name!r}: {why}{hint}")
    if problems:
        return problems
    named = [n for names in wanted.values() for n in names if _is_named(n, found["error"])]
    return [f"{asking(named, wanted)}: apt cannot install this: {found['error']}{pins}"]


def _other_sources(
    found: Mapping[str, Any], wanted: Wanted, expected: Mapping[str, list[str]]
) -> list[str]:
    """Packages that apt would take from another source than the configured one."""
    problems = []
    coming = {**found["installs"], **{n: new for n, (__, new) in found["upgrades"].items()}}
    for name, versions in expected.items():
        if name in coming and coming[name] not in versions:
            pins = ", ".join(found.get("pins", [])) or "APT::Default-Release"
            problems.append(
                f"{asking([name], wanted)}: apt would install {name} {coming[name]}, which the "
                f"configured repository does not offer ({', '.join(versions)}): a setting of the "
                f"host's apt prefers another source ({pins})"
            )
    return problems


def _removed_runner(found: Mapping[str, Any], wanted: Wanted) -> list[str]:
    if RUNNER not in found["removes"]:
        return []
    return [
        f"{', '.join(wanted)}: apt would remove {RUNNER}, since a wanted package conflicts with it"
    ]


def _removed(found: Mapping[str, Any], wanted: Wanted) -> list[str]:
    names = [name for name in found["removes"] if name != RUNNER]
    return [
        f"{', '.join(wanted)}: apt removes {', '.join(names)} from the host, with which a wanted "
        "package conflicts"
    ] * bool(names)


def _no_room(lacking: list[Mapping[str, Any]]) -> list[str]:
    return [
        f"the disk of {one['path']} has {_size(one['has'])} free, "
        + (
            f"and the packages to be installed need {_size(one['needs'])} there: make room"
            if one["needs"]
            else "too little for apt's lists: make room"
        )
        for one in lacking
    ]


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _is_named(name: str, text: str) -> bool:
    bare = re.escape(name.partition("=")[0])
    return bool(re.search(rf"(?<![\w.+-]){bare}(?![\w.+-])", text))


def further(found: Mapping[str, Any], todo: list[str]) -> list[str]:
    """What a transaction changes besides the packages that it was asked for."""
    # A runner that is upgraded has a task of its own.
    named = {RUNNER, f"{RUNNER}-helper-images", *(name.partition("=")[0] for name in todo)}
    more = sorted(set(found.get("installs", {})) - named)
    return [
        *(f"- {name} (removed by apt: it conflicts)" for name in found.get("removes", [])),
        *(
            f"+ {name} {old} -> {new}"
            for name, (old, new) in sorted(found.get("upgrades", {}).items())
            if name not in named
        ),
        *([f"+ {len(more)} packages that these need: {', '.join(more)}"] if more else []),
    ]
