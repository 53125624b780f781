#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the runner's service into force without ending a job; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: runner_service
short_description: Makes systemd, logind and the runner services use what is on the host
description:
  - Everything is read from the host's own state, so that a run that was killed half-way is made
    good by the next one.
  - What only a restart brings into force is signalled with SIGQUIT to the main process. The
    runner then takes no new jobs, ends the running ones well and exits; systemd starts it again.
    Nobody has to wait for it. A restart that was signalled is marked under /run and not signalled
    twice.
version_added: 0.1.0
options:
  services:
    description:
      - The services, the package's own first. Of each C(unit), the C(drop_in) that must be
        loaded, the C(generation) of settings that it should have been started with, the C(user) of
        its jobs, whether the toolkit brings its unit (C(isolated)), and whether that is still to
        come (C(unit_missing)).
    type: list
    elements: dict
    required: true
  user_manager:
    description: Whether job users keep their systemd manager.
    type: bool
    required: true
  logind:
    description: What logind should have in force, C(kill) and C(only).
    type: dict
    required: true
  reloaded:
    description: Whether systemd has, or in check mode would have, reloaded its units in this run.
    type: bool
    default: false
  guard:
    description: Only check that a stop of the running services would let their jobs end.
    type: bool
    default: false
  package_missing:
    description: In check mode, whether the package that brings the service is still to come.
    type: bool
    default: false
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing the host.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: full
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: Converge
  runnerhost.toolkit.runner_service:
    services:
      - unit: gitlab-runner.service
        drop_in: /etc/systemd/system/gitlab-runner.service.d/zz-runnerhost.conf
        generation: 0123456789abcdef
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
  description: What the host will do by itself.
  type: list
  elements: str
  returned: always
"""

import os
from collections.abc import Callable
from dataclasses import fields

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _system,
    _systemd,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._service_restart import (
    BACK_SECONDS,
    Actions,
    Problem,
    Service,
    await_ready,
    journal,
    mark_of,
    restart_when_idle,
    start,
    wait_until,
)


def reload(services: list[Service], user_manager: bool, actions: Actions) -> None:
    """Makes systemd reload its units if they differ from the files."""
    managers = {}
    for service in services:
        account = _system.user(service.user)
        if account:
            managers[service.unit] = f"user@{account['uid']}.service"
    found = _systemd.units([*(one.unit for one in services), *managers.values()])
    for service in services:
        unit = found.get(service.unit, {})
        manager = found.get(managers.get(service.unit, ""), {})
        ours = "zz-runnerhost" in manager.get("DropInPaths", "")
        if (
            "yes" in (unit.get("NeedDaemonReload"), manager.get("NeedDaemonReload"))
            or (
                unit.get("LoadState") == "loaded"
                and service.drop_in not in unit.get("DropInPaths", "")
            )
            or (service.unit in managers and ours == user_manager)
        ):
            actions.do("daemon-reload", ["systemctl", "daemon-reload"])
            return


def set_logind(asked: _systemd.Logind, actions: Actions) -> None:
    """Restarts logind if it has not the wanted settings in force; harmless to sessions."""
    wanted: _systemd.Logind = {"kill": bool(asked["kill"]), "only": sorted(set(asked["only"]))}
    in_force = _systemd.logind()
    if in_force is None or in_force == wanted:
        return
    actions.do("restart systemd-logind", ["systemctl", "restart", "systemd-logind.service"])
    now = wanted if actions.check else _systemd.logind()
    if now and now != wanted:
        raise Problem(
            "logind has KillUserProcesses="
            f"{'yes' if now['kill'] else 'no'} and KillOnlyUsers={' '.join(now['only'])} in "
            "force in spite of the toolkit's file: another file in logind.conf.d comes after "
            "it; take it away, or set gitlab_runner_kill_leftover_processes=false"
        )


def converge(service: Service, actions: Actions) -> bool:
    """Enables and starts a service, and has it restarted; True if that is still to come."""
    unit = service.properties()
    coming = actions.check and service.isolated and service.unit_missing
    if unit.get("LoadState") != "loaded" and not coming:
        masked = _systemd.masked({service.unit: unit})
        missing = f"{service.unit} is not on the host: its package brings it"
        raise Problem(masked[0] if masked else missing)
    if unit.get("UnitFileState") != "enabled":
        actions.do(f"enable {service.unit}", ["systemctl", "enable", service.unit], service.unit)
    count = start(service, unit, actions)
    # What is signalled now, or was earlier, is a restart too.
    due = 0 if service.runs() else 1
    if restart_when_idle(service, actions):
        return True
    if not actions.check:
        await_ready(service, count + due)
        if not wait_until(
            lambda: service.properties().get("ActiveState") == "active", BACK_SECONDS
        ):
            state = service.properties()
            raise Problem(
                f"{service.unit} is {state.get('ActiveState')} ({state.get('SubState')})",
                journal(service.unit),
            )
        service.require_graceful(service.properties())
        if os.path.exists(mark_of(service.unit)):
            os.unlink(mark_of(service.unit))
    return False


def each(
    services: list[Service], work: Callable[[Service], bool]
) -> tuple[list[str], list[Problem]]:
    """Does something for every service, whatever is wrong with the others.

    Returns the units for which it said True, and what went wrong.
    """
    said, problems = [], []
    for service in services:
        try:
            if work(service):
                said.append(service.unit)
        except Problem as problem:
            problems.append(problem)
    return said, problems


def guard(service: Service) -> bool:
    """Fails if a stop of a running service would end its jobs."""
    unit = service.properties()
    if unit.get("ActiveState") == "active":
        service.require_graceful(unit)
    return False


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "services": {
                "type": "list",
                "elements": "dict",
                "required": True,
            },
            "user_manager": {"type": "bool", "required": True},
            "logind": {"type": "dict", "required": True},
            "reloaded": {"type": "bool", "default": False},
            "package_missing": {"type": "bool", "default": False},
            "guard": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    problem = _system.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    asked = module.params
    names = [one.name for one in fields(Service)]
    services = [
        Service(**{name: one[name] for name in names if name in one}) for one in asked["services"]
    ]
    actions = Actions(module.check_mode)
    if not _systemd.has_systemd():
        module.exit_json(changed=False, actions=[], pending=[], msg="systemd does not run here")
    pending: list[str] = []
    try:
        if asked["guard"]:
            __, problems = each(services, guard)
        else:
            # On a fresh host the package's own scripts reload systemd, enable and start its own.
            if module.check_mode and asked["package_missing"]:
                services = [one for one in services if one.isolated]
            if not (module.check_mode and asked["reloaded"]):
                reload(services, asked["user_manager"], actions)
            set_logind(asked["logind"], actions)
            pending, problems = each(services, lambda one: converge(one, actions))
    except Problem as failure:
        problems = [failure]
    if problems:
        module.fail_json(
            msg="; ".join(map(str, problems)),
            journal=[line for one in problems for line in one.journal],
            actions=actions.done,
        )
    diff = {"prepared": "".join(f"{what}\n" for what in actions.done)}
    module.exit_json(
        changed=bool(actions.done),
        actions=actions.done,
        pending=[
            f"restart of {unit}, by itself once its running jobs have ended" for unit in pending
        ],
        **({"diff": diff} if module._diff and actions.done else {}),
    )


if __name__ == "__main__":
    main()
