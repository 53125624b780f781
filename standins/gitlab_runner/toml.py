# SPDX-License-Identifier: GPL-3.0-or-later
"""Values and tables as TOML, in the layout of Go's encoder."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any


class Raw(str):
    """Text that stands in TOML as it is."""

    __slots__ = ()


def toml_value(value: object) -> str:
    """Return a value as TOML."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    # JSON's escapes are TOML's, but for DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_key(key: str) -> str:
    """Return a key, quoted where TOML wants it."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def toml_table(path: str, table: dict[str, Any], depth: int) -> list[str]:
    """Return a table's lines: simple keys first, then its tables, two blanks a level."""
    pad = "  " * depth
    lines, tables = [], []
    for key, value in table.items():
        if value is None:
            continue
        name = f"{path}.{toml_key(key)}"
        if isinstance(value, dict):
            tables += [f"{pad}[{name}]", *toml_table(name, value, depth + 1)]
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            for item in value:
                tables += ["", f"{pad}[[{name}]]", *toml_table(name, item, depth + 1)]
        else:
            lines.append(f"{pad}{toml_key(key)} = {toml_value(value)}")
    return lines + tables
