# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from standins.gitlab_runner.commands import do_list, do_reset_token, do_unregister, do_verify
from standins.gitlab_runner.daemon import SIGNALS, Daemon
from standins.gitlab_runner.helpers import (
    artifacts_downloader,
    artifacts_uploader,
    cache_archiver,
    cache_extractor,
)
from standins.gitlab_runner.log import PanicError, log
from standins.gitlab_runner.options import COMMANDS, Options, UsageError
from standins.gitlab_runner.register import do_register
from standins.gitlab_runner.service import do_service
from standins.gitlab_runner.version import ARCH, BUILT, REVISION, VERSION


def print_version() -> None:
    """Print the version."""
    for name, value in (
        ("Version", VERSION),
        ("Git revision", REVISION),
        ("Git branch", "stand-in"),
        ("GO version", "none"),
        ("Built", BUILT),
        ("OS/Arch", f"linux/{ARCH}"),
    ):
        print(f"{name + ':':<14}{value}")


def die_of_signal(number: int, _frame: object) -> NoReturn:
    """End as Go's runtime does of a signal that nobody asked for: with a dump of its goroutines."""
    # Not by sys.stderr: a line of the log may be under way there.
    os.write(2, f"{signal.Signals(number).name}\n\ngoroutine 1 [running]:\n".encode())
    os._exit(2)


def run_command(command: str, options: Options) -> None:
    """Run one command."""
    if command == "run":
        for number in SIGNALS:
            signal.signal(number, die_of_signal)
        daemon = Daemon(
            {
                "config": options.config,
                **{
                    key: options.get(key) for key in ("user", "working-directory", "listen-address")
                },
            }
        )
        daemon.run()
    simple: dict[str, Callable[[Options], None]] = {
        "register": do_register,
        "verify": do_verify,
        "list": do_list,
        "unregister": do_unregister,
        "reset-token": do_reset_token,
    }
    helpers: dict[str, Callable[[dict[str, list[str]]], None]] = {
        "artifacts-uploader": artifacts_uploader,
        "artifacts-downloader": artifacts_downloader,
        "cache-archiver": cache_archiver,
        "cache-extractor": cache_extractor,
    }
    if command in simple:
        simple[command](options)
    elif command in helpers:
        helpers[command](options.lists)
    else:
        do_service(command, options)


def main(words: list[str]) -> int:
    """Run the program; the exit code is 1 for whatever goes wrong."""
    log.format = os.environ.get("LOG_FORMAT", log.format)
    if level := os.environ.get("LOG_LEVEL"):
        log.set_level(level)
    while words and words[0].startswith("-"):
        name, has_value, value = words.pop(0).lstrip("-").partition("=")
        if name in ("version", "v"):
            print_version()
            return 0
        if name in ("log-format", "log-level", "l"):
            value = value if has_value else (words.pop(0) if words else "")
            if name == "log-format":
                log.format = value
            elif not log.set_level(value):
                log.fatal(f'not a valid logrus Level: "{value}"')
        elif name not in ("debug", "help", "h"):
            log.fatal(f"flag provided but not defined: -{name}")
    if log.format not in ("runner", "text", "json"):
        log.fatal(f'unknown log format "{log.format}", expected one of: [runner text json]')
    if not words or words[0] in ("help", "h"):
        print("Commands: " + " ".join(COMMANDS))
        return 0
    command, rest = words[0], words[1:]
    if command not in COMMANDS:
        log.fatal(f"Command {command} not found.")
    try:
        options = Options(COMMANDS[command], rest)
    except UsageError as error:
        print(f"Incorrect Usage: {error}\n")
        log.fatal(str(error))
    log.info(
        "Runtime platform",
        arch=ARCH,
        os="linux",
        pid=os.getpid(),
        revision=REVISION,
        version=VERSION,
    )
    try:
        run_command(command, options)
    except PanicError:
        return 1
    return 0
