# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the role gitlab_runner: validated, and as typed settings.

Validation asks neither the host nor GitLab.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import is_version
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import unfit
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _env_file,
    _isolated,
    _job_user,
    _runner_lists,
    _runner_validation,
    _tokens,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import (
    VARIABLE,
    Service,
    leaving_services,
    services,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._variables import misread

LATEST = "latest"


@dataclass(frozen=True)
class Paths:
    """Paths of the role's files that the plan reads.

    Attributes:
        sources: apt's source file with the package repository.
        preferences: apt's pin of the packages.
        logind: the drop-in of logind.
        machine: which host of the inventory this machine is.
        job_users: the groups that the inventory has given to job users.
    """

    sources: str
    preferences: str
    logind: str
    machine: str
    job_users: str


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which packages, and from where.

    Attributes:
        version: of the packages, or ``latest``.
        allow_downgrade: whether the version may go down.
        newest: whether ``latest`` means the repository's newest even where a runner is installed.
        url: the package repository.
        suite: its suite.
        components: its components.
    """

    version: str
    allow_downgrade: bool
    newest: bool = False
    url: str
    suite: str
    components: tuple[str, ...]

    @property
    def pattern(self) -> str:
        """What dpkg's version has to match; empty for any."""
        if self.version == LATEST:
            return ""
        return self.version if "-" in self.version else f"{self.version}-*"


def wanted_of(args: Mapping[str, Any]) -> Wanted:
    """From the arguments of an action, ``version``, ``url`` and so on."""
    return Wanted(
        version=str(args["version"]),
        allow_downgrade=bool(args["allow_downgrade"]),
        newest=bool(args.get("newest")),
        url=str(args["url"]),
        suite=str(args["suite"]),
        components=tuple(str(component) for component in args["components"]),
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the inventory says of a host's runners, validated.

    Attributes:
        host: the host's name in the inventory.
        gitlab_url: the GitLab of runners that name none.
        services: those that the host is to have.
        path: what their jobs find programs in, before the system's folders.
        leaving: isolated ones that are to leave.
        wanted: which packages.
        gives_up: whether an upgrade gives up if jobs run at its deadline.
        image: whether an image is being made.
        kill_leftover_processes: whether logind kills what jobs leave.
        user_manager: whether job users keep their systemd manager.
        job_limits: of all jobs together, by systemd's names.
        least_free: percent of space and of inodes below which the runner is paused.
        paths: where things lie on the host.
    """

    host: str
    gitlab_url: str
    services: tuple[Service, ...]
    path: tuple[str, ...]
    leaving: tuple[Service, ...]
    wanted: Wanted
    gives_up: bool
    image: bool
    kill_leftover_processes: bool
    user_manager: bool
    job_limits: Mapping[str, Any]
    least_free: tuple[int, int]
    paths: Paths

    @property
    def known_names(self) -> set[str]:
        """The isolated runners that the inventory names, those that are to leave among them."""
        return {one.name for one in (*self.services, *self.leaving)}


def settings_of(args: Mapping[str, Any], host: str) -> Settings:
    """The settings that validated arguments of `runner_plan` stand for."""
    free = args.get("limits_and_cleanup") or {}
    return Settings(
        host=host,
        gitlab_url=str(args["gitlab_url"]),
        services=tuple(services(args)),
        path=tuple(map(str, args["path"])),
        leaving=tuple(leaving_services(args)),
        wanted=wanted_of(args),
        gives_up=args.get("at_deadline") != "go_on",
        image=bool(args.get("image")),
        kill_leftover_processes=bool(args["kill_leftover_processes"]),
        user_manager=bool(args["user_manager"]),
        job_limits=free.get("job_limits") or {},
        least_free=(
            int(free.get("min_free_space_percent") or 0),
            int(free.get("min_free_inodes_percent") or 0),
        ),
        paths=Paths(**args["paths"]),
    )


# --- validation ----------------------------------------------------------------------------------


def problems(args: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the role's variables."""
    return [
        *_main_problems(args),
        *_repository_problems(args),
        *limit_and_cleanup_problems(args.get("limits_and_cleanup", {})),
        *_env_file.problems(
            "gitlab_runner_environment", args["environment"], args.get("environment_allowed") or []
        ),
        *misread("gitlab_runner_environment", args["environment"]),
        *_runner_validation.settings_problems("gitlab_runner_settings", args["settings"]),
        *_job_user.problems("", {**_job_user.DEFAULTS, **args}),
        *_isolated.problems(args),
        *_runner_lists.url_problems("gitlab_runner_url", args["gitlab_url"]),
        *_entries_problems(args),
        *_api_problems(args),
    ]


def _main_problems(args: Mapping[str, Any]) -> Iterator[str]:
    """The package's own service."""
    user, timeout, concurrent = args["user"], args["stop_timeout"], args["concurrent"]
    if not _isolated.USER.match(str(user)):
        yield (
            f"gitlab_runner_user: invalid value {user!r}; expected a Unix user name: "
            "lower case letters, digits, - and _"
        )
    for name in ("home", "pip_cache_dir"):
        value = args[name]
        if not _isolated.FOLDER.match(str(value)) or ".." in str(value).split("/"):
            yield f"gitlab_runner_{name}: invalid value {value!r}; expected an absolute path"
    if str(user) == "root":
        yield "gitlab_runner_user: invalid value 'root'; jobs must not run as root"
    if not re.fullmatch(r"00[0-7]{2}", str(args["umask"])):
        yield (
            f"gitlab_runner_umask: invalid value {args['umask']!r}; "
            "expected four octal digits, quoted, of which the second, the job user's own, is 0"
        )
    if not isinstance(timeout, int) or timeout < 1:
        yield f"gitlab_runner_stop_timeout: invalid value {timeout!r}; expected seconds, 1 or more"
    if not isinstance(concurrent, int) or isinstance(concurrent, bool) or concurrent < 1:
        # A running daemon that reads concurrent = 0 exits and takes its jobs along.
        yield (
            f"gitlab_runner_concurrent: invalid value {concurrent!r}; "
            "expected a whole number of 1 or more"
        )
    if not isinstance(args["path"], list):
        yield f"gitlab_runner_path: {unfit(args['path'])}; expected a list"
        return
    for index, folder in enumerate(args["path"]):
        if not _isolated.FOLDER.match(str(folder)):
            yield (
                f"gitlab_runner_path[{index}]: invalid value {folder!r}; "
                "expected an absolute path without "
                "blanks, colons, quotes or $"
            )


def _repository_problems(args: Mapping[str, Any]) -> Iterator[str]:
    """The packages and where they come from."""
    version, url, suite = str(args["version"]), str(args["url"]), str(args["suite"])
    if version != LATEST and not is_version(version):
        yield (
            f"gitlab_runner_version: invalid value {args['version']!r}; "
            "expected a version such as 18.5.0 "
            "or 18.5.0-1, or latest"
        )
    if not isinstance(args["components"], list):
        yield (f"gitlab_runner_repository_components: {unfit(args['components'])}; expected a list")
    if not re.fullmatch(r"https?://[^\s/@]+(?:/\S*)?", url):
        shown = repr(url) if "@" not in url else "(hidden)"
        yield (
            f"gitlab_runner_repository_url: invalid value {shown}; expected an http(s) address "
            "without a password"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", suite):
        yield (
            f"gitlab_runner_repository_suite: invalid value {suite!r}; "
            "expected a suite such as jammy"
        )


def _entries_problems(args: Mapping[str, Any]) -> list[str]:
    """The runners of all services."""
    isolated = args.get("isolated")
    lists = {
        f"{VARIABLE}[{index}].runners": entry.get("runners")
        for index, entry in enumerate(isolated if isinstance(isolated, list) else [])
        if isinstance(entry, dict) and entry.get("state", "present") != "absent"
    }
    return _runner_lists.entries_problems(
        args["gitlab_url"],
        {"gitlab_runner_runners": args["runners"], **lists},
        args.get("api_token"),
        args.get("environment_allowed") or [],
    )


def _api_problems(args: Mapping[str, Any]) -> Iterator[str]:
    """What GitLab's API is asked with."""
    if args.get("api_token"):
        yield from _tokens.access_problems("gitlab_runner_api_token", args["api_token"])
    proxy = str(args.get("api_proxy") or "")
    if proxy and not re.fullmatch(r"https?://[^\s/@]+", proxy):
        shown = repr(proxy) if "@" not in proxy else "(hidden)"
        yield f"gitlab_runner_api_proxy: invalid value {shown}; expected http://HOST:PORT"


_SHARE = r"(?:100|[1-9]\d?)%"
_WEIGHT = r"10000|[1-9]\d{0,3}"
_SIZE = (rf"\d+[KMGT]?|{_SHARE}|infinity", "a size such as 8G or 80%, or infinity")
_LIMITS = {
    "MemoryMax": _SIZE,
    "MemoryHigh": _SIZE,
    "MemorySwapMax": _SIZE,
    "CPUQuota": (r"[1-9]\d*%", "a share such as 200% (two CPUs)"),
    "CPUWeight": (rf"{_WEIGHT}|idle", "a number from 1 to 10000, or idle"),
    "IOWeight": (_WEIGHT, "a number from 1 to 10000"),
    "TasksMax": (
        rf"[1-9]\d*|{_SHARE}|infinity",
        "a number such as 4096, a share such as 80%, or infinity",
    ),
}
"""systemd's settings for a slice, and what each takes (systemd.resource-control).

systemd itself ignores a value that it cannot read, with a line in the journal.
"""
_LEAST_MEMORY = 64 << 20
"""Bytes: with less no shell of a job starts, and a number without its unit was meant otherwise."""
_LEAST_JOURNAL = 1 << 20
_NUMBERS = {
    **dict.fromkeys(("builds_max_age_days", "cache_max_age_days", "temporary_max_age_days"), 36500),
    **dict.fromkeys(("min_free_space_percent", "min_free_inodes_percent"), 90),
}
"""The most that each takes."""


def limit_and_cleanup_problems(limits_and_cleanup: Mapping[str, Any]) -> list[str]:
    """What is wrong with limits, ages and thresholds."""
    found = _limit_problems(limits_and_cleanup.get("job_limits", {}))
    for name, most in _NUMBERS.items():
        value = limits_and_cleanup.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            found.append(
                f"gitlab_runner_{name}: invalid value {value!r}; expected a number of 0 to {most}"
            )
    file = str(limits_and_cleanup.get("metrics_file") or "")
    if file and not re.fullmatch(r"/[^\s\"\\]+\.prom", file):
        found.append(
            f"gitlab_runner_metrics_file: invalid value {file!r}; "
            "expected an absolute path that ends in .prom"
        )
    size = str(limits_and_cleanup.get("journal_max_use") or "")
    if size and (_bytes(size) or 0) < _LEAST_JOURNAL:
        found.append(
            f"gitlab_runner_journal_max_use: invalid value {size!r}; "
            "expected a size such as 1G, or nothing"
        )
    return found


def _limit_problems(limits: Any) -> list[str]:
    if not isinstance(limits, Mapping):
        return ["gitlab_runner_job_limits takes a mapping such as {MemoryMax: 8G}"]
    found = []
    for name, value in limits.items():
        if name not in _LIMITS:
            found.append(
                f"gitlab_runner_job_limits: unknown limit {name!r}; it takes {', '.join(_LIMITS)}"
            )
        elif not re.fullmatch(_LIMITS[name][0], str(value)):
            found.append(
                f"gitlab_runner_job_limits.{name}: invalid value {value!r}; "
                f"expected {_LIMITS[name][1]}"
            )
    sizes = {name: _bytes(str(limits.get(name))) for name in ("MemoryMax", "MemoryHigh")}
    for name, size in sizes.items():
        if size is not None and size < _LEAST_MEMORY:
            found.append(
                f"gitlab_runner_job_limits.{name}: invalid value {limits[name]!r}, which is {size} "
                "bytes; expected at least 64M"
            )
    most, high = sizes["MemoryMax"], sizes["MemoryHigh"]
    if most is not None and high is not None and high > most >= _LEAST_MEMORY:
        found.append(
            f"gitlab_runner_job_limits.MemoryHigh: invalid value {limits['MemoryHigh']!r}; "
            f"expected at most MemoryMax, {limits['MemoryMax']!r}, above which it has no effect"
        )
    return found


def limits_beyond(limits: Mapping[str, Any], cpus: int, memory: int) -> Iterator[str]:
    """Limits that the host cannot reach, which have no effect.

    Args:
        limits: systemd's settings.
        cpus: the host's.
        memory: the host's, in bytes.
    """
    for name in ("MemoryMax", "MemoryHigh"):
        size = _bytes(str(limits.get(name)))
        if size and 0 < memory < size:
            yield (
                f"gitlab_runner_job_limits.{name}: {limits[name]} is more than the host's memory, "
                f"{memory >> 20}M: it has no effect"
            )
    quota = re.fullmatch(r"(\d+)%", str(limits.get("CPUQuota")))
    if quota and int(quota[1]) > 100 * cpus:
        yield (
            f"gitlab_runner_job_limits.CPUQuota: {quota[0]} is more than all of the host's CPUs, "
            f"{100 * cpus}%: it has no effect"
        )


def _bytes(size: str) -> int | None:
    """A size of systemd's in bytes, whose units are powers of 1024; None for anything else."""
    match = re.fullmatch(r"(\d+)([KMGTPE]?)", size)
    return int(match[1]) << (10 * " KMGTPE".index(match[2] or " ")) if match else None
