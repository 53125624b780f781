# SPDX-License-Identifier: GPL-3.0-or-later
"""config.toml there and back, checked with a second parser."""

from __future__ import annotations

import re
from typing import Any

import pytest
import tomllib
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _runner_toml

TEXT = """concurrent = 2
check_interval = 0

[session_server]
  session_timeout = 1800

[[runners]]
  name = "a \\"quoted\\" name"
  id = 4
  token = "glrt-x"
  token_obtained_at = 2026-01-01T00:00:00.123456789Z
  token_expires_at = 0001-01-01T00:00:00Z
  environment = ["A=b", 'C=\\d']
  [runners.custom_build_dir]
  [runners.cache]
    MaxUploadedArchiveSize = 0
    [runners.cache.s3]

[[runners]]
  name = "b"
"""


def test_nanoseconds_survive() -> None:
    data = _runner_toml.parse(TEXT)
    assert data["runners"][0]["token_obtained_at"] == "2026-01-01T00:00:00.123456789Z"
    assert "token_obtained_at = 2026-01-01T00:00:00.123456789Z\n" in _runner_toml.dump(data)


def test_round_trip_is_stable() -> None:
    data = _runner_toml.parse(TEXT)
    text = _runner_toml.dump(data)
    assert _runner_toml.parse(text) == data
    assert _runner_toml.dump(_runner_toml.parse(text)) == text
    assert len(tomllib.loads(text)["runners"]) == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = ", 1), ("[[runners]\n", 1), ("a = 1\na = 2\n", 2), ('\n\ntoken = "glrt-secret', 3)],
)
def test_broken_text_names_a_place_and_nothing_else(text: str, line: int) -> None:
    with pytest.raises(_runner_toml.TomlError) as caught:
        _runner_toml.parse(text)
    assert re.fullmatch(rf"line {line}, column \d+", str(caught.value))


KEYS = st.text(alphabet="abcdefgh_-", min_size=1, max_size=6)
SCALARS = st.one_of(
    st.text(max_size=20).filter(lambda t: all(ord(c) >= 32 and c != "\x7f" for c in t)),
    st.integers(-(2**62), 2**62),
    st.booleans(),
)
TABLES = st.recursive(
    st.dictionaries(KEYS, st.one_of(SCALARS, st.lists(st.integers(0, 9), max_size=3)), max_size=4),
    lambda inner: st.dictionaries(KEYS, st.one_of(SCALARS, inner), max_size=3),
    max_leaves=8,
)


@given(TABLES, st.lists(TABLES.filter(bool), max_size=3))
def test_any_data_is_read_back_by_another_parser(table: dict[str, Any], runners: Any) -> None:
    data = {**table, "runners": runners} if runners else dict(table)
    text = _runner_toml.dump(data)
    assert tomllib.loads(text) == data
    assert _runner_toml.parse(text) == data


def test_a_byte_order_mark_is_skipped_as_the_runner_does() -> None:
    assert _runner_toml.parse("\ufeffconcurrent = 2\n") == {"concurrent": 2}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'a = 1\nb = "x\xff"\n', r"line 2, column 7: the byte 0xff is not valid UTF-8"),
        (b"# caf\xe9\n", "line 1, column 6: the byte 0xe9"),
        ("a = 1\n".encode("utf-16"), "not UTF-16"),
    ],
)
def test_other_encodings_are_refused_with_the_place(raw: bytes, says: str) -> None:
    with pytest.raises(_runner_toml.TomlError, match=says):
        _runner_toml.parse(raw.decode("utf-8", "surrogateescape"))
