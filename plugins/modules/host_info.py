#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a role must know of a host, in one call; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Reads packages, files, users, units and logind in one call
description:
  - Read-only. A no-op's time is the number of remote calls, so each role asks once.
version_added: 0.1.0
options:
  packages:
    description: Names or shell patterns of packages.
    type: list
    elements: str
    default: []
  distribution:
    description:
      - Whether to return the facts about the distribution. With them, any Python may run the
        module.
    type: bool
    default: false
  files:
    description: Paths to examine.
    type: list
    elements: str
    default: []
  texts:
    description: Paths of files, without secrets, whose text is wanted too.
    type: list
    elements: str
    default: []
  users:
    description:
      - User names. What is returned of each as C(users) says as C(problem) why root cannot become
        that user; it is nothing for a user that the host does not have.
    type: list
    elements: str
    default: []
  groups:
    description: Names of groups; those that the host lacks are returned as C(missing_groups).
    type: list
    elements: str
    default: []
  checks:
    description:
      - Paths to try as whoever uses them will, each with C(label), C(path) and C(kind).
      - What is wrong is returned as C(problems), one message each, or as C(cautions) for a C(mild)
        check.
    type: list
    elements: dict
    default: []
  units:
    description: >-
      Systemd units; C({uid:NAME}) in a name stands for the number of the user NAME. Nothing is
      returned of a unit whose user does not exist.
    type: list
    elements: str
    default: []
  logind:
    description: Whether to ask logind what is in force, and its files apart from O(logind_ours).
    type: bool
    default: false
  logind_ours:
    description: The drop-in that the toolkit itself writes.
    type: str
    default: ""
  globs:
    description: Patterns of paths; what each matches is returned.
    type: list
    elements: str
    default: []
  configs:
    description: >-
      A pattern of config.toml files; of each that matches, C(configs) says whether it names a
      runner. A file that cannot be read as TOML counts as one that does.
    type: str
    default: ""
  other_runners:
    description:
      - Whether to look for GitLab Runner daemons that the toolkit does not manage, and for what
        would start one.
    type: bool
    default: false
  other_runners_beside:
    description:
      - The same, beside these services alone, each with its config.toml, instead of what the
        toolkit manages.
    type: dict
  publish_tools:
    description:
      - The tools for publishing as they should be. Returned as C(publish_tools) are the C(lines)
        that say what differs, the C(foreign) commands in their place, and C(make), whether an
        environment must be made.
    type: dict
    suboptions:
      lock:
        description: SHA-256 of the lock; empty if there should be no tools.
        type: str
        required: true
      program:
        description: SHA-256 of the release program.
        type: str
        default: ""
      python:
        description: Path of the interpreter.
        type: str
        default: ""
      commands:
        description: The tools that are to be on PATH.
        type: list
        elements: str
        default: []
  disk:
    description:
      - Paths whose file systems should have C(space) and C(inodes) percent free. The first that has
        not is returned as C(full_disk).
    type: dict
    suboptions:
      paths:
        description: The paths.
        type: list
        elements: str
        required: true
      space:
        description: Percent of space.
        type: int
        required: true
      inodes:
        description: Percent of inodes.
        type: int
        required: true
  drop_ins:
    description:
      - Services by unit, each with the toolkit's C(drop_in), the job user's C(home) and the
        C(config) that it reads. What is in their way in drop-ins is added to C(problems).
    type: dict
    default: {}
  gitlab:
    description:
      - The GitLab of each runner service. Of those whose service has no config.toml yet,
        C(gitlab_problems) says which give the host no answer, and why, and
        which tokens GitLab refuses.
    type: list
    elements: dict
    default: []
    suboptions:
      label:
        description: The variable that has the address.
        type: str
        required: true
      url:
        description: The address.
        type: str
        required: true
      folder:
        description: The folder of the service's config.toml.
        type: str
        required: true
      tls:
        description: The runner's C(tls-ca-file), C(tls-cert-file) and C(tls-key-file).
        type: dict
        default: {}
      environment:
        description: The service's variables for proxies; a password may be in them.
        type: dict
        default: {}
      token:
        description: The runner's authentication token; empty for one that is not made yet.
        type: str
        default: ""
      token_label:
        description: The variable that has the token.
        type: str
        default: ""
  gitlab_authorities:
    description: Private CAs that the host is to trust, as PEM texts.
    type: list
    elements: str
    default: []
  package_index:
    description:
      - The package index of pip. What keeps this host from using it, and what it lacks, is returned
        as C(package_index).
    type: dict
    suboptions:
      url:
        description: Its address.
        type: str
        required: true
      environment:
        description: What pip is given; a proxy's password may be in it.
        type: dict
        default: {}
      authorities:
        description: Private CAs that the host is to trust, as PEM texts.
        type: list
        elements: str
        default: []
      pins:
        description: What it must have, each with C(name), C(version) and C(hashes).
        type: list
        elements: dict
        default: []
      known:
        description:
          - The C(path) of a file, and the C(line) in it that says that the host uses this index
            already; it is not asked then.
        type: dict
        default: {}
  credential_files:
    description:
      - Homes whose files with credentials of package indexes are returned as C(credential_files),
        with those of the whole host. Whose they are, and no content.
    type: list
    elements: str
    default: []
  runner_config:
    description:
      - The service whose config.toml and state file are returned as C(runner_config). Tokens are in
        it, for the action M(runnerhost.toolkit.runner_config), which hides them. Not for use in a
        playbook.
    type: dict
    suboptions:
      folder:
        description: The folder of config.toml.
        type: str
        required: true
      unit:
        description: The service.
        type: str
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
- name: Look at two packages
  runnerhost.toolkit.host_info:
    packages: [git, cmake]
