#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `validate_variables` action of plugins/action."""

from __future__ import annotations

DOCUMENTATION = r"""
module: validate_variables
short_description: Refuses unknown variables of the toolkit's roles, and values of a wrong type
description:
  - Compares a host's variables with the roles' argument specs, on the controller; no host is asked.
  - A variable that begins with a role's name and is none of its variables is refused, and one that
    is a misspelt variable of a role or playbook, each with the nearest right name. With
    C(runnerhost_unknown_variables=warn) they are warned of.
  - A value of a wrong type is one line, with what is expected.
  - A variable that was renamed is warned of, with its new name.
version_added: 0.1.0
options:
  roles:
    description: The roles that the play uses; all of them where it is not given.
    type: list
    elements: str
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
- name: Validate the variables of two roles
  runnerhost.toolkit.validate_variables:
    roles: [network_access, gitlab_runner]
"""

RETURN = r"""
warnings:
  description: The renamed variables, and the unknown ones where they are not refused.
  type: list
  elements: str
  returned: when there are any
"""
