# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host learns of its package index before it is changed, against servers on this machine."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _host_info, _package_index
from ansible_collections.runnerhost.toolkit.plugins.module_utils._package_index import Pin
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _network,
    _publish_lock,
    _runner_host,
    _services,
)

OURS, OTHER = "a" * 64, "b" * 64
HTML = '<a href="/f/twine-7.0-py3-none-any.whl#sha256=%s">x</a>'
JSON = '{"files": [{"filename": "twine-7.0.tar.gz", "hashes": {"sha256": "%s"}}]}'


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
    pips = [name for name in os.environ if name.startswith("PIP_")]
    own = (*pips, *_package_index._OWN_TRUST_VARIABLES)
    for name in (*names, *map(str.upper, names), *own):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_package_index, "PIP_FILES", (str(tmp_path / "pip.conf"),))
    monkeypatch.setenv("HOME", str(tmp_path))


@contextmanager
def index(
    pages: Mapping[str, str | int],
    *,
    opened: list[object] | None = None,
    breaks_after: int = 0,
    elsewhere: str = "",
) -> Iterator[tuple[str, list[str]]]:
    """An index with these pages, by path: its address, and what it was asked.

    Args:
        pages: a page, or the code of an answer without one.
        opened: if given, connections stay open, and each adds an item to it.
        breaks_after: how many answers a connection gives before it is closed; 0 for all.
        elsewhere: the server to which a page 302 redirects, with the same path.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0" if opened is None else "HTTP/1.1"
        answered = 0

        def setup(self) -> None:
            super().setup()
            if opened is not None:
                opened.append(self.client_address)

        def do_GET(self) -> None:
            if breaks_after and self.answered == breaks_after:
                self.close_connection = True
                return
            self.answered += 1
            asked.append(self.path)
            page = pages.get(self.path, 404)
            body = page.encode() if isinstance(page, str) else b""
            self.send_response(page if isinstance(page, int) else 200)
            if page == 302:
                self.send_header("Location", f"{elsewhere}{self.path}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def pin(name: str = "twine", version: str = "7.0", hashes: tuple[str, ...] = (OURS,)) -> Pin:
    return {"name": name, "version": version, "hashes": list(hashes)}


def problems(url: str, *pins: Pin, **environment: str) -> list[str]:
    return _package_index.problems(url, {"PIP_INDEX_URL": url, **environment}, (), pins)


def test_an_index_that_has_all() -> None:
    pages = {"/simple/twine/": HTML % OURS, "/simple/uv/": JSON % OURS}
    with index(pages) as (url, asked):
        assert problems(f"{url}/", pin(), pin("uv")) == []
    assert sorted(set(asked)) == ["/simple/twine/", "/simple/uv/"]


MANY = [pin(f"p{number:02}", hashes=(OURS,)) for number in range(40)]
PAGES: dict[str, str | int] = {
    f"/simple/{one['name']}/": f"{one['name']}-7.0.zip#sha256={OURS}" for one in MANY
}


def test_a_lock_is_asked_for_over_few_connections() -> None:
    opened: list[object] = []
    with index(PAGES, opened=opened) as (url, asked):
        assert problems(url, *MANY) == []
    # The first question is whether an index is there.
    assert len(opened) <= 5
    assert sorted(asked[1:]) == sorted(PAGES)


def test_redirects_and_broken_connections_are_asked_for_again() -> None:
    """Each connection breaks after three answers; p20 is on the other server, and p21 nowhere."""
    opened: list[object] = []
    away: dict[str, str | int] = {"/simple/p20/": 302, "/simple/p21/": 302}
    with (
        index({"/simple/p20/": PAGES["/simple/p20/"]}) as (other, _),
        index(
            PAGES | away, opened=opened, breaks_after=3, elsewhere=other.removesuffix("/simple")
        ) as (url, _),
    ):
        (said,) = problems(url, *MANY)
    assert said.startswith(f"publish_tools_lock: {url} has no p21; ")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (HTML % OTHER, "twine 7.0 with a hash of the lock's"),
        (JSON % OTHER, "twine 7.0 with a hash of the lock's"),
        ((HTML % OURS).replace("7.0", "6.9").replace(OURS, OTHER), "twine 7.0"),
        # Not of a longer version.
        ((HTML % OTHER).replace("7.0-", "7.0.1-"), "twine 7.0"),
        # An index that states none.
        ('<a href="/f/twine-7.0-py3-none-any.whl">x</a>', ""),
        ('<a href="/f/twine-7.0.zip#md5=0">x</a>', ""),
        ("<html>", "twine 7.0"),
    ],
)
def test_what_a_page_lacks(page: str, said: str) -> None:
    assert _package_index.lacks(page, pin()) == said


def test_a_local_version_is_found_in_an_address() -> None:
    page = '<a href="torch-2.0%2Bcpu-py3-none-any.whl">'
    assert _package_index.lacks(page, pin("torch", "2.0+cpu")) == ""


def test_what_is_missing_is_named_once() -> None:
    pins = [pin(), *(pin(f"p{number}") for number in range(7))]
    with index({"/simple/twine/": HTML % OURS}) as (url, _):
        (said,) = problems(url, *pins)
    assert said == (
        f"publish_tools_lock: {url} has no p0, p1, p2, p3, p4 and 2 more; add what is missing to "
        "the index, or use a lock of what it has"
    )


@pytest.mark.parametrize("pins", [(), (pin(), pin("uv"))])
def test_an_address_that_is_no_index(pins: tuple[Pin, ...]) -> None:
    with index({}) as (url, asked):
        (said,) = problems(url, *pins)
    assert said == (
        f"network_access_package_index_url: {url} cannot be used from this host: (HTTP 404) it is "
        "no index: the address of a simple index often ends in /simple"
    )
    assert asked[-1] == "/simple/"


@pytest.mark.parametrize(("pins", "name"), [((), "pip"), ((pin(), pin("uv")), "twine")])
def test_the_front_page_of_an_index(pins: tuple[Pin, ...], name: str) -> None:
    """It answers, and has everything one folder below."""
    with index({"/simple/": "<html>", f"/simple/simple/{name}/": HTML % OURS}) as (url, _):
        (said,) = problems(url, *pins)
    assert said == (
        f"network_access_package_index_url: {url} cannot be used from this host: it has no "
        f"packages; did you mean {url}/simple?"
    )


def test_an_index_with_nothing_of_the_lock() -> None:
    with index({"/simple/": "<html>"}) as (url, _):
        (said,) = problems(url, pin(), pin("uv"))
    assert said == (
        f"network_access_package_index_url: {url} has none of the lock's packages: the address of "
        "a simple index often ends in /simple"
    )


def test_an_index_without_pip_is_one() -> None:
    with index({"/simple/": "<html>"}) as (url, _):
        assert problems(url) == []


@pytest.mark.parametrize("code", [401, 403])
def test_jobs_may_have_the_login(code: int) -> None:
    with index({"/simple/pip/": code, "/simple/": code}) as (url, _):
        assert problems(url) == []


@pytest.mark.parametrize("code", [401, 403])
def test_a_login_that_root_does_not_have(code: int, tmp_path: Path) -> None:
    with index({"/simple/twine/": code}) as (url, _):
        (said,) = problems(url, pin())
        assert f"it asks for a login (HTTP {code})" in said
        (tmp_path / ".netrc").touch()
        assert problems(url, pin()) == []


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_failure_of_the_index_is_no_verdict(code: int) -> None:
    """pip tries again."""
    with index({"/simple/twine/": code, "/simple/": code}) as (url, _):
        assert problems(url, pin()) == []


def test_nothing_there() -> None:
    with index({}) as (url, _):
        pass
    (said,) = problems(url, pin())
    assert said.endswith("cannot be used from this host: nothing answers at its address")
    (said,) = problems("https://index.invalid/simple")
    assert said.endswith("its host name is unknown")
    # Without an address of the inventory's it is pip's own.
    (said,) = _package_index.problems("https://index.invalid/simple", {}, (), [])
    assert said.startswith("network_access_package_index_url: not set, and pip's own index, http")


def test_the_proxy_is_the_inventorys() -> None:
    pages = {f"http://index.invalid/simple/{name}/": HTML % OURS for name in ("pip", "twine")}
    with index(pages) as (url, asked):
        proxy = url.removesuffix("/simple")
        assert problems("http://index.invalid/simple", http_proxy=proxy) == []
        assert asked == ["http://index.invalid/simple/pip/"]
        assert problems("http://index.invalid/simple", pin(), http_proxy=proxy) == []
    assert set(asked) == pages.keys()


@pytest.mark.parametrize(
    "settings",
    ["[global]\nextra-index-url = x\n", "[global]\nindex-url = x\nfind-links = /srv\n", None],
)
def test_what_pip_is_told_on_the_host_is_not_known_here(
    settings: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings:
        (tmp_path / "pip.conf").write_text(settings)
    else:
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://more.invalid")
    assert problems("https://index.invalid/simple", pin()) == []


def test_the_inventorys_index_is_asked_whatever_a_file_names(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://other.invalid\n")
    (said,) = problems("https://index.invalid/simple")
    assert said.endswith("its host name is unknown")
    # Without one in the inventory, the file's is pip's.
    assert _package_index.problems("https://index.invalid/simple", {}, (), []) == []


@pytest.mark.parametrize(("setting", "told"), [("", True), ("cert = /etc/ci/own.pem\n", False)])
def test_a_certificate_that_pip_may_trust_by_its_own_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str, told: bool
) -> None:
    def refuse(*_: object) -> NoReturn:
        error = ssl.SSLCertVerificationError()
        error.verify_code, error.verify_message = 18, "self-signed certificate"
        raise URLError(error)

    (tmp_path / "pip.conf").write_text(f"[global]\n{setting}")
    monkeypatch.setattr(_package_index._Index, "_page", refuse)
    assert bool(problems("https://index.example/simple", pin())) is told


def test_an_index_that_the_host_uses_is_not_asked(tmp_path: Path) -> None:
    url = "https://index.invalid/simple"
    network = _network.Network(index_url=url)
    (service,) = _services.services({"runners": [{"name": "a"}], "concurrent": 1})
    asked = _runner_host.package_index(service, network)
    assert asked
    # Ansible masks each value of an option that is no_log in the messages of its module.
    assert url not in asked["environment"].values()
    file = tmp_path / "env-file"
    here = {**asked, "known": {**asked["known"], "path": str(file)}}
    assert len(_host_info.package_index(pins=[], **here)) == 1
    file.write_text(f'# x\nPIP_INDEX_URL="{url}"\n')
    assert _host_info.package_index(pins=[], **here) == []


def test_a_service_with_an_index_of_its_own_does_not_use_ours() -> None:
    own = {"runners": [{"name": "a"}], "environment": {"PIP_INDEX_URL": "https://b"}}
    (service,) = _services.services({**own, "concurrent": 1})
    assert _runner_host.package_index(service, _network.Network(index_url="https://a")) is None
    assert _runner_host.package_index(service, _network.Network()) is None


def test_pins_that_count_on_some_hosts_alone_are_not_asked_for() -> None:
    text = f"twine==7.0 --hash=sha256:{OURS} --hash=sha256:{OTHER}\n"
    text += f"Tomli_W==2 ; python_full_version < '3.11' --hash=sha256:{OURS}\n"
    assert _publish_lock.pins(text) == [pin(hashes=(OURS, OTHER))]
    assert _publish_lock.command_warnings(["twine", "tomli-w"], text) == []
    (said,) = _publish_lock.command_warnings(["twine", "ruff", "uvx"], text)
    assert said.startswith("publish_tools_commands: the lock has no package ruff, uvx; ")


def test_pips_own_index_is_known() -> None:
    assert _publish_lock.pips_index().startswith("https://")
