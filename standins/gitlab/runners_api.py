# SPDX-License-Identifier: GPL-3.0-or-later
"""Runners: creation, verification, token reset, managers (GitLab docs, runners API)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from standins.gitlab.errors import ApiError, bad_request, forbidden, not_found
from standins.gitlab.params import Params, read_params
from standins.gitlab.records import ACTIVE, FINISHED, Runner
from standins.gitlab.state import State, identity, require_scope, state_of
from standins.gitlab.store import digest, new_token

router = APIRouter(prefix="/api/v4")

RUNNER_TYPES = ("instance_type", "group_type", "project_type")
ACCESS_LEVELS = ("not_protected", "ref_protected")
# A runner that has not called for this many seconds is offline (GitLab docs, runner statuses).
ONLINE_SECONDS = 2 * 3600
_LEGACY_TOKEN = re.compile(r"GR1348941[A-Za-z0-9_-]{20}")
_MIN_TIMEOUT = 600
_MAINTAINER = 40


def timestamp(seconds: float | None) -> str | None:
    """Return a time as GitLab writes it in JSON."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def authenticate_runner(state: State, params: Params) -> Runner:
    """Return the runner of the ``token`` parameter; 400 without one, 403 when it is not valid."""
    token = params.text("token", required=True)
    runner = state.store.runner_by_token(token)
    if runner is None:
        raise forbidden()
    return runner


def renew_token(state: State, runner: Runner) -> str:
    """Give a runner a new token and return it; the old token becomes invalid."""
    token = new_token("glrt-")
    runner.token_digest = digest(token)
    runner.short_token = token.removeprefix("glrt-")[:8]
    runner.token_expires_at = time.time() + runner.token_ttl if runner.token_ttl else None
    state.store.save_runner(runner)
    return token


def find_runner(state: State, runner_id: int) -> Runner:
    runner = state.store.runner(runner_id)
    if runner is None:
        raise not_found("Runner")
    return runner


def _apply(runner_fields: dict[str, Any], params: Params) -> dict[str, Any]:
    """Put what the request sets over ``runner_fields`` and check the whole as GitLab does."""
    fields = dict(runner_fields)
    for name in ("description", "maintenance_note"):
        if name in params:
            fields[name] = params.text(name)
    for name in ("paused", "locked", "run_untagged"):
        fields[name] = params.boolean(name, fields[name])
    if "active" in params:
        fields["paused"] = not params.boolean("active", True)
    if "tag_list" in params:
        fields["tag_list"] = params.words("tag_list")
    if "access_level" in params:
        fields["access_level"] = params.choice("access_level", ACCESS_LEVELS)
    if "maximum_timeout" in params:
        fields["maximum_timeout"] = params.integer("maximum_timeout")
    if fields["maximum_timeout"] is not None and fields["maximum_timeout"] < _MIN_TIMEOUT:
        raise ApiError(400, {"message": {"maximum_timeout": ["needs to be at least 10 minutes"]}})
    if not fields["run_untagged"] and not fields["tag_list"]:
        words = "can not be empty when runner is not allowed to pick untagged jobs"
        raise ApiError(400, {"message": {"tags_list": [words]}})
    if len(fields["description"]) > 1024:
        raise ApiError(400, {"message": {"description": ["is too long (maximum is 1024)"]}})
    if len(fields["maintenance_note"]) > 1024:
        raise ApiError(400, {"message": {"maintenance_note": ["is too long (maximum is 1024)"]}})
    return fields


_DEFAULTS: dict[str, Any] = {
    "description": "",
    "maintenance_note": "",
    "paused": False,
    "locked": False,
    "run_untagged": True,
    "tag_list": [],
    "access_level": "not_protected",
    "maximum_timeout": None,
}


@router.post("/user/runners")
async def create_runner(request: Request) -> JSONResponse:
    """Create a runner; only this answer contains its token."""
    require_scope(request, "create_runner")
    state = state_of(request)
    params = await read_params(request)
    runner_type = params.choice("runner_type", RUNNER_TYPES)
    project_id, group_id = params.integer("project_id"), params.integer("group_id")
    if runner_type == "project_type":
        if project_id is None:
            raise bad_request("project_id is missing")
        if state.store.project(project_id) is None:
            raise ApiError(400, {"message": "400 Bad request - Missing/invalid scope"})
    if runner_type == "group_type" and group_id is None:
        raise bad_request("group_id is missing")
    if project_id is not None and group_id is not None:
        raise bad_request("project_id, group_id are mutually exclusive")
    if runner_type == "instance_type" and (project_id is not None or group_id is not None):
        raise ApiError(400, {"message": "400 Bad request - Unexpected scope"})
    fields = _apply(_DEFAULTS, params)
    token = new_token("glrt-")
    runner = state.store.add_runner(
        token, runner_type=runner_type, project_id=project_id, group_id=group_id, **fields
    )
    state.store.tick_queue()
    state.changes.tell()
    body = {"id": runner.id, "token": token, "token_expires_at": None}
    return JSONResponse(body, status_code=201)


