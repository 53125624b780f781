# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab's tests kill a run: by a seed, over all changing tasks."""

from __future__ import annotations

import os
import subprocess
import uuid

import pytest

from tests.lab.kills import APT, CHANCE, CONFIG, DPKG, REQUESTS, Change, changes, chosen
from tests.lab.site import RUN_MARK
from tests.processes import kill_marked, marked

FOUND = [
    Change("a : files | Write", "x.file_set", 2.0),
    Change("b : packages | Install", APT, 20.0),
    Change("c : package | Install", APT, 5.0),
    Change("d : config | Swap", CONFIG, 1.0),
]


def test_record_gives_the_changing_tasks() -> None:
    task = {
        "name": "t",
        "duration": {"start": "2026-11-21T10:00:00Z", "end": "2026-11-21T10:00:01.500000Z"},
    }
    host = {"changed": True, "action": "x"}
    record = {
        "plays": [
            {
                "tasks": [
                    {"task": task, "hosts": {"jammy": host}},
                    {"task": task, "hosts": {"jammy": {"changed": False, "action": "y"}}},
                ]
            }
        ]
    }
    assert changes(record) == [Change("t", "x", 1.5)]


@pytest.mark.parametrize("count", [3, 10])
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_each_choice_has_apt_and_config_and_is_spread(count: int, seed: str) -> None:
    points = chosen(FOUND, count, seed, list(REQUESTS))
    assert len(points) == count
    assert points == chosen(FOUND, count, seed, list(REQUESTS))
    assert any(point.moment == DPKG for point in points)
    assert any(point.moment in REQUESTS for point in points)
    if count >= len(FOUND):
        assert {point.task for point in points} == {change.task for change in FOUND}
    order = [change.task for change in FOUND]
    assert [order.index(p.task) for p in points] == sorted(order.index(p.task) for p in points)
    seconds = {change.task: change.seconds for change in FOUND}
    assert all(0 <= p.after <= seconds[p.task] for p in points if p.moment == CHANCE)


def test_another_seed_gives_others() -> None:
    assert len({tuple(chosen(FOUND, 3, str(seed), list(REQUESTS))) for seed in range(20)}) > 10


def test_forks_with_a_session_of_their_own_die_too() -> None:
    mark = f"{RUN_MARK}={uuid.uuid4()}"
    key, _, value = mark.partition("=")
    # The fork itself says that it is there: in the middle of its exec it has no environment.
    with subprocess.Popen(
        ["sh", "-c", "setsid sh -c 'echo begun; kill -STOP $$' & wait"],
        stdout=subprocess.PIPE,
        env={**os.environ, key: value},
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"begun\n"
            assert len(marked(mark)) == 2
        finally:
            kill_marked(mark)
            process.kill()
    assert marked(mark) == []
