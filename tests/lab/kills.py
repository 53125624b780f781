# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a run can be killed: points chosen by a seed from what a recorded run has changed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

APT = "runnerhost.toolkit.packages"
CONFIG = "runnerhost.toolkit.runner_config"
DPKG = "dpkg works"
CHANCE = "by chance"
REQUESTS = {
    "GitLab makes a runner": ("POST", "/api/v4/user/runners"),
    "GitLab is asked about a token": ("POST", "/api/v4/runners/verify"),
    "GitLab is asked about a runner": ("GET", "/api/v4/runners/[0-9]*"),
}
"""What `runner_config` asks after it has read config.toml and before it writes it."""


@dataclass(frozen=True)
class Change:
    """A task that has changed something: as a run prints it, its action, how long it took."""

    task: str
    action: str
    seconds: float


@dataclass(frozen=True)
class Point:
    """A moment of a run.

    Attributes:
        task: the task, as the run prints it.
        moment: what happens meanwhile, or `CHANCE`.
        after: for `CHANCE`, seconds since the task began.
    """

    task: str
    moment: str
    after: float = 0.0

    def __str__(self) -> str:
        short = self.task.removeprefix("runnerhost.toolkit.")
        return f"{short}, {f'{self.after:.2f} s in' if self.moment == CHANCE else self.moment}"


def changes(record: dict[str, Any]) -> list[Change]:
    """The changing tasks of a run, in its order, from what callbacks/record.py printed."""
    found = []
    for play in record["plays"]:
        for task in play["tasks"]:
            results = [one for one in task["hosts"].values() if one.get("changed")]
            if results:
                begun, ended = (
                    datetime.fromisoformat(task["task"]["duration"][key].replace("Z", "+00:00"))
                    for key in ("start", "end")
                )
                seconds = (ended - begun).total_seconds()
                found.append(Change(task["task"]["name"], results[0]["action"], seconds))
    return found


def chosen(found: Sequence[Change], count: int, seed: str, requests: Sequence[str]) -> list[Point]:
    """So many points by a seed, in the run's order.

    One is inside an apt transaction and one between reading and writing config.toml; the others
    are spread over all changing tasks, none twice before each was there once.

    Args:
        found: the changing tasks.
        count: how many points, three at least.
        seed: what the chance comes from.
        requests: of `REQUESTS`, those that such a run makes.
    """
    chance = random.Random(seed)
    order = {change.task: position for position, change in enumerate(found)}
    in_apt = [Point(c.task, DPKG) for c in found if c.action == APT]
    in_config = [Point(c.task, name) for c in found if c.action == CONFIG for name in requests]
    # Of many points, every kind of those between reading and writing.
    asked = in_config if count > 2 * len(requests) else [chance.choice(in_config)]
    picked = [chance.choice(in_apt), *asked]
    special = [point for point in in_apt + in_config if point not in picked]
    special = chance.sample(special, len(special))
    while len(picked) < count:
        hit = {point.task for point in picked}
        untouched = [change for change in found if change.task not in hit]
        if untouched or not special:
            change = chance.choice(untouched or list(found))
            picked.append(Point(change.task, CHANCE, round(chance.uniform(0, change.seconds), 2)))
        else:
            picked.append(special.pop())
    return sorted(picked, key=lambda point: order[point.task])
