# SPDX-License-Identifier: GPL-3.0-or-later
"""API tokens of package indexes: what can be read of them offline. No token is in any message.

A token is ``pypi-`` and a macaroon in base64url, whose location gives it a fixed beginning for each
instance (warehouse, `macaroons/services.py`; seen in public tokens' prefixes).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

BEGINS = {"PyPI": "pypi-AgEIcHlwaS5vcmc", "TestPyPI": "pypi-AgENdGVzdC5weXBpLm9yZw"}
# Kinds of a macaroon's fields, and of the index's restrictions (warehouse, macaroons/caveats).
_IDENTIFIER = 2
_EXPIRATION, _PROJECT_NAMES, _PROJECT_IDS, _USER = range(4)
# After the beginning; real ones have 150 and more (detect-secrets takes 70 for the least).
_REST = re.compile(r"[A-Za-z0-9_-]{70,}")


def instance(value: str) -> str:
    """The index whose token a text is, PyPI or TestPyPI; empty if it is neither's."""
    return next((name for name, begin in BEGINS.items() if value.startswith(begin)), "")


def is_one(value: str) -> bool:
    """Whether a text is an index's token, of a company's own index too."""
    return bool(instance(value) or _location(value))


def _location(value: str) -> str:
    """The name of the index in a whole token; empty if there is none."""
    rest = value.removeprefix("pypi-")
    if rest == value or not _REST.fullmatch(rest):
        return ""
    try:
        data = base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4))
    except ValueError:
        # No base64 has this length: something was cut off.
        return ""
    # Version 2; a field with the location: its kind, its length, the text; the next field's kind.
    name = data[3 : 3 + data[2]]
    whole = data[:2] == b"\x02\x01" and data[3 + len(name) : 4 + len(name)] == b"\x02"
    return name.decode("ascii", "replace") if whole else ""


@dataclass(frozen=True)
class Scope:
    """What a token says of itself.

    Attributes:
        account: whether it may upload to each project of its account; None if it does not say.
        projects: the names of the projects that it is for; empty if it does not say.
        expires: when it ends; None for a token that does not say.
    """

    account: bool | None = None
    projects: tuple[str, ...] = ()
    expires: datetime | None = None

    @property
    def words(self) -> str:
        """For people."""
        if self.account:
            return "all projects of its account"
        if self.projects:
            return f"project {', '.join(self.projects)}"
        return "scope unknown" if self.account is None else "one project"


def scope(value: str) -> Scope:
    """What can be read of a token's restrictions; they are not secret, and not encrypted.

    Restrictions that only the index knows are not in it (warehouse, ``macaroons/caveats``): a token
    without any is of unknown scope, and not of the whole account.
    """
    account: bool | None = None
    projects: tuple[str, ...] = ()
    expires = None
    for said in _caveats(value):
        if isinstance(said, dict):
            # Tokens made before 2022.
            allowed = said.get("permissions")
            if allowed == "user":
                account = True if account is None else account
            elif isinstance(allowed, dict):
                account, projects = False, _names(allowed.get("projects"))
        elif isinstance(said, list) and len(said) > 1:
            kind, first = said[0], said[1]
            if kind == _EXPIRATION and isinstance(first, int):
                expires = datetime.fromtimestamp(first, timezone.utc)
            elif kind == _PROJECT_NAMES:
                account, projects = False, _names(first)
            elif kind == _PROJECT_IDS:
                account = False
            elif kind == _USER:
                account = True if account is None else account
    return Scope(account, projects, expires)


def _names(found: object) -> tuple[str, ...]:
    return tuple(str(one) for one in found) if isinstance(found, list) else ()


def _caveats(value: str) -> Iterator[object]:
    """The restrictions in a token: libmacaroons' second binary format, each as JSON."""
    try:
        text = value.removeprefix("pypi-")
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        sections = list(_sections(data[1:]))
    except (ValueError, IndexError):
        return
    # The first is the token's own.
    for section in sections[1:]:
        try:
            yield json.loads(section[_IDENTIFIER])
        except (KeyError, ValueError):
            continue


def _sections(data: bytes) -> Iterator[dict[int, bytes]]:
    """Its parts, each field by its kind: kind, length as a varint, bytes; 0 ends a part."""
    at, section = 0, dict[int, bytes]()
    while at < len(data):
        kind, at = data[at], at + 1
        if kind == 0:
            if not section:
                return
            yield section
            section = {}
            continue
        size, shift = 0, 0
        while True:
            byte, at = data[at], at + 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        section[kind], at = data[at : at + size], at + size


def problem(value: str, used_for: str, goes_to: str = "") -> str:
    """What is wrong with a text that is to be a variable's value; empty if nothing is seen.

    Args:
        value: the text.
        used_for: the variable's name and environment: one with the word test is for the test index.
        goes_to: what of it tells that it is for PyPI; by default all of it.
    """
    found = instance(value)
    if not found:
        if _location(value):
            # Of a company's own index.
            return ""
        if "pypi-Ag" in value:
            return (
                "holds an index's token and something else (quotes, or the name of a variable?); "
                "expected the token alone, from pypi- on"
            )
        if value.startswith("pypi-"):
            return "begins as an index's token and is none of PyPI or TestPyPI; was it cut short?"
        return ""
    if not _REST.fullmatch(value[len(BEGINS[found]) :]):
        return (
            f"a token of {found} that was cut short, or has characters that none has "
            f"({len(value)} characters); expected it whole"
        )
    for_test = re.search(r"(?<![a-z])test(?:ing|pypi)?(?![a-z])", used_for.lower())
    if for_test and found == "PyPI":
        return "a token of PyPI for the test index, which has accounts and tokens of its own"
    named = re.search(r"(?<![a-z])pypi(?![a-z])", (goes_to or used_for).lower())
    if named and not for_test and found == "TestPyPI":
        return "a token of TestPyPI for PyPI, which has accounts and tokens of its own"
    return ""
