# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab Runner daemons of a host that the toolkit does not manage: what they mean for it.

Runs on the hosts and on the controller: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from typing import TypedDict

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _drain,
    _runner_facts,
    _runner_search,
    _secrets,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import (
    DROP_INS,
    names_of,
    place,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_search import (
    Daemon,
    Process,
)

BUSY, IDLE, UNKNOWN = "busy", "idle", "unknown"


class Report(TypedDict):
    """The runners that the toolkit does not manage.

    Attributes:
        daemons: those that run.
        stopped: files that start one that does not run now.
    """

    daemons: list[Daemon]
    stopped: list[str]


def no_others() -> Report:
    """The report of a host without such runners."""
    return {"daemons": [], "stopped": []}


def managed() -> dict[str, str]:
    """The toolkit's own services on this host: unit -> its config.toml."""
    names = names_of(sorted(glob.glob(DROP_INS)))
    return {of.unit: f"{of.folder}/{_drain.CONFIG}" for of in map(place, ("", *names))}


def activity(daemon: Process) -> str:
    """``busy``, ``idle``, or ``unknown`` where the host does not show its jobs.

    A job of the shell executor is a process below the daemon. Those of other executors are known
    from the journal, if that has the daemon's messages since its start.
    """
    if daemon["children"]:
        return BUSY
    known = daemon["runners"]
    if known is not None and all(one["executor"] == "shell" for one in known):
        return IDLE
    if daemon["unit"]:
        if _drain.jobs_of(daemon["pid"]):
            return BUSY
        if _drain.journal_is_whole(daemon["pid"]):
            return IDLE
    return UNKNOWN


def others(own: Mapping[str, str] | None = None, proc: str = "/proc") -> list[Daemon]:
    """The daemons that are none of the given services, each with its ``activity`` and ``text``.

    Args:
        own: unit -> the config.toml that it reads; None for what the toolkit manages here.
        proc: where the processes are.
    """
    mine = managed() if own is None else own
    found: list[Daemon] = []
    for daemon in _runner_search.find(proc):
        if not daemon["unit"] or mine.get(daemon["unit"]) != daemon["config"]:
            now = activity(daemon)
            found.append({**daemon, "activity": now, "text": text(daemon, now)})
    return found


def takes_jobs(daemon: Process) -> bool:
    """False for a daemon without any runner in its configuration and without a job."""
    return daemon["runners"] != [] or bool(daemon["children"])


def needs_package(daemon: Process) -> bool:
    """True if it runs the package's own binary, which goes with the package."""
    return bool(daemon["program"] == _runner_facts.BINARY and "container" not in daemon["how"])


def text(daemon: Process, now: str) -> str:
    """A daemon and its ``activity`` in words, without secrets."""
    known = daemon["runners"]
    names = ", ".join(
        f"{one['name'] or 'without a name'}{' (id ' + one['id'] + ')' if one['id'] else ''}"
        for one in known or []
    )
    about = [
        *([f"pid {daemon['pid']}"] if daemon["unit"] else []),
        f"user {daemon['user']}",
        *([] if daemon["unit"] else [daemon["how"]]),
        f"binary {daemon['program']}",
        *([f"configuration {daemon['config']}"] if daemon["config"] else [daemon["command"]]),
        "runners not known" if known is None else f"runners: {names}" if names else "no runners",
    ]
    state = {
        BUSY: "runs a job",
        IDLE: "runs no job now",
        UNKNOWN: "may run a job: the host does not show the jobs of its executor",
    }[now]
    who = daemon["unit"] or f"pid {daemon['pid']}"
    return _secrets.redact_text(f"{who} ({', '.join(about)}), {state}")


def report(own: Mapping[str, str] | None = None) -> Report:
    """What provision, verify and adopt name: running ``daemons`` and ``stopped`` definitions."""
    own = managed() if own is None else own
    found = others(own)
    # A unit of a user's systemd is named in `how`.
    running = [name for one in found for name in (one["unit"], one["how"].split()[0])]
    return {"daemons": found, "stopped": _runner_search.definitions(running, own)}


def warnings(found: Report) -> list[str]:
    """A line for each runner of `report`."""
    return [
        *(f"a runner that the toolkit does not manage: {one['text']}" for one in found["daemons"]),
        *(
            f"a runner that the toolkit does not manage, not running now: started by {path}"
            for path in found["stopped"]
        ),
    ]


def in_the_way(daemons: Iterable[Daemon], how: str) -> tuple[list[Daemon], list[Daemon]]:
    """Which daemons an operation is refused for, and the others.

    Args:
        daemons: as `others` gives them.
        how: ``wait`` for an operation that waits for jobs, ``refuse`` for one that ends every
            daemon, ``refuse_binary`` for one that takes the package's binary away.
    """
    every = list(daemons)
    if how == "wait":
        stands = [one for one in every if one["activity"] == UNKNOWN]
    else:
        stands = [
            one for one in every if takes_jobs(one) and (how == "refuse" or needs_package(one))
        ]
    return stands, [one for one in every if one not in stands]


def remedy(daemon: Process) -> str:
    """What an administrator does about a daemon that is in the way."""
    quit_it, then = f"kill -QUIT {daemon['pid']}", ""
    if daemon["unit"]:
        quit_it = f"systemctl kill --signal=SIGQUIT --kill-who=main {daemon['unit']}"
        then = f", then systemctl stop {daemon['unit']}"
    return (
        f"let it finish its jobs and exit ({quit_it}{then}), or manage it as an entry of "
        "gitlab_runner_isolated; see docs/troubleshooting.md"
    )


def refusal(daemons: Iterable[Daemon], what: str) -> list[str]:
    """Why an operation is refused because of these daemons, a line for each."""
    return [
        f"a runner that the toolkit does not manage: {one['text']}; {what}. "
        f"Before you try again, {remedy(one)}"
        for one in daemons
    ]
