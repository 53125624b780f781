# SPDX-License-Identifier: GPL-3.0-or-later
"""What an index's API token says of itself, offline."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timezone

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _index_tokens
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._index_tokens import Scope, scope
from standins.index import tokens


def made(*caveats: object, raw: bytes = b"") -> str:
    """A token with these restrictions, as pymacaroons writes it."""

    def field(kind: int, data: bytes) -> bytes:
        size = (
            bytes([len(data)])
            if len(data) < 128
            else bytes([len(data) & 127 | 128, len(data) >> 7])
        )
        return bytes([kind]) + size + data

    packet = b"\x02" + field(1, b"index.test") + field(2, b"id" * 16) + b"\x00"
    for one in caveats:
        packet += field(2, json.dumps(one).encode()) + b"\x00"
    packet += raw + b"\x00" + field(6, b"s" * 32)
    return "pypi-" + base64.urlsafe_b64encode(packet).decode().rstrip("=")


WHEN = datetime(2026, 12, 24, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("caveats", "expected", "words"),
    [
        ([[3, "u1"]], Scope(True), "all projects of its account"),
        ([[1, ["lab-demo"]], [2, ["77"]]], Scope(False, ("lab-demo",)), "project lab-demo"),
        ([[1, ["a", "b"]], [3, "u1"]], Scope(False, ("a", "b")), "project a, b"),
        ([[3, "u1"], [1, ["a"]]], Scope(False, ("a",)), "project a"),
        ([[2, ["77"]]], Scope(False), "one project"),
        ([{"version": 1, "permissions": "user"}], Scope(True), "all projects of its account"),
        ([{"version": 1, "permissions": {"projects": ["old"]}}], Scope(False, ("old",)),
         "project old"),
        ([[0, int(WHEN.timestamp()), 0], [3, "u1"]], Scope(True, (), WHEN),
         "all projects of its account"),
        ([], Scope(), "scope unknown"),
        ([[9, "new"], "text", [1]], Scope(), "scope unknown"),
        # Longer than one byte of length says.
        ([[1, [f"package-{n}" for n in range(40)]]],
         Scope(False, tuple(f"package-{n}" for n in range(40))),
         "project " + ", ".join(f"package-{n}" for n in range(40))),
    ],
)  # fmt: skip
def test_scopes(caveats: list[object], expected: Scope, words: str) -> None:
    found = scope(made(*caveats))
    assert found == expected
    assert found.words == words


@pytest.mark.parametrize(
    "value",
    ["", "pypi-", "pypi-AgEI", "glpat-xxxxxxxxxxxxxxxxxxxx", made([3, "u"])[:-40],
     "pypi-" + "_" * 99, made(raw=b"\x02\x05{no}!\x00")],
)  # fmt: skip
def test_what_is_no_token_has_no_scope(value: str) -> None:
    assert scope(value).projects == ()
    assert scope(value).expires is None


def test_tokens_of_the_stand_in_are_read_as_they_are_meant() -> None:
    assert scope(tokens.make("index.test", "ada").text) == Scope(True)
    short = tokens.make("index.test", projects=["demo"], seconds=900)
    found = scope(short.text)
    assert found.projects == ("demo",)
    assert found.expires is not None
    assert abs(found.expires.timestamp() - short.expires) < 2


def test_no_value_is_in_the_words() -> None:
    token = made([3, "planted-Zq7"])
    assert "Zq7" not in scope(token).words
    assert _index_tokens.instance(token) == ""
