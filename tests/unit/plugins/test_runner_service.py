# SPDX-License-Identifier: GPL-3.0-or-later
"""How the runner's service is brought up, whatever state it is found in."""

from __future__ import annotations

import time
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _drain,
    _service_restart,
    _system,
    _systemd,
)
from ansible_collections.runnerhost.toolkit.plugins.modules import runner_service as module

UNIT = "gitlab-runner.service"
SERVICE = _service_restart.Service(unit=UNIT, drop_in="/x", generation="new", user="nobody")
DEAD = {"ActiveState": "inactive", "SubState": "dead"}
RUNS = {"ActiveState": "active", "SubState": "running"}
STARTS = {"ActiveState": "activating", "SubState": "start-pre"}
WAITS = {"ActiveState": "activating", "SubState": "auto-restart"}


def start(
    monkeypatch: pytest.MonkeyPatch,
    found: dict[str, str],
    later: dict[str, str],
    check_mode: bool = False,
) -> tuple[list[str], list[list[str]]]:
    """What is done, in words and as commands, with a service that comes to ``later`` by itself."""
    ran: list[list[str]] = []

    def run(argv: list[str], **_: object) -> CompletedProcess[str]:
        ran.append(argv)
        return CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(_system, "run", run)
    monkeypatch.setattr(_systemd, "units", lambda _: {UNIT: later})
    monkeypatch.setattr(_system, "generation", lambda _: "new")
    monkeypatch.setattr(_service_restart, "SOON_SECONDS", 0.0)
    actions = _service_restart.Actions(check_mode)
    _service_restart.start(SERVICE, found, actions)
    return actions.done, ran


def test_service_that_systemd_starts_in_minutes_is_started_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # By a restart: a start would wait for systemd's own.
    assert start(monkeypatch, WAITS, WAITS) == ([f"start {UNIT}"], [["systemctl", "restart", UNIT]])
    assert start(monkeypatch, WAITS, WAITS, check_mode=True) == ([f"start {UNIT}"], [])


def test_service_that_comes_back_by_itself_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have taken a job, for whose end a restart would wait."""
    assert start(monkeypatch, WAITS, RUNS) == ([], [])


@pytest.mark.parametrize("found", [RUNS, STARTS])
def test_service_that_runs_or_starts_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, str]
) -> None:
    assert start(monkeypatch, found, found) == ([], [])


def test_dead_service_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(monkeypatch, DEAD, DEAD) == ([f"start {UNIT}"], [["systemctl", "start", UNIT]])


def test_service_that_has_just_started_is_not_signalled_yet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And not at all if another process has these settings by then."""
    events: list[str] = []
    pids = ["17"]

    def run(argv: list[str], **_: object) -> CompletedProcess[str]:
        events.append(argv[1])
        return CompletedProcess(argv, 0, "", "")

    def wait(_: str) -> None:
        events.append("waits")

    monkeypatch.setattr(_system, "run", run)
    monkeypatch.setattr(_systemd, "units", lambda _: {UNIT: {**RUNS, "MainPID": pids[-1]}})
    monkeypatch.setattr(_system, "generation", lambda pid: "new" if pid == 18 else "old")
    monkeypatch.setattr(_system, "has_children", lambda _: True)
    monkeypatch.setattr(_service_restart, "mark_of", lambda _: str(tmp_path / "mark"))
    monkeypatch.setattr(_drain, "await_listening", wait)
    assert _service_restart.restart_when_idle(SERVICE, _service_restart.Actions(False))
    assert events == ["waits", "kill"]

    (tmp_path / "mark").unlink()
    events.clear()
    monkeypatch.setattr(_drain, "await_listening", lambda _: pids.append("18"))
    assert not _service_restart.restart_when_idle(SERVICE, _service_restart.Actions(False))
    assert events == []


class Ended(Exception):
    """The module's answer."""

    def __init__(self, **answer: Any) -> None:
        super().__init__(answer.get("msg", ""))
        self.answer = answer


