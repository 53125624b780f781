#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `project_revoke` action; see plugins/action/project_revoke.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_revoke
short_description: Stops releases of projects in an emergency, and takes tokens out
description:
  - Runs on the controller alone. See the entry point C(operations/revoke) of the role
    C(gitlab_project), whose variables are the options.
  - What fails for one project keeps nothing else from being done, and is in RV(failures).
  - No value of a variable is in the result, nor in the note.
version_added: 0.2.0
requirements: [python-gitlab]
extends_documentation_fragment: [runnerhost.toolkit.gitlab_api, runnerhost.toolkit.gitlab_projects]
options:
  variables:
    description: Names of the CI/CD variables to take out; none keeps them.
    type: list
    elements: str
    default: [TWINE_PASSWORD]
  runner_tags:
    description: Protected runners with all of these tags are paused.
    type: list
    elements: str
    default: [publish]
  since:
    description: A day, in UTC; jobs that began before are not reported. Empty for 30 days.
    type: str
    default: ""
  note:
    description: The note, a file on the controller; empty for one in the current folder.
    type: str
    default: ""
  undo:
    description: A note whose incident is undone; empty for an incident.
    type: str
    default: ""
  resume:
    description: V(false) only reads what O(undo) names, and resumes no runner yet.
    type: bool
    default: true
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing anything.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: full
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: Stop releases and take the token out
  runnerhost.toolkit.project_revoke:
    url: https://gitlab.example.com
    api_token: "{{ vault_gitlab_project_api_token }}"
    projects:
      - project: group/demo
"""

RETURN = r"""
failures:
  description: What was not done, each with the reason.
  type: list
  elements: str
  returned: success
note:
  description: The note; empty if none was written.
  type: str
  returned: success
msg:
  description: What was done, where the token was, and what is left to a person, in lines.
  type: list
  elements: str
  returned: success
"""
