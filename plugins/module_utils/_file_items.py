# SPDX-License-Identifier: GPL-3.0-or-later
"""One item of a set of files: a file, a folder, or what must not be there.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import ast
import glob
import grp
import hashlib
import os
import pwd
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _credential_files,
    _files,
    _host_checks,
    _system,
)

_UID = re.compile(r"\{uid:([^}]+)\}")
# A key or certificate, alone or inside an apt source, where each line of it is indented.
_ARMOUR = re.compile(
    r"^[ \t]*-----BEGIN (?P<what>[A-Z0-9 ]+)-----$.*?^[ \t]*-----END (?P=what)-----$", re.M | re.S
)


@dataclass
class Item:
    """One item, as the documentation of file_set describes it."""

    path: str
    state: str = "file"
    content: str | None = None
    mode: str = "0644"
    owner: str = "root"
    group: str | None = None
    secret: bool = False
    code: bool = False
    own: bool = False
    uris: list[str] = field(default_factory=list)
    suites: list[str] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Change:
    """What an item changed, or in check mode would change: its text before and after."""

    before: str = ""
    after: str = ""


class Unresolved(Exception):
    """A user that a path names does not exist yet."""


def apply_item(item: Item, check: bool) -> Change | None:
    """Brings one item to its state; None if it is in that state already."""
    absent = item.state == "absent"
    try:
        path = resolve(item.path)
        uid, gid = (0, 0) if absent and not item.own else _owner_ids(item)
    except Unresolved as missing:
        if absent and item.own:
            return None
        if not check:
            raise ValueError(f"{item.path}: the user {missing} does not exist") from None
        return None if absent else Change(after=item.content or "")
    if item.own:
        return _own(item, path, uid, gid, check)
    if absent:
        return _absent(path, set(item.keep), check)
    if item.state == "directory":
        return _directory(item, path, uid, gid, check)
    return _file(item, path, uid, gid, check)


def resolve(path: str) -> str:
    """The path with its ``{uid:NAME}`` filled in."""

    def number(match: re.Match[str]) -> str:
        entry = _system.user(match.group(1))
        if entry is None:
            raise Unresolved(match.group(1))
        return str(entry["uid"])

    return _UID.sub(number, path)


def _owner_ids(item: Item) -> tuple[int, int]:
    """uid and gid that an item wants."""
    try:
        entry = pwd.getpwnam(item.owner)
    except KeyError:
        raise Unresolved(item.owner) from None
    return entry.pw_uid, grp.getgrnam(item.group).gr_gid if item.group else entry.pw_gid


def _file(item: Item, path: str, uid: int, gid: int, check: bool) -> Change | None:
    found = _files.file_info(path, want_text=True)
    wanted = item.content or ""
    mode = int(item.mode, 8)
    before = str(found.get("text", ""))
    same_text = found.get("text") == wanted or (item.code and same_code(before, wanted))
    same_meta = (found.get("uid"), found.get("gid"), found.get("mode")) == (uid, gid, f"{mode:04o}")
    if found["kind"] == "file" and same_text and same_meta:
        return None
    if found["kind"] == "directory":
        raise ValueError(f"{path} is a folder, a file is wanted there")
    if not check:
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            _make_folders(folder, 0o755)
        _files.remove_stale_temporaries(folder)
        if found["kind"] == "file" and same_text:
            os.chown(path, uid, gid)
            os.chmod(path, mode)
        else:
            _files.write_atomic(path, wanted, mode, uid, gid)
    return Change(before, before if same_text else wanted)


def _own(item: Item, path: str, uid: int, gid: int, check: bool) -> Change | None:
    """A file of the toolkit's in a user's home, where root must follow no link."""
    absent = item.state == "absent"

    def apply(only_predict: bool) -> Change | None:
        if absent:
            return _absent(path, set(), only_predict)
        return _file(item, path, uid, gid, only_predict)

    def apply_it() -> None:
        apply(False)

    if _credential_files.writer_of(path) == "other":
        if absent:
            return None
        raise ValueError(f"{path} was not written by the toolkit; move or remove it")
    change = apply(True)
    if change and not check:
        as_user(uid, gid, apply_it)
    return change


def _directory(item: Item, path: str, uid: int, gid: int, check: bool) -> Change | None:
    found = _files.file_info(path)
    mode = int(item.mode, 8)
    there = found["kind"] == "directory"
    if there and (found["uid"], found["gid"], found["mode"]) == (uid, gid, f"{mode:04o}"):
        return None
    if not there and found["kind"] != "absent":
        raise ValueError(f"{path} is a {found['kind']}, a folder is wanted there")
    if there and uid != 0:
        foreign = _host_checks.foreign_folder(path, item.owner, uid)
        if foreign:
            raise ValueError(f"{path} {foreign}")
    if not check:
        home = pwd.getpwnam(item.owner).pw_dir
        if path.startswith(f"{home}/") or (not there and _owner_above(path) == uid != 0):
            as_user(uid, gid, lambda: _make_folders(path, mode))
        else:
            _make_owned_folder(path, mode, uid, gid)
    return Change()


def _make_owned_folder(path: str, mode: int, uid: int, gid: int) -> None:
    """A folder of a user's in one of root's."""
    above = os.path.dirname(path)
    if os.path.realpath(above) != above:
        raise ValueError(f"{path} leads through a link: name where it leads")
    if uid != 0 and not os.path.isdir(above):
        # Root's own: the user must get through them.
        _make_folders(above, 0o755)
    _make_folders(path, mode)
    os.chown(path, uid, gid)


def as_user(uid: int, gid: int, work: Callable[[], None]) -> None:
    """Does something as a user: root must follow no link that a user has put in its home."""
    if uid == os.geteuid():
        work()
        return

    def done() -> str:
        work()
        return ""

    problem = _system.answer_of(uid, gid, [], done)
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


def _absent(path: str, keep: set[str], check: bool) -> Change | None:
    found = [
        p for p in glob.glob(path) or ([path] if os.path.lexists(path) else []) if p not in keep
    ]
    for victim in found:
        if not check:
            if os.path.isdir(victim) and not os.path.islink(victim):
                shutil.rmtree(victim)
            else:
                os.unlink(victim)
    return Change(before="".join(f"{p}\n" for p in found)) if found else None


def same_code(one: str, other: str) -> bool:
    """True if two texts are the same Python code; comments, docstrings and layout do not count."""
    try:
        return _code(one) == _code(other)
    except (SyntaxError, ValueError):
        return False


def _code(text: str) -> str:
    """What Python makes of a text, without docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # A constant that stands alone does nothing, as a docstring of an attribute.
            kept = [
                one
                for one in body
                if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
            ]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree)


def shown(item: Item, text: str) -> str:
    """A file's text for a diff: code, keys and certificates as one line each."""

    def line(what: str, block: str) -> str:
        data = block.encode(errors="surrogateescape")
        return f"({what}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()})"

    if text and item.code:
        return line("code", text) + "\n"
    return _ARMOUR.sub(lambda match: line(match["what"].lower(), match[0]), text)


def arguments() -> dict[str, Any]:
    """The argument spec of an item; ``template`` and ``vars`` are the controller's."""
    text = {"type": "str"}
    texts = {"type": "list", "elements": "str", "default": []}
    states = ["file", "directory", "absent", "duplicates_absent", "distribution_restored"]
    return {
        "path": {"type": "str", "required": True},
        "state": {"type": "str", "choices": states, "default": "file"},
        "content": text,
        "mode": {"type": "str", "default": "0644"},
        "owner": {"type": "str", "default": "root"},
        "group": text,
        "secret": {"type": "bool", "default": False, "no_log": False},
        "code": {"type": "bool", "default": False},
        "own": {"type": "bool", "default": False},
        "template": text,
        "vars": {"type": "dict", "default": {}},
        "uris": texts,
        "suites": texts,
        "releases": texts,
        "keep": texts,
    }
