# SPDX-License-Identifier: GPL-3.0-or-later
"""config.toml: read, checked and written as the real program does."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from typing import Any

import tomllib

from standins.gitlab_runner.log import log
from standins.gitlab_runner.times import ZERO_TIME
from standins.gitlab_runner.toml import Raw, toml_table, toml_value
from standins.gitlab_runner.variables import expand
from standins.gitlab_runner.version import version_tuple

LONG_POLLING = "https://docs.gitlab.com/runner/configuration/advanced-configuration/"


class ConfigError(Exception):
    """config.toml cannot be used."""


_S, _I, _B, _L, _T = (str,), (int,), (bool,), (list,), (dict,)
GLOBAL_KEYS: dict[str, tuple[type, ...]] = {
    "listen_address": _S,
    "concurrent": _I,
    "check_interval": _I,
    "log_level": _S,
    "log_format": _S,
    "user": _S,
    "sentry_dsn": _S,
    "connection_max_age": (str, int),
    "shutdown_timeout": _I,
    "session_server": _T,
    "machine": _T,
    "experimental": _T,
    "runners": _L,
}
RUNNER_KEYS: dict[str, tuple[type, ...]] = {
    "name": _S,
    "limit": _I,
    "output_limit": _I,
    "request_concurrency": _I,
    "strict_check_interval": _B,
    "unhealthy_requests_limit": _I,
    "unhealthy_interval": (str, int),
    "job_status_final_update_retry_limit": _I,
    "url": _S,
    "id": _I,
    "token": _S,
    "token_obtained_at": (datetime,),
    "token_expires_at": (datetime,),
    "tls-ca-file": _S,
    "tls-cert-file": _S,
    "tls-key-file": _S,
    "executor": _S,
    "builds_dir": _S,
    "cache_dir": _S,
    "clone_url": _S,
    "environment": _L,
    "proxy_exec": _B,
    "pre_get_sources_script": _S,
    "post_get_sources_script": _S,
    "pre_build_script": _S,
    "post_build_script": _S,
    "prepare_timeout": (str, int),
    "get_sources_timeout": (str, int),
    "debug_trace_disabled": _B,
    "safe_directory_checkout": _B,
    "clean_git_config": _B,
    "shell": _S,
    "use_slot_cgroups": _B,
    "slot_cgroup_template": _S,
    "step_runner_image": _S,
    **dict.fromkeys(
        (
            "labels",
            "custom_build_dir",
            "referees",
            "cache",
            "artifact",
            "feature_flags",
            "monitoring",
            "instance",
            "ssh",
            "docker",
            "parallels",
            "virtualbox",
            "machine",
            "kubernetes",
            "custom",
            "autoscaler",
            "experimental",
        ),
        _T,
    ),
}
# The order of the struct's fields, which is the order in the file (common/config.go).
_RUNNER_ORDER = list(RUNNER_KEYS)
_TIME_LINE = re.compile(r"^\s*(token_(?:obtained|expires)_at)\s*=\s*([0-9TtZz:.+\-]+)")
_DURATION = re.compile(r"0|([0-9.]+(ns|us|ms|s|m|h))+")
_RUNNER_HEADER = re.compile(r"^\s*\[\[\s*runners\s*\]\]")


def go_type(types: tuple[type, ...]) -> str:
    """Return the name that Go's decoder has for a type."""
    names = {str: "string", int: "int", bool: "bool", list: "slice", dict: "struct"}
    return names.get(types[0], "time.Time")


