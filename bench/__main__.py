# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: two labs of two hosts, a clone of an image, releases; a table and a JSON file.

Usage: python -m bench [--runs N] [--keep]

Every time is a ratio of two things measured in turn on hosts of one platform, so that a slow
or busy machine slows both. One runner and ten, one Python and three are on two hosts, at the same
time. Exit 1 when a mark is missed in any run. One run takes about ten minutes on two quiet cores,
and what is done once for all runs (the hosts' first provision, the image, the demo) about six.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import clone, cold, release
from bench.marks import (
    CALLS,
    CLONE,
    COLD,
    NOOP,
    PYTHONS,
    RUNNERS,
    VERIFY,
    Figure,
    by_mark,
    table,
    verdict,
)
from bench.playbooks import FACTS, SITE, Host, Run, slowest
from bench.playbooks import VERIFY as VERIFY_PLAYBOOK
from lab.golden import Golden, forget
from lab.places import CHECKOUT, Lab, write
from lab.platforms import PLATFORMS
from lab.progress import step
from lab.run import LabError
from lab.world import TOKENS_PER_HOST, down, up

NAME = "bench"
ROUNDS = 7
RUNS_AT_ONCE = 6
RESULTS = Path(__file__).parent / "results"
SLOWEST = 5
DEMO_TIMEOUT = 1800.0

_DEMO_TIMES = re.compile(r"^times: (?P<parts>.*); (?P<all>[\d.]+) s in all$", re.MULTILINE)


def median(runs: Sequence[Run]) -> float:
    """Median of the runs' seconds."""
    return statistics.median(run.seconds for run in runs)


def mean(runs: Sequence[Run]) -> float:
    """Mean of the runs' seconds."""
    return statistics.mean(run.seconds for run in runs)


def quiet_run(host: Host, playbook: str) -> Run:
    """One run that must change nothing."""
    run = host.play(playbook)
    if run.changed:
        raise LabError(f"{playbook} is no no-op, these tasks changed something: {run.changed}")
    return run


def in_turn(*plays: tuple[Host, str]) -> list[list[Run]]:
    """Each host's playbook ROUNDS times, taking turns, after one unmeasured round.

    What else the machine does meanwhile, or how fast it is, then touches all alike.
    """
    for host, playbook in plays:
        # Connections and caches.
        quiet_run(host, playbook)
    runs: list[list[Run]] = [[] for _ in plays]
    for number in range(ROUNDS):
        # Each comes first in turn: a play may be slowed by what the one before has left.
        for place in range(len(plays)):
            which = (number + place) % len(plays)
            runs[which].append(quiet_run(*plays[which]))
    return runs


def at_once(*plays: tuple[Host, str], runs: int = RUNS_AT_ONCE) -> list[list[Run]]:
    """So many runs of each host's playbook, one after the other, all hosts at the same time.

    For what differs by a tenth at most: whatever slows the machine then slows all alike. A host
    that is done goes on, unmeasured, until the last one is: none ever has the machine to itself.
    """
    for host, playbook in plays:
        # Connections and caches.
        quiet_run(host, playbook)
    done: list[list[Run]] = [[] for _ in plays]
    failed = threading.Event()

    def go(which: int) -> None:
        try:
            while not failed.is_set() and any(len(one) < runs for one in done):
                done[which].append(quiet_run(*plays[which]))
        except BaseException:
            # Else the others would wait for it without end.
            failed.set()
            raise

    with ThreadPoolExecutor(len(plays)) as pool:
        for future in [pool.submit(go, which) for which in range(len(plays))]:
            future.result()
    return [one[:runs] for one in done]


def runners(count: int) -> dict[str, Any]:
    """Variables for a host of so many runners; the tokens stay in the lab's inventory."""
    return {
        "gitlab_runner_runners": [
            {
                "name": f"bench-{number}",
                "token": f"{{{{ lab_runner_tokens[inventory_hostname][{number}] }}}}",
            }
            for number in range(count)
        ]
    }


def pythons(*versions: str) -> dict[str, Any]:
    """Variables for a host of one runner with these Pythons and no others from the repository."""
    return {
        **runners(1),
        "python_versions_wanted": list(versions),
        # So that every run of the bench begins with one, as the first does.
        "python_versions_remove_unlisted": True,
    }


def measure_runners(one: Host, many: Host) -> tuple[list[Figure], dict[str, Any]]:
    """No-op, verify and ten runners on two provisioned hosts."""
    with step(f"no-op, facts and verify in turn, {ROUNDS} times"):
        facts, noop, verify = in_turn((one, FACTS), (one, SITE), (one, VERIFY_PLAYBOOK))
    with step(f"no-op with 1 runner and with {TOKENS_PER_HOST} at once, {RUNS_AT_ONCE} times"):
        noop_one, noop_many = at_once((one, SITE), (many, SITE))
    with step("no-op of both once more, verbose, to count the remote calls"):
        counted = one.play(SITE, verbose=True)
        counted_many = many.play(SITE, verbose=True)
    figures = [
        Figure(NOOP, median(noop), median(facts)),
        Figure(RUNNERS, mean(noop_many), mean(noop_one)),
        Figure(VERIFY, median(verify), median(noop)),
        # Whatever the number of runners.
        Figure(CALLS, max(len(counted.modules), len(counted_many.modules))),
    ]
    return figures, {
        "remote_calls": dict(Counter(counted.modules)),
        "remote_calls_10_runners": dict(Counter(counted_many.modules)),
        "tasks": slowest(noop, 100),
        "seconds": {
            "facts": [run.seconds for run in facts],
            "noop": [run.seconds for run in noop],
            "verify": [run.seconds for run in verify],
            "noop_1_runner_at_once": [run.seconds for run in noop_one],
            "noop_10_runners_at_once": [run.seconds for run in noop_many],
        },
    }


def measure_pythons(one: Host, three: Host) -> tuple[list[Figure], dict[str, Any]]:
    """The no-op on noble with one foreign Python, and with three Pythons."""
    with step(f"no-op with 1 Python and with 3 at once, {RUNS_AT_ONCE} times"):
        noop_one, noop_three = at_once((one, SITE), (three, SITE))
    figures = [Figure(PYTHONS, mean(noop_three), mean(noop_one))]
    return figures, {
        "seconds": {
            "noop_1_python_at_once": [run.seconds for run in noop_one],
            "noop_3_pythons_at_once": [run.seconds for run in noop_three],
        }
    }


@dataclass(frozen=True)
class Hosts:
    """What is measured; all but the first are provisioned once for all runs."""

    jammy: Host
    many_runners: Host
    one_python: Host
    three_pythons: Host


def hosts(lab: Lab, other: Lab) -> Hosts:
    """Of two labs: hosts of one platform have one name."""
    noble = PLATFORMS["noble"]
    found = Hosts(
        Host(lab, "jammy", runners(1)),
        Host(other, "jammy", runners(TOKENS_PER_HOST)),
        Host(lab, noble.name, pythons(noble.foreign_pythons[0].version)),
        Host(other, noble.name, pythons(*noble.pythons)),
    )
    for host in (found.many_runners, found.one_python, found.three_pythons):
        host.play(SITE)
    return found


def one_run(at: Hosts, recipe: cold.Recipe, golden: Golden) -> tuple[list[Figure], dict[str, Any]]:
    """Every mark once."""
    jammy = at.jammy
    apt, provisions = cold.both(jammy, recipe)
    provision = median(provisions)
    with step("first run on a clone, one runner"):
        first = clone.first_run(golden, runners(1))
    figures, about = measure_runners(jammy, at.many_runners)
    more, about_pythons = measure_pythons(at.one_python, at.three_pythons)
    seconds = {
        "apt_alone": apt,
        "cold_provision": [run.seconds for run in provisions],
        "first_run_on_a_clone": [first.seconds],
        **about.pop("seconds"),
        **about_pythons["seconds"],
    }
    about = {**about, "provision_tasks": slowest(provisions, 100), "seconds": seconds}
    figures += [
        *more,
        Figure(COLD, provision, statistics.median(apt)),
        Figure(CLONE, first.seconds, provision),
    ]
    return figures, about


def demo_times(output: str) -> dict[str, float]:
    """Seconds of the parts of `make demo`, and of all of it."""
    match = _DEMO_TIMES.search(output)
    if match is None:
        raise LabError("the demo says no times")
    parts = (part.split() for part in match["parts"].split(", "))
    return {**{name: float(took) for name, took, _ in parts}, "all": float(match["all"])}


def demo(title: str) -> dict[str, float]:
    """Runs the demo in a lab of its own, which stays."""
    with step(title):
        try:
            done = subprocess.run(
                [sys.executable, "-m", "lab", "demo", "--hosts", "jammy"],
                cwd=CHECKOUT, env={**os.environ, "LAB_NAME": f"{NAME}-demo"}, check=False,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                timeout=DEMO_TIMEOUT,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise LabError(f"the demo is not done after {DEMO_TIMEOUT:.0f} s") from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise LabError(f"the demo: exit {done.returncode}\n{tail}")
    return demo_times(done.stdout)


def report(runs: Sequence[Sequence[Figure]], about: dict[str, Any]) -> str:
    """The table, the remote calls, the slowest tasks and the demo."""
    calls = about["remote_calls"]
    names = ", ".join(f"{name} {count}" for name, count in calls.items())
    lines = [table(runs)]
    lines += ["", f"remote module calls of the no-op: {sum(calls.values())} ({names})"]
    lines += [f"with {TOKENS_PER_HOST} runners: {sum(about['remote_calls_10_runners'].values())}"]
    lines += ["", f"slowest {SLOWEST} tasks of the no-op (median seconds)"]
    lines += [f"  {seconds:5.2f}  {name}" for name, seconds in about["tasks"][:SLOWEST]]
    lines += ["", f"slowest {SLOWEST} tasks of the cold provision (seconds)"]
    lines += [f"  {seconds:5.1f}  {name}" for name, seconds in about["provision_tasks"][:SLOWEST]]
    lines += ["", "demo (seconds; images and repositories in the cache; no limit)"]
    for name, parts in about["demo"].items():
        lines += [f"  {name:<7}" + ", ".join(f"{part} {took:.1f}" for part, took in parts.items())]
    return "\n".join(lines)


def save(runs: Sequence[Sequence[Figure]], about: dict[str, Any]) -> Path:
    """The same as JSON, one file for each call."""
    now = datetime.now(UTC)
    marks = [
        {
            **asdict(mark),
            "verdict": verdict(figures),
            "runs": [
                {
                    "value": one.value,
                    "base": one.base,
                    "ratio": one.ratio,
                    "verdict": one.verdict,
                }
                for one in figures
            ],
        }
        for mark, figures in by_mark(runs).items()
    ]
    data = {
        "at": now.isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "marks": marks,
        **about,
    }
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    write(path, json.dumps(data, indent=1) + "\n")
    return path


def measure(
    lab: Lab, other: Lab, count: int, folder: Path
) -> tuple[list[list[Figure]], dict[str, Any]]:
    """All runs, and what else the report tells."""
    for each in (lab, other):
        up(each, [PLATFORMS["jammy"], PLATFORMS["noble"]], fresh=["jammy", "noble"])
    with step("first provision, not measured: what it installs, and its .deb files"):
        recipe = cold.learn(Host(lab, "jammy", runners(1)), folder)
    with step("baking an image of the same, not measured"):
        golden = clone.bake(lab, recipe)
    with step("provision of the other hosts, not measured"):
        at = hosts(lab, other)
    runs: list[list[Figure]] = []
    details: list[dict[str, Any]] = []
    try:
        for number in range(count):
            print(f"run {number + 1} of {count}", flush=True)
            figures, about = one_run(at, recipe, golden)
            for one in figures:
                print(f"    {one.mark.name}: {one.ratio:.2f}, {one.verdict}", flush=True)
            runs.append(figures)
            details.append(about)
    finally:
        forget(golden)
    last = details[-1]
    return runs, {
        "remote_calls": last["remote_calls"],
        "remote_calls_10_runners": last["remote_calls_10_runners"],
        "tasks": last["tasks"],
        "provision_tasks": last["provision_tasks"],
        "packages": len(recipe.packages),
        "seconds": [about["seconds"] for about in details],
    }


def demos() -> dict[str, dict[str, float]]:
    """The demo on a lab that is not there yet, and once more."""
    lab = Lab(f"{NAME}-demo")
    try:
        down(lab)
        return {"first": demo("demo, first"), "second": demo("demo, second")}
    finally:
        down(lab)


def positive(text: str) -> int:
    """A number of runs."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs")
    return int(text)


def main() -> int:
    """Measures on labs of its own, which are gone afterwards."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--runs", type=positive, default=1, help="how often to measure each mark")
    parser.add_argument(
        "--keep",
        action="store_true",
        help=f"leave the labs up (LAB_NAME={NAME}, {NAME}-other) for a look at them",
    )
    asked = parser.parse_args()
    lab, other = Lab(NAME), Lab(f"{NAME}-other")
    try:
        with tempfile.TemporaryDirectory(prefix="runnerhost-bench-") as folder:
            try:
                runs, about = measure(lab, other, asked.runs, Path(folder))
            finally:
                if not asked.keep:
                    with step(f"labs {lab.name} and {other.name} go down"):
                        down(lab)
                        down(other)
        about["demo"] = demos()
        released, seconds = release.measure(asked.runs)
        runs = [[*ours, *theirs] for ours, theirs in zip(runs, released, strict=True)]
        about["release_seconds"] = seconds
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"\n{report(runs, about)}")
    print(f"\nwritten to {os.path.relpath(save(runs, about))}")
    return 0 if all(figure.met for run in runs for figure in run) else 1


if __name__ == "__main__":
    raise SystemExit(main())
