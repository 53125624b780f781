# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the variables of the role python_versions, beyond their types."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _pythons

_PATTERN = re.compile(r"(?:lib)?python\{version\}(?:-[a-z0-9+.-]+)?\??")
_FOLDER = re.compile(r"(?:/[^/\x00-\x1f]+)+/?")
# A source file can be read by every user of the host: no password in it.
_URL = re.compile(r"https?://[^\s/@]+(?:/\S*)?")
_SUITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_ORIGIN = re.compile(r"[^,\n]+")


_HEADERS = "python{version}-dev"
_VENV = "python{version}-venv"
_FULL = "python{version}-full"


def problems(args: Mapping[str, Any], home: str = "") -> list[str]:
    """One message for each wrong value.

    Args:
        args: the arguments of python_plan, whose types are right.
        home: gitlab_runner_home, which is a place of virtual environments by default.
    """
    found = _pythons.problems("python_versions_wanted", args["wanted"])
    for pattern in args["patterns"]:
        if not _PATTERN.fullmatch(pattern):
            found.append(
                f"python_versions_packages: invalid value {pattern!r}; expected a package name "
                "with {version} in it, such as python{version}-dev, or python{version}-tk? for "
                "the versions that have one"
            )
    # Of the others, -full depends on it.
    if args["wanted"] and not {_VENV, f"{_VENV}?", _FULL} & {*args["patterns"]}:
        found.append(
            f"python_versions_packages: lacks {_VENV}, without which no virtual environment can be "
            "made; add it"
        )
    found += _places(args["venv_places"], home)
    days = args["end_of_life_warning_days"]
    if not -1 <= days <= 9999:
        found.append(
            f"python_versions_end_of_life_warning_days: invalid value {days}; expected a number of "
            "days, or -1 for no warning"
        )
    if not _URL.fullmatch(args["url"]):
        shown = repr(args["url"]) if "@" not in args["url"] else "(hidden)"
        found.append(
            f"python_versions_repository_url: invalid value {shown}; expected an http(s) address "
            "without a password"
        )
    if not _SUITE.fullmatch(args["suite"]):
        found.append(
            f"python_versions_repository_suite: invalid value {args['suite']!r}; expected a suite "
            "such as jammy"
        )
    if not _ORIGIN.fullmatch(args["origin"]):
        found.append(
            f"python_versions_repository_origin: invalid value {args['origin']!r}; expected the "
            "Origin that the repository's Release file states"
        )
    return found


def without_headers(wanted: list[str], patterns: list[str]) -> list[str]:
    """A warning if no C extension can be built for the Pythons."""
    if not wanted or {_HEADERS, f"{_HEADERS}?"} & {*patterns}:
        return []
    return [
        f"python_versions_packages: lacks {_HEADERS}, without which no C extension can be built; "
        "add it if projects have any"
    ]


def _places(places: list[str], home: str) -> Iterator[str]:
    """What is wrong with the places of virtual environments."""
    for place in places:
        if _FOLDER.fullmatch(place) and ".." not in place.split("/"):
            continue
        if place == home:
            # By default the one is the other.
            yield (
                f"gitlab_runner_home: invalid value {home!r}; expected an absolute path such as "
                "/home/gitlab-runner"
            )
        else:
            yield (
                f"python_versions_venv_places: invalid value {place!r}; expected absolute paths of "
                "folders such as /home/gitlab-runner"
            )


def suite_warnings(suite: str, release: str) -> list[str]:
    """A warning if the repository's suite is of another release of Ubuntu than the host."""
    if suite == release or suite not in _pythons.SYSTEMS or release not in _pythons.SYSTEMS:
        return []
    return [
        f"python_versions_repository_suite: {suite}, but the host is {release}: Pythons that are "
        f"built for another release may not start; set {release}, or leave the variable out"
    ]
