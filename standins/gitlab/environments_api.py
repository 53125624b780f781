# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments of projects (GitLab docs, environments API).

Rules and words after GitLab's app/models/environment.rb and lib/api/environments.rb. None is
stopped here, and none deleted.
"""

from __future__ import annotations

import re
import secrets
import string
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from standins.gitlab.access import DEVELOPER, REPORTER, page, project_for
from standins.gitlab.errors import ApiError, bad_request, not_found
from standins.gitlab.params import Params, read_params
from standins.gitlab.records import Environment, Project
from standins.gitlab.runners_api import timestamp
from standins.gitlab.state import state_of
from standins.gitlab.store import Store

router = APIRouter(prefix="/api/v4/projects/{key:path}/environments")

TIERS = ("production", "staging", "testing", "development", "other")
_GUESSES = (
    ("development", r"dev|review|trunk"),
    ("testing", r"test|tst|int|ac(ce|)pt|qa|qc|control|quality"),
    ("staging", r"st(a|)g|mod(e|)l|pre|demo|non"),
    ("production", r"pr(o|)d|live"),
)
_NAME = re.compile(r"[a-zA-Z0-9_\\${}. -]([a-zA-Z0-9_/\\${}. \-]*[a-zA-Z0-9_\\${}. -])?")
_UNSAFE = ("javascript", "data", "vbscript")


def ensure_environment(store: Store, project: Project, name: str) -> None:
    """A job that names an environment makes it."""
    if name and _named(store, project, name) is None:
        _add(store, project, name)


def _named(store: Store, project: Project, name: str) -> Environment | None:
    return next((one for one in store.environments.of(project.id) if one.name == name), None)


def _add(store: Store, project: Project, name: str, **fields: Any) -> Environment:
    tier = fields.pop("tier", "") or _guessed(name)
    return store.environments.add(
        project_id=project.id, name=name, slug=_slug(name), tier=tier, **fields
    )


def _guessed(name: str) -> str:
    return next((tier for tier, words in _GUESSES if re.search(words, name, re.I)), "other")


def _slug(name: str) -> str:
    text = re.sub(r"-+", "-", re.sub(r"[^a-z0-9]", "-", name.lower()))
    if not re.match("[a-z]", text):
        text = f"env-{text}"
    text = text[:24].rstrip("-")
    if text == name:
        return text
    letters = string.ascii_lowercase + string.digits
    return text[:17].rstrip("-") + "-" + "".join(secrets.choice(letters) for _ in range(6))


def _given(params: Params) -> dict[str, Any]:
    """What the request sets."""
    if "slug" in params:
        raise bad_request("slug is automatically generated and cannot be changed")
    fields: dict[str, Any] = {
        name: params.text(name) for name in ("external_url", "description") if name in params
    }
    if "tier" in params:
        fields["tier"] = params.choice("tier", TIERS)
    return fields


def _check(fields: dict[str, Any]) -> None:
    wrong: dict[str, list[str]] = {}
    for name, most in (("name", 255), ("external_url", 255), ("description", 10000)):
        if len(fields.get(name) or "") > most:
            wrong.setdefault(name, []).append(f"is too long (maximum is {most} characters)")
    if "name" in fields and not _NAME.fullmatch(fields["name"]):
        wrong.setdefault("name", []).append(
            "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, but "
            "it cannot start or end with '/'"
        )
    scheme = urlsplit(fields.get("external_url") or "").scheme.lower()
    if scheme in _UNSAFE:
        wrong.setdefault("external_url", []).append(f"{scheme} scheme is not allowed")
    if wrong:
        raise ApiError(400, {"message": wrong})


def _shown(one: Environment) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "slug": one.slug,
        "external_url": one.external_url,
        "description": one.description,
        "tier": one.tier,
        "state": "available",
        "created_at": timestamp(one.created_at),
    }


@router.get("")
async def list_all(request: Request, key: str) -> JSONResponse:
    """Return the environments of a project, stopped ones too."""
    project, _ = project_for(request, key, REPORTER, "read_api")
    name = request.query_params.get("name")
    found = state_of(request).store.environments.of(project.id)
    return page(request, [_shown(one) for one in found if name in (None, one.name)])


@router.post("")
async def create(request: Request, key: str) -> JSONResponse:
    """Make an environment."""
    project, _ = project_for(request, key, DEVELOPER)
    store = state_of(request).store
    params = await read_params(request)
    name = params.text("name", required=True)
    fields = _given(params)
    _check({"name": name, **fields})
    if _named(store, project, name):
        raise ApiError(400, {"message": {"name": ["has already been taken"]}})
    return JSONResponse(_shown(_add(store, project, name, **fields)), status_code=201)


def _find(request: Request, project: Project, number: int) -> Environment:
    found = state_of(request).store.environments.get(number)
    if found is None or found.project_id != project.id:
        raise not_found()
    return found


@router.get("/{number:int}")
async def get(request: Request, key: str, number: int) -> dict[str, Any]:
    """Return an environment."""
    project, _ = project_for(request, key, REPORTER, "read_api")
    return _shown(_find(request, project, number))


@router.put("/{number:int}")
async def change(request: Request, key: str, number: int) -> dict[str, Any]:
    """Change an environment; its name stays."""
    project, _ = project_for(request, key, DEVELOPER)
    found = _find(request, project, number)
    fields = _given(await read_params(request))
    _check(fields)
    for name, value in fields.items():
        setattr(found, name, value)
    state_of(request).store.environments.save(found)
    return _shown(found)
