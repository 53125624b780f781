# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository's signing key: is it the one that is trusted, and for how long.

Runs on the controller and asks gpg, in a scratch home so that no keyring is touched.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone

_BLOCK = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----.*?-----END PGP PUBLIC KEY BLOCK-----", re.S
)


class KeyProblem(ValueError):
    """The key cannot be used; the message says why."""


class OtherKey(KeyProblem):
    """The key is none that is trusted: either it or the fingerprint is the wrong one."""


@dataclass(frozen=True)
class Key:
    """A public key.

    Attributes:
        armour: its armoured block.
        fingerprint: 40 hex digits, upper case.
        expires: when it does, or None.
    """

    armour: str
    fingerprint: str
    expires: datetime | None

    def days_left(self, now: datetime) -> int | None:
        """Whole days until it expires; None: never."""
        return None if self.expires is None else (self.expires - now).days


def plain_fingerprint(text: str) -> str:
    """A fingerprint without blanks and colons, upper case."""
    return re.sub(r"[\s:]", "", text).upper().removeprefix("0X")


def read(text: str) -> Key:
    """The key in an armoured text.

    Raises:
        KeyProblem: no armoured key, several keys, or gpg cannot read it.
    """
    blocks = _BLOCK.findall(text)
    if len(blocks) != 1:
        binary = "\ufffd" in text or re.search(r"[\ud800-\udfff\x00-\x08]", text)
        cure = (
            "; gpg --no-default-keyring --keyring FILE --armor --export makes one of a binary file"
        )
        raise KeyProblem(
            f"holds {len(blocks) or 'no'} armoured public key block(s), it takes one"
            + (cure if binary else "")
        )
    with tempfile.TemporaryDirectory(prefix="runnerhost-gpg-") as home:
        try:
            done = subprocess.run(
                ["gpg", "--homedir", home, "--batch", "--no-tty", "--with-colons", "--show-keys"],
                input=blocks[0],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        except FileNotFoundError:
            raise KeyProblem(
                "cannot be checked: gpg is not on the controller (package gnupg)"
            ) from None
    rows = [line.split(":") for line in done.stdout.splitlines()]
    primary = [row for row in rows if row[0] == "pub"]
    prints = [row[9] for row in rows if row[0] == "fpr"]
    if done.returncode or len(primary) != 1 or not prints:
        raise KeyProblem("is no single public key that gpg can read")
    until = primary[0][6]
    expires = datetime.fromtimestamp(int(until), timezone.utc) if until else None
    return Key(blocks[0] + "\n", prints[0], expires)


def check(key: Key, fingerprint: str, now: datetime) -> None:
    """Refuses a key that is not the trusted one or has expired.

    Raises:
        KeyProblem: with both fingerprints, or with the day of expiry.
    """
    wanted = plain_fingerprint(fingerprint)
    if key.fingerprint != wanted:
        raise OtherKey(f"has the fingerprint {key.fingerprint}, trusted is {wanted}")
    if key.expires is not None and key.expires <= now:
        raise KeyProblem(
            f"has expired on {key.expires:%Y-%m-%d}: its owner renews it under the same "
            "fingerprint, so fetch it again"
        )
