# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's own pipelines and hooks: they name suites, targets and files that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.suites import SUITES

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = (".github/workflows/ci.yml", ".gitlab-ci.yml")


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def commands(name: str) -> list[str]:
    """The commands of a pipeline, of either kind."""
    data = load(name)
    jobs = data["jobs"].values() if "jobs" in data else data.values()
    found = []
    for job in jobs:
        if isinstance(job, dict):
            found += [step["run"] for step in job.get("steps", []) if "run" in step]
            found += job.get("script", [])
    return found


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_runs_what_there_is(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    said = commands(name)
    assert ".ci/run" in said
    for command in said:
        program, *words = command.split()
        if program == "make":
            assert re.search(rf"(?m)^{words[0]}:", makefile), command
        elif "-m tests" in command:
            assert set(words[2:]) <= {suite.name for suite in SUITES}, command
        else:
            assert (ROOT / program).is_file(), command
    assert "tests/output/junit" in (ROOT / name).read_text(encoding="utf-8")


def test_both_pipelines_run_the_same() -> None:
    first, second = (sorted(commands(name)) for name in PIPELINES)
    assert first == second


def test_the_hooks_run_targets_and_tools_that_there_are() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for repository in load(".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            program, word = hook["entry"].split()[:2]
            if program == "make":
                assert re.search(rf"(?m)^{word}:", makefile), hook["id"]
            else:
                assert program == ".venv/bin/ruff"


def test_galaxy_has_all_addresses() -> None:
    galaxy = load("galaxy.yml")
    for key in ("repository", "documentation", "homepage", "issues"):
        assert galaxy[key].startswith("https://github.com/runnerhost/toolkit"), key
