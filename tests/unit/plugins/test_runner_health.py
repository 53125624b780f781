"""What the daemon says of runners that it leaves alone, and which those are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    host,
    runner_cli,
    runner_health,
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
    assert runner_health.seconds(text) == seconds


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
    assert runner_health.asleep([(NOW - 10, line)], runners, NOW) == ["a"]


def test_runner_with_another_token_or_after_its_time_is_awake() -> None:
    said = [(NOW - 100, LINE)]
    assert runner_health.asleep(said, [{"name": "a", "token": "glrt-another"}], NOW) == []
    assert runner_health.asleep(said, [{"name": "a", "token": ""}], NOW) == []
    mine = {"name": "a", "token": TOKEN, "unhealthy_interval": "1m40s"}
    assert runner_health.asleep(said, [mine], NOW) == []
    assert runner_health.asleep(said, [{**mine, "unhealthy_interval": "2m"}], NOW) == ["a"]


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

    monkeypatch.setattr(host, "run", run)
    assert runner_health.complaints(7, str(config)) == [(NOW + 1, "\x1b[31mafter")]
    assert {"--since=-10800s", "_PID=7"} <= set(asked[0])
    assert runner_health.complaints(0, str(config)) == []
    assert runner_health.complaints(7, str(tmp_path / "none")) == []


def test_reason_is_the_runners_own_and_has_no_token() -> None:
    lines = [
        {"level": "info", "msg": "Runtime platform"},
        {"level": "error", "msg": "Verifying runner... failed", "status": f"503 for {TOKEN}"},
    ]
    said = runner_cli.reason("\n".join(map(json.dumps, lines)) + "\nno JSON\n")
    assert said.startswith("503 for ")
    assert TOKEN not in said
    assert runner_cli.reason("") == ""
