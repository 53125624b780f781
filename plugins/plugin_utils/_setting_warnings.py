# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user should know of the settings of runners that are allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import (
    EXECUTOR_TABLES,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import Service, present


def warnings(found: Iterable[Service]) -> list[str]:
    """What the user should know of settings that are allowed."""
    listed = list(found)
    return [
        *open_addresses(listed),
        *too_few_jobs(listed),
        *other_executors(listed),
        *environment_values(listed),
        *limits_without_effect(listed),
    ]


BETTER = {
    "PIP_CACHE_DIR": "gitlab_runner_pip_cache_dir",
    **dict.fromkeys(("http_proxy", "HTTP_PROXY"), "network_access_http_proxy"),
    **dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "network_access_https_proxy"),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "network_access_no_proxy"),
}
"""Names of the environment that have a variable of their own."""


def environment_values(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for values that only a shell would change, and for names with a better variable.

    systemd replaces nothing in them (systemd.exec(5), EnvironmentFile=).
    """
    for service in found:
        for name, value in service.environment.items():
            if re.match(r"~(?:/|\Z)|.*\$(?:[A-Z_]|\{[A-Z_]|\()", str(value)):
                yield (
                    f"{service.variable('environment')}.{name}: the value is taken as it is: no "
                    "shell replaces $NAME, $(COMMAND) or ~ in it; write what it stands for"
                )
            if name in BETTER:
                yield (
                    f"{service.variable('environment')}.{name}: set {BETTER[name]} instead, which "
                    "the toolkit itself uses too"
                )


def open_addresses(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for metrics that others reach."""
    for service in found:
        address = str(service.settings.get("listen_address") or "")
        if address and not re.match(r"127\.|\[::1\]|localhost\b", address):
            yield (
                f"{service.variable('settings')}.listen_address is {address!r}: the runner's "
                "metrics and its debugging pages are open to whoever reaches that; 127.0.0.1:9252 "
                "is safe"
            )


def too_few_jobs(found: Iterable[Service]) -> list[str]:
    """Warnings for services whose ``concurrent`` is below their runners: those wait for each other.

    A runner's question for a job counts as one of ``concurrent``, and GitLab may hold it for 50 s;
    gitlab-runner 18.4 and later warns of it at each load ("Worker starvation").
    """
    return [
        f"{service.variable('concurrent')}: {service.concurrent} is less than the number of "
        f"runners, {count}: each waits while another one asks GitLab for a job, up to 50 s; set "
        f"it to {count} or more"
        for service in found
        if service.concurrent < (count := len(service.present))
    ]


def limits_without_effect(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for runners that may have more jobs than their service."""
    for service in found:
        for index, runner in enumerate(service.runners):
            limit = runner.get("limit")
            if present([runner]) and isinstance(limit, int) and limit > service.concurrent:
                yield (
                    f"{service.variable('runners')}[{index}] ({runner['name']}).limit: {limit} is "
                    f"more than {service.variable('concurrent')}, {service.concurrent}, which is "
                    "for all runners of the service: it has no effect"
                )


def other_executors(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for executors that the toolkit does not prepare, and for tables of them unused.

    No refusals: a host that was set up manually keeps what it has.
    """
    for service in found:
        for index, runner in enumerate(service.runners):
            if not present([runner]):
                continue
            at = f"{service.variable('runners')}[{index}] ({runner['name']})"
            executor = str(runner.get("executor", "shell"))
            if executor != "shell":
                yield (
                    f"{at}.executor is {executor!r}: the toolkit prepares and checks a host for "
                    "the executor shell alone"
                )
            unused = [
                k for k, of in EXECUTOR_TABLES.items() if runner.get(k) and executor not in of
            ]
            if unused:
                yield (
                    f"{at}: {', '.join(unused)}: no effect with the executor {executor}; remove "
                    "what is not meant, or set executor"
                )
