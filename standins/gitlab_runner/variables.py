# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's variables and their expansion."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass
class Variable:
    """One variable of a job."""

    key: str
    value: str
    file: bool = False
    masked: bool = False
    raw: bool = False


def decode_variables(items: Iterable[dict[str, Any]]) -> list[Variable]:
    """Return a payload's variables; TypeError for a wrong JSON type, which loses the job."""
    variables = []
    for item in items:
        key, value = item.get("key"), item.get("value")
        if not isinstance(key or "", str) or not isinstance(value or "", str):
            raise TypeError("json: cannot unmarshal into Go struct field Variable of type string")
        flags = {name: bool(item.get(name)) for name in ("file", "masked", "raw")}
        variables.append(Variable(key or "", value or "", **flags))
    return variables


_EXPAND = re.compile(r"\$(?:\{([^}]*)\}|([*#$@!?0-9-])|([A-Za-z_][A-Za-z0-9_]*))")


def expand(text: str, get: Callable[[str], str]) -> str:
    """Expand ``$X`` and ``${X}`` as Go's os.Expand does."""
    return _EXPAND.sub(lambda match: get(match[1] or match[2] or match[3] or ""), text)


class Variables:
    """All variables of a job; the last one of a name counts."""

    def __init__(self, items: list[Variable], tmp_dir: str) -> None:
        self._tmp = tmp_dir
        self.items = items
        self.items = [
            item
            if item.raw
            else Variable(item.key, expand(item.value, self.get), item.file, item.masked)
            for item in items
        ]

    def get(self, key: str) -> str:
        """Return a value, or the path of a file variable."""
        if key == "$":
            return "$"
        for item in reversed(self.items):
            if item.key == key:
                return f"{self._tmp}/{key}" if item.file else item.value
        return ""

    def number(self, key: str, default: int) -> int:
        """Return a value as a number."""
        value = self.get(key)
        return int(value) if value.isdigit() else default
