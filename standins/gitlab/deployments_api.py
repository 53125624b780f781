# SPDX-License-Identifier: GPL-3.0-or-later
"""Deployments of projects: which job had which environment (GitLab docs, deployments API).

A job of a pipeline makes one unless its action is prepare, verify or access.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from standins.gitlab.access import REPORTER, page, project_for
from standins.gitlab.errors import bad_request
from standins.gitlab.params import Params
from standins.gitlab.pipelines_api import job_json
from standins.gitlab.records import CANCELING, FINISHED, RUNNING, SKIPPED, Job, Project
from standins.gitlab.runners_api import timestamp
from standins.gitlab.state import State, state_of

router = APIRouter(prefix="/api/v4/projects/{key:path}/deployments")

_ACTIONS = ("start", "stop")
_ORDERS = ("id", "iid", "created_at", "updated_at", "finished_at", "ref")


def _updated(job: Job) -> float:
    return job.finished_at or job.started_at or job.created_at


def _status(job: Job) -> str:
    if job.state in (RUNNING, CANCELING):
        return RUNNING
    return job.state if job.state in (*FINISHED, SKIPPED) else "created"


def _shown(state: State, project: Project, job: Job) -> dict[str, Any]:
    name = job.of_pipeline.environment
    named = [one for one in state.store.environments.of(project.id) if one.name == name]
    return {
        "id": job.id,
        "iid": job.id,
        "ref": job.ref,
        "sha": job.sha,
        "created_at": timestamp(job.created_at),
        "updated_at": timestamp(_updated(job)),
        "status": _status(job),
        "environment": {"id": named[0].id if named else 0, "name": name, "external_url": None},
        "deployable": job_json(state, project, job),
    }


@router.get("")
async def list_all(request: Request, key: str) -> JSONResponse:
    """Return the deployments of a project."""
    project, _ = project_for(request, key, REPORTER, "read_api")
    state = state_of(request)
    params = Params(dict(request.query_params))
    order = params.choice("order_by", _ORDERS, "id")
    backwards = params.choice("sort", ("asc", "desc"), "asc") == "desc"
    environment, after = params.text("environment"), 0.0
    if "updated_after" in params:
        try:
            after = datetime.fromisoformat(params.text("updated_after")).timestamp()
        except ValueError:
            raise bad_request("updated_after is invalid") from None
    found = [
        job
        for job in state.store.jobs()
        if job.project_id == project.id
        and job.plan
        and job.plan.environment
        and job.plan.action in _ACTIONS
        and environment in ("", job.plan.environment)
        and _updated(job) >= after
    ]
    by_time = order == "updated_at"
    found.sort(key=lambda job: (_updated(job) if by_time else 0, job.id), reverse=backwards)
    return page(request, [_shown(state, project, job) for job in found])
