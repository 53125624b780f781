# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository's key: read, compared, its expiry named."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _openpgp

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "roles" / "python_versions" / "files" / "deadsnakes.asc"
DEADSNAKES = "F23C5A6CF475977595C89F51BA6932366A755776"
NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)


def test_shipped_key_is_the_ppas_and_never_expires() -> None:
    key = _openpgp.read(SHIPPED.read_text())
    _openpgp.check(key, "F23C 5A6C F475 9775 95C8  9F51 BA69 3236 6A75 5776", NOW)
    assert key.fingerprint == DEADSNAKES
    assert key.days_left(NOW) is None


def test_other_fingerprint_is_refused_with_both(short_lived: str) -> None:
    with pytest.raises(_openpgp.KeyProblem, match=f"trusted is {DEADSNAKES}"):
        _openpgp.check(_openpgp.read(short_lived), DEADSNAKES, NOW)


def test_expired_key_is_refused_with_the_day(short_lived: str) -> None:
    key = _openpgp.read(short_lived)
    assert key.expires is not None
    _openpgp.check(key, key.fingerprint, key.expires - timedelta(hours=1))
    with pytest.raises(_openpgp.KeyProblem, match=f"has expired on {key.expires:%Y-%m-%d}"):
        _openpgp.check(key, key.fingerprint, key.expires + timedelta(hours=1))


@pytest.mark.parametrize(
    "text", ["", "<html>not found</html>", "-----BEGIN PGP PUBLIC KEY BLOCK-----"]
)
def test_no_key(text: str) -> None:
    with pytest.raises(_openpgp.KeyProblem, match="holds no armoured"):
        _openpgp.read(text)


@pytest.mark.parametrize("text", ["\x99\x01\ufffd", "\udc99\x04"])
def test_a_binary_key_is_told_how_to_be_armoured(text: str) -> None:
    with pytest.raises(_openpgp.KeyProblem, match="--armor --export makes one of a binary file"):
        _openpgp.read(text)


def test_two_keys(short_lived: str) -> None:
    with pytest.raises(_openpgp.KeyProblem, match="holds 2"):
        _openpgp.read(short_lived + short_lived)
