# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes one host off a runner in GitLab, for tokens that gitlab-runner takes for legacy ones.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, Request, build_opener

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets

SECONDS = 60.0


def remove(
    url: str, token: str, system_id: str, tls: Mapping[str, str], folder: str
) -> tuple[int, str]:
    """Removes one host's entry (its runner manager) from a runner; the runner stays.

    The process's environment decides about proxies, as it does for gitlab-runner.

    Args:
        url: the GitLab, as config.toml has it.
        token: the runner's.
        system_id: the host's, from .runner_system_id.
        tls: the entry's tls-ca-file, tls-cert-file and tls-key-file.
        folder: the folder of config.toml; certificates may lie in its ``certs``.

    Returns:
        GitLab's status, 0 for no answer; and why the host is still on the runner, without a
        secret: empty if it is not.
    """
    base = bare(url)
    body = json.dumps({"token": token, "system_id": system_id}).encode()
    try:
        request = Request(
            f"{base}/api/v4/runners/managers",
            data=body,
            method="DELETE",
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        context = trusting(urlsplit(base).hostname or "", tls, folder)
        with build_opener(HTTPSHandler(context=context)).open(request, timeout=SECONDS) as answer:
            # A proxy may answer 200 in GitLab's place.
            said = "" if answer.status == 204 else f"{answer.status} {answer.reason}"
            return int(answer.status), said
    except HTTPError as error:
        # GitLab has the runner, and this host no longer; any other 404 may be another server's.
        left = error.code == 404 and b"Runner manager" in error.read(10_000)
        return error.code, "" if left else f"{error.code} {error.reason}"
    except (OSError, HTTPException, ValueError) as error:
        return 0, _secrets.redact_text(str(getattr(error, "reason", error)), {token})


def bare(url: str) -> str:
    """An address without what the runner itself takes off it (network/client.go)."""
    return url.rstrip("/").removesuffix("/ci").rstrip("/")


def trusting(name: str, tls: Mapping[str, str], folder: str) -> ssl.SSLContext:
    """The system's authorities, and the files that gitlab-runner takes for a GitLab."""
    context = ssl.create_default_context()
    authority = tls.get("tls-ca-file") or _there(f"{folder}/certs/{name}.crt")
    if authority:
        context.load_verify_locations(authority)
    certificate = tls.get("tls-cert-file") or _there(f"{folder}/certs/{name}.auth.crt")
    key = tls.get("tls-key-file") or _there(f"{folder}/certs/{name}.auth.key")
    if certificate and key:
        context.load_cert_chain(certificate, key)
    return context


def _there(path: str) -> str:
    return path if os.path.isfile(path) else ""
