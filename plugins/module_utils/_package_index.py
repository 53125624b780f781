# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a package index answers this host and has what a lock names, asked before any change.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TypedDict
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    BaseHandler,
    HTTPSHandler,
    ProxyHandler,
    Request,
    build_opener,
    getproxies,
)

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files
from ansible_collections.runnerhost.toolkit.plugins.module_utils._http import (
    direct,
    variables,
    words,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._no_answer import PROXY_LOGIN

VARIABLE = "network_access_package_index_url"
SECONDS = 20.0
# Where pip has settings that uv does not read (pip's documentation, "Configuration").
PIP_FILES = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf")
_FINDING = (
    r"(?:extra[-_])?index[-_]url|no[-_]index|find[-_]links|proxy|client[-_]cert|trusted[-_]host"
)
_PIP_SETTING = re.compile(rf"^\s*(?:{_FINDING})\s*[=:]", re.I | re.M)
_INDEX = re.compile(r"^\s*index[-_]url\s*[=:].*$", re.I | re.M)
_PIP_VARIABLE = re.compile(rf"PIP_(?:CONFIG_FILE|{_FINDING})", re.I)
# What pip trusts by a setting of its own, or logs in with, is not looked at.
_OWN_TRUST = re.compile(r"^\s*cert\s*[=:]", re.I | re.M)
_OWN_TRUST_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
# More than the longest page that is known.
_MOST = 128 * 2**20
_SHOWN = 5
# Each index has the older of the two formats.
_FORMAT = {"Accept": "text/html"}
# Each is kept open for a part of the lock: to open one costs more than to ask for a page.
_CONNECTIONS = 4
_REMEDY = "the address of a simple index often ends in /simple"


class Pin(TypedDict):
    """One line of a lock.

    Attributes:
        name: the package's, normalized.
        version: as the lock has it.
        hashes: SHA-256 of the files that it allows.
    """

    name: str
    version: str
    hashes: list[str]


def pip_has_settings(environment: Mapping[str, str], files: Sequence[str] | None = None) -> bool:
    """Whether pip is told on this host where packages come from, beside `network_access`.

    Args:
        environment: what `network_access` gives it.
        files: the texts of its configuration files; those of the host by default.
    """
    if any(_PIP_VARIABLE.fullmatch(name) and name not in environment for name in os.environ):
        return True
    return any(_PIP_SETTING.search(text) for text in (_settings() if files is None else files))


def _settings() -> list[str]:
    home = os.environ.get("HOME") or "/root"
    files = (path.replace("~", home, 1) for path in PIP_FILES)
    return [_files.read_text(path) for path in files if os.path.isfile(path)]


def problems(
    url: str, environment: Mapping[str, str], authorities: Sequence[str], pins: Sequence[Pin]
) -> list[str]:
    """Why the index cannot be used, or what of a lock it does not have; one message each.

    Nothing is asked where pip has settings of its own for what is asked here.

    Args:
        url: the address of its simple index (PEP 503, PEP 691).
        environment: what pip is given: proxies, the index, a bundle of CAs.
        authorities: private CAs that this run adds to the host's, in PEM.
        pins: what it must have; with none it must answer, if only to ask for a login, which jobs
            may have.
    """
    # The environment's index takes the place of a file's (pip docs, "Configuration").
    index = "PIP_INDEX_URL" in environment
    files = [_INDEX.sub("", text) if index else text for text in _settings()]
    if pip_has_settings(environment, files):
        return []
    trusting = any(_OWN_TRUST.search(text) for text in _settings()) or any(
        name in os.environ for name in _OWN_TRUST_VARIABLES
    )
    # The bundle of trusted CAs may not be written yet.
    proxies = {name: text for name, text in environment.items() if "proxy" in name.lower()}
    with variables(proxies):
        asked = _Index(url.rstrip("/"), tuple(authorities), trusting)
        # One that is missing is told as such below.
        names = [pin["name"] for pin in pins] or ["pip"]
        why = asked.unusable(names[:3], login=not pins)
        if not why:
            return asked.lacking(pins)
    if "PIP_INDEX_URL" in environment:
        return [f"{VARIABLE}: {url} cannot be used from this host: {why}"]
    return [
        f"{VARIABLE}: not set, and pip's own index, {url}, cannot be used from this host: {why}"
    ]


@dataclass(frozen=True)
class _Index:
    """An index as pip reaches it from this host.

    Attributes:
        url: its address, without a slash at the end.
        authorities: private CAs, in PEM.
        trusting: whether pip may trust other authorities than these.
    """

    url: str
    authorities: tuple[str, ...]
    trusting: bool

    def unusable(self, names: Sequence[str], login: bool) -> str:
        """Why no index answers there, in words without a secret; empty where one may.

        Args:
            names: packages.
            login: whether who uses it may have a login that root does not have.
        """
        codes = []
        for path in (*(f"{name}/" for name in names), ""):
            try:
                self._page(path, 1)
            except HTTPError as error:
                if error.code == 407:
                    return PROXY_LOGIN
                if error.code in (401, 403) and login:
                    return ""
                if error.code in (401, 403) and not os.path.exists(os.path.expanduser("~/.netrc")):
                    return f"it asks for a login (HTTP {error.code}), and there is none for root"
                codes.append(error.code)
            except (OSError, HTTPException, ValueError) as error:
                reason = getattr(error, "reason", error)
                if self.trusting and isinstance(reason, ssl.SSLCertVerificationError):
                    return ""
                return words(reason, plain=self.url.startswith("http://"))
            else:
                return "" if path else self._elsewhere(names[0])
        return f"(HTTP 404) it is no index: {_REMEDY}" if set(codes) == {404} else ""

    def _elsewhere(self, name: str) -> str:
        """Where a package is that is not here, of an address that answers; else empty."""
        try:
            self._page(f"simple/{name}/", 1)
        except (OSError, HTTPException, ValueError):
            return ""
        return f"it has no packages; did you mean {self.url}/simple?"

    def lacking(self, pins: Sequence[Pin]) -> list[str]:
        """What of a lock the index does not have."""
        parts = [pins[start::_CONNECTIONS] for start in range(_CONNECTIONS)]
        with ThreadPoolExecutor(max_workers=_CONNECTIONS) as pool:
            found = sorted(said for part in pool.map(self._lacking_part, parts) for said in part)
        if not found:
            return []
        if len(found) == len(pins) > 1:
            return [f"{VARIABLE}: {self.url} has none of the lock's packages: {_REMEDY}"]
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return [
            f"publish_tools_lock: {self.url} has no {', '.join(found[:_SHOWN])}{more}; add what is "
            "missing to the index, or use a lock of what it has"
        ]

    def _lacking_part(self, pins: Sequence[Pin]) -> list[str]:
        with closing(self._connection()) as connection:
            found = [self._lacks(pin, connection) for pin in pins]
        return [said for said in found if said]

    def _lacks(self, pin: Pin, connection: HTTPConnection) -> str:
        path = f"{pin['name']}/"
        try:
            page = self._next_page(path, connection) or self._page(path, _MOST)
        except HTTPError as error:
            return pin["name"] if error.code == 404 else ""
        except (OSError, HTTPException, ValueError):
            # pip tries again, and says why.
            return ""
        return lacks(page, pin)

    def _connection(self) -> HTTPConnection:
        """One that is not opened yet."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = self._context()
            return HTTPSConnection(host, parts.port or 443, timeout=SECONDS, context=context)
        return HTTPConnection(host, parts.port or 80, timeout=SECONDS)

    def _next_page(self, path: str, connection: HTTPConnection) -> str:
        """A page over a connection that stays open; empty if `_page` has to ask for it.

        That is so with a proxy, a redirect, an error, and a connection that broke.
        """
        parts = urlsplit(self.url)
        if parts.scheme in getproxies() and not direct(parts.hostname or ""):
            return ""
        try:
            connection.request("GET", f"{parts.path}/{path}", headers=_FORMAT)
            answer = connection.getresponse()
            page = answer.read(_MOST).decode(errors="replace")
        except (OSError, HTTPException):
            # The next request opens it again.
            connection.close()
            return ""
        return page if answer.status == 200 else ""

    def _page(self, path: str, size: int) -> str:
        handlers: list[BaseHandler] = [HTTPSHandler(context=self._context())]
        if direct(urlsplit(self.url).hostname or ""):
            handlers.append(ProxyHandler({}))
        request = Request(f"{self.url}/{path}", headers=_FORMAT)
        with build_opener(*handlers).open(request, timeout=SECONDS) as answer:
            return str(answer.read(size).decode(errors="replace"))

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        for authority in self.authorities:
            context.load_verify_locations(cadata=authority)
        return context


def lacks(page: str, pin: Pin) -> str:
    """What a package's page does not have of a pin, in words; empty if it may have all.

    An index need not state hashes: without them the version is enough.
    """
    if any(one in page for one in pin["hashes"]):
        return ""
    version = re.escape(pin["version"])
    if not re.search(rf"[-_]{version}(?:-|\.tar|\.zip)", unquote(page), re.I):
        return f"{pin['name']} {pin['version']}"
    stated = re.search(r"sha256\W{1,5}[0-9a-f]{64}", page)
    return f"{pin['name']} {pin['version']} with a hash of the lock's" if stated else ""
