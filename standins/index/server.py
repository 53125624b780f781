# SPDX-License-Identifier: GPL-3.0-or-later
"""The index as a server: PyPI at ``/legacy/`` and ``/simple/``, GitLab at ``/api/v4/``."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from standins.index import gitlab, oidc, pypi
from standins.index.refusals import Refusal
from standins.index.store import File, Project, Projects, normal

SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
SIMPLE_HTML = "application/vnd.pypi.simple.v1+html"
_REALM = 'Basic realm="GitLab Packages Registry"'


@dataclass(frozen=True)
class Answer:
    """An answer of HTTP; ``phrase`` is the status line's, where it is not the usual one."""

    status: int
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    phrase: str | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Request:
    """A request of HTTP."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    scheme: str = "http"

    @property
    def base(self) -> str:
        """The index's address, as this client has it."""
        return f"{self.scheme}://{self.headers.get('host', '')}"

    @property
    def login(self) -> tuple[str, str] | None:
        """User and password of Basic authentication."""
        kind, __, text = self.headers.get("authorization", "").partition(" ")
        try:
            user, colon, password = base64.b64decode(text).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return (user, password) if kind.lower() == "basic" and colon else None

    def form(self) -> tuple[dict[str, str], str, bytes]:
        """The fields of multipart/form-data, and the file's name and content."""
        boundary = re.search(r'boundary="?([^";]+)', self.headers.get("content-type", ""))
        fields: dict[str, str] = {}
        filename, content = "", b""
        for part in self.body.split(f"--{boundary[1]}".encode()) if boundary else []:
            head, blank, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            name = re.search(rb'name="([^"]*)"', head)
            if not blank or not name:
                continue
            data = data.removesuffix(b"\r\n")
            file = re.search(rb'filename="([^"]*)"', head)
            if file and name[1] == b"content":
                filename, content = file[1].decode(), data
            elif data.strip() != b"UNKNOWN":
                # The first of several: no rule reads another one.
                fields.setdefault(name[1].decode(), data.decode(errors="replace"))
        return fields, filename, content

    def prefers_json(self) -> bool:
        """Whether a simple index should be JSON (PEP 691)."""
        weights = {}
        for one in self.headers.get("accept", "").split(","):
            kind, __, rest = one.strip().partition(";")
            weight = re.search(r"q=([\d.]+)", rest)
            weights[kind.strip()] = float(weight[1]) if weight else 1.0
        latest = "application/vnd.pypi.simple.latest+json"
        as_json = max(weights.get(SIMPLE_JSON, 0.0), weights.get(latest, 0.0))
        as_html = max(weights.get(kind, 0.0) for kind in (SIMPLE_HTML, "text/html"))
        return as_json > 0 and as_json >= as_html


