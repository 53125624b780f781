# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host without a runner learns of its GitLab, against servers on this machine."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _gitlab_probe
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _network,
    _runner_host,
    _services,
)

NAMES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *map(str.upper, NAMES)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def serving(
    status: int = 401,
    body: bytes = b"{}",
    authority: trustme.CA | None = None,
    moved: Mapping[str, str] | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """A server that answers everything alike: its port, and what it was asked.

    Args:
        status: of its answers.
        body: theirs.
        authority: the CA of its certificate; without one it speaks no TLS.
        moved: where it sends requests instead, by method.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            here = (moved or {}).get(self.command)
            self.send_response(status if here or not moved else 401)
            if here:
                self.send_header("Location", here)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_DELETE = do_GET

        def do_CONNECT(self) -> None:
            asked.append(self.path)
            self.send_error(407)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(HTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that speaks no TLS is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    if authority:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        server.server_close()


def problems(url: str, authorities: tuple[str, ...] = (), **more: Any) -> list[str]:
    one = {"label": "gitlab_runner_url", "url": url, "folder": "/nowhere", "tls": {}}
    return _gitlab_probe.problems([{**one, "environment": {}, **more}], authorities)


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500])
def test_whatever_answers_may_be_a_gitlab(status: int) -> None:
    with serving(status) as (port, asked):
        assert problems(f"http://127.0.0.1:{port}/ci/") == []
    assert asked == ["/api/v4/version"]


def test_private_authorities_of_this_run_and_of_the_runner_count(
    authority: trustme.CA, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text(pem(authority))
    with serving(authority=authority) as (port, _):
        url = f"https://127.0.0.1:{port}"
        (said,) = problems(url)
        assert said.startswith(f"gitlab_runner_url: {url} cannot be used from this host: ")
        assert "its certificate is not trusted (" in said
        assert said.endswith("is its CA in network_access_ca_certificates?")
        assert problems(url, (pem(trustme.CA()),)) == [said]
        assert problems(url, (pem(authority),)) == []
        assert problems(url, tls={"tls-ca-file": str(tmp_path / "ca.pem")}) == []


def test_wrong_scheme(authority: trustme.CA) -> None:
    with serving(authority=authority) as (port, _):
        (said,) = problems(f"http://127.0.0.1:{port}")
    assert said.endswith(
        "without an answer; perhaps its port speaks TLS: https:// in place of http://?"
    )
    with serving(400, b"The plain HTTP request was sent to HTTPS port") as (port, _):
        (said,) = problems(f"http://127.0.0.1:{port}")
    assert said.endswith("its port speaks TLS: https:// in place of http://?")
    with serving() as (port, _):
        (said,) = problems(f"https://127.0.0.1:{port}")
    assert said.endswith("its port does not speak TLS: http:// in place of https://?")


@pytest.mark.parametrize("reset", [False, True])
def test_an_ended_connection_is_no_wrong_scheme_with_tls(reset: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def end() -> None:
            client = server.accept()[0]
            client.recv(1)
            # Without waiting for what is still unread, the peer gets a reset.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
            if not reset:
                client.recv(100_000)
            client.close()

        ending = threading.Thread(target=end)
        ending.start()
        (said,) = problems(f"https://127.0.0.1:{port}")
        ending.join()
    assert said.endswith("it ends the connection without an answer")


def test_nothing_there() -> None:
    with serving() as (port, _):
        pass
    (said,) = problems(f"http://127.0.0.1:{port}")
    assert said.endswith("nothing answers at its address")
    (said,) = problems("https://gitlab.invalid")
    assert said.endswith("its host name is unknown")


def test_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gitlab_probe, "SECONDS", 0.2)
    with serving() as (port, _), HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as deaf:
        (said,) = problems(f"http://127.0.0.1:{deaf.server_address[1]}")
        assert said.endswith("it does not answer in time")
        assert problems(f"http://127.0.0.1:{port}") == []


def test_proxies_are_the_services() -> None:
    with serving(407) as (port, asked):
        proxy = f"http://login:hunter2@127.0.0.1:{port}"
        through = {"http_proxy": proxy, "https_proxy": proxy}
        for scheme in ("http", "https"):
            (said,) = problems(f"{scheme}://gitlab.invalid", environment=through)
            assert said.endswith("the proxy asks for a login: network_access_proxy_login")
            assert "hunter2" not in said
        assert asked == ["http://gitlab.invalid/api/v4/version", "gitlab.invalid:443"]
        # Go's rules: a name with all below it, an address, a network.
        for exempt, host in (("invalid", "gitlab.invalid"), ("192.0.2.0/24", "192.0.2.7")):
            url = f"http://{host}:1"
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(_gitlab_probe, "SECONDS", 0.2)
                (said,) = problems(url, environment={**through, "no_proxy": exempt})
            assert "the proxy" not in said
        assert len(asked) == 2


def test_one_question_for_each_gitlab_and_none_where_a_runner_asks(tmp_path: Path) -> None:
    with serving() as (port, asked):
        one = {"label": "x", "url": f"http://127.0.0.1:{port}", "tls": {}, "environment": {}}
        (tmp_path / "config.toml").touch()
        services = [{**one, "folder": "/nowhere"}, {**one, "folder": "/elsewhere"}]
        assert _gitlab_probe.problems([{**one, "folder": str(tmp_path)}], ()) == []
        assert asked == []
        assert _gitlab_probe.problems(services, ()) == []
        assert len(asked) == 1


FORBIDDEN = b'{"message":"403 Forbidden"}'
TOKEN = "glrt-t1_abcdefghijklmnopqrst"


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (403, FORBIDDEN, True),
        (404, b'{"message":"404 Runner manager not found Not Found"}', False),
        # A firewall's or a web server's page is no answer about a token.
        (403, b"<html>Forbidden</html>", False),
        (403, b'["403"]', False),
        (500, FORBIDDEN, False),
        # Of a GitLab before 16.
        (404, b'{"error":"404 Not Found"}', False),
        (204, b"", False),
    ],
)
def test_a_token_that_gitlab_refuses(status: int, body: bytes, refused: bool) -> None:
    with serving(status, body) as (port, asked):
        url = f"http://127.0.0.1:{port}"
        found = problems(url, token=TOKEN, token_label="gitlab_runner_runners[0] (build).token")
    assert asked == ["/api/v4/version", "/api/v4/runners/managers"]
    said = f"gitlab_runner_runners[0] (build).token: GitLab at {url} refuses it (403): "
    assert [text.startswith(said) for text in found] == [True] * refused
    assert TOKEN not in str(found)


@pytest.mark.parametrize(("status", "moves"), [(302, True), (404, False)])
def test_a_path_behind_gitlab_is_no_address_of_gitlab(status: int, moves: bool) -> None:
    """GitLab sends whom it does not know to its login page."""
    pages = dict.fromkeys(("GET", "DELETE"), "http://127.0.0.1:9/users/sign_in")
    with serving(status, b"<html>", moved=pages if moves else None) as (port, _):
        url = f"http://127.0.0.1:{port}/group/project"
        (found,) = problems(url, token=TOKEN, token_label="x")
        assert found == (
            f"gitlab_runner_url: {url} cannot be used from this host: (HTTP {status}) this is not "
            "GitLab's API: set the address of GitLab, without the path of a group or project"
        )
        # What stands before GitLab may let through what a runner asks alone.
        assert problems(url) == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("token", ["", TOKEN])
def test_an_address_that_redirects_to_gitlabs(status: int, token: str) -> None:
    """gitlab-runner gets through where the method is kept (307, 308)."""
    with serving(404, b'{"message":"404 Runner manager not found"}') as (real, asked):
        base = f"http://127.0.0.1:{real}/root"
        moved = {"GET": f"{base}/api/v4/version", "DELETE": f"{base}/api/v4/runners/managers"}
        with serving(status, moved=moved) as (port, _):
            found = problems(f"http://127.0.0.1:{port}", token=token, token_label="x")
    if status in (307, 308):
        assert found == []
        assert asked == ["/root/api/v4/version"]
    else:
        (said,) = found
        assert (
            f"it redirects to {base}, which breaks gitlab-runner's requests; set that address"
            in said
        )
        assert asked == []


def test_tokens_are_not_sent_to_what_gives_no_answer() -> None:
    refused = b"The plain HTTP request was sent to HTTPS port"
    with serving(400, refused) as (port, asked):
        found = problems(f"http://127.0.0.1:{port}", token=TOKEN, token_label="x")
    assert asked == ["/api/v4/version"]
    assert len(found) == 1


def test_what_is_asked_about_a_token_can_hit_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[dict[str, str]] = []

    def asking(_: Any, method: str, path: str, body: bytes = b"{}") -> None:
        if method == "DELETE":
            bodies.append(json.loads(body))

    monkeypatch.setattr(_gitlab_probe._GitLab, "_ask", asking)
    for _ in range(2):
        assert problems("https://gitlab.invalid", token=TOKEN, token_label="x") == []
    assert all(body["token"] == TOKEN for body in bodies)
    names = {body["system_id"] for body in bodies}
    assert len(names) == 2
    # A host's begins with s_ or r_ (gitlab-runner, system_id_state.go).
    assert all(name.startswith("runnerhost-") for name in names)


def test_what_is_asked_of_the_inventorys_runners() -> None:
    network = _network.Network(https_proxy="http://proxy:3128", authorities=(("/ca.crt", "PEM"),))
    found = _services.services({
        "runners": [
            {"name": "gone", "state": "absent"},
            {"name": "a", "tls-ca-file": "/a.pem", "token": TOKEN},
            {"name": "b", "url": "https://other.example.com"},
        ],
        "environment": {"no_proxy": "example.com"},
        "concurrent": 1,
    })  # fmt: skip
    first, second = _runner_host.gitlabs(found, "https://gitlab.example.com", network)
    assert (first["label"], first["url"]) == ("gitlab_runner_url", "https://gitlab.example.com")
    assert first["tls"] == {"tls-ca-file": "/a.pem"}
    assert first["folder"] == "/etc/gitlab-runner"
    assert (first["token"], second["token"]) == (TOKEN, "")
    assert first["token_label"] == "gitlab_runner_runners[1] (a).token"
    assert second["label"] == "gitlab_runner_runners[2] (b).url"
    assert second["url"] == "https://other.example.com"
    # The bundle of trusted CAs, which SSL_CERT_FILE names, is written later.
    assert {name.lower() for name in first["environment"]} == {"https_proxy", "no_proxy"}
    assert first["environment"]["no_proxy"] == "example.com"
