#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Brings the runner's service into force without ending a job; see DOCUMENTATION."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _drain,
    _files,
    _secrets,
    _system,
    _systemd,
)

DOCUMENTATION = r"""
module: runner_service
short_description: Makes systemd, logind and the runner's service use what is on the host
description:
  - Everything is read from the host's own state, so that a run that was killed half-way is made
    good by the next one.
  - What only a restart brings into force is signalled with SIGQUIT to the main process. The
    runner then takes no new jobs, ends the running ones well and exits; systemd starts it again.
    Nobody has to wait for it. A restart that was signalled is marked under /run and not signalled
    twice.
version_added: 0.1.0
options:
  unit:
    description: The service.
    type: str
    default: gitlab-runner.service
  generation:
    description: The mark of the settings that the service should have been started with.
    type: str
    required: true
  drop_in:
    description: The service's drop-in that must be loaded.
    type: str
    required: true
  user:
    description: The job user.
    type: str
    required: true
  user_manager:
    description: Whether the job user keeps its systemd manager.
    type: bool
    required: true
  logind:
    description: What logind should have in force, C(kill) and C(only).
    type: dict
    required: true
  reloaded:
    description: Whether systemd has, or in check mode would have, read its units anew in this run.
    type: bool
    default: false
  guard:
    description: Only check that a stop of the running service would let its jobs end.
    type: bool
    default: false
  package_missing:
    description: In check mode, whether the package that brings the service is still to come.
    type: bool
    default: false
  unit_missing:
    description: In check mode, whether a unit that the toolkit itself writes is still to come.
    type: bool
    default: false
author:
  - The Runnerhost developers
"""

EXAMPLES = r"""
- name: Settle
  runnerhost.toolkit.runner_service:
    generation: 0123456789abcdef
    drop_in: /etc/systemd/system/gitlab-runner.service.d/zz-runnerhost.conf
    user: gitlab-runner
    user_manager: false
    logind: {kill: true, only: [gitlab-runner]}
"""

RETURN = r"""
actions:
  description: What was, or would be, done.
  type: list
  elements: str
  returned: always
pending:
  description: What the host will do by itself, or an empty text.
  type: str
  returned: always
"""


# How long an idle runner may take to be back; it takes about two seconds (RestartSec=1).
BACK_SECONDS = 20.0
# Between two tries to start a service that dies, and how long our own setting needs to be over.
AUTO_RESTART = "auto-restart"
SOON_SECONDS = 5.0


class Service:
    """The unit, as systemd sees it now."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.unit: str = module.params["unit"]
        self.actions: list[str] = []

    def look(self) -> dict[str, str]:
        """Its properties."""
        return _systemd.units([self.unit]).get(self.unit, {})

    def runs(self, generation: str) -> bool:
        """True if its process was started with these settings."""
        return _system.generation(int(self.look().get("MainPID") or 0)) == generation

    def require_graceful(self, unit: dict[str, str]) -> None:
        """Fails if another drop-in makes a stop of the service kill its jobs."""
        if (unit.get("KillSignal"), unit.get("KillMode")) != ("3", "mixed"):
            self.module.fail_json(
                msg=f"{self.unit} would be stopped with signal {unit.get('KillSignal')} and "
                f"KillMode={unit.get('KillMode')}, which kills its jobs: another drop-in comes "
                f"after the toolkit's; take it away. Read in this order: {unit.get('DropInPaths')}",
                actions=self.actions,
            )

    def do(self, what: str, argv: list[str]) -> None:
        """One action, or in check mode its name."""
        self.actions.append(what)
        if self.module.check_mode:
            return
        done = _system.run(argv, timeout=120)
        if done.returncode:
            journal = _system.run(
                ["journalctl", "-u", self.unit, "-n", "15", "--no-pager", "-o", "cat"]
            )
            self.module.fail_json(
                msg=f"{what}: {_secrets.redact_text((done.stderr or done.stdout).strip())}",
                journal=_secrets.redact_text(journal.stdout).splitlines(),
                actions=self.actions,
            )


def mark_of(unit: str) -> str:
    """Where a service's restart is noted that was signalled; gone after a reboot."""
    return f"/run/runnerhost/{unit.removesuffix('.service')}.restart"


def read_mark(unit: str) -> str:
    """What was signalled before: the process and the settings it should be replaced for."""
    try:
        return _files.read_text(mark_of(unit)).strip()
    except OSError:
        return ""


