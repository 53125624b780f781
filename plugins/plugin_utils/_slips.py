# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that were probably meant to be other ones."""

from __future__ import annotations

import re
from collections.abc import Iterable

# From this length on, how many letters a slip in the name of a group or host changes. Shorter names
# differ in that much and mean another one.
_SLIPS = ((12, 2), (4, 1))


def slip_of(name: str, known: Iterable[str]) -> str:
    """The known name of which this is a slip in one place or of swapped letters; else empty."""
    return next(
        (
            one
            for one in known
            if name != one and (sorted(name) == sorted(one) or distance(name, one) == 1)
        ),
        "",
    )


def distance(one: str, other: str) -> int:
    """How many letters are missing, extra, changed or swapped with their neighbour."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        last, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def misnamed(name: str, names: Iterable[str]) -> str:
    """The group or host that this name is a typo of; empty if it is another one."""
    if name.startswith(".") or name.endswith(("~", "#")):
        # An editor's.
        return ""
    mine, my_marks = _plain(name)
    best = ("", max(most for __, most in _SLIPS) + 1)
    for other in names:
        theirs, marks = _plain(other)
        longest = max(len(name), len(other))
        most = next((most for letters, most in _SLIPS if longest >= letters), 0)
        # What tells runner-1 from runner-2, or zone_a from zone_b, is not a typo.
        if marks != my_marks or abs(len(mine) - len(theirs)) > most:
            continue
        slips = distance(mine, theirs)
        if slips <= most and slips < best[1]:
            best = (other, slips)
    return best[0]


def _plain(name: str) -> tuple[str, list[str]]:
    """A name without case, hyphens and leading zeros; and its numbers and single letters."""
    words = [word.lstrip("0") or word for word in re.findall(r"[^\W\d_]+|\d+", name.lower())]
    return "".join(words), [word for word in words if len(word) == 1 or word.isdigit()]
