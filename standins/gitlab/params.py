# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading of request parameters as GitLab's API does it.

GitLab takes JSON or form bodies, coerces "true" and "12", ignores what it does not know, and
answers 400 ``{"error": "x is missing"}`` or ``x is invalid`` or ``x does not have a valid value``
(GitLab docs, REST API, "Validate requests").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import parse_qsl

from fastapi import Request

from standins.gitlab.errors import bad_request

_TRUE = {"true", "t", "yes", "1", "on"}
_FALSE = {"false", "f", "no", "0", "off"}


class Params:
    """Parameters of one request: query first, then the body's."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = dict(values)

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def text(self, name: str, default: str = "", *, required: bool = False) -> str:
        """Return a string; 400 when it is required and missing, or no string."""
        value = self.values.get(name)
        if value is None:
            if required:
                raise bad_request(f"{name} is missing")
            return default
        if isinstance(value, (dict, list, bool)):
            raise bad_request(f"{name} is invalid")
        return str(value)

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """Return one of ``choices``; 400 otherwise. Without a default it is required."""
        value = self.text(name, default or "", required=default is None)
        if value not in choices:
            raise bad_request(f"{name} does not have a valid value")
        return value

    def integer(self, name: str) -> int | None:
        """Return an integer or None; 400 when it is none."""
        value = self.values.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise bad_request(f"{name} is invalid")
        try:
            return int(value)
        except ValueError:
            raise bad_request(f"{name} is invalid") from None

    def boolean(self, name: str, default: bool) -> bool:
        """Return a boolean; 400 when it is none."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise bad_request(f"{name} is invalid")

    def words(self, name: str) -> list[str]:
        """Return a list from an array or a comma-separated string."""
        value = self.values.get(name)
        if value is None:
            return []
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise bad_request(f"{name} is invalid")
        return [item.strip() for item in value if item.strip()]

    def mapping(self, name: str) -> dict[str, object]:
        """Return an object, or an empty one when it is missing."""
        value = self.values.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise bad_request(f"{name} is invalid")
        return value


async def read_params(request: Request) -> Params:
    """Return the parameters of a request; 400 for a body that cannot be parsed."""
    values: dict[str, object] = dict(request.query_params)
    body = await request.body()
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if not body:
        return Params(values)
    if kind == "application/json":
        try:
            parsed = json.loads(body)
        except ValueError:
            raise bad_request("400 Bad Request: the body is no JSON") from None
        if not isinstance(parsed, dict):
            raise bad_request("400 Bad Request: the body is no JSON object")
        values.update(parsed)
    elif kind == "application/x-www-form-urlencoded":
        values.update(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    else:
        raise bad_request(f"the provided content-type '{kind}' is not supported")
    return Params(values)
