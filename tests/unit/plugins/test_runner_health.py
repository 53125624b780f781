# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemon says of runners that it leaves alone, and which those are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _runner_cli,
    _runner_health,
    _system,
)

NOW = 1_800_000_000.0
URL = "https://gitlab.example.com"
TOKEN = "glrt-t1_Abcdef-ghijklmnopqrstu"
LINE = f'Runner "{URL}Abcdef-gh" is unhealthy and will be disabled for 1h0m0s seconds!'


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h0m0s", 3600), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("", 3600), (None, 3600)],
)
def test_durations_are_gos(text: Any, seconds: float) -> None:
    assert _runner_health.seconds(text) == seconds


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        LINE.replace("Abcdef-gh", TOKEN),
        json.dumps({"level": "error", "msg": LINE}),
        f"\x1b[31;1mERROR: {LINE}\x1b[0;m",
    ],
)
def test_runner_is_known_by_its_token_in_any_form_of_the_line(line: str) -> None:
    runners = [{"name": "a", "token": TOKEN}, {"name": "b", "token": "glrt-zyxwvutsrqponmlkji"}]
    assert _runner_health.asleep([(NOW - 10, line)], runners, NOW) == ["a"]


def test_runner_with_another_token_or_after_its_time_is_awake() -> None:
    said = [(NOW - 100, LINE)]
    assert _runner_health.asleep(said, [{"name": "a", "token": "glrt-another"}], NOW) == []
    assert _runner_health.asleep(said, [{"name": "a", "token": ""}], NOW) == []
    mine = {"name": "a", "token": TOKEN, "unhealthy_interval": "1m40s"}
    assert _runner_health.asleep(said, [mine], NOW) == []
    assert _runner_health.asleep(said, [{**mine, "unhealthy_interval": "2m"}], NOW) == ["a"]


def test_only_what_was_said_since_the_file_was_loaded_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[[runners]]\n  unhealthy_interval = "3h"\n')
    os.utime(config, (NOW, NOW))
    asked: list[list[str]] = []

    def run(argv: list[str], **_: Any) -> CompletedProcess[str]:
        asked.append(argv)
        entries = [
            {"__REALTIME_TIMESTAMP": str(int(moment * 1e6)), "MESSAGE": message}
            for moment, message in ((NOW - 1, "before"), (NOW + 1, list(b"\x1b[31mafter")))
        ]
        text = "\n".join(json.dumps(entry) for entry in entries)
        return CompletedProcess(argv, 0, f"{text}\nno JSON\n", "")

    monkeypatch.setattr(_system, "run", run)
    assert _runner_health.complaints(7, str(config)) == [(NOW + 1, "\x1b[31mafter")]
    assert {"--since=-10800s", "_PID=7"} <= set(asked[0])
    assert _runner_health.complaints(0, str(config)) == []
    assert _runner_health.complaints(7, str(tmp_path / "none")) == []


def test_reason_is_the_runners_own_and_has_no_token() -> None:
    lines = [
        {"level": "info", "msg": "Runtime platform"},
        {"level": "error", "msg": "Verifying runner... failed", "status": f"503 for {TOKEN}"},
    ]
    said = _runner_cli.reason("\n".join(map(json.dumps, lines)) + "\nno JSON\n")
    assert said.startswith("503 for ")
    assert TOKEN not in said
    assert _runner_cli.reason("") == ""


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "\x1b[0;31mERROR: Verifying runner... failed            \x1b[0;m  "
            "\x1b[0;31mrunner\x1b[0;m=abc \x1b[0;31mstatus\x1b[0;m=404 Not Found",
            "Verifying runner... failed runner=abc status=404 Not Found",
        ),
        ("\x1b[31;1mPANIC: Failed to verify the runner. \x1b[0;m", "Failed to verify the runner."),
        ("FATAL:\nWARNING: a\n\nplain", "a\nplain"),
        (
            '{"level":"error","msg":"Verifying runner... failed","status":"502 Bad Gateway"}',
            "Verifying runner... failed 502 Bad Gateway",
        ),
    ],
)
def test_words_of_the_runner_are_shown_without_colours_and_levels(line: str, shown: str) -> None:
    assert _runner_cli.plain(line) == shown


@pytest.mark.parametrize(
    ("why", "says"),
    [
        ("", "GitLab gave no answer"),
        ("dial tcp 10.0.0.1:443: connect: connection refused", "GitLab gave no answer: dial"),
        ("404 Not Found", "answered with an error: 404 Not Found; is the address"),
        ("Verifying runner... failed status=POST https://h:8443/x: 502 Bad Gateway", "an error"),
        ('Post "https://h:404/api": EOF', "gave no answer"),
    ],
)
def test_an_error_is_an_answer(why: str, says: str) -> None:
    assert says in _runner_cli.unanswered(why)


def test_cause_that_is_no_403_is_named() -> None:
    runners = [{"name": "a", "token": TOKEN}]
    cause = 'ERROR: Executor "x" is not known; marking Runner as unhealthy  runner=Abcdef-gh'
    client = "ERROR: Checking for jobs... client error  runner=Abcdef-gh status=only http"
    forbidden = "ERROR: Checking for jobs... forbidden  runner=Abcdef-gh status=403"
    for text in (cause, client):
        said = [(NOW - 10, text), (NOW - 9, LINE)]
        assert _runner_health.asleep(said, runners, NOW) == ["a"]
        assert _runner_health.causes(said, runners, NOW)["a"] == _runner_cli.plain(text)
        assert _runner_health.causes([(NOW - 11, forbidden), *said], runners, NOW) == {}
    assert _runner_health.causes([(NOW - 9, LINE)], runners, NOW) == {}
    assert _runner_health.asleep([(NOW - 10, forbidden)], runners, NOW) == []
