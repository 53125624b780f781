# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user should know of the settings of runners that are allowed."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import (
    EXECUTOR_TABLES,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import Service, present

SHORT_STOP = 600
"""Seconds: the jobs of most projects last longer than less."""
SHORT_LOG = 64
"""Kilobytes: a build of a C extension alone writes more."""


LONG_INTERVAL = 60
"""Seconds; the runner's own default is 3."""
PUBLISH_TAG = "publish"
"""The default of the release pipeline's input publish_tags."""


ROOT_GROUPS = frozenset(("docker", "lxd", "libvirt", "disk"))
"""Groups that lead to root by what their members may ask of a daemon or a device."""


def warnings(found: Iterable[Service], stop_timeout: int = SHORT_STOP) -> list[str]:
    """What the user should know of settings that are allowed.

    Args:
        found: the services.
        stop_timeout: the seconds that systemd gives each to stop.
    """
    listed = list(found)
    return [
        *open_addresses(listed),
        *too_few_jobs(listed),
        *other_executors(listed),
        *environment_values(listed),
        *limits_without_effect(listed),
        *void_isolation(listed),
        *lost_variables(listed),
        *idle_runners(listed),
        *limits_below(listed),
        *slow_questions(listed),
        *open_publishers(listed),
        *short_logs(listed),
        *without_runners(listed),
        *short_stops(listed, stop_timeout),
    ]


BETTER = {
    "PIP_CACHE_DIR": "gitlab_runner_pip_cache_dir",
    **dict.fromkeys(("http_proxy", "HTTP_PROXY"), "network_access_http_proxy"),
    **dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "network_access_https_proxy"),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "network_access_no_proxy"),
}
"""Names of the environment that have a variable of their own."""


HARMFUL = {
    **dict.fromkeys(
        ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "VIRTUAL_ENV"),
        "breaks pip in the virtual environment of every job; leave it out",
    ),
    "GIT_SSL_NO_VERIFY": "switches the check of certificates off for every job; leave it out, and "
    "name a private CA in network_access_ca_certificates",
}
"""Names of the environment that no job profits from."""


