# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy tokens of projects (GitLab docs, deploy tokens API).

Rules and words after GitLab's app/models/deploy_token.rb and lib/api/deploy_tokens.rb: several may
have one name, a token is told once, and to delete it is to revoke it.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from standins.gitlab.access import MAINTAINER, page, project_for
from standins.gitlab.errors import ApiError, bad_request, not_found
from standins.gitlab.params import Params, read_params
from standins.gitlab.records import DeployToken, Project
from standins.gitlab.state import State, state_of
from standins.gitlab.store import digest, new_token

router = APIRouter(prefix="/api/v4/projects/{key:path}/deploy_tokens")

SCOPES = (
    "read_repository", "read_registry", "write_registry", "read_package_registry",
    "write_package_registry", "read_virtual_registry", "write_virtual_registry",
)  # fmt: skip
_USERNAME = re.compile(r"[a-zA-Z0-9.+_-]+")


def _expired(token: DeployToken) -> bool:
    today = datetime.now(UTC).date().isoformat()
    return token.expires_at is not None and token.expires_at < today


def with_token(state: State, project: Project, username: str, token: str) -> DeployToken | None:
    """The deploy token of a project with this user name, if it still counts."""
    for one in state.store.deploy_tokens.of(project.id):
        if (one.username, one.token_digest) == (username, digest(token)):
            # Valid until the day begins: GitLab compares with the time.
            today = datetime.now(UTC).date().isoformat()
            return one if one.expires_at is None or one.expires_at > today else None
    return None


def _shown(token: DeployToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "username": token.username,
        "expires_at": f"{token.expires_at}T00:00:00.000Z" if token.expires_at else None,
        "scopes": [scope for scope in SCOPES if scope in token.scopes],
        "revoked": False,
        "expired": _expired(token),
    }


def _date(params: Params) -> str | None:
    text = params.text("expires_at")
    if not text:
        return None
    try:
        return date.fromisoformat(text[:10]).isoformat()
    except ValueError:
        raise bad_request("expires_at is invalid") from None


def _check(name: str, username: str, scopes: list[str]) -> None:
    wrong = []
    if not scopes:
        wrong.append("Scopes can't be blank")
    if username and not _USERNAME.fullmatch(username):
        wrong.append("Username can contain only letters, digits, '_', '-', '+', and '.'")
    for what, text in (("Username", username), ("Name", name)):
        if len(text) > 255:
            wrong.append(f"{what} is too long (maximum is 255 characters)")
    if wrong:
        raise ApiError(400, {"message": " and ".join(wrong)})


@router.get("")
async def list_all(request: Request, key: str) -> JSONResponse:
    """Return the deploy tokens of a project, without the tokens."""
    project, _ = project_for(request, key, MAINTAINER, "read_api")
    active = Params(dict(request.query_params)).boolean("active", False)
    found = state_of(request).store.deploy_tokens.of(project.id)
    return page(request, [_shown(one) for one in found if not (active and _expired(one))])


@router.post("")
async def create(request: Request, key: str) -> JSONResponse:
    """Make a deploy token; only this answer has it."""
    project, _ = project_for(request, key, MAINTAINER)
    state = state_of(request)
    params = await read_params(request)
    name = params.text("name", required=True)
    if "scopes" not in params:
        raise bad_request("scopes is missing")
    scopes = params.words("scopes")
    if set(scopes) - set(SCOPES):
        raise bad_request("scopes does not have a valid value")
    username, expires = params.text("username"), _date(params)
    _check(name, username, scopes)
    token = new_token("gldt-")
    state.redactor.learn(token)
    record = state.store.deploy_tokens.add(
        project_id=project.id, token_digest=digest(token), name=name, username=username,
        scopes=scopes, expires_at=expires,
    )  # fmt: skip
    if not username:
        record.username = f"gitlab+deploy-token-{record.id}"
        state.store.deploy_tokens.save(record)
    return JSONResponse({**_shown(record), "token": token}, status_code=201)


def _find(request: Request, project: Project, number: int) -> DeployToken:
    found = state_of(request).store.deploy_tokens.get(number)
    if found is None or found.project_id != project.id:
        raise not_found()
    return found


@router.get("/{number:int}")
async def get(request: Request, key: str, number: int) -> dict[str, Any]:
    """Return a deploy token, without the token."""
    project, _ = project_for(request, key, MAINTAINER, "read_api")
    return _shown(_find(request, project, number))


@router.delete("/{number:int}")
async def delete(request: Request, key: str, number: int) -> Response:
    """Delete a deploy token, which ends it."""
    project, _ = project_for(request, key, MAINTAINER)
    state_of(request).store.deploy_tokens.delete(_find(request, project, number).id)
    return Response(status_code=204)