def wait_until(condition: Any, seconds: float) -> bool:
    """Polls a condition."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def start(service: Service, unit: dict[str, str], generation: str) -> None:
    """Starts a service that does not run, and one that systemd would start in minutes only."""
    if unit.get("SubState") == AUTO_RESTART:
        # The package's own unit waits 120 s, ours one: what is back by then may have a job.
        if wait_until(lambda: service.look().get("SubState") != AUTO_RESTART, SOON_SECONDS):
            return
        # systemd leaves a start waiting for that time too.
        service.do("start", ["systemctl", "restart", service.unit])
    elif unit.get("ActiveState") not in ("active", "activating", "reloading", "deactivating"):
        service.do("start", ["systemctl", "start", service.unit])
    else:
        return
    if not service.module.check_mode:
        # systemd answers before the new process has its environment.
        wait_until(lambda: service.runs(generation), BACK_SECONDS)


def restart_when_idle(service: Service, generation: str) -> str:
    """Signals the restart that the settings need; returns what is still to come."""
    now = service.look()
    pid = int(now.get("MainPID") or 0)
    if now.get("ActiveState") != "active" or not pid:
        return ""
    if _system.generation(pid) == generation:
        return ""
    due = f"{pid} {generation}"
    if read_mark(service.unit).split()[:1] != [str(pid)]:
        if not service.module.check_mode:
            _drain.await_listening(service.unit)
            if service.look().get("MainPID") != str(pid):
                # It was restarted meanwhile, maybe with these settings.
                return restart_when_idle(service, generation)
        service.do(
            "restart when idle",
            ["systemctl", "kill", "--signal=SIGQUIT", "--kill-who=main", service.unit],
        )
        if service.module.check_mode:
            return ""
    if not service.module.check_mode:
        mark = mark_of(service.unit)
        os.makedirs(os.path.dirname(mark), mode=0o755, exist_ok=True)
        if read_mark(service.unit) != due:
            _files.write_atomic(mark, due + "\n", 0o644)

    def back_or_busy() -> bool:
        return service.runs(generation) or _system.has_children(pid)

    if (
        not service.module.check_mode
        and wait_until(back_or_busy, BACK_SECONDS)
        and service.runs(generation)
    ):
        return ""
    return "restart of the runner, by itself once its running jobs have ended"


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "default": "gitlab-runner.service"},
            "generation": {"type": "str", "required": True},
            "drop_in": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "user_manager": {"type": "bool", "required": True},
            "logind": {"type": "dict", "required": True},
            "reloaded": {"type": "bool", "default": False},
            "package_missing": {"type": "bool", "default": False},
            "unit_missing": {"type": "bool", "default": False},
            "guard": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    problem = _system.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    asked = module.params
    service = Service(module)
    if not _systemd.has_systemd():
        module.exit_json(changed=False, actions=[], pending="", msg="systemd does not run here")

    if asked["guard"]:
        unit = service.look()
        if unit.get("ActiveState") == "active":
            service.require_graceful(unit)
        module.exit_json(changed=False, actions=[], pending="")

    account = _system.user(asked["user"])
    manager = f"user@{account['uid']}.service" if account else ""
    found = _systemd.units([name for name in (service.unit, manager) if name])
    unit, user_unit = found.get(service.unit, {}), found.get(manager, {})
    ours = "zz-runnerhost" in user_unit.get("DropInPaths", "")
    in_force = _systemd.logind()
    wanted: dict[str, Any] = {
        "kill": bool(asked["logind"]["kill"]),
        "only": sorted(set(asked["logind"]["only"])),
    }

    # On a fresh host the package's own scripts reload systemd, enable and start the service.
    coming = module.check_mode and asked["package_missing"]
    stale = (
        unit.get("NeedDaemonReload") == "yes"
        or user_unit.get("NeedDaemonReload") == "yes"
        or (
            unit.get("LoadState") == "loaded"
            and asked["drop_in"] not in unit.get("DropInPaths", "")
        )
        or (bool(account) and ours == asked["user_manager"])
    )
    if not coming and stale and not (module.check_mode and asked["reloaded"]):
        service.do("daemon-reload", ["systemctl", "daemon-reload"])
    if in_force and in_force != wanted:
        service.do("restart systemd-logind", ["systemctl", "restart", "systemd-logind.service"])
        now = wanted if module.check_mode else _systemd.logind()
        if now and now != wanted:
            module.fail_json(
                msg="logind has KillUserProcesses="
                f"{'yes' if now['kill'] else 'no'} and KillOnlyUsers={' '.join(now['only'])} in "
                "force in spite of the toolkit's file: another file in logind.conf.d comes after "
                "it; take it away, or set gitlab_runner_kill_leftover_processes=false",
                actions=service.actions,
            )
    if not coming:
        if unit.get("LoadState") != "loaded" and not (module.check_mode and asked["unit_missing"]):
            words = _systemd.masked({service.unit: unit}) or [
                f"{service.unit} is not on the host: its package brings it"
            ]
            module.fail_json(msg=words[0])
        if unit.get("UnitFileState") != "enabled":
            service.do("enable", ["systemctl", "enable", service.unit])
        start(service, unit, asked["generation"])
    pending = "" if coming else restart_when_idle(service, asked["generation"])
    if not module.check_mode and not coming and not pending:
        if not wait_until(lambda: service.look().get("ActiveState") == "active", BACK_SECONDS):
            state = service.look()
            journal = _system.run(
                ["journalctl", "-u", service.unit, "-n", "15", "--no-pager", "-o", "cat"]
            )
            module.fail_json(
                msg=f"{service.unit} is {state.get('ActiveState')} ({state.get('SubState')})",
                journal=_secrets.redact_text(journal.stdout).splitlines(),
                actions=service.actions,
            )
        service.require_graceful(service.look())
        if os.path.exists(mark_of(service.unit)):
            os.unlink(mark_of(service.unit))
    answer: dict[str, Any] = {"actions": service.actions, "pending": pending}
    if module._diff and service.actions:
        answer["diff"] = {"prepared": "".join(f"{what}\n" for what in service.actions)}
    module.exit_json(changed=bool(service.actions), **answer)


if __name__ == "__main__":
    main()
