#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action `index_credentials`: plugins/action/index_credentials.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: index_credentials
short_description: Plans the files with credentials of package indexes, for the role of that name
description:
  - Used by the role index_credentials alone.
  - Validates the variable of the role, which it reads itself, so that no token is an argument. Asks
    the host, in one call, about files in the way; not at all if no index is listed. Changes
    nothing.
version_added: 0.1.0
options:
  image:
    description: Whether an image is made, which has no credentials.
    type: bool
    default: false
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
- name: Plan the credentials of package indexes
  runnerhost.toolkit.index_credentials:
  register: index_credentials_plan
"""

RETURN = r"""
plan:
  description: What the role index_credentials does with the host; hidden if an index is listed.
  type: dict
  returned: success
  contains:
    files:
      description: Items for M(runnerhost.toolkit.file_set).
      type: list
      elements: dict
"""
