# SPDX-License-Identifier: GPL-3.0-or-later
"""CI/CD variables of projects and groups (GitLab docs, variables APIs of both).

Masking after GitLab's app/models/concerns/ci/maskable.rb and hidable_variable.rb. A group's have
no scopes: GitLab's free tier ignores them there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from standins.gitlab.access import MAINTAINER, page, project_for
from standins.gitlab.errors import ApiError, not_found
from standins.gitlab.params import Params, read_params
from standins.gitlab.records import Setting
from standins.gitlab.state import State, require_scope, state_of
from standins.gitlab.tables import Table

router = APIRouter(prefix="/api/v4")

_KEY = re.compile(r"[a-zA-Z0-9_]+")
_EXPANDED = re.compile(r"[a-zA-Z0-9_+=/@:.~-]{8,}")
_RAW = re.compile(r"\S{8,}")
_SCOPE = re.compile(r"[a-zA-Z0-9_/\\${}. \-*]+")
_TYPES = ("env_var", "file")


@dataclass(frozen=True)
class _Owner:
    """A project or a group, and where its variables are kept."""

    state: State
    table: Table[Setting]
    id: int
    scoped: bool

    def all(self) -> list[Setting]:
        """Its variables."""
        return self.table.of(self.id)


def _project(request: Request, key: str) -> _Owner:
    project, _ = project_for(request, key, MAINTAINER)
    state = state_of(request)
    return _Owner(state, state.store.project_settings, project.id, True)


def _group(request: Request, key: str) -> _Owner:
    require_scope(request)
    state = state_of(request)
    for number, path in state.store.namespaces().items():
        if path != "root" and key.lower() in (str(number), path.lower()):
            return _Owner(state, state.store.group_settings, number, False)
    raise not_found("Group")


def _find(owner: _Owner, key: str, params: Params) -> Setting:
    scope = params.values.get("filter[environment_scope]")
    if isinstance(given := params.values.get("filter"), dict):
        scope = given.get("environment_scope", scope)
    found = [
        one
        for one in owner.all()
        if one.key == key and (scope is None or one.environment_scope == scope)
    ]
    if not found:
        raise not_found("Variable")
    if len(found) > 1:
        words = (
            "There are multiple variables with provided parameters. "
            "Please use 'filter[environment_scope]'"
        )
        raise ApiError(409, {"message": words})
    return found[0]


def _changed(owner: _Owner, before: Setting, params: Params) -> Setting:
    """The variable with what the request sets."""
    fields: dict[str, Any] = {}
    for name in ("value", "description"):
        if name in params:
            fields[name] = params.text(name)
    for name in ("protected", "masked", "raw"):
        if name in params:
            fields[name] = params.boolean(name, False)
    if "variable_type" in params:
        fields["variable_type"] = params.choice("variable_type", _TYPES)
    if owner.scoped and "environment_scope" in params:
        fields["environment_scope"] = params.text("environment_scope").strip()
    return replace(before, **fields)


def _check(owner: _Owner, new: Setting, old: Setting | None) -> None:
    """Refuse what GitLab's models do not validate."""
    wrong: dict[str, list[str]] = {}
    if not _KEY.fullmatch(new.key):
        wrong.setdefault("key", []).append("can contain only letters, digits and '_'.")
    if len(new.key) > 255:
        wrong.setdefault("key", []).append("is too long (maximum is 255 characters)")
    twins = [
        one
        for one in owner.all()
        if one.id != new.id and (one.key, one.environment_scope) == (new.key, new.environment_scope)
    ]
    if twins:
        wrong.setdefault("key", []).append(f"({new.key}) has already been taken")
    if new.masked and not (_RAW if new.raw else _EXPANDED).fullmatch(new.value):
        wrong["value"] = ["is invalid"]
    if not _SCOPE.fullmatch(new.environment_scope):
        wrong["environment_scope"] = [
            "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', '*' and spaces"
        ]
    if old is not None and old.hidden and new.masked != old.masked:
        wrong["base"] = [
            "The visibility setting cannot be changed for masked and hidden variables."
        ]
    if wrong:
        raise ApiError(400, {"message": wrong})


def _shown(owner: _Owner, setting: Setting) -> dict[str, Any]:
    shown = asdict(setting)
    for name in ("id", "owner"):
        del shown[name]
    if setting.hidden:
        shown["value"] = None
    if not owner.scoped:
        del shown["environment_scope"]
    return shown


def _add(owner: _Owner, params: Params) -> JSONResponse:
    key = params.text("key", required=True)
    params.text("value", required=True)
    new = _changed(owner, Setting(0, owner.id, key, ""), params)
    if params.boolean("masked_and_hidden", False):
        new = replace(new, masked=True, hidden=True)
    _check(owner, new, None)
    fields = asdict(new)
    del fields["id"]
    _learn(owner, new)
    return JSONResponse(_shown(owner, owner.table.add(**fields)), status_code=201)


def _learn(owner: _Owner, setting: Setting) -> None:
    """A masked value stays out of the request log."""
    if setting.masked:
        owner.state.redactor.learn(setting.value)


def _routes(kind: str, find: Callable[[Request, str], _Owner]) -> None:
    base = f"/{kind}/{{owner:path}}/variables"

    @router.get(base, name=f"list variables of {kind}")
    async def list_all(request: Request, owner: str) -> JSONResponse:
        found = find(request, owner)
        return page(request, [_shown(found, one) for one in found.all()])

    @router.post(base, name=f"add a variable to {kind}")
    async def add(request: Request, owner: str) -> JSONResponse:
        return _add(find(request, owner), await read_params(request))

    @router.get(base + "/{key}", name=f"get a variable of {kind}")
    async def get(request: Request, owner: str, key: str) -> dict[str, Any]:
        found = find(request, owner)
        return _shown(found, _find(found, key, await read_params(request)))

    @router.put(base + "/{key}", name=f"change a variable of {kind}")
    async def put(request: Request, owner: str, key: str) -> dict[str, Any]:
        found = find(request, owner)
        params = await read_params(request)
        old = _find(found, key, params)
        new = _changed(found, old, params)
        _check(found, new, old)
        _learn(found, new)
        found.table.save(new)
        return _shown(found, new)

    @router.delete(base + "/{key}", name=f"delete a variable of {kind}")
    async def delete(request: Request, owner: str, key: str) -> Response:
        found = find(request, owner)
        found.table.delete(_find(found, key, await read_params(request)).id)
        return Response(status_code=204)


_routes("projects", _project)
_routes("groups", _group)
