# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in front of an index in these tests: it hands everything on, or fails."""

from __future__ import annotations

import http.client
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Door:
    """A proxy of one HTTP server.

    Attributes:
        fault: what happens to uploads after the first one: ``500``, ``read-only``, ``lost`` (the
            connection, before the index has the file), ``lost-answer`` (after it has), ``hangs``.
        uploads: the names of files that the index took.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.fault = ""
        self.uploads: list[str] = []
        self.released = threading.Event()
        self.reached = threading.Event()
        door = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                door.handle(self)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Door:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        upload = request.command == "POST"
        failing = upload and bool(self.uploads) and self.fault
        if failing and failing != "lost-answer":
            self.reached.set()
            if failing == "hangs":
                self.released.wait(60)
            if failing in ("500", "read-only"):
                request.send_error(500 if failing == "500" else 403, f"{failing} says the index")
            request.close_connection = True
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {key: value for key, value in request.headers.items() if key != "Connection"}
        connection.request(request.command, request.path, body or None, headers)
        answer = connection.getresponse()
        text = answer.read()
        if upload and answer.status in (200, 201):
            name = re.search(rb'filename="([^"]+)"', body)
            assert name
            self.uploads.append(name[1].decode())
        if failing == "lost-answer":
            request.close_connection = True
            return
        request.send_response(answer.status, answer.reason)
        for key, value in answer.getheaders():
            if key.lower() not in ("transfer-encoding", "connection", "content-length", "date"):
                request.send_header(key, value)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)
