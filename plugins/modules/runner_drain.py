#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `runner_drain` action: see plugins/action/runner_drain.py."""

from __future__ import annotations

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
  services:
    description:
      - The names of the services, which are drained together; an empty one is that of the package's
        own service.
    type: list
    elements: str
    default: [""]
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
  lease:
    description:
      - Seconds without a call of the controller after which the host takes the pause back.
      - At least 15.
    type: int
    default: 120
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
- name: Wait at most half an hour for running jobs
  runnerhost.toolkit.runner_drain:
    deadline: 1800

- name: Take new jobs again
  runnerhost.toolkit.runner_drain:
    state: resumed
"""

RETURN = r"""
jobs:
  description: The jobs that still run, in words; in check mode those that run now.
  type: list
  elements: str
  returned: success
waited:
  description: Seconds that the drain took.
  type: int
  returned: when O(state=drained)
"""
