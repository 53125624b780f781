# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what ``apt-get -s`` and ``apt-get update`` say (apt's own words, in the C locale).

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

_STEP = re.compile(
    r"^(?P<what>Inst|Remv|Purg) (?P<name>\S+)(?: \[(?P<old>[^]]*)\])?(?: \((?P<new>\S+))?", re.M
)
_URI = re.compile(r"\b[a-z][a-z0-9+.-]*:/[^\s'\"\[\]]+")
# apt finds no package, no version of it, or none that it may take.
_UNKNOWN = re.compile(
    r"^E: (?:Unable to locate package (?P<located>\S+)"
    r"|Couldn't find any package by (?:glob|regex) '(?P<pattern>[^']+)'"
    r"|Package '(?P<virtual>[^']+)' has no installation candidate"
    r"|Version '(?P<version>[^']+)' for '(?P<name>[^']+)' was not found)",
    re.M,
)
_PROVIDED = re.compile(r"^Package (\S+) is a virtual package provided by:\n((?:  \S.*\n)+)", re.M)
_UNMET = re.compile(r"^The following packages have unmet dependencies:\n((?: .*\n)+)", re.M)
_HELD = re.compile(r"^The following held packages will be changed:\n((?:  .*\n)+)", re.M)
# What keeps apt from doing anything at all (apt-pkg's sourcelist.cc, configuration and policy).
STOPS = re.compile(
    r"^E: (?:Malformed |The list of sources could not be read|Type '[^']*' is not known"
    r"|Conflicting values set|Unable to parse|Syntax error|Invalid record in the preferences"
    r"|Unsupported file|Invalid operator|The value '[^']*' is invalid for APT::Default-Release)",
    re.M,
)


def changes(output: str) -> dict[str, Any]:
    """What a simulated transaction does: versions that come, those that are replaced, what goes."""
    installs, upgrades, removes = {}, {}, []
    for step in _STEP.finditer(output):
        name = step["name"]
        if step["what"] != "Inst":
            removes.append(name)
        elif step["old"]:
            upgrades[name] = [step["old"], step["new"] or ""]
        else:
            installs[name] = step["new"] or ""
    return {"installs": installs, "upgrades": upgrades, "removes": sorted(removes)}


NOTHING: dict[str, Any] = {
    **changes(""),
    "unreadable": [],
    "pins": [],
    "unfinished": [],
    "no_room": [],
    "error": "",
}
"""The answer about a transaction of which apt says nothing."""


def unknown(output: str) -> dict[str, str]:
    """The names of which apt knows no package or no fitting version, each with what is wrong."""
    providers = {
        match[1]: [line.split()[0] for line in match[2].splitlines()]
        for match in _PROVIDED.finditer(output)
    }
    found: dict[str, str] = {}
    for match in _UNKNOWN.finditer(output):
        if match["version"]:
            name = f"{match['name']}={match['version']}"
            found[name] = "no apt source of the host offers this version"
        elif match["virtual"] and (by := providers.get(match["virtual"])):
            found[match["virtual"]] = f"it is a virtual package; name one of {', '.join(by)}"
        elif match["virtual"]:
            found[match["virtual"]] = "no apt source of the host offers a version that apt may take"
        else:
            found[match["located"] or match["pattern"]] = "no apt source of the host offers it"
    return found


def words(output: str) -> str:
    """Why a transaction cannot be: the held or unmet packages, or apt's error messages."""
    held, unmet = _HELD.search(output), _UNMET.search(output)
    if held:
        names = " ".join(held[1].split())
        return f"the host holds {names} back: apt-mark unhold {names}"
    if unmet:
        lines = [line.strip() for line in unmet[1].splitlines()]
        return "unmet dependencies: " + "; ".join(lines[:12])
    lines = [line for line in output.splitlines() if line.startswith("E: ")]
    return " ".join(dict.fromkeys(lines)) or output.strip()[-800:] or "no answer"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that a wrong one may have been meant as, or an empty text."""
    bare = re.split(r"[=:]", name)[0]
    # Fedora's names for what has another one here.
    close = difflib.get_close_matches(re.sub(r"-devel\Z", "-dev", bare), list(known), 1, 0.8)
    return close[0] if close else ""


def places(text: str, files: Mapping[str, str]) -> list[str]:
    """Where the sources stand that apt's errors name: ``FILE, line N``.

    Args:
        text: apt's errors; it shows addresses without a login.
        files: the source files' texts by path.
    """
    named = {_bare(uri.rstrip(".,:;)")) for uri in _URI.findall(text)}
    found = []
    for path, content in files.items():
        for number, line in enumerate(content.splitlines(), 1):
            if line.lstrip().startswith("#"):
                continue
            ours = [_bare(uri) for uri in _URI.findall(line)]
            if any(n == uri or n.startswith(f"{uri}/") for n in named for uri in ours):
                found.append(f"{path}, line {number}")
    return found


def _bare(uri: str) -> str:
    return re.sub(r"^[a-z0-9+.-]+:/+(?:[^/@]*@)?", "", uri).rstrip("/").lower()


def unreadable(errors: str, files: Mapping[str, str]) -> list[str]:
    """For each source that apt cannot read its file and line, and apt's words for it."""
    found: dict[str, list[str]] = {}
    rest = []
    for line in dict.fromkeys(errors.splitlines()):
        if line.startswith(("E: Some index files failed", "W: Some index files failed")):
            continue
        where = places(line, files)
        for place in where:
            found.setdefault(place, []).append(line)
        if not where and line.startswith("E: "):
            rest.append(line)
    # The errors stand for the warnings that led to them, if there are any.
    said = [f"{place}: {' '.join(_errors(lines))}" for place, lines in found.items()]
    return said or rest


def _errors(lines: list[str]) -> list[str]:
    # An expired or missing key stands in the warning, and the error after it names none.
    return [line for line in lines if line.startswith(("E: ", "W: GPG"))] or lines
