# SPDX-License-Identifier: GPL-3.0-or-later
"""The log on stderr, in the formats of the real program."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from datetime import UTC, datetime
from typing import ClassVar, NoReturn

RED, YELLOW, GREEN, CYAN = "\033[31;1m", "\033[0;33m", "\033[32;1m", "\033[36;1m"
RESET, CLEAR = "\033[0;m", "\033[0K"


class Log:
    """Log to stderr: the runner's own text format (with its colours, always), or JSON."""

    levels = ("debug", "info", "warning", "error", "fatal", "panic")
    prefixes: ClassVar = {
        "warning": "WARNING: ",
        "error": "ERROR: ",
        "fatal": "FATAL: ",
        "panic": "PANIC: ",
    }
    colours: ClassVar = {
        "warning": YELLOW,
        "error": RED,
        "fatal": RED,
        "panic": RED,
        "debug": "\033[37;1m",
    }

    def __init__(self) -> None:
        self.format = "runner"
        self.level = "info"
        self._lock = threading.Lock()

    def set_level(self, level: str) -> bool:
        """Set the lowest level that is shown; False when there is no such level."""
        level = "warning" if level == "warn" else level
        if level not in self.levels:
            return False
        self.level = level
        return True

    def write(self, level: str, message: str, **fields: object) -> None:
        """Write one line."""
        if self.levels.index(level) < self.levels.index(self.level):
            return
        shown = {key.rstrip("_").replace("__", "-"): value for key, value in fields.items()}
        if self.format == "json":
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            line = json.dumps({"level": level, "msg": message, "time": now, **shown})
        else:
            prefix = f"{level.upper()}: " if level in self.colours else ""
            colour = self.colours.get(level, "")
            line = f"{colour}{prefix}{message:<{50 - len(prefix)}}{RESET} "
            for key in sorted(shown):
                line += f" {colour}{key}{RESET}={shown[key]}"
        with self._lock, contextlib.suppress(OSError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def debug(self, message: str, **fields: object) -> None:
        """Write a line for those who look closely."""
        self.write("debug", message, **fields)

    def info(self, message: str, **fields: object) -> None:
        """Write a usual line."""
        self.write("info", message, **fields)

    def warning(self, message: str, **fields: object) -> None:
        """Write a warning."""
        self.write("warning", message, **fields)

    def error(self, message: str, **fields: object) -> None:
        """Write an error."""
        self.write("error", message, **fields)

    def fatal(self, message: str, **fields: object) -> NoReturn:
        """Write the last line and exit 1."""
        self.write("fatal", message, **fields)
        sys.stdout.flush()
        os._exit(1)

    def panic(self, message: str, **fields: object) -> NoReturn:
        """Raise what ends the program unless it is caught."""
        self.write("panic", message, **fields)
        raise PanicError(message)


class PanicError(Exception):
    """A failure that clean-up may watch pass by on its way to exit 1."""


log = Log()
