#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""A set of small files in one remote call; see DOCUMENTATION."""

from __future__ import annotations

import glob
import grp
import hashlib
import os
import pwd
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_sources,
    _files,
    _host_checks,
    _secrets,
    _system,
    _systemd,
)

DOCUMENTATION = r"""
module: file_set
short_description: Brings a whole set of small files to their wanted state in one call
description:
  - One call for what would be a task a file. Each file is replaced whole, by a rename.
  - In a path, C({uid:NAME}) stands for the number of the user NAME; while that user does not
    exist (check mode on a fresh host), the file counts as missing.
  - Used through the action plugin of the same name, which renders templates and hides secrets.
  - A diff shows texts in full, but the toolkit's own code, keys and certificates as one line each,
    with size and digest.
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
  secrets:
    description: The texts of secret files, by path. The action plugin fills it in.
    type: dict
    default: {}
author:
  - The Runnerhost developers
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
twins:
  description: Source files in which another entry for the repository was, or would be, disabled.
  type: list
  elements: str
  returned: always
removed_twins:
  description: Those of RV(twins) that were, or would be, removed, no other active entry being left.
  type: list
  elements: str
  returned: always
"""


_UID = re.compile(r"\{uid:([^}]+)\}")
# Where the toolkit's own code lies on the host.
_CODE = "/usr/local/lib/runnerhost/"
# A key or certificate, alone or inside an apt source, where each line of it is indented.
_ARMOUR = re.compile(
    r"^[ \t]*-----BEGIN (?P<what>[A-Z0-9 ]+)-----$.*?^[ \t]*-----END (?P=what)-----$", re.M | re.S
)


class Unresolved(Exception):
    """A user that a path names does not exist yet."""


def resolve(path: str) -> str:
    """The path with its ``{uid:NAME}`` filled in."""

    def number(match: re.Match[str]) -> str:
        entry = _system.user(match.group(1))
        if entry is None:
            raise Unresolved(match.group(1))
        return str(entry["uid"])

    return _UID.sub(number, path)


def owner_ids(item: dict[str, Any]) -> tuple[int, int]:
    """uid and gid that an item wants."""
    try:
        entry = pwd.getpwnam(item["owner"])
    except KeyError:
        raise Unresolved(item["owner"]) from None
    group = item.get("group")
    return entry.pw_uid, grp.getgrnam(group).gr_gid if group else entry.pw_gid


def apply_one(item: dict[str, Any], check: bool) -> tuple[bool, str, str]:
    """One item brought to its state: whether it changed, the text before and after."""
    state = item["state"]
    try:
        path = resolve(item["path"])
        uid, gid = owner_ids(item) if state in ("file", "directory") else (0, 0)
    except Unresolved as missing:
        if not check:
            raise ValueError(f"{item['path']}: the user {missing} does not exist") from None
        return state in ("file", "directory"), "", item.get("content") or ""
    if state == "absent":
        return _absent(path, set(item["keep"]), check)
    mode = int(item["mode"], 8)
    look = _files.file_look(path, want_text=state == "file")
    if state == "directory":
        right = look["kind"] == "directory"
        good = right and (look["uid"], look["gid"], look["mode"]) == (uid, gid, f"{mode:04o}")
        if not right and look["kind"] != "absent":
            raise ValueError(f"{path} is a {look['kind']}, a folder is wanted there")
        foreign = ""
        if right and uid != 0:
            foreign = _host_checks.foreign_folder(path, item["owner"], uid)
        if foreign:
            raise ValueError(f"{path} {foreign}")
        if not good and not check:
            home = pwd.getpwnam(item["owner"]).pw_dir
            if path.startswith(f"{home}/") or (not right and _owner_above(path) == uid != 0):
                as_user(uid, gid, lambda: _make_folders(path, mode))
            else:
                above = os.path.dirname(path)
                if os.path.realpath(above) != above:
                    raise ValueError(f"{path} leads through a link: name where it leads")
                if uid != 0 and not os.path.isdir(above):
                    # Root's own: the user must get through them.
                    _make_folders(above, 0o755)
                _make_folders(path, mode)
                os.chown(path, uid, gid)
        return not good, "", ""
    wanted = item["content"] or ""
    same_text = look.get("text") == wanted
    same_meta = (look.get("uid"), look.get("gid"), look.get("mode")) == (uid, gid, f"{mode:04o}")
    if look["kind"] == "file" and same_text and same_meta:
        return False, wanted, wanted
    if look["kind"] == "directory":
        raise ValueError(f"{path} is a folder, a file is wanted there")
    if not check:
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            _make_folders(folder, 0o755)
        _files.remove_stale_temporaries(folder)
        if look["kind"] == "file" and same_text:
            os.chown(path, uid, gid)
            os.chmod(path, mode)
        else:
            _files.write_atomic(path, wanted, mode, uid, gid)
    return True, look.get("text", ""), wanted