@router.post("/runners")
async def register_legacy(request: Request) -> JSONResponse:
    """Refuse registration tokens: they are off by default since GitLab 17.0."""
    params = await read_params(request)
    if not _LEGACY_TOKEN.fullmatch(params.text("token", required=True)):
        raise forbidden("invalid token supplied")
    raise ApiError(410, {"message": "410 Gone - runner registration disallowed"})


@router.post("/runners/verify")
async def verify_runner(request: Request) -> dict[str, object]:
    """Say whether a runner's token is valid."""
    state = state_of(request)
    params = await read_params(request)
    runner = authenticate_runner(state, params)
    if system_id := params.text("system_id"):
        state.store.touch_manager(runner, system_id, params.mapping("info"))
        state.changes.tell()
    return {
        "id": runner.id,
        "token": params.text("token"),
        "token_expires_at": timestamp(runner.token_expires_at),
    }


@router.post("/runners/reset_authentication_token")
async def reset_own_token(request: Request) -> JSONResponse:
    """Give a runner a new token for its old one."""
    state = state_of(request)
    return _renewed(state, authenticate_runner(state, await read_params(request)))


@router.post("/runners/{runner_id}/reset_authentication_token")
async def reset_token(request: Request, runner_id: int) -> JSONResponse:
    """Give a runner a new token by order of a user."""
    require_scope(request, "manage_runner")
    state = state_of(request)
    return _renewed(state, find_runner(state, runner_id))


def _renewed(state: State, runner: Runner) -> JSONResponse:
    token = renew_token(state, runner)
    state.changes.tell()
    body = {"token": token, "token_expires_at": timestamp(runner.token_expires_at)}
    return JSONResponse(body, status_code=201)


@router.delete("/runners/managers")
async def delete_manager(request: Request) -> Response:
    """Forget one host of a runner."""
    state = state_of(request)
    params = await read_params(request)
    system_id = params.text("system_id", required=True)
    runner = authenticate_runner(state, params)
    if not state.store.delete_manager(runner.id, system_id):
        raise not_found("Runner manager")
    state.changes.tell()
    return Response(status_code=204)


@router.delete("/runners")
async def delete_own_runner(request: Request) -> Response:
    """Delete a runner by its own token."""
    state = state_of(request)
    runner = authenticate_runner(state, await read_params(request))
    state.store.delete_runner(runner.id)
    state.changes.tell()
    return Response(status_code=204)


@router.get("/runners/all")
async def list_all(request: Request) -> JSONResponse:
    """Return every runner, a page of them."""
    require_scope(request, "manage_runner")
    return runners_page(request, lambda runner: True)


@router.get("/groups/{group_id}/runners")
async def list_of_group(request: Request, group_id: int) -> JSONResponse:
    """Return what a group may use: its own runners, and the instance's."""
    require_scope(request, "manage_runner")
    if state_of(request).store.namespaces().get(group_id, "root") == "root":
        raise not_found("Group")
    return runners_page(
        request,
        lambda runner: runner.group_id == group_id or runner.runner_type == "instance_type",
    )


def runners_page(request: Request, chosen: Callable[[Runner], bool]) -> JSONResponse:
    """One page, with the address of the next in Link (GitLab docs, "Pagination")."""
    state = state_of(request)
    params = Params(dict(request.query_params))
    kind = params.choice("type", ("", *RUNNER_TYPES), "")
    tags = set(params.words("tag_list"))
    page, size = params.integer("page") or 1, min(params.integer("per_page") or 20, 100)
    found = [
        r
        for r in state.store.runners()
        if chosen(r) and kind in ("", r.runner_type) and tags <= set(r.tag_list)
    ]
    body = [summary(state, runner) for runner in found[(page - 1) * size : page * size]]
    headers = {}
    if len(found) > page * size:
        following = request.url.include_query_params(page=page + 1, per_page=size)
        headers["Link"] = f'<{following}>; rel="next"'
    return JSONResponse(body, headers=headers)


def summary(state: State, runner: Runner) -> dict[str, object]:
    """What lists tell of a runner."""
    told = ("id", "description", "active", "paused", "is_shared", "runner_type", "name", "online",
            "status")  # fmt: skip
    return {key: value for key, value in _details(state, runner).items() if key in told}


@router.get("/runners/{runner_id}")
async def get_runner(request: Request, runner_id: int) -> dict[str, object]:
    """Return a runner's details; never its token."""
    state = state_of(request)
    _require_sight(request, runner := find_runner(state, runner_id))
    return _details(state, runner)


