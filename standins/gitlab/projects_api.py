# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects and the version, as far as the toolkit asks (GitLab docs, projects API)."""

from __future__ import annotations

import re
import sqlite3
import subprocess

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from standins.gitlab.access import GUEST, page, project_for
from standins.gitlab.errors import ApiError, bad_request, not_found
from standins.gitlab.params import Params, read_params
from standins.gitlab.payload import repository_url
from standins.gitlab.records import Project
from standins.gitlab.repository import Repository
from standins.gitlab.state import State, identity, require_scope, state_of

router = APIRouter(prefix="/api/v4")

_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")


def make_project(
    state: State, path: str, default_branch: str = "main", visibility: str = "private"
) -> Project:
    """Make a project with an empty repository; 400 for a bad or taken path."""
    if not _PATH.fullmatch(path) or path.endswith((".git", ".atom", ".")):
        raise bad_request("path is invalid")
    try:
        project = state.store.add_project(path, default_branch, visibility)
    except sqlite3.IntegrityError:
        raise ApiError(400, {"message": {"path": ["has already been taken"]}}) from None
    folder = state.store.repository(project)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    git = ["git", "init", "--quiet", "--bare", f"--initial-branch={default_branch}", str(folder)]
    subprocess.run(git, check=True, timeout=30)
    # http.receivepack: the web server's own check of the user is the one that counts.
    for key, value in (("http.receivepack", "true"), ("uploadpack.allowAnySHA1InWant", "true")):
        subprocess.run(["git", "-C", str(folder), "config", key, value], check=True, timeout=30)
    return project


def project_json(state: State, project: Project) -> dict[str, object]:
    """Return a project as the API shows it."""
    url = state.settings.external_url
    return {
        "id": project.id,
        "name": project.name,
        "path": project.name,
        "path_with_namespace": project.path,
        "namespace": {
            "kind": "user" if (place := project.path.rpartition("/")[0]) == "root" else "group",
            "full_path": place,
        },
        "builds_access_level": "enabled",
        "default_branch": project.default_branch,
        "visibility": project.visibility,
        "empty_repo": Repository(state.store.repository(project)).is_empty(),
        "web_url": f"{url}/{project.path}",
        # The usual sub of ID tokens, which cannot be changed here.
        "ci_id_token_sub_claim_components": ["project_path", "ref_type", "ref"],
        "http_url_to_repo": repository_url(state.settings, project),
        "ci_config_path": "",
        "ci_pipeline_variables_minimum_override_role": "no_one_allowed",
    }


@router.get("/version")
async def version(request: Request) -> dict[str, str]:
    """Return the version; only to users."""
    require_scope(request, "read_user", "read_api")
    return {"version": state_of(request).settings.gitlab_version, "revision": "lab"}


@router.get("/personal_access_tokens/self")
async def own_token(request: Request) -> dict[str, object]:
    """Return what a token may do; any token may ask about itself."""
    who = identity(request)
    return {
        "id": 1,
        "name": "lab",
        "revoked": False,
        "active": True,
        "scopes": sorted(who.scopes),
        "expires_at": None,
    }


@router.post("/projects")
async def create_project(request: Request) -> JSONResponse:
    """Make a project in a namespace, or in the user's own."""
    require_scope(request)
    state = state_of(request)
    params = await read_params(request)
    path = params.text("path") or params.text("name")
    if not path:
        raise bad_request("name, path are missing, at least one parameter must be provided")
    branch = params.text("default_branch", "main")
    visibility = params.choice("visibility", ("private", "internal", "public"), "private")
    namespace = params.integer("namespace_id")
    place = "root" if namespace is None else state.store.namespaces().get(namespace)
    if place is None:
        raise not_found("Namespace")
    project = make_project(state, f"{place}/{path}", branch, visibility)
    return JSONResponse(project_json(state, project), status_code=201)


@router.get("/namespaces/{key:path}")
async def get_namespace(request: Request, key: str) -> dict[str, object]:
    """Return a namespace by id or by path."""
    require_scope(request, "read_api")
    for number, path in state_of(request).store.namespaces().items():
        if key.lower() in (str(number), path.lower()):
            kind = "user" if path == "root" else "group"
            return {"id": number, "path": path.rsplit("/", 1)[-1], "full_path": path, "kind": kind}
    raise not_found("Namespace")


@router.get("/groups/{key:path}/projects")
async def list_of_group(request: Request, key: str) -> JSONResponse:
    """Return the projects of a group, and on demand those of its subgroups."""
    require_scope(request, "read_api")
    state = state_of(request)
    deep = Params(dict(request.query_params)).boolean("include_subgroups", False)
    for number, path in state.store.namespaces().items():
        if path != "root" and key.lower() in (str(number), path.lower()):
            found = [
                project
                for project in state.store.projects()
                if project.namespace.lower() == path.lower()
                or (deep and number in state.store.groups_of(project))
            ]
            return page(request, [project_json(state, project) for project in found])
    raise not_found("Group")


@router.get("/groups/{key:path}")
async def get_group(request: Request, key: str) -> dict[str, object]:
    """Return a group by id or by path."""
    require_scope(request, "read_api")
    for number, path in state_of(request).store.namespaces().items():
        if path != "root" and key.lower() in (str(number), path.lower()):
            name = path.rsplit("/", 1)[-1]
            return {"id": number, "name": name, "path": name, "full_path": path}
    raise not_found("Group")


@router.get("/projects/{key:path}")
async def get_project(request: Request, key: str) -> dict[str, object]:
    """Return a project by id or by URL-encoded path."""
    project, _ = project_for(request, key, GUEST, "read_api")
    return project_json(state_of(request), project)
