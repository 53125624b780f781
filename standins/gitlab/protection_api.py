# SPDX-License-Identifier: GPL-3.0-or-later
"""Protected branches and tags (GitLab docs, APIs of both), and access tokens of projects.

A project's access token is a person with a role in this project alone: a bot.
"""

from __future__ import annotations

import secrets
from datetime import date
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from standins.gitlab.access import MAINTAINER, page, project_for
from standins.gitlab.errors import ApiError, bad_request, not_found
from standins.gitlab.params import Params, read_params
from standins.gitlab.protection import LEVELS
from standins.gitlab.records import AccessToken, Project, ProtectedRef
from standins.gitlab.state import state_of
from standins.gitlab.store import new_token

router = APIRouter(prefix="/api/v4/projects/{key:path}")

_ROLES = (10, 15, 20, 30, 40, 50)
_SCOPES = ("api", "read_api", "read_repository", "write_repository", "create_runner",
           "manage_runner")  # fmt: skip


def _level(params: Params, name: str) -> int:
    level = params.integer(name)
    if level is None:
        return MAINTAINER
    if level not in LEVELS:
        raise bad_request(f"{name} does not have a valid value")
    return level


def _levels(rule: ProtectedRef, level: int) -> list[dict[str, Any]]:
    return [
        {
            "id": rule.id,
            "access_level": level,
            "access_level_description": LEVELS[level],
            "deploy_key_id": None,
            "user_id": None,
            "group_id": None,
        }
    ]


def _shown(rule: ProtectedRef) -> dict[str, Any]:
    if rule.tag:
        return {"name": rule.name, "create_access_levels": _levels(rule, rule.push_level)}
    return {
        "id": rule.id,
        "name": rule.name,
        "push_access_levels": _levels(rule, rule.push_level),
        "merge_access_levels": _levels(rule, rule.merge_level),
        "allow_force_push": rule.allow_force_push,
    }


def _rules(request: Request, project: Project, *, tag: bool) -> list[ProtectedRef]:
    rules = state_of(request).store.protected_refs.of(project.id)
    return [rule for rule in rules if rule.tag == tag]


def _find(request: Request, project: Project, name: str, *, tag: bool) -> ProtectedRef:
    for rule in _rules(request, project, tag=tag):
        if rule.name == name:
            return rule
    raise not_found()


@router.get("/protected_tags")
async def list_tags(request: Request, key: str) -> JSONResponse:
    """Return the protected tags of a project."""
    project, _ = project_for(request, key, MAINTAINER)
    return page(request, [_shown(rule) for rule in _rules(request, project, tag=True)])


@router.post("/protected_tags")
async def protect_tag(request: Request, key: str) -> JSONResponse:
    """Protect a tag, or several by ``*``."""
    project, _ = project_for(request, key, MAINTAINER)
    params = await read_params(request)
    name = params.text("name", required=True)
    level = _level(params, "create_access_level")
    if any(rule.name == name for rule in _rules(request, project, tag=True)):
        raise ApiError(422, {"message": ["Name has already been taken"]})
    rules = state_of(request).store.protected_refs
    rule = rules.add(project_id=project.id, tag=True, name=name, push_level=level)
    return JSONResponse(_shown(rule), status_code=201)


@router.get("/protected_tags/{name:path}")
async def get_tag(request: Request, key: str, name: str) -> dict[str, Any]:
    """Return one protected tag."""
    project, _ = project_for(request, key, MAINTAINER)
    return _shown(_find(request, project, name, tag=True))


@router.delete("/protected_tags/{name:path}")
async def unprotect_tag(request: Request, key: str, name: str) -> Response:
    """Protect a tag no longer."""
    project, _ = project_for(request, key, MAINTAINER)
    state_of(request).store.protected_refs.delete(_find(request, project, name, tag=True).id)
    return Response(status_code=204)


@router.get("/protected_branches")
async def list_branches(request: Request, key: str) -> JSONResponse:
    """Return the protected branches of a project."""
    project, _ = project_for(request, key, MAINTAINER)
    word = request.query_params.get("search", "").lower()
    rules = [rule for rule in _rules(request, project, tag=False) if word in rule.name.lower()]
    return page(request, [_shown(rule) for rule in rules])


