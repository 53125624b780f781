# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipelines and their jobs as clients see them (GitLab docs, pipelines API and jobs API)."""

from __future__ import annotations

import secrets
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from standins.gitlab import scheduler
from standins.gitlab.access import DEVELOPER, REPORTER, page, project_for
from standins.gitlab.ci_variables import variable
from standins.gitlab.components import ConfigError
from standins.gitlab.errors import ApiError, bad_request, forbidden, not_found, unauthorized
from standins.gitlab.jobs_api import archive_of
from standins.gitlab.params import Params, read_params
from standins.gitlab.pipelines import NoPipelineError, create
from standins.gitlab.protection import ZEROS, Change, may_run
from standins.gitlab.records import (
    ACTIVE,
    CANCELED,
    CANCELING,
    CREATED,
    FAILED,
    FINISHED,
    MANUAL,
    PENDING,
    RUNNING,
    SKIPPED,
    SUCCESS,
    WAITING,
    Job,
    Pipeline,
    Project,
)
from standins.gitlab.repository import Repository
from standins.gitlab.runners_api import timestamp
from standins.gitlab.state import Identity, State, state_of

router = APIRouter(prefix="/api/v4/projects/{key:path}")
current = APIRouter(prefix="/api/v4")

STATUSES = (CREATED, WAITING, PENDING, RUNNING, SUCCESS, FAILED, CANCELED, CANCELING, SKIPPED,
            MANUAL)  # fmt: skip


def _user(name: str) -> dict[str, Any]:
    return {"id": 1, "username": name, "name": name, "state": "active", "avatar_url": None}


def _find_pipeline(state: State, project: Project, pipeline_id: int) -> Pipeline:
    pipeline = state.store.pipelines.get(pipeline_id)
    if pipeline is None or pipeline.project_id != project.id:
        raise not_found()
    return pipeline


def _find_job(state: State, project: Project, job_id: int) -> Job:
    job = state.store.job(job_id)
    if job is None or job.project_id != project.id:
        raise not_found()
    return job


def _job_to_change(state: State, project: Project, who: Identity, job_id: int) -> Job:
    """A job, for someone who may change the branch or tag that it is of."""
    job = _find_job(state, project, job_id)
    tag, level = job.ref_type == "tag", who.level_in(project)
    if not may_run(state.store, project, job.ref, level, tag=tag):
        raise forbidden()
    return job


def _pipeline_json(state: State, project: Project, pipeline: Pipeline) -> dict[str, Any]:
    jobs = scheduler.latest(state, pipeline.id)
    times = [at for job in jobs for at in (job.created_at, job.started_at, job.finished_at) if at]
    return {
        "id": pipeline.id,
        "iid": pipeline.iid,
        "project_id": project.id,
        "sha": pipeline.sha,
        "ref": pipeline.ref,
        "status": scheduler.status_of(state, pipeline),
        "source": pipeline.source,
        "created_at": timestamp(pipeline.created_at),
        "updated_at": timestamp(max(times, default=pipeline.created_at)),
        "web_url": f"{state.settings.external_url}/{project.path}/-/pipelines/{pipeline.id}",
        "name": None,
    }


def _pipeline_details(state: State, project: Project, pipeline: Pipeline) -> dict[str, Any]:
    jobs = scheduler.latest(state, pipeline.id)
    shown = _pipeline_json(state, project, pipeline)
    over = shown["status"] in scheduler.COMPLETED
    started = min((job.started_at for job in jobs if job.started_at), default=None)
    ended = max((job.finished_at for job in jobs if job.finished_at), default=None)
    return {
        **shown,
        "before_sha": pipeline.before_sha,
        "tag": pipeline.tag,
        "yaml_errors": pipeline.problem or None,
        "user": _user(pipeline.user),
        "started_at": timestamp(started),
        "finished_at": timestamp(ended) if over else None,
        "committed_at": None,
        "duration": int(ended - started) if over and started and ended else None,
        "queued_duration": int(started - pipeline.created_at) if started else None,
        "coverage": None,
        "detailed_status": {"text": shown["status"], "label": shown["status"]},
        "archived": False,
    }


