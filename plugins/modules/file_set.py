#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of small files in one remote call; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: file_set
short_description: Brings a whole set of small files to their wanted state in one call
description:
  - One call for what would be a task a file. Each file is replaced whole, by a rename.
  - In a path, C({uid:NAME}) stands for the number of the user NAME; while that user does not
    exist (check mode on a fresh host), the file counts as missing.
  - Used through the action plugin of the same name, which renders templates and hides secrets.
  - A diff shows texts in full, but code, keys and certificates as one line each, with size and
    digest.
version_added: 0.1.0
options:
  files:
    description:
      - What should be there. Each item has O(files[].path) and the rest as needed.
      - An empty item is one that a condition has left out.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path; its folder is made if it is missing (0755).
        type: str
        required: true
      state:
        description:
          - What should lie there.
          - C(duplicates_absent) removes other apt sources of the same repository, but never a file
            C(runnerhost-*). With O(files[].releases), the repository is a mirror of the
            distribution and its own entries count as duplicates; those are disabled, not removed.
            Entries of PPAs stay, and those of repositories whose lists state another Origin.
          - C(distribution_restored) enables again what was disabled for such a mirror, for the
            release that the host has now.
        type: str
        choices: [file, directory, absent, duplicates_absent, distribution_restored]
        default: file
      content:
        description: The file's text, for the state C(file).
        type: str
      mode:
        description: Permissions, as four octal digits.
        type: str
        default: "0644"
      owner:
        description: User name.
        type: str
        default: root
      group:
        description: Group name; the owner's own group where it is not given.
        type: str
      secret:
        description: The text is never shown, in a diff neither.
        type: bool
        default: false
      code:
        description:
          - The text is Python code of the toolkit's own. A file that differs only in comments,
            docstrings and layout counts as the same. A diff shows size and digest.
        type: bool
        default: false
      own:
        description:
          - Written and removed as its owner, and only if its first line says that it is the
            toolkit's. Another one is an error, and stays for the state C(absent).
        type: bool
        default: false
      template:
        description: Template of the role, rendered on the controller as O(files[].content).
        type: str
      vars:
        description: Variables of the template, beside the task's.
        type: dict
        default: {}
      uris:
        description: The repository's addresses, for the state C(duplicates_absent).
        type: list
        elements: str
        default: []
      suites:
        description:
          - For C(duplicates_absent), the repository's suites; empty for all at its addresses.
            One that has a release's code name in it stands for those of all releases.
        type: list
        elements: str
        default: []
      releases:
        description: Releases such as C(jammy) that a mirror of the distribution replaces.
        type: list
        elements: str
        default: []
      keep:
        description: For C(absent) with a pattern, the paths that stay.
        type: list
        elements: str
        default: []
  commands:
    description:
      - Commands that make a changed file count, run after the set is written.
    type: list
    elements: dict
    default: []
    suboptions:
      argv:
        description:
          - The command, word by word. Where systemd does not run (an image is baked), C(systemctl
            enable) only enables, and all else of systemctl is left out.
        type: list
        elements: str
        required: true
      argv_first:
        description: Run instead while no file matches O(commands[].unless_found.glob).
        type: list
        elements: str
        default: []
      if_changed:
        description: Run it if a path that starts so was changed.
        type: str
        required: true
      unless_found:
        description:
          - Run it too if the files that match a pattern are not exactly those that are named. What
            a killed run has left undone shows so.
        type: dict
        suboptions:
          glob:
            description: The pattern.
            type: str
            required: true
          names:
            description: Names of the files, without their folder.
            type: list
            elements: str
            required: true
          others:
            description: Whether there may be more.
            type: bool
            default: false
      force:
        description: Run it in any case.
        type: bool
        default: false
  templates_of:
    description: The role of this collection whose templates they are; empty for the task's own.
    type: str
    default: ""
  _secrets:
    description: Internal, set by the action plugin. The texts of secret files, by path.
    type: dict
    default: {}
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
- name: Write two files
  runnerhost.toolkit.file_set:
    files:
      - path: /etc/example/one.conf
        content: "a = 1\n"
      - path: /etc/example/old.conf
        state: absent
"""

RETURN = r"""
changed_paths:
  description: The paths as given (with their C({uid:NAME})) that were, or would be, changed.
  type: list
  elements: str
  returned: always
duplicates:
  description: Source files in which another entry for the repository was, or would be, disabled.
  type: list
  elements: str
  returned: always
removed_duplicates:
  description: >-
    Those of RV(duplicates) that were, or would be, removed, as no other active entry is left.
  type: list
  elements: str
  returned: always
"""

import glob
import os
import shutil
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _file_items,
    _secrets,
    _source_duplicates,
    _system,
    _systemd,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._file_items import Change, Item


@dataclass
class Done:
    """What the module has done, or in check mode would do."""

    changed_paths: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    removed_duplicates: list[str] = field(default_factory=list)
    diffs: list[dict[str, str]] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """The module's result without its diff."""
        return {
            "changed": bool(self.changed_paths or self.duplicates),
            "changed_paths": self.changed_paths,
            "duplicates": self.duplicates,
            "removed_duplicates": self.removed_duplicates,
        }