@router.post("/protected_branches")
async def protect_branch(request: Request, key: str) -> JSONResponse:
    """Protect a branch, or several by ``*``."""
    project, _ = project_for(request, key, MAINTAINER)
    params = await read_params(request)
    name = params.text("name", required=True)
    if any(rule.name == name for rule in _rules(request, project, tag=False)):
        raise ApiError(409, {"message": f"Protected branch '{name}' already exists"})
    rule = state_of(request).store.protected_refs.add(
        project_id=project.id,
        tag=False,
        name=name,
        push_level=_level(params, "push_access_level"),
        merge_level=_level(params, "merge_access_level"),
        allow_force_push=params.boolean("allow_force_push", False),
    )
    return JSONResponse(_shown(rule), status_code=201)


@router.get("/protected_branches/{name:path}")
async def get_branch(request: Request, key: str, name: str) -> dict[str, Any]:
    """Return one protected branch."""
    project, _ = project_for(request, key, MAINTAINER)
    return _shown(_find(request, project, name, tag=False))


@router.patch("/protected_branches/{name:path}")
async def change_branch(request: Request, key: str, name: str) -> dict[str, Any]:
    """Allow or forbid that commits of a protected branch are lost."""
    project, _ = project_for(request, key, MAINTAINER)
    rule = _find(request, project, name, tag=False)
    params = await read_params(request)
    rule.allow_force_push = params.boolean("allow_force_push", rule.allow_force_push)
    state_of(request).store.protected_refs.save(rule)
    return _shown(rule)


@router.delete("/protected_branches/{name:path}")
async def unprotect_branch(request: Request, key: str, name: str) -> Response:
    """Protect a branch no longer."""
    project, _ = project_for(request, key, MAINTAINER)
    state_of(request).store.protected_refs.delete(_find(request, project, name, tag=False).id)
    return Response(status_code=204)


def _token_json(record: AccessToken) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "scopes": record.scopes,
        "access_level": record.access_level,
        "active": True,
        "revoked": False,
        "expires_at": record.expires_at,
        "user_id": 1000 + record.id,
    }


@router.get("/access_tokens")
async def list_tokens(request: Request, key: str) -> JSONResponse:
    """Return the access tokens of a project, without the tokens."""
    project, _ = project_for(request, key, MAINTAINER)
    tokens = state_of(request).store.access_tokens_of(project.id)
    return page(request, [_token_json(record) for record in tokens])


@router.post("/access_tokens")
async def create_token(request: Request, key: str) -> JSONResponse:
    """Make an access token with a role in this project."""
    project, who = project_for(request, key, MAINTAINER)
    params = await read_params(request)
    name = params.text("name", required=True)
    scopes = params.words("scopes")
    level = params.integer("access_level")
    expires = params.text("expires_at", required=True)
    if not scopes or set(scopes) - set(_SCOPES):
        raise bad_request("scopes does not have a valid value")
    if level is not None and level not in _ROLES:
        raise bad_request("access_level does not have a valid value")
    try:
        date.fromisoformat(expires)
    except ValueError:
        raise bad_request("expires_at is invalid") from None
    level = MAINTAINER if level is None else level
    if who.project_id is not None or level > who.access_level:
        words = "400 Bad request - User does not have permission to create project access token"
        raise ApiError(400, {"message": words})
    token = new_token("glpat-")
    state = state_of(request)
    state.redactor.learn(token)
    record = state.store.add_access_token(
        token,
        scopes,
        project_id=project.id,
        access_level=level,
        name=name,
        user=f"project_{project.id}_bot_{secrets.token_hex(16)}",
        expires_at=expires,
    )
    return JSONResponse({**_token_json(record), "token": token}, status_code=201)


@router.delete("/access_tokens/{token_id:int}")
async def revoke_token(request: Request, key: str, token_id: int) -> Response:
    """Revoke an access token of a project."""
    project, _ = project_for(request, key, MAINTAINER)
    store = state_of(request).store
    if token_id not in {record.id for record in store.access_tokens_of(project.id)}:
        raise not_found("project Access Token")
    store.delete_access_token(token_id)
    return Response(status_code=204)
