# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of each runner's requests: three refusals in a row disable it for an hour."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from standins.gitlab_runner.log import log
from standins.gitlab_runner.times import go_duration, go_duration_text
from standins.gitlab_runner.tokens import short_token


@dataclass
class Record:
    """A runner's last requests."""

    failures: int = 0
    last_check: float = field(default_factory=time.monotonic)


class Health:
    """All runners' records, by address and token."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Reset all records, as each load of the configuration does."""
        with self._lock:
            self._records.clear()

    def is_good(self, runner: dict[str, Any]) -> bool:
        """Return whether a runner may request jobs."""
        limit = int(runner.get("unhealthy_requests_limit") or 3)
        interval = go_duration(runner.get("unhealthy_interval"), 3600.0)
        with self._lock:
            record = self._records.setdefault(unique(runner), Record())
            if record.failures < limit:
                return True
            if time.monotonic() - record.last_check > interval:
                log.warning(
                    f'Runner "{unique(runner)}" is not healthy, but check for a new job will be '
                    "forced!",
                    unhealthy_requests=record.failures,
                )
                record.failures, record.last_check = 0, time.monotonic()
                return True
        return False

    def mark(self, runner: dict[str, Any], good: bool) -> None:
        """Record the result of a request."""
        with self._lock:
            record = self._records.setdefault(unique(runner), Record())
            if good:
                record.failures, record.last_check = 0, time.monotonic()
                return
            record.failures += 1
            limit = int(runner.get("unhealthy_requests_limit") or 3)
            if record.failures >= limit:
                interval = go_duration(runner.get("unhealthy_interval"), 3600.0)
                log.error(
                    f'Runner "{unique(runner)}" is unhealthy and will be disabled for '
                    f"{go_duration_text(interval)} seconds!",
                    unhealthy_requests=record.failures,
                    unhealthy_requests_limit=limit,
                )


def unique(runner: dict[str, Any]) -> str:
    """Return what tells a runner from the others of a configuration."""
    return f"{runner.get('url')}{short_token(str(runner.get('token')))}"
