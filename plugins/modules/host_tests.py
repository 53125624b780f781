#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `host_tests` action; the work is in plugins/action/host_tests.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_tests
short_description: Runs tests/host against a host, over the connection that Ansible has
description:
  - Resolves the roles' variables of the host as Ansible does (vault, groups, limits), hands them
    without secrets to pytest, and runs the testinfra suite that says what a provisioned host is.
  - Meanwhile compares the files whose content follows from these variables with the host's own.
  - Read-only.
version_added: 0.1.0
options:
  roles:
    description: Roles whose tests are run.
    type: list
    elements: str
    default:
      - network_access
      - build_tools
      - python_versions
      - publish_tools
      - gitlab_runner
      - index_credentials
  arguments:
    description: Further arguments for pytest.
    type: list
    elements: str
    default: []
  hand_over:
    description:
      - A file on the controller. Writes there what the tests are told, and runs none of them.
      - It may hold passwords of the connection. For C(pytest tests/host) by hand.
    type: path
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
- name: Verify
  runnerhost.toolkit.host_tests:
"""

RETURN = r"""
summary:
  description: The last line of pytest's output.
  type: str
  returned: if the tests ran
failures:
  description: The failing tests, each with C(what), C(expected), C(found) and C(where).
  type: list
  elements: dict
  returned: always
notes:
  description: What is no difference, but to be known.
  type: list
  elements: str
  returned: if the tests ran
unnamed_runners:
  description: Runners that the inventory does not name, each with C(name), C(id), C(service).
  type: list
  elements: dict
  returned: if the tests ran
venvs:
  description:
    - The result of M(runnerhost.toolkit.venv_info), which is asked while the tests run; C(failed)
      with C(msg) if there was no answer.
  type: dict
  returned: with C(python_versions) among the roles
files:
  description:
    - C(differences), the files whose content or mode is not the inventory's, each as one of
      RV(failures); C(failed) with C(msg) if they could not be read.
  type: dict
  returned: if the tests ran
wanted:
  description: The wanted versions of Python.
  type: list
  elements: str
  returned: with C(python_versions) among the roles
end_of_life_warning_days:
  description: How many days before a version's end of life to say so; -1 for never.
  type: int
  returned: with C(python_versions) among the roles
obstacle:
  description:
    - Why the host could not be checked. C(source) is C(connection) or C(controller), C(found) the
      words of ssh, sudo or pytest, C(remedy) what to do.
  type: dict
  returned: if the host could not be checked
"""
