# SPDX-License-Identifier: GPL-3.0-or-later
"""Private CAs of the controller: read, and checked before a host trusts them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import (
    missing_packages,
    unreadable,
)

FOLDER = "/usr/local/share/ca-certificates"
VARIABLE = "network_access_ca_certificates"


def read(
    files: Iterable[Any], find_file: Callable[[str], str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """The private CAs, where each goes on the host and its text; and what is wrong with the files.

    Args:
        files: the files' names, as the inventory has them.
        find_file: finds a file of the controller.
    """
    found: list[tuple[str, str]] = []
    wrong: list[str] = []
    for file in files:
        try:
            # A binary file (DER) is no text: it holds no block in PEM.
            data = Path(find_file(str(file))).read_bytes()
            text = data.decode("utf-8", "replace").strip() + "\n"
        except (OSError, AnsibleError) as error:
            wrong.append(unreadable(VARIABLE, str(file), error))
            continue
        wrong += problems(str(file), text)
        name = hashlib.sha256(text.encode()).hexdigest()[:12]
        found.append((f"{FOLDER}/runnerhost-{name}.crt", text))
    # One CA in two files is one.
    return list(dict.fromkeys(found)), wrong


def problems(file: str, text: str) -> list[str]:
    """What keeps a file from being a CA's certificate; empty if nothing does."""
    if text.count("-----BEGIN CERTIFICATE-----") != 1 or "PRIVATE KEY" in text:
        return [
            f"{VARIABLE}: {file} holds no single certificate (found {_held_blocks(text)}); "
            "expected one PEM file for each CA, without keys"
        ]
    return _certificate_problems(file, text)


def _certificate_problems(file: str, text: str) -> list[str]:
    """What keeps a PEM text from being a CA's certificate; empty if nothing does."""
    if missing := missing_packages("cryptography"):
        return missing
    # Not at the top: a host without private CAs needs none of it.
    from cryptography import x509

    found = ""
    said = f"{VARIABLE}: invalid value '{file}' (%s); expected a CA's certificate"
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        is_authority = constraints.value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    except ValueError:
        return [said % "damaged"]
    if not is_authority:
        found = "not a CA"
    elif certificate.not_valid_after_utc < datetime.now(timezone.utc):
        found = f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return [said % found] if found else []


def _held_blocks(text: str) -> str:
    """What a PEM file holds, for a message."""
    kinds = re.findall(r"-----BEGIN ([A-Z0-9 ]+)-----", text)
    if not kinds and "\ufffd" in text:
        return "binary data; of a certificate in DER format, openssl x509 -inform der makes PEM"
    if not kinds:
        return "no PEM block"
    if set(kinds) == {"CERTIFICATE"}:
        return f"{len(kinds)} certificates"
    found = ", ".join(dict.fromkeys(kinds))
    return f"{found}, which the CA has not signed yet" if "REQUEST" in kinds[0] else found
