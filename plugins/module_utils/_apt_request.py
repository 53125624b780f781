# SPDX-License-Identifier: GPL-3.0-or-later
"""What apt_candidates_info is asked and answers, as its documentation describes it.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _apt_sources


@dataclass(frozen=True)
class Request:
    """The options of the module."""

    sources: str = ""
    path: str = ""
    packages: list[str] = field(default_factory=list)
    names: str = ""
    distribution_packages: list[str] = field(default_factory=list)
    distribution_names: list[str] = field(default_factory=list)
    distribution_sources: str = ""
    distribution_suites: list[str] = field(default_factory=list)
    distribution_restored: bool = False
    install: list[str] = field(default_factory=list)
    allow_downgrade: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    duplicates: Sequence[Mapping[str, list[str]]] = ()
    lists_age: int = 3600
    network: Mapping[str, str] = field(default_factory=dict)
    auth: str = ""
    timeout: int = 180

    def planned_duplicates(self) -> list[_apt_sources.Duplicates]:
        """Other entries for the repositories that are planned, which file_set disables."""
        return [
            _apt_sources.Duplicates(
                tuple(one["uris"]), tuple(_apt_sources.of_any_release(one["suites"]))
            )
            for one in self.duplicates
            if one["uris"]
        ]


class Answer(TypedDict, total=False):
    """RETURN of the module: ``simulated`` with ``install``, all others without."""

    error: str
    offer: dict[str, list[str]]
    origins: list[str]
    names: list[str]
    other_origins: list[str]
    missing_from_distribution: list[str]
    distribution_offer: dict[str, list[str]]
    distribution_error: str
    simulated: dict[str, Any]


def arguments() -> dict[str, Any]:
    """The module's argument spec."""
    text = {"type": "str", "default": ""}
    texts = {"type": "list", "elements": "str", "default": []}
    switch = {"type": "bool", "default": False}
    return {
        "sources": text,
        "path": text,
        "packages": texts,
        "names": text,
        "distribution_packages": texts,
        "distribution_names": texts,
        "distribution_sources": text,
        "distribution_suites": texts,
        "distribution_restored": switch,
        "install": texts,
        "allow_downgrade": switch,
        "files": {"type": "dict", "default": {}},
        "duplicates": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "uris": {"type": "list", "elements": "str", "required": True},
                "suites": texts,
            },
        },
        "lists_age": {"type": "int", "default": 3600},
        "network": {
            "type": "dict",
            "default": {},
            "options": {"conf": text, "direct": text, "authorities": text},
        },
        "auth": {**text, "no_log": True},
        "timeout": {"type": "int", "default": 180},
    }
