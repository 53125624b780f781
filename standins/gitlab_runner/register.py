# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `register`."""

from __future__ import annotations

import json
import os
import re
import socket
from typing import Any

from standins.gitlab_runner.api import Api
from standins.gitlab_runner.config import Config, ConfigError
from standins.gitlab_runner.host import system_id, user_mode_warning
from standins.gitlab_runner.log import PanicError, log
from standins.gitlab_runner.options import ENTRY_OPTIONS, SERVER_OPTIONS, Options
from standins.gitlab_runner.times import ZERO_TIME, now_text
from standins.gitlab_runner.tokens import GLRT

DOCS = "https://docs.gitlab.com/ci/runners/new_creation_workflow/"


def do_register(options: Options) -> None:
    """Register a runner: verify its token and append an entry."""
    user_mode_warning(with_run=True)
    level = options.get("access-level")
    if level not in ("", "not_protected", "ref_protected"):
        log.panic(
            "Given access-level is not valid. Refer to gitlab-runner register -h for the "
            "correct options."
        )
    entry = register_entry(options)
    try:
        config = Config.load(options.config)
        config.expand()
    except ConfigError as error:
        log.panic(str(error))
    system = system_id(options.config)
    if not entry["url"]:
        log.panic("The url needs to be entered")
    token = options.get("token") or options.get("registration-token")
    if not token:
        log.panic("The registration-token needs to be entered")
    entry["token"] = token
    api = Api(entry)
    if not token.startswith(GLRT):
        if options.get("token"):
            log.info("Token specified trying to verify runner...")
            log.warning("If you want to register use the '-r' instead of '-t'.")
            if api.verify(system) is None:
                log.panic("Failed to verify the runner. You may be having network problems.")
        else:
            register_by_old_token(options, entry, api)
    else:
        if any(item.get("token") == token for item in config.runners):
            log.warning("A runner with this system ID and token has already been registered.")
        refuse_server_options(options, token)
        answer = api.verify(system)
        if not answer or not answer.get("id"):
            log.panic("Failed to verify the runner.")
        take_identity(entry, answer)
    try:
        check_executor(entry)
    except PanicError:
        if not options.on("leave-runner") and token.startswith(GLRT):
            api.unregister(system)
        raise
    config.runners.append(entry)
    config.save(options.config)
    if config.concurrent < int(entry.get("limit", 0)):
        log.warning(
            f"The specified runner job concurrency limit ({entry['limit']}) is larger than current "
            f"global concurrency limit ({config.concurrent}). The global concurrent limit will not "
            "be increased and takes precedence."
        )
    log.info(
        "Runner registered successfully. Feel free to start it, but if it's running already "
        "the config should be automatically reloaded!"
    )
    log.info("")
    log.info(
        f"Configuration (with the authentication token) was saved in {json.dumps(options.config)}"
    )


def register_entry(options: Options) -> dict[str, Any]:
    """Return the entry that the options make, a template's values where they are empty."""
    entry: dict[str, Any] = {
        "name": options.get("name", socket.gethostname()),
        "url": options.get("url"),
    }
    for key in ("tls-ca-file", "tls-cert-file", "tls-key-file"):
        if value := options.get(key):
            entry[key] = value
    for option, (key, _, kind) in ENTRY_OPTIONS.items():
        value = options.get(option)
        if not value:
            continue
        if kind == "int":
            if not re.fullmatch(r"-?\d+", value):
                log.fatal(f'invalid value "{value}" for flag -{option}: parse error')
            entry[key] = int(value)
        elif kind == "bool":
            entry[key] = options.on(option)
        elif kind == "list":
            entry[key] = options.lists[option]
        elif kind == "flags":
            pairs = (pair.partition(":") for pair in value.split(","))
            entry[key] = {name: text == "true" for name, _, text in pairs}
        else:
            entry[key] = value
    if template := options.get("template-config"):
        log.info(f"Merging configuration from template file {json.dumps(template)}")
        try:
            if not os.path.exists(template):
                raise ConfigError(f"open {template}: no such file or directory")
            runners = Config.load(template).runners
        except ConfigError as error:
            log.fatal("Could not handle configuration merging from template file", error=error)
        if len(runners) != 1:
            log.fatal(
                "Could not handle configuration merging from template file",
                error="configuration template must contain exactly one [[runners]] entry",
            )
        for key, value in runners[0].items():
            if key not in ("token", "token_obtained_at", "token_expires_at") and not entry.get(key):
                entry[key] = value
    return entry


def refuse_server_options(options: Options, token: str) -> None:
    """Reject options that only the server sets; for the old option name, only warn."""
    given = [
        flag.names
        for flag in SERVER_OPTIONS
        if options.get(flag.names)
        and (options.get(flag.names) != "false" or flag.names == "locked")
        and not (flag.names == "locked" and options.on("locked"))
    ]
    if not given:
        return
    names = (
        "--locked, --access-level, --run-untagged, --maximum-timeout, --paused, --tag-list, "
        "and --maintenance-note"
    )
    link = f"For more information, see {DOCS}#changes-to-the-gitlab-runner-register-command-syntax"
    if options.get("registration-token") == token:
        log.warning(
            "You have specified an authentication token in the legacy parameter "
            "--registration-token. This has triggered the 'legacy-compatible registration process' "
            f"which has resulted in the following command line parameters being ignored: {names}. "
            f"{link}"
        )
        return
    log.fatal(
        "Runner configuration other than name and executor configuration is reserved "
        f"(specifically {names}) and cannot be specified when registering with a runner "
        "authentication token. This configuration is specified on the GitLab server. Please try "
        f"again without specifying any of those arguments. {link}"
    )


def register_by_old_token(options: Options, entry: dict[str, Any], api: Api) -> None:
    """Try the old way of registration, which servers refuse."""
    log.warning(
        "Support for registration tokens and runner parameters in the 'register' command has been "
        "deprecated in GitLab Runner 15.6 and will be replaced with support for authentication "
        f"tokens. For more information, see {DOCS}"
    )
    tags = options.get("tag-list")
    answer = api.register_legacy(
        {
            "description": entry["name"],
            "tag_list": tags,
            "run_untagged": options.on("run-untagged") or not tags,
        }
    )
    if answer is None:
        log.panic("Failed to register the runner.")
    entry["token"] = answer["token"]
    take_identity(entry, answer)


def take_identity(entry: dict[str, Any], answer: dict[str, Any]) -> None:
    """Put what the server told into the entry."""
    entry["id"] = answer["id"]
    entry["token_obtained_at"] = now_text(nanoseconds=False)
    entry["token_expires_at"] = answer.get("token_expires_at") or ZERO_TIME
    if str(entry["token_expires_at"]).endswith(".000Z"):
        # Go prints no empty fraction.
        entry["token_expires_at"] = str(entry["token_expires_at"]).replace(".000Z", "Z")


def check_executor(entry: dict[str, Any]) -> None:
    """Reject executors that this program does not have."""
    known = (
        "shell",
        "docker",
        "kubernetes",
        "custom",
        "ssh",
        "virtualbox",
        "parallels",
        "instance",
    )
    if not entry.get("executor"):
        log.panic("The executor needs to be entered")
    if entry["executor"] not in known:
        log.panic("Invalid executor specified")
