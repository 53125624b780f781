# SPDX-License-Identifier: GPL-3.0-or-later
"""Redaction of secrets in logs.

Three independent filters: names of headers and fields that contain
secrets, shapes of tokens and of URL credentials, and values known to be secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

HIDDEN = "(hidden)"

SECRET_HEADERS = frozenset(
    {
        "authorization",
        "cookie",
        "job-token",
        "lab-secret",
        "private-token",
        "proxy-authorization",
        "runner-token",
        "set-cookie",
    }
)
_SECRET_FIELD = re.compile(
    r"(^|[_-])(token|password|passwd|secret|authorization|credentials?|private_key)$", re.IGNORECASE
)
_TOKEN_SHAPE = re.compile(r"\b(gl[a-z]{2,6}-|GR1348941|pypi-)[A-Za-z0-9_.=\-]{6,}")
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s@\"']+@")
_QUERY_SECRET = re.compile(
    r"(?i)\b((?:private|job|access|runner|registration|feed)?_?(?:token|password|secret))=([^&\s\"']+)"
)


class Redactor:
    """Redacts text, headers and JSON values.

    Values shorter than four characters are not looked for: they would cut the log to shreds.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        for value in known:
            self.learn(value)

    def learn(self, value: str) -> None:
        """Remember a value that must not be logged anywhere."""
        if len(value) >= 4:
            self._known.add(value)

    def text(self, value: str) -> str:
        """Return ``value`` without secrets."""
        # Longest first, so that a secret that contains another one leaves no rest behind.
        for secret in sorted(self._known, key=len, reverse=True):
            if secret in value:
                value = value.replace(secret, HIDDEN)
        value = _URL_CREDENTIALS.sub(HIDDEN + "@", value)
        value = _TOKEN_SHAPE.sub(HIDDEN, value)
        return _QUERY_SECRET.sub(lambda match: f"{match.group(1)}={HIDDEN}", value)

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return headers with the values of secret ones cut."""
        return {
            name: HIDDEN if name.lower() in SECRET_HEADERS else self.text(text)
            for name, text in headers.items()
        }

    def json(self, value: object) -> object:
        """Return a copy of a JSON value without secrets."""
        if isinstance(value, dict):
            is_masked = bool(value.get("masked"))
            return {
                self.text(str(key)): HIDDEN
                if (_SECRET_FIELD.search(str(key)) and item not in (None, "", [], {}))
                or (is_masked and key == "value")
                else self.json(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.json(item) for item in value]
        return self.text(value) if isinstance(value, str) else value
