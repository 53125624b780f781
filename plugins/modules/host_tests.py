#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""The documentation of the `host_tests` action; the work is in plugins/action/host_tests.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_tests
short_description: Runs tests/host against a host, over the connection that Ansible has
description:
  - Resolves the roles' variables of the host as Ansible does (vault, groups, limits), hands them
    without secrets to pytest, and runs the testinfra suite that says what a provisioned host is.
  - Read-only.
version_added: 0.1.0
options:
  roles:
    description: Roles whose tests are run.
    type: list
    elements: str
    default: [build_tools, python_versions, gitlab_runner]
  arguments:
    description: Further arguments for pytest.
    type: list
    elements: str
    default: []
author:
  - The Runnerhost developers
"""

EXAMPLES = r"""
- name: Verify
  runnerhost.toolkit.host_tests:
"""

RETURN = r"""
summary:
  description: The last line of pytest's output.
  type: str
  returned: always
failures:
  description: The failing tests, each with C(what), C(expected), C(found) and C(where).
  type: list
  elements: dict
  returned: if pytest came to its end
"""