def brief(path: str, text: str) -> str:
    """A file's text for a diff: code, keys and certificates as one line each."""

    def line(what: str, block: str) -> str:
        data = block.encode(errors="surrogateescape")
        return f"({what}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()})"

    if text and path.startswith(_CODE):
        return line("code", text) + "\n"
    return _ARMOUR.sub(lambda match: line(match["what"].lower(), match[0]), text)


def as_user(uid: int, gid: int, work: Callable[[], None]) -> None:
    """Does something as a user: root must follow no link that a user has put in its home."""
    if uid == os.geteuid():
        work()
        return
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            work()
        except (OSError, ValueError) as error:
            os.write(writer, str(error).encode()[:1000])
        finally:
            # Not sys.exit: nothing of the parent's must be run twice.
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        problem = stream.read().decode(errors="replace")
    os.waitpid(child, 0)
    if problem:
        raise ValueError(problem)


def _owner_above(path: str) -> int:
    """Whose the nearest folder above a path is."""
    above = os.path.dirname(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    return os.lstat(above).st_uid


def _make_folders(path: str, mode: int) -> None:
    """A folder and what is missing above it, all with one mode, whatever the login's umask is."""
    if not os.path.isdir(path):
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            _make_folders(parent, mode)
        os.mkdir(path, mode)
    os.chmod(path, mode)


def _absent(path: str, keep: set[str], check: bool) -> tuple[bool, str, str]:
    found = [
        p for p in glob.glob(path) or ([path] if os.path.lexists(path) else []) if p not in keep
    ]
    for victim in found:
        if not check:
            if os.path.isdir(victim) and not os.path.islink(victim):
                shutil.rmtree(victim)
            else:
                os.unlink(victim)
    return bool(found), "".join(f"{p}\n" for p in found), ""


def source_files(folder: str = "/etc/apt") -> list[str]:
    """apt's source files, without the toolkit's own."""
    paths = [f"{folder}/sources.list", *sorted(glob.glob(f"{folder}/sources.list.d/*"))]
    return [
        path
        for path in paths
        if path.endswith((".list", ".sources"))
        and not os.path.basename(path).startswith("runnerhost-")
        and os.path.isfile(path)
    ]


def third_parties(items: list[dict[str, Any]]) -> frozenset[tuple[str, str]]:
    """Whose entries a mirror of the distribution leaves alone; apt is asked only where it matters.

    Asked before anything is written: apt says nothing once it reads one repository with two keys.
    """
    releases = {release for item in items for release in item["releases"]}
    twins = _apt_sources.Twins(releases=tuple(releases))
    for path in _apt_sources.DISTRIBUTION_FILES if releases else ():
        if path in source_files() and _apt_sources.cutter(path)(_files.read_exact(path), twins)[1]:
            return _apt_sources.third_parties()
    return frozenset()


def remove_twins(
    item: dict[str, Any], check: bool, theirs: frozenset[tuple[str, str]] = frozenset()
) -> tuple[list[str], list[str]]:
    """Other source files that name the repository: their entries disabled, empty files removed.

    For a mirror of the distribution no file is removed: all come back when it goes. Entries of
    ``theirs`` do not count as the distribution's.

    Returns both kinds of files, and those that are removed.
    """
    touched = []
    removed = []
    releases = tuple(item["releases"])
    note = _apt_sources.NOTE_DISTRIBUTION if releases else _apt_sources.NOTE
    suites = _apt_sources.of_any_release(item["suites"])
    wanted = _apt_sources.Twins(tuple(item["uris"]), tuple(suites), note=note)
    own = replace(wanted, releases=releases, theirs=theirs)
    for path in source_files():
        text = _files.read_exact(path)
        distributions = path in _apt_sources.DISTRIBUTION_FILES
        without, found = _apt_sources.cutter(path)(text, own if distributions else wanted)
        if not found:
            continue
        touched.append(path)
        # What the distribution's mirror has disabled is put back when it goes.
        stays = (
            distributions
            or _apt_sources.NOTE_DISTRIBUTION in without
            or _apt_sources.has_entries(without, path.endswith(".sources"))
        )
        if not stays:
            removed.append(path)
        if check:
            continue
        if stays:
            _rewrite(path, without)
        else:
            os.unlink(path)
    return touched, removed


def restore_distribution(check: bool) -> list[str]:
    """The source files with what a mirror of the distribution replaced enabled again."""
    touched = []
    for path in source_files():
        text = _files.read_exact(path)
        restored = _apt_sources.with_distribution(text, _system.release())
        if restored != text:
            touched.append(path)
            if not check:
                _rewrite(path, restored)
    return touched


def _rewrite(path: str, text: str) -> None:
    """A file's text replaced, with its owner and mode as they are."""
    info = os.stat(path)
    _files.write_atomic(path, text, info.st_mode & 0o7777, info.st_uid, info.st_gid)


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
                "options": {
                    "path": {"type": "str", "required": True},
                    "state": {
                        "type": "str",
                        "choices": [
                            "file",
                            "directory",
                            "absent",
                            "duplicates_absent",
                            "distribution_restored",
                        ],
                        "default": "file",
                    },
                    "content": {"type": "str"},
                    "mode": {"type": "str", "default": "0644"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str"},
                    "secret": {"type": "bool", "default": False, "no_log": False},
                    "template": {"type": "str"},
                    "uris": {"type": "list", "elements": "str", "default": []},
                    "suites": {"type": "list", "elements": "str", "default": []},
                    "releases": {"type": "list", "elements": "str", "default": []},
                    "keep": {"type": "list", "elements": "str", "default": []},
                },
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
            # Apart from `files`: a no_log value would be cut out of every path in the answer too.
            "secrets": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    problem = _system.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    changed_paths: list[str] = []
    twins: list[str] = []
    removed_twins: list[str] = []
    diffs: list[dict[str, Any]] = []
    theirs = third_parties(module.params["files"])
    for item in module.params["files"]:
        item["content"] = module.params["secrets"].get(item["path"], item["content"])
        try:
            if item["state"] == "duplicates_absent":
                touched, removed = remove_twins(item, module.check_mode, theirs)
                twins += touched
                removed_twins += removed
                continue
            if item["state"] == "distribution_restored":
                changed_paths += restore_distribution(module.check_mode)
                continue
            changed, before, after = apply_one(item, module.check_mode)
        except (OSError, ValueError, KeyError) as error:
            module.fail_json(
                msg=f"file_set: {item['path']}: {error}",
                changed=bool(changed_paths or twins),
                changed_paths=changed_paths,
                twins=twins,
                removed_twins=removed_twins,
            )
        if changed:
            changed_paths.append(item["path"])
            # What a text was before may hold a secret too, where the new one holds none.
            shown = (
                _secrets.redact_text(brief(item["path"], before)),
                _secrets.redact_text(brief(item["path"], after)),
            )
            if item["secret"] or (shown[0] == shown[1] and before != after):
                shown = "(hidden)\n", "(hidden, changed)\n"
            diffs.append(
                {
                    "before_header": item["path"],
                    "after_header": item["path"],
                    "before": shown[0],
                    "after": shown[1],
                }
            )
    changed_paths += twins
    for command in module.params["commands"]:
        due = command["force"] or any(p.startswith(command["if_changed"]) for p in changed_paths)
        expected = command["unless_found"]
        argv = command["argv"]
        lacking = False
        if expected:
            found = {os.path.basename(path) for path in glob.glob(expected["glob"])}
            names = set(expected["names"])
            lacking = not names <= found if expected["others"] else names != found
            due = due or lacking
            argv = argv if found else command.get("argv_first") or argv
        if not due:
            continue
        argv = possible(argv)
        if not argv:
            continue
        changed_paths.append(" ".join(argv))
        if lacking:
            # No file's diff tells of it.
            diffs.append({"prepared": f"run: {' '.join(argv)}\n"})
        if module.check_mode:
            continue
        done = _system.run(argv, timeout=120)
        if done.returncode:
            module.fail_json(
                msg=f"file_set: {changed_paths[-1]}: {(done.stderr or done.stdout).strip()}",
                changed=True,
                changed_paths=changed_paths,
            )
    module.exit_json(
        changed=bool(changed_paths),
        changed_paths=changed_paths,
        twins=twins,
        removed_twins=removed_twins,
        **({"diff": diffs} if module._diff else {}),
    )


if __name__ == "__main__":
    main()
