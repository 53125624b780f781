#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""The host's side of the `runner_drain` action; see DOCUMENTATION."""

from __future__ import annotations

import base64
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _drain, _runner_processes

DOCUMENTATION = r"""
module: runner_drain
short_description: Pauses this host's runner, waits for its jobs, and takes the pause back
description:
  - The runner takes no new job, since its config.toml names no runner for that time; running jobs
    go on. No other host that shares a token is touched, and GitLab is not asked.
  - The pause has a lease. A controller that waits renews it; without one the host itself takes
    the pause back, and so does the next start of the service and the next run of any playbook.
  - While it waits, it says every ten seconds for which jobs.
version_added: 0.1.0
requirements: [tomlkit]
options:
  state:
    description:
      - C(drained) pauses the runner and waits until no job runs.
      - C(resumed) takes the pause back.
    type: str
    choices: [drained, resumed]
    default: drained
  deadline:
    description: How long to wait for running jobs, in seconds.
    type: int
    default: 7200
  at_deadline:
    description:
      - C(give_up) takes the pause back and fails; all is as it was.
      - C(go_on) leaves the runner paused and its jobs running, and says so.
    type: str
    choices: [give_up, go_on]
    default: give_up
  folder:
    description: The folder of config.toml.
    type: str
    default: /etc/gitlab-runner
  unit:
    description: The service.
    type: str
    default: gitlab-runner.service
  isolated:
    description: Names of isolated runners of the host, which are drained together with it.
    type: list
    elements: str
    default: []
  other_runners:
    description:
      - What to do about GitLab Runner daemons of the host that the toolkit does not manage.
      - C(ignore) leaves them alone, C(wait) waits for their jobs too, and refuses where the host
        does not show the jobs of such a daemon.
      - C(refuse) refuses where one of them runs that could take a job, and C(refuse_binary) where
        it runs the binary of the package gitlab-runner. Nothing was paused then.
    type: str
    choices: [ignore, wait, refuse, refuse_binary]
    default: ignore
  reason:
    description: What C(refuse) says that the operation would do to such a daemon.
    type: str
    default: ""
  own:
    description: Internal, the services that are drained, each with its config.toml.
    type: dict
  op:
    description: Internal to the action plugin, what to do in one call.
    type: str
    choices: [pause, look, resume]
  expected:
    description: Internal, the digest of the file that was read.
    type: str
    default: ""
  text:
    description: Internal, the paused file in base64.
    type: str
    default: ""
  lease:
    description: Seconds after which a silent controller is taken for dead, and the pause back.
    type: int
    default: 120
  patience:
    description: Internal, seconds that C(look) may wait for the last job's end.
    type: int
    default: 0
author:
  - The Runnerhost developers
"""

EXAMPLES = r"""
- name: Wait at most half an hour for running jobs
  runnerhost.toolkit.runner_drain:
    deadline: 1800

- name: Take new jobs again
  runnerhost.toolkit.runner_drain:
    state: resumed
"""

RETURN = r"""
jobs:
  description: The jobs that still run, in words.
  type: list
  elements: str
  returned: success
waited:
  description: Seconds that the drain took.
  type: int
  returned: when O(state=drained)
"""

# An idle look is believed only if it lasts: between two stages a job has no process.
QUIET_SECONDS = 3.0


def other_runners(own: dict[str, str] | None) -> list[dict[str, Any]]:
    """The daemons beside those that are drained; none if they are not asked for."""
    return [] if own is None else _runner_processes.others(own)


def look_until_idle(asked: dict[str, Any]) -> dict[str, Any]:
    """One look, repeated until the runner is idle for some time or the patience is over.

    A quiet that has begun is seen to its end: on a busy disk one look may take seconds.
    """
    end = time.monotonic() + asked["patience"]
    quiet_since: float | None = None
    while True:
        _drain.renew(asked["folder"], asked["lease"])
        found = _drain.look(asked["unit"], asked["folder"])
        found["others"] = other_runners(asked.get("own"))
        now = time.monotonic()
        if found["busy"] or any(one["activity"] != "idle" for one in found["others"]):
            quiet_since = None
        elif quiet_since is None:
            quiet_since = now
        found["idle"] = quiet_since is not None and (
            now - quiet_since >= QUIET_SECONDS or not found["pid"]
        )
        waits = asked["patience"] and quiet_since is not None
        if found["idle"] or (now >= end and not waits):
            return found
        time.sleep(0.5)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "op": {"type": "str", "choices": ["pause", "look", "resume"], "required": True},
            "folder": {"type": "str", "default": "/etc/gitlab-runner"},
            "unit": {"type": "str", "default": "gitlab-runner.service"},
            "expected": {"type": "str", "default": ""},
            # What is left without the runners may still hold a Sentry address with a key.
            "text": {"type": "str", "default": "", "no_log": True},
            "lease": {"type": "int", "default": 120},
            "patience": {"type": "int", "default": 0},
            "own": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    asked = module.params
    folder, unit = asked["folder"], asked["unit"]
    if asked["op"] == "look":
        if not module.check_mode and _drain.is_paused(folder) and not _drain.lease_left(folder):
            # Somebody's drain that was cut off: from the start, with what the file holds now.
            _drain.resume(folder)
            _drain.reload(unit)
        if module.check_mode:
            found = {**_drain.look(unit, folder), "others": other_runners(asked["own"])}
        else:
            found = look_until_idle(asked)
        module.exit_json(changed=False, look=found)
    if asked["op"] == "pause":
        # Before the pause: from its first moment on somebody must be there to take it back.
        _drain.watch(unit, on=True)
        text = base64.b64decode(asked["text"]).decode()
        done = _drain.pause(folder, asked["expected"], text, asked["lease"])
        if done:
            _drain.reload(unit)
        module.exit_json(changed=done, paused=done)
    said = _drain.resume(folder)
    if said != "nothing":
        _drain.reload(unit)
    _drain.watch(unit, on=False)
    module.exit_json(changed=said != "nothing", resumed=said)


if __name__ == "__main__":
    main()
