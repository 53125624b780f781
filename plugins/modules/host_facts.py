#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `host_facts` action; the work is in plugins/action/host_facts.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Gathers the facts that the roles take, or says what keeps Ansible from the host
description:
  - Reads the facts about the distribution. Where that cannot be, it tells the words of ssh, sudo or
    the shell, and what to do.
version_added: 0.1.0
options:
  keep_going:
    description: Return an obstacle as C(obstacle) instead of failing.
    type: bool
    default: false
  obstacle:
    description: An obstacle that was found before; the host is reported as unreachable with it.
    type: dict
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
- name: Gather facts
  runnerhost.toolkit.host_facts:
"""

RETURN = r"""
ansible_facts:
  description:
    - C(distribution), C(distribution_release), C(distribution_version),
      C(distribution_major_version) and C(os_family).
  type: dict
  returned: success
obstacle:
  description: With O(keep_going), what stands in the way - C(source), C(found), C(remedy).
  type: dict
  returned: if the host cannot be reached
"""
