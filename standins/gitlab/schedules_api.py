# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipeline schedules of projects and their variables (GitLab docs, pipeline schedules API).

Rules after GitLab's lib/api/ci/pipeline_schedules.rb: lists have no variables, and a variable that
is deleted is answered with 202. No pipeline is started by one.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from standins.gitlab.access import DEVELOPER, MAINTAINER, page, project_for
from standins.gitlab.errors import ApiError, not_found
from standins.gitlab.params import read_params
from standins.gitlab.records import Project, Schedule
from standins.gitlab.runners_api import timestamp
from standins.gitlab.state import state_of

router = APIRouter(prefix="/api/v4/projects/{key:path}/pipeline_schedules")

_KEY = re.compile(r"[a-zA-Z0-9_]{1,255}")


def _shown(schedule: Schedule) -> dict[str, Any]:
    return {
        "id": schedule.id,
        "description": schedule.description,
        "ref": schedule.ref,
        "cron": schedule.cron,
        "cron_timezone": schedule.cron_timezone,
        "next_run_at": None,
        "active": schedule.active,
        "created_at": timestamp(schedule.created_at),
        "updated_at": timestamp(schedule.created_at),
        "owner": {"id": 1, "username": "root", "name": "root", "state": "active"},
    }


def _details(schedule: Schedule) -> dict[str, Any]:
    return {**_shown(schedule), "last_pipeline": None, "variables": schedule.variables}


def _find(request: Request, project: Project, number: int) -> Schedule:
    found = state_of(request).store.schedules.get(number)
    if found is None or found.project_id != project.id:
        raise not_found("Pipeline Schedule")
    return found


@router.get("")
async def list_all(request: Request, key: str) -> JSONResponse:
    """Return the schedules of a project, without their variables."""
    project, _ = project_for(request, key, DEVELOPER, "read_api")
    return page(request, [_shown(one) for one in state_of(request).store.schedules.of(project.id)])


@router.post("", status_code=201)
async def create(request: Request, key: str) -> dict[str, Any]:
    """Make a schedule."""
    project, _ = project_for(request, key, DEVELOPER)
    params = await read_params(request)
    needed = {name: params.text(name, required=True) for name in ("description", "ref", "cron")}
    made = state_of(request).store.schedules.add(
        project_id=project.id, **needed, cron_timezone=params.text("cron_timezone", "UTC"),
        active=params.boolean("active", True),
    )  # fmt: skip
    return _details(made)


@router.get("/{number:int}")
async def get(request: Request, key: str, number: int) -> dict[str, Any]:
    """Return a schedule; its variables to a maintainer alone."""
    project, who = project_for(request, key, DEVELOPER, "read_api")
    found = _find(request, project, number)
    return _details(found) if who.level_in(project) >= MAINTAINER else _shown(found)


@router.post("/{number:int}/variables", status_code=201)
async def add_variable(request: Request, key: str, number: int) -> dict[str, str]:
    """Add a variable."""
    project, _ = project_for(request, key, MAINTAINER)
    found = _find(request, project, number)
    params = await read_params(request)
    name, value = params.text("key", required=True), params.text("value", required=True)
    if not _KEY.fullmatch(name):
        raise ApiError(400, {"message": {"key": ["can contain only letters, digits and '_'."]}})
    if any(one["key"] == name for one in found.variables):
        raise ApiError(400, {"message": {"key": ["has already been taken"]}})
    kind = params.choice("variable_type", ("env_var", "file"), "env_var")
    made = {"variable_type": kind, "key": name, "value": value}
    found.variables.append(made)
    state_of(request).store.schedules.save(found)
    return made


@router.delete("/{number:int}/variables/{name}", status_code=202)
async def delete_variable(request: Request, key: str, number: int, name: str) -> dict[str, str]:
    """Delete a variable."""
    project, _ = project_for(request, key, MAINTAINER)
    found = _find(request, project, number)
    for one in found.variables:
        if one["key"] == name:
            found.variables.remove(one)
            state_of(request).store.schedules.save(found)
            return one
    raise not_found("Pipeline Schedule Variable")
