# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows which step runs, and how long it takes."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

_QUIET_BELOW = 1.0
"""Seconds under which a step's end is not worth a line when nobody watches."""


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Print `title` while the block runs: a ticking line on a terminal, else two lines."""
    start = time.monotonic()
    tty = sys.stdout.isatty()
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.5):
            print(f"\r  {title} … {time.monotonic() - start:.0f} s", end="", flush=True)

    ticker = threading.Thread(target=tick, daemon=True)
    if tty:
        print(f"  {title} …", end="", flush=True)
        ticker.start()
    else:
        print(f"  {title} …", flush=True)
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        stop.set()
        took = time.monotonic() - start
        if tty:
            ticker.join()
            print(f"\r\x1b[K  {title}: {outcome}, {took:.1f} s", flush=True)
        elif took >= _QUIET_BELOW or outcome == "failed":
            print(f"  {title}: {outcome}, {took:.1f} s", flush=True)
