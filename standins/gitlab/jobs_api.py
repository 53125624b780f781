# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as runners see them: request, trace, state, artifacts.

Rules after the GitLab docs (jobs API, runner API) and gitlab-runner 19.3, network/gitlab.go.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import time
import zlib
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import UploadFile

from standins.gitlab.ci_variables import variable
from standins.gitlab.errors import ApiError, bad_request, forbidden, not_found, unauthorized
from standins.gitlab.params import Params, read_params
from standins.gitlab.payload import job_payload
from standins.gitlab.records import (
    ACTIVE,
    CANCELED,
    CANCELING,
    FAILED,
    PENDING,
    SUCCESS,
    Job,
    Runner,
)
from standins.gitlab.runners_api import authenticate_runner
from standins.gitlab.scheduler import job_ended
from standins.gitlab.state import State, state_of

router = APIRouter(prefix="/api/v4")

_RANGE = re.compile(r"(\d+)-(\d+)")
_FORMATS = ("zip", "gzip", "raw", "zipzstd", "tarzstd")
_DOTENV_LINE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")


def may_run(state: State, job: Job, runner: Runner) -> bool:
    """Return whether ``runner`` may take ``job``: pause, project or group, tags, protection."""
    if runner.paused:
        return False
    if runner.runner_type == "project_type" and not runner.serves(job.project_id):
        return False
    if runner.runner_type == "group_type":
        project = state.store.project(job.project_id)
        if project is None or runner.group_id not in state.store.groups_of(project):
            return False
    if runner.access_level == "ref_protected" and not job.protected:
        return False
    if not job.tags:
        return runner.run_untagged
    return set(job.tags) <= set(runner.tag_list)


@router.post("/jobs/request")
async def request_job(request: Request) -> Response:
    """Hand a job to a runner (201), or none (204)."""
    state = state_of(request)
    params = await read_params(request)
    runner = authenticate_runner(state, params)
    system_id = params.text("system_id", "<legacy>")
    state.store.touch_manager(runner, system_id, params.mapping("info"))
    state.changes.tell()
    queue = state.store.queue_value()
    nothing = Response(status_code=204, headers={"X-GitLab-Last-Update": queue})
    if runner.paused or params.text("last_update") == queue:
        return nothing
    for job in state.store.jobs(PENDING):
        if may_run(state, job, runner) and state.store.take_job(job, runner, system_id):
            state.changes.tell()
            payload = job_payload(state.store, state.settings, job, runner)
            return JSONResponse(payload, status_code=201)
    return nothing


def _token_of(request: Request, params: Params | None = None) -> str:
    return request.headers.get("job-token", "") or (params.text("token") if params else "")


def authenticate_job(
    state: State, job_id: int, token: str, *, running: bool = True, hide: bool = False
) -> Job:
    """Return the job if ``token`` is its own; 403 otherwise, or when it must run and does not."""
    job = state.store.job(job_id)
    if job is None:
        raise not_found() if hide else forbidden()
    if not token or token != job.token:
        raise forbidden()
    if running and job.state not in ACTIVE:
        raise forbidden("Job is not processing on runner", _status_headers(state, job))
    return job


def _status_headers(state: State, job: Job) -> dict[str, str]:
    interval = str(state.settings.trace_update_interval)
    return {"Job-Status": job.state, "X-GitLab-Trace-Update-Interval": interval}


@router.put("/jobs/{job_id}")
async def update_job(request: Request, job_id: int) -> Response:
    """Update the state of a job as its runner reports it."""
    state = state_of(request)
    params = await read_params(request)
    job = authenticate_job(state, job_id, _token_of(request, params))
    wanted = params.choice("state", ("running", SUCCESS, FAILED))
    output = params.mapping("output")
    if wanted == "running":
        return Response("200", headers=_status_headers(state, job), media_type="text/plain")
    trace = state.store.trace(job_id)
    checksum, size = output.get("checksum"), output.get("bytesize")
    if checksum:
        job.checksum_ok = checksum == f"crc32:{zlib.crc32(trace):08x}" and size == len(trace)
        if not job.checksum_ok:
            state.store.save_job(job)
            headers = _status_headers(state, job)
            return Response("412", status_code=412, headers=headers, media_type="text/plain")
    job.state = CANCELED if job.state == CANCELING else wanted
    job.failure_reason = params.text("failure_reason") or (
        "unknown_failure" if wanted == FAILED else None
    )
    job.exit_code = params.integer("exit_code")
    job.finished_at = time.time()
    state.store.save_job(job)
    state.store.tick_queue()
    job_ended(state, job)
    state.changes.tell()
    return Response("200", headers=_status_headers(state, job), media_type="text/plain")


