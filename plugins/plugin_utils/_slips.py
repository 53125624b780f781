# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that were probably meant to be other ones."""

from __future__ import annotations

from collections.abc import Iterable


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
