"""A proxy for this machine alone, by which the controller reaches the lab's GitLab by its name."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


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