"""

RETURN = r"""
info:
  description:
    - What was found. With O(packages), C(automatic) has those of them that apt's autoremove may
      take, and C(unfinished) what a transaction that was cut off has left, of whatever package.
      C(provided) has the names that are not installed, but that an installed package provides, each
      with its name as C(provided_by) and without a version.
  type: dict
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _host_info, _system

ARGUMENTS: dict[str, Any] = {
    "packages": {"type": "list", "elements": "str", "default": []},
    "distribution": {"type": "bool", "default": False},
    "files": {"type": "list", "elements": "str", "default": []},
    "texts": {"type": "list", "elements": "str", "default": []},
    "users": {"type": "list", "elements": "str", "default": []},
    "groups": {"type": "list", "elements": "str", "default": []},
    "checks": {"type": "list", "elements": "dict", "default": []},
    "units": {"type": "list", "elements": "str", "default": []},
    "logind": {"type": "bool", "default": False},
    "logind_ours": {"type": "str", "default": ""},
    "globs": {"type": "list", "elements": "str", "default": []},
    "configs": {"type": "str", "default": ""},
    "other_runners": {"type": "bool", "default": False},
    "other_runners_beside": {"type": "dict"},
    "credential_files": {"type": "list", "elements": "str", "default": []},
    "drop_ins": {"type": "dict", "default": {}},
    "disk": {
        "type": "dict",
        "options": {
            "paths": {"type": "list", "elements": "str", "required": True},
            "space": {"type": "int", "required": True},
            "inodes": {"type": "int", "required": True},
        },
    },
    "gitlab": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "label": {"type": "str", "required": True},
            "url": {"type": "str", "required": True},
            "folder": {"type": "str", "required": True},
            "tls": {"type": "dict", "default": {}},
            "environment": {"type": "dict", "default": {}, "no_log": True},
            "token": {"type": "str", "default": "", "no_log": True},
            "token_label": {"type": "str", "default": "", "no_log": False},
        },
    },
    "gitlab_authorities": {"type": "list", "elements": "str", "default": []},
    "package_index": {
        "type": "dict",
        "options": {
            "url": {"type": "str", "required": True},
            "environment": {"type": "dict", "default": {}, "no_log": True},
            "authorities": {"type": "list", "elements": "str", "default": []},
            "pins": {"type": "list", "elements": "dict", "default": []},
            "known": {"type": "dict", "default": {}},
        },
    },
    "publish_tools": {
        "type": "dict",
        "options": {
            "lock": {"type": "str", "required": True},
            "program": {"type": "str", "default": ""},
            "python": {"type": "str", "default": ""},
            "commands": {"type": "list", "elements": "str", "default": []},
        },
    },
    "runner_config": {
        "type": "dict",
        "options": {
            "folder": {"type": "str", "required": True},
            "unit": {"type": "str", "required": True},
        },
    },
}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    problem = _system.system_python_problem()
    if problem and not module.params["distribution"]:
        module.fail_json(msg=problem)
    module.exit_json(changed=False, info=_host_info.found(module.params, module.check_mode))


if __name__ == "__main__":
    main()
