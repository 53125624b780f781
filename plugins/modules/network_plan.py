#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""The documentation of the `network_plan` action; the work is in plugins/action/network_plan.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: network_plan
short_description: Decides what a host's ways in and out need, and refuses what cannot work
description:
  - Checks the variables of the role network_access, which it reads itself, so that no password is
    an argument. Where the distribution is to have a mirror that the host does not have yet, apt is
    asked with scratch lists whether it can use it. Changes nothing.
version_added: 0.1.0
options:
  removes:
    description: Whether what the variables do not name goes. Roles that set the ways up by the way
      leave it.
    type: bool
    default: true
author:
  - The Runnerhost developers
"""

EXAMPLES = r"""
- name: Check proxies, CAs, credentials and mirrors
  runnerhost.toolkit.network_plan:
  register: __network_access_planned
"""

RETURN = r"""
plan:
  description: The files with their texts, and the CAs that the host should trust.
  type: dict
  returned: success
"""