def _require_sight(request: Request, runner: Runner) -> None:
    """Who may see a runner: administrators, and maintainers of a project that it serves.

    After lib/api/ci/helpers/runner.rb, where each user may see an instance's runner.
    """
    who = identity(request)
    bot = who.project_id is not None
    if bot and runner.runner_type != "instance_type":
        project = state_of(request).store.project(who.project_id or 0)
        assert project is not None, "a token's project is never deleted"
        groups = state_of(request).store.groups_of(project)
        if who.access_level < _MAINTAINER or not (
            runner.serves(project.id) or runner.group_id in groups
        ):
            raise forbidden()
    if not bot:
        require_scope(request, "manage_runner")


@router.put("/runners/{runner_id}")
async def update_runner(request: Request, runner_id: int) -> dict[str, object]:
    """Pause a runner, change its tags and so on."""
    require_scope(request, "manage_runner")
    state = state_of(request)
    runner = find_runner(state, runner_id)
    params = await read_params(request)
    if not any(name in params for name in (*_DEFAULTS, "active")):
        names = ", ".join((*_DEFAULTS, "active"))
        raise bad_request(f"{names} are missing, at least one parameter must be provided")
    for name, value in _apply({key: getattr(runner, key) for key in _DEFAULTS}, params).items():
        setattr(runner, name, value)
    state.store.save_runner(runner)
    state.store.tick_queue()
    state.changes.tell()
    return _details(state, runner)


@router.delete("/runners/{runner_id}")
async def delete_runner(request: Request, runner_id: int) -> Response:
    """Delete a runner by order of a user."""
    require_scope(request, "manage_runner")
    state = state_of(request)
    state.store.delete_runner(find_runner(state, runner_id).id)
    state.changes.tell()
    return Response(status_code=204)


@router.get("/runners/{runner_id}/managers")
async def list_managers(request: Request, runner_id: int) -> list[dict[str, object]]:
    """Return the hosts that use a runner's token."""
    require_scope(request, "manage_runner")
    state = state_of(request)
    find_runner(state, runner_id)
    busy = {job.system_id for job in state.store.jobs(*ACTIVE) if job.runner_id == runner_id}
    return [
        {
            "id": manager.id,
            "system_id": manager.system_id,
            "version": manager.version,
            "revision": manager.revision,
            "platform": manager.platform,
            "architecture": manager.architecture,
            "created_at": timestamp(manager.created_at),
            "contacted_at": timestamp(manager.contacted_at),
            "ip_address": None,
            "status": _status(manager.contacted_at),
            "job_execution_status": "active" if manager.system_id in busy else "idle",
        }
        for manager in state.store.managers(runner_id)
    ]


@router.get("/runners/{runner_id}/jobs")
async def list_runner_jobs(request: Request, runner_id: int) -> list[dict[str, object]]:
    """Return the jobs that a runner has or had, newest first."""
    require_scope(request, "manage_runner")
    state = state_of(request)
    find_runner(state, runner_id)
    params = Params(dict(request.query_params))
    status = params.choice("status", ("", *ACTIVE, *FINISHED), "")
    system_id = params.text("system_id")
    jobs = [
        job
        for job in state.store.jobs(*((status,) if status else ()))
        if job.runner_id == runner_id and system_id in ("", job.system_id)
    ]
    return [
        {
            "id": job.id,
            "status": job.state,
            "stage": job.stage,
            "name": job.name,
            "ref": job.ref,
            "tag": job.ref_type == "tag",
            "created_at": timestamp(job.created_at),
            "started_at": timestamp(job.started_at),
            "finished_at": timestamp(job.finished_at),
        }
        for job in reversed(jobs)
    ]


def _status(contacted_at: float | None) -> str:
    if contacted_at is None:
        return "never_contacted"
    return "online" if time.time() - contacted_at < ONLINE_SECONDS else "offline"


def _details(state: State, runner: Runner) -> dict[str, object]:
    projects = [
        {"id": project.id, "path_with_namespace": project.path}
        for key in (runner.project_id, *runner.assigned)
        if key is not None and (project := state.store.project(key))
    ]
    return {
        "id": runner.id,
        "description": runner.description,
        "active": not runner.paused,
        "paused": runner.paused,
        "is_shared": runner.runner_type == "instance_type",
        "runner_type": runner.runner_type,
        "name": "gitlab-runner",
        "online": _status(runner.contacted_at) == "online",
        "status": _status(runner.contacted_at),
        "contacted_at": timestamp(runner.contacted_at),
        "created_at": timestamp(runner.created_at),
        "tag_list": runner.tag_list,
        "run_untagged": runner.run_untagged,
        "locked": runner.locked,
        "maximum_timeout": runner.maximum_timeout,
        "access_level": runner.access_level,
        "maintenance_note": runner.maintenance_note,
        "projects": projects,
        "groups": [{"id": runner.group_id}] if runner.group_id else [],
    }
