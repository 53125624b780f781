# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipelines of GitLab: finding one, and following its jobs.

By GitLab's own API, as python-gitlab uses it.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lab.run import LabError, until
from standins.gitlab.client import LabGitLab, ProjectInfo, without_stamps

ENDED = ("success", "failed", "canceled", "skipped")
STUCK_TIMEOUT = 90.0
"""Seconds without any change in which no job runs: no runner takes the one that waits."""
TRACE_LINES = 40
_HEARTBEAT = 10.0
_INTERVAL = 0.5
_MARKS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|section_(start|end):\d+:[^\r\n]*\r?|\r")


@dataclass(frozen=True)
class Job:
    """A job of a pipeline; times in seconds since the epoch, 0 where there is none yet."""

    id: int
    name: str
    stage: str
    status: str
    created: float
    started: float
    finished: float
    runner: str
    runner_id: int
    failure_reason: str

    @property
    def seconds(self) -> float:
        """How long it has run; 0 if it has not begun."""
        return (self.finished or time.time()) - self.started if self.started else 0.0


def job_of(data: dict[str, Any]) -> Job:
    """A job from GitLab's answer."""
    runner = data.get("runner") or {}
    return Job(
        data["id"], data["name"], data["stage"], data["status"],
        _epoch(data["created_at"]), _epoch(data.get("started_at")), _epoch(data.get("finished_at")),
        runner.get("description") or "", runner.get("id") or 0, data.get("failure_reason") or "",
    )  # fmt: skip


def _epoch(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0


class Pipeline:
    """A pipeline of a project."""

    def __init__(self, gitlab: LabGitLab, project: ProjectInfo, number: int) -> None:
        self.gitlab, self.id = gitlab, number
        self._project = f"/projects/{project.id}"

    def status(self) -> tuple[str, str]:
        """Its status, and what is wrong with the project's file."""
        found = self.gitlab.api("GET", f"{self._project}/pipelines/{self.id}")
        return found["status"], found.get("yaml_errors") or ""

    def jobs(self) -> list[Job]:
        """Its jobs, in their order."""
        path = f"{self._project}/pipelines/{self.id}/jobs"
        found = self.gitlab.api("GET", path, params={"per_page": 100})
        return sorted((job_of(one) for one in found), key=lambda job: job.id)

    def trace(self, job: Job) -> str:
        """What a job has printed, without colours, times and marks of sections."""
        data = self.gitlab.download(f"{self._project}/jobs/{job.id}/trace")
        return _MARKS.sub("", without_stamps(data.decode(errors="replace")))

    def artifacts(self, job: Job) -> bytes:
        """A job's artifacts, as a zip."""
        return self.gitlab.download(f"{self._project}/jobs/{job.id}/artifacts")


def find(gitlab: LabGitLab, project: ProjectInfo, ref: str, sha: str) -> Pipeline:
    """The pipeline that a push of `ref` has made."""
    found: list[dict[str, Any]] = []

    def made() -> bool:
        found[:] = gitlab.api(
            "GET", f"/projects/{project.id}/pipelines", params={"ref": ref, "sha": sha}
        )
        return bool(found)

    until(made, timeout=60, what=f"GitLab to make the pipeline of {ref}")
    return Pipeline(gitlab, project, max(int(one["id"]) for one in found))


class Follower:
    """Shows which job runs where, and how long each took."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._known: dict[int, str] = {}
        self._begun: set[int] = set()
        self._tty = sys.stdout.isatty()
        self._told = time.monotonic()

    def show(self, jobs: Sequence[Job]) -> bool:
        """Show what is new; whether anything is."""
        lines = []
        for job in jobs:
            if job.status == self._known.get(job.id):
                continue
            self._known[job.id] = job.status
            if job.started and job.id not in self._begun:
                self._begun.add(job.id)
                lines.append(f"    {job.name:<{self._width}}  runs on {job.runner}")
            if job.status in ENDED and job.started:
                lines.append(f"    {job.name:<{self._width}}  {job.status}, {job.seconds:.1f} s")
            elif job.status == "manual":
                lines.append(f"    {job.name:<{self._width}}  waits for somebody to start it")
        self._print(lines, [job for job in jobs if job.status == "running"])
        return bool(lines)

    def _print(self, lines: Sequence[str], running: Sequence[Job]) -> None:
        now = ", ".join(f"{job.name} {job.seconds:.0f} s" for job in running)
        if self._tty:
            for line in lines:
                print(f"\r\x1b[K{line}", flush=True)
            print(f"\r\x1b[K    {now or 'no job runs'}"[:78], end="", flush=True)
            return
        for line in lines:
            print(line, flush=True)
        if lines:
            self._told = time.monotonic()
        elif now and time.monotonic() - self._told >= _HEARTBEAT:
            print(f"    … {now}", flush=True)
            self._told = time.monotonic()

    def close(self) -> None:
        """End the line that is being written."""
        if self._tty:
            print("\r\x1b[K", end="", flush=True)


def follow(pipeline: Pipeline, title: str, timeout: float) -> list[Job]:
    """Follow a pipeline to its end; its jobs. LabError with the trace of a job that failed."""
    print(f"  {title}", flush=True)
    start = changed = time.monotonic()
    jobs = pipeline.jobs()
    follower = Follower(max((len(job.name) for job in jobs), default=0))
    try:
        while True:
            # The status first: it may change between the two answers, and then comes another turn.
            status, errors = pipeline.status()
            jobs = pipeline.jobs()
            now = time.monotonic()
            if follower.show(jobs) or any(job.status == "running" for job in jobs):
                changed = now
            if status in (*ENDED, "manual"):
                break
            if now - changed > STUCK_TIMEOUT:
                waiting = ", ".join(job.name for job in jobs if job.status == "pending")
                raise LabError(
                    f"pipeline {pipeline.id}: no runner takes {waiting or 'a job'} within"
                    f" {STUCK_TIMEOUT:.0f} s (python -m lab logs gitlab)"
                )
            if now - start > timeout:
                raise LabError(f"pipeline {pipeline.id}: still {status} after {timeout:.0f} s")
            time.sleep(_INTERVAL)
    finally:
        follower.close()
    if status != "success":
        raise LabError(why(pipeline, status, errors, jobs))
    return jobs


def why(pipeline: Pipeline, status: str, errors: str, jobs: Sequence[Job]) -> str:
    """Why a pipeline did not succeed: the jobs that failed, and what the first of them printed."""
    if errors:
        return f"pipeline {pipeline.id}: {status}: {errors}"
    failed = [job for job in jobs if job.status == "failed"]
    if not failed:
        states = ", ".join(f"{job.name} {job.status}" for job in jobs if job.status != "success")
        return f"pipeline {pipeline.id}: {status} ({states or 'no jobs'})"
    first = min(failed, key=lambda job: job.finished)
    lines = [line for line in pipeline.trace(first).splitlines() if line][-TRACE_LINES:]
    names = ", ".join(f"{job.name} ({job.failure_reason})" for job in failed)
    return "\n".join([f"pipeline {pipeline.id}: {names} failed; the end of {first.name}:", *lines])
