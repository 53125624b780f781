# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host asks an address over HTTP, and what keeps it from an answer, in words.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any
from urllib.request import proxy_bypass

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.module_utils._no_answer import (
    NEEDS_TLS,
    NO_TLS,
    NOTHING_ANSWERS,
    PROXY_LOGIN,
    TOO_SLOW,
    UNKNOWN_NAME,
    UNTRUSTED,
)


@contextmanager
def variables(environment: Mapping[str, Any]) -> Iterator[None]:
    """A service's variables in this process."""
    before = dict(os.environ)
    os.environ.update({str(name): str(value) for name, value in environment.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def direct(name: str) -> bool:
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


def words(error: object, *, plain: bool) -> str:
    """What keeps an address from answering.

    Args:
        error: what the request raised, or its reason.
        plain: whether it was asked without TLS.
    """
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