def run_module(
    monkeypatch: pytest.MonkeyPatch,
    units: dict[str, dict[str, str]],
    check_mode: bool = False,
    started: dict[str, str] | None = None,
    says: str = "",
    **params: Any,
) -> tuple[dict[str, Any], list[list[str]]]:
    """The module's answer on a host with these units, and the commands that it ran.

    Args:
        monkeypatch: pytest's.
        units: the host's.
        check_mode: whether it only predicts.
        started: what a start makes of a unit.
        says: its journal.
        params: the module's.
    """
    ran: list[list[str]] = []

    def end(**answer: Any) -> None:
        raise Ended(**answer)

    def run(argv: list[str], **_: object) -> CompletedProcess[str]:
        ran.append(argv)
        if argv[1] == "enable":
            units[argv[2]]["UnitFileState"] = "enabled"
        if argv[1] == "start":
            units[argv[2]].update({**RUNS, "MainPID": "18", **(started or {})})
        return CompletedProcess(argv, 0, says if argv[0] == "journalctl" else "", "")

    given = {
        "user_manager": True, "logind": {"kill": False, "only": []}, "reloaded": False,
        "package_missing": False, "guard": False, **params,
    }  # fmt: skip
    fake = SimpleNamespace(
        params=given, check_mode=check_mode, _diff=False, fail_json=end, exit_json=end
    )
    monkeypatch.setattr(module, "AnsibleModule", lambda **_: fake)
    monkeypatch.setattr(_system, "run", run)
    monkeypatch.setattr(_system, "system_python_problem", lambda: None)
    monkeypatch.setattr(_system, "user", lambda _: None)
    monkeypatch.setattr(_system, "generation", lambda pid: "new" if pid else "")
    monkeypatch.setattr(_systemd, "has_systemd", lambda: True)
    monkeypatch.setattr(_systemd, "logind", lambda: None)
    monkeypatch.setattr(
        _systemd, "units", lambda names: {n: {**units[n]} for n in names if n in units}
    )
    monkeypatch.setattr(_service_restart, "BACK_SECONDS", 0.0)
    monkeypatch.setattr(module, "BACK_SECONDS", 0.0)
    with pytest.raises(Ended) as ended:
        module.main()
    return ended.value.answer, ran


def wanted(unit: str, **more: Any) -> dict[str, Any]:
    return {"unit": unit, "drop_in": "/x", "generation": "new", "user": "nobody", **more}


GOOD = {
    **RUNS, "LoadState": "loaded", "UnitFileState": "enabled", "MainPID": "17",
    "DropInPaths": "/x", "KillSignal": "3", "KillMode": "mixed",
}  # fmt: skip
OTHER = "gitlab-runner-publish.service"


def test_masked_unit_is_not_told_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = {"Id": UNIT, "LoadState": "masked", "UnitFileState": "masked", "ActiveState": "x"}
    answer, _ = run_module(monkeypatch, {UNIT: masked}, services=[wanted(UNIT)])
    assert "is masked on the host" in answer["msg"]
    assert "systemctl unmask gitlab-runner" in answer["msg"]


def test_all_services_are_settled_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    units = {UNIT: {**GOOD}, OTHER: {**GOOD, **DEAD, "UnitFileState": "disabled", "MainPID": "0"}}
    both = [wanted(UNIT), wanted(OTHER, isolated=True)]
    answer, ran = run_module(monkeypatch, units, services=both)
    assert answer["actions"] == [f"enable {OTHER}", f"start {OTHER}"]
    assert answer["pending"] == []
    assert [argv[:2] for argv in ran] == [["systemctl", "enable"], ["systemctl", "start"]]
    again, ran = run_module(monkeypatch, units, services=both)
    assert (again["changed"], ran) == (False, [])


def test_what_is_wrong_with_a_service_does_not_keep_the_next_one_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    units = {UNIT: {"LoadState": "not-found"}, OTHER: {**GOOD, **DEAD, "MainPID": "0"}}
    answer, _ = run_module(
        monkeypatch, units, services=[wanted(UNIT), wanted(OTHER, isolated=True)]
    )
    assert answer["msg"] == f"{UNIT} is not on the host: its package brings it"
    assert answer["actions"] == [f"start {OTHER}"]


