# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line's options, from words and environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

from standins.gitlab_runner.host import default_config_dir


@dataclass(frozen=True)
class Flag:
    """One option: names (long first), environment names, and whether it is a switch or a list."""

    names: str
    env: str = ""
    kind: str = "text"


CONFIG = Flag("config c", "CONFIG_FILE")
URL = Flag("url u", "CI_SERVER_URL")
TOKEN = Flag("token t", "CI_SERVER_TOKEN")
CREDENTIALS = (
    URL,
    TOKEN,
    Flag("tls-ca-file", "CI_SERVER_TLS_CA_FILE"),
    Flag("tls-cert-file", "CI_SERVER_TLS_CERT_FILE"),
    Flag("tls-key-file", "CI_SERVER_TLS_KEY_FILE"),
)
SERVICE = (Flag("service n"),)
HELPER = (Flag("url u", "CI_SERVER_URL"), Flag("token t", "CI_JOB_TOKEN"), Flag("id", "CI_JOB_ID"))
ARCHIVE = (Flag("path", kind="list"), Flag("exclude", kind="list"), Flag("untracked", kind="bool"))

# Options that go into config.toml as they are: key, environment name, kind.
ENTRY_OPTIONS = {
    "executor": ("executor", "RUNNER_EXECUTOR", "text"),
    "limit": ("limit", "RUNNER_LIMIT", "int"),
    "output-limit": ("output_limit", "RUNNER_OUTPUT_LIMIT", "int"),
    "request-concurrency": ("request_concurrency", "RUNNER_REQUEST_CONCURRENCY", "int"),
    "unhealthy-requests-limit": (
        "unhealthy_requests_limit",
        "RUNNER_UNHEALTHY_REQUESTS_LIMIT",
        "int",
    ),
    "builds-dir": ("builds_dir", "RUNNER_BUILDS_DIR", "text"),
    "cache-dir": ("cache_dir", "RUNNER_CACHE_DIR", "text"),
    "clone-url": ("clone_url", "CLONE_URL", "text"),
    "env": ("environment", "RUNNER_ENV", "list"),
    "pre-get-sources-script": ("pre_get_sources_script", "RUNNER_PRE_GET_SOURCES_SCRIPT", "text"),
    "post-get-sources-script": (
        "post_get_sources_script",
        "RUNNER_POST_GET_SOURCES_SCRIPT",
        "text",
    ),
    "pre-build-script": ("pre_build_script", "RUNNER_PRE_BUILD_SCRIPT", "text"),
    "post-build-script": ("post_build_script", "RUNNER_POST_BUILD_SCRIPT", "text"),
    "debug-trace-disabled": ("debug_trace_disabled", "RUNNER_DEBUG_TRACE_DISABLED", "bool"),
    "shell": ("shell", "RUNNER_SHELL", "text"),
    "feature-flags": ("feature_flags", "FEATURE_FLAGS", "flags"),
}
# Options that a server keeps for itself once it has made the runner.
SERVER_OPTIONS = (
    Flag("tag-list", "RUNNER_TAG_LIST"),
    Flag("run-untagged", "REGISTER_RUN_UNTAGGED", "bool"),
    Flag("locked", "REGISTER_LOCKED", "bool"),
    Flag("access-level", "REGISTER_ACCESS_LEVEL"),
    Flag("maximum-timeout", "REGISTER_MAXIMUM_TIMEOUT"),
    Flag("paused", "REGISTER_PAUSED", "bool"),
    Flag("maintenance-note", "REGISTER_MAINTENANCE_NOTE"),
)
COMMANDS: dict[str, tuple[Flag, ...]] = {
    "run": (
        CONFIG,
        Flag("listen-address", "LISTEN_ADDRESS"),
        Flag("service n"),
        Flag("user u"),
        Flag("working-directory d"),
        Flag("syslog", kind="bool"),
    ),
    "register": (
        CONFIG,
        *CREDENTIALS,
        *SERVER_OPTIONS,
        Flag("non-interactive n", "REGISTER_NON_INTERACTIVE", "bool"),
        Flag("leave-runner", "REGISTER_LEAVE_RUNNER", "bool"),
        Flag("registration-token r", "REGISTRATION_TOKEN"),
        Flag("name description", "RUNNER_NAME"),
        Flag("template-config", "TEMPLATE_CONFIG_FILE"),
        *(
            Flag(name, env, kind if kind in ("list", "bool") else "text")
            for name, (_, env, kind) in ENTRY_OPTIONS.items()
        ),
    ),
    # Before 19.3.0 the environment filtered here too.
    "verify": (CONFIG, Flag("name n"), URL, TOKEN, Flag("delete", kind="bool")),
    "list": (CONFIG,),
    "unregister": (CONFIG, *CREDENTIALS, Flag("name n"), Flag("all-runners", kind="bool")),
    "reset-token": (
        CONFIG,
        Flag("name n"),
        Flag("url u"),
        Flag("id i"),
        Flag("all-runners", kind="bool"),
        Flag("pat"),
    ),
    "install": (
        *SERVICE,
        CONFIG,
        Flag("working-directory d"),
        Flag("user u"),
        Flag("init-user i"),
        Flag("syslog", kind="bool"),
    ),
    **dict.fromkeys(("uninstall", "start", "stop", "restart", "status"), SERVICE),
    "artifacts-uploader": (
        *HELPER,
        *ARCHIVE,
        Flag("name"),
        Flag("expire-in"),
        Flag("artifact-format"),
        Flag("artifact-type"),
    ),
    "artifacts-downloader": HELPER,
    "cache-archiver": (Flag("file"), *ARCHIVE),
    "cache-extractor": (Flag("file"),),
}


class Options:
    """Parsed options: given on the command line, else in the environment."""

    def __init__(self, flags: tuple[Flag, ...], words: list[str]) -> None:
        by_name = {name: flag for flag in flags for name in flag.names.split()}
        self.lists: dict[str, list[str]] = {}
        index = 0
        while index < len(words):
            word = words[index]
            index += 1
            if not word.startswith("-") or word == "--":
                continue
            name, has_value, value = word.lstrip("-").partition("=")
            flag = by_name.get(name)
            if flag is None:
                raise UsageError(f"flag provided but not defined: -{name}")
            if flag.kind == "bool":
                value = value if has_value else "true"
                if value.lower() not in ("true", "false", "1", "0", "t", "f"):
                    raise UsageError(f'invalid boolean value "{value}" for -{name}')
                value = "true" if value.lower() in ("true", "1", "t") else "false"
            elif not has_value:
                if index >= len(words):
                    raise UsageError(f"flag needs an argument: -{name}")
                value = words[index]
                index += 1
            key = flag.names.split()[0]
            if flag.kind == "list":
                self.lists.setdefault(key, []).append(value)
            else:
                self.lists[key] = [value]
        for flag in flags:
            key = flag.names.split()[0]
            value = os.environ.get(flag.env, "") if flag.env else ""
            if value and key not in self.lists:
                self.lists[key] = value.split(",") if flag.kind == "list" else [value]

    def get(self, name: str, default: str = "") -> str:
        """Return an option's value."""
        return self.lists[name][-1] if self.lists.get(name) else default

    def on(self, name: str) -> bool:
        """Say whether a switch is on."""
        return self.get(name).lower() in ("true", "1", "t")

    @property
    def config(self) -> str:
        """Return the path of config.toml."""
        return os.path.abspath(
            self.get("config", os.path.join(default_config_dir(), "config.toml"))
        )


class UsageError(Exception):
    """A command line that cannot be understood."""
