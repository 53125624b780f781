# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's GitLab in a thread of this process: for tests, and for a quick look by hand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from standins.gitlab.app import create_app
from standins.gitlab.settings import Settings


@contextmanager
def serving(
    settings: Settings, listener: socket.socket, cert: Path | None = None, key: Path | None = None
) -> Iterator[None]:
    """Serve on a bound socket (with TLS when ``cert`` and ``key`` are given) while inside."""
    config = uvicorn.Config(
        create_app(settings),
        log_level="error",
        access_log=False,
        ssl_certfile=str(cert) if cert else None,
        ssl_keyfile=str(key) if key else None,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    ready = threading.Event()
    startup = server.startup

    async def told_startup(sockets: list[socket.socket] | None = None) -> None:
        await startup(sockets)
        ready.set()

    server.startup = told_startup  # type: ignore[method-assign]
    listener.listen(128)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    if not ready.wait(20):
        raise RuntimeError("the lab's GitLab did not start within 20 s")
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)


def bound_socket(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Return a bound TCP socket; port 0 means any free one.

    Its protocol is named, since asyncio sets TCP_NODELAY only then: each answer waits 40 ms
    otherwise.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener
