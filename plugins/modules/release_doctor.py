#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `release_doctor` action; see plugins/action/release_doctor.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_doctor
short_description: Says why there is no release, from GitLab's API or a saved log
description:
  - Runs on the controller alone. See the entry point C(operations/doctor) of the role
    C(release_pipeline).
  - Changes nothing but the report. No secret of a log, and no value of a variable, is shown.
  - Given a tag or a job, it asks GitLab up to about 60 times, however many pipelines there are.
version_added: 0.2.0
requirements: [python-gitlab]
extends_documentation_fragment:
  - runnerhost.toolkit.gitlab_api
  - runnerhost.toolkit.release_pipelines
options:
  log:
    description: A file on the controller with the log of a job. GitLab is not asked then.
    type: str
    default: ""
  project:
    description: The path of a project in GitLab.
    type: str
    default: ""
  tag:
    description: A tag of the project.
    type: str
    default: ""
  job:
    description: The number of a job of the project; V(0) for none.
    type: int
    default: 0
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
- name: Ask why a tag was not released
  runnerhost.toolkit.release_doctor:
    url: https://gitlab.example.com
    api_token: "{{ vault_release_pipeline_api_token }}"
    project: group/demo
    tag: v1.2.3

- name: Read a job's log
  runnerhost.toolkit.release_doctor:
    log: job-4711.log
"""

RETURN = r"""
healthy:
  description: Whether the release was published, or the log is of a job that has succeeded.
  type: bool
  returned: success
verdicts:
  description:
    - What is found, the first cause first. C(id) is C(healthy), C(unknown), or that of an entry
      in data/symptoms.yml.
  type: list
  elements: dict
  returned: success
unseen:
  description: What the access token may not see.
  type: list
  elements: str
  returned: success
calls:
  description: How many answers of GitLab it took.
  type: int
  returned: success
msg:
  description: The same in lines.
  type: list
  elements: str
  returned: success
"""
