# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's own control API, which no GitLab has: ``/lab/v1/…``, guarded by ``Lab-Secret``.

It queues and cancels jobs, sets faults, reads the request log, makes tokens expire.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from standins.gitlab.ci_variables import variable
from standins.gitlab.errors import not_found
from standins.gitlab.projects_api import make_project, project_json
from standins.gitlab.records import (
    ACTIVE,
    CANCELED,
    CANCELING,
    FAILED,
    FINISHED,
    PENDING,
    Job,
    Runner,
)
from standins.gitlab.runners_api import renew_token, timestamp
from standins.gitlab.scheduler import COMPLETED, job_ended
from standins.gitlab.state import State, state_of
from standins.gitlab.store import digest, new_token
from standins.gitlab.traffic import Fault

_MAX_WAIT = 30.0
SCOPES = (
    "api",
    "read_api",
    "read_user",
    "create_runner",
    "manage_runner",
    "read_repository",
    "write_repository",
)


def _guard(request: Request) -> None:
    given = request.headers.get("lab-secret", "")
    if not secrets.compare_digest(given.encode(), state_of(request).settings.lab_secret.encode()):
        raise HTTPException(401, "Lab-Secret is missing or wrong")


router = APIRouter(prefix="/lab/v1", dependencies=[Depends(_guard)])


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class VariableIn(_Strict):
    """A job variable. ``masked`` ones are also kept out of the request log."""

    key: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    value: str
    public: bool = False
    masked: bool = False
    file: bool = False
    raw: bool = False


class ArtifactIn(_Strict):
    """An entry of ``artifacts``: what the payload names artifact_type and artifact_format."""

    paths: list[str]
    name: str = ""
    untracked: bool = False
    exclude: list[str] = []
    when: Literal["on_success", "on_failure", "always"] = "on_success"
    expire_in: str = ""
    artifact_type: str = "archive"
    artifact_format: str = "zip"


class CacheIn(_Strict):
    """An entry of ``cache``."""

    key: str = ""
    paths: list[str]
    untracked: bool = False
    policy: str = "pull-push"
    when: str = "on_success"


class JobIn(_Strict):
    """A job to queue. ``ref`` is resolved in the repository unless ``sha`` is given."""

    project: str
    script: list[str]
    ref: str = ""
    ref_type: Literal["branch", "tag"] = "branch"
    sha: str = ""
    name: str = "job"
    stage: str = "test"
    after_script: list[str] = []
    variables: list[VariableIn] = []
    artifacts: list[ArtifactIn] = []
    cache: list[CacheIn] = []
    hooks: list[dict[str, Any]] = []
    dependencies: list[int] = []
    tags: list[str] = []
    protected: bool = False
    timeout: int = Field(default=3600, ge=1)
    depth: int = Field(default=20, ge=0)
    allow_git_fetch: bool = True
    payload_overrides: dict[str, Any] = {}


class CancelIn(_Strict):
    """How to cancel: gracefully (after_script runs) or immediately."""

    how: Literal["canceling", "canceled", "failed"] = "canceling"


class RunnerSet(_Strict):
    """What to change of a runner; times in seconds from now."""

    expires_in: float | None = None
    token_ttl: float | None = None
    revoke: bool = False
    token: str = ""


class ProjectIn(_Strict):
    """A project to make: full path with its namespace."""

    path: str
    default_branch: str = "main"


class TokenIn(_Strict):
    """A personal access token to make."""

    scopes: list[str]


class FaultIn(_Strict):
    """A fault switch; see :class:`standins.gitlab.traffic.Fault`."""

    path: str
    kind: Literal["status", "delay", "drop"]
    method: str = "*"
    count: int | None = Field(default=1, ge=1)
    skip: int = Field(default=0, ge=0)
    status: int = Field(default=500, ge=200, le=599)
    delay: float = Field(default=0.0, ge=0)
    headers: dict[str, str] = {}
    body: dict[str, Any] | None = None
    body_contains: str = ""


@router.get("/health")
async def health() -> dict[str, str]:
    """Say that the server is up."""
    return {"status": "ok"}


@router.post("/projects", status_code=201)
async def add_project(request: Request, project: ProjectIn) -> dict[str, object]:
    """Make a project."""
    state = state_of(request)
    return project_json(state, make_project(state, project.path, project.default_branch))