def job_json(state: State, project: Project, job: Job) -> dict[str, Any]:
    """Return a job as the API shows it."""
    pipeline = state.store.pipelines.get(job.pipeline_id)
    archive = next((up for up in job.uploads if up["type"] == "archive"), None)
    runner = state.store.runner(job.runner_id) if job.runner_id else None
    managers = state.store.managers(runner.id) if runner else []
    manager = next((one for one in managers if one.system_id == job.system_id), None)
    url = f"{state.settings.external_url}/{project.path}"
    return {
        "id": job.id,
        "status": job.state,
        "stage": job.stage,
        "name": job.name,
        "ref": job.ref,
        "tag": job.ref_type == "tag",
        "coverage": None,
        "allow_failure": bool(job.plan and job.plan.allow_failure),
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(job.started_at),
        "finished_at": timestamp(job.finished_at),
        "erased_at": None,
        "duration": (
            job.finished_at - job.started_at if job.finished_at and job.started_at else None
        ),
        "queued_duration": job.started_at - job.created_at if job.started_at else None,
        "user": _user(pipeline.user if pipeline else "root"),
        "commit": {"id": job.sha, "short_id": job.sha[:8]},
        "pipeline": _pipeline_json(state, project, pipeline) if pipeline else None,
        "web_url": f"{url}/-/jobs/{job.id}",
        "project": {"ci_job_token_scope_enabled": False},
        **({"failure_reason": job.failure_reason} if job.failure_reason else {}),
        **(
            {"artifacts_file": {"filename": archive["filename"], "size": archive["size"]}}
            if archive
            else {}
        ),
        "artifacts": [
            {
                "file_type": upload["type"],
                "size": upload["size"],
                "filename": upload["filename"],
                "file_format": upload["format"],
            }
            for upload in job.uploads
        ],
        "artifacts_expire_at": None,
        "runner": {
            "id": runner.id,
            "description": runner.description,
            "active": not runner.paused,
            "paused": runner.paused,
            "runner_type": runner.runner_type,
        } if runner else None,
        "runner_manager": {
            "id": manager.id,
            "system_id": manager.system_id,
            "version": manager.version,
            "revision": manager.revision,
            "platform": manager.platform,
            "architecture": manager.architecture,
            "created_at": timestamp(manager.created_at),
            "contacted_at": timestamp(manager.contacted_at),
            "ip_address": None,
        } if manager else None,
        "tag_list": job.tags,
        "archived": False,
    }  # fmt: skip


@router.post("/pipeline")
async def create_pipeline(request: Request, key: str) -> JSONResponse:
    """Make a pipeline for a branch or tag."""
    project, who = project_for(request, key, DEVELOPER)
    state = state_of(request)
    params = await read_params(request)
    ref = params.text("ref", required=True)
    repository = Repository(state.store.repository(project))
    for kind in ("heads", "tags"):
        name = f"refs/{kind}/{ref.removeprefix(f'refs/{kind}/')}"
        if commit := repository.commit_of(name):
            change = Change(name, ZEROS, commit)
            break
    else:
        raise ApiError(400, {"message": {"base": ["Reference not found"]}})
    level = who.level_in(project)
    if not may_run(state.store, project, change.name, level, tag=change.tag):
        words = (
            f"You do not have sufficient permission to run a pipeline on '{ref}'. Please select a "
            "different branch or contact your administrator for assistance."
        )
        raise ApiError(400, {"message": {"base": [words]}})
    try:
        variables = _variables(params, "variables")
        pipeline = await create(state, project, change, "api", who.user, variables)
    except NoPipelineError as error:
        raise ApiError(400, {"message": {"base": [str(error)]}}) from None
    except ConfigError as error:
        raise ApiError(400, {"message": {"base": error.problems}}) from None
    return JSONResponse(_pipeline_details(state, project, pipeline), status_code=201)


