# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side of a drain, with made-up hosts."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import runner_drain
from ansible_collections.runnerhost.toolkit.plugins.modules import runner_drain as documentation
from ansible_collections.runnerhost.toolkit.plugins.modules.runner_drain_io import QUIET_SECONDS
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _runner_drain
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_drain import Status
from tests.unit.plugins import host_file


class Host:
    """Services whose jobs end at their n-th question; what is asked of them is recorded."""

    def __init__(self, busy: list[int]) -> None:
        self.busy = busy
        self.calls: list[tuple[str, int]] = []
        self.clock = 0.0
        # Questions, counted from 1, before which somebody takes the pause of the first back.
        self.taken_back: set[int] = set()
        self.asked = 0
        self.paused = [False] * len(busy)
        self.found = ["paused"] * len(busy)
        self.stuck: set[int] = set()
        self.said: list[str] = []
        services = [Service(self, number) for number in range(len(busy))]
        self.drain = _runner_drain.Drain(services, self.said.append)

    def run(self, deadline: int = 3600) -> _runner_drain.Drained:
        return self.drain.run(deadline, go_on=False)


class Service:
    """One of them."""

    def __init__(self, host: Host, number: int) -> None:
        self.host = host
        self.number = number

    def pause(self) -> str:
        host = self.host
        host.calls.append(("pause", self.number))
        host.paused[self.number] = host.found[self.number] != "nothing"
        return host.found[self.number]

    def status(self, patience: int) -> Status:
        host = self.host
        host.calls.append(("status", self.number))
        host.asked += 1
        if host.asked in host.taken_back:
            host.paused[0] = False
        host.busy[self.number] -= 1
        idle = host.busy[self.number] < 0
        # As the module sees it: idle is what stays so for some seconds of one call.
        host.clock += QUIET_SECONDS if idle else patience
        jobs = [] if idle else [f"job {self.number}"]
        return Status(idle and patience >= QUIET_SECONDS, host.paused[self.number], jobs)

    def resume(self) -> str:
        self.host.calls.append(("resume", self.number))
        if self.number in self.host.stuck:
            raise AnsibleActionFail("no space")
        return "resumed"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[Host]:
    """Time that passes by questions alone."""
    running: list[Host] = []
    monkeypatch.setattr(time, "monotonic", lambda: running[0].clock)
    return running


@pytest.mark.parametrize("services", [1, 2, 3, 4, 8])
def test_a_drain_ends_however_many_services_there_are(clock: list[Host], services: int) -> None:
    host = Host([2] + [0] * (services - 1))
    clock.append(host)
    done = host.run()
    assert (done.changed, done.jobs) == (True, [])
    assert done.waited < 200


def test_all_are_paused_before_any_wait(clock: list[Host]) -> None:
    host = Host([1, 0, 0])
    clock.append(host)
    host.run()
    assert host.calls[:3] == [("pause", 0), ("pause", 1), ("pause", 2)]
    assert host.said == ["waits for job 0; gives up in 3590 s"]


def test_a_pause_that_was_taken_back_is_made_again_and_its_quiet_counts_for_nothing(
    clock: list[Host],
) -> None:
    host = Host([2])
    host.taken_back = {2, 3}
    clock.append(host)
    done = host.run()
    assert [op for op, _ in host.calls] == ["pause", "status", *["status", "pause"] * 2, "status"]
    assert done.jobs == []


def test_a_pause_that_never_holds_is_given_up(clock: list[Host]) -> None:
    host = Host([0])
    host.taken_back = set(range(1, 99))
    clock.append(host)
    with pytest.raises(AnsibleActionFail, match="a runner whose pause was taken back"):
        host.run(30)


def test_a_service_without_a_file_has_no_pause_to_lose(clock: list[Host]) -> None:
    host = Host([0, 0])
    host.found[1] = "nothing"
    clock.append(host)
    assert host.run().jobs == []
    assert [op for op, _ in host.calls] == ["pause", "pause", "status", "status"]