@router.patch("/jobs/{job_id}/trace")
async def patch_trace(request: Request, job_id: int) -> Response:
    """Append to a job's trace, if the part starts where the trace ends."""
    state = state_of(request)
    # The body first: a job that was read before an await may have changed since.
    body = await request.body()
    job = authenticate_job(state, job_id, _token_of(request), hide=True)
    content_range = request.headers.get("content-range")
    if content_range is None:
        raise bad_request("400 Missing header Content-Range")
    match = _RANGE.fullmatch(content_range)
    if match is None or int(match[2]) - int(match[1]) + 1 != len(body):
        raise bad_request("400 Content-Range does not fit the body")
    have = len(state.store.trace(job_id))
    headers = _status_headers(state, job)
    if int(match[1]) != have:
        headers["Range"] = f"0-{have}"
        return Response("416 Range Not Satisfiable", status_code=416, headers=headers)
    headers["Range"] = f"0-{state.store.append_trace(job_id, body)}"
    state.store.save_job(job)
    state.changes.tell()
    return Response("202 Accepted", status_code=202, headers=headers, media_type="text/plain")


@router.post("/jobs/{job_id}/artifacts")
async def upload_artifacts(request: Request, job_id: int) -> JSONResponse:
    """Take one artifact of a running job."""
    state = state_of(request)
    authenticate_job(state, job_id, _token_of(request))
    query = Params(dict(request.query_params))
    kind = query.text("artifact_type", "archive")
    form_name = query.choice("artifact_format", _FORMATS, "zip")
    if not re.fullmatch(r"[a-z_]+", kind):
        raise bad_request("artifact_type does not have a valid value")
    if kind == "dotenv" and form_name != "gzip":
        raise ApiError(400, {"message": "400 Bad request - Invalid artifact format"})
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise bad_request("file is missing")
    async with request.form() as form:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise bad_request("file is missing")
        if (upload.size or 0) > state.settings.max_artifact_size:
            raise ApiError(413, {"message": "413 Request Entity Too Large"})
        # Check again: the job may have been cancelled while the body was received.
        job = authenticate_job(state, job_id, _token_of(request))
        if any(item["type"] == kind for item in job.uploads):
            raise ApiError(400, {"message": "another artifact of the same type already exists"})
        path = state.store.artifact_file(job_id, kind)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as out:
            shutil.copyfileobj(upload.file, out)
        filename = Path(upload.filename or "artifacts").name
    if kind == "dotenv":
        job.dotenv = parse_dotenv(path)
    job.uploads.append(
        {
            "type": kind,
            "format": form_name,
            "filename": filename,
            "size": path.stat().st_size,
            "expire_in": query.text("expire_in"),
        }
    )
    state.store.save_job(job)
    state.changes.tell()
    return JSONResponse({"message": "201 Created"}, status_code=201)


def parse_dotenv(path: Path) -> list[dict[str, Any]]:
    """Return the variables of a dotenv report (gzip); 400 as GitLab words it."""
    try:
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        raise ApiError(400, {"message": "400 Bad request - Invalid dotenv file"}) from None
    variables = []
    for line in filter(str.strip, text.splitlines()):
        match = _DOTENV_LINE.fullmatch(line)
        if match is None:
            raise ApiError(400, {"message": "400 Bad request - Invalid Format"})
        variables.append(variable(match[1], match[2].strip(), public=False, raw=True))
    return variables


@router.get("/jobs/{job_id}/artifacts")
async def download_artifacts(request: Request, job_id: int) -> FileResponse:
    """Give a job's archive to a job that depends on it."""
    state = state_of(request)
    token = _token_of(request)
    if not token:
        raise unauthorized()
    # The runner shows the token of the job that made the archive, which is over by then.
    job = authenticate_job(state, job_id, token, running=False, hide=True)
    return archive_of(state, job)


def archive_of(state: State, job: Job) -> FileResponse:
    """Return a job's archive; 404 without one."""
    archive = next((item for item in job.uploads if item["type"] == "archive"), None)
    if archive is None:
        raise not_found()
    path = state.store.artifact_file(job.id, "archive")
    return FileResponse(path, media_type="application/zip", filename=archive["filename"])