class Config:
    """One config.toml as it was read, with times as the text that stood there.

    Times keep their text because the standard library's parser cuts nanoseconds.
    """

    def __init__(self, data: dict[str, Any], mtime_ns: int) -> None:
        self.data = data
        self.mtime_ns = mtime_ns
        self.runners: list[dict[str, Any]] = data.setdefault("runners", [])

    @property
    def concurrent(self) -> int:
        """Return the number of jobs at once."""
        return int(self.data["concurrent"])

    @classmethod
    def load(cls, path: str) -> Config:
        """Read a file; a missing one is an empty configuration."""
        try:
            mtime_ns = os.stat(path).st_mtime_ns
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            return cls({"concurrent": 1}, 0)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"open {path}: {error}") from None
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            words = str(error)
            place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)", words)
            number = place[1] if place and place[1] else len(text.splitlines())
            words = words.replace(place[0], "") if place else words
            raise ConfigError(
                f"decoding configuration file: toml: line {number}: {words}"
            ) from None
        data.setdefault("concurrent", 1)
        cls._check("", data, GLOBAL_KEYS)
        for runner in data.get("runners", []):
            if not isinstance(runner, dict):
                raise ConfigError("decoding configuration file: toml: runners must be tables")
            cls._check("runners.", runner, RUNNER_KEYS)
        cls._keep_time_texts(text, data.get("runners", []))
        return cls(data, mtime_ns)

    def expand(self) -> None:
        """Put in what tokens and addresses name of this process's environment."""
        for runner in self.runners:
            for key in ("token", "url"):
                runner[key] = expand(str(runner.get(key, "")), lambda k: os.environ.get(k, ""))

    @staticmethod
    def _check(prefix: str, table: dict[str, Any], known: dict[str, tuple[type, ...]]) -> None:
        for key, value in table.items():
            types = known.get(key)
            is_bool = isinstance(value, bool)
            if types is None or (isinstance(value, types) and (not is_bool or bool in types)):
                if (
                    types == (str, int)
                    and isinstance(value, str)
                    and not _DURATION.fullmatch(value)
                ):
                    raise ConfigError(
                        f'decoding configuration file: toml: time: invalid duration "{value}"'
                    )
                continue
            raise ConfigError(
                "decoding configuration file: toml: incompatible types: TOML value of "
                f'"{prefix}{key}" has type {type(value).__name__}; '
                f"destination has type {go_type(types)}"
            )
        bad = [item for item in table.get("environment", []) if not isinstance(item, str)]
        if bad:
            raise ConfigError("decoding configuration file: toml: environment must hold strings")

    @staticmethod
    def _keep_time_texts(text: str, runners: list[dict[str, Any]]) -> None:
        index = -1
        for line in text.splitlines():
            if _RUNNER_HEADER.match(line):
                index += 1
            match = _TIME_LINE.match(line)
            if match and 0 <= index < len(runners) and match[1] in runners[index]:
                runners[index][match[1]] = match[2]
        for runner in runners:
            for key in ("token_obtained_at", "token_expires_at"):
                value = runner.get(key)
                if isinstance(value, datetime):
                    runner[key] = value.astimezone(UTC).isoformat().replace("+00:00", "Z")

    def dump(self) -> str:
        """Return the file's text as the daemon writes it: known keys only, no comments."""
        data = {key: value for key, value in self.data.items() if key in GLOBAL_KEYS}
        old = version_tuple() < (18,)
        lines: list[str] = []
        # `register` of 17 writes it, `install` does not (seen: 98 bytes, 17.4 to 19.3).
        if old and self.runners:
            data.setdefault("connection_max_age", "15m0s")
        for key in ("check_interval", "shutdown_timeout"):
            data.setdefault(key, 0)
        order = (
            "listen_address concurrent check_interval log_level log_format user sentry_dsn "
            "connection_max_age shutdown_timeout"
        )
        for key in order.split():
            if key in data:
                lines.append(f"{key} = {toml_value(data[key])}")
        session = {**data.get("session_server", {})}
        session.setdefault("session_timeout", 1800)
        lines += ["", "[session_server]", *toml_table("session_server", session, 1)]
        for key in ("machine", "experimental"):
            if key in data:
                lines += ["", f"[{key}]", *toml_table(key, data[key], 1)]
        for runner in self.runners:
            lines += ["", "[[runners]]", *toml_table("runners", self._written(runner, old), 1)]
        return "\n".join(lines) + "\n"

    @staticmethod
    def _written(runner: dict[str, Any], old: bool) -> dict[str, Any]:
        full = {key: value for key, value in runner.items() if key in RUNNER_KEYS}
        for key, zero in (("name", ""), ("url", ""), ("id", 0), ("token", ""), ("executor", "")):
            full.setdefault(key, zero)
        for key in ("token_obtained_at", "token_expires_at"):
            full[key] = Raw(str(full.get(key, ZERO_TIME)))
        if old:
            full.setdefault("custom_build_dir", {})
        cache = full.setdefault("cache", {})
        full["cache"] = {"MaxUploadedArchiveSize": 0, **cache}
        for name in ("s3", "gcs", "azure"):
            full["cache"].setdefault(name, {})
        return {key: full[key] for key in sorted(full, key=_RUNNER_ORDER.index)}

    def save(self, path: str) -> None:
        """Write the file in place, as the real one does: truncate, write, no second look.

        A reader may see a torn file and what was written since it was read is lost.
        """
        text = self.dump().encode()
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
        # The time of now, not the file's: an older file that is put there is never loaded.
        self.mtime_ns = time.time_ns()


def warn_of_long_polling(config: Config) -> None:
    """Say at each load what may delay jobs while GitLab holds requests for one (from 18.4 on)."""
    issues = []
    count = len(config.runners)
    if config.concurrent < count:
        issues.append(
            f"  - Worker starvation: {count} runners, but concurrent={config.concurrent}: runners "
            "wait for a worker that holds another's request"
        )
    ones = sum(1 for runner in config.runners if int(runner.get("request_concurrency") or 1) == 1)
    if ones:
        issues.append(
            f"  - Request bottleneck: {ones} runners have request_concurrency=1, causing job "
            "delays during long polling"
        )
    if version_tuple() < (18, 4) or not issues:
        return
    lines = (
        "CONFIGURATION: Long polling issues detected.",
        "Issues found:",
        *issues,
        "This can cause job delays matching your GitLab instance's long polling timeout.",
        "Recommended solutions:",
        "  1. Increase 'concurrent' and set 'request_concurrency' to 2-4",
        "This message will be printed each time the configuration is reloaded if the issues "
        "persist.",
        f"See documentation: {LONG_POLLING}#long-polling-issues",
    )
    log.warning("\n".join(lines))
