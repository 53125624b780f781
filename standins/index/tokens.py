# SPDX-License-Identifier: GPL-3.0-or-later
"""PyPI's API tokens: macaroons of version 2, whose caveats can be read without the index.

https://github.com/rescrv/libmacaroons, doc/format.txt; the caveats: publishing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_LOCATION, _IDENTIFIER, _SIGNATURE = 1, 2, 6
# The tags of caveats (warehouse/macaroons/caveats).
_EXPIRATION, _PROJECTS, _USER, _PUBLISHER = 0, 1, 3, 4


@dataclass(frozen=True)
class Token:
    """A token that an index has given out.

    Attributes:
        text: what a client sends.
        user: whose it is; empty for one that was minted for a trusted publisher.
        projects: normalized names; empty for all of the user's.
        expires: in seconds since the epoch; 0 for never.
    """

    text: str = field(repr=False)
    user: str = ""
    projects: tuple[str, ...] = ()
    expires: float = 0.0


def make(
    location: str,
    user: str = "",
    projects: Sequence[str] = (),
    seconds: float = 0.0,
) -> Token:
    """A new token.

    Args:
        location: the index's name, which each token begins with.
        user: whose it is; empty for a trusted publisher's.
        projects: normalized names.
        seconds: how long it is valid; 0 for ever.
    """
    expires = time.time() + seconds if seconds else 0.0
    caveats: list[list[object]] = []
    if expires:
        caveats.append([_EXPIRATION, int(expires), int(time.time())])
    if projects:
        caveats.append([_PROJECTS, list(projects)])
    caveats.append([_USER, "user-1"] if user else [_PUBLISHER, "publisher-1"])
    identifier = secrets.token_hex(16).encode()
    key = signature = secrets.token_bytes(32)
    signature = hmac.new(key, identifier, hashlib.sha256).digest()
    packet = b"\x02" + _field(_LOCATION, location.encode()) + _field(_IDENTIFIER, identifier)
    packet += b"\x00"
    for caveat in caveats:
        said = json.dumps(caveat, separators=(",", ":")).encode()
        signature = hmac.new(signature, said, hashlib.sha256).digest()
        packet += _field(_IDENTIFIER, said) + b"\x00"
    packet += b"\x00" + _field(_SIGNATURE, signature)
    text = "pypi-" + base64.urlsafe_b64encode(packet).decode().rstrip("=")
    return Token(text, user, tuple(projects), expires)


def _field(kind: int, data: bytes) -> bytes:
    size = len(data)
    # A varint; no field is longer than two bytes of it say.
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([kind]) + length + data
