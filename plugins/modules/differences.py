#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `differences` action; the work is in plugins/action/differences.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: differences
short_description: Says what differs from the inventory on a host, in words and as JSON
description:
  - Brings what other tasks have found into one shape, on the controller.
  - With O(report) it writes the file of one run, or without O(hosts) removes an earlier run's.
version_added: 0.1.0
options:
  gitlab:
    description: Results of M(runnerhost.toolkit.runner_registration), of loops too.
    type: list
    elements: dict
    default: []
  gitlab_ended_by:
    description: What has ended that part, where it is none of O(gitlab).
    type: dict
    default: {}
  tests:
    description: The result of M(runnerhost.toolkit.host_tests).
    type: dict
    default: {}
  reached:
    description: The result of M(runnerhost.toolkit.host_facts).
    type: dict
    default: {}
  venvs:
    description: The result of M(runnerhost.toolkit.venv_info).
    type: dict
    default: {}
  wanted:
    description: The wanted versions of Python.
    type: list
    elements: str
    default: []
  end_of_life_warning_days:
    description: How many days before a version's end of life to say so; -1 for never.
    type: int
    default: -1
  report:
    description: A file on the controller.
    type: path
  hosts:
    description:
      - For the report, each host with what this action returned for it; empty for no answer.
    type: dict
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing the host.
    support: partial
    details: The report on the controller is written in check mode too.
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: none
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: Say what differs
  runnerhost.toolkit.differences:
    tests: "{{ tests }}"
"""

RETURN = r"""
differences:
  description: Each with C(what), C(expected), C(found), C(where) and C(source).
  type: list
  elements: dict
  returned: without O(report)
notes:
  description: What is no difference, but to be known.
  type: list
  elements: str
  returned: without O(report)
obstacles:
  description: Why the host could not be checked, each with C(source), C(found) and C(remedy).
  type: list
  elements: dict
  returned: without O(report)
unnamed_runners:
  description: The host's runners that the inventory does not name.
  type: list
  elements: dict
  returned: without O(report)
words:
  description: All of it, a line each.
  type: list
  elements: str
  returned: without O(report)
"""
