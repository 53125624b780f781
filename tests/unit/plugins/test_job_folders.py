# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that the inventory must not give to jobs."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _job_folders
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import services
from tests.unit.plugins.test_runner_plan import GOOD


def told(folders: dict[str, str], **more: Any) -> list[str]:
    runner = {"name": "build", "token": "glrt-" + "a" * 20, **folders}
    return _job_folders.problems(services({**GOOD, "runners": [runner], **more}))


@pytest.mark.parametrize("path", ["/home", "/srv/", "/opt", "/var/lib", "/usr/local", "/"])
def test_a_folder_of_the_system_is_nobodys(path: str) -> None:
    for key in ("builds_dir", "cache_dir"):
        (said, *_) = told({key: path})
        assert said.startswith(f"gitlab_runner_runners (build).{key}: invalid value {path!r}, ")
    (said, *_) = told({}, home=path, pip_cache_dir="/srv/pip")
    assert said.startswith(f"gitlab_runner_home: invalid value {path!r}, which is the system's")
    assert said.endswith(f"such as {path.rstrip('/')}/gitlab-runner")
    isolated = [{"name": "p", "home": path, "runners": []}]
    (said, *_) = told({}, isolated=isolated)
    assert said.startswith("gitlab_runner_isolated (p).home: ")


@pytest.mark.parametrize(
    ("folders", "label"),
    [
        ({"builds_dir": "/data", "cache_dir": "/data/"}, "cache_dir"),
        ({"builds_dir": "/data/builds", "cache_dir": "/data"}, "cache_dir"),
        ({"cache_dir": "/home/gitlab-runner"}, "cache_dir"),
    ],
)
def test_a_cache_holds_nothing_that_stays(folders: dict[str, str], label: str) -> None:
    (said, *_) = told(folders)
    assert said.startswith(f"gitlab_runner_runners (build).{label}: invalid value ")
    assert "old files of a cache are removed (gitlab_runner_cache_max_age_days)" in said


def test_pips_cache_is_not_the_home() -> None:
    (said,) = told({}, pip_cache_dir="/home/gitlab-runner")
    assert said.startswith("gitlab_runner_pip_cache_dir: invalid value '/home/gitlab-runner', in")


@pytest.mark.parametrize(
    "folders",
    [
        {},
        {"builds_dir": "/data/builds", "cache_dir": "/data/cache"},
        {"builds_dir": "/data", "cache_dir": "/data/cache"},
        {"builds_dir": "/srv/gitlab-runner", "cache_dir": "/srv/gitlab-runner-cache"},
    ],
)
def test_folders_of_their_own(folders: dict[str, str]) -> None:
    assert told(folders) == []
