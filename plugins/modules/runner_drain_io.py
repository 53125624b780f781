#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's side of the `runner_drain` action; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: runner_drain_io
short_description: Pauses one runner service, reports its jobs, and ends the pause
description:
  - Internal to the action M(runnerhost.toolkit.runner_drain). Not for use in a playbook.
version_added: 0.1.0
options:
  op:
    description: What to do.
    type: str
    choices: [pause, status, resume]
    required: true
  folder:
    description: The folder of config.toml.
    type: str
    default: /etc/gitlab-runner
  unit:
    description: The service.
    type: str
    default: gitlab-runner.service
  expected:
    description: The sha256 of the config.toml that was read, for C(pause).
    type: str
    default: ""
  text:
    description: The configuration without runners, in base64, for C(pause).
    type: str
    default: ""
  lease:
    description: Seconds without a call after which the host takes the pause back.
    type: int
    default: 120
  patience:
    description: Seconds that C(status) may wait for the last job's end.
    type: int
    default: 0
  beside:
    description: >-
      The services that are drained, each with its config.toml; other daemons count then too, for
      C(status).
    type: dict
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing the host.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: none
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: Ask
  runnerhost.toolkit.runner_drain_io:
    op: status
"""

RETURN = r"""
status:
  description: Whether it is paused and idle, and its jobs.
  type: dict
  returned: when O(op=status)
paused:
  description: Whether the file was still the one that had been read.
  type: bool
  returned: when O(op=pause)
resumed:
  description: C(nothing), C(resumed), or C(merged) where a runner was added meanwhile.
  type: str
  returned: when O(op=resume)
"""

import base64
import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _drain, _runner_processes
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_search import Daemon

# Quiet is believed only if it lasts: between two stages a job has no process.
QUIET_SECONDS = 3.0


def other_runners(beside: dict[str, str] | None) -> list[Daemon]:
    """The daemons beside those that are drained; none if they are not asked for."""
    return [] if beside is None else _runner_processes.others(beside)


class Status(_drain.Status):
    """The same, with the daemons that the toolkit does not manage.

    Attributes:
        others: these daemons.
        idle: whether all have been idle for some time.
    """

    others: list[Daemon]
    idle: bool


def status(asked: Mapping[str, Any]) -> Status:
    """What the service does, asked until it is idle for some time or the patience is over.

    A quiet that has begun is seen to its end: on a busy disk one question may take seconds.
    """
    end = time.monotonic() + asked["patience"]
    quiet_since: float | None = None
    while True:
        _drain.renew(asked["folder"], asked["lease"])
        found = _drain.status(asked["unit"], asked["folder"])
        others = other_runners(asked.get("beside"))
        now = time.monotonic()
        if found["busy"] or any(one["activity"] != "idle" for one in others):
            quiet_since = None
        elif quiet_since is None:
            quiet_since = now
        idle = quiet_since is not None and (now - quiet_since >= QUIET_SECONDS or not found["pid"])
        waits = asked["patience"] and quiet_since is not None
        if idle or (now >= end and not waits):
            return {**found, "others": others, "idle": idle}
        time.sleep(0.5)


def renewed_status(asked: Mapping[str, Any], *, check: bool) -> Mapping[str, object]:
    """The status; what a drain that was cut off has left is taken back first."""
    folder, unit = asked["folder"], asked["unit"]
    if check:
        return {**_drain.status(unit, folder), "others": other_runners(asked["beside"])}
    if _drain.is_paused(folder) and not _drain.lease_left(folder):
        # From the start, with what the file holds now.
        _drain.resume(folder)
        _drain.reload(unit)
    return status(asked)


def pause(asked: Mapping[str, Any]) -> bool:
    """Pauses the service, if its file is still the one that was read."""
    folder, unit = asked["folder"], asked["unit"]
    # Before the pause: from its first moment on something must be there to take it back.
    _drain.set_resume_timer(unit, on=True)
    text = base64.b64decode(asked["text"]).decode()
    done = _drain.pause(folder, asked["expected"], text, asked["lease"])
    if done:
        _drain.reload(unit)
    return done


def resume(asked: Mapping[str, Any]) -> str:
    """Takes the pause back."""
    done = _drain.resume(asked["folder"])
    if done != "nothing":
        _drain.reload(asked["unit"])
    _drain.set_resume_timer(asked["unit"], on=False)
    return done


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "op": {"type": "str", "choices": ["pause", "status", "resume"], "required": True},
            "folder": {"type": "str", "default": "/etc/gitlab-runner"},
            "unit": {"type": "str", "default": "gitlab-runner.service"},
            "expected": {"type": "str", "default": ""},
            # What is left without the runners may still hold a Sentry address with a key.
            "text": {"type": "str", "default": "", "no_log": True},
            "lease": {"type": "int", "default": 120},
            "patience": {"type": "int", "default": 0},
            "beside": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    if asked["op"] == "status":
        found = renewed_status(asked, check=module.check_mode)
        module.exit_json(changed=False, status=found)
    if asked["op"] == "pause":
        done = pause(asked)
        module.exit_json(changed=done, paused=done)
    resumed = resume(asked)
    module.exit_json(changed=resumed != "nothing", resumed=resumed)


if __name__ == "__main__":
    main()
