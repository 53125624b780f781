# SPDX-License-Identifier: Apache-2.0
"""What is a secret, and how to show a thing without it.

Used on the controller and on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

HIDDEN = "(hidden)"

# Prefixes that GitLab gives its tokens (GitLab docs, "Token overview"), and PyPI's
# (PyPI docs, "API tokens"): each followed by a long random part.
_TOKEN_VALUE = re.compile(
    r"\b(?:gl(?:rt|pat|rtr|dt|cbt|ptt|oas|soat|ft|agent|ffct|imt)-[0-9A-Za-z_.\-]{8,}"
    r"|GR1348941[0-9A-Za-z_\-]{8,}|pypi-[0-9A-Za-z_\-]{16,})"
)
_URL_PASSWORD = re.compile(
    r"(?P<head>[A-Za-z][A-Za-z0-9+.\-]*://[^/\s:@]*:)(?P<secret>[^/\s@]+)(?=@)"
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S
)
_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:token|password|passwd|passphrase|secret|secrets|credential|credentials|"
    r"api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key|auth)(?:$|[_-])|(?:token|password|secretkey|accesskey)$",
    re.I,
)
# Keys of config.toml and of the toolkit's own dictionaries whose value is never shown.
# AccessKey, SecretKey and the rest: gitlab-runner docs, "[runners.cache.s3]", "[….azure]".
_SECRET_KEYS = frozenset(
    {
        "token",
        "sentry_dsn",
        "AccessKey",
        "SecretKey",
        "SessionToken",
        "AccountKey",
        "PrivateKey",
        "password",
        "identity_file_passphrase",
        # Options of cloud drivers, keys among them.
        "MachineOptions",
    }
)
_EMPTY: tuple[Any, ...] = ("", None, [], {})
_HARMLESS_KEYS = frozenset({"token_obtained_at", "token_expires_at", "token_sha256"})


def looks_secret_name(name: str) -> bool:
    """True if a variable of this name is expected to hold a secret (``TWINE_PASSWORD``)."""
    return bool(_SECRET_NAME.search(name))


def looks_secret_value(value: str) -> bool:
    """True if the text holds a known token, a private key or a password in a URL."""
    return bool(
        _TOKEN_VALUE.search(value) or _URL_PASSWORD.search(value) or "PRIVATE KEY-----" in value
    )


def redact_text(text: str, secrets: frozenset[str] | set[str] = frozenset()) -> str:
    """The text with every known kind of secret, and each of ``secrets``, replaced."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, HIDDEN)
    text = _PRIVATE_KEY.sub(HIDDEN, text)
    text = _TOKEN_VALUE.sub(HIDDEN, text)
    return _URL_PASSWORD.sub(lambda m: m.group("head") + HIDDEN, text)


def redact(value: Any, secrets: frozenset[str] | set[str] = frozenset()) -> Any:
    """A copy of plain data with secrets replaced: by key, by look, and by ``secrets``."""
    if isinstance(value, dict):
        return {
            # What is empty holds no secret.
            key: HIDDEN if _hides(str(key)) and item not in _EMPTY else redact(item, secrets)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item, secrets) for item in value]
    if isinstance(value, str):
        # An entry of a list such as environment: the name tells.
        name, mark, _ = value.partition("=")
        if mark and looks_secret_name(name):
            return f"{name}={HIDDEN}"
        return redact_text(value, secrets)
    return value


def _hides(key: str) -> bool:
    return key in _SECRET_KEYS or (looks_secret_name(key) and key not in _HARMLESS_KEYS)


def kind_of(value: Any) -> str:
    """A value's type in plain words: Ansible's tagged subclasses are what they subclass."""
    for kind in (bool, int, float, str, dict, list):
        if isinstance(value, kind):
            return kind.__name__
    return "nothing" if value is None else type(value).__name__


def digest(secret: str) -> str:
    """A token's fingerprint, to tell whether it is the one given before: sha256, hex.

    A runner token has 20 random characters or more, so a plain hash does not reveal it.
    """
    return hashlib.sha256(secret.encode()).hexdigest()
