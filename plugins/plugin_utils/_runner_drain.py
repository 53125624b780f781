# SPDX-License-Identifier: GPL-3.0-or-later
"""The wait for a host's jobs: pauses all its services, and says what it waits for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible.errors import AnsibleActionFail

# An idle runner shows so within a few seconds.
QUIET_SECONDS = 4
# How often it says what it waits for, in seconds.
SAYS_EVERY = 10


@dataclass(frozen=True)
class Status:
    """What a service does.

    Attributes:
        idle: whether it has run no job for some seconds.
        paused: whether its pause is in place.
        jobs: what runs there, in words; jobs of other daemons among them where they count.
    """

    idle: bool
    paused: bool
    jobs: Sequence[str] = ()

    @classmethod
    def from_answer(cls, status: Mapping[str, Any]) -> Status:
        """The answer of `runner_drain_io`."""
        others = [one for one in status.get("others", []) if one["activity"] != "idle"]
        jobs = [str(one["text"]) for one in (*status["jobs"], *others)]
        return cls(bool(status.get("idle")), bool(status["paused"]), jobs)


class Daemon(Protocol):
    """One service of the host."""

    def pause(self) -> str:
        """``paused``; ``joined`` where it was so already; ``nothing`` without a config.toml."""

    def status(self, patience: int) -> Status:
        """What it does; waits so many seconds at most for the last job's end."""

    def resume(self) -> str:
        """``nothing``, ``resumed``, or ``merged`` where a runner was added meanwhile."""


@dataclass(frozen=True)
class Drained:
    """How a drain ended.

    Attributes:
        changed: whether a service was paused that was not before.
        jobs: what still runs.
        waited: how long it took, in seconds.
        warnings: what the user should know.
    """

    changed: bool
    jobs: list[str]
    waited: int
    warnings: list[str] = field(default_factory=list)


class Drain:
    """A pause of services that is held until none of them runs a job.

    Args:
        services: the host's services.
        say: shows a line to the user at once.
    """

    def __init__(self, services: Sequence[Daemon], say: Callable[[str], None]) -> None:
        self._services = services
        self._say = say

    def run(self, deadline: int, *, go_on: bool) -> Drained:
        """Pauses and waits.

        Args:
            deadline: how long, in seconds.
            go_on: whether to go on then, with a warning; else the pause is taken back and the task
                fails.
        """
        start = time.monotonic()
        # All of them before any wait: none takes a job while another one ends its own.
        began = [service.pause() for service in self._services]
        changed = "paused" in began
        patience = QUIET_SECONDS
        while True:
            seen = [service.status(patience) for service in self._services]
            waited = int(time.monotonic() - start)
            lost = self._pause_again(began, seen)
            if not lost and all(one.idle for one in seen):
                return Drained(changed, [], waited)
            jobs = [job for one in seen for job in one.jobs]
            named = "; ".join(jobs) or _unnamed(lost)
            then = "goes on" if go_on else "gives up"
            self._say(f"waits for {named}; {then} in {max(0, deadline - waited)} s")
            if waited >= deadline:
                break
            # Long enough for each to be seen idle, however many there are.
            share = min(SAYS_EVERY, deadline - waited) // len(self._services)
            patience = max(QUIET_SECONDS, share)
        if go_on:
            warning = f"goes on after {waited} s though these run: {named}"
            return Drained(changed, jobs, waited, [warning])
        self.resume()
        raise AnsibleActionFail(
            f"gave up after {waited} s, all is as it was: still running: {named}. "
            "Set a longer deadline, or at_deadline=go_on"
        )

    def resume(self) -> list[str]:
        """Takes the pause of each back, of all even if one of them cannot be."""
        answers, failed = [], []
        for service in self._services:
            try:
                answers.append(service.resume())
            except AnsibleActionFail as problem:
                failed.append(problem)
        if failed:
            raise failed[0]
        return answers

    def _pause_again(self, began: Sequence[str], seen: Sequence[Status]) -> bool:
        """True if the host, a disk with room again or another controller took a pause back.

        What such a service is seen to do does not count.
        """
        lost = [
            service
            for service, was, now in zip(self._services, began, seen, strict=True)
            if was != "nothing" and not now.paused
        ]
        for service in lost:
            service.pause()
        return bool(lost)


def _unnamed(lost: bool) -> str:
    """What is waited for where no job has a name."""
    if lost:
        return "a runner whose pause was taken back by something else: paused again"
    return "a job that the log does not name"
