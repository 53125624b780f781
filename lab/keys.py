# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing keys of the lab's repositories, and signing with them.

The secret key is kept in the cache (0600); gpg works in a temporary home that is
removed afterwards, together with the agent that it starts.
"""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.places import cache_dir, locked, write
from lab.run import LabError, run

RENEW_BEFORE = 30 * 86400
"""Seconds before its expiry at which a key is replaced."""


@dataclass(frozen=True)
class Key:
    """A repository's key."""

    secret: Path
    public: Path
    """Armoured."""
    fingerprint: str


def ensure_key(name: str, user_id: str, expires: str) -> Key:
    """The key `name`, created if it is missing; `expires` in gpg's format ("never", "2y")."""
    folder = cache_dir() / "keys"
    # Of two labs that are started at once, one would sign with the other's key.
    with locked(folder / f"{name}.lock"):
        return _ensure_key(folder, name, user_id, expires)


def _ensure_key(folder: Path, name: str, user_id: str, expires: str) -> Key:
    key_files = folder / f"{name}.secret.asc", folder / f"{name}.asc"
    if all(path.exists() for path in key_files):
        found = parse_key(_show(key_files[1]))
        if found[1] == 0 or found[1] > time.time() + RENEW_BEFORE:
            return Key(*key_files, found[0])
    with _home() as gpg:
        run([*gpg, "--quick-generate-key", user_id, "rsa3072", "sign", expires], timeout=120)
        secret = run([*gpg, "--armor", "--export-secret-keys"]).stdout
        public = run([*gpg, "--armor", "--export"]).stdout
    # Write the public key last: it exists only if the secret key does.
    write(key_files[0], secret, 0o600)
    write(key_files[1], public)
    return Key(*key_files, parse_key(_show(key_files[1]))[0])


def clearsign(key: Key, path: Path, target: Path) -> None:
    """Write `path`, signed, to `target` (an InRelease of a Release)."""
    with _home() as gpg:
        run([*gpg, "--import", str(key.secret)])
        run([*gpg, "--digest-algo", "SHA512", "--local-user", key.fingerprint,
             "--clearsign", "--output", str(target), str(path)])  # fmt: skip


def dearmor(armoured: str) -> bytes:
    """The binary form of an armoured key, as `gpg --dearmor` writes it (RFC 4880, 6.2)."""
    body = armoured.partition("-----BEGIN")[2].partition("-----END")[0]
    # Up to the empty line: headers. A line that begins with "=" is the checksum.
    lines = body.partition("\n\n")[2].splitlines()
    return base64.b64decode("".join(line for line in lines if not line.startswith("=")))


def parse_key(colons: str) -> tuple[str, int]:
    """Fingerprint and expiry (seconds since 1970, 0 for never) from gpg's colon output."""
    expiry: int | None = None
    for line in colons.splitlines():
        fields = line.split(":")
        if fields[0] == "pub":
            expiry = int(fields[6] or 0)
        elif fields[0] == "fpr" and expiry is not None:
            return fields[9], expiry
    raise LabError("gpg shows no key")


def _show(public: Path) -> str:
    with _home() as gpg:
        return run([*gpg, "--with-colons", "--show-keys", str(public)]).stdout


@contextlib.contextmanager
def _home() -> Iterator[list[str]]:
    """gpg's command line with a home of its own, short enough for the agent's socket."""
    with tempfile.TemporaryDirectory(prefix="rh-gpg-") as home:
        os.chmod(home, 0o700)
        try:
            yield ["gpg", "--homedir", home, "--batch", "--quiet", "--no-tty",
                   "--pinentry-mode", "loopback", "--passphrase", ""]  # fmt: skip
        finally:
            run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
