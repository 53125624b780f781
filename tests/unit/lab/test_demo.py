# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's times."""

from __future__ import annotations

import re
import time

import pytest

from lab.demo import Clock


def test_the_total_counts_from_the_commands_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNERHOST_STARTED", str(int(time.time()) - 40))
    clock = Clock.started()
    clock.parts["lab"] = 2.0
    told = re.fullmatch(
        r"times: preparation ([\d.]+) s, lab 2.0 s; ([\d.]+) s in all", clock.told()
    )
    assert told
    assert 40 <= float(told[1]) < 60
    assert float(told[2]) == pytest.approx(float(told[1]) + 2, abs=0.11)


@pytest.mark.parametrize("started", ["", "soon", "99999999999"])
def test_without_a_start_there_is_no_preparation(
    monkeypatch: pytest.MonkeyPatch, started: str
) -> None:
    monkeypatch.setenv("RUNNERHOST_STARTED", started)
    assert Clock.started().parts == {}
