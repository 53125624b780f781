# SPDX-License-Identifier: Apache-2.0
"""What differs from the inventory on a host: one shape, from whichever check has found it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

TESTS, GITLAB, CONNECTION = "tests/host", "gitlab", "connection"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as the inventory has it.

    Attributes:
        what: what should be so, in words.
        expected: the wanted value or relation; empty where `what` says all of it.
        found: what is there instead.
        where: the test that says so, or the service.
        source: ``tests/host``, ``gitlab`` or ``connection``.
    """

    what: str
    expected: str
    found: str
    where: str
    source: str

    def __str__(self) -> str:
        parts = [f"expected {self.expected}" if self.expected else "", f"found {self.found}"]
        return f"{self.what}: {', '.join(part for part in parts if part)} ({self.where})"


def from_tests(result: Mapping[str, Any]) -> list[Difference]:
    """The failures that `host_tests` returned; one for all if it ended without telling which."""
    found = [Difference(**one, source=TESTS) for one in result.get("failures", [])]
    if result.get("failed") and not found:
        said = str(result.get("summary") or result.get("msg") or "no answer")
        found = [Difference("the tests of the host run", "", said, TESTS, TESTS)]
    return found


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
        hosts: host -> what was found on it (``differences`` and ``notes``), or None for one that
            could not be looked at.
        at: when, ISO 8601.
    """
    silent = Difference("the host can be looked at", "", "no answer", "ssh", CONNECTION)
    return {
        "at": at,
        "hosts": {
            name: {"differences": [asdict(silent)], "notes": []}
            if found is None
            else {"differences": found["differences"], "notes": found["notes"]}
            for name, found in sorted(hosts.items())
        },
    }
