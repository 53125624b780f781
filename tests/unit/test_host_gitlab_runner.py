# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make verify` compares of a host's runners and their service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

# tests/host, as pytest finds it there.
from test_gitlab_runner import bare_url, is_configured, part, source_sides, unsteady_words

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _runner_keys
from tests.host import conftest

GITLAB = "https://gitlab.example"
NOTED = [{"name": "build", "id": 7}]


def config(**more: Any) -> dict[str, Any]:
    runner = {"name": "build", "id": 7, "url": GITLAB, "executor": "shell", "token": "present"}
    return {"concurrent": 1, "runners": [{**runner, **more}]}


@pytest.mark.parametrize(
    ("here", "entry", "url"),
    [
        (GITLAB, {}, f"{GITLAB}/"),
        (f"{GITLAB}/ci/", {}, GITLAB),
        (f"{GITLAB}/", {"url": GITLAB}, "https://other.example"),
    ],
)
def test_spellings_of_one_gitlab_do_not_differ(here: str, entry: dict[str, Any], url: str) -> None:
    is_configured(config(url=here), NOTED, {"name": "build", **entry}, url)


@pytest.mark.parametrize(
    ("entry", "url"), [({}, "https://other.example"), ({"url": "https://other.example/"}, GITLAB)]
)
def test_a_runner_of_another_gitlab_differs(entry: dict[str, Any], url: str) -> None:
    with pytest.raises(AssertionError) as told:
        is_configured(config(), NOTED, {"name": "build", **entry}, url)
    expected = entry.get("url", url)
    assert f"url of runner 'build': expected {expected}, found {GITLAB}" in str(told.value)


def test_an_executor_that_the_entry_leaves_out_is_shell() -> None:
    with pytest.raises(AssertionError, match="executor of runner 'build'"):
        is_configured(config(executor="docker"), NOTED, {"name": "build"}, GITLAB)


@pytest.mark.parametrize("url", [GITLAB, f"{GITLAB}/CI/", f"{GITLAB}//", "http://h/x/ci"])
def test_addresses_are_compared_as_the_role_does_it(url: str) -> None:
    assert bare_url(url) == _runner_keys.bare_url(url)


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ({"check_interval": 5, "log_level": "info"}, {"check_interval": 5}, True),
        ({"check_interval": 5}, {"check_interval": 3}, False),
        # The daemon leaves zeros out, and adds keys to a table.
        ({}, {"check_interval": 0, "listen_address": ""}, True),
        ({}, {"listen_address": "127.0.0.1:9252"}, False),
        ({"listen_address": "127.0.0.1:9252"}, {"listen_address": ""}, False),
        ({"session_server": {"a": "b", "timeout": 9}}, {"session_server": {"a": "b"}}, True),
        ({}, {"session_server": {"a": "b"}}, False),
    ],
)  # fmt: skip
def test_global_settings_are_compared_as_far_as_the_inventory_names_them(
    found: dict[str, Any], wanted: dict[str, Any], same: bool
) -> None:
    assert (part(found, wanted) == wanted) is same


@pytest.mark.parametrize(
    ("suite", "components", "text", "same"),
    [
        ("jammy", ["main"], "URIs: https://H/u\nSuites: jammy\nComponents: main\n", True),
        ("jammy", ["main"], "URIs: https://h/u/\nSuites: noble\nComponents: main\n", False),
        ("jammy", ["main"], "URIs: https://other/u\nSuites: jammy\nComponents: main\n", False),
        ("./", ["main"], "URIs: https://h/u\nSuites: ./\n", True),
        (None, ["main"], "URIs: https://h/u\nSuites: jammy\nComponents: main\n", True),
        ("jammy", ["main"], "", False),
    ],
)
def test_a_source_is_compared_but_for_its_key(
    suite: str | None, components: list[str], text: str, same: bool
) -> None:
    wanted = {"url": "https://H/u/", "components": components, "suite": suite}
    given = {f"gitlab_runner_repository_{k}": v for k, v in wanted.items() if v is not None}
    found, expected = source_sides(text, given)
    assert (found == expected) is same


UNIT = "gitlab-runner.service"
FATAL = "\x1b[31;1mFATAL: Failed to create listener\x1b[0;m   \x1b[31;1merror\x1b[0;m=bind: in use"
FAILED = f"{UNIT}: Failed with result 'exit-code'."
RUNS, WAITS = ({"SubState": state, "NRestarts": "20"} for state in ("running", "auto-restart"))


def test_a_daemon_that_ends_again_and_again_is_told_with_its_last_words() -> None:
    lines = [FATAL, FAILED, FATAL, FAILED]
    assert unsteady_words(UNIT, RUNS, 1, lines) == (
        f"{UNIT}: expected running steadily, found restarted 20 times, the last 1 second ago: "
        "FATAL: Failed to create listener error=bind: in use"
    )
    once = {**RUNS, "NRestarts": "1"}
    text = '{"level":"fatal","msg":"no token","error":"e"}'
    assert unsteady_words(UNIT, once, 9, [text]).endswith(
        "found restarted once, the last 9 seconds ago: no token e"
    )


@pytest.mark.parametrize(
    ("unit", "age", "lines", "steady"),
    [
        # Restarted when idle: no complaint, or that of one signal which came too early.
        (RUNS, 1, [], True),
        (RUNS, 1, [FAILED], True),
        (RUNS, 1, [FAILED, FAILED], False),
        (WAITS, 1, [], False),
        # Twice in ten minutes, or all the time.
        (RUNS, 500, [FATAL, FATAL], False),
        (RUNS, 601, [FATAL, FATAL], True),
        (RUNS, 29, [FATAL] * 99, False),
        (RUNS, 31, [FATAL] * 99, True),
    ],
)
def test_when_a_daemon_counts_as_steady(
    unit: dict[str, str], age: int, lines: list[str], steady: bool
) -> None:
    assert (unsteady_words(UNIT, unit, age, lines) == "") is steady


def test_of_a_service_that_has_left_the_host_nothing_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its entry with ``state: absent`` is still in the inventory."""
    isolated = [{"name": "a"}, {"name": "b", "state": "absent"}, {"name": "c", "state": "present"}]
    path = tmp_path / "host.json"
    path.write_text(json.dumps({"variables": {"gitlab_runner_isolated": isolated}}))
    monkeypatch.setenv("RUNNERHOST_VERIFY", str(path))
    found = conftest.given.__wrapped__()["variables"]["gitlab_runner_isolated"]
    assert [one["name"] for one in found] == ["a", "c"]