def _variables(params: Params, name: str) -> list[dict[str, Any]]:
    """Variables that a person gives to a pipeline or a manual job."""
    given = params.values.get(name) or []
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise bad_request(f"{name} is invalid")
    found = []
    for one in map(Params, given):
        kind = one.choice("variable_type", ("env_var", "file"), "env_var")
        key, value = one.text("key", required=True), one.text("value", required=True)
        found.append(variable(key, value, public=False, file=kind == "file"))
    return found


@router.get("/pipelines")
async def list_pipelines(request: Request, key: str) -> JSONResponse:
    """Return the pipelines of a project, newest first."""
    project, _ = project_for(request, key, REPORTER, "read_api")
    state = state_of(request)
    params = Params(dict(request.query_params))
    wanted = {name: params.text(name) for name in ("ref", "sha", "source")}
    status = params.text("status")
    scope = params.choice("scope", ("", "running", "pending", "finished", "branches", "tags"), "")
    found = []
    for pipeline in reversed(state.store.pipelines.of(project.id)):
        # First what costs nothing.
        if any(getattr(pipeline, name) != value for name, value in wanted.items() if value):
            continue
        # Those are listed by their source alone (merge request 149839).
        if pipeline.source == "parent_pipeline" != wanted["source"]:
            continue
        shown = _pipeline_json(state, project, pipeline)
        states = {
            "finished": FINISHED, "running": (RUNNING,), "pending": (PENDING,),
        }.get(scope, (shown["status"],))  # fmt: skip
        kind_fits = scope not in ("branches", "tags") or pipeline.tag == (scope == "tags")
        if shown["status"] in states and kind_fits and status in ("", shown["status"]):
            found.append(shown)
    return page(request, found)


@router.get("/pipelines/{pipeline_id:int}")
async def get_pipeline(request: Request, key: str, pipeline_id: int) -> dict[str, Any]:
    """Return a pipeline."""
    project, _ = project_for(request, key, REPORTER, "read_api")
    state = state_of(request)
    return _pipeline_details(state, project, _find_pipeline(state, project, pipeline_id))


@router.get("/pipelines/{pipeline_id:int}/jobs")
async def list_jobs(request: Request, key: str, pipeline_id: int) -> JSONResponse:
    """Return the jobs of a pipeline, newest first."""
    project, _ = project_for(request, key, REPORTER, "read_api")
    state = state_of(request)
    pipeline = _find_pipeline(state, project, pipeline_id)
    retried = Params(dict(request.query_params)).boolean("include_retried", False)
    jobs = state.store.jobs_of(pipeline.id) if retried else scheduler.latest(state, pipeline.id)
    return _jobs_page(request, state, project, jobs)


def _jobs_page(request: Request, state: State, project: Project, jobs: list[Job]) -> JSONResponse:
    """One page of jobs, the newest first, of the states that the request names."""
    query = request.query_params
    scope = [*query.getlist("scope[]"), *query.getlist("scope")]
    if set(scope) - set(STATUSES):
        raise bad_request("scope does not have a valid value")
    shown = [job_json(state, project, job) for job in reversed(jobs)]
    return page(request, [job for job in shown if not scope or job["status"] in scope])


@router.post("/pipelines/{pipeline_id:int}/cancel")
async def cancel_pipeline(request: Request, key: str, pipeline_id: int) -> dict[str, Any]:
    """Cancel the jobs of a pipeline that are not over; manual ones stay (ci/has_status.rb)."""
    project, who = project_for(request, key, DEVELOPER)
    state = state_of(request)
    pipeline = _find_pipeline(state, project, pipeline_id)
    for job in scheduler.latest(state, pipeline.id):
        if job.state != MANUAL:
            scheduler.cancel(state, _job_to_change(state, project, who, job.id))
    scheduler.process(state, pipeline.id)
    return _pipeline_details(state, project, pipeline)


