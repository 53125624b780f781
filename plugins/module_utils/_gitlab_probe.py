# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a GitLab answers this host, asked before the host has a runner that could ask.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    BaseHandler,
    HTTPSHandler,
    ProxyHandler,
    Request,
    build_opener,
    proxy_bypass,
)

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_managers, _secrets
from ansible_collections.runnerhost.toolkit.plugins.module_utils._no_answer import (
    NEEDS_TLS,
    NO_TLS,
    NOTHING_ANSWERS,
    PROXY_LOGIN,
    TOO_SLOW,
    UNKNOWN_NAME,
    UNTRUSTED,
)

SECONDS = 20.0


def problems(services: Iterable[Mapping[str, Any]], authorities: Sequence[str]) -> list[str]:
    """Which addresses give no answer, one message each.

    Args:
        services: each with ``label`` (its variable), ``url``, ``folder`` (of its config.toml: a
            service that has one is left out), ``tls`` (the entry's files) and
            ``environment``, which decides about proxies as it does for gitlab-runner.
        authorities: private CAs that this run adds to the host's, in PEM.
    """
    found = []
    asked: list[Mapping[str, Any]] = []
    for one in services:
        way = {key: one[key] for key in ("url", "tls", "environment")}
        if way in asked or os.path.exists(f"{one['folder']}/config.toml"):
            continue
        asked.append(way)
        before = dict(os.environ)
        os.environ.update({str(name): str(value) for name, value in one["environment"].items()})
        try:
            why = unanswered(one["url"], one["tls"], one["folder"], authorities)
        finally:
            os.environ.clear()
            os.environ.update(before)
        if why:
            found.append(f"{one['label']}: {one['url']} cannot be used from this host: {why}")
    return found


def unanswered(url: str, tls: Mapping[str, str], folder: str, authorities: Iterable[str]) -> str:
    """Why no GitLab answers there, in words without a secret; empty where one may."""
    base = _runner_managers.bare(url)
    name = urlsplit(base).hostname or ""
    try:
        context = _runner_managers.trusting(name, tls, folder)
        for authority in authorities:
            context.load_verify_locations(cadata=authority)
        handlers: list[BaseHandler] = [HTTPSHandler(context=context)]
        if _direct(name):
            handlers.append(ProxyHandler({}))
        request = Request(f"{base}/api/v4/version", headers={"Accept": "application/json"})
        with build_opener(*handlers).open(request, timeout=SECONDS):
            return ""
    except HTTPError as error:
        return _refusal(error)
    except (OSError, HTTPException, ValueError) as error:
        return _words(getattr(error, "reason", error), plain=base.startswith("http://"))


def _direct(name: str) -> bool:
    """Whether no_proxy has an address's network, which urllib does not look for, as Go does."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return bool(proxy_bypass(name))
    for item in os.environ.get("no_proxy", os.environ.get("NO_PROXY", "")).split(","):
        try:
            if address in ipaddress.ip_network(item.strip(), strict=False):
                return True
        except ValueError:
            continue
    return bool(proxy_bypass(name))


def _refusal(error: HTTPError) -> str:
    """Without a token GitLab refuses (401), and something in front of it may do so, too."""
    if error.code == 407:
        return PROXY_LOGIN
    # nginx, GitLab's own included.
    if error.code == 400 and b"HTTPS port" in error.read(10_000):
        return NEEDS_TLS
    return ""


def _words(error: object, *, plain: bool) -> str:
    text = str(error)
    if isinstance(error, socket.gaierror):
        return UNKNOWN_NAME
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{UNTRUSTED} ({error.verify_message}): is its CA in network_access_ca_certificates?"
    if isinstance(error, ssl.SSLError) and error.reason in (
        "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG",
    ):  # fmt: skip
        return NO_TLS
    if isinstance(error, ConnectionRefusedError):
        return NOTHING_ANSWERS
    if isinstance(error, TimeoutError):
        return TOO_SLOW
    if "407" in text:
        return PROXY_LOGIN
    if isinstance(error, ConnectionError | HTTPException | ssl.SSLEOFError):
        # What a port with TLS does where it is spoken to without.
        hint = f"; perhaps {NEEDS_TLS}" if plain else ""
        return f"it ends the connection without an answer{hint}"
    return _secrets.redact_text(text)
