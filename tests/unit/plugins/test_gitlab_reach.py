# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps the controller from GitLab's API is told in plain words, with the variable to set."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _gitlab_api, _gitlab_reach
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import Projects

TOKEN = "glpat-AdministratorsOwn00"
JSON = '{"message": "404 Project Not Found"}'
PAGE = "<!DOCTYPE html><title>404</title>"


@contextmanager
def server(
    status: int = 404, kind: str = "text/html; charset=utf-8", body: str = PAGE,
    tls: ssl.SSLContext | None = None, location: str = "",
) -> Iterator[int]:  # fmt: skip
    """A web server that has one answer to everything; its port."""

    class Answers(BaseHTTPRequestHandler):
        def answer(self) -> None:
            there = location and self.path != location
            self.send_response(302 if there else status)
            if there:
                self.send_header("Location", location)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = answer

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as made:
        # A client that gives up on TLS is no traceback of these tests.
        made.handle_error = lambda *_: None  # type: ignore[method-assign]
        if tls:
            made.socket = tls.wrap_socket(
                made.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield made.server_port
        made.shutdown()


def certificate(folder: Path, name: str, ended: bool = False) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for a host, and a server's TLS with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=-1 if ended else 9))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path, both = folder / f"{name}.pem", folder / f"{name}.both"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    both.write_bytes(
        path.read_bytes()
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return path, context


def said(url: str, authority: str = "", proxy: str = "") -> str:
    """The message of a run that cannot ask GitLab."""
    with pytest.raises(ApiProblem) as failed:
        Projects(url, TOKEN, authority, proxy, "gitlab_project_api_token").project("group/demo")
    assert failed.value.status == 0
    text = str(failed.value)
    assert TOKEN not in text
    assert not re.search(r"Max retries|ConnectionPool|Errno|<", text)
    return text


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def unused() -> int:
    """A port at which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_an_unknown_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert said("https://gitlab.invalid") == (
        "https://gitlab.invalid, asked to show project group/demo: no answer: its host name is "
        "unknown; correct gitlab_project_url, or set gitlab_project_api_proxy if only a proxy "
        "knows it"
    )
    found = said("https://gitlab.invalid", proxy="http://user:secret@proxy.invalid:3128")
    assert "the proxy does not lead there: its host name is unknown" in found
    assert "correct gitlab_project_api_proxy" in found
    assert "secret" not in found


def test_a_port_at_which_nothing_listens() -> None:
    found = said(f"http://127.0.0.1:{unused()}")
    assert "nothing answers at its address; check the host and port in gitlab_project_url" in found


def test_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gitlab_api, "SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        found = said(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "it does not answer in time; check gitlab_project_url" in found


def test_certificates(tmp_path: Path) -> None:
    path, context = certificate(tmp_path, "localhost")
    other, __ = certificate(tmp_path, "other")
    with server(tls=context) as port:
        url = f"https://localhost:{port}"
        assert (
            "its certificate is not trusted (self-signed certificate): set "
            "gitlab_project_api_ca_certificate to the file of your CA" in said(url)
        )
        assert f"{other} does not hold the CA that has signed it" in said(url, str(other))
        assert "its certificate is for another name (" in said(
            f"https://127.0.0.1:{port}", str(path)
        )
        # Trusted: the answer itself counts.
        assert "does not answer as GitLab's API" in said(url, str(path))
        assert "https:// in place of http://?" in said(f"http://localhost:{port}")
    path, context = certificate(tmp_path, "localhost", ended=True)
    with server(tls=context) as port:
        found = said(f"https://localhost:{port}", str(path))
    assert "its certificate has expired, or is this machine's clock ahead?" in found


def test_a_port_without_tls() -> None:
    with server() as port:
        found = said(f"https://localhost:{port}")
    assert "its port does not speak TLS: http:// in place of https://? Correct" in found


def test_the_file_of_the_ca(tmp_path: Path) -> None:
    assert said("https://localhost", str(tmp_path / "ca.pem")) == (
        f"gitlab_project_api_ca_certificate: the file {tmp_path}/ca.pem does not exist; expected "
        "an absolute path, or one from the folder in which you run this"
    )
    (tmp_path / "ca.pem").write_text("no certificate\n")
    with server() as port:
        found = said(f"https://localhost:{port}", str(tmp_path / "ca.pem"))
    assert f"{tmp_path}/ca.pem holds no certificate in PEM format" in found


@pytest.mark.parametrize("status", [200, 404])
def test_another_web_server_is_not_taken_for_gitlab_without_the_project(status: int) -> None:
    with server(status) as port:
        found = said(f"http://127.0.0.1:{port}/group")
    assert found == (
        f"http://127.0.0.1:{port}/group does not answer as GitLab's API (HTTP {status}, "
        "text/html): set gitlab_project_url to the address of GitLab, without the path of a group "
        "or project"
    )


def test_gitlabs_login_page_is_no_answer() -> None:
    with server(200, location="/users/sign_in") as port:
        found = said(f"http://127.0.0.1:{port}/group")
    assert "does not answer as GitLab's API (HTTP 200, text/html)" in found


def test_json_of_another_program() -> None:
    with server(404, "application/json", '{"detail": "Not Found"}') as port:
        found = said(f"http://127.0.0.1:{port}")
    assert "does not answer as GitLab's API (HTTP 404, application/json)" in found


def test_a_web_server_before_gitlab_that_wants_tls() -> None:
    with server(400, body="The plain HTTP request was sent to HTTPS port") as port:
        found = said(f"http://127.0.0.1:{port}")
    assert "its port speaks TLS: https:// in place of http://? Correct gitlab_project_url" in found


@pytest.mark.parametrize("body", [JSON, '{"error": "404 Not Found"}'])
def test_gitlabs_own_404_still_means_that_there_is_no_such_project(body: str) -> None:
    with server(404, "application/json", body) as port:
        client = Projects(f"http://127.0.0.1:{port}", TOKEN)
        assert client.project("group/demo") is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [(502, "it answered (HTTP 502, text/html)"),
     (403, "it refuses access, or what stands before it does, (HTTP 403, text/html)")],
)  # fmt: skip
def test_a_gitlab_that_is_down_or_guarded_stays_one(status: int, expected: str) -> None:
    with server(status) as port, pytest.raises(ApiProblem) as failed:
        Projects(f"http://127.0.0.1:{port}", TOKEN).project("group/demo")
    assert str(failed.value).endswith(f"asked to show project group/demo: {expected}")
    assert failed.value.status == status


def test_other_words_are_shown_as_they_are() -> None:
    place = _gitlab_reach.Place("https://gitlab.example.com", "gitlab_runner")
    assert place.no_answer("something else") == ""
    closed = "('Connection aborted.', RemoteDisconnected('closed'))"
    assert "it closes the connection; check gitlab_runner_url" in place.no_answer(closed)
    for words, expected in (
        ("Tunnel connection failed: 407 Proxy Authentication Required", "it asks for a login"),
        ("Tunnel connection failed: 403 Forbidden", "it answered 403"),
        ("", "it cannot be used"),
    ):
        error = f"ProxyError('Unable to connect to proxy', OSError('{words}'))"
        assert f"the proxy does not lead there: {expected}; correct" in place.no_answer(error)
    behind = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate is not yet "
    assert "clock behind" in place.no_answer(f"{behind}valid (_ssl.c:1006)")
