# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared state of the request handlers: settings, store, faults, request log and waiters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import cast

from fastapi import Request

from standins.gitlab.errors import insufficient_scope, unauthorized
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


def granted_scopes(request: Request) -> set[str]:
    """The scopes of the request's personal access token; 401 without a valid one."""
    state = state_of(request)
    token = request.headers.get("private-token", "")
    bearer = request.headers.get("authorization", "")
    if not token and bearer.lower().startswith("bearer "):
        token = bearer[7:].strip()
    if not token:
        raise unauthorized()
    if token == state.settings.admin_token:
        return {"api"}
    record = state.store.access_token(token)
    if record is None:
        raise unauthorized()
    return set(record.scopes)


def require_scope(request: Request, *scopes: str) -> None:
    """Refuse a request without a personal access token that has one of ``scopes`` (or api)."""
    if not {"api", *scopes} & granted_scopes(request):
        raise insufficient_scope(" ".join(scopes) or "api")
