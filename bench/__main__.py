"""`make bench`: a lab host, three comparisons, a table and a JSON file.

Usage: python -m bench [--keep]

Every figure is a ratio of two things measured in turn on one host, so that a slow or busy machine
slows both. Exit 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.playbooks import FACTS, SITE, VERIFY, Host, Run, slowest
from lab.kinds import KINDS
from lab.places import Lab, write
from lab.progress import step
from lab.run import LabError
from lab.world import TOKENS_PER_HOST, down, up

NAME = "bench"
ROUNDS = 3
RESULTS = Path(__file__).parent / "results"
SLOWEST = 5


@dataclass(frozen=True)
class Claim:
    """One measured claim: how many times longer one thing takes than another."""

    name: str
    limit: float
    aim: float
    seconds: float
    """Median of what is measured."""
    base_seconds: float
    """Median of what it is measured against."""

    @property
    def ratio(self) -> float:
        return self.seconds / self.base_seconds

    @property
    def verdict(self) -> str:
        if self.ratio > self.limit:
            return "MISSED"
        return "met" if self.ratio <= self.aim else "met, aim missed"


def median(runs: Sequence[Run]) -> float:
    """Median of the runs' seconds."""
    return statistics.median(run.seconds for run in runs)


def quiet_run(host: Host, playbook: str) -> Run:
    """One run that must change nothing."""
    run = host.play(playbook)
    if run.changed:
        raise LabError(f"{playbook} is no no-op, these tasks changed something: {run.changed}")
    return run


def in_turn(host: Host, *playbooks: str) -> list[list[Run]]:
    """Each playbook ROUNDS times, taking turns, after one unmeasured round (connection, caches)."""
    for playbook in playbooks:
        quiet_run(host, playbook)
    runs: list[list[Run]] = [[] for _ in playbooks]
    for _ in range(ROUNDS):
        for kept, playbook in zip(runs, playbooks, strict=True):
            kept.append(quiet_run(host, playbook))
    return runs


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


def measure(lab: Lab) -> tuple[list[Claim], dict[str, Any]]:
    """All claims, and what else the report tells."""
    one, many = Host(lab, runners(1)), Host(lab, runners(TOKENS_PER_HOST))
    with step("provision of the host, one runner"):
        first = one.play(SITE)
    with step(f"no-op, facts and verify in turn, {ROUNDS} times"):
        facts, noop, verify = in_turn(one, FACTS, SITE, VERIFY)
    with step("no-op once more, verbose, to count the remote calls"):
        counted = one.play(SITE, verbose=True)
    with step(f"provision, {TOKENS_PER_HOST} runners"):
        many.play(SITE)
    with step(f"no-op with {TOKENS_PER_HOST} runners and facts in turn, {ROUNDS} times"):
        facts_many, noop_many = in_turn(many, FACTS, SITE)
    with step("the same once more, verbose"):
        counted_many = many.play(SITE, verbose=True)
    # Each no-op in facts-only plays of its own half: what else the machine does cancels out.
    scale = median(facts) / median(facts_many)
    claims = [
        Claim("no-op of site.yml : facts-only play", 4.0, 3.0, median(noop), median(facts)),
        Claim(
            f"no-op with {TOKENS_PER_HOST} runners : with 1",
            1.1,
            1.1,
            median(noop_many) * scale,
            median(noop),
        ),
        Claim("verify.yml : no-op", 2.0, 2.0, median(verify), median(noop)),
    ]
    about = {
        "provision_seconds": first.seconds,
        "remote_calls": dict(Counter(counted.modules)),
        "remote_calls_10_runners": dict(Counter(counted_many.modules)),
        "tasks": slowest(noop, 100),
        "seconds": {
            "facts": [run.seconds for run in facts],
            "noop": [run.seconds for run in noop],
            "verify": [run.seconds for run in verify],
            "facts_10_runners": [run.seconds for run in facts_many],
            "noop_10_runners": [run.seconds for run in noop_many],
        },
    }
    return claims, about


def report(claims: Sequence[Claim], about: dict[str, Any]) -> str:
    """The table, the remote calls and the slowest tasks."""
    width = max(len(claim.name) for claim in claims)
    lines = [f"{'claim':<{width}}  limit   aim  measured  seconds         verdict"]
    lines += [
        f"{c.name:<{width}}  {c.limit:5.1f} {c.aim:5.1f}  {c.ratio:8.2f}"
        f"  {c.seconds:5.2f} : {c.base_seconds:5.2f}   {c.verdict}"
        for c in claims
    ]
    calls = about["remote_calls"]
    names = ", ".join(f"{name} {count}" for name, count in calls.items())
    lines += ["", f"remote module calls of the no-op: {sum(calls.values())} ({names})"]
    lines += [f"with {TOKENS_PER_HOST} runners: {sum(about['remote_calls_10_runners'].values())}"]
    lines += [f"first provision: {about['provision_seconds']:.1f} s"]
    lines += ["", f"slowest {SLOWEST} tasks of the no-op (median seconds)"]
    lines += [f"  {seconds:5.2f}  {name}" for name, seconds in about["tasks"][:SLOWEST]]
    return "\n".join(lines)


def save(claims: Sequence[Claim], about: dict[str, Any]) -> Path:
    """The same as JSON, one file a run."""
    now = datetime.now(UTC)
    data = {
        "at": now.isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "claims": [{**asdict(c), "ratio": c.ratio, "verdict": c.verdict} for c in claims],
        **about,
    }
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    write(path, json.dumps(data, indent=1) + "\n")
    return path


def main() -> int:
    """Measures on a lab of its own, which is gone afterwards."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument(
        "--keep", action="store_true", help=f"leave the lab up (LAB_NAME={NAME}) for a look at it"
    )
    keep = parser.parse_args().keep
    lab = Lab(NAME)
    try:
        try:
            up(lab, [KINDS["jammy"]], fresh=["jammy"])
            claims, about = measure(lab)
        finally:
            if not keep:
                with step(f"lab {NAME} goes down"):
                    down(lab)
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"\n{report(claims, about)}")
    print(f"\nwritten to {os.path.relpath(save(claims, about))}")
    return 1 if any(claim.ratio > claim.limit for claim in claims) else 0


if __name__ == "__main__":
    raise SystemExit(main())
