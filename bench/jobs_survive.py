# SPDX-License-Identifier: GPL-3.0-or-later
"""No job lost: a steady stream of jobs while every verb runs, and each job's fate.

Usage: python -m bench.jobs_survive [--keep]

A job counts as lost if it does not succeed, if its trace is not line for line what it printed, or
if it was picked up more than once. Exit 1 if one was lost, or a verb did not do what it should.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.__main__ import RESULTS
from bench.playbooks import SITE, Host
from lab.jobs import SCRATCH_PROJECT, connect, project_at
from lab.packages import RUNNER_VARIABLE, Runner, find_runner
from lab.places import Lab
from lab.platforms import PLATFORMS
from lab.progress import step
from lab.run import LabError
from lab.world import down, up
from standins.gitlab.client import JobInfo, LabGitLab

NAME = "bench-jobs"
AT_ONCE = 3
"""Jobs in flight at every moment; the host takes as many."""
SHORT, LONG = 6, 75
"""Seconds that a job prints a line each."""
JOB_SECONDS = 900.0
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass
class Stream:
    """Keeps so many jobs in flight; one in three is long."""

    gitlab: LabGitLab
    project: str
    queued: dict[int, int] = field(default_factory=dict)
    """Job -> the number of lines that it prints."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _problem: BaseException | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins."""
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Queues no more, and waits until all have ended."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join(60)
        if self._problem is not None:
            raise LabError(f"the stream of jobs broke: {self._problem}")
        for job in self.queued:
            self.gitlab.wait_job(job, JOB_SECONDS)

    def _feed(self) -> None:
        try:
            while not self._stop.wait(0.5):
                missing = AT_ONCE - len(self.in_flight())
                for _ in range(missing):
                    self._queue()
        except BaseException as error:
            self._problem = error

    def _queue(self) -> None:
        lines = LONG if len(self.queued) % 3 == 0 else SHORT
        # One in four publishes: the isolated runner takes it, and no other does.
        kind = {"tags": ["publish"], "protected": True} if len(self.queued) % 4 == 1 else {}
        script = f'for i in $(seq {lines}); do echo "line $i of {lines}"; sleep 1; done'
        job = self.gitlab.queue_job(
            self.project,
            [script],
            variables={"GIT_STRATEGY": "none"},
            timeout=int(JOB_SECONDS),
            **kind,
        )
        self.queued[job] = lines

    def in_flight(self) -> list[JobInfo]:
        """The jobs that have not ended."""
        return [info for job in list(self.queued) if not (info := self.gitlab.job(job)).finished]

    def running(self) -> set[int]:
        """The jobs that a runner has at this moment."""
        return {info.id for info in self.in_flight() if info.state == "running"}

    def lost(self) -> dict[int, str]:
        """Job -> why it counts as lost."""
        found = {}
        for job, lines in self.queued.items():
            info = self.gitlab.job(job)
            if info.state != "success":
                found[job] = f"{info.state} ({info.failure_reason})"
            elif len(info.pickups) != 1:
                found[job] = f"picked up {len(info.pickups)} times"
            else:
                trace = _ANSI.sub("", self.gitlab.trace(job))
                printed = re.findall(r"(?m)^line \d+ of \d+\r?$", trace)
                wanted = [f"line {i} of {lines}" for i in range(1, lines + 1)]
                if [line.strip() for line in printed] != wanted:
                    found[job] = f"{len(printed)} of {lines} lines in its trace"
        return found


@dataclass
class Row:
    """One verb: what it did, how long, and the jobs that ran meanwhile."""

    verb: str
    seconds: float
    jobs: set[int]
    problem: str = ""


def run_verb(stream: Stream, verb: str, act: Callable[[], str]) -> Row:
    """One verb with at least two jobs running at its begin."""
    end = time.monotonic() + 120
    while len(stream.running()) < 2:
        if time.monotonic() > end:
            waiting = [(info.id, info.state) for info in stream.in_flight()]
            raise LabError(f"before {verb}: no two jobs are running; there are {waiting}")
        time.sleep(0.2)
    seen = stream.running()
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(1):
            seen.update(stream.running())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    start = time.monotonic()
    with step(verb):
        try:
            problem = act()
        except LabError as error:
            problem = str(error).strip().splitlines()[-1]
    if problem:
        # Now: a later verb may end the bench before its table.
        print(f"    {verb}: {problem}", flush=True)
    seconds = time.monotonic() - start
    watching.set()
    thread.join(30)
    return Row(verb, seconds, seen, problem)


def common(publish_token: str, **environment: str) -> dict[str, Any]:
    """What all runs have: as many jobs as the stream has, and an isolated runner beside."""
    return {
        "gitlab_runner_concurrent": AT_ONCE,
        "gitlab_runner_isolated": [
            {
                "name": "publish",
                "concurrent": AT_ONCE,
                "environment": environment,
                "runners": [{"name": "publish", "token": publish_token}],
            }
        ],
    }


