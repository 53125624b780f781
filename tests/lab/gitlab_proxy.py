# SPDX-License-Identifier: GPL-3.0-or-later
"""How the controller reaches the lab's GitLab by its name: a proxy for this machine alone."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from lab.engine import Engine
from tests.lab.site import Site


@contextmanager
def by_api(site: Site, *scopes: str) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """What a host's variables are for a runner that the toolkit creates, and what was asked for."""
    network = Engine().network(site.lab.network)
    assert network is not None
    with site.gitlab() as gitlab:
        token = gitlab.create_token(*(scopes or ("create_runner", "manage_runner")))
    with proxy(str(network.gateway)) as (address, asked):
        variables = {
            "gitlab_runner_api_proxy": address,
            "gitlab_runner_api_token": token,
            "gitlab_runner_api_ca_certificate": site.variables["lab_gitlab_ca_file"],
        }
        yield variables, asked


@contextmanager
def proxy(address: str) -> Iterator[tuple[str, list[str]]]:
    """An HTTP proxy for TLS: every name is at ``address``.

    Yields:
        The proxy's own address, and the list of what it was asked for so far.
    """
    asked: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            words = self.rfile.readline().decode().split()
            while self.rfile.readline().strip():
                pass
            if len(words) < 2 or words[0] != "CONNECT":
                self.wfile.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
                return
            asked.append(words[1])
            port = int(words[1].rpartition(":")[2])
            with socket.create_connection((address, port), timeout=30) as other:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=_pump, args=(other, self.connection))
                back.start()
                _pump(self.connection, other)
                back.join(30)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join(10)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