def environment_values(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for values that only a shell would change, and for names with a better variable.

    systemd replaces nothing in them (systemd.exec(5), EnvironmentFile=).
    """
    for service in found:
        for name, value in service.environment.items():
            if re.match(r"~(?:/|\Z)|.*\$(?!ORIGIN\b|\{ORIGIN\})(?:[A-Z_]|\{[A-Z_]|\()", str(value)):
                yield (
                    f"{service.variable('environment')}.{name}: the value is taken as it is: no "
                    "shell replaces $NAME, $(COMMAND) or ~ in it; write what it stands for"
                )
            if name == "TZ" and re.fullmatch(r"[A-Z]\w+/\S+", str(value)):
                zones = zoneinfo.available_timezones()
                near = difflib.get_close_matches(str(value), zones, n=1)
                if zones and value not in zones:
                    yield (
                        f"{service.variable('environment')}.TZ: there is no time zone {value}, and "
                        "jobs would have UTC" + (f"; did you mean {near[0]}?" if near else "")
                    )
            if name in HARMFUL:
                yield f"{service.variable('environment')}.{name}: {HARMFUL[name]}"
            if re.search("[\u2018\u2019\u201c\u201d\u201e]", str(value)):
                yield (
                    f"{service.variable('environment')}.{name}: has typographic quotes, which are "
                    "part of the value for every program; write plain ones, or none"
                )
            if name in BETTER:
                yield (
                    f"{service.variable('environment')}.{name}: set {BETTER[name]} instead, which "
                    "the toolkit itself uses too"
                )


def open_addresses(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for metrics on all addresses of the host; one that is named is meant."""
    for service in found:
        address = str(service.settings.get("listen_address") or "")
        if re.match(r"(?:0\.0\.0\.0|\[::\])?:\d", address):
            yield (
                f"{service.variable('settings')}.listen_address is {address!r}: the runner's "
                "metrics and its debugging pages are open to whoever reaches the host; name an "
                "address that your monitoring alone reaches, such as 127.0.0.1:9252"
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


def short_stops(found: Iterable[Service], seconds: int) -> list[str]:
    """A warning if systemd would end jobs that are not over."""
    longest = max(
        (
            int(gitlab.get("maximum_timeout") or 0)
            for service in found
            for runner in service.present
            if isinstance(gitlab := runner.get("gitlab"), Mapping)
        ),
        default=0,
    )
    if seconds >= max(SHORT_STOP, longest):
        return []
    if seconds >= SHORT_STOP:
        return [
            f"gitlab_runner_stop_timeout: {seconds} seconds are less than gitlab.maximum_timeout, "
            f"{longest}: a job that is not over by then is killed when the host shuts down or "
            "somebody stops the service"
        ]
    return [
        f"gitlab_runner_stop_timeout: {seconds} are seconds: a job that is not over by then is "
        "killed when the host shuts down or somebody stops the service; give it the length of "
        "your longest job"
    ]


def void_isolation(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for groups whose members are root on a host with isolated runners."""
    services = list(found)
    for service in services if any(one.isolated for one in services) else ():
        for group in sorted(ROOT_GROUPS & {*service.groups}):
            yield (
                f"{service.variable('groups')}: who is in the group {group} may become root by it: "
                "jobs can read the files and tokens of the isolated runners; leave it out, or give "
                "such jobs a host of their own"
            )


def lost_variables(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for names that GitLab replaces in a runner's environment, most likely by nothing.

    GitLab's own and those of the same list are meant (gitlab-runner, common/variables.go, Expand).
    """
    for service in found:
        for index, runner in enumerate(service.runners):
            lines = [str(line) for line in runner.get("environment") or ()]
            own = {line.partition("=")[0] for line in lines}
            for line in lines if present([runner]) else ():
                named = re.findall(r"\$\{?([A-Za-z_]\w*)", line.partition("=")[2].replace("$$", ""))
                for name in dict.fromkeys(named):
                    if name not in own and not re.match(r"(?:CI|GITLAB|FF|RUNNER)_|CI\Z", name):
                        yield (
                            f"{service.variable('runners')}[{index}] ({runner['name']})"
                            f".environment: ${name} in {line.partition('=')[0]} is replaced by the "
                            f"job's variable of this name, and by nothing without one; write "
                            f"$${name} to keep it"
                        )


def idle_runners(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for runners that GitLab gives no jobs, or none of merge requests."""
    for service in found:
        told = [one["gitlab"] for one in service.present if isinstance(one.get("gitlab"), Mapping)]
        for index, runner in enumerate(service.runners):
            gitlab = runner.get("gitlab")
            if present([runner]) and isinstance(gitlab, Mapping) and gitlab.get("paused"):
                yield (
                    f"{service.variable('runners')}[{index}] ({runner['name']}).gitlab.paused is "
                    "true: GitLab gives it no jobs"
                )
        # A host for uploads alone is meant so.
        closed = [
            one
            for one in told
            if one.get("access_level") == "ref_protected"
            and PUBLISH_TAG not in (one.get("tag_list") or [])
        ]
        if told and not service.isolated and len(closed) == len(service.present):
            yield (
                f"{service.variable('runners')}: each has access_level: ref_protected: jobs of "
                "merge requests and of branches that are not protected find no runner here"
            )


def limits_below(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for services whose runners may have fewer jobs than the service."""
    for service in found:
        limits = [int(runner.get("limit") or 0) for runner in service.present]
        if limits and all(limits) and sum(limits) < service.concurrent:
            yield (
                f"{service.variable('concurrent')}: {service.concurrent} is more than the limit of "
                f"all runners together, {sum(limits)}: no more jobs run at once; raise limit, or "
                "lower it"
            )


def slow_questions(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for services that ask for jobs seldom."""
    for service in found:
        seconds = service.settings.get("check_interval")
        if isinstance(seconds, int) and seconds > LONG_INTERVAL:
            yield (
                f"{service.variable('settings')}.check_interval: {seconds} are seconds: each job "
                "may wait that long before it starts"
            )


def open_publishers(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for isolated runners with the tag of uploads that take jobs of any branch."""
    for service in found:
        for index, runner in enumerate(service.runners):
            gitlab = runner.get("gitlab")
            if not service.isolated or not present([runner]) or not isinstance(gitlab, Mapping):
                continue
            tags = gitlab.get("tag_list") or []
            missing = []
            if gitlab.get("access_level") != "ref_protected":
                missing.append("access_level: ref_protected")
            if gitlab.get("run_untagged"):
                missing.append("run_untagged: false")
            if PUBLISH_TAG in tags and missing:
                yield (
                    f"{service.variable('runners')}[{index}] ({runner['name']}).gitlab: a runner "
                    f"with the tag {PUBLISH_TAG} takes jobs of any branch, which could take the "
                    f"tokens of uploads; set {' and '.join(missing)}"
                )


def short_logs(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for job logs that end early; the runner takes kilobytes."""
    for service in found:
        for index, runner in enumerate(service.runners):
            most = runner.get("output_limit")
            if present([runner]) and isinstance(most, int) and 0 < most < SHORT_LOG:
                yield (
                    f"{service.variable('runners')}[{index}] ({runner['name']}).output_limit: "
                    f"{most} are kilobytes: the log of a job is cut off there; the default is 4096"
                )


def without_runners(found: Iterable[Service]) -> Iterator[str]:
    """Warnings for services that have nothing to do."""
    services = list(found)
    for service in services:
        if service.isolated and not service.present:
            yield f"{service.variable('runners')}: empty: this service takes no jobs"
    if not any(service.present for service in services):
        yield "gitlab_runner_runners: empty: this host takes no jobs"


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