def verbs(
    lab: Lab, gitlab: LabGitLab, publish: str, runner: Runner
) -> dict[str, Callable[[], str]]:
    """What an operator does on a busy day, in its order."""
    begin = runner.old
    base = common(publish)
    environment = {"gitlab_runner_environment": {"BENCH": "1"}}
    tokens = [f"{{{{ lab_runner_tokens[inventory_hostname][{number}] }}}}" for number in (0, 1)]
    one = {"name": "jobs-0", "token": tokens[0]}
    two = {"name": "jobs-1", "token": tokens[1]}

    def play(playbook: str, variables: Mapping[str, Any]) -> str:
        Host(lab, "jammy", {**base, **variables}).play(playbook)
        return ""

    def failing() -> str:
        try:
            play("playbooks/upgrade.yml", {"gitlab_runner_version": runner.broken, **late})
        except LabError as error:
            return "" if f"{begin}-1 is back and works" in str(error) else str(error)
        return "an upgrade to a version that does not start succeeded"

    def rotation_meanwhile() -> str:
        """Tokens of a minute: the daemon renews them all the time, while we write its file."""
        numbers = [int(runner["id"]) for runner in gitlab.control("GET", "/runners")]
        for number in numbers:
            gitlab.set_runner(number, token_ttl=60)
        play("playbooks/rotate.yml", {**old, **environment})
        for concurrent in range(AT_ONCE + 1, AT_ONCE + 7):
            play(SITE, {**old, **environment, "gitlab_runner_concurrent": concurrent})
        for number in numbers:
            gitlab.set_runner(number, token_ttl=0)
        return play("playbooks/rotate.yml", {**old, **environment})

    late = {**environment, "gitlab_runner_runners": [one]}
    old = {"gitlab_runner_version": begin, "gitlab_runner_runners": [one]}
    found = {
        "provision, no change": lambda: play(SITE, old),
        "config change": lambda: play(
            SITE, {**old, "gitlab_runner_settings": {"check_interval": 1}}
        ),
        "env change (restart when idle)": lambda: play(SITE, {**old, **environment}),
        "runner added": lambda: play(
            SITE, {**environment, **old, "gitlab_runner_runners": [one, two]}
        ),
        "runner removed from the list": lambda: play(SITE, {**old, **environment}),
        "publish runner's env change (restart)": lambda: play(
            SITE, {**old, **environment, **common(publish, BENCH="1")}
        ),
        "rotate": lambda: play("playbooks/rotate.yml", {**old, **environment}),
        "tokens renewed during six provisions": rotation_meanwhile,
        "failing upgrade, rolled back": failing,
        "upgrade": lambda: play(
            "playbooks/upgrade.yml", {**late, "gitlab_runner_version": "latest"}
        ),
    }
    if not runner.broken:
        del found["failing upgrade, rolled back"]
        print(f"    no failing upgrade: {RUNNER_VARIABLE} names no release that does not start")
    return found


def table(rows: list[Row], lost: Mapping[int, str]) -> str:
    """What an operator wants to see."""
    lines = [f"{'verb':36s} {'seconds':>8s} {'jobs':>5s} {'lost':>5s}"]
    for row in rows:
        gone = len(row.jobs & set(lost))
        line = f"{row.verb:36s} {row.seconds:8.1f} {len(row.jobs):5d} {gone:5d}"
        lines.append(f"{line}  {row.problem}".rstrip())
    return "\n".join(lines)


def main() -> int:
    """Runs every verb under load; 1 if a job was lost or a verb failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.jobs_survive", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    asked = parser.parse_args()
    lab, runner = Lab(NAME), find_runner()
    begin = runner.old
    up(lab, [PLATFORMS["jammy"]])
    try:
        with connect(lab) as gitlab:
            publish = gitlab.create_runner(
                tag_list=["publish"], run_untagged=False, access_level="ref_protected"
            ).token
            first = {
                **common(publish),
                "gitlab_runner_version": begin,
                "gitlab_runner_runners": [
                    {"name": "jobs-0", "token": "{{ lab_runner_tokens[inventory_hostname][0] }}"}
                ],
            }
            with step(f"provision with {begin}"):
                Host(lab, "jammy", first).play(SITE)
            stream = Stream(gitlab, project_at(gitlab, SCRATCH_PROJECT).path)
            stream.start()
            every = verbs(lab, gitlab, publish, runner)
            rows = [run_verb(stream, verb, act) for verb, act in every.items()]
            with step("the last jobs"):
                stream.stop()
            lost = stream.lost()
    finally:
        if not asked.keep:
            down(lab)
    print(table(rows, lost))
    flown = set().union(*(row.jobs for row in rows))
    for job, why in lost.items():
        print(f"LOST: job {job}: {why}")
    print(
        f"{len(stream.queued)} jobs, {len(flown)} of them in flight during a verb, {len(lost)} lost"
    )
    RESULTS.mkdir(exist_ok=True)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    (RESULTS / f"jobs-{moment}.json").write_text(
        json.dumps(
            {
                "verbs": [
                    {
                        "verb": r.verb,
                        "seconds": r.seconds,
                        "jobs": len(r.jobs),
                        "problem": r.problem,
                    }
                    for r in rows
                ],
                "jobs": len(stream.queued),
                "in_flight": len(flown),
                "lost": {str(job): why for job, why in lost.items()},
            },
            indent=1,
        )
    )
    return 1 if lost or any(row.problem for row in rows) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"bench-jobs: {error}")
