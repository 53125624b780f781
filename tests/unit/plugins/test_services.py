# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner services of a host as one list."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import (
    one_service,
    services,
)

SECRET = "glrt-" + "s" * 20
VARIABLES: dict[str, Any] = {
    "runners": [
        {"name": "build", "token": SECRET, "builds_dir": "/srv/b"},
        {"name": "old", "state": "absent", "cache_dir": "/srv/old"},
    ],
    "isolated": [
        {
            "name": "publish",
            "runners": [{"name": "pypi", "gitlab": {"runner_type": "instance_type"}}],
            "environment": {"https_proxy": "http://me:hunter2@proxy"},
        },
        {"name": "docs", "state": "absent"},
    ],
    "user": "ci",
    "home": "/srv/ci",
    "pip_cache_dir": "/srv/pip",
    "umask": "0027",
    "concurrent": 4,
    "settings": {"log_level": "debug"},
    "environment": {"A": "1"},
    "groups": ["docker"],
}


def test_the_packages_own_service_comes_first_and_those_that_leave_are_left_out() -> None:
    main, publish = services(VARIABLES)
    assert (main.name, main.isolated, main.unit) == ("", False, "gitlab-runner.service")
    assert (publish.name, publish.isolated, publish.unit) == (
        "publish",
        True,
        "gitlab-runner-publish.service",
    )
    assert main.drop_in == "/etc/systemd/system/gitlab-runner.service.d/zz-runnerhost.conf"
    assert (publish.user, publish.home) == ("gitlab-runner-publish", "/home/gitlab-runner-publish")
    assert (publish.umask, publish.concurrent) == ("0077", 1)
    assert (main.groups, publish.groups) == (("docker",), ())


def test_folders_of_jobs() -> None:
    main, publish = services(VARIABLES)
    assert main.builds == ["/srv/ci/builds", "/srv/b"]
    assert main.cache == ["/srv/ci/cache", "/srv/pip"]
    assert publish.cache == [f"{publish.home}/cache", f"{publish.home}/.cache/pip"]


def test_the_variables_may_be_left_out() -> None:
    (main,) = services({"runners": [], "concurrent": 3})
    assert (main.user, main.home, main.concurrent) == ("gitlab-runner", "/home/gitlab-runner", 3)
    # `gitlab_runner_isolated:` with nothing after the colon.
    assert len(services({"runners": [], "isolated": None})) == 1


def test_settings_are_named_as_the_inventory_does() -> None:
    main, publish = services(VARIABLES)
    assert main.variable("runners") == "gitlab_runner_runners"
    assert main.variable("groups") == "gitlab_runner_user_groups"
    assert publish.variable("groups") == "gitlab_runner_isolated (publish).groups"


def test_a_created_runner_of_an_isolated_service_takes_protected_refs_alone() -> None:
    runners = [
        {"name": "a", "gitlab": {"runner_type": "instance_type"}},
        {"name": "b", "gitlab": {"runner_type": "instance_type", "access_level": "not_protected"}},
        {"name": "c", "token": "glrt-x", "gitlab": {"description": "mine"}},
        # It may be other hosts' as well.
        {"name": "d", "gitlab": {"id": 7}},
    ]
    (_, publish) = services({"runners": runners, "isolated": [{"name": "x", "runners": runners}]})
    assert publish.runners[0]["gitlab"]["access_level"] == "ref_protected"
    assert list(publish.runners[1:]) == runners[1:]
    assert "access_level" not in runners[0]["gitlab"]


def test_a_service_that_leaves_is_none_of_them() -> None:
    with pytest.raises(KeyError):
        one_service(VARIABLES, "docs")


def test_what_tasks_see_and_what_a_traceback_shows_holds_no_secret() -> None:
    for service in services(VARIABLES):
        for text in (str(service.public()), repr(service)):
            assert SECRET not in text
            assert "hunter2" not in text
