#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `python_plan` action; the work is in plugins/action/python_plan.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: python_plan
short_description: Plans the Python packages of a host, for the role python_versions
description:
  - Used by the role python_versions alone.
  - Validates the role's variables and the repository's key on the controller, reads the host's
    facts in one call, and asks apt with scratch lists what the repository offers, but only if
    something is missing or the repository's files differ. Changes nothing.
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
  info_also:
    description:
      - Names of other packages, whose records RV(plan.info_all) then has too. A later task need not
        ask the host again.
    type: list
    elements: str
    default: []
  venv_places:
    description: Where virtual environments are looked for later; only validated here.
    type: list
    elements: str
    required: true
  end_of_life_warning_days:
    description: How many days before a version's end of life to warn; -1 for never.
    type: int
    required: true
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
  description: What the role python_versions does with the host.
  type: dict
  returned: success
  contains:
    sources:
      description: Text of the repository's source file; empty where no repository is needed.
      type: str
    preferences:
      description: Text of the file with its pin.
      type: str
    repository:
      description: The repository as an item of C(planned) of M(runnerhost.toolkit.packages).
      type: dict
    packages:
      description: Packages of the wanted versions, each as a name or as C(name=version).
      type: list
      elements: str
    companions:
      description: Other installed packages that take another version along.
      type: list
      elements: str
    allow_downgrade:
      description: Whether a build is replaced by that of another source.
      type: bool
    automatic:
      description: Packages that apt's autoremove may take, of those in C(info_all).
      type: list
      elements: str
    from_repository:
      description: Packages that come from the repository.
      type: list
      elements: str
    info:
      description: dpkg's records of Python packages, by name.
      type: dict
    info_all:
      description: The same, and those of O(info_also).
      type: dict
    unfinished:
      description: Packages that a transaction that was cut off has left unfinished.
      type: list
      elements: str
    missing:
      description: Packages that are not installed.
      type: list
      elements: str
    fresh:
      description: Whether the source file is new or changes, so that apt's lists must be read.
      type: bool
    interpreters:
      description: Path of each interpreter, by the package that carries it.
      type: dict
    source:
      description: The source of the packages, as M(runnerhost.toolkit.python_check) notes it.
      type: str
    moved:
      description: Whether that differs from what the host has noted.
      type: bool
    changes:
      description: Whether an interpreter must be checked, or a version is not listed.
      type: bool
    unchecked:
      description: Packages in C(interpreters) that must be checked.
      type: list
      elements: str
    unlisted:
      description: Versions on the host that O(wanted) does not list.
      type: list
      elements: str
    unlisted_packages:
      description: Their packages.
      type: list
      elements: str
    unlisted_interpreters:
      description: Paths of their interpreters.
      type: list
      elements: str
"""
