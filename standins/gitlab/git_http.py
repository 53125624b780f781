# SPDX-License-Identifier: GPL-3.0-or-later
"""Git over smart HTTP, served by git's own http-backend.

The body of a request is spooled to a file before the backend reads it: streamed through the web
framework a push hangs or ends in ``unpacker error``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import IO

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from standins.gitlab.access import DEVELOPER, REPORTER
from standins.gitlab.deploy_tokens_api import with_token
from standins.gitlab.pipelines import pushed
from standins.gitlab.push_checks import commands, differences, environment
from standins.gitlab.records import ACTIVE, Project
from standins.gitlab.repository import Repository
from standins.gitlab.state import Identity, State, identity_of, state_of

router = APIRouter()

_CHUNK = 64 * 1024
_ASK = {"WWW-Authenticate": 'Basic realm="GitLab"'}
_DENIED = "HTTP Basic: Access denied. If a password was provided, it is not valid."


def _credentials(request: Request) -> tuple[str, str] | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, separator, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if separator else None


def _who(
    state: State, request: Request, project: Project | None, write: bool
) -> PlainTextResponse | Identity:
    """Return who asks, or why not: 401 unknown, 403 may not, 404 not to be seen."""
    credentials = _credentials(request)
    if credentials is None:
        return PlainTextResponse(_DENIED, 401, _ASK)
    user, password = credentials
    if user == "gitlab-ci-token":
        job = next((job for job in state.store.jobs(*ACTIVE) if job.token == password), None)
        if job is None:
            return PlainTextResponse(_DENIED, 401, _ASK)
        if project is None or job.project_id != project.id:
            return _not_found()
        if write:
            return PlainTextResponse("You are not allowed to push code to this project.", 403)
        return Identity(frozenset(), access_level=REPORTER)
    deploy = with_token(state, project, user, password) if project else None
    if deploy is not None:
        if write:
            return PlainTextResponse("You are not allowed to push code to this project.", 403)
        if "read_repository" not in deploy.scopes:
            return PlainTextResponse(_DENIED, 403)
        return Identity(frozenset(), access_level=REPORTER)
    who = identity_of(state, password)
    if who is None:
        return PlainTextResponse(_DENIED, 401, _ASK)
    needed = {"api", "write_repository", *(() if write else ("read_repository",))}
    if not who.scopes & needed:
        return PlainTextResponse(_DENIED, 403)
    level = who.level_in(project) if project else 0
    if project is None or level == 0:
        return _not_found()
    if write and level < DEVELOPER:
        return PlainTextResponse("You are not allowed to push code to this project.", 403)
    return who


def _not_found() -> PlainTextResponse:
    words = "The project you were looking for could not be found or you don't have permission."
    return PlainTextResponse(words, 404)


@router.get("/{path:path}.git/info/refs")
async def info_refs(request: Request, path: str) -> Response:
    """Answer the first request of a fetch or push."""
    service = request.query_params.get("service", "")
    if service not in ("git-upload-pack", "git-receive-pack"):
        return PlainTextResponse("the dumb protocol is not offered", 403)
    return await _serve(request, path, "info/refs", write=service == "git-receive-pack")


@router.post("/{path:path}.git/git-upload-pack")
async def upload_pack(request: Request, path: str) -> Response:
    """Serve a fetch."""
    return await _serve(request, path, "git-upload-pack", write=False)


@router.post("/{path:path}.git/git-receive-pack")
async def receive_pack(request: Request, path: str) -> Response:
    """Serve a push."""
    return await _serve(request, path, "git-receive-pack", write=True)


async def _serve(request: Request, path: str, rest: str, *, write: bool) -> Response:
    state = state_of(request)
    project = state.store.project_by_path(path)
    who = _who(state, request, project, write)
    if isinstance(who, PlainTextResponse):
        return who
    assert project is not None
    with tempfile.TemporaryFile() as body:
        async for chunk in request.stream():
            body.write(chunk)
        if not write:
            return _response(await _backend(request, state, project, rest, body))
        async with state.pushing:
            repository = Repository(state.store.repository(project))
            body.seek(0)
            encoding = request.headers.get("content-encoding", "")
            asked = rest == "git-receive-pack"
            changes, options = commands(body, encoding) if asked else ([], [])
            level = who.level_in(project)
            checks = environment(state.store, project, changes, level)
            before = repository.refs()
            answer = await _backend(request, state, project, rest, body, checks)
            after = repository.refs()
    pushed(state, project, differences(before, after), who.user, skip="ci.skip" in options)
    return _response(answer)


async def _backend(
    request: Request,
    state: State,
    project: Project,
    rest: str,
    body: IO[bytes],
    checks: Mapping[str, str] = MappingProxyType({}),
) -> IO[bytes]:
    """What git answers, in an open file."""
    size = body.seek(0, os.SEEK_END)
    body.seek(0)
    environ = {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROJECT_ROOT": str(state.store.root / "repos"),
        "PATH_INFO": f"/{project.path}.git/{rest}",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.url.query,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(size),
        "REMOTE_USER": "lab",
        "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
        "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
        **checks,
    }
    with contextlib.ExitStack() as opened:
        answer = opened.enter_context(tempfile.TemporaryFile())
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", stdin=body, stdout=answer, env=environ
        )
        await process.wait()
        # Closed by whoever sends it, after this function is over.
        opened.pop_all()
    return answer


def _response(answer: IO[bytes]) -> Response:
    """Turn CGI output into a response; closes ``answer`` when it is sent."""
    answer.seek(0)
    status, headers = 200, {}
    while line := answer.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value.strip()
    if not headers:
        answer.close()
        return PlainTextResponse("git http-backend gave no answer", 500)

    async def chunks() -> AsyncIterator[bytes]:
        with answer:
            while chunk := answer.read(_CHUNK):
                yield chunk

    return StreamingResponse(chunks(), status, headers)
