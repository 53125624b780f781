#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `gitlab_project` action; see plugins/action/gitlab_project.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gitlab_project
short_description: Sets variables, protected refs, environments and access of projects in GitLab
description:
  - Runs on the controller alone. See the role C(gitlab_project), whose variables are the options.
  - Everything is validated, read and planned before the first change. A variable is changed by one
    call, so that a value that GitLab refuses leaves the old one in place.
  - What GitLab's API does not offer is named in RV(msg) in the run that makes it necessary.
version_added: 0.2.0
requirements: [python-gitlab]
extends_documentation_fragment: [runnerhost.toolkit.gitlab_api, runnerhost.toolkit.gitlab_projects]
options:
  purge:
    description:
      - Whether what is not listed is deleted, where the list is set; variables, projects and groups
        in O(projects[].job_token), and deploy tokens that the toolkit has made.
    type: bool
    default: false
  index_tokens_only:
    description: Whether only the variables that hold a token of an index are set.
    type: bool
    default: false
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
- name: Set the token of an index, for tags alone
  runnerhost.toolkit.gitlab_project:
    url: https://gitlab.example.com
    api_token: "{{ vault_gitlab_project_api_token }}"
    projects:
      - project: group/demo
        protected_tags: [{name: v*}]
        variables:
          - {key: TWINE_PASSWORD, environment: pypi, value: "{{ vault_demo_pypi_token }}"}
"""

RETURN = r"""
failures:
  description: What GitLab did not do, each with the reason.
  type: list
  elements: str
  returned: success
msg:
  description: What was done, in lines.
  type: list
  elements: str
  returned: success
"""
