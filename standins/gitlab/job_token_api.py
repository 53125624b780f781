# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose job tokens a project lets in (GitLab docs, CI/CD job token scope API).

Rules and words after GitLab's lib/api/project_job_token_scope.rb and
app/services/ci/job_token_scope/. The lists name the project itself first.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from standins.gitlab.access import GUEST, MAINTAINER, page, project_for
from standins.gitlab.errors import ApiError, bad_request
from standins.gitlab.params import read_params
from standins.gitlab.records import Allowed, Project
from standins.gitlab.state import Identity, state_of

router = APIRouter(prefix="/api/v4/projects/{key:path}/job_token_scope")

_MOST = 200


def _refused(words: str) -> ApiError:
    return ApiError(400, {"message": f"400 Bad request - {words}"})


def _numbered(request: Request, key: str) -> tuple[Project, Identity]:
    """The project by its number: changes of lists take no path."""
    if not key.isdigit():
        raise bad_request("id is invalid")
    return project_for(request, key, MAINTAINER)


def _links(request: Request, project: Project, *, group: bool) -> list[Allowed]:
    found = state_of(request).store.allowed.of(project.id)
    return [one for one in found if one.group == group]


def _group_path(request: Request, number: int) -> str | None:
    path = state_of(request).store.namespaces().get(number)
    return None if path == "root" else path


@router.get("")
async def get(request: Request, key: str) -> dict[str, bool]:
    """Say whether access is limited."""
    project, _ = project_for(request, key, MAINTAINER, "read_api")
    return {"inbound_enabled": project.job_tokens_limited, "outbound_enabled": False}


@router.patch("")
async def change(request: Request, key: str) -> Response:
    """Limit access, or open it."""
    project, _ = project_for(request, key, MAINTAINER)
    params = await read_params(request)
    if "enabled" not in params:
        raise bad_request("enabled is missing")
    project.job_tokens_limited = params.boolean("enabled", True)
    state_of(request).store.save_project(project)
    return Response(status_code=204)


@router.get("/allowlist")
async def list_projects(request: Request, key: str) -> JSONResponse:
    """Return the projects that are let in."""
    project, _ = project_for(request, key, MAINTAINER, "read_api")
    store = state_of(request).store
    numbers = [project.id, *(one.target for one in _links(request, project, group=False))]
    found = [one for number in numbers if (one := store.project(number))]
    shown = [{"id": one.id, "name": one.name, "path_with_namespace": one.path} for one in found]
    return page(request, shown)


@router.get("/groups_allowlist")
async def list_groups(request: Request, key: str) -> JSONResponse:
    """Return the groups that are let in."""
    project, _ = project_for(request, key, MAINTAINER, "read_api")
    url = state_of(request).settings.external_url
    found = [
        {"id": one.target, "name": path.rpartition("/")[2], "web_url": f"{url}/groups/{path}"}
        for one in _links(request, project, group=True)
        if (path := _group_path(request, one.target))
    ]
    return page(request, found)


async def _add(request: Request, key: str, *, group: bool) -> JSONResponse:
    project, who = _numbered(request, key)
    store = state_of(request).store
    kind = "group" if group else "project"
    name = f"target_{kind}_id"
    number = (await read_params(request)).integer(name)
    if number is None:
        raise bad_request(f"{name} is missing")
    if group:
        path = _group_path(request, number)
        seen = bool(path) and (who.project_id is None or number in store.groups_of(project))
    else:
        target = store.project(number)
        path = target.path if target else None
        seen = target is not None and who.level_in(target) >= GUEST
    if not path:
        raise ApiError(404, {"message": f"404 {name} not found Not Found"})
    if not seen:
        raise _refused(
            f"The target_{kind} that you are attempting to access does not exist or you don't "
            "have permission to perform this action"
        )
    if not group and number == project.id:
        raise _refused("Validation failed: Target project can't be the same as the source project")
    links = _links(request, project, group=group)
    if number in {one.target for one in links}:
        raise _refused(f"Target {kind} is already in the job token scope")
    if len(links) >= _MOST:
        raise _refused(f"Validation failed: Source project exceeds the allowable number of {kind} "
                       "links in this direction")  # fmt: skip
    store.allowed.add(project_id=project.id, group=group, target=number)
    return JSONResponse({"source_project_id": project.id, name: number}, status_code=201)


@router.post("/allowlist")
async def add_project(request: Request, key: str) -> JSONResponse:
    """Let a project in."""
    return await _add(request, key, group=False)


@router.post("/groups_allowlist")
async def add_group(request: Request, key: str) -> JSONResponse:
    """Let all projects of a group in."""
    return await _add(request, key, group=True)


def _remove(request: Request, project: Project, number: int, *, group: bool) -> Response:
    kind = "group" if group else "project"
    for one in _links(request, project, group=group):
        if one.target == number:
            state_of(request).store.allowed.delete(one.id)
            return Response(status_code=204)
    raise _refused(f"Target {kind} is not in the job token scope")


@router.delete("/allowlist/{number:int}")
async def remove_project(request: Request, key: str, number: int) -> Response:
    """Let a project in no longer."""
    project, _ = _numbered(request, key)
    target, _ = project_for(request, str(number), GUEST)
    if target.id == project.id:
        raise _refused("Source project cannot be removed from the job token scope")
    return _remove(request, project, number, group=False)


@router.delete("/groups_allowlist/{number:int}")
async def remove_group(request: Request, key: str, number: int) -> Response:
    """Let a group in no longer."""
    project, _ = _numbered(request, key)
    if not _group_path(request, number):
        raise ApiError(404, {"message": "404 target_group_id not found Not Found"})
    return _remove(request, project, number, group=True)
