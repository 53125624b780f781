# SPDX-License-Identifier: GPL-3.0-or-later
"""Which differences of two configurations count, and how they are named and shown."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _runner_compare

URL = "https://gitlab.example.com"


def runner(name: str, token: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "url": URL + "/",
        "id": number,
        "token": token,
        "executor": "shell",
    } | more


def test_defaults_that_the_daemon_writes_are_no_drift() -> None:
    """What `register` writes (gitlab-runner 17.4)."""
    written = {
        "concurrent": 2,
        "check_interval": 0,
        "connection_max_age": "15m0s",
        "shutdown_timeout": 0,
        "session_server": {"session_timeout": 1800},
        "runners": [
            {
                **runner("a", "ra", 1),
                "token_expires_at": "0001-01-01T00:00:00Z",
                "custom_build_dir": {},
                "cache": {"MaxUploadedArchiveSize": 0, "s3": {}, "gcs": {}, "azure": {}},
            }
        ],
    }
    ours = {"concurrent": 2, "runners": [runner("a", "ra", 1)]}
    assert _runner_compare.meaning(written) == _runner_compare.meaning(ours)
    assert _runner_compare.changed_keys(written, ours) == []


def test_drift_is_named() -> None:
    before = {"concurrent": 1, "log_level": "debug", "runners": [runner("a", "ra", 1, limit=2)]}
    after = {"concurrent": 2, "runners": [runner("a", "ra", 1, limit=3)]}
    assert _runner_compare.changed_keys(before, after) == [
        "concurrent",
        "log_level",
        "runners.a.limit",
    ]


def test_a_feature_flag_that_is_off_differs_from_none() -> None:
    off = {"runners": [runner("a", "ra", 1, feature_flags={"FF_X": False})]}
    none = {"runners": [runner("a", "ra", 1)]}
    assert _runner_compare.changed_keys(none, off) == ["runners.a.feature_flags"]


def test_a_new_runner_and_a_new_identity_are_named_as_such() -> None:
    """Check mode, which asks GitLab nothing, can name them too."""
    before = {"runners": [runner("a", "ra", 1)]}
    after = {"runners": [runner("a", "fresh", 9), runner("b", "rb", 2)]}
    assert _runner_compare.changed_keys(before, after) == ["runners.a.identity", "runners.b"]


def test_durations_are_compared_by_length() -> None:
    ours = {"runners": [runner("a", "ra", 1, unhealthy_interval="60m")]}
    daemons = {"runners": [runner("a", "ra", 1, unhealthy_interval="1h0m0s")]}
    other = {"runners": [runner("a", "ra", 1, unhealthy_interval="61m")]}
    assert _runner_compare.changed_keys(ours, daemons) == []
    assert _runner_compare.changed_keys(ours, other) == ["runners.a.unhealthy_interval"]


def test_an_explicit_false_that_differs_from_nothing_is_written() -> None:
    none = {"runners": [runner("a", "ra", 1)]}
    off = {"runners": [runner("a", "ra", 1, safe_directory_checkout=False)]}
    assert _runner_compare.changed_keys(none, off) == ["runners.a.safe_directory_checkout"]


def stated(**more: Any) -> dict[str, Any]:
    return {"concurrent": 2, "runners": [runner("a", "ra", 1, **more)]}


ZEROS: list[tuple[dict[str, Any], str]] = [
    ({"cache": {"s3": {"DualStack": False}}}, "cache"),
    ({"cache": {"s3": {"PathStyle": False}}}, "cache"),
    ({"docker": {"services_privileged": False}}, "docker"),
    ({"docker": {"services_limit": 0}}, "docker"),
    ({"custom": {"prepare_exec_timeout": 0}}, "custom"),
    ({"kubernetes": {"allow_privilege_escalation": False}}, "kubernetes"),
    ({"kubernetes": {"privileged": False}}, "kubernetes"),
    # Of a table that the toolkit does not look into it cannot know.
    ({"docker": {"tls_verify": False}}, "docker"),
    ({"proxy_exec": False}, "proxy_exec"),
    ({"custom_build_dir": {"enabled": False}}, "custom_build_dir"),
]


@pytest.mark.parametrize(("zero", "key"), ZEROS)
def test_what_the_inventory_states_is_written_also_where_it_is_zero(
    zero: dict[str, Any], key: str
) -> None:
    assert _runner_compare.changed_keys(stated(), stated(**zero)) == [f"runners.a.{key}"]
    assert _runner_compare.changed_keys(stated(**zero), stated(**zero)) == []


def test_zeros_that_the_daemon_writes_or_leaves_out_are_no_drift() -> None:
    written = stated(
        limit=0,
        docker={"privileged": False, "shm_size": 0, "tls_verify": False, "image": "i"},
        cache={"MaxUploadedArchiveSize": 0, "s3": {"Insecure": False}},
    )
    wanted = stated(docker={"image": "i"})
    assert _runner_compare.changed_keys(written, wanted) == []
    # limit,omitzero: what it means is nothing, stated or not.
    assert _runner_compare.changed_keys(stated(), stated(limit=0, debug_trace_disabled=False)) == []


def test_a_diff_has_what_changes_and_nothing_else() -> None:
    daemons: dict[str, Any] = {
        "concurrent": 2,
        "check_interval": 0,
        "connection_max_age": "15m0s",
        "session_server": {"session_timeout": 1800},
        "runners": [
            {
                **runner("a", "ra", 1, unhealthy_interval="1h0m0s", limit=1, output_limit=9),
                "token_expires_at": "0001-01-01T00:00:00Z",
                "cache": {"MaxUploadedArchiveSize": 0, "s3": {}, "gcs": {}},
                "docker": {"tls_verify": False, "image": "old"},
            },
            runner("foreign", "rf", 9),
        ],
    }
    wanted: dict[str, Any] = {
        "concurrent": 2,
        "runners": [
            {
                **runner("a", "ra", 1, unhealthy_interval="60m", limit=2),
                "url": URL,
                "docker": {"image": "new"},
            },
            runner("foreign", "rf", 9),
        ],
    }
    shown = _runner_compare.spelled_alike(daemons, wanted)
    assert shown["runners"][1] == wanted["runners"][1]
    differing = {
        key: shown["runners"][0].get(key)
        for key in {*shown["runners"][0], *wanted["runners"][0]}
        if shown["runners"][0].get(key) != wanted["runners"][0].get(key)
    }
    assert differing == {"limit": 1, "output_limit": 9, "docker": {"image": "old"}}
    assert {key for key in shown if key != "runners"} == {"concurrent"}
    same = _runner_compare.spelled_alike(daemons, daemons)
    assert same == daemons


def test_keys_that_go_are_named() -> None:
    host = {
        "concurrent": 2,
        "log_level": "debug",
        "check_interval": 0,
        "session_server": {"session_timeout": 60, "listen_address": ":1"},
        "runners": [
            runner(
                "a",
                "ra",
                1,
                output_limit=9,
                token_obtained_at="2026-01-01T00:00:00Z",
                environment=["A=1", "B=2"],
                docker={"image": "i", "privileged": False, "memory": "1g"},
            ),
            runner("foreign", "rf", 9, limit=5),
        ],
    }
    wanted = {
        "concurrent": 3,
        "session_server": {"session_timeout": 90},
        "runners": [
            runner("a", "ra", 1, environment=["A=2"], docker={"image": "i"}),
            runner("foreign", "rf", 9, limit=5),
        ],
    }
    assert _runner_compare.dropped_keys(host, wanted) == {
        "": ["log_level", "session_server.listen_address"],
        "a": ["output_limit", "environment: B", "docker.memory"],
    }
    assert _runner_compare.dropped_keys(wanted, wanted) == {}
