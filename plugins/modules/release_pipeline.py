#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `release_pipeline` action; see plugins/action/release_pipeline.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_pipeline
short_description: Pushes the CI/CD component to GitLab and writes the pipelines of projects
description:
  - Runs on the controller alone. See the role C(release_pipeline), whose variables are the options.
  - A file that somebody else has written, or changed, is left alone and named in RV(refused).
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
  form:
    description: V(component) or V(standalone).
    type: str
    default: component
  component:
    description: The path of the component's project.
    type: str
    default: runnerhost/python-release
  component_visibility:
    description: Its visibility when it is created.
    type: str
    default: internal
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
- name: Write the pipelines
  runnerhost.toolkit.release_pipeline:
    url: https://gitlab.example.com
    api_token: "{{ vault_release_pipeline_api_token }}"
    inputs: {build_tags: [build]}
    projects:
      - project: group/demo
        inputs: {pythons: ["3.11", "3.12"]}
"""

RETURN = r"""
commit:
  description: The commit of the component that the pipelines name.
  type: str
  returned: success
refused:
  description: What was left alone, each with the reason and a diff.
  type: list
  elements: str
  returned: success
msg:
  description: What was done, in lines.
  type: list
  elements: str
  returned: success
"""
