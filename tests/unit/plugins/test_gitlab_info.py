# SPDX-License-Identifier: GPL-3.0-or-later
"""What GitLab's API tells of a host's runners."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import Api, ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_info import (
    GitLabInfo,
    gitlab_info,
)

URL = "https://gitlab.example.com"
RUNNERS: list[dict[str, Any]] = [
    {"name": "build", "url": f"{URL}/", "id": 7},
    {"name": "elsewhere", "url": "https://other.example.com", "id": 8},
    {"name": "no id", "url": URL},
    {"name": "gone", "url": URL, "id": 9},
]


class GitLab:
    """A GitLab with one paused runner, which two hosts use."""

    url = URL

    def __init__(self, version: str | ApiProblem) -> None:
        self._version = version

    def version(self) -> str:
        if isinstance(self._version, ApiProblem):
            raise self._version
        return self._version

    def get(self, runner: int) -> dict[str, Any] | None:
        assert runner != 8, "a runner of another GitLab"
        return {"paused": True} if runner == 7 else None

    def managers(self, runner: int) -> list[dict[str, Any]]:
        return [
            {"system_id": "s_2", "contacted_at": "2020-01-01"},
            {"system_id": "s_1", "contacted_at": "2026-01-01"},
        ]


def told(version: str | ApiProblem, ours: str = "18.5.0") -> GitLabInfo:
    return gitlab_info(cast(Api, GitLab(version)), RUNNERS, "s_1", ours)


def test_pause_and_last_contact_of_this_host_are_told() -> None:
    info = told("18.5.1")
    assert info.by_runner == {"build": ["PAUSED in GitLab", "last contact 2026-01-01"]}
    assert info.warnings == ["build is paused in GitLab: it gets no job"]


@pytest.mark.parametrize(
    ("theirs", "hint"),
    [
        ("18.6.0", "the runner is 18.5.0, GitLab is 18.6.0: make upgrade"),
        ("17.11.2", "GitLab's docs ask for the same minor version"),
    ],
)
def test_another_minor_version_is_warned_of(theirs: str, hint: str) -> None:
    assert told(theirs).warnings[0].endswith(hint)


def test_a_version_that_may_not_be_asked_is_no_warning() -> None:
    assert len(told(ApiProblem("forbidden", 403)).warnings) == 1


def test_no_answer_is_a_warning() -> None:
    info = told(ApiProblem("no answer"))
    assert info.warnings == ["GitLab's API: no answer"]
    assert info.by_runner == {}
