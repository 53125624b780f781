# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of jobs that must not be theirs alone, or hold what must not be removed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import Service

# hier(7): the toolkit gives a folder of jobs to the job user, and shuts others out of it.
SYSTEM = frozenset(
    [
        "/",
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/home",
        "/lib",
        "/lib64",
        "/media",
        "/mnt",
        "/opt",
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/snap",
        "/srv",
        "/sys",
        "/tmp",
        "/usr",
        "/usr/bin",
        "/usr/lib",
        "/usr/local",
        "/usr/local/bin",
        "/usr/local/lib",
        "/usr/share",
        "/usr/src",
        "/var",
        "/var/backups",
        "/var/cache",
        "/var/lib",
        "/var/local",
        "/var/log",
        "/var/mail",
        "/var/opt",
        "/var/spool",
        "/var/tmp",
    ]
)


def problems(services: Iterable[Service]) -> list[str]:
    """What is wrong with the folders of services, one message each."""
    found: list[str] = []
    for service in services:
        found += _shared_with_the_system(service)
        found += _in_a_cache(service)
    return found


def _shared_with_the_system(service: Service) -> Iterator[str]:
    for label, path in _named(service):
        if os.path.normpath(path) in SYSTEM:
            example = f"{os.path.normpath(path).rstrip('/')}/{service.user}"
            yield (
                f"{label}: invalid value {path!r}, which is the system's: it would belong to "
                f"{service.user} alone; expected a folder of its own, such as {example}"
            )


def _in_a_cache(service: Service) -> Iterator[str]:
    """Old files of caches are removed, whatever they are."""
    caches = [(label, path) for label, path in _named(service) if "cache_dir" in label]
    kept = [(service.variable("home"), service.home), *_named(service, "builds_dir")]
    for label, cache in caches:
        for other, path in kept:
            if f"{os.path.normpath(path)}/".startswith(f"{os.path.normpath(cache)}/"):
                yield (
                    f"{label}: invalid value {cache!r}, in which {path} ({other}) lies: "
                    "old files of a cache are removed (gitlab_runner_cache_max_age_days); expected "
                    "a folder beside it"
                )


def _named(service: Service, *keys: str) -> Iterator[tuple[str, str]]:
    """The folders that the inventory names, each with its variable."""
    if not keys:
        yield service.variable("home"), service.home
        yield service.variable("pip_cache_dir"), service.pip_cache_dir
    for runner in service.present:
        for key in keys or ("builds_dir", "cache_dir"):
            if runner.get(key):
                yield f"{service.variable('runners')} ({runner['name']}).{key}", str(runner[key])
