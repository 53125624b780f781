"""`make test`: every suite in turn, with its time, what was skipped and why, and one closing line.

Usage: python -m tests [--full] [SUITE…]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lab.engine import Engine

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

WHOLE_HOST = ("default", "noble")
"""Molecule's scenarios of a whole host, one for each kind; the others take `make test-full`."""


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
        (sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "tests/lab"),
        containers=True,
        limit=2400,
    ),
    Suite(
        "lab-slow",
        (sys.executable, "-m", "pytest", "-q", "-x", "-m", "slow", "tests/lab"),
        containers=True,
        full=True,
        limit=5400,
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


def run(suite: Suite) -> tuple[str, float]:
    """One suite's result, ``passed`` or ``failed``, and its seconds."""
    print(f"\n===== {suite.name}: {' '.join(suite.argv)}", flush=True)
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
    try:
        code = subprocess.run(
            suite.argv, cwd=ROOT, env=environment, timeout=suite.limit, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        print(f"{suite.name}: not done after {suite.limit} s")
        code = 1
    return "passed" if code == 0 else "failed", time.monotonic() - start


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
    rows: list[tuple[str, str, float, str]] = []
    for suite in wanted:
        if suite.containers and problem:
            # On a CI machine a lab that cannot run is a failure, not an omission.
            state = "failed" if os.environ.get("CI") == "true" else "skipped"
            rows.append((suite.name, state, 0.0, f"no containers here: {problem}"))
            continue
        state, seconds = run(suite)
        rows.append((suite.name, state, seconds, ""))
    print("\nsuite          result   seconds")
    for name, state, seconds, why in rows:
        print(f"{name:14s} {state:8s} {seconds:7.0f}  {why}".rstrip())
    states = [state for _, state, _, _ in rows]
    skipped = states.count("skipped")
    closing = f"{states.count('passed')} passed, {states.count('failed')} failed"
    print(closing + (f", {skipped} skipped" if skipped else ""))
    return 1 if "failed" in states else 0


if __name__ == "__main__":
    sys.exit(main())
