"""Refusals of the role python_versions that need no host."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.action import python_plan

GOOD: dict[str, Any] = {
    "wanted": ["3.9"],
    "patterns": ["python{version}"],
    "url": "https://mirror.example.com/deadsnakes",
    "suite": "jammy",
    "components": ["main"],
    "origin": "LP-PPA-deadsnakes",
    "venv_places": ["/home/gitlab-runner", "/home/gitlab-runner-*"],
    "end_of_life_warning_days": 180,
}


def test_good() -> None:
    assert python_plan._problems(GOOD) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"url": "https://u:hunter2@mirror.example.com/x"}, "got (hidden)"),
        ({"url": "mirror/x"}, "got 'mirror/x'"),
        ({"suite": "jammy main"}, "python_versions_repository_suite"),
        ({"origin": "a,b"}, "python_versions_repository_origin"),
        ({"patterns": ["python3.9"]}, "python_versions_packages"),
        (
            {"patterns": "python{version}"},
            "python_versions_packages: invalid value of type string; expected a list",
        ),
        ({"venv_places": ["builds"]}, "python_versions_venv_places got 'builds'"),
        ({"venv_places": ["/"]}, "python_versions_venv_places got '/'"),
        ({"venv_places": ["/home/../etc"]}, "python_versions_venv_places got '/home/../etc'"),
        (
            {"venv_places": "/home"},
            "python_versions_venv_places: invalid value of type string; expected a list",
        ),
        ({"end_of_life_warning_days": -2}, "python_versions_end_of_life_warning_days got -2"),
        (
            {"components": "main"},
            "python_versions_repository_components: invalid value of type string",
        ),
    ],
)
def test_refused(change: dict[str, Any], says: str) -> None:
    (text,) = python_plan._problems({**GOOD, **change})
    assert says in text
    assert "hunter2" not in text


def test_an_unlisted_version_goes_with_all_its_parts() -> None:
    there = {"version": "3.11.9-1+jammy1", "status": "install ok installed"}
    parts = ["idle-python3.11", "libpython3.11-stdlib", "libpython3.11t64", "python3.11"]
    records = dict.fromkeys([*parts, "python3.10", "python3.111-venv"], there)
    records["python3.11-dev"] = {**there, "status": "deinstall ok config-files"}
    found = python_plan._unlisted(records, [], "3.10")
    assert found["unlisted"] == ["3.11"]
    assert found["unlisted_packages"] == parts
    looked_for = [n for n in parts if any(fnmatch.fnmatchcase(n, p) for p in python_plan.FAMILY)]
    assert looked_for == parts


def test_a_wrong_home_is_named_by_its_own_variable() -> None:
    given = {**GOOD, "venv_places": ["~/runner", "/home/gitlab-runner-*"]}
    (said,) = python_plan._problems(given, "~/runner")
    assert said.startswith(
        "gitlab_runner_home: invalid value '~/runner'; expected an absolute path"
    )
    assert python_plan._problems(GOOD, "/home/gitlab-runner") == []
