# SPDX-License-Identifier: GPL-3.0-or-later
"""config.toml as plain data and back, without losing a nanosecond.

The runner writes ``token_obtained_at`` with nanoseconds (seen with gitlab-runner 17.5); Python's
datetime keeps six digits. So a date stays the text that stood in the file: `Moment`.
Runs on the controller (tomlkit); the hosts never parse TOML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

# The actions name a missing tomlkit first (`requirements` in their documentation).
with suppress(ImportError):
    import tomlkit
    from tomlkit import items
    from tomlkit.exceptions import ParseError, TOMLKitError

Data = dict[str, Any]
BYTE_ORDER_MARK = "\ufeff"


class Moment(str):
    """A TOML date or time, as the text that the file holds."""

    __slots__ = ()


class TomlError(ValueError):
    """The text is not TOML; the message has the position, never the text."""


def parse(text: str) -> Data:
    """The file's data: dicts, lists, str, int, float, bool and `Moment`.

    A byte order mark is skipped, and a byte that is not UTF-8 is refused, as the runner's own
    parser does (BurntSushi/toml 1.6).

    Raises:
        TomlError: with line and column.
    """
    if "\0" in text:
        raise TomlError("it holds NUL bytes: save it as UTF-8, not UTF-16")
    text = text.removeprefix(BYTE_ORDER_MARK)
    # Bytes that are not UTF-8 were read as these (surrogateescape).
    wrong = re.search("[\udc80-\udcff]", text)
    if wrong:
        before = text[: wrong.start()]
        place = f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
        raise TomlError(f"{place}: the byte 0x{ord(wrong[0]) - 0xDC00:02x} is not valid UTF-8")
    try:
        document = tomlkit.parse(text)
    except ParseError as error:
        raise TomlError(f"line {error.line}, column {error.col}") from None
    except (TOMLKitError, ValueError) as error:
        raise TomlError(type(error).__name__) from None
    plain: Data = _plain(document)
    return plain


def _plain(item: Any) -> Any:
    if isinstance(item, Mapping):
        return {str(key): _plain(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [_plain(value) for value in item]
    if isinstance(item, items.DateTime | items.Date | items.Time):
        return Moment(item.as_string())
    if isinstance(item, items.Item):
        return item.unwrap()
    return item


def dump(data: Mapping[str, Any]) -> str:
    """The text of a configuration: scalars first, then tables, then arrays of tables."""
    document = tomlkit.document()
    _fill(document, data)
    return tomlkit.dumps(document)


def _fill(table: Any, data: Mapping[str, Any]) -> None:
    for key, value in data.items():
        if not _is_table(value) and not _is_table_array(value):
            table.add(key, _item(value))
    for key, value in data.items():
        if _is_table(value):
            child = tomlkit.table()
            _fill(child, value)
            table.add(key, child)
        elif _is_table_array(value):
            array = tomlkit.aot()
            for entry in value:
                child = tomlkit.table()
                _fill(child, entry)
                array.append(child)
            table.add(key, array)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_table_array(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _item(value: Any) -> Any:
    if isinstance(value, Moment):
        return tomlkit.value(str(value))
    # Exact types: Ansible hands over tagged subclasses of str, int and the rest.
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, str):
        return tomlkit.string(str(value), escape=True)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, list):
        array = tomlkit.array()
        for entry in value:
            array.append(_item(entry))
        return array
    raise TypeError(f"config.toml cannot hold a value of type {type(value).__name__}")
