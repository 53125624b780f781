# SPDX-License-Identifier: GPL-3.0-or-later
"""ID tokens of jobs, and the documents by which others check them.

GitLab docs, "ID token authentication"; claims after GitLab's lib/gitlab/ci/jwt_v2.rb and
jwt_base.rb. Signed with RS256 by a key that stays with the state.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from fastapi import APIRouter, Request

from standins.gitlab.ci_variables import variable
from standins.gitlab.includes import CONFIG
from standins.gitlab.records import Job, Pipeline, Project, Runner
from standins.gitlab.settings import Settings
from standins.gitlab.state import state_of

router = APIRouter()
_LEAST_SECONDS = 300


def signing_key(state_dir: Path) -> RSAPrivateKey:
    """Return the key of a GitLab, made by the first who asks."""
    path = state_dir / "oidc.pem"
    if not path.exists():
        key = generate_private_key(public_exponent=65537, key_size=2048)
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        new = path.with_name(f"oidc.{secrets.token_hex(4)}")
        with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
        new.rename(path)
    return cast(RSAPrivateKey, load_pem_private_key(path.read_bytes(), None))


def id_tokens(
    settings: Settings, job: Job, pipeline: Pipeline, project: Project, runner: Runner, seconds: int
) -> list[dict[str, Any]]:
    """Return the variables with a job's ID tokens."""
    wanted = job.plan.id_tokens if job.plan else {}
    if not wanted:
        return []
    key = signing_key(settings.state_dir)
    claims = _claims(settings, job, pipeline, project, runner)
    now = int(time.time())
    times = {"iat": now, "nbf": now - 5, "exp": now + max(seconds, _LEAST_SECONDS)}
    return [
        variable(
            name,
            _signed(key, {**claims, **times, "jti": secrets.token_hex(16), "aud": audience}),
            public=False,
            masked=True,
        )
        for name, audience in wanted.items()
    ]


def _claims(
    settings: Settings, job: Job, pipeline: Pipeline, project: Project, runner: Runner
) -> dict[str, Any]:
    kind = "tag" if pipeline.tag else "branch"
    path = f"refs/{'tags' if pipeline.tag else 'heads'}/{pipeline.ref}"
    place = urlsplit(settings.external_url)
    found = {
        "iss": settings.external_url,
        "sub": f"project_path:{project.path}:ref_type:{kind}:ref:{pipeline.ref}",
        "namespace_id": "1",
        "namespace_path": project.namespace,
        "project_id": str(project.id),
        "project_path": project.path,
        "project_visibility": project.visibility,
        "user_id": "1",
        "user_login": pipeline.user,
        "user_email": f"{pipeline.user}@example.com",
        "pipeline_id": str(pipeline.id),
        "pipeline_source": pipeline.source,
        "job_id": str(job.id),
        "ref": pipeline.ref,
        "ref_type": kind,
        "ref_path": path,
        "ref_protected": "true" if pipeline.protected else "false",
        "runner_id": runner.id,
        "runner_environment": "self-hosted",
        "sha": pipeline.sha,
        "ci_config_ref_uri": f"{place.netloc}{place.path}/{project.path}//{CONFIG}@{path}",
        "ci_config_sha": pipeline.sha,
    }
    if job.plan and job.plan.environment:
        found["environment"] = job.plan.environment
        found["environment_protected"] = "false"
    return found


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _signed(key: RSAPrivateKey, claims: Mapping[str, Any]) -> str:
    header = {"alg": "RS256", "typ": "JWT", "kid": _key_id(key.public_key())}
    parts = [_encoded(json.dumps(part).encode()) for part in (header, claims)]
    text = ".".join(parts)
    return f"{text}.{_encoded(key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def _numbers(key: RSAPublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        name: _encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))
        for name, value in (("e", numbers.e), ("n", numbers.n))
    }


def _key_id(key: RSAPublicKey) -> str:
    """The thumbprint of RFC 7638."""
    text = json.dumps({**_numbers(key), "kty": "RSA"}, sort_keys=True, separators=(",", ":"))
    return _encoded(hashlib.sha256(text.encode()).digest())


@router.get("/.well-known/openid-configuration")
async def configuration(request: Request) -> dict[str, Any]:
    """Say where the keys are."""
    url = state_of(request).settings.external_url
    return {
        "issuer": url,
        "jwks_uri": f"{url}/oauth/discovery/keys",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


@router.get("/oauth/discovery/keys")
async def keys(request: Request) -> dict[str, Any]:
    """Return the key that ID tokens are signed with."""
    key = signing_key(state_of(request).settings.state_dir).public_key()
    shown = {**_numbers(key), "kty": "RSA", "kid": _key_id(key), "use": "sig", "alg": "RS256"}
    return {"keys": [shown]}
