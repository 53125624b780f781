# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and types of config.toml."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _gitlab_api,
    _runner_validation,
)

WHERE = "gitlab_runner_runners[0]"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"env": {"A": "b"}}, "use environment"),
        ({"pre_clone_script": "x"}, "pre_get_sources_script"),
        ({"tls_ca_file": "/x"}, "tls-ca-file"),
        ({"build_dir": "/x"}, "did you mean 'builds_dir'?"),
        ({"Limit": 1}, "did you mean 'limit'?"),
        ({"tag_list": ["a"]}, "give it under gitlab"),
        ({"limit": "4"}, "whole number"),
        ({"limit": -1}, "whole number"),
        ({"limit": True}, "whole number"),
        ({"environment": {"A": "b"}}, "list of strings"),
        ({"environment": ["A=b", 3]}, "list of strings"),
        ({"executor": "shel"}, "one of shell"),
        ({"shell": "zsh"}, "one of bash"),
        ({"unhealthy_interval": "60"}, "duration"),
        ({"feature_flags": {"FF_X": "true"}}, "true or false"),
        ({"cache": "local"}, "invalid value of type string; expected a mapping of Type"),
        ({"cache": {"Type": "S3"}}, "expected one of s3, gcs, azure"),
        ({"clone_url": "git@gitlab.example.com:"}, "expected an address such as https://"),
        ({"cache": {"type": "s3"}}, "did you mean 'Type'?"),
        ({"cache": {"s3": {"BuketName": "b"}}}, "did you mean 'BucketName'?"),
        (
            {"cache": {"s3": {"ServerAddress": "https://s3.example.com"}}},
            "expected HOST or HOST:PORT, without https://",
        ),
        ({"name": "a\nb"}, "line break"),
        ({"builds_dir": "/a\x07"}, "control characters"),
    ],
)
def test_refused(entry: dict[str, Any], says: str) -> None:
    found = _runner_validation.runner_problems(WHERE, entry)
    assert found
    assert found[0].startswith(WHERE)
    assert says in found[0]


def test_a_secret_of_the_wrong_type_is_not_shown() -> None:
    for entry in (
        {"cache": {"s3": {"SecretKey": ["hunter2"]}}},
        {"environment": {"DB_PASSWORD": "hunter2"}},
        {"environment": "DB_PASSWORD=hunter2"},
        {"pre_build_script": ["login hunter2"]},
    ):
        found = _runner_validation.runner_problems(WHERE, entry)
        assert len(found) == 1
        assert "hunter2" not in found[0]


def test_taken() -> None:
    entry = {
        "name": "a",
        "executor": "shell",
        "limit": 4,
        "environment": ["A=b"],
        "pre_build_script": "set -e\necho hi\n",
        "unhealthy_interval": "1h30m",
        "feature_flags": {"FF_SCRIPT_SECTIONS": True},
        "cache": {"Type": "s3", "s3": {"BucketName": "b", "Insecure": False}},
        "docker": {"image": "x", "anything": ["goes"]},
    }
    assert _runner_validation.runner_problems(WHERE, entry) == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"concurrent": 4}, "gitlab_runner_concurrent"),
        ({"runners": []}, "gitlab_runner_runners"),
        ({"log_level": "verbose"}, "one of panic"),
        ({"check_interval": "3s"}, "whole number"),
        ({"session_server": {"session_timeout": "1h"}}, "a whole number of seconds, 0 or more"),
        ({"listen_adress": ":9252"}, "did you mean 'listen_address'?"),
        ([], "invalid value of type list; expected a mapping"),
    ],
)
def test_refused_settings(settings: Any, says: str) -> None:
    found = _runner_validation.settings_problems("gitlab_runner_settings", settings)
    assert found
    assert says in found[0]


@pytest.mark.parametrize("value", [0, 10, -5, "1h", 3.5, True, [900]])
def test_time_limit_that_gitlab_does_not_take(value: Any) -> None:
    """One message, the same for all."""
    (said,) = _runner_validation.gitlab_problems("x.gitlab", {"maximum_timeout": value})
    assert said.startswith("x.gitlab.maximum_timeout: invalid value ")
    assert said.endswith("expected 600 seconds or more, or null for no limit")


@pytest.mark.parametrize("value", [None, 600, 7200])
def test_time_limit_that_gitlab_takes(value: Any) -> None:
    assert _runner_validation.gitlab_problems("x.gitlab", {"maximum_timeout": value}) == []


def test_null_takes_a_time_limit_away_in_gitlab() -> None:
    wanted = {"maximum_timeout": None}
    found = _gitlab_api.differences(wanted, {"maximum_timeout": 900}, "")
    assert found == {"maximum_timeout": (900, None)}
    assert _gitlab_api.differences(wanted, {"maximum_timeout": None}, "") == {}


@pytest.mark.parametrize(
    ("address", "port_needed", "valid"),
    [
        ("127.0.0.1:9252", True, True),
        (":1", True, True),
        ("[::1]:65535", True, True),
        ("", True, True),
        # The runner adds 9252.
        ("localhost", False, True),
        ("localhost", True, False),
        ("0.0.0.0:99999", False, False),
        ("9252", False, False),
        ("0.0.0.0:65536", True, False),
        ("0.0.0.0:0", False, False),
        ("0.0.0.0:-1", False, False),
        ("0.0.0.0:http", False, False),
        ("::1", False, False),
        ("::1:9252", False, False),
    ],
)
def test_an_address_with_a_port_that_is_none_is_refused(
    address: str, port_needed: bool, valid: bool
) -> None:
    own = {"listen_address": address}
    given = {"session_server": own} if port_needed else own
    found = _runner_validation.settings_problems("gitlab_runner_settings", given)
    at = "gitlab_runner_settings" + (".session_server" if port_needed else "")
    says = (
        f"{at}.listen_address: invalid value {address!r}; expected HOST:PORT with a port from 1 to "
        "65535"
    )
    assert found == ([] if valid else [says])
