# SPDX-License-Identifier: GPL-3.0-or-later
"""Times and durations in the text forms of Go."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

ZERO_TIME = "0001-01-01T00:00:00Z"


def parse_time(text: str) -> float:
    """Return an RFC 3339 time in seconds since the epoch; 0 for none."""
    if not text or text.startswith("0001-01-01"):
        return 0.0
    match = re.fullmatch(r"(.{19})(?:\.(\d+))?(Z|z|[+-]\d\d:\d\d)", text)
    if match is None:
        return 0.0
    fraction = float(f"0.{match[2]}") if match[2] else 0.0
    zone = "+00:00" if match[3] in "Zz" else match[3]
    return datetime.fromisoformat(match[1] + zone).timestamp() + fraction


def now_text(*, nanoseconds: bool) -> str:
    """Return the time of now: to the second as register writes it, or as a rotation does."""
    now = time.time_ns()
    text = datetime.fromtimestamp(now // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{now % 10**9:09d}Z" if nanoseconds else f"{text}Z"


def go_duration(value: object, default: float) -> float:
    """Return a duration such as 1h30m in seconds; integers are nanoseconds, as in Go."""
    if isinstance(value, int):
        return value / 1e9
    parts = re.findall(r"([0-9.]+)(ns|us|ms|h|m|s)", str(value or ""))
    units = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(number) * units[unit] for number, unit in parts) if parts else default


def go_duration_text(seconds: float) -> str:
    """Return seconds as Go prints a duration."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    text = f"{hours}h" if hours else ""
    text += f"{rest // 60}m" if hours or rest >= 60 else ""
    return f"{text}{rest % 60 + seconds - whole:g}s"
