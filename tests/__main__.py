"""`make test`: every suite, with its time, what was skipped and why, and one closing line.

Usage: python -m tests [--full] [SUITE…]

Two cores bear two labs: the suites of tests/lab run one after the other, and beside them the rest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from lab.engine import Engine

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

WHOLE_HOST = ("default", "noble")
"""Molecule's scenarios of a whole host, one for each kind; the others take `make test-full`."""

# A line for each test, since some take a minute.
LAB = (sys.executable, "-m", "pytest", "-v", "-x", "--durations=30", "-m")


@dataclass(frozen=True)
class Suite:
    """One command.

    Attributes:
        name: for the table and the command line.
        argv: the command, run in the checkout.
        containers: whether it needs the lab's hosts.
        full: whether only `make test-full` runs it.
        limit: seconds after which it counts as failed.
    """

    name: str
    argv: tuple[str, ...]
    containers: bool = False
    full: bool = False
    limit: int = 1200


SUITES = (
    Suite("lint", ("make", "lint"), limit=300),
    Suite("unit", ("make", "unit"), limit=300),
    Suite("contract", (sys.executable, "-m", "pytest", "-q", "tests/contract"), limit=600),
    Suite("mirror", (sys.executable, "-m", "pytest", "-q", "tests/mirror"), limit=600),
    Suite(
        "molecule",
        (str(BIN / "molecule"), "test", *(f"--scenario-name={name}" for name in WHOLE_HOST)),
        containers=True,
    ),
    Suite(
        "molecule-roles",
        (str(BIN / "molecule"), "test", "--all", *(f"--exclude={name}" for name in WHOLE_HOST)),
        containers=True,
        full=True,
        limit=2400,
    ),
    Suite(
        "lab",
        (*LAB, "not slow", "tests/lab"),
        containers=True,
        limit=4500,
    ),
    Suite(
        "lab-slow",
        (*LAB, "slow", "tests/lab"),
        containers=True,
        full=True,
        limit=7200,
    ),
)


def containers_problem() -> str:
    """Why no lab can run here, or an empty text."""
    try:
        done = Engine()("info", check=False)
    except (OSError, RuntimeError) as error:
        return str(error)
    return (
        "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["podman fails"])[-1]
    )


def show(name: str, lines: IO[str]) -> None:
    """Prints what a suite says, each line with its name: another one may speak meanwhile."""
    for line in lines:
        print(f"{name:14s} {line.rstrip()}".rstrip(), flush=True)


def run(suite: Suite) -> tuple[str, float]:
    """One suite's result, ``passed`` or ``failed``, and its seconds."""
    print(f"{suite.name:14s} ===== {' '.join(suite.argv)}", flush=True)
    start = time.monotonic()
    # The tests are about the lab's own repositories.
    kept = {name: value for name, value in os.environ.items() if name != "WORLD"}
    environment = {
        **kept,
        "PATH": f"{BIN}:{os.environ.get('PATH', '')}",
        "PY_COLORS": "0",
        "ANSIBLE_FORCE_COLOR": "0",
        "NO_COLOR": "1",
    }
    with subprocess.Popen(
        suite.argv, cwd=ROOT, env=environment, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        shown = Thread(target=show, args=(suite.name, child.stdout), daemon=True)
        shown.start()
        try:
            code = child.wait(suite.limit)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
            print(f"{suite.name:14s} not done after {suite.limit} s", flush=True)
        # Not for ever: what a suite has left running may hold the pipe.
        shown.join(10)
    return "passed" if code == 0 else "failed", time.monotonic() - start


def lane(suites: list[Suite], problem: str) -> dict[str, tuple[str, float, str]]:
    """Suites one after the other: state, seconds and reason by name."""
    rows = {}
    for suite in suites:
        if suite.containers and problem:
            # On a CI machine a lab that cannot run is a failure, not an omission.
            state = "failed" if os.environ.get("CI") == "true" else "skipped"
            rows[suite.name] = (state, 0.0, f"no containers here: {problem}")
        else:
            rows[suite.name] = (*run(suite), "")
    return rows


def main() -> int:
    """Runs the suites that were asked for; 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests")
    parser.add_argument("--full", action="store_true", help="what takes longer too")
    parser.add_argument(
        "suites", nargs="*", metavar="SUITE", help=", ".join(s.name for s in SUITES)
    )
    asked = parser.parse_args()
    unknown = sorted(set(asked.suites) - {suite.name for suite in SUITES})
    if unknown:
        parser.error(f"no such suite: {' '.join(unknown)}")
    # Who names a suite wants it, however long it takes.
    wanted = [
        suite
        for suite in SUITES
        if (suite.name in asked.suites if asked.suites else asked.full or not suite.full)
    ]
    problem = containers_problem()
    lanes = [[one for one in wanted if ("tests/lab" in one.argv) is lab] for lab in (False, True)]
    start = time.monotonic()
    with ThreadPoolExecutor(len(lanes)) as pool:
        answers = pool.map(lane, lanes, [problem] * len(lanes))
        rows = {name: row for answer in answers for name, row in answer.items()}
    print("\nsuite          result   seconds")
    for name, (state, seconds, why) in rows.items():
        print(f"{name:14s} {state:8s} {seconds:7.0f}  {why}".rstrip())
    states = [state for state, _, _ in rows.values()]
    skipped = states.count("skipped")
    closing = f"{states.count('passed')} passed, {states.count('failed')} failed"
    closing += f", {skipped} skipped" if skipped else ""
    print(f"{closing}, in {time.monotonic() - start:.0f} s")
    return 1 if "failed" in states else 0


if __name__ == "__main__":
    sys.exit(main())
