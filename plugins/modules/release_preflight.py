#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `release_preflight` action; see plugins/action/release_preflight.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_preflight
short_description: Compares what indexes are told of projects with the claims of real jobs
description:
  - Runs on the controller alone. See the entry point C(operations/preflight) of the role
    C(release_pipeline), whose variables are the options.
  - Changes nothing, unless O(start) starts the jobs that show claims.
version_added: 0.1.0
requirements: [python-gitlab]
extends_documentation_fragment:
  - runnerhost.toolkit.gitlab_api
  - runnerhost.toolkit.release_pipelines
options:
  issuer_onboarded:
    description: Whether pypi and testpypi take ID tokens of this GitLab, which is not GitLab.com.
    type: bool
    default: false
  start:
    description: Start the job that shows claims where no job has shown them yet, and wait for it.
    type: bool
    default: false
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
- name: Compare the trusted publishers
  runnerhost.toolkit.release_preflight:
    url: https://gitlab.com
    api_token: "{{ vault_release_pipeline_api_token }}"
    inputs: {build_tags: [build], auth: trusted}
    projects:
      - project: group/demo
        inputs: {pythons: ["3.11", "3.12"]}
"""

RETURN = r"""
problems:
  description: What keeps the index from taking the project's uploads.
  type: list
  elements: str
  returned: success
msg:
  description: What to type into the indexes' forms, and which job's claims agree with it.
  type: list
  elements: str
  returned: success
"""
