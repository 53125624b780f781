#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action; see plugins/action/project_tokens_info.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_tokens_info
short_description: Lists the tokens of projects, with age and scope
description:
  - Runs on the controller alone. See the entry point C(operations/verify) of the role
    C(gitlab_project), whose variables are the options.
  - Lists the tokens of indexes among the declared variables, deploy tokens, and the access token
    itself. No value is in the result.
version_added: 0.2.0
requirements: [python-gitlab]
extends_documentation_fragment: [runnerhost.toolkit.gitlab_api, runnerhost.toolkit.gitlab_projects]
options:
  access_tokens:
    description: Further access tokens of GitLab; those without a token are left out.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The variable that holds it.
        type: str
        required: true
      url:
        description: The GitLab.
        type: str
        default: ""
      token:
        description: The token.
        type: raw
  index_token_days:
    description: How many days old a token of an index may be; V(0) for any age.
    type: int
    default: 365
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
- name: List the tokens
  runnerhost.toolkit.project_tokens_info:
    url: https://gitlab.example.com
    api_token: "{{ vault_gitlab_project_api_token }}"
    projects:
      - project: group/demo
        variables:
          - {key: TWINE_PASSWORD, environment: pypi, value: "{{ vault_demo_pypi_token }}"}
"""

RETURN = r"""
findings:
  description: What is due, each with what to do.
  type: list
  elements: str
  returned: success
msg:
  description: The tokens, a line each.
  type: list
  elements: str
  returned: success
"""