class Failed(Exception):
    """What could not be done; the text says why.

    Attributes:
        done: what was done before.
    """

    def __init__(self, done: Done, said: str) -> None:
        super().__init__(said)
        self.done = done


def write(items: list[Item], check: bool) -> Done:
    """The whole set, in its order."""
    done = Done()
    theirs = _source_duplicates.third_parties(items)
    for item in items:
        try:
            if item.state == "duplicates_absent":
                touched, removed = _source_duplicates.remove_duplicates(item, check, theirs)
                done.duplicates += touched
                done.removed_duplicates += removed
                continue
            if item.state == "distribution_restored":
                done.changed_paths += _source_duplicates.restore_distribution(check)
                continue
            change = _file_items.apply_item(item, check)
        except (OSError, ValueError, KeyError) as error:
            raise Failed(done, f"{item.path}: {error}") from error
        if change:
            done.changed_paths.append(item.path)
            done.diffs.append(diff(item, change))
    done.changed_paths += done.duplicates
    return done


def diff(item: Item, change: Change) -> dict[str, str]:
    """What Ansible shows of a change."""
    # What a text was before may hold a secret too, where the new one holds none.
    before, after = (
        _secrets.redact_text(_file_items.shown(item, text))
        for text in (change.before, change.after)
    )
    if item.secret or (before == after and change.before != change.after):
        before, after = "(hidden)\n", "(hidden, changed)\n"
    return {
        "before_header": item.path,
        "after_header": item.path,
        "before": before,
        "after": after,
    }


@dataclass
class Command:
    """A command of the set, as the documentation describes it."""

    argv: list[str]
    if_changed: str
    argv_first: list[str] = field(default_factory=list)
    force: bool = False
    unless_found: dict[str, Any] | None = None

    def differs(self) -> tuple[bool, bool]:
        """Whether the files that it makes differ from the named ones, and whether there are any."""
        if not self.unless_found:
            return False, True
        found = {os.path.basename(path) for path in glob.glob(self.unless_found["glob"])}
        names = set(self.unless_found["names"])
        others = self.unless_found["others"]
        return (not names <= found if others else names != found), bool(found)


def run_commands(commands: list[Command], done: Done, check: bool) -> None:
    """Runs those that are due; adds them to what is done."""
    for command in commands:
        differs, any_found = command.differs()
        changed = any(path.startswith(command.if_changed) for path in done.changed_paths)
        if not (command.force or changed or differs):
            continue
        argv = possible(command.argv if any_found else command.argv_first or command.argv)
        if not argv:
            continue
        done.changed_paths.append(" ".join(argv))
        if differs:
            # No file's diff tells of it.
            done.diffs.append({"prepared": f"run: {' '.join(argv)}\n"})
        if check:
            continue
        ended = _system.run(argv, timeout=120)
        if ended.returncode:
            said = (ended.stderr or ended.stdout).strip()
            raise Failed(done, f"{done.changed_paths[-1]}: {said}")


def possible(argv: list[str]) -> list[str]:
    """What of a command can be done here; empty if nothing.

    Where systemd does not run, units can be enabled for the next boot, and that is all.
    """
    if argv[0] != "systemctl" or _systemd.has_systemd():
        return argv
    if argv[1] != "enable" or not shutil.which("systemctl"):
        return []
    return [word for word in argv if word != "--now"]


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": _file_items.arguments(),
            },
            "commands": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "argv": {"type": "list", "elements": "str", "required": True},
                    "argv_first": {"type": "list", "elements": "str", "default": []},
                    "if_changed": {"type": "str", "required": True},
                    "force": {"type": "bool", "default": False},
                    "unless_found": {
                        "type": "dict",
                        "options": {
                            "glob": {"type": "str", "required": True},
                            "names": {"type": "list", "elements": "str", "required": True},
                            "others": {"type": "bool", "default": False},
                        },
                    },
                },
            },
            # What the action plugin has used up.
            "templates_of": {"type": "str", "default": ""},
            # From the action plugin: texts of secret files, by path. Apart from `files`, since a
            # no_log value would be cut out of every path in the answer too.
            "_secrets": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    problem = _system.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    secrets = module.params["_secrets"]
    items = []
    for given in module.params["files"]:
        item = Item(**{key: given[key] for key in given if key not in ("template", "vars")})
        item.content = secrets.get(item.path, item.content)
        items.append(item)
    try:
        done = write(items, module.check_mode)
        commands = [Command(**given) for given in module.params["commands"]]
        run_commands(commands, done, module.check_mode)
    except Failed as failed:
        module.fail_json(msg=f"file_set: {failed}", **failed.done.answer())
    module.exit_json(**done.answer(), **({"diff": done.diffs} if module._diff else {}))


if __name__ == "__main__":
    main()
