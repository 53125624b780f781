# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands about registered runners: verify, list, unregister, reset-token."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from standins.gitlab_runner.api import Api
from standins.gitlab_runner.config import Config, ConfigError
from standins.gitlab_runner.host import system_id, user_mode_warning
from standins.gitlab_runner.log import log
from standins.gitlab_runner.options import Options


def do_verify(options: Options) -> None:
    """Ask the server about each token; only a 403 counts."""
    user_mode_warning(with_run=True)
    try:
        config = Config.load(options.config)
        config.expand()
    except ConfigError as error:
        log.fatal(str(error))
    name, url, token = options.get("name"), options.get("url"), options.get("token")
    system = system_id(options.config)
    kept, asked, bad = [], 0, 0
    for runner in config.runners:
        same = runner["token"] == token and (
            not url or runner["url"].rstrip("/") == url.rstrip("/")
        )
        if (not (name or url or token)) or (name and runner.get("name") == name) or same:
            asked += 1
            if Api(runner).verify(system) is None:
                bad += 1
                continue
        kept.append(runner)
    if (name or url or token) and not asked:
        log.fatal("no runner matches the filtering parameters")
    if not bad:
        return
    if not options.on("delete"):
        log.fatal("Failed to verify runners")
    config.runners[:] = kept
    config.save(options.config)
    log.info(f"Updated {options.config}")


def do_list(options: Options) -> None:
    """List the runners, tokens and all, on stderr."""
    try:
        config = Config.load(options.config)
        config.expand()
    except ConfigError as error:
        log.warning(str(error))
        return
    system_id(options.config)
    log.info("Listing configured runners", ConfigFile=options.config)
    for runner in config.runners:
        log.info(
            str(runner.get("name", "")),
            Executor=runner.get("executor", ""),
            Token=runner["token"],
            URL=runner["url"],
        )


def do_unregister(options: Options) -> None:
    """Unregister one runner or all."""
    user_mode_warning(with_run=False)
    try:
        config = Config.load(options.config)
        config.expand()
    except ConfigError as error:
        log.fatal("failed to unregister runner", error=error)
    system = system_id(options.config)
    before = len(config.runners)
    if options.on("all-runners"):
        log.warning("Unregistering all runners")
        kept = [item for item in config.runners if not Api(item).unregister(system)]
        if kept:
            log.error("Failed to unregister runners")
    else:
        runner = find_runner(options, config)
        if not Api(runner).unregister(system):
            log.fatal(
                "failed to unregister runner",
                error="unregister runner: failed to "
                f"unregister runner {json.dumps(options.get('name'))}",
            )
        same = (runner["url"], runner["token"])
        kept = [item for item in config.runners if (item["url"], item["token"]) != same]
    if len(kept) == before:
        return
    config.runners[:] = kept
    config.save(options.config)
    log.info(f"Updated {options.config}")


def find_runner(options: Options, config: Config) -> dict[str, Any]:
    """Return the one runner that name and token select, or exit 1."""
    name, token = options.get("name"), options.get("token")
    if not (name or token):
        log.fatal(
            "failed to unregister runner",
            error="unregister runner: at least one of --name or --token must be specified",
        )
    found = [
        item
        for item in config.runners
        if (not name or item.get("name") == name) and (not token or item["token"] == token)
    ]
    if not found:
        log.fatal(
            "failed to unregister runner",
            error="unregister runner: get runner by token or name: could not find a runner",
        )
    return found[0]


def do_reset_token(options: Options) -> None:
    """Give runners new tokens."""
    user_mode_warning(with_run=True)
    try:
        config = Config.load(options.config)
        config.expand()
    except ConfigError as error:
        log.fatal("Failed to load configuration", error=error)
    system_id(options.config)
    if options.on("all-runners"):
        log.warning("Resetting all runner authentication tokens")
        for runner in config.runners:
            if not Api(runner).reset(options.get("pat")):
                log.error("Failed to reset runner authentication token", name=runner.get("name"))
    else:
        name, url, number = options.get("name"), options.get("url"), options.get("id", "0")
        runner_ = next(
            (
                item
                for item in config.runners
                if (
                    item.get("name") == name
                    if name
                    else item["url"] == url and str(item.get("id", 0)) == number
                )
            ),
            None,
        )
        if runner_ is None:
            log.fatal("Couldn't get runner credentials", error="could not find a runner")
        if not Api(runner_).reset(options.get("pat")):
            log.fatal("Failed to reset runner authentication token", id=number, name=name)
    config.save(options.config)
    now = datetime.now().strftime("%Y/%m/%d %H:%M:%S")
    print(f"{now} Updated", file=sys.stderr)