@router.post("/pipelines/{pipeline_id:int}/retry", status_code=201)
async def retry_pipeline(request: Request, key: str, pipeline_id: int) -> dict[str, Any]:
    """Run the jobs again that failed or were canceled."""
    project, who = project_for(request, key, DEVELOPER)
    state = state_of(request)
    pipeline = _find_pipeline(state, project, pipeline_id)
    for job in scheduler.latest(state, pipeline.id):
        if job.state in (FAILED, CANCELED):
            scheduler.retry(state, _job_to_change(state, project, who, job.id))
    return _pipeline_details(state, project, pipeline)


@router.get("/jobs")
async def list_project_jobs(request: Request, key: str) -> JSONResponse:
    """Return the jobs of a project, newest first."""
    project, _ = project_for(request, key, REPORTER, "read_api")
    state = state_of(request)
    jobs = [job for job in state.store.jobs() if job.project_id == project.id]
    return _jobs_page(request, state, project, jobs)


@router.get("/jobs/{job_id:int}")
async def get_job(request: Request, key: str, job_id: int) -> dict[str, Any]:
    """Return a job."""
    project, _ = project_for(request, key, REPORTER, "read_api")
    state = state_of(request)
    return job_json(state, project, _find_job(state, project, job_id))


@current.get("/job")
async def get_current_job(request: Request) -> dict[str, Any]:
    """Return the running job whose token is shown: others ask whose a token is."""
    state = state_of(request)
    token = request.headers.get("job-token", "")
    for job in state.store.jobs(*ACTIVE):
        if secrets.compare_digest(token.encode(), job.token.encode()):
            project = state.store.project(job.project_id)
            assert project is not None, "a job's project is never deleted"
            return job_json(state, project, job)
    raise unauthorized()


@router.get("/jobs/{job_id:int}/trace")
async def get_trace(request: Request, key: str, job_id: int) -> Response:
    """Return a job's trace so far."""
    project, _ = project_for(request, key, REPORTER, "read_api")
    state = state_of(request)
    trace = state.store.trace(_find_job(state, project, job_id).id)
    return Response(trace, media_type="text/plain; charset=utf-8")


@router.get("/jobs/{job_id:int}/artifacts")
async def get_artifacts(request: Request, key: str, job_id: int) -> FileResponse:
    """Return a job's archive."""
    project, _ = project_for(request, key, REPORTER, "read_api")
    state = state_of(request)
    return archive_of(state, _find_job(state, project, job_id))


@router.post("/jobs/{job_id:int}/play")
async def play_job(request: Request, key: str, job_id: int) -> dict[str, Any]:
    """Start a manual job."""
    project, who = project_for(request, key, DEVELOPER)
    state = state_of(request)
    variables = _variables(await read_params(request), "job_variables_attributes")
    job = _job_to_change(state, project, who, job_id)
    if job.state != MANUAL:
        raise ApiError(400, {"message": "400 Bad request - Unplayable Job"})
    scheduler.play(state, job, variables)
    return job_json(state, project, _find_job(state, project, job_id))


@router.post("/jobs/{job_id:int}/retry", status_code=201)
async def retry_job(request: Request, key: str, job_id: int) -> dict[str, Any]:
    """Run a job again, as a new one."""
    project, who = project_for(request, key, DEVELOPER)
    state = state_of(request)
    job = _job_to_change(state, project, who, job_id)
    if job.plan is None or job.plan.retried or job.state not in FINISHED:
        raise forbidden("Job is not retryable")
    again = scheduler.retry(state, job)
    return job_json(state, project, _find_job(state, project, again.id))


@router.post("/jobs/{job_id:int}/cancel", status_code=201)
async def cancel_job(request: Request, key: str, job_id: int) -> dict[str, Any]:
    """Cancel a job: a running one by way of its runner."""
    project, who = project_for(request, key, DEVELOPER)
    state = state_of(request)
    job = _job_to_change(state, project, who, job_id)
    scheduler.cancel(state, job)
    if job.plan:
        scheduler.process(state, job.pipeline_id)
    state.changes.tell()
    return job_json(state, project, _find_job(state, project, job_id))
