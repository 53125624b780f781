# SPDX-License-Identifier: GPL-3.0-or-later
"""What a trace's bytes pass through: secrets are masked, lines get their time."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime


class Masker:
    """Puts ``[MASKED]`` for secrets in a stream of bytes, across the borders of writes too."""

    mask = b"[MASKED]"

    def __init__(
        self, values: Iterable[str], prefixes: Iterable[str], sink: Callable[[bytes], None]
    ) -> None:
        self._sink = sink
        self._values = sorted({value.encode() for value in values if value}, key=len, reverse=True)
        known = {prefix for prefix in {"glpat-", *prefixes} if prefix}
        tokens = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
        token = f"(?P<token>(?:{tokens})[A-Za-z0-9_=.-]+)".encode()
        # What may go on in the next write: a part of a value, a part or the whole of a prefix.
        self._starts = [value[:-1] for value in self._values]
        self._starts += [prefix.encode() for prefix in known]
        self._pattern = re.compile(b"|".join([*map(re.escape, self._values), token]))
        self._rest = b""
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Take bytes; the end is held back while it may be the start of a secret."""
        with self._lock:
            if ready := self._mask(self._rest + data, final=False):
                self._sink(ready)

    def flush(self) -> None:
        """Give out what was held back."""
        with self._lock:
            if self._rest:
                self._sink(self._mask(self._rest, final=True))

    def _mask(self, data: bytes, *, final: bool) -> bytes:
        ready, done, end = [], 0, len(data)
        for match in self._pattern.finditer(data):
            # A token that reaches the end of the data may go on in the next write.
            if match["token"] and match.end() == end and not final:
                end = match.start()
                break
            ready += [data[done : match.start()], self.mask]
            done = match.end()
        if not final and end == len(data):
            sizes = (
                size
                for begin in self._starts
                for size in range(min(len(begin), end - done), 0, -1)
                if data.endswith(begin[:size])
            )
            end -= max(sizes, default=0)
        self._rest = b"" if final else data[end:]
        return b"".join([*ready, data[done:end]])


class Stamps:
    """Puts a time and the mark of a stream before each line (FF_TIMESTAMPS, on from 18.7)."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._begins = True

    def write(self, data: bytes) -> None:
        """Take bytes that are masked already."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        mark = f"{now} 00O ".encode()
        out = b""
        for line in split_lines(data):
            out += (mark if self._begins else b"") + line
            self._begins = line.endswith(b"\n")
        self._sink(out)


def split_lines(data: bytes) -> list[bytes]:
    """Return the lines with their ends; a carriage return ends none."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
