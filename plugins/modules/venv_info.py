#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds virtual environments whose interpreter is gone or another; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: venv_info
short_description: Finds virtual environments whose interpreter is gone or another
description:
  - Read-only, in one call. Runs nothing of a venv; reads C(pyvenv.cfg), where C(bin/python) leads,
    the folders below C(lib), and names of compiled extensions.
  - Follows no link that is not root's and does not leave a place's file system. C(.git),
    C(node_modules), and the caches of pip and uv are not looked into.
version_added: 0.1.0
options:
  places:
    description:
      - Folders to look below, as absolute paths or shell patterns of them.
      - One that is missing is no error.
    type: list
    elements: str
    required: true
  depth:
    description: How many folders deep to look.
    type: int
    default: 12
  folders:
    description: How many folders to open in all.
    type: int
    default: 50000
  coming:
    description: Paths of interpreters that count as there, since the run installs them.
    type: list
    elements: str
    default: []
  going:
    description: Paths of interpreters that count as gone, since the run is about to remove them.
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
- name: Look for venvs that an upgrade of the system would break
  runnerhost.toolkit.venv_info:
    places: [/home/gitlab-runner, /home/gitlab-runner-*]
    going: [/usr/bin/python3.10]
  register: venvs
"""

RETURN = r"""
venvs:
  description:
    - Each with C(path), C(state) (C(alive), C(dead) or C(changed)), C(made_with), C(interpreter),
      C(why), C(owner), and C(text), which says it in words, for a dead one with the command that
      removes it.
  type: list
  elements: dict
  returned: always
complete:
  description: False if there is more than one look takes.
  type: bool
  returned: always
left_out:
  description: Places that were not searched, each with the reason.
  type: list
  elements: str
  returned: always
summary:
  description: All of them in one line.
  type: str
  returned: always
system_python:
  description: The system's own version.
  type: str
  returned: always
"""

from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _system, _venvs


def main() -> None:
    """Entry point of the module."""
    paths = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "places": {"type": "list", "elements": "str", "required": True},
            "depth": {"type": "int", "default": _venvs.DEPTH},
            "folders": {"type": "int", "default": _venvs.FOLDERS},
            "coming": paths,
            "going": paths,
        },
        supports_check_mode=True,
    )
    asked = module.params
    found = _venvs.find(
        asked["places"],
        _venvs.Interpreters(frozenset(asked["coming"]), frozenset(asked["going"])),
        asked["depth"],
        asked["folders"],
    )
    module.exit_json(
        changed=False,
        venvs=[{**asdict(venv), "text": str(venv)} for venv in found.venvs],
        complete=found.complete,
        left_out=found.left_out,
        summary=_venvs.summary(found),
        system_python=_system.system_version(),
    )


if __name__ == "__main__":
    main()
