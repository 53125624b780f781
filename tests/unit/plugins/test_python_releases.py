# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends of life: known for every version that can be wanted, and told in time."""

from __future__ import annotations

from datetime import date

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _python_releases
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._python_releases import warnings


@pytest.mark.parametrize(
    ("today", "says"),
    [
        (date(2026, 5, 3), ""),
        (date(2026, 5, 4), "Python 3.10 reaches its end of life in 2026-10:"),
        # The source names a month: its last day still counts.
        (date(2026, 10, 31), "Python 3.10 reaches its end of life in 2026-10:"),
        (date(2026, 11, 1), "Python 3.10 reached its end of life in 2026-10:"),
    ],
)
def test_warned_in_time(today: date, says: str) -> None:
    found = warnings(["3.10"], today, 180)
    assert len(found) == bool(says)
    assert says in "".join(found)


def test_a_day_is_told_where_it_is_known_with_the_source() -> None:
    (text,) = warnings(["3.9", "3.13"], date(2026, 11, 21), 180)
    assert "3.9 reached its end of life on 2025-10-31" in text
    assert "release-cycle.json" in text


def test_a_build_of_a_version_ends_with_it_and_is_told_once() -> None:
    assert len(warnings(["3.13", "3.13-nogil"], date(2030, 1, 1), 0)) == 1


def test_the_systems_own_is_told_apart() -> None:
    (text,) = warnings(["3.10"], date(2027, 1, 1), 0, system="3.10")
    assert "only this system's distribution" in text


def test_it_can_be_switched_off_and_an_unknown_version_has_no_end() -> None:
    assert warnings(["3.8"], date(2030, 1, 1), _python_releases.NEVER) == []
    assert warnings(["3.99"], date(2090, 1, 1), 180) == []


def test_every_version_from_3_8_to_3_15_has_its_line_in_order() -> None:
    days = [_python_releases.last_day(text) for text in _python_releases.ENDS.values()]
    assert days == sorted(days)
    assert {f"3.{minor}" for minor in range(8, 16)} <= set(_python_releases.ENDS)
