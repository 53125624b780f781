#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Removes virtual environments that are dead; see DOCUMENTATION."""

from __future__ import annotations

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _cleanup, _venvs

DOCUMENTATION = r"""
module: venv_remove
short_description: Removes virtual environments whose interpreter is gone
description:
  - Each is looked at once more, and stays if its interpreter is there, if a process works in it or
    in the checkout that it lies in, or if it was changed within the last hour, since a job may be
    making it.
  - Nothing else, and nothing outside of the places, is removed; no link is followed.
version_added: 0.1.0
options:
  paths:
    description: The venvs, as M(runnerhost.toolkit.venv_info) told them.
    type: list
    elements: str
    required: true
  places:
    description: The folders that were looked at.
    type: list
    elements: str
    required: true
  min_age:
    description: Seconds that a venv must have been left alone.
    type: int
    default: 3600
  coming:
    description: In check mode, paths of interpreters that the real run would have installed by now.
    type: list
    elements: str
    default: []
  going:
    description: In check mode, paths of interpreters that the real run would have removed by now.
    type: list
    elements: str
    default: []
author:
  - The Runnerhost developers
"""

EXAMPLES = r"""
- name: Remove one
  runnerhost.toolkit.venv_remove:
    paths: [/home/gitlab-runner/builds/x/0/group/project/.tox/py39]
    places: [/home/gitlab-runner]
"""

RETURN = r"""
removed:
  description: Venvs that were, or would be, removed.
  type: list
  elements: str
  returned: always
kept:
  description: Those that stay, with the reason.
  type: dict
  returned: always
"""


def main() -> None:
    """Entry point of the module."""
    paths = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "str", "required": True},
            "places": {"type": "list", "elements": "str", "required": True},
            "min_age": {"type": "int", "default": int(_venvs.MIN_AGE)},
            "coming": paths,
            "going": paths,
        },
        supports_check_mode=True,
    )
    asked = module.params
    # In a real run they are there, or gone, by now.
    pretend = bool(module.check_mode)
    done = _venvs.remove(
        asked["paths"],
        asked["places"],
        _venvs.Interpreters(frozenset(asked["coming"]), frozenset(asked["going"]))
        if pretend
        else _venvs.Interpreters(),
        time.time(),
        _cleanup.working_directories(),
        asked["min_age"],
        pretend,
    )
    answer = {"removed": done.paths, "kept": done.kept, "changed_paths": done.paths}
    if module._diff and done.paths:
        before = "".join(f"{path}\n" for path in done.paths)
        answer["diff"] = {"before": before, "after": "", "before_header": "dead venvs"}
    module.exit_json(changed=bool(done.paths), **answer)


if __name__ == "__main__":
    main()
