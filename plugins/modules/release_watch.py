#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `release_watch` action; see plugins/action/release_watch.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_watch
short_description: Finds files on indexes that no pipeline has released
description:
  - Runs on the controller alone. See the entry point C(operations/watch) of the role
    C(release_pipeline).
  - Changes nothing. Compares the files of each package on its indexes with the tags of its project,
    and those uploaded lately with the logs of the jobs that upload.
version_added: 0.2.0
requirements: [python-gitlab]
extends_documentation_fragment:
  - runnerhost.toolkit.gitlab_api
  - runnerhost.toolkit.release_pipelines
options:
  days:
    description: Files that were uploaded in so many days are compared with pipelines.
    type: int
    default: 30
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
- name: Find files that nobody has released
  runnerhost.toolkit.release_watch:
    url: https://gitlab.example.com
    api_token: "{{ vault_release_pipeline_api_token }}"
    projects:
      - project: group/demo
        inputs: {pythons: ["3.12"], build_tags: [build]}
"""

RETURN = r"""
findings:
  description: Files and releases that no tag or pipeline accounts for.
  type: list
  elements: str
  returned: success
problems:
  description: What could not be compared.
  type: list
  elements: str
  returned: success
msg:
  description: What was compared, a line for each package and index.
  type: list
  elements: str
  returned: success
"""
