# SPDX-License-Identifier: GPL-3.0-or-later
"""Following a pipeline: what is shown, and why it stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from lab import pipelines
from lab.pipelines import Follower, Job, Pipeline, follow, job_of
from lab.run import LabError
from standins.gitlab.client import ProjectInfo

JOB = Job(1, "sdist", "build", "success", 100.0, 101.0, 104.5, "jammy-build", 7, "")
TRACE = "begins\n" + "\n".join(f"line {number}" for number in range(60)) + "\nthe cure\n"


class Turns:
    """A pipeline that goes through these states, a turn each."""

    id = 3

    def __init__(self, *turns: tuple[str, Sequence[Job]]) -> None:
        self.turns = list(turns)
        self.errors = ""

    def jobs(self) -> list[Job]:
        return list(self.turns[0][1])

    def status(self) -> tuple[str, str]:
        if len(self.turns) > 1:
            self.turns.pop(0)
        return self.turns[0][0], self.errors

    def trace(self, job: Job) -> str:
        return f"{job.name}\n{TRACE}"


def followed(*turns: tuple[str, Sequence[Job]], timeout: float = 5.0) -> list[Job]:
    return follow(cast(Pipeline, Turns(*turns)), "pipeline 3 of v1", timeout)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "_INTERVAL", 0.0)


def test_a_job_from_gitlabs_answer() -> None:
    answer: dict[str, Any] = {
        "id": 5, "name": "x", "stage": "test", "status": "running",
        "created_at": "2026-11-29T08:00:00.000Z", "started_at": "2026-11-29T08:00:02.500Z",
        "finished_at": None, "runner": {"id": 4, "description": "jammy-build"},
    }  # fmt: skip
    job = job_of(answer)
    assert (job.started - job.created, job.finished) == (2.5, 0.0)
    assert (job.runner, job.runner_id, job.failure_reason) == ("jammy-build", 4, "")
    waiting = job_of({**answer, "status": "created", "started_at": None, "runner": None})
    assert (waiting.seconds, waiting.runner, waiting.runner_id) == (0.0, "", 0)


def test_each_job_is_told_when_it_begins_and_when_it_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    waiting = replace(JOB, status="pending", started=0.0, finished=0.0, runner="")
    second = replace(waiting, id=2, name="wheel: [3.9]", status="created")
    jobs = followed(
        ("pending", [waiting, second]),
        ("running", [replace(JOB, status="running", finished=0.0), second]),
        ("running", [JOB, second]),
        # Begun and ended between two looks.
        ("success", [JOB, replace(JOB, id=2, name="wheel: [3.9]", finished=102.0)]),
    )
    assert [job.name for job in jobs] == ["sdist", "wheel: [3.9]"]
    assert capsys.readouterr().out.splitlines() == [
        "  pipeline 3 of v1",
        "    sdist         runs on jammy-build",
        "    sdist         success, 3.5 s",
        "    wheel: [3.9]  runs on jammy-build",
        "    wheel: [3.9]  success, 1.0 s",
    ]


def test_a_long_job_is_told_about_again_and_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "_HEARTBEAT", 0.0)
    running = replace(JOB, status="running", finished=0.0)
    follower = Follower(5)
    assert follower.show([running])
    assert not follower.show([running])
    assert capsys.readouterr().out.splitlines()[-1].startswith("    … sdist ")


def test_a_failed_job_shows_the_end_of_its_trace() -> None:
    failed = replace(JOB, status="failed", failure_reason="script_failure")
    with pytest.raises(LabError) as error:
        followed(("failed", [failed, replace(JOB, id=2, name="later", status="skipped")]))
    said = str(error.value)
    assert said.startswith("pipeline 3: sdist (script_failure) failed; the end of sdist:\n")
    assert said.endswith("line 59\nthe cure")
    assert "begins" not in said


@pytest.mark.parametrize("status", ["canceled", "skipped", "manual"])
def test_a_pipeline_that_ends_otherwise_is_no_success(status: str) -> None:
    with pytest.raises(LabError, match=f"pipeline 3: {status} \\(sdist {status}\\)"):
        followed((status, [replace(JOB, status=status)]))


def test_what_is_wrong_with_the_projects_file_is_told() -> None:
    pipeline = Turns(("failed", []))
    pipeline.errors = "jobs:x config contains unknown keys: scrpt"
    with pytest.raises(LabError, match="pipeline 3: failed: jobs:x config contains"):
        follow(cast(Pipeline, pipeline), "pipeline 3", 5.0)


def test_a_trace_is_shown_without_what_a_terminal_hides() -> None:
    raw = (
        "section_start:1795939780:step_script[collapsed=true]\r\x1b[0K\x1b[32;1m$ x\x1b[0;m\r\n"
        "2026-11-28T17:29:47.614068Z 00O build:\r\nsection_end:1795939781:step_script\r\x1b[0K"
    )
    gitlab = Mock(download=Mock(return_value=raw.encode()))
    pipeline = Pipeline(gitlab, ProjectInfo(7, "a/b", ""), 3)
    assert pipeline.trace(JOB) == "$ x\nbuild:\n"
    gitlab.download.assert_called_once_with("/projects/7/jobs/1/trace")


def test_a_job_that_no_runner_takes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "STUCK_TIMEOUT", 0.0)
    waiting = replace(JOB, id=2, name="publish", status="pending", started=0.0, finished=0.0)
    with pytest.raises(LabError, match="no runner takes publish within"):
        followed(("pending", [JOB, waiting]))


def test_a_pipeline_that_never_ends_is_given_up() -> None:
    running = replace(JOB, status="running", finished=0.0)
    with pytest.raises(LabError, match="pipeline 3: still running after 0 s"):
        followed(("running", [running]), timeout=0.0)
