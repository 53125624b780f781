#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `runner_registration` action: plugins/action/runner_registration.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: runner_registration
short_description: A host's runners as GitLab sees them - verify, rotate, unregister
description:
  - Works on every runner of the host's config.toml, also while it is drained. Shows no token.
version_added: 0.1.0
requirements: [tomlkit]
options:
  verb:
    description:
      - C(verify) asks GitLab about each runner, and says how long its token still lives. It fails
        if GitLab refuses one or gives no answer, and says which of the two.
      - C(rotate) gives each runner a new token now, through the runner's own C(reset-token).
      - C(unregister) takes this host off each runner, through the runner's own C(unregister), or
        through GitLab's API where that would delete the runner for every host (a token that does
        not begin with C(glrt-)). One that was deleted in GitLab is only dropped from config.toml.
    type: str
    choices: [verify, rotate, unregister]
    required: true
  names:
    description: The runners, by name; empty for all.
    type: list
    elements: str
    default: []
  token_warning_days:
    description: C(verify) warns of a token that lives no longer.
    type: float
    default: 3
  url:
    description: The GitLab.
    type: str
    default: ""
  api_token:
    description: The access token of GitLab's API, with which C(verify) can tell more; never shown.
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
  environment:
    description: How the host reaches GitLab.
    type: dict
    default: {}
  folder:
    description: The folder of config.toml.
    type: str
    default: /etc/gitlab-runner
  unit:
    description: The service.
    type: str
    default: gitlab-runner.service
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing the host.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: none
author:
  - The Runnerhost developers (@runnerhost)
"""

EXAMPLES = r"""
- name: Say what GitLab thinks of this host's runners
  runnerhost.toolkit.runner_registration:
    verb: verify
"""

RETURN = r"""
runners:
  description: A line for each runner.
  type: list
  elements: str
  returned: always
problems:
  description: The runners that GitLab refuses or is silent about, each with C(runner) and C(said).
  type: list
  elements: dict
  returned: when O(verb=verify)
unit:
  description: The service.
  type: str
  returned: when O(verb=verify)
version:
  description: The version of gitlab-runner, empty without one.
  type: str
  returned: when O(verb=verify)
msg:
  description: The lines; where the task fails, what is wrong.
  type: raw
  returned: when O(verb=verify), or on failure
"""
