# SPDX-License-Identifier: GPL-3.0-or-later
"""Which projects a runner serves (GitLab docs, runners API).

Rules and words after GitLab's lib/api/ci/runners.rb: an administrator may assign a locked runner,
which nobody else may.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from standins.gitlab.access import MAINTAINER, project_for
from standins.gitlab.errors import ApiError, bad_request, forbidden
from standins.gitlab.params import read_params
from standins.gitlab.runners_api import find_runner, runners_page, summary
from standins.gitlab.state import require_scope, state_of

router = APIRouter(prefix="/api/v4")


@router.get("/runners")
async def list_owned(request: Request) -> JSONResponse:
    """Return the runners of groups and projects: this user owns all of them."""
    require_scope(request, "manage_runner")
    return runners_page(request, lambda runner: runner.runner_type != "instance_type")


@router.get("/projects/{key:path}/runners")
async def list_of_project(request: Request, key: str) -> JSONResponse:
    """Return what a project may use: its own runners, its groups', and the instance's."""
    project, _ = project_for(request, key, MAINTAINER, "read_api", "manage_runner")
    number, groups = project.id, state_of(request).store.groups_of(project)
    return runners_page(
        request,
        lambda runner: (
            runner.serves(number)
            or runner.group_id in groups
            or runner.runner_type == "instance_type"
        ),
    )


@router.post("/projects/{key:path}/runners")
async def assign(request: Request, key: str) -> JSONResponse:
    """Have a project's runner serve another project too."""
    project, _ = project_for(request, key, MAINTAINER)
    require_scope(request)
    state = state_of(request)
    number = (await read_params(request)).integer("runner_id")
    if number is None:
        raise bad_request("runner_id is missing")
    runner = find_runner(state, number)
    if runner.runner_type == "group_type":
        raise forbidden("Runner is a group runner")
    if runner.runner_type == "instance_type":
        raise forbidden("No access granted")
    if runner.serves(project.id):
        words = "Assign to Validation failed: Runner projects runner has already been taken"
        raise ApiError(400, {"message": [words], "reason": "runner_error"})
    runner.assigned.append(project.id)
    state.store.save_runner(runner)
    state.store.tick_queue()
    state.changes.tell()
    return JSONResponse(summary(state, runner), status_code=201)
