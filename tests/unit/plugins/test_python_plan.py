# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals of the role python_versions that need no host."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _python_plan,
    _python_settings,
    _variables,
)

GOOD: dict[str, Any] = {
    "wanted": ["3.9"],
    "patterns": ["python{version}", "python{version}-venv"],
    "url": "https://mirror.example.com/deadsnakes",
    "suite": "jammy",
    "components": ["main"],
    "origin": "LP-PPA-deadsnakes",
    "venv_places": ["/home/gitlab-runner", "/home/gitlab-runner-*"],
    "end_of_life_warning_days": 180,
}


def test_good() -> None:
    assert _python_settings.problems(GOOD) == []
    # It depends on -venv.
    full = {**GOOD, "patterns": ["python{version}", "python{version}-full"]}
    assert _python_settings.problems(full) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"url": "https://u:hunter2@mirror.example.com/x"}, "invalid value (hidden);"),
        ({"url": "mirror/x"}, "invalid value 'mirror/x';"),
        ({"suite": "jammy main"}, "python_versions_repository_suite"),
        ({"origin": "a,b"}, "python_versions_repository_origin"),
        ({"patterns": ["python3.9", "python{version}-venv"]}, "python_versions_packages: invalid"),
        ({"patterns": ["python{version}"]}, "python_versions_packages: lacks python{version}-venv"),
        (
            {"patterns": ["python{version}", "python{version}-full?"]},
            "python_versions_packages: lacks python{version}-venv",
        ),
        ({"venv_places": ["builds"]}, "venv_places: invalid value 'builds'"),
        ({"venv_places": ["/"]}, "venv_places: invalid value '/'"),
        (
            {"venv_places": ["/home/../etc"]},
            "venv_places: invalid value '/home/../etc'",
        ),
        (
            {"end_of_life_warning_days": -2},
            "end_of_life_warning_days: invalid value -2",
        ),
    ],
)
def test_refused(change: dict[str, Any], says: str) -> None:
    (text,) = _python_settings.problems({**GOOD, **change})
    assert says in text
    assert "hunter2" not in text


@pytest.mark.parametrize("name", ["packages", "venv_places", "repository_components"])
def test_a_text_is_no_list(name: str) -> None:
    given = {f"python_versions_{name}": "python{version}"}
    (text,), _ = _variables.problems(["python_versions"], given, lambda value: value)
    assert text.startswith(f"python_versions_{name}: invalid value ")
    assert text.endswith("; expected a list")


def test_an_unlisted_version_goes_with_all_its_parts() -> None:
    there = {"version": "3.11.9-1+jammy1", "status": "install ok installed"}
    parts = ["idle-python3.11", "libpython3.11-stdlib", "libpython3.11t64", "python3.11"]
    records = dict.fromkeys([*parts, "python3.10", "python3.111-venv"], there)
    records["python3.11-dev"] = {**there, "status": "deinstall ok config-files"}
    host = _python_plan.Host("3.10", records, records, [], [], {})
    found = _python_plan.unlisted(host, [])
    assert found["unlisted"] == ["3.11"]
    assert found["unlisted_packages"] == parts
    looked_for = [n for n in parts if any(fnmatch.fnmatchcase(n, p) for p in _python_plan.FAMILY)]
    assert looked_for == parts


def test_a_wrong_home_is_named_by_its_own_variable() -> None:
    given = {**GOOD, "venv_places": ["~/runner", "/home/gitlab-runner-*"]}
    (said,) = _python_settings.problems(given, "~/runner")
    assert said.startswith(
        "gitlab_runner_home: invalid value '~/runner'; expected an absolute path"
    )
    assert _python_settings.problems(GOOD, "/home/gitlab-runner") == []


def test_pythons_without_headers_are_warned_of() -> None:
    (said,) = _python_settings.without_headers(["3.11"], ["python{version}-venv"])
    assert said.startswith(
        "python_versions_packages: lacks python{version}-dev, without which no C"
    )
    assert _python_settings.without_headers(["3.11"], ["python{version}-dev?"]) == []
    assert _python_settings.without_headers([], []) == []
