#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `release_doctor` action; see plugins/action/release_doctor.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_doctor
short_description: Says why a job of a release has failed, from its log
description:
  - Runs on the controller alone, without access to GitLab. See the entry point C(operations/doctor)
    of the role C(release_pipeline).
  - Changes nothing but the report. No secret of the log is shown.
version_added: 0.2.0
options:
  log:
    description: A file on the controller with the log of a job.
    type: str
    default: ""
  report:
    description: A file on the controller for the same as JSON; empty for none.
    type: str
    default: ""
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing anything.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: none
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: Read a job's log
  runnerhost.toolkit.release_doctor:
    log: job-4711.log
"""

RETURN = r"""
healthy:
  description: Whether it is the log of a job that has succeeded.
  type: bool
  returned: success
verdicts:
  description:
    - What the log says, the first cause first. C(id) is C(healthy), C(unknown), or that of an entry
      in data/symptoms.yml.
  type: list
  elements: dict
  returned: success
msg:
  description: The same in lines.
  type: list
  elements: str
  returned: success
"""
