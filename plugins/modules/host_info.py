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
      - What is wrong is returned as C(problems), one message each.
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
        that say what differs, and the C(foreign) commands in their place.
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

import glob
import os
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule

# What not every call needs is imported where it is used: a host compiles it anew in each call.
from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _dpkg,
    _files,
    _system,
    _systemd,
)


def configs(pattern: str) -> dict[str, bool]:
    """The config.toml files, each with whether it names a runner; their text stays on the host."""
    from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_entries

    found = {}
    for path in sorted(glob.glob(pattern)):
        try:
            with open(path, "rb") as stream:
                found[path] = _runner_entries.has_runners(stream.read())
        except OSError:
            found[path] = True
    return found


def resolve(name: str) -> str:
    """A unit's name with its ``{uid:NAME}`` filled in; empty while that user does not exist."""
    user = re.search(r"\{uid:([^}]+)\}", name)
    if not user:
        return name
    entry = _system.user(user[1])
    return name.replace(user[0], str(entry["uid"])) if entry else ""


def units(asked: list[str]) -> dict[str, dict[str, str]]:
    """Properties of units, by the name that was asked for, each with its ``generation``.

    ``steady`` is ``no`` where systemd has started it again and it is not ready yet: it may end so
    each time.
    """
    real = {name: resolve(name) for name in asked}
    found = _systemd.units([name for name in real.values() if name])
    # One unit may be asked for by two names.
    answer = {name: dict(found.get(real[name], {})) for name in asked}
    for unit in answer.values():
        pid = int(unit.get("MainPID") or 0)
        unit["generation"] = _system.generation(pid)
        if int(unit.get("NRestarts") or 0) and pid:
            from ansible_collections.runnerhost.toolkit.plugins.module_utils import _drain

            gone = _drain.age(pid) is None
            unit["steady"] = "no" if gone or not _drain.is_listening(pid) else "yes"
    return answer


def people(asked: dict[str, Any]) -> dict[str, Any]:
    """Users, groups, and paths as whoever uses them will find them."""
    from ansible_collections.runnerhost.toolkit.plugins.module_utils import _drop_ins, _host_checks

    return {
        "users": {name: _host_checks.account(name) for name in asked["users"]},
        "missing_groups": _host_checks.missing_groups(asked["groups"]),
        "problems": [
            f"{check['label']}: {check['path']} {problem}"
            for check in asked["checks"]
            if (problem := _host_checks.path_problem(check))
        ]
        + _drop_ins.problems(asked["drop_ins"]),
    }


def other_runners(beside: dict[str, Any] | None) -> Any:
    """Daemons that the toolkit does not manage."""
    from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_processes

    return _runner_processes.report(beside)


def publish_tools(asked: dict[str, Any]) -> dict[str, list[str]]:
    """What differs from the tools as they should be."""
    from ansible_collections.runnerhost.toolkit.plugins.module_utils import _publish_tools

    due = _publish_tools.due(_publish_tools.Wanted(**asked), _publish_tools.Places())
    return {"foreign": due.foreign, "lines": due.lines()}


def runner_config(folder: str, unit: str, check: bool) -> Any:
    """A service's config.toml and what belongs to it."""
    from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_config_file

    path = _runner_config_file.true_path(folder, check)
    return _runner_config_file.read(path, unit, complaints=True)


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


def found(asked: dict[str, Any], check: bool) -> dict[str, Any]:
    """What the arguments ask for."""
    info: dict[str, Any] = {
        "system_python": _system.system_version(),
        "systemd": _systemd.has_systemd(),
        "machine": _system.machine(),
        "packages": _dpkg.packages(asked["packages"]),
        "files": {path: _files.file_info(path) for path in asked["files"]},
    }
    if asked["distribution"]:
        info |= {"distribution": _system.distribution(), "root": os.geteuid() == 0}
    if asked["packages"]:
        info["provided"] = _dpkg.provided(asked["packages"], info["packages"])
        by = {record["provided_by"] for record in info["provided"].values()}
        info["automatic"] = sorted(_dpkg.automatic().intersection({*info["packages"], *by}))
        info["unfinished"] = _dpkg.unfinished()
    info["globs"] = {pattern: sorted(glob.glob(pattern)) for pattern in asked["globs"]}
    if asked["configs"]:
        info["configs"] = configs(asked["configs"])
    for path in asked["texts"]:
        info["files"][path] = _files.file_info(path, want_text=True)
    if asked["users"] or asked["groups"] or asked["checks"]:
        info |= people(asked)
    if asked["units"]:
        info["units"] = units(asked["units"])
    if asked["logind"]:
        info["logind"] = _systemd.logind()
        info["logind_foreign"] = _systemd.logind_foreign(asked["logind_ours"])
    if asked["other_runners"] or asked["other_runners_beside"] is not None:
        info["other_runners"] = other_runners(asked["other_runners_beside"])
    if asked["publish_tools"]:
        info["publish_tools"] = publish_tools(asked["publish_tools"])
    if asked["gitlab"]:
        from ansible_collections.runnerhost.toolkit.plugins.module_utils import _gitlab_probe

        info["gitlab_problems"] = _gitlab_probe.problems(
            asked["gitlab"], asked["gitlab_authorities"]
        )
    if asked["credential_files"]:
        from ansible_collections.runnerhost.toolkit.plugins.module_utils import _credential_files

        info["credential_files"] = _credential_files.found(asked["credential_files"])
    if asked["runner_config"]:
        info["runner_config"] = runner_config(**asked["runner_config"], check=check)
    return info


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    problem = _system.system_python_problem()
    if problem and not module.params["distribution"]:
        module.fail_json(msg=problem)
    module.exit_json(changed=False, info=found(module.params, module.check_mode))


if __name__ == "__main__":
    main()
