# SPDX-License-Identifier: GPL-3.0-or-later
"""Isolated runners: what an entry may say, and what lies on the host for it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _instances
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _isolated,
    _job_user,
    _service_files,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import one_service

HOST: dict[str, Any] = {
    "runners": [],
    "user": "gitlab-runner",
    "home": "/home/gitlab-runner",
    "settings": {"listen_address": "127.0.0.1:9252"},
    "hide_processes": True,
    "user_manager": False,
}
PUBLISH: dict[str, Any] = {"name": "publish", "runners": []}


def problems(*entries: Any, **more: Any) -> list[str]:
    return _isolated.problems({**HOST, "isolated": list(entries), **more})


def test_places() -> None:
    main, publish = _instances.place(), _instances.place("publish")
    assert (main.unit, main.folder) == ("gitlab-runner.service", "/etc/gitlab-runner")
    assert main.resume == "runnerhost-resume"
    assert publish.unit == "gitlab-runner-publish.service"
    assert publish.folder == "/etc/gitlab-runner-publish"
    for one in (main, publish):
        assert _instances.resume_of(one.unit) == one.resume


def test_defaults() -> None:
    assert _isolated.whole(PUBLISH) == {
        "name": "publish",
        "runners": [],
        "user": "gitlab-runner-publish",
        "home": "/home/gitlab-runner-publish",
        "concurrent": 1,
        "settings": {},
        "environment": {},
        **_job_user.DEFAULTS,
    }
    assert _isolated.whole({**PUBLISH, "user": "pub"})["home"] == "/home/pub"


def test_good_entries_have_no_problem() -> None:
    assert problems(PUBLISH, {"name": "docs", "runners": [], "concurrent": 2}) == []
    assert _isolated.problems({**HOST, "isolated": []}) == []


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (["publish"], "invalid value of type string; expected a mapping: name, runners"),
        ([{"runners": []}], "isolated[0].name: invalid value None"),
        ([{**PUBLISH, "name": "Publish"}], "name: invalid value 'Publish'"),
        ([{**PUBLISH, "name": "helper-images"}], "name: invalid value 'helper-images'"),
        ([{**PUBLISH, "name": "a" * 17}], "expected up to 16 lower case letters"),
        ([{**PUBLISH, "tokens": []}], "unknown key 'tokens'"),
        ([{**PUBLISH, "concurrent": 0}], "concurrent: invalid value 0"),
        ([{**PUBLISH, "concurrent": True}], "concurrent: invalid value True"),
        ([{**PUBLISH, "environment": {"PATH": "/x"}}], "environment"),
        ([{**PUBLISH, "settings": {"concurent": 1}}], "settings"),
        ([PUBLISH, PUBLISH], "two services of the host have the name 'publish'"),
        ([{**PUBLISH, "user": "gitlab-runner"}], "have the user 'gitlab-runner'"),
        ([{**PUBLISH, "home": "/home/gitlab-runner"}], "have the home '/home/gitlab-runner'"),
        (
            [{**PUBLISH, "settings": {"listen_address": "127.0.0.1:9252"}}],
            "listen on one address: 127.0.0.1:9252 and 127.0.0.1:9252",
        ),
        (
            [{**PUBLISH, "settings": {"listen_address": ":9252"}}],
            "listen on one address: 127.0.0.1:9252 and :9252",
        ),
        ([{**PUBLISH, "home": "/home/gitlab-runner/publish"}], "lies in /home/gitlab-runner"),
        (
            [
                {**PUBLISH, "runners": [{"name": "a", "builds_dir": "/srv/builds/a"}]},
                {"name": "docs", "runners": [{"name": "b", "cache_dir": "/srv/builds"}]},
            ],
            "/srv/builds/a (publish) lies in /srv/builds (docs)",
        ),
        (
            [
                {**PUBLISH, "runners": [{"name": "a", "gitlab": {"id": 7}}]},
                {"name": "docs", "runners": [{"name": "b", "gitlab": {"id": 7}}]},
            ],
            "two runners of the host have the gitlab.id 7",
        ),
        ([{**PUBLISH, "state": "gone"}], "state: invalid value 'gone'"),
        ([{**PUBLISH, "user": "root"}], "user: invalid value 'root'"),
        ([{**PUBLISH, "user": "a b"}], "user: invalid value 'a b'"),
        ([{**PUBLISH, "home": "var"}], "home: invalid value 'var'"),
        ([{**PUBLISH, "home": "/var/../x"}], "home: invalid value '/var/../x'"),
    ],
)
def test_refused(entries: list[Any], said: str) -> None:
    found = problems(*entries)
    assert any(said in line for line in found), found
    assert all(line.startswith("gitlab_runner_isolated") for line in found)


def test_folders_beside_each_other_are_no_problem() -> None:
    runners = [{"name": "a", "builds_dir": "/srv/builds-a"}, {"name": "b", "builds_dir": "/srv/b"}]
    assert problems({**PUBLISH, "runners": runners}) == []
    # Runners of one service share its user.
    same = [{"name": "a", "builds_dir": "/srv/b"}, {"name": "b", "builds_dir": "/srv/b/c"}]
    assert problems({**PUBLISH, "runners": same}) == []


def test_an_absent_entry_takes_a_name_alone() -> None:
    assert problems({"name": "publish", "state": "absent"}) == []
    assert problems({"name": "old", "state": "absent", "user": "root"}) == []


def test_names_of_drop_ins() -> None:
    paths = [
        "/etc/systemd/system/gitlab-runner-publish.service.d/zz-runnerhost.conf",
        "/etc/systemd/system/gitlab-runner-a-b.service.d/zz-runnerhost.conf",
        "/etc/systemd/system/gitlab-runner.service.d/zz-runnerhost.conf",
    ]
    assert _instances.names_of(paths) == ["publish", "a-b"]


def test_a_mapping_is_no_list() -> None:
    (said,) = _isolated.problems({**HOST, "isolated": {"name": "publish"}})
    assert "invalid value of type mapping; expected a list of mappings" in said


@pytest.mark.parametrize("more", [{"hide_processes": False}, {"user_manager": True}])
def test_what_would_undo_the_isolation_is_refused(more: dict[str, bool]) -> None:
    (said,) = problems(PUBLISH, **more)
    (name,) = more
    assert f"gitlab_runner_{name} got" in said
    assert _isolated.problems({**HOST, "isolated": [], **more}) == []


def test_files_are_private_and_show_no_environment() -> None:
    service = one_service({**HOST, "isolated": [PUBLISH]}, "publish")
    environment = "https_proxy=http://me:secret@proxy"
    choices = _service_files.HostChoices(secret=True)
    items = _service_files.written(service, "g1", environment, choices)
    found = {file["path"]: file for file in items}
    assert found["/home/gitlab-runner-publish"]["mode"] == "0700"
    assert found["/etc/gitlab-runner-publish"]["mode"] == "0700"
    env_file = found["/etc/gitlab-runner-publish/env-file"]
    assert (env_file["mode"], env_file["secret"]) == ("0600", True)
    assert "secret" not in str([file for file in found.values() if file is not env_file])


def test_a_cache_of_pip_in_anothers_home() -> None:
    found = problems(PUBLISH, pip_cache_dir="/home/gitlab-runner-publish/pip")
    (said,) = (one for one in found if "lies in" in one)
    assert "/home/gitlab-runner-publish/pip (gitlab_runner_runners) lies in" in said
