#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `network_plan` action; the work is in plugins/action/network_plan.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: network_plan
short_description: Plans the network settings of a host, for the role network_access
description:
  - Used by the role network_access alone.
  - Validates the variables of the role, which it reads itself, so that no password is an argument.
    Where the distribution is to have a mirror that the host does not have yet, apt is asked with
    scratch lists whether it can use it. Changes nothing.
version_added: 0.1.0
options:
  removes:
    description:
      - Whether settings that the variables do not name are removed. Roles that include the role
        network_access leave them.
    type: bool
    default: true
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
- name: Check proxies, CAs, credentials and mirrors
  runnerhost.toolkit.network_plan:
  register: network_access_plan
"""

RETURN = r"""
plan:
  description: What the role network_access does with the host; hidden where it has a password.
  type: dict
  returned: success
  contains:
    files:
      description: Items for M(runnerhost.toolkit.file_set), in their order.
      type: list
      elements: dict
    authorities:
      description: The private CAs that the host should trust.
      type: dict
      contains:
        folder:
          description: The folder of their files.
          type: str
        unless_found:
          description: The option of that name of a command of M(runnerhost.toolkit.file_set).
          type: dict
"""
