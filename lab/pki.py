# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab's own certificate authority and the certificate of its servers."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import trustme
from cryptography import x509

from lab.places import NAMES, Lab, write


def ensure_ca(lab: Lab) -> trustme.CA:
    """The lab's authority, created if it is missing; its certificate is in `lab.ca_file`."""
    private = lab.ca_file.with_name("ca-key.pem")
    if lab.ca_file.exists() and private.exists():
        return trustme.CA.from_pem(lab.ca_file.read_bytes(), private.read_bytes())
    authority = trustme.CA(organization_name="Runnerhost lab", organization_unit_name=lab.id)
    write(private, authority.private_key_pem.bytes(), 0o600)
    write(lab.ca_file, authority.cert_pem.bytes())
    return authority


def ensure_server_certificate(lab: Lab, address: str) -> Path:
    """The servers' key and chain in one file, for their names and for `address`."""
    authority = ensure_ca(lab)
    path = lab.state / "pki" / "server.pem"
    if not (path.exists() and _is_for(path, address, lab.ca_file)):
        # The address too: the controller does not resolve the lab's names.
        leaf = authority.issue_cert(*NAMES, address)
        write(path, leaf.private_key_and_cert_chain_pem.bytes(), 0o600)
    return path


def _is_for(path: Path, address: str, ca_file: Path) -> bool:
    pem = path.read_bytes()
    certificate = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE") :])
    authority = x509.load_pem_x509_certificate(ca_file.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = names.get_values_for_type(x509.IPAddress)
    return (
        ipaddress.ip_address(address) in addresses
        and set(NAMES) <= set(names.get_values_for_type(x509.DNSName))
        and certificate.issuer == authority.subject
    )
