# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared state of the request handlers: settings, store, faults, request log and waiters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import date
from typing import cast

from fastapi import Request

from standins.gitlab.errors import forbidden, insufficient_scope, not_found, unauthorized
from standins.gitlab.records import Project
from standins.gitlab.redact import Redactor
from standins.gitlab.settings import Settings
from standins.gitlab.store import Store
from standins.gitlab.traffic import Faults, RequestLog


class Changes:
    """Lets handlers wait for changes without polling."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Wake all waiting handlers."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until ``condition`` holds; False after ``timeout`` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not condition():
            event = self._event
            left = deadline - loop.time()
            if left <= 0:
                return False
            try:
                await asyncio.wait_for(event.wait(), left)
            except TimeoutError:
                return condition()
        return True


@dataclass
class State:
    """All that one application instance holds."""

    settings: Settings
    store: Store
    redactor: Redactor
    faults: Faults
    log: RequestLog
    changes: Changes = field(default_factory=Changes)
    pushing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a push changes refs."""
    compiling: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a pipeline is made: one after the other."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """What goes on after its request was answered."""

    def later(self, work: Coroutine[None, None, None]) -> None:
        """Do something after the request was answered."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def state_of(request: Request) -> State:
    """Return the application's state."""
    return cast(State, request.app.state.lab)


@dataclass(frozen=True)
class Identity:
    """Who asks: a person with all rights, or a project's bot with a level in this project."""

    scopes: frozenset[str]
    user: str = "root"
    project_id: int | None = None
    access_level: int = 50

    def level_in(self, project: Project) -> int:
        """The access level in a project; 0 without any."""
        return self.access_level if self.project_id in (None, project.id) else 0


def identity_of(state: State, token: str) -> Identity | None:
    """Return whose an access token is; None if it is no one's."""
    if token == state.settings.admin_token:
        return Identity(frozenset({"api"}))
    record = state.store.access_token(token)
    if record is None or (record.expires_at and record.expires_at <= date.today().isoformat()):
        return None
    return Identity(frozenset(record.scopes), record.user, record.project_id, record.access_level)


def identity(request: Request) -> Identity:
    """Return who asks; 401 without a valid access token."""
    token = request.headers.get("private-token", "")
    bearer = request.headers.get("authorization", "")
    if not token and bearer.lower().startswith("bearer "):
        token = bearer[7:].strip()
    found = identity_of(state_of(request), token) if token else None
    if found is None:
        raise unauthorized()
    return found


def require_scope(request: Request, *scopes: str) -> Identity:
    """Refuse a request without a person's access token that has one of ``scopes`` (or api)."""
    found = _with_scope(request, *scopes)
    if found.project_id is not None:
        raise forbidden()
    return found


def _with_scope(request: Request, *scopes: str) -> Identity:
    found = identity(request)
    # lib/api/api.rb: read_api is enough for whatever is only read.
    reads = {"read_api"} if request.method in ("GET", "HEAD") else set()
    if not {"api", *scopes, *reads} & found.scopes:
        raise insufficient_scope(" ".join(scopes) or "api")
    return found


def require_level(request: Request, project: Project, level: int, *scopes: str) -> Identity:
    """Refuse a request without this access level in a project, and one of ``scopes`` (or api)."""
    found = _with_scope(request, *scopes)
    have = found.level_in(project)
    if have == 0:
        raise not_found("Project")
    if have < level:
        raise forbidden()
    return found