class Index:
    """A server of both indexes, in a thread of its own.

    Attributes:
        url: its address.
        pypi, gitlab, oidc: the rules, whose state tests may change.
        uploads: names of files that were taken, in their order.

    Args:
        listener: a listening socket; otherwise one of its own, on this machine only.
        tls: for HTTPS.
        name: by which clients know it, where that is not the socket's address.
        folder: where PyPI's projects are kept; otherwise they end with the server.
    """

    def __init__(
        self,
        listener: socket.socket | None = None,
        tls: ssl.SSLContext | None = None,
        name: str = "",
        folder: Path | None = None,
    ) -> None:
        index = self
        scheme = "https" if tls else "http"

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60
            # Head and body are two packets: the second one would wait for the client's answer.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                headers = {key.lower(): value for key, value in self.headers.items()}
                body = self.rfile.read(size)
                path = self.path.partition("?")[0]
                index.send(self, index.answer(Request(self.command, path, headers, body, scheme)))

            do_POST = do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Keeps quiet: a request may hold a token."""

        listener = listener or socket.create_server(("127.0.0.1", 0))
        address, self.port = listener.getsockname()
        self.server = ThreadingHTTPServer((address, self.port), Handler, bind_and_activate=False)
        self.server.daemon_threads = True
        self.server.socket.close()
        # Each connection's handshake in its own thread.
        self.server.socket = tls.wrap_socket(
            listener, server_side=True, do_handshake_on_connect=False
        ) if tls else listener  # fmt: skip
        self.url = f"{scheme}://{name or address}:{self.port}"
        self.pypi = pypi.Rules(f"{self.url}/help/", Projects(folder))
        self.gitlab = gitlab.Rules()
        self.oidc = oidc.Exchange(self.pypi)
        self.uploads: list[str] = []

    def __enter__(self) -> Index:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @staticmethod
    def send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        """Sends an answer."""
        handler.send_response(answer.status, answer.phrase)
        headers = {"Content-Type": answer.kind, **(answer.headers or {})}
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(answer.body)

    def answer(self, request: Request) -> Answer:
        """What the index answers."""
        for method, pattern, view in self._routes():
            match = re.fullmatch(pattern, request.path)
            if match and request.method in (method, "HEAD" if method == "GET" else method):
                try:
                    return view(request, *map(unquote, match.groups()))
                except Refusal as refusal:
                    return _refused(refusal)
        return Answer(404, b"Not Found")

    def _routes(self) -> list[tuple[str, str, Callable[..., Answer]]]:
        registry = r"/api/v4/projects/([^/]+)/packages/pypi"
        return [
            ("POST", "/legacy/?", self._pypi_upload),
            ("GET", "/simple/([^/]+)/?", self._pypi_simple),
            ("GET", "/pypi/([^/]+)/json", self._pypi_json),
            ("GET", "/pypi/([^/]+)/([^/]+)/json", self._pypi_json),
            ("GET", "/packages/[0-9a-f]{64}/([^/]+)", self._pypi_file),
            ("GET", "/_/oidc/audience", self._audience),
            ("POST", "/_/oidc/mint-token", self._mint),
            ("POST", "/_/oidc/burn-token", lambda request: Answer(202)),
            ("POST", f"{registry}/?", self._gitlab_upload),
            ("GET", f"{registry}/simple/([^/]+)/?", self._gitlab_simple),
            ("GET", f"{registry}/files/([0-9a-f]{{64}})/([^/]+)", self._gitlab_file),
        ]

    # PyPI

    def _pypi_upload(self, request: Request) -> Answer:
        form, filename, content = request.form()
        if self.pypi.upload(request.login, form, filename, content):
            self.uploads.append(filename)
        return Answer(200)

    def _pypi_simple(self, request: Request, name: str) -> Answer:
        project = self._pypi_project(name)
        if name != normal(name):
            return Answer(301, headers={"Location": f"/simple/{normal(name)}/"})
        files = f"{request.base}/packages"
        urls = {file.name: f"{files}/{file.sha256}/{file.name}" for file in project.files.values()}
        return _simple(project, urls, request.prefers_json())

    def _pypi_project(self, name: str) -> Project:
        project = self.pypi.projects.find(name)
        if project is None:
            raise self.pypi.refuse("not_found")
        return project

    def _pypi_json(self, request: Request, name: str, version: str = "") -> Answer:
        project = self._pypi_project(name)
        version = version or max(project.created, key=lambda one: project.created[one], default="")
        files = [file for file in project.files.values() if file.version == version]
        if not files:
            raise self.pypi.refuse("not_found")
        urls = [
            {
                "filename": file.name,
                "packagetype": file.kind,
                "digests": {"sha256": file.sha256, "blake2b_256": file.blake2},
                "size": len(file.content),
                "requires_python": file.requires_python or None,
                "url": f"{request.base}/packages/{file.sha256}/{file.name}",
                "yanked": False,
            }
            for file in files
        ]
        told = {"info": {"name": project.name, "version": version}, "urls": urls}
        return Answer(200, json.dumps(told).encode(), "application/json")

    def _pypi_file(self, request: Request, name: str) -> Answer:
        file = self.pypi.projects.file(name)
        if file is None:
            raise self.pypi.refuse("not_found")
        return Answer(200, file.content, "application/octet-stream")

    # Trusted publishing

    def _audience(self, request: Request) -> Answer:
        return Answer(200, json.dumps({"audience": self.oidc.audience}).encode(),
                      "application/json")  # fmt: skip

    def _mint(self, request: Request) -> Answer:
        status, told = self.oidc.mint(request.body)
        return Answer(status, json.dumps(told).encode(), "application/json")

    # GitLab

    def _gitlab_upload(self, request: Request, project: str) -> Answer:
        form, filename, content = request.form()
        self.gitlab.upload(project, request.login, form, filename, content)
        self.uploads.append(filename)
        return Answer(201, b'{"message":"201 Created"}', "application/json")

    def _gitlab_simple(self, request: Request, project: str, name: str) -> Answer:
        registry = self.gitlab.registry(project, request.login, gitlab.READ)
        package = registry.packages.find(name)
        if package is None and registry.forward_to:
            target = f"{registry.forward_to.rstrip('/')}/{normal(name)}/"
            return Answer(302, b"This resource has been moved temporarily",
                          headers={"Location": target})  # fmt: skip
        if package is None:
            raise Refusal("gitlab", "package")
        files = f"{request.base}/api/v4/projects/{project}/packages/pypi/files"
        urls = {file.name: f"{files}/{file.sha256}/{file.name}" for file in package.files.values()}
        return _simple(package, urls, registry.json and request.prefers_json())

    def _gitlab_file(self, request: Request, project: str, sha256: str, name: str) -> Answer:
        registry = self.gitlab.registry(project, request.login, gitlab.READ)
        file = registry.packages.file(name)
        if file is None or file.sha256 != sha256:
            raise Refusal("gitlab", "package")
        return Answer(200, file.content, "application/octet-stream")


def _refused(refusal: Refusal) -> Answer:
    if refusal.rules == "gitlab":
        body = json.dumps({refusal.key: refusal.words}).encode()
        headers = {"WWW-Authenticate": _REALM} if refusal.status == 401 else None
        return Answer(refusal.status, body, "application/json", headers=headers)
    said = html.escape(f"{refusal.status} {refusal.words}")
    page = f"<html>\n <head>\n  <title>{said}</title>\n </head>\n <body>\n  <h1>{said}</h1>\n"
    phrase = refusal.words.encode("iso-8859-1", "replace").decode("iso-8859-1")
    return Answer(
        refusal.status, f"{page} </body>\n</html>".encode(), "text/html; charset=UTF-8", phrase
    )


def _simple(project: Project, urls: Mapping[str, str], as_json: bool) -> Answer:
    """A project's page of the simple index (PEP 503, PEP 691)."""
    files = sorted(project.files.values(), key=lambda file: file.name)
    if as_json:
        told = {
            "meta": {"api-version": "1.1"},
            "name": normal(project.name),
            "versions": sorted({file.version for file in files}),
            "files": [_entry(file, urls[file.name]) for file in files],
        }
        return Answer(200, json.dumps(told).encode(), SIMPLE_JSON, headers={"Vary": "Accept"})
    links = []
    for file in files:
        requires = html.escape(file.requires_python)
        more = f' data-requires-python="{requires}"' if requires else ""
        links.append(f'    <a href="{urls[file.name]}#sha256={file.sha256}"{more}>{file.name}</a>')
    title = f"Links for {html.escape(project.name)}"
    page = (
        f"<!DOCTYPE html>\n<html>\n  <head><title>{title}</title></head>\n  <body>\n"
        f"    <h1>{title}</h1>\n" + "<br>\n".join(links) + "\n  </body>\n</html>\n"
    )
    return Answer(200, page.encode(), "text/html; charset=utf-8", headers={"Vary": "Accept"})


def _entry(file: File, url: str) -> dict[str, Any]:
    return {
        "filename": file.name,
        "url": url,
        "hashes": {"sha256": file.sha256},
        "size": len(file.content),
        # PEP 700.
        "upload-time": f"{datetime.fromtimestamp(file.uploaded, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        **({"requires-python": file.requires_python} if file.requires_python else {}),
    }
