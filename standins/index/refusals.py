# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals in the words of the real indexes, from refusals.toml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomllib

RULES: Mapping[str, Mapping[str, Mapping[str, Any]]] = tomllib.loads(
    Path(__file__).with_name("refusals.toml").read_text(encoding="utf-8")
)


class Refusal(Exception):
    """An answer other than success.

    Attributes:
        rules: ``pypi`` or ``gitlab``.
        status: of HTTP.
        words: what the index says.
        key: of a JSON body.
    """

    def __init__(self, rules: str, name: str, **values: object) -> None:
        entry = RULES[rules][name]
        self.rules = rules
        self.status = int(entry["status"])
        self.words = said(rules, name, **values)
        self.key = str(entry.get("key", "message"))
        super().__init__(f"{self.status} {self.words}")


def said(rules: str, name: str, **values: object) -> str:
    """The words of a rule."""
    return str(RULES[rules][name]["words"]).format(**values)
