"""`make test`: every suite, with its time, what was skipped and why, and one closing line.

Usage: python -m tests [--full] [SUITE…]

Two cores bear two labs, so two suites run at a time. Each file of tests/lab is a suite, `lab/NAME`
for its plain tests and `lab-slow/NAME` for those marked slow; `lab` and `lab-slow` name them all.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from lab.engine import Engine
from tests import other_python
from tests.processes import kill_marked

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

WHOLE_HOST = ("default", "noble")
"""Molecule's scenarios of a whole host, one for each kind; the others take `make test-full`."""

# Longest first: the last one to end shall be a short one.
LAB = (
    "site",
    "os_upgrade",
    "faults",
    "killed_controller",
    "registration",
    "isolated",
    "lab",
    "drain",
    "existing_host",
    "installed",
    "created_runners",
)
LAB_SLOW = (
    "killed_controller",
    "os_upgrade",
    "prepare_upgrade",
    "faults",
    "company_network",
    "mirror",
    "image",
    "isolated",
    "secrets",
    "host_hygiene",
    "aging",
    "upgrade",
    "site",
)

AT_ONCE = 2
PATIENCE = 120.0
"""Seconds that a suite past its limit gets to take its lab down."""


@dataclass(frozen=True)
class Suite:
    """One command.

    Attributes:
        name: for the table and the command line.
        argv: the command, run in the checkout.
        containers: whether it needs the lab's hosts.
        full: whether only `make test-full` runs it.
        other: whether it needs another Python than this one.
        limit: seconds after which it counts as failed.
    """

    name: str
    argv: tuple[str, ...]
    containers: bool = False
    full: bool = False
    other: bool = False
    limit: int = 1200


def lab_suite(name: str, marks: str, full: bool = False) -> Suite:
    """The plain or the slow tests of one file."""
    # A line for each test, since some take a minute.
    argv = (sys.executable, "-m", "pytest", "-v", "-x", "--durations=10", "-m", marks)
    return Suite(
        f"{'lab-slow' if full else 'lab'}/{name}",
        (*argv, f"tests/lab/test_{name}.py"),
        containers=True,
        full=full,
        limit=4500 if full else 2400,
    )


# In the order in which they begin.
SUITES = (
    lab_suite(LAB[0], "not slow"),
    Suite("lint", ("make", "lint"), limit=600),
    Suite("unit", ("make", "unit"), limit=900),
    Suite("unit-other", (sys.executable, "-m", "tests.other_python"), other=True, limit=900),
    # Without capture: what the commands say is shown as they say it.
    Suite(
        "readme",
        (sys.executable, "-m", "pytest", "-q", "-x", "-s", "tests/readme"),
        containers=True,
        limit=1800,
    ),
    Suite("contract", (sys.executable, "-m", "pytest", "-q", "tests/contract"), limit=600),
    Suite("mirror", (sys.executable, "-m", "pytest", "-q", "tests/mirror"), limit=600),
    Suite(
        "molecule",
        (str(BIN / "molecule"), "test", *(f"--scenario-name={name}" for name in WHOLE_HOST)),
        containers=True,
    ),
    *(lab_suite(name, "not slow") for name in LAB[1:]),
    Suite(
        "molecule-roles",
        (str(BIN / "molecule"), "test", "--all", *(f"--exclude={name}" for name in WHOLE_HOST)),
        containers=True,
        full=True,
        limit=2400,
    ),
    *(lab_suite(name, "slow", full=True) for name in LAB_SLOW),
)
WIDTH = max(len(suite.name) for suite in SUITES)


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
        print(f"{name:{WIDTH}s} {line.rstrip()}".rstrip(), flush=True)


def run(suite: Suite) -> tuple[str, float]:
    """One suite's result, ``passed`` or ``failed``, and its seconds."""
    print(f"{suite.name:{WIDTH}s} ===== {' '.join(suite.argv)}", flush=True)
    start = time.monotonic()
    mark = f"RUNNERHOST_SUITE_{uuid.uuid4().hex}"
    # The tests are about the lab's own repositories.
    kept = {name: value for name, value in os.environ.items() if name != "WORLD"}
    environment = {
        **kept,
        "PATH": f"{BIN}:{os.environ.get('PATH', '')}",
        "PY_COLORS": "0",
        "ANSIBLE_FORCE_COLOR": "0",
        "NO_COLOR": "1",
        mark: "1",
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
            print(f"{suite.name:{WIDTH}s} not done after {suite.limit} s", flush=True)
            code = stop(child, f"{mark}=1") or 1
        # Not for ever: what a suite has left running may hold the pipe.
        shown.join(10)
    return "passed" if code == 0 else "failed", time.monotonic() - start


def stop(child: subprocess.Popen[str], mark: str) -> int:
    """Ends a suite and what it has started; its exit code."""
    # pytest takes its lab down then.
    child.send_signal(signal.SIGINT)
    try:
        child.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
    kill_marked(mark)
    return child.wait()


def state(suite: Suite, problem: str) -> tuple[str, float, str]:
    """What became of a suite, seconds and reason."""
    if suite.containers and problem:
        # On a CI machine a lab that cannot run is a failure, not an omission.
        word = "failed" if os.environ.get("CI") == "true" else "skipped"
        return word, 0.0, f"no containers here: {problem}"
    if suite.other and not other_python.find():
        print(f"{suite.name:{WIDTH}s} skipped: {other_python.missing()}", flush=True)
        return "skipped", 0.0, other_python.missing()
    return (*run(suite), "")


def main() -> int:
    """Runs the suites that were asked for; 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests")
    parser.add_argument("--full", action="store_true", help="what takes longer too")
    parser.add_argument(
        "suites",
        nargs="*",
        metavar="SUITE",
        help=", ".join(["lab", "lab-slow", *(suite.name for suite in SUITES)]),
    )
    asked = parser.parse_args()
    groups = {"lab", "lab-slow"}
    unknown = sorted(set(asked.suites) - groups - {suite.name for suite in SUITES})
    if unknown:
        parser.error(f"no such suite: {' '.join(unknown)}")
    # Who names a suite wants it, however long it takes.
    wanted = [
        suite
        for suite in SUITES
        if (
            {suite.name, suite.name.partition("/")[0]} & set(asked.suites)
            if asked.suites
            else asked.full or not suite.full
        )
    ]
    problem = containers_problem()
    start = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rows = list(pool.map(state, wanted, [problem] * len(wanted)))
    print(f"\n{'suite':{WIDTH}s} result   seconds")
    for suite, (word, seconds, why) in zip(wanted, rows, strict=True):
        print(f"{suite.name:{WIDTH}s} {word:8s} {seconds:7.0f}  {why}".rstrip())
    states = [word for word, _, _ in rows]
    skipped = states.count("skipped")
    closing = f"{states.count('passed')} passed, {states.count('failed')} failed"
    closing += f", {skipped} skipped" if skipped else ""
    print(f"{closing}, in {time.monotonic() - start:.0f} s")
    return 1 if "failed" in states else 0


if __name__ == "__main__":
    sys.exit(main())
