# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals in GitLab's own words and shapes (GitLab docs, REST API, status codes)."""

from __future__ import annotations

from collections.abc import Mapping


class ApiError(Exception):
    """An answer other than success: ``status``, a JSON body and headers."""

    def __init__(
        self, status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = dict(body)
        self.headers = dict(headers or {})


def bad_request(text: str) -> ApiError:
    """Return 400 as Grape's parameter check words it."""
    return ApiError(400, {"error": text})


def unauthorized() -> ApiError:
    """Return 401: no or unknown credentials."""
    return ApiError(401, {"message": "401 Unauthorized"})


def forbidden(reason: str = "", headers: Mapping[str, str] | None = None) -> ApiError:
    """Return 403, with GitLab's reason where it gives one."""
    return ApiError(403, {"message": "403 Forbidden" + (f" - {reason}" if reason else "")}, headers)


def insufficient_scope(scope: str) -> ApiError:
    """Return 403: a valid personal access token without the scope that is needed."""
    return ApiError(
        403,
        {
            "error": "insufficient_scope",
            "error_description": (
                "The request requires higher privileges than provided by the access token."
            ),
            "scope": scope,
        },
    )


def not_found(what: str = "") -> ApiError:
    """Return 404 in GitLab's words."""
    return ApiError(404, {"message": f"404 {what + ' ' if what else ''}Not Found"})
