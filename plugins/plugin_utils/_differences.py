# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs from the inventory on a host: one shape, from whichever check has found it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TESTS, GITLAB, FILES = "tests/host", "gitlab", "files"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as the inventory has it.

    Attributes:
        what: what should be so, in words.
        expected: the wanted value or relation; empty where `what` says all of it.
        found: what is there instead; likewise.
        where: the test that says so, or the service.
        source: ``tests/host``, ``gitlab`` or ``files``.
    """

    what: str
    expected: str
    found: str
    where: str
    source: str

    def __str__(self) -> str:
        parts = [f"{k} {v}" for k, v in (("expected", self.expected), ("found", self.found)) if v]
        return f"{self.what}: {', '.join(parts)}" if parts else self.what


def from_tests(result: Mapping[str, Any]) -> list[Difference]:
    """The failures that `host_tests` returned."""
    return [Difference(**one, source=TESTS) for one in result.get("failures", [])]


def from_files(result: Mapping[str, Any]) -> list[Difference]:
    """The files whose content is not the inventory's, from `host_tests`."""
    return [Difference(**one, source=FILES) for one in result.get("differences", [])]


def from_gitlab(results: Iterable[Mapping[str, Any]]) -> list[Difference]:
    """What `runner_registration` found wrong, a service of the host each."""
    found = []
    for result in results:
        unit = str(result.get("unit") or "gitlab-runner.service")
        problems = result.get("problems", [])
        found += [
            Difference(f"runner {one['runner']}", "valid in GitLab", one["said"], unit, GITLAB)
            for one in problems
        ]
        if result.get("failed") and not problems:
            said = str(result.get("msg") or "no answer")
            found.append(Difference("GitLab can be asked", "", said, unit, GITLAB))
    return found


def report(hosts: Mapping[str, Any], at: str) -> dict[str, Any]:
    """The report of one run.

    Args:
        hosts: host -> what the action returned for it, or None for one without an answer.
        at: when, ISO 8601.
    """
    silent = {"source": "connection", "found": "no answer", "remedy": ""}
    names = ("obstacles", "differences", "notes", "unnamed_runners")
    return {
        "at": at,
        "hosts": {
            name: {key: list((found or {}).get(key, [])) for key in names}
            if found is not None
            else {**{key: [] for key in names}, "obstacles": [silent]}
            for name, found in sorted(hosts.items())
        },
    }