@router.post("/tokens", status_code=201)
async def add_token(request: Request, token: TokenIn) -> dict[str, object]:
    """Make a personal access token."""
    if unknown := set(token.scopes) - set(SCOPES):
        raise HTTPException(422, f"unknown scopes: {', '.join(sorted(unknown))}")
    value = new_token("glpat-")
    record = state_of(request).store.add_access_token(value, token.scopes)
    return {"id": record.id, "token": value}


@router.delete("/tokens/{token_id}", status_code=204)
async def revoke_token(request: Request, token_id: int) -> Response:
    """Revoke a personal access token."""
    state_of(request).store.delete_access_token(token_id)
    return Response(status_code=204)


@router.get("/runners")
async def list_runners(request: Request) -> list[dict[str, Any]]:
    """Return all runners, with no token."""
    return [_runner_json(runner) for runner in state_of(request).store.runners()]


@router.patch("/runners/{runner_id}")
async def set_runner(request: Request, runner_id: int, change: RunnerSet) -> dict[str, Any]:
    """Make a runner's token expire, revoke it, or set it."""
    state = state_of(request)
    runner = state.store.runner(runner_id)
    if runner is None:
        raise not_found("Runner")
    if change.token_ttl is not None:
        runner.token_ttl = change.token_ttl or None
    if change.expires_in is not None:
        runner.token_expires_at = time.time() + change.expires_in
    if change.revoke:
        # The new token is not returned to anyone: requests with the old one get 403.
        renew_token(state, runner)
    if change.token:
        # Such as a GitLab gives that puts a prefix of its own in front.
        runner.token_digest = digest(change.token)
    state.store.save_runner(runner)
    state.changes.tell()
    return _runner_json(runner)


@router.get("/runners/{runner_id}/managers")
async def managers(request: Request, runner_id: int) -> list[dict[str, Any]]:
    """Return the hosts of a runner, with the features that they announced."""
    return [asdict(manager) for manager in state_of(request).store.managers(runner_id)]


