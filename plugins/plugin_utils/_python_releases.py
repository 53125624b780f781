# SPDX-License-Identifier: GPL-3.0-or-later
"""When each Python's upstream support ends, and what to say of it.

After that day there are no security fixes any more, and a PPA's builds stay at the last one.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable
from datetime import date, timedelta

SOURCE = "Python Developer's Guide, include/release-cycle.json, as of 2026-11"
# One line for each version: the day, or where the source gives no day yet the month.
ENDS = {
    "3.7": "2023-06-27",  # PEP 537
    "3.8": "2024-10-07",  # PEP 569
    "3.9": "2025-10-31",  # PEP 596
    "3.10": "2026-10",  # PEP 619
    "3.11": "2027-10",  # PEP 664
    "3.12": "2028-10",  # PEP 693
    "3.13": "2029-10",  # PEP 719
    "3.14": "2030-10",  # PEP 745
    "3.15": "2031-10",  # PEP 790
}
NEVER = -1


def last_day(moment: str) -> date:
    """The day that ``2024-10-07`` names, or the last one of the month ``2026-10``."""
    year, month, *day = (int(part) for part in moment.split("-"))
    return date(year, month, day[0] if day else calendar.monthrange(year, month)[1])


def warnings(wanted: Iterable[str], today: date, days: int, system: str = "") -> list[str]:
    """What to say of wanted versions whose support has ended, or ends soon.

    Args:
        wanted: minor versions, ``3.14`` or ``3.14-nogil``.
        today: the controller's date.
        days: how long before the end to say so; `NEVER`: say nothing.
        system: the system's own version, which the distribution goes on to maintain; empty if it
            is not known.
    """
    if days <= NEVER:
        return []
    found = []
    for base in dict.fromkeys(version.partition("-")[0] for version in wanted):
        moment = ENDS.get(base)
        if moment is None or today + timedelta(days=days) < last_day(moment):
            continue
        when = f"{'on' if moment.count('-') == 2 else 'in'} {moment}"
        if today > last_day(moment):
            text = f"Python {base} reached its end of life {when}: no fixes from upstream any more"
        else:
            text = f"Python {base} reaches its end of life {when}: then no fixes from upstream"
        if base == system:
            text += ", only this system's distribution for its own package"
        found.append(f"python_versions_wanted: {text} ({SOURCE})")
    return found
