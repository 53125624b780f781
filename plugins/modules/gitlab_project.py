#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `gitlab_project` action; see plugins/action/gitlab_project.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gitlab_project
short_description: Sets CI/CD variables and protected refs of projects in GitLab
description:
  - Runs on the controller alone. See the role C(gitlab_project), whose variables are the options.
  - Everything is validated, read and planned before the first change. A variable is changed by one
    call, so that a value that GitLab refuses leaves the old one in place.
version_added: 0.2.0
requirements: [python-gitlab]
options:
  url:
    description: The GitLab.
    type: str
    default: ""
  api_token:
    description: An access token with the scope api.
    type: str
    default: ""
  api_ca_certificate:
    description: A PEM file on the controller; empty for what the controller trusts.
    type: str
    default: ""
  api_proxy:
    description: The proxy of the controller; empty for what its environment says.
    type: str
    default: ""
  projects:
    description: The projects.
    type: list
    elements: dict
    default: []
    suboptions:
      project:
        description: Its path.
        type: str
        required: true
      variables: &variables
        description: Its CI/CD variables; those that are not listed stay. Nothing for none at all.
        type: list
        elements: dict
        suboptions:
          key:
            description: The name. With O(projects[].variables[].environment) it is the identity.
            type: str
            required: true
          value:
            description: A text.
            type: raw
            required: true
          environment:
            description: The environment scope, a name or a pattern.
            type: str
            default: "*"
          protected:
            description: Whether only protected branches and tags get it.
            type: bool
            default: true
          masked:
            description: Whether GitLab hides it in traces; by default true, and false for a file.
            type: bool
          hidden:
            description: Masked, and shown to nobody again. Needs GitLab 17.4.
            type: bool
            default: false
          raw:
            description: Whether C($) in it is left alone.
            type: bool
            default: true
          type:
            description: V(file) for the path of a file with the value.
            type: str
            choices: [env_var, file]
            default: env_var
          description:
            description: A text for people.
            type: str
            default: ""
          replace:
            description: Whether it may be deleted and made anew, which a change of hidden needs.
            type: bool
            default: false
      protected_tags:
        description: Names or patterns of tags, and who may create them.
        type: list
        elements: dict
        suboptions:
          name:
            description: Such as V(v*).
            type: str
            required: true
          create:
            description: Who may.
            type: str
            choices: [no one, developer, maintainer]
            default: maintainer
      protected_branches:
        description: Names or patterns of branches, and who may change them.
        type: list
        elements: dict
        suboptions:
          name:
            description: Such as V(main).
            type: str
            required: true
          push:
            description: Who may push.
            type: str
            choices: [no one, developer, maintainer]
            default: maintainer
          merge:
            description: Who may merge.
            type: str
            choices: [no one, developer, maintainer]
            default: maintainer
          force_push:
            description: Whether a push may lose commits.
            type: bool
            default: false
  groups:
    description: The groups, each with O(groups[].group) and C(variables).
    type: list
    elements: dict
    default: []
    suboptions:
      group:
        description: Its path.
        type: str
        required: true
      variables: *variables
  purge:
    description: Whether variables that are not listed are deleted, where C(variables) is set.
    type: bool
    default: false
  token_variables:
    description: Names of variables that release pipelines read beside twine's.
    type: list
    elements: str
    default: []
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
