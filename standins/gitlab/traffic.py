# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to every request on its way in: fault switches, then a log line without secrets."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from standins.gitlab.redact import Redactor

KINDS = ("status", "delay", "drop")
_BODIES_LOGGED = ("application/json", "application/x-www-form-urlencoded")


class ConnectionDroppedError(Exception):
    """Raised where there is no transport to cut (in-process tests)."""


@dataclass
class Fault:
    """One fault switch.

    ``path`` is a shell pattern over the path (``*`` takes slashes too), ``body_contains`` a text
    that the body must hold. The first ``skip`` matching requests pass, the next ``count`` are hit
    (None: until cleared). ``kind`` is ``status`` (answer ``status``, ``headers``, ``body``),
    ``delay`` (wait ``delay`` seconds, then go on) or ``drop`` (cut the connection).
    """

    path: str
    kind: str
    method: str = "*"
    count: int | None = 1
    skip: int = 0
    status: int = 500
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    body_contains: str = ""
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if self.kind == "status" and not 200 <= self.status <= 599:
            raise ValueError("status must be between 200 and 599")
        if self.delay < 0 or self.skip < 0 or (self.count is not None and self.count < 1):
            raise ValueError("delay, skip and count must not be negative, count not 0")


class Faults:
    """The fault switches that are on, first come first served."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def pick(self, method: str, path: str, body: bytes) -> Fault | None:
        """Return the fault for a request, and count it."""
        for rule in self.rules:
            if (
                not fnmatchcase(path, rule.path)
                or not fnmatchcase(method, rule.method)
                or rule.body_contains.encode() not in body
            ):
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            if rule.count is not None and rule.hits >= rule.count:
                continue
            rule.hits += 1
            return rule
        return None

    def dump(self) -> list[dict[str, Any]]:
        """Return all rules with their hits."""
        return [asdict(rule) for rule in self.rules]


class RequestLog:
    """JSON lines, one for each request, numbered from 1 on, 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.fdopen(
            os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600), "a", encoding="utf-8"
        )
        self.last = 0
        for entry in self.since(0):
            self.last = int(entry["seq"])

    def write(self, entry: dict[str, Any]) -> None:
        """Append an entry and number it."""
        self.last += 1
        self._file.write(json.dumps({"seq": self.last, **entry}, ensure_ascii=False) + "\n")
        self._file.flush()

    def since(self, seq: int) -> list[dict[str, Any]]:
        """Return all entries with a higher number than ``seq``."""
        entries = []
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                # A line may be torn where the process was killed.
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry["seq"] > seq:
                    entries.append(entry)
        return entries

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Traffic:
    """ASGI middleware: applies faults, logs each request."""

    def __init__(
        self,
        app: ASGIApp,
        faults: Faults,
        log: RequestLog,
        redactor: Redactor,
        body_limit: int,
        on_change: Callable[[], None],
    ) -> None:
        self._app = app
        self._faults = faults
        self._log = log
        self._redactor = redactor
        self._body_limit = body_limit
        self._on_change = on_change

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        # The control API is no traffic of GitLab: no fault can lock it, no line is spent on it.
        if scope["type"] != "http" or scope["path"].startswith("/lab/"):
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        started = time.time()
        transport_end = receive
        outcome: dict[str, Any] = {"status": None, "bytes_in": 0}
        body = b""
        if kind in _BODIES_LOGGED:
            body, receive = await _buffered(receive)
            outcome["bytes_in"] = len(body)

        async def counted() -> Message:
            message = await receive()
            if message["type"] == "http.request" and kind not in _BODIES_LOGGED:
                outcome["bytes_in"] += len(message.get("body", b""))
            return message

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                outcome["status"] = message["status"]
            await send(message)

        fault = self._faults.pick(scope["method"], scope["path"], body)
        try:
            if fault is not None and fault.kind == "drop":
                await _drop(transport_end)
            elif fault is not None and fault.kind == "status":
                await _answer(fault, counted, watched)
            else:
                if fault is not None:
                    await asyncio.sleep(fault.delay)
                await self._app(scope, counted, watched)
        finally:
            self._log.write(
                {
                    "time": round(started, 3),
                    "seconds": round(time.time() - started, 3),
                    "client": (scope.get("client") or ("", 0))[0],
                    "method": scope["method"],
                    "path": self._redactor.text(scope["path"]),
                    "query": self._redactor.text(scope["query_string"].decode("latin-1")),
                    "headers": self._redactor.headers(headers),
                    "body": self._body(kind, body),
                    "fault": fault.kind if fault else None,
                    **outcome,
                }
            )
            self._on_change()

    def _body(self, kind: str, body: bytes) -> object:
        if not body:
            return None
        if kind == "application/json":
            try:
                value = self._redactor.json(json.loads(body))
            except ValueError:
                return "(no JSON)"
            if len(json.dumps(value)) <= self._body_limit:
                return value
            return f"(cut, {len(body)} bytes)"
        return self._redactor.text(body.decode("utf-8", "replace"))[: self._body_limit]


async def _buffered(receive: Receive) -> tuple[bytes, Receive]:
    """Read a body whole and return it with a ``receive`` that gives it again."""
    chunks = []
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(chunks)
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return body, again


async def _answer(fault: Fault, receive: Receive, send: Send) -> None:
    # The body is read first: a client that is still sending would see a reset, not the answer.
    more = True
    while more:
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)
    no_body = fault.status in (204, 304)
    answer = fault.body or {"message": f"{fault.status} lab fault"}
    text = b"" if no_body else json.dumps(answer).encode()
    headers = [(name.lower().encode(), value.encode()) for name, value in fault.headers.items()]
    if not no_body:
        headers += [(b"content-type", b"application/json")]
        headers += [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def _drop(receive: Receive) -> None:
    """Cut the connection without an answer, as a dying server or proxy does."""
    # uvicorn gives the request cycle's own method as ``receive``, wrapped by nobody outside us.
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionDroppedError("lab fault: drop")
    transport.abort()
