#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""The documentation of the `python_plan` action; the work is in plugins/action/python_plan.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_plan
short_description: Decides which Python packages a host needs, and refuses what cannot be had
description:
  - Validates the role's variables and the repository's key on the controller, looks at the host
    once, and asks apt with scratch lists what the repository offers, but only if something is
    missing or the repository's files are not as they should be. Changes nothing.
version_added: 0.1.0
options:
  wanted:
    description: Versions.
    type: list
    elements: raw
    required: true
  patterns:
    description: Package names of a version.
    type: list
    elements: str
    required: true
  url:
    description: The repository's address.
    type: str
    required: true
  suite:
    description: The repository's suite.
    type: str
    required: true
  components:
    description: The repository's components.
    type: list
    elements: str
    required: true
  origin:
    description: The C(Origin) that the repository states.
    type: str
    required: true
  key:
    description: Path on the controller, or address, of the armoured key.
    type: str
    required: true
  fingerprint:
    description: The key's fingerprint.
    type: str
    required: true
  upstream:
    description: The upstream repository's address, of which other entries are disabled too.
    type: str
    required: true
  sources_path:
    description: Where the repository is written on the host.
    type: str
    required: true
  preferences_path:
    description: Where the pin is written on the host.
    type: str
    required: true
  look_also:
    description:
      - Names of other packages, whose records C(plan.look_all) then has too. A later task need not
        ask the host again.
    type: list
    elements: str
    default: []
  venv_places:
    description: Where virtual environments are looked for later, checked only.
    type: list
    elements: str
    required: true
  end_of_life_warning_days:
    description: How many days before a version's end of life to warn; -1 for never.
    type: int
    required: true
author:
  - The Runnerhost developers
"""

EXAMPLES = r"""
- name: Plan
  runnerhost.toolkit.python_plan:
    wanted: ["3.11", "3.12"]
    patterns: ["python{version}", "python{version}-venv", "python{version}-dev"]
    url: https://mirror.example.com/deadsnakes
    suite: jammy
    components: [main]
    origin: LP-PPA-deadsnakes
    key: files/deadsnakes.asc
    fingerprint: F23C5A6CF475977595C89F51BA6932366A755776
    upstream: https://ppa.launchpadcontent.net/deadsnakes/ppa/ubuntu
    sources_path: /etc/apt/sources.list.d/example.sources
    preferences_path: /etc/apt/preferences.d/example
    venv_places: [/home/gitlab-runner]
    end_of_life_warning_days: 180
"""

RETURN = r"""
plan:
  description: Texts of the files, names of the packages, interpreters to prove, unlisted versions.
  type: dict
  returned: success
"""
