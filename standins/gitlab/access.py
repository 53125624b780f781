# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks, and what for: projects by number or path, tokens by scope; and pages of answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from standins.gitlab.errors import not_found
from standins.gitlab.params import Params
from standins.gitlab.records import Project
from standins.gitlab.state import Identity, identity, require_level, state_of

GUEST, REPORTER, DEVELOPER, MAINTAINER = 10, 20, 30, 40


def project_for(request: Request, key: str, level: int, *scopes: str) -> tuple[Project, Identity]:
    """Return the project with this number or path, and who asks.

    Args:
        request: the request.
        key: the project's number or path.
        level: the access level that it takes.
        scopes: scopes of access tokens, beside api, that are enough.
    """
    identity(request)
    store = state_of(request).store
    project = store.project(int(key)) if key.isdigit() else store.project_by_path(key)
    if project is None:
        raise not_found("Project")
    return project, require_level(request, project, level, *scopes)


def page(request: Request, found: Sequence[Any]) -> JSONResponse:
    """One page of a list, and where the others are (GitLab docs, "Pagination")."""
    params = Params(dict(request.query_params))
    number = max(params.integer("page") or 1, 1)
    size = min(max(params.integer("per_page") or 20, 1), 100)
    pages = max(-(-len(found) // size), 1)
    neighbours = {"prev": number - 1, "next": number + 1, "first": 1, "last": pages}
    headers = {
        "X-Total": str(len(found)),
        "X-Total-Pages": str(pages),
        "X-Page": str(number),
        "X-Per-Page": str(size),
        "X-Prev-Page": str(number - 1) if number > 1 else "",
        "X-Next-Page": str(number + 1) if number < pages else "",
        "Link": ", ".join(
            f'<{request.url.include_query_params(page=other, per_page=size)}>; rel="{name}"'
            for name, other in neighbours.items()
            if 1 <= other <= pages
        ),
    }
    return JSONResponse(list(found[(number - 1) * size : number * size]), headers=headers)
