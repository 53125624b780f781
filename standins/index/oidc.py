# SPDX-License-Identifier: GPL-3.0-or-later
"""PyPI's exchange of a job's ID token for an API token (warehouse/oidc/views.py).

An ID token serves once; the API token lives for 15 minutes.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from standins.index import pypi, tokens
from standins.index.refusals import RULES

SECONDS = 900


@dataclass(frozen=True)
class Publisher:
    """A trusted publisher of a project.

    Attributes:
        issuer: the GitLab.
        project_path: its project there.
        config: the pipeline's file, ``.gitlab-ci.yml``.
        project: the index's project.
        environment: the job's environment; empty for any.
    """

    issuer: str
    project_path: str
    config: str
    project: str
    environment: str = ""

    def trusts(self, claims: Mapping[str, Any]) -> bool:
        """Whether a job's claims are this publisher's."""
        path = str(claims.get("project_path", ""))
        host = self.issuer.partition("://")[2]
        file = f"{host}/{path}//{self.config}@"
        return (
            claims.get("iss") == self.issuer
            and path.lower() == self.project_path.lower()
            and str(claims.get("sub", "")).startswith(f"project_path:{path}:")
            and str(claims.get("ci_config_ref_uri", "")).startswith(file)
            and self.environment in ("", claims.get("environment"))
        )


@dataclass
class Exchange:
    """The exchange of one index.

    Attributes:
        rules: the index that knows the tokens.
        audience: what an ID token must be for.
        location: the index's name in its tokens.
        issuers: the keys of each GitLab that is trusted.
        publishers: those of the index's projects.
        used: the ids of the ID tokens that have served.
    """

    rules: pypi.Rules
    audience: str = "pypi"
    location: str = "index.test"
    issuers: dict[str, RSAPublicKey] = field(default_factory=dict)
    publishers: list[Publisher] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def mint(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and JSON for the body of a request."""
        try:
            text = json.loads(body)["token"]
        except (ValueError, KeyError, TypeError):
            return _failed("invalid-payload")
        claims = _claims(text, 1)
        key = self.issuers.get(str(claims.get("iss")))
        if key is None:
            return _failed("unknown-issuer" if claims else "invalid-token")
        if not self._is_valid(text, claims, key):
            return _failed("invalid-token")
        projects = [one.project for one in self.publishers if one.trusts(claims)]
        if not projects:
            return _failed("invalid-publisher")
        if claims["jti"] in self.used:
            return _failed("invalid-reuse-token")
        self.used.add(claims["jti"])
        token = tokens.make(self.location, projects=projects, seconds=SECONDS)
        self.rules.tokens[token.text] = token
        return 200, {"success": True, "token": token.text, "expires": int(token.expires)}

    def _is_valid(self, text: str, claims: Mapping[str, Any], key: RSAPublicKey) -> bool:
        signed, __, signature = text.rpartition(".")
        if _claims(text, 0).get("alg") != "RS256":
            return False
        try:
            key.verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        audiences = claims.get("aud")
        audiences = audiences if isinstance(audiences, list) else [audiences]
        now = time.time()
        return (
            self.audience in audiences
            and "jti" in claims
            and claims.get("nbf", 0) - 30 <= now < claims.get("exp", 0) + 30
        )


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _claims(text: str, part: int) -> dict[str, Any]:
    """A part of a JWT; empty where it cannot be read."""
    try:
        found = json.loads(_decoded(text.split(".")[part]))
    except (ValueError, IndexError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _failed(name: str) -> tuple[int, dict[str, Any]]:
    entry = RULES["oidc"][name]
    error = {"code": entry.get("code", name), "description": entry["words"]}
    return 422, {"message": "Token request failed", "errors": [error]}
