#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `runner_config` action: see plugins/action/runner_config.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: runner_config
short_description: Brings the runner's config.toml to its wanted state, by compare-and-swap
description:
  - Merges the wanted configuration with what only the host's file holds, and writes it only if it
    differs in meaning and the file is still the one that was read. Tokens are never shown.
version_added: 0.1.0
requirements: [tomlkit]
options:
  runners:
    description: The runners, each with the keys of C([[runners]]).
    type: list
    elements: dict
    required: true
  url:
    description: The GitLab of runners that name none.
    type: str
    required: true
  api_token:
    description: The access token for entries with C(gitlab); never shown.
    type: raw
    default: ""
  api_ca_certificate:
    description: The GitLab's CA on the controller.
    type: str
    default: ""
  api_proxy:
    description: The controller's proxy to GitLab.
    type: str
    default: ""
  recreate:
    description: Whether a runner that was deleted in GitLab is created again.
    type: bool
    default: false
  concurrent:
    description: How many jobs the host runs at once.
    type: int
    required: true
  settings:
    description: Further global keys.
    type: dict
    default: {}
  environment:
    description: The service's environment; proxies in it are used to ask GitLab.
    type: dict
    default: {}
  folder:
    description: The folder of config.toml.
    type: str
    default: /etc/gitlab-runner
  unit:
    description: The service that reads it.
    type: str
    default: gitlab-runner.service
  elsewhere:
    description: Names of runners that other services of the host are to have.
    type: list
    elements: str
    default: []
  isolated:
    description: The name of the isolated runner whose file it is; empty for the host's own.
    type: str
    default: ""
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing the host.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: full
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: One runner
  runnerhost.toolkit.runner_config:
    url: https://gitlab.example.com
    concurrent: 4
    settings: {}
    folder: /etc/gitlab-runner
    runners:
      - name: build
        token: "{{ vault_runner_token }}"
"""

RETURN = r"""
changed_keys:
  description: What was, or would be, changed.
  type: list
  elements: str
  returned: always
foreign:
  description: Names of runners in the file that the inventory does not name.
  type: list
  elements: str
  returned: always
leaving:
  description: Names of runners in the file that are to leave the host (C(state=absent)).
  type: list
  elements: str
  returned: always
verified:
  description: What GitLab said of runners that were new, by name.
  type: dict
  returned: always
gitlab:
  description: What was done in GitLab, in words.
  type: list
  elements: str
  returned: always
msg:
  description: The change in a line.
  type: str
  returned: when something changed
"""
