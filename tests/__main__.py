# SPDX-License-Identifier: GPL-3.0-or-later
"""`make test`: every suite, with its time, what was skipped and why, and one closing line.

Usage: python -m tests [--list] [--full] [SUITE…]

Two cores bear two labs, so two suites run at a time. `lab` and `lab-slow` name all suites of the
lab.
Each suite leaves its results as JUnit XML in tests/output/junit.
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
from threading import Thread
from typing import IO

from lab.engine import Engine
from tests import other_python
from tests.processes import kill_marked
from tests.suites import BIN, ROOT, SUITES, Suite, failed_in, write_result

AT_ONCE = 2
PATIENCE = 120.0
"""Seconds that a suite past its limit gets to take its lab down."""
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


def show(name: str, lines: IO[str], kept: list[str]) -> None:
    """Prints and keeps what a suite says, each line with its name: another may speak meanwhile."""
    for line in lines:
        kept.append(line.rstrip())
        print(f"{name:{WIDTH}s} {line.rstrip()}".rstrip(), flush=True)


def run(suite: Suite) -> tuple[str, float]:
    """One suite's result, ``passed`` or ``failed``, and its seconds."""
    suite.result.parent.mkdir(parents=True, exist_ok=True)
    suite.result.unlink(missing_ok=True)
    argv = [word.replace("JUNIT", str(suite.result)) for word in suite.argv]
    lines: list[str] = []
    why = ""
    print(f"{suite.name:{WIDTH}s} ===== {' '.join(argv)}", flush=True)
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
        argv, cwd=ROOT, env=environment, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        shown = Thread(target=show, args=(suite.name, child.stdout, lines), daemon=True)
        shown.start()
        try:
            code = child.wait(suite.limit)
        except subprocess.TimeoutExpired:
            why = f"not done after {suite.limit} s"
            print(f"{suite.name:{WIDTH}s} {why}", flush=True)
            code = stop(child, f"{mark}=1") or 1
        # Not for ever: what a suite has left running may hold the pipe.
        shown.join(10)
    result = "passed" if code == 0 else "failed", time.monotonic() - start
    if not suite.result.exists() or (code != 0 and not failed_in(suite.result)):
        write_result(suite, *result, why, lines)
    return result


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
        row = word, 0.0, f"no containers here: {problem}"
    elif suite.other and not other_python.find():
        print(f"{suite.name:{WIDTH}s} skipped: {other_python.missing()}", flush=True)
        row = "skipped", 0.0, other_python.missing()
    else:
        return (*run(suite), "")
    write_result(suite, *row, [])
    return row


def show_list(suites: list[Suite]) -> None:
    """Prints the suites, where each runs, and its tests or command."""
    for suite in suites:
        when = "test-full" if suite.full else "test"
        print(f"{suite.name:{WIDTH}s} {when:9s} {suite.tests or ' '.join(suite.argv)}")


def main() -> int:
    """Runs the suites that were asked for; 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests")
    parser.add_argument("--list", action="store_true", help="show the suites, in their order")
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
            else asked.full or asked.list or not suite.full
        )
    ]
    if asked.list:
        show_list(wanted)
        return 0
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
