# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether GitLab answers this host and knows its runners' tokens, asked before it has a runner.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    BaseHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    ProxyHandler,
    Request,
    build_opener,
)

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_managers
from ansible_collections.runnerhost.toolkit.plugins.module_utils._http import (
    direct,
    variables,
    words,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._no_answer import (
    NEEDS_TLS,
    PROXY_LOGIN,
)

SECONDS = 20.0
_VERSION = "version"
# Go's client makes a GET of what was another request (net/http, redirectBehavior).
_REDIRECTED = (301, 302, 303)
_NOT_GITLAB = (
    "this is not GitLab's API: set the address of GitLab, without the path of a group or project"
)


def problems(services: Iterable[Mapping[str, Any]], authorities: Sequence[str]) -> list[str]:
    """Which addresses give no answer, and which tokens GitLab refuses, one message each.

    Args:
        services: each with ``label`` (its address's variable), ``url``, ``folder`` (of its
            config.toml: a service that has one is left out), ``tls`` (the entry's files),
            ``environment``, which decides about proxies as it does for gitlab-runner, and, if it
            has one, the runner's ``token``, with its variable ``token_label``.
        authorities: private CAs that this run adds to the host's, in PEM.
    """
    found: list[str] = []
    ways: list[tuple[dict[str, Any], list[Mapping[str, Any]]]] = []
    for one in services:
        if os.path.exists(f"{one['folder']}/config.toml"):
            continue
        way = {key: one[key] for key in ("url", "tls", "environment")}
        same = next((group for other, group in ways if other == way), None)
        if same is None:
            ways.append((way, [one]))
        else:
            same.append(one)
    for way, group in ways:
        with variables(way["environment"]):
            found += _problems_of(group, authorities)
    return found


def _problems_of(group: Sequence[Mapping[str, Any]], authorities: Sequence[str]) -> list[str]:
    """Those of services that reach one GitLab in the same way."""
    first = group[0]
    gitlab = _GitLab(first["url"], first["tls"], first["folder"], authorities)
    found: list[str] = []
    why = gitlab.unanswered()
    for one in group:
        if not why and one.get("token"):
            why, refused = gitlab.asked_about(one["token"])
            if refused:
                found.append(
                    f"{one['token_label']}: GitLab at {one['url']} refuses it (403): it was "
                    "revoked or reset, its runner was deleted, or it is another GitLab's; set the "
                    "token of a runner that this GitLab has"
                )
    if why:
        found.append(f"{first['label']}: {first['url']} cannot be used from this host: {why}")
    return found


@dataclass(frozen=True)
class _GitLab:
    """A GitLab as one service reaches it.

    Attributes:
        url: its address.
        tls: the entry's files.
        folder: of config.toml.
        authorities: private CAs, in PEM.
    """

    url: str
    tls: Mapping[str, str]
    folder: str
    authorities: Iterable[str]

    def unanswered(self) -> str:
        """Why no GitLab answers there, in words without a secret; empty where one may."""
        try:
            self._ask("GET", _VERSION)
        except HTTPError as error:
            # To a login, as something before GitLab may do for all but a runner's own requests.
            moved = urlsplit(error.headers.get("Location", "")).path.endswith(_VERSION)
            return _redirect(error) if error.code in _REDIRECTED and moved else _refusal(error)
        except (OSError, HTTPException, ValueError) as error:
            return words(getattr(error, "reason", error), plain=self.url.startswith("http://"))
        return ""

    def asked_about(self, token: str) -> tuple[str, bool]:
        """Why this cannot be GitLab's address, else empty; and whether it refuses a runner's token.

        Asking with ``verify`` would make GitLab list a host. It is asked instead to forget a host
        that it has never heard of: 404 with a token that is good, 403 with one that is not
        (GitLab's lib/api/ci/runner.rb; nothing is changed).
        """
        nobody = {"token": token, "system_id": f"runnerhost-{uuid.uuid4().hex}"}
        try:
            self._ask("DELETE", "runners/managers", json.dumps(nobody).encode())
        except HTTPError as error:
            said = _words_of_gitlab(error.read(10_000))
            if error.code in _REDIRECTED:
                return _redirect(error), False
            # What stands before GitLab may refuse as well, in words of its own.
            if error.code == 403:
                return "", said.startswith("403")
            if error.code in (404, 405) and not said:
                return f"(HTTP {error.code}) {_NOT_GITLAB}", False
        except (OSError, HTTPException, ValueError):
            pass
        return "", False

    def _ask(self, method: str, path: str, body: bytes | None = None) -> None:
        base = _runner_managers.bare(self.url)
        name = urlsplit(base).hostname or ""
        context = _runner_managers.trusting(name, self.tls, self.folder)
        for authority in self.authorities:
            context.load_verify_locations(cadata=authority)
        handlers: list[BaseHandler] = [HTTPSHandler(context=context), _Redirects()]
        if direct(name):
            handlers.append(ProxyHandler({}))
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = Request(f"{base}/api/v4/{path}", data=body, method=method, headers=headers)
        build_opener(*handlers).open(request, timeout=SECONDS).close()


class _Redirects(HTTPRedirectHandler):
    """Follows the redirects that gitlab-runner can follow."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if code in _REDIRECTED:
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _redirect(error: HTTPError) -> str:
    target = urlsplit(error.headers.get("Location", ""))
    base, found, __ = target.path.partition("/api/v4/")
    if not found:
        return f"(HTTP {error.code}) {_NOT_GITLAB}"
    address = f"{target.scheme}://{target.netloc}{base}"
    return f"it redirects to {address}, which breaks gitlab-runner's requests; set that address"


def _words_of_gitlab(body: bytes) -> str:
    """Those of a refusal by GitLab's API (GitLab docs, REST API); empty for another's."""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    return str(found.get("message") or found.get("error") or "") if isinstance(found, dict) else ""


def _refusal(error: HTTPError) -> str:
    """Without a token GitLab refuses (401), and something in front of it may do so, too."""
    if error.code == 407:
        return PROXY_LOGIN
    # nginx, GitLab's own included.
    if error.code == 400 and b"HTTPS port" in error.read(10_000):
        return NEEDS_TLS
    return ""
