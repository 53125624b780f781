#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the `upgrade_info` action; the work is in plugins/action/upgrade_info.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: upgrade_info
short_description: Reports what stands in the way of an upgrade to the next release
description:
  - Used by the playbook prepare_upgrade alone, whose variables are its options; wrong values are
    reported by the names that they have there.
  - Read-only, in check mode too. Reads packages, holds, sources, free space, pending restarts and
    services in one call, and asks the repositories, with scratch lists, what they have for the
    target.
version_added: 0.1.0
options:
  release:
    description: The host's code name.
    type: str
    required: true
  target:
    description: Code name of the next release; empty for the LTS after O(release).
    type: raw
    default: ""
  target_python:
    description: The target's own version of Python; empty for the known one.
    type: raw
    default: ""
  free_mb:
    description: Megabytes that must be free, by folder; those on one file system add up.
    type: raw
    required: true
  accept:
    description: Kinds of obstacles that are reported and do not count.
    type: raw
    default: []
  apply:
    description: Whether the play is to take away what it can.
    type: raw
    default: false
  pythons:
    description: Variables of the role python_versions.
    type: dict
    required: true
    suboptions:
      wanted:
        description: Versions.
        type: raw
        required: true
      patterns:
        description: Package names of a version.
        type: list
        elements: str
        required: true
      origin:
        description: The C(Origin) that the repository states.
        type: str
        required: true
      url:
        description: The repository's address.
        type: str
        required: true
      suite:
        description: Its suite.
        type: str
        required: true
      components:
        description: Its components.
        type: list
        elements: str
        required: true
      key:
        description: Path on the controller, or address, of its key.
        type: str
        required: true
      fingerprint:
        description: The key's fingerprint.
        type: str
        required: true
  runner:
    description: Variables of the role gitlab_runner.
    type: dict
    required: true
    suboptions:
      version:
        description: The package's version.
        type: str
        required: true
      allow_downgrade:
        description: Whether it may go down.
        type: bool
        required: true
      url:
        description: The repository's address.
        type: str
        required: true
      suite:
        description: Its suite.
        type: str
        required: true
      components:
        description: Its components.
        type: list
        elements: str
        required: true
      key:
        description: Path on the controller, or address, of its key.
        type: str
        required: true
      fingerprint:
        description: The key's fingerprint.
        type: str
        required: true
  venv_places:
    description: Folders below which venvs are looked for, as paths or shell patterns.
    type: list
    elements: str
    default: []
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
- name: Report what stands in the way of the next release
  runnerhost.toolkit.upgrade_info:
    release: jammy
    free_mb: {/usr: 3000}
    pythons: "{{ python_variables }}"
    runner: "{{ runner_variables }}"
"""

RETURN = r"""
target:
  description: The release that was judged for.
  type: str
  returned: success
obstacles:
  description: What stands in the way; each with C(kind), C(what), C(why), C(remedy) and C(cured).
  type: list
  elements: dict
  returned: success
accepted:
  description: The same, of the kinds in O(accept).
  type: list
  elements: dict
  returned: success
lines:
  description: The obstacles in words.
  type: list
  elements: str
  returned: success
notes:
  description: What does not stand in the way, in words.
  type: list
  elements: str
  returned: success
conflicts:
  description: Packages that the play removes when it is to apply.
  type: list
  elements: str
  returned: success
held:
  description: Packages whose hold the play takes away when it is to apply.
  type: list
  elements: str
  returned: success
in_service:
  description: Services of the runner that run, or would after a boot.
  type: list
  elements: str
  returned: success
isolated:
  description: Names of the isolated runners that the host has.
  type: list
  elements: str
  returned: success
python_wanted:
  description: Whether the target's own version of Python is among the wanted ones.
  type: bool
  returned: success
info:
  description: dpkg's records of the packages of Pythons and of the runner.
  type: dict
  returned: success
"""
