"""The controller's side of a drain, with made-up hosts."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import runner_drain as module
from ansible_collections.runnerhost.toolkit.plugins.modules.runner_drain import QUIET_SECONDS


class Drain(module.ActionModule):
    """A drain of services whose jobs end at their n-th look; what is asked of them is recorded."""

    def __init__(self, busy: list[int]) -> None:
        self.busy = busy
        self.calls: list[tuple[str, int]] = []
        self._places = [{"folder": str(i), "unit": str(i)} for i in range(len(busy))]
        self._variables = {"inventory_hostname": "web1"}
        self._lease = 120
        self._clock = 0.0
        # Looks, counted from 1, before which somebody takes the pause of the first back.
        self.taken_back: set[int] = set()
        self._looks = 0
        self._paused = [False] * len(busy)
        self.found = ["paused"] * len(busy)

    def _pause(self, where: dict[str, str]) -> str:
        number = int(where["unit"])
        self.calls.append(("pause", number))
        self._paused[number] = self.found[number] != "nothing"
        return self.found[number]

    def _call(self, where: dict[str, str], op: str, **more: Any) -> dict[str, Any]:
        number = int(where["unit"])
        self.calls.append((op, number))
        if op == "resume":
            return {"changed": True, "resumed": "resumed"}
        self._looks += 1
        if self._looks in self.taken_back:
            self._paused[0] = False
        self.busy[number] -= 1
        idle = self.busy[number] < 0
        # As the module sees it: idle is what stays so for some seconds of one call.
        seconds = QUIET_SECONDS if idle else more["patience"]
        self._clock += seconds
        seen = idle and more["patience"] >= QUIET_SECONDS
        return {
            "look": {
                "idle": seen,
                "paused": self._paused[number],
                "jobs": [] if idle else [{"text": f"job {number}"}],
            }
        }


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[Drain]:
    """Time that passes by looks alone."""
    running: list[Drain] = []
    monkeypatch.setattr(time, "monotonic", lambda: running[0]._clock)
    monkeypatch.setattr(module.display, "display", lambda _: None)
    return running


@pytest.mark.parametrize("services", [1, 2, 3, 4, 8])
def test_a_drain_ends_however_many_services_there_are(clock: list[Drain], services: int) -> None:
    drain = Drain([2] + [0] * (services - 1))
    clock.append(drain)
    done = drain._drain(3600, "give_up")
    assert (done["changed"], done["jobs"]) == (True, [])
    assert done["waited"] < 200


def test_all_are_paused_before_any_wait(clock: list[Drain]) -> None:
    drain = Drain([1, 0, 0])
    clock.append(drain)
    drain._drain(3600, "give_up")
    assert drain.calls[:3] == [("pause", 0), ("pause", 1), ("pause", 2)]


def test_a_pause_that_was_taken_back_is_made_again_and_its_quiet_counts_for_nothing(
    clock: list[Drain],
) -> None:
    drain = Drain([2])
    drain.taken_back = {2, 3}
    clock.append(drain)
    done = drain._drain(3600, "give_up")
    assert [op for op, _ in drain.calls] == ["pause", "look", *["look", "pause"] * 2, "look"]
    assert done["jobs"] == []


def test_a_pause_that_never_holds_is_given_up(clock: list[Drain]) -> None:
    drain = Drain([0])
    drain.taken_back = set(range(1, 99))
    clock.append(drain)
    with pytest.raises(AnsibleActionFail, match="a runner whose pause was taken back"):
        drain._drain(30, "give_up")


def test_a_service_without_a_file_has_no_pause_to_lose(clock: list[Drain]) -> None:
    drain = Drain([0, 0])
    drain.found[1] = "nothing"
    clock.append(drain)
    assert drain._drain(3600, "give_up")["jobs"] == []
    assert [op for op, _ in drain.calls] == ["pause", "pause", "look", "look"]


def test_all_are_resumed_when_it_gives_up(clock: list[Drain]) -> None:
    drain = Drain([0, 999])
    clock.append(drain)
    with pytest.raises(AnsibleActionFail, match="still running: job 1"):
        drain._drain(30, "give_up")
    assert drain.calls[-2:] == [("resume", 0), ("resume", 1)]


def test_one_that_cannot_be_resumed_keeps_no_other_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drain = Drain([0, 0])
    whole = drain._call

    def call(where: dict[str, str], op: str, **more: Any) -> dict[str, Any]:
        answer = whole(where, op, **more)
        if where["unit"] == "0":
            raise AnsibleActionFail("no space")
        return answer

    monkeypatch.setattr(drain, "_call", call)
    with pytest.raises(AnsibleActionFail, match="no space"):
        drain._resume()
    assert drain.calls == [("resume", 0), ("resume", 1)]
