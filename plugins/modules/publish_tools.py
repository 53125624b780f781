#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `publish_tools` action of plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: publish_tools
short_description: Plans and installs the tools for publishing, for the role publish_tools
description:
  - Used by the role publish_tools alone.
  - Installs a lock of pip with hashes into an environment of root's, with the release program, and
    links the commands into C(/usr/local/bin). With O(simulate), changes nothing.
version_added: 0.1.0
options:
  simulate:
    description: Validates the variables of the role and the lock, and compares the host with them.
    type: bool
    default: false
  state:
    description: Whether the host has the tools.
    type: str
    choices: [present, absent]
    default: present
  lock:
    description: A path on the controller; empty for the lock of the toolkit.
    type: str
    default: ""
  python:
    description: Path of the interpreter on the host.
    type: str
    required: true
  commands:
    description: The tools that are to be on PATH.
    type: list
    elements: str
    required: true
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
- name: Compare the tools of a host with the lock
  runnerhost.toolkit.publish_tools:
    simulate: true
    python: /usr/bin/python3
    commands: [twine, uv]
  register: tools
"""

RETURN = r"""
changed_paths:
  description: The paths that were, or would be, changed.
  type: list
  elements: str
  returned: without O(simulate)
plan:
  description: What the role publish_tools does with the host.
  type: dict
  returned: with O(simulate)
  contains:
    changes:
      description: What differs, in words; empty if nothing does.
      type: list
      elements: str
    packages:
      description: The packages that the interpreter needs to make an environment.
      type: list
      elements: str
"""