def test_check_mode_names_what_comes_with_the_package_and_with_the_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The package's own scripts start its service; a unit of the toolkit's is not there yet."""
    coming = [wanted(UNIT, unit_missing=True), wanted(OTHER, isolated=True, unit_missing=True)]
    answer, ran = run_module(
        monkeypatch, {}, check_mode=True, services=coming, package_missing=True, reloaded=True
    )
    assert answer["actions"] == [f"enable {OTHER}", f"start {OTHER}"]
    assert ran == []
    # A unit whose file is gone though its package is there.
    answer, _ = run_module(monkeypatch, {}, check_mode=True, services=coming[:1])
    assert "its package brings it" in answer["msg"]


@pytest.mark.parametrize("guard", [True, False])
def test_a_service_whose_stop_would_kill_jobs_is_refused(
    monkeypatch: pytest.MonkeyPatch, guard: bool
) -> None:
    units = {UNIT: {**GOOD}, OTHER: {**GOOD, "KillSignal": "15"}}
    answer, _ = run_module(
        monkeypatch, units, guard=guard, services=[wanted(UNIT), wanted(OTHER, isolated=True)]
    )
    assert answer["msg"].startswith(f"{OTHER} would be stopped with signal 15")


LISTENER = (
    "INFO: Listening\n\x1b[31;1mFATAL: Failed to create listener for metrics server\x1b[0;m "
    "\x1b[31;1merror\x1b[0;m=listen tcp 127.0.0.1:22: bind: address already in use\n"
)


def test_a_daemon_that_ends_after_its_start_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    units = {UNIT: {**GOOD, **DEAD, "MainPID": "0"}}
    answer, _ = run_module(
        monkeypatch, units, started={**RUNS, "NRestarts": "2"}, says=LISTENER,
        services=[wanted(UNIT)],
    )  # fmt: skip
    assert answer["msg"] == (
        f"{UNIT} does not stay up, systemd starts it again and again: Failed to create listener "
        "for metrics server error=listen tcp 127.0.0.1:22: bind: address already in use; set "
        "listen_address (or session_server) to an address of this host with a free port, or end "
        "the program that has it, then run this again"
    )
    assert answer["actions"] == [f"start {UNIT}"]


def test_a_daemon_that_systemd_starts_again_and_again_is_no_running_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the next run finds it: up at each look, until the count has grown."""
    units = {UNIT: {**GOOD, "NRestarts": "50"}}
    monkeypatch.setattr(_drain, "age", lambda _: 0.5)
    monkeypatch.setattr(time, "sleep", lambda _: units[UNIT].update(NRestarts="51"))
    monkeypatch.setattr(_drain, "is_listening", lambda _: False)
    monkeypatch.setattr(time, "monotonic", lambda: -1.0)
    answer, _ = run_module(monkeypatch, units, says="FATAL: no token", services=[wanted(UNIT)])
    assert "does not stay up, systemd starts it again and again: no token; mend" in answer["msg"]
    assert "changed" not in answer


def test_a_daemon_that_systemd_has_started_again_and_that_is_ready_is_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_drain, "age", lambda _: 0.5)
    monkeypatch.setattr(_drain, "is_listening", lambda _: True)
    answer, ran = run_module(
        monkeypatch, {UNIT: {**GOOD, "NRestarts": "50"}}, services=[wanted(UNIT)]
    )
    assert (answer["changed"], ran) == (False, [])


@pytest.mark.parametrize("count", ["4", "5"])
def test_a_signalled_restart_is_no_end_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: str
) -> None:
    """systemd counts it; one more is one too many."""
    unit = {**RUNS, "MainPID": "17", "NRestarts": "3"}

    def run(argv: list[str], **_: object) -> CompletedProcess[str]:
        if argv[1] == "kill":
            unit.update(MainPID="18", NRestarts=count)
        return CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(_system, "run", run)
    monkeypatch.setattr(_systemd, "units", lambda _: {UNIT: {**unit}})
    monkeypatch.setattr(_system, "generation", lambda pid: "new" if pid == 18 else "old")
    monkeypatch.setattr(_system, "has_children", lambda _: False)
    monkeypatch.setattr(_service_restart, "mark_of", lambda _: str(tmp_path / "mark"))
    monkeypatch.setattr(_drain, "await_listening", lambda _: None)
    actions = _service_restart.Actions(False)
    if count == "4":
        assert not _service_restart.restart_when_idle(SERVICE, actions)
    else:
        with pytest.raises(_service_restart.Problem, match="does not stay up"):
            _service_restart.restart_when_idle(SERVICE, actions)