@router.post("/jobs", status_code=201)
async def queue_job(request: Request, wanted: JobIn) -> dict[str, Any]:
    """Queue a job."""
    state = state_of(request)
    project = state.store.project_by_path(wanted.project)
    if project is None:
        raise not_found("Project")
    ref = wanted.ref or project.default_branch
    folder = state.store.repository(project)
    name = f"refs/{'heads' if wanted.ref_type == 'branch' else 'tags'}/{ref}"
    sha = wanted.sha or await _git(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    uses_git = not any(
        item.key == "GIT_STRATEGY" and item.value in ("none", "empty") for item in wanted.variables
    )
    if not sha and uses_git:
        raise HTTPException(422, f"{ref} is no {wanted.ref_type} of {project.path}")
    if unknown := [key for key in wanted.dependencies if state.store.job(key) is None]:
        raise HTTPException(422, f"unknown jobs in dependencies: {unknown}")
    pipeline_id = state.store.next_pipeline_id()
    if uses_git:
        # GitLab keeps a ref for each pipeline, which the runner's refspecs name.
        if not await _git(folder, "cat-file", "-t", sha):
            raise HTTPException(422, f"{sha} is no commit of {project.path}")
        await _git(folder, "update-ref", f"refs/pipelines/{pipeline_id}", sha)
    for item in wanted.variables:
        if item.masked:
            state.redactor.learn(item.value)
    job = state.store.add_job(
        project_id=project.id,
        name=wanted.name,
        stage=wanted.stage,
        ref=ref,
        ref_type=wanted.ref_type,
        sha=sha or "0" * 40,
        pipeline_id=pipeline_id,
        timeout=wanted.timeout,
        tags=wanted.tags,
        protected=wanted.protected,
        variables=[variable(**item.model_dump()) for item in wanted.variables],
        steps=_steps(wanted),
        artifacts=[item.model_dump() for item in wanted.artifacts],
        cache=[item.model_dump() for item in wanted.cache],
        hooks=wanted.hooks,
        dependencies=wanted.dependencies,
        depth=wanted.depth,
        allow_git_fetch=wanted.allow_git_fetch,
        payload_overrides=wanted.payload_overrides,
    )
    state.redactor.learn(job.token)
    state.store.tick_queue()
    state.changes.tell()
    return _job_json(state, job)


def _steps(wanted: JobIn) -> list[dict[str, Any]]:
    steps = [("script", wanted.script, "on_success", False)]
    if wanted.after_script:
        steps.append(("after_script", wanted.after_script, "always", True))
    return [
        {
            "name": name,
            "script": script,
            "timeout": wanted.timeout,
            "when": when,
            "allow_failure": allow_failure,
        }
        for name, script, when, allow_failure in steps
    ]


@router.get("/jobs")
async def list_jobs(request: Request) -> list[dict[str, Any]]:
    """Return all jobs."""
    state = state_of(request)
    return [_job_json(state, job) for job in state.store.jobs()]


@router.get("/jobs/{job_id}")
async def get_job(
    request: Request, job_id: int, after: int = -1, wait: float = 0.0
) -> dict[str, Any]:
    """Return a job; with ``wait`` only once its revision is above ``after``, or time is up."""
    state = state_of(request)
    job = _job(state, job_id)
    if wait and job.revision <= after:
        await state.changes.wait_for(
            lambda: _job(state, job_id).revision > after, min(wait, _MAX_WAIT)
        )
        job = _job(state, job_id)
    return _job_json(state, job)


@router.get("/jobs/{job_id}/trace")
async def get_trace(request: Request, job_id: int) -> Response:
    """Return a job's trace so far."""
    state = state_of(request)
    trace = state.store.trace(_job(state, job_id).id)
    return Response(trace, media_type="text/plain; charset=utf-8")


@router.get("/jobs/{job_id}/artifacts/{kind}")
async def get_artifact(request: Request, job_id: int, kind: str) -> FileResponse:
    """Return one artifact of a job."""
    state = state_of(request)
    job = _job(state, job_id)
    if not re.fullmatch(r"[a-z_]+", kind) or kind not in {item["type"] for item in job.uploads}:
        raise not_found()
    return FileResponse(state.store.artifact_file(job_id, kind))


@router.post("/jobs/{job_id}/cancel")
async def cancel_job(request: Request, job_id: int, cancel: CancelIn) -> dict[str, Any]:
    """Cancel a job: a pending one immediately, a running one through its runner."""
    state = state_of(request)
    job = _job(state, job_id)
    if job.state in FINISHED:
        raise HTTPException(409, f"the job is over: {job.state}")
    if job.state == PENDING or cancel.how != CANCELING:
        job.state = FAILED if cancel.how == FAILED else CANCELED
        job.finished_at = time.time()
    else:
        job.state = CANCELING
    state.store.save_job(job)
    if job.state in FINISHED:
        job_ended(state, job)
    state.changes.tell()
    return _job_json(state, job)


@router.post("/faults", status_code=201)
async def add_fault(request: Request, fault: FaultIn) -> list[dict[str, Any]]:
    """Switch a fault on."""
    faults = state_of(request).faults
    faults.rules.append(Fault(**fault.model_dump()))
    return faults.dump()


@router.get("/faults")
async def list_faults(request: Request) -> list[dict[str, Any]]:
    """Return the faults and how often each hit."""
    return state_of(request).faults.dump()


@router.delete("/faults", status_code=204)
async def clear_faults(request: Request) -> Response:
    """Switch all faults off."""
    state_of(request).faults.rules.clear()
    return Response(status_code=204)


@router.get("/requests")
async def get_requests(request: Request, since: int = 0, wait: float = 0.0) -> dict[str, Any]:
    """Return the request log after number ``since``; with ``wait``, wait for one more entry."""
    state = state_of(request)
    if wait:
        await state.changes.wait_for(lambda: state.log.last > since, min(wait, _MAX_WAIT))
    # Reading a long log takes a while: the server goes on meanwhile.
    entries = await asyncio.to_thread(state.log.since, since)
    return {"last": state.log.last, "requests": entries}


def _job(state: State, job_id: int) -> Job:
    job = state.store.job(job_id)
    if job is None:
        raise not_found("Job")
    return job


def _job_json(state: State, job: Job) -> dict[str, Any]:
    shown = asdict(job)
    for name in ("token", "variables", "dotenv", "payload_overrides"):
        del shown[name]
    trace = state.store.trace_file(job.id)
    shown["trace_size"] = trace.stat().st_size if trace.exists() else 0
    shown["finished"] = job.state in COMPLETED
    shown["active"] = job.state in ACTIVE
    return shown


def _runner_json(runner: Runner) -> dict[str, Any]:
    shown = asdict(runner)
    del shown["token_digest"]
    shown["token_expires_at"] = timestamp(runner.token_expires_at)
    return shown


async def _git(folder: object, *arguments: str) -> str:
    """Return git's answer, or "" when it refuses."""
    process = await asyncio.create_subprocess_exec(
        "git",
        "-C",
        str(folder),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    return output.decode().strip() if process.returncode == 0 else ""
