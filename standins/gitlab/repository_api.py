# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, commits, branches and tags of a project (GitLab docs, repository APIs).

By a project's number only; refusals in the words of GitLab's services (lib/api/files.rb,
app/services/files, app/services/tags).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from standins.gitlab.access import DEVELOPER, REPORTER, page, project_for
from standins.gitlab.errors import ApiError, bad_request, forbidden, not_found
from standins.gitlab.params import Params, read_params
from standins.gitlab.pipelines import pushed
from standins.gitlab.protection import ZEROS, Change, is_protected, may_push, refusals
from standins.gitlab.records import Project
from standins.gitlab.repository import Repository
from standins.gitlab.state import Identity, state_of

router = APIRouter(prefix="/api/v4/projects/{key:int}")

_ACTIONS = ("create", "update", "delete", "move", "chmod")
# Gitlab::Regex.file_path_regex and directory_traversal_regex, in short.
_PATH = re.compile(r"[\w\-. @+~!/()\[\]]+")


def find_project(
    request: Request, key: int, level: int, *scopes: str
) -> tuple[Project, Repository, Identity]:
    """Return a project, its repository and who asks for them; 404 without one."""
    project, who = project_for(request, str(key), level, *scopes)
    return project, Repository(state_of(request).store.repository(project)), who


def _wrong(text: str) -> ApiError:
    return ApiError(400, {"message": text})


@router.get("/repository/files/{path:path}")
async def get_file(request: Request, key: int, path: str) -> dict[str, object]:
    """Return a file and its content."""
    _, repository, _ = find_project(request, key, REPORTER, "read_api", "read_repository")
    ref = (await read_params(request)).text("ref", required=True)
    commit = repository.commit_of(ref)
    if not commit:
        raise not_found("Commit")
    found = repository.blob(commit, path)
    if found is None:
        raise not_found("File")
    mode, number = found
    content = repository.git("cat-file", "blob", number)
    return {
        "file_name": path.rsplit("/", 1)[-1],
        "file_path": path,
        "size": len(content),
        "encoding": "base64",
        "content_sha256": hashlib.sha256(content).hexdigest(),
        "ref": ref,
        "blob_id": number,
        "commit_id": commit,
        "last_commit_id": repository.last_commit(commit, path),
        "execute_filemode": mode == "100755",
        "content": base64.b64encode(content).decode(),
    }


@router.get("/repository/tags")
async def list_tags(request: Request, key: int) -> JSONResponse:
    """Return all tags."""
    _, repository, _ = find_project(request, key, REPORTER, "read_api")
    names = [
        ref.removeprefix("refs/tags/") for ref in repository.refs() if ref.startswith("refs/tags/")
    ]
    commits = {name: repository.commit_of(f"refs/tags/{name}") for name in names}
    return page(request, [
        {"name": name, "target": commit, "commit": {"id": commit}}
        for name, commit in commits.items()
    ])  # fmt: skip


@router.get("/repository/branches/{name:path}")
async def get_branch(request: Request, key: int, name: str) -> dict[str, object]:
    """Return a branch."""
    project, repository, _ = find_project(request, key, REPORTER, "read_api")
    commit = repository.commit_of(f"refs/heads/{name}")
    if not commit:
        raise not_found("Branch")
    return {
        "name": name,
        "commit": {"id": commit},
        "default": name == project.default_branch,
        "protected": is_protected(state_of(request).store, project, name, tag=False),
    }


@router.get("/repository/tags/{name:path}")
async def get_tag(request: Request, key: int, name: str) -> dict[str, object]:
    """Return a tag."""
    project, repository, _ = find_project(request, key, REPORTER, "read_api")
    commit = repository.commit_of(f"refs/tags/{name}")
    if not commit:
        raise not_found("Tag")
    protected = is_protected(state_of(request).store, project, name, tag=True)
    return {"name": name, "target": commit, "commit": {"id": commit}, "protected": protected}


