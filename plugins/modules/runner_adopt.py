#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `runner_adopt` action; the work is in plugins/action/runner_adopt.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: runner_adopt
short_description: Writes the inventory's variables for the runners that a host has
description:
  - Reads config.toml of the host's main service and of its isolated ones, and writes a file of
    variables on the controller, without secrets. Changes nothing on the host.
  - What it writes goes through the role as it is. A value that the role would refuse is a comment
    in the file, with the reason.
  - An existing file that differs is not overwritten; the task fails.
version_added: 0.1.0
requirements: [tomlkit]
options:
  file:
    description: The file on the controller.
    type: path
    required: true
  url:
    description: The GitLab, should no runner name one.
    type: str
    required: true
  isolated:
    description: Isolated runners of the inventory, beside those that the host has.
    type: list
    elements: str
    default: []
  environment_allowed:
    description: Names that the environment may hold, though they look like a secret's.
    type: list
    elements: str
    default: []
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
- name: Write the inventory's variables
  runnerhost.toolkit.runner_adopt:
    url: https://gitlab.example.com
    file: adopted/runner1.yml
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
vault:
  description: Names of variables that the file refers to and that go into the vault.
  type: list
  elements: str
  returned: success
left_out:
  description: What the role would refuse, with the reason.
  type: list
  elements: str
  returned: success
msg:
  description: What was done, in lines.
  type: list
  elements: str
  returned: success
"""
