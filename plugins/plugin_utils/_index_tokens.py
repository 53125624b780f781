# SPDX-License-Identifier: GPL-3.0-or-later
"""API tokens of package indexes: what can be read of them offline. No token is in any message.

A token is ``pypi-`` and a macaroon in base64url, whose location gives it a fixed beginning for each
instance (warehouse, `macaroons/services.py`; seen in public tokens' prefixes).
"""

from __future__ import annotations

import base64
import re

BEGINS = {"PyPI": "pypi-AgEIcHlwaS5vcmc", "TestPyPI": "pypi-AgENdGVzdC5weXBpLm9yZw"}
# After the beginning; real ones have 150 and more (detect-secrets takes 70 for the least).
_REST = re.compile(r"[A-Za-z0-9_-]{70,}")


def instance(value: str) -> str:
    """The index whose token a text is, PyPI or TestPyPI; empty if it is neither's."""
    return next((name for name, begin in BEGINS.items() if value.startswith(begin)), "")


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


def problem(value: str, used_for: str) -> str:
    """What is wrong with a text that is to be a variable's value; empty if nothing is seen.

    Args:
        value: the text.
        used_for: the variable's name and environment: one with "test" is for the test index.
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
    for_test = "test" in used_for.lower()
    if for_test and found == "PyPI":
        return "a token of PyPI for the test index, which has accounts and tokens of its own"
    named = re.search(r"(?<![a-z])pypi(?![a-z])", used_for.lower())
    if named and not for_test and found == "TestPyPI":
        return "a token of TestPyPI for PyPI, which has accounts and tokens of its own"
    return ""
