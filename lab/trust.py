# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that the controller trusts, but a base image does not.

A company's TLS proxy is the usual case: its certificate is in the trust store
of every machine of the company, and in its base images.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Iterable
from pathlib import Path

SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
"""Debian's and Ubuntu's bundle."""

BUNDLE_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
"""Variables by which a controller selects another bundle."""

_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"


def certificates(pem: str) -> dict[bytes, str]:
    """Certificates of a bundle: DER to PEM. Blocks that do not decode are left out."""
    found: dict[bytes, str] = {}
    for chunk in pem.split(_BEGIN)[1:]:
        body, end, _ = chunk.partition(_END)
        if not end:
            continue
        block = f"{_BEGIN}\n{body.strip()}\n{_END}\n"
        try:
            der = ssl.PEM_cert_to_DER_cert(block)
        except ValueError:
            continue
        # The decoder skips what is no base64: only what begins as DER does is one.
        if der[:1] == b"\x30":
            found[der] = block
    return found


def extra_certificates(controller: str, image: str) -> dict[str, str]:
    """Certificates that only `controller`'s bundle has, not `image`'s: file name to PEM."""
    known = certificates(image)
    extra = {der: pem for der, pem in certificates(controller).items() if der not in known}
    return {
        f"controller-{hashlib.sha256(der).hexdigest()[:16]}.crt": pem
        for der, pem in sorted(extra.items())
    }


def controller_bundle(names: Iterable[str] | None = None) -> str:
    """All certificates that the controller trusts, as one text."""
    if names is None:
        names = [SYSTEM_BUNDLE, *(os.environ.get(variable, "") for variable in BUNDLE_VARIABLES)]
    paths = dict.fromkeys(Path(name) for name in names if name)
    return "\n".join(path.read_text(errors="replace") for path in paths if path.is_file())
