# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host cannot have the runners that the inventory names for it, and what to know of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_processes
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import OTHER_BINARY
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import digest
from ansible_collections.runnerhost.toolkit.plugins.module_utils._systemd import masked
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _job_user
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_host import (
    HostFacts,
    state_of,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_settings import (
    Settings,
    limits_beyond,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_state import (
    parse_state,
    state_entries,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_versions import Packages

OWN_ID = (
    "on the copy, rm /etc/machine-id /etc/gitlab-runner/.runner_system_id, then "
    "systemd-machine-id-setup, and reboot when no job runs"
)
# Those that Ubuntu's and other distributions' sudoers let do everything.
SUDO_GROUPS = frozenset(("sudo", "admin", "wheel"))
IMAGE_REASON = "an image is made of a machine without runners"
UPGRADE_REASON = "an upgrade replaces the binary of its jobs, and waits for their end"


JOBS_PER_CPU = 8
"""More compile at the same time to nobody's use."""


def host_problems(
    settings: Settings, facts: HostFacts, build_tools: Sequence[str]
) -> tuple[list[str], set[str]]:
    """Why the host cannot have these services, and the groups that this run creates.

    Args:
        settings: the inventory's.
        facts: the host's.
        build_tools: the packages of the role build_tools, which may bring a group.
    """
    found = masked(facts.units)
    brought: set[str] = set()
    for service in settings.services:
        found += _job_user.account_problems(service, facts.accounts.get(service.user))
        lacking = [group for group in service.groups if group in facts.missing_groups]
        new, refused = _job_user.new_groups(service.variable("groups"), lacking, build_tools)
        brought |= {*new}
        found += refused
    found += facts.problems
    found += exchanged(settings, facts)
    if settings.kill_leftover_processes and facts.logind_undone_by:
        found.append(
            f"{facts.logind_undone_by}: KillUserProcesses=no, read after {settings.paths.logind}, "
            "would undo gitlab_runner_kill_leftover_processes; remove this setting"
        )
    if facts.kinds.get(OTHER_BINARY, "absent") != "absent":
        found.append(
            f"the host has another runner at {OTHER_BINARY}, which the package's script "
            "would start in place of its own: stop its service when no job runs, and "
            "move it away"
        )
    return found, brought


def other_runner_problems(settings: Settings, facts: HostFacts, packages: Packages) -> list[str]:
    """Why runners that the toolkit does not manage are in the way."""
    daemons = facts.daemons["daemons"]
    found = []
    if settings.image:
        stands, __ = _runner_processes.in_the_way(daemons, "refuse")
        found += _runner_processes.refusal(stands, IMAGE_REASON)
    if packages.upgrade and settings.gives_up:
        stands, __ = _runner_processes.in_the_way(daemons, "wait")
        found += _runner_processes.refusal(stands, UPGRADE_REASON)
    return found


def host_warnings(settings: Settings, facts: HostFacts) -> list[str]:
    """What the user should know of the host."""
    note = facts.texts.get(settings.paths.machine, "")
    return [
        *(
            f"the host has the isolated runner {name!r}, which gitlab_runner_isolated does not "
            "name: it goes on taking jobs, without the umask, the cleanup and the disk watch of "
            "the others; list it, or take it away with the entry "
            f"{{name: {name}, state: absent}}"
            for name in facts.isolated
            if name not in settings.known_names
        ),
        *_runner_processes.warnings(facts.daemons),
        *facts.cautions,
        *limits_beyond(settings.job_limits, facts.cpus, facts.memory),
        *(
            f"{service.variable('concurrent')}: {service.concurrent} jobs at once are many for the "
            f"host's {facts.cpus} CPUs"
            for service in settings.services
            if service.concurrent > JOBS_PER_CPU * facts.cpus
        ),
        *(
            [
                f"{facts.full_disk} (gitlab_runner_min_free_space_percent, "
                "gitlab_runner_min_free_inodes_percent): the runner takes no jobs until more is "
                "free"
            ]
            if facts.full_disk
            else []
        ),
        *(
            f"{service.user}, the user of jobs, may become root by sudo, and with it whoever can "
            "push to a project of this runner; take away its group or rule that allows it"
            for service in settings.services
            if (facts.accounts.get(service.user) or {}).get("may_be_root")
            or {*service.groups} & SUDO_GROUPS
        ),
        *copied(note, settings.host, facts.machine),
        *renamed(note, settings, facts.machine),
        *moved_users(settings, facts),
    ]


def exchanged(settings: Settings, facts: HostFacts) -> Iterator[str]:
    """Tokens that the host knows as those of another entry of the inventory.

    A renamed entry keeps its token, and its former name is no entry any more.
    """
    known = {
        entry.token_sha256: (service.folder, entry.name)
        for service in settings.services
        for entry in state_entries(parse_state(facts.texts.get(state_of(service), "")))
    }
    entries = {
        (service.folder, str(runner["name"])): f"{service.variable('runners')} ({runner['name']})"
        for service in settings.services
        for runner in service.present
    }
    for service in settings.services:
        for runner in service.present:
            mine = (service.folder, str(runner["name"]))
            token = str(runner.get("token") or "")
            other = known.get(digest(token)) if token else None
            if other and other != mine and other in entries:
                yield (
                    f"{entries[mine]}.token: the host has this token for {entries[other]}: are the "
                    "tokens of the two exchanged?"
                )


def moved_users(settings: Settings, facts: HostFacts) -> Iterator[str]:
    """Warnings of services whose jobs ran as another user until now."""
    for service in settings.services:
        text = facts.texts.get(service.drop_in)
        if text is None:
            continue
        named = re.search(r"^ExecStart=.* --user (\S+)", text, re.M)
        before = named[1] if named else service.service
        if before != service.user:
            yield (
                f"{service.variable('user')}: jobs ran as {before} until now; its home stays with "
                "its builds, its caches and what .netrc and .pypirc in it hold: remove it once no "
                "job needs it"
            )


def renamed(noted: str, settings: Settings, machine: str) -> Iterator[str]:
    """A warning that GitLab knows runners by the host's former name."""
    before = provisioned_as(noted, machine)
    names = [
        str(runner["name"])
        for service in settings.services
        for runner in service.present
        if runner.get("gitlab") is not None
        and not runner.get("token")
        and "id" not in runner["gitlab"]
    ]
    if before not in ("", settings.host) and names:
        yield (
            f"{', '.join(names)}: GitLab has the runners that were created for {before} under that "
            "name, and new ones are made for the new one, while the old ones go on taking jobs "
            "here; to keep them, give each entry the gitlab.id that config.toml has for it"
        )


def provisioned_as(noted: str, machine: str) -> str:
    """The host of the inventory that this machine was when it was provisioned last; else empty."""
    try:
        note = json.loads(noted or "{}")
        return str(note["host"]) if note["machine"] == machine else ""
    except (ValueError, KeyError, TypeError):
        return ""


def twin_problems(host: str, before: str, here: str, there: str) -> list[str]:
    """A refusal of a machine that is listed under two names.

    Args:
        host: the name in this run.
        before: its name when it was provisioned last.
        here, there: the addresses of both.
    """
    if before == host or here != there:
        return []
    return [
        f"{host}: this machine was provisioned as {before}, and the inventory has both names with "
        f"the address {here}; keep one of them"
    ]


def copied(noted: str, host: str, machine: str) -> list[str]:
    """A warning if the machine was another host of the inventory when it was provisioned last."""
    try:
        note = json.loads(noted or "{}")
        before, same = str(note["host"]), note["machine"] == machine
    except (ValueError, KeyError, TypeError):
        return []
    if before == host:
        return []
    if same:
        return [
            f"this machine was provisioned as {before}, and its machine id is the same still. If "
            f"{before} was renamed in the inventory, all is well. If this is a copy of it, GitLab "
            f"takes both for one host: {OWN_ID}"
        ]
    return [
        f"this machine is a copy of {before}, with a machine id of its own. If GitLab shows one "
        "host for both: rm /etc/gitlab-runner/.runner_system_id on the copy, and restart its "
        "runner when no job runs"
    ]