@router.post("/repository/tags")
async def create_tag(request: Request, key: int) -> JSONResponse:
    """Make a tag."""
    project, repository, who = find_project(request, key, DEVELOPER)
    params = await read_params(request)
    name = params.text("tag_name", required=True)
    ref = params.text("ref", required=True)
    message = params.text("message")
    store, level = state_of(request).store, who.level_in(project)
    asked = Change(f"refs/tags/{name}", ZEROS, "")
    if said := next(refusals(store, project, [asked], level), ""):
        raise _wrong(said)
    if repository.commit_of(f"refs/tags/{name}"):
        raise _wrong(f"Tag {name} already exists")
    commit = repository.commit_of(ref)
    if not commit:
        raise _wrong(f"Target {ref} is invalid")
    try:
        repository.git("tag", *(("-a", "-m", message) if message else ()), "--", name, commit)
    except subprocess.CalledProcessError:
        raise _wrong("Tag name invalid") from None
    pushed(state_of(request), project, [Change(f"refs/tags/{name}", ZEROS, commit)], who.user)
    answer = {"name": name, "target": commit, "message": message, "commit": {"id": commit}}
    return JSONResponse(answer, status_code=201)


@router.post("/repository/commits")
async def create_commit(request: Request, key: int) -> JSONResponse:
    """Commit several files at once: all of the actions, or none."""
    project, repository, who = find_project(request, key, DEVELOPER)
    params = await read_params(request)
    branch = params.text("branch", required=True)
    message = params.text("commit_message", required=True)
    actions = params.values.get("actions")
    if not isinstance(actions, list) or not all(isinstance(one, dict) for one in actions):
        raise bad_request("actions is missing" if actions is None else "actions is invalid")
    store, level = state_of(request).store, who.level_in(project)
    if not may_push(store, project, branch, level, tag=False):
        raise forbidden("You are not allowed to push into this branch")
    parent = _parent(repository, branch, params)
    with tempfile.TemporaryDirectory() as folder:
        index = f"{folder}/index"
        if parent:
            repository.git("read-tree", parent, index=index)
        for action in actions:
            _apply(repository, action, parent, index)
        tree = repository.git("write-tree", index=index).decode().strip()
    parents = ("-p", parent) if parent else ()
    words = ("commit-tree", tree, *parents)
    commit = repository.git(*words, stdin=message.encode()).decode().strip()
    name = f"refs/heads/{branch}"
    before = repository.commit_of(name) or ZEROS
    repository.git("update-ref", name, commit)
    pushed(state_of(request), project, [Change(name, before, commit)], who.user)
    answer = {"id": commit, "short_id": commit[:8], "title": message.splitlines()[0],
              "message": message, "parent_ids": [parent] if parent else []}  # fmt: skip
    return JSONResponse(answer, status_code=201)


def _parent(repository: Repository, branch: str, params: Params) -> str:
    """The commit that the new one follows; empty in an empty repository."""
    if repository.is_empty():
        return ""
    start = params.text("start_branch", branch)
    if start != branch and repository.commit_of(f"refs/heads/{branch}"):
        raise _wrong(
            f"A branch called '{branch}' already exists. "
            "Switch to that branch in order to make changes"
        )
    found = repository.commit_of(f"refs/heads/{start}")
    if not found:
        raise _wrong("You can only create or edit files when you are on a branch")
    return found


def _apply(repository: Repository, action: Mapping[str, Any], parent: str, index: str) -> None:
    """One action, in the index."""
    given = Params(action)
    kind = given.choice("action", _ACTIONS)
    path = given.text("file_path", required=True)
    if not _PATH.fullmatch(path) or ".." in path.split("/") or path.startswith("/"):
        raise _wrong(
            "Your changes could not be committed, because the file name, "
            f"`{path}` can contain only letters, digits, '_', '-', '@', '+' and '.'."
        )
    last = given.text("last_commit_id")
    if last and (not parent or repository.last_commit(parent, path) != last):
        raise _wrong(f"The file has changed since you started editing it: {path}")
    line = repository.git("ls-files", "--stage", "--", path, index=index).decode().split()
    mode, number = (line[0], line[1]) if line else ("100644", "")
    if kind == "create" and number:
        raise _wrong("A file with this name already exists")
    if kind != "create" and not number:
        raise _wrong("A file with this name doesn't exist")
    if kind in ("create", "update"):
        content = given.text("content", required=True).encode()
        if given.choice("encoding", ("text", "base64"), "text") == "base64":
            try:
                content = base64.b64decode(content, validate=True)
            except binascii.Error:
                raise bad_request("content is invalid") from None
        number = repository.git("hash-object", "-w", "--stdin", stdin=content).decode().strip()
    elif kind == "chmod":
        mode = "100755" if given.boolean("execute_filemode", False) else "100644"
    else:
        raise bad_request("action does not have a valid value: the stand-in knows no delete, move")
    entry = f"{mode},{number},{path}"
    repository.git("update-index", "--add", "--cacheinfo", entry, index=index)