def test_all_are_resumed_when_it_gives_up(clock: list[Host]) -> None:
    host = Host([0, 999])
    clock.append(host)
    with pytest.raises(AnsibleActionFail, match="still running: job 1"):
        host.run(30)
    assert host.calls[-2:] == [("resume", 0), ("resume", 1)]


def test_it_goes_on_at_the_deadline_if_told_so(clock: list[Host]) -> None:
    host = Host([999])
    clock.append(host)
    done = host.drain.run(30, go_on=True)
    assert done.jobs == ["job 0"]
    assert done.warnings == [f"goes on after {done.waited} s though these run: job 0"]
    assert ("resume", 0) not in host.calls


def test_one_that_cannot_be_resumed_keeps_no_other_paused() -> None:
    host = Host([0, 0])
    host.stuck = {0}
    with pytest.raises(AnsibleActionFail, match="no space"):
        host.drain.resume()
    assert host.calls == [("resume", 0), ("resume", 1)]


def test_jobs_of_other_daemons_count_among_the_jobs() -> None:
    answer = {
        "idle": False,
        "paused": True,
        "jobs": [{"text": "job 1"}],
        "others": [{"text": "job 2", "activity": "busy"}, {"text": "x", "activity": "idle"}],
    }
    assert Status.from_answer(answer) == Status(False, True, ["job 1", "job 2"])


class Action(runner_drain.ActionModule):
    """The action of a host that answers as the module does."""

    asked: list[tuple[str, str, dict[str, Any]]]

    def ask(self, module: str, arguments: Any, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((module.rpartition(".")[2], arguments.get("op", ""), arguments))
        if module.endswith("host_info"):
            read = host_file.read("concurrent = 2\n[[runners]]\nname = 'a'\n")
            return {"info": {"runner_config": read}}
        status = {"paused": False, "jobs": [], "idle": True}
        if any(op == "pause" for _, op, _ in self.asked):
            status["paused"] = True
        return {"status": status, "paused": True, "resumed": "merged"}


def act(check: bool = False, **args: Any) -> tuple[dict[str, Any], Action]:
    action = object.__new__(Action)
    action.asked = []
    action._task = SimpleNamespace(
        args=args, check_mode=check, async_val=0, no_log=False, action="runner_drain"
    )
    action._connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir="/tmp"), _play_context=SimpleNamespace(no_log=False)
    )
    return action.run(None, {}), action


def test_each_service_is_paused_with_its_file_without_runners() -> None:
    result, action = act(services=["", "deploy"])
    assert (result["changed"], result["jobs"], result["waited"]) == (True, [], 0)
    assert [f"{module} {op}" for module, op, _ in action.asked] == [
        *["runner_drain_io status", "host_info ", "runner_drain_io pause"],
        # Another service that was paused already.
        *["runner_drain_io status"] * 3,
    ]
    paused = action.asked[2][2]
    assert paused["unit"] == "gitlab-runner.service"
    assert b"runners]]" not in base64.b64decode(paused["text"])
    assert b"concurrent = 2" in base64.b64decode(paused["text"])


def test_result_is_what_is_documented() -> None:
    documented = set(yaml.safe_load(documentation.RETURN))
    shown = {"changed", "warnings"}
    assert set(act()[0]) - shown == documented
    assert set(act(state="resumed")[0]) - shown == documented - {"waited"}


def test_resume_says_what_was_added_by_hand() -> None:
    result, _ = act(state="resumed")
    assert result["changed"]
    assert result["warnings"] == ["a runner was added by hand during the drain; it was kept"]


def test_check_mode_only_asks() -> None:
    result, action = act(check=True, other_runners="ignore")
    assert (result["changed"], result["jobs"]) == (True, [])
    assert [op for _, op, _ in action.asked] == ["status"]


def test_a_lease_that_ends_between_two_calls_is_refused() -> None:
    with pytest.raises(AnsibleActionFail, match="lease: invalid value 5; expected 15 seconds"):
        act(lease=5)
