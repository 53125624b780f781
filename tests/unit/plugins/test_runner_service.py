"""How the runner's service is brought up, whatever state it is found in."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import ClassVar

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _drain, _system, _systemd
from ansible_collections.runnerhost.toolkit.plugins.modules import runner_service as module

UNIT = "gitlab-runner.service"
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
    monkeypatch.setattr(module, "SOON_SECONDS", 0.0)
    service = module.Service(SimpleNamespace(params={"unit": UNIT}, check_mode=check_mode))
    module.start(service, found, "new")
    return service.actions, ran


def test_service_that_systemd_starts_in_minutes_is_started_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # By a restart: a start would wait for systemd's own.
    assert start(monkeypatch, WAITS, WAITS) == (["start"], [["systemctl", "restart", UNIT]])
    assert start(monkeypatch, WAITS, WAITS, check_mode=True) == (["start"], [])


def test_service_that_comes_back_by_itself_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have taken a job, for whose end a restart would wait."""
    assert start(monkeypatch, WAITS, RUNS) == ([], [])


@pytest.mark.parametrize("found", [RUNS, STARTS])
def test_service_that_runs_or_starts_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, str]
) -> None:
    assert start(monkeypatch, found, found) == ([], [])


def test_dead_service_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(monkeypatch, DEAD, DEAD) == (["start"], [["systemctl", "start", UNIT]])


def test_service_that_has_just_started_is_not_signalled_yet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And not at all if another process has these settings by then."""
    events: list[str] = []
    pids = ["17"]
    service = module.Service(SimpleNamespace(params={"unit": UNIT}, check_mode=False))

    def run(argv: list[str], **_: object) -> CompletedProcess[str]:
        events.append(argv[1])
        return CompletedProcess(argv, 0, "", "")

    def wait(_: str) -> None:
        events.append("waits")

    monkeypatch.setattr(_system, "run", run)
    monkeypatch.setattr(_systemd, "units", lambda _: {UNIT: {**RUNS, "MainPID": pids[-1]}})
    monkeypatch.setattr(_system, "generation", lambda pid: "new" if pid == 18 else "old")
    monkeypatch.setattr(_system, "has_children", lambda _: True)
    monkeypatch.setattr(module, "mark_of", lambda _: str(tmp_path / "mark"))
    monkeypatch.setattr(_drain, "await_listening", wait)
    assert "by itself" in module.restart_when_idle(service, "new")
    assert events == ["waits", "kill"]

    (tmp_path / "mark").unlink()
    events.clear()
    monkeypatch.setattr(_drain, "await_listening", lambda _: pids.append("18"))
    assert module.restart_when_idle(service, "new") == ""
    assert events == []


def test_masked_unit_is_not_told_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class FailedError(Exception):
        pass

    class Module:
        check_mode = False
        _diff = False
        params: ClassVar[dict[str, object]] = {
            "unit": UNIT, "generation": "new", "drop_in": "/x", "user": "nobody", "guard": False,
            "user_manager": True, "logind": {"kill": False, "only": []}, "reloaded": False,
            "package_missing": False, "unit_missing": False,
        }  # fmt: skip

        def fail_json(self, msg: str, **_: object) -> None:
            raise FailedError(msg)

    monkeypatch.setattr(module, "AnsibleModule", lambda **_: Module())
    monkeypatch.setattr(_system, "system_python_problem", lambda: None)
    monkeypatch.setattr(_systemd, "has_systemd", lambda: True)
    monkeypatch.setattr(_system, "user", lambda _: None)
    monkeypatch.setattr(_systemd, "logind", dict)
    masked = {"Id": UNIT, "LoadState": "masked", "UnitFileState": "masked", "ActiveState": "x"}
    monkeypatch.setattr(_systemd, "units", lambda _: {UNIT: masked})
    with pytest.raises(FailedError, match=r"is masked on the host.*systemctl unmask gitlab-runner"):
        module.main()
