# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a host can use what the inventory names there: the jobs' account, folders and files.

Runs on the hosts: standard library of Python 3.10 alone. Everything is tried as whoever uses it
later, and nothing is changed.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import shutil
import ssl
import stat
import subprocess
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import TypedDict

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _files,
    _known_hosts,
    _listeners,
    _system,
)

SHADOW = "/etc/shadow"
# A pam module that asks a directory may need its time.
SU_SECONDS = 30
_EPOCH = date(1970, 1, 1)
_OF_A_FRESH_DISK = {"lost+found"}
"""What a fresh file system has in its topmost folder (mke2fs(8))."""


# --- the account ---------------------------------------------------------------------------------


class Account(_system.User):
    """An account with its other groups, and why jobs cannot run as it (empty if they can).

    ``may_be_root`` says whether sudo lets it run every command.
    """

    groups: list[str]
    problem: str
    may_be_root: bool


def account(name: str) -> Account | None:
    """The account, if the host has it."""
    entry = _system.user(name)
    if entry is None:
        return None
    numbers = set(os.getgrouplist(name, entry["gid"])) - {entry["gid"]}
    return {
        **entry,
        "groups": sorted(map(_group_name, numbers)),
        "problem": _no_su(name, entry),
        "may_be_root": _may_be_root(name),
    }


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def missing_groups(names: list[str]) -> list[str]:
    """Those of the groups that the host does not have."""
    missing = []
    for name in names:
        try:
            grp.getgrnam(name)
        except KeyError:
            missing.append(name)
    return missing


def _may_be_root(name: str) -> bool:
    """Whether sudo lets the user run every command (sudoers(5))."""
    if not shutil.which("sudo"):
        return False
    said = _system.run(["sudo", "-n", "-l", "-U", name], SU_SECONDS).stdout
    return bool(re.search(r"^\s+\(.*\) (?:[A-Z]+: )*ALL$", said, re.M))


def _no_su(name: str, entry: _system.User) -> str:
    """Why root cannot become the user as the runner does it for each stage of a job."""
    if entry["uid"] == 0:
        return "it is root by another name (number 0); jobs must not run as root"
    if os.geteuid() != 0:
        return ""
    done = _system.run(
        ["su", "-s", "/bin/bash", name, "-c", "true"],
        SU_SECONDS,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    if not done.returncode:
        return ""
    said = " ".join((done.stderr or done.stdout).split()) or f"it ended with {done.returncode}"
    remedy = shadow_remedy(name, _shadow_line(name), date.today()) or (
        "see /etc/pam.d/su, /etc/security/access.conf and `journalctl -t su`"
    )
    return f"`su -s /bin/bash {name} -c true` fails: {said}; {remedy}"


def _shadow_line(name: str) -> str:
    try:
        lines = _files.read_text(SHADOW).splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(f"{name}:")), "")


def shadow_remedy(name: str, line: str, today: date) -> str:
    """What an entry of shadow(5) says against a login, and the command against it; no password."""
    fields = line.split(":")
    if len(fields) < 8:
        return ""
    changed, most, ends = (_days(fields[i]) for i in (2, 4, 7))
    if ends is not None and _EPOCH + timedelta(ends) <= today:
        return f"the account expired on {_EPOCH + timedelta(ends)}: chage -E -1 {name}"
    if changed == 0:
        return f"its password must be changed at the next login: chage -d {today} {name}"
    if changed is not None and most is not None and _EPOCH + timedelta(changed + most) < today:
        return f"its password expired on {_EPOCH + timedelta(changed + most)}: chage -M -1 {name}"
    return ""


def _days(text: str) -> int | None:
    # No date reaches further, and -1 stands for never.
    return int(text) if text.isdigit() and int(text) < 2_000_000 else None


# --- paths ---------------------------------------------------------------------------------------


class Check(TypedDict, total=False):
    """What the host is asked about a path.

    Attributes:
        label: the variable that names it, for messages.
        path: the path.
        kind: how it is used: folder, directory, writable, file, json, program, certificates,
            private_key; listener for an address on which a daemon is to listen; or host_key for
            the name of a host that jobs reach by ssh.
        user: who works in the folder.
        home: of that user.
        groups: those that the user has, or gets by this run.
        link: whether the folder may lead through a symbolic link.
        execute: whether programs are run there.
        certificate: the file whose key it is.
        lines: the known hosts that the run brings.
        mild: whether a problem is a warning.
    """

    label: str
    path: str
    kind: str
    user: str
    home: str
    groups: Sequence[str]
    link: bool
    execute: bool
    certificate: str
    lines: str
    mild: bool


def path_problem(check: Check) -> str:
    """Why the host cannot use a path in the way that the check's ``kind`` says; empty if it can."""
    try:
        return _KINDS[check["kind"]](check)
    except OSError as error:
        return f"cannot be used: {error.strerror or error}"


def _listener(check: Check) -> str:
    return _listeners.problem(check["path"])


def _folder(check: Check) -> str:
    """A folder that the toolkit makes for a user, who works there."""
    path, home = str(check["path"]), str(check.get("home") or "")
    name = str(check["user"])
    user = _system.user(name)
    uid = user["uid"] if user else _system.NOBODY
    inside = bool(home) and path.startswith(f"{home}/")
    real = os.path.realpath(path)
    # Where the home itself leads is its own matter.
    straight = os.path.realpath(home) + path[len(home) :] if inside else path
    if real != straight and not check.get("link"):
        return f"leads through a symbolic link to {real}: name that folder"
    path = real
    there = path
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        return f"cannot be made: {there} is no folder"
    flags = os.statvfs(there).f_flag
    if flags & os.ST_RDONLY:
        return "lies on a file system that is mounted read-only"
    if check.get("execute") and flags & os.ST_NOEXEC:
        return "lies on a file system that is mounted noexec, and jobs run programs there"
    closed = _closed(
        there if there != path else os.path.dirname(path), home, name, check.get("groups") or ()
    )
    if closed:
        return closed
    if there == path:
        owner = uid if user else None
        if inside and os.stat(home).st_uid != owner:
            # The command for the home fixes this, too.
            return ""
        return foreign_folder(path, name, owner)
    return "" if inside else _shaky_parent(there, uid)


def _closed(path: str, home: str, name: str, groups: Sequence[str]) -> str:
    """The first folder on the way to a path that the user cannot enter.

    Its home is not checked here: the toolkit manages it.
    """
    if home and f"{path}/".startswith(f"{home}/"):
        path = os.path.dirname(home)
    steps = [path]
    while steps[-1] != "/":
        steps.append(os.path.dirname(steps[-1]))
    steps = [step for step in reversed(steps) if os.path.isdir(step)]
    first = _system.as_user(name, groups, lambda: next((s for s in steps if not _enters(s)), ""))
    if not first:
        return ""
    info = os.stat(first)
    # The home of somebody stays shut.
    opened = not any(entry.pw_dir == first for entry in pwd.getpwall())
    return (
        f"{name} cannot enter {first} (mode {stat.S_IMODE(info.st_mode):04o}, of "
        f"{_user_name(info.st_uid)}): {f'chmod o+x {first}, or ' if opened else ''}"
        "name another folder"
    )


def _enters(path: str) -> bool:
    return os.access(path, os.X_OK)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the number {uid}"


def foreign_folder(path: str, name: str, uid: int | None) -> str:
    """Why a folder may not be made a user's, with the command that fixes it; empty if it may.

    It may if it is the user's, or an empty one of root's: a disk that was mounted there.

    Args:
        path: the folder.
        name: the user.
        uid: the user's number; None where the host does not have the user yet.
    """
    owner = os.lstat(path).st_uid
    if owner == uid or (owner == 0 and not set(os.listdir(path)) - _OF_A_FRESH_DISK):
        return ""
    make = "" if uid is not None else f"useradd --system --shell /bin/bash --home {path} {name}; "
    return (
        f"belongs to {_user_name(owner)} and is not empty; if the jobs may have it: "
        f"{make}chown -R {name}: {path}, otherwise name another folder"
    )


def _shaky_parent(there: str, uid: int) -> str:
    """Why a folder must not be made below another one."""
    info = os.lstat(there)
    if info.st_uid not in (0, uid) or (info.st_mode & 0o022 and info.st_uid != uid):
        return (
            f"cannot be made in {there}, where others than root may write: "
            "make the folder yourself, or name another one"
        )
    return ""


def _text(path: str) -> str:
    """What root reads in a file; OSError tells why it cannot."""
    if not os.path.exists(path):
        raise FileNotFoundError(0, "it does not exist on the host")
    if not os.path.isfile(path):
        raise OSError(0, "it is no file")
    return _files.read_text(path)


def _file(check: Check) -> str:
    """A file that the service reads."""
    _text(str(check["path"]))
    return ""


def _directory(check: Check) -> str:
    """A folder of the host's that the service reads or writes."""
    path = str(check["path"])
    if os.path.isdir(path):
        return ""
    return "is no folder" if os.path.lexists(path) else "does not exist on the host"


def _writable(check: Check) -> str:
    """A folder that programs of jobs make where it is missing."""
    there = str(check["path"])
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    shut = _system.as_user(
        check["user"],
        check.get("groups") or (),
        lambda: "" if os.access(there, os.W_OK | os.X_OK) else "shut",
    )
    return f"cannot be written by {check['user']} (see the rights of {there})" if shut else ""


def _json(check: Check) -> str:
    try:
        good = isinstance(json.loads(_text(str(check["path"]))), dict)
    except ValueError:
        good = False
    return "" if good else "is no JSON file of a service account"


def _program(check: Check) -> str:
    """A program, by its path or its name."""
    path = str(check["path"])
    if "/" in path and not os.path.exists(path):
        return "does not exist on the host"
    found = shutil.which(path, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if not found:
        return "is no executable file" if "/" in path else "is not installed on the host"
    return ""


def _certificates(check: Check) -> str:
    """A PEM file with the certificates of authorities."""
    text = _text(str(check["path"]))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=_blocks(text))
    except (ssl.SSLError, ValueError):
        return "holds no certificate in PEM format"
    return ""


def _blocks(text: str) -> str:
    """The certificates of a PEM file, without what is written around them."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    parts = [part.partition(end) for part in text.split(begin)[1:]]
    if not parts or not all(mark for __, mark, __ in parts):
        raise ValueError
    return "\n".join(f"{begin}{body}{end}" for body, __, __ in parts)


def _private_key(check: Check) -> str:
    """A PEM file with a private key that goes with the certificate of another file."""
    path, certificate = str(check["path"]), str(check["certificate"])
    text = _text(path)
    if "PRIVATE KEY-----" not in text:
        return "holds no private key in PEM format"
    if "ENCRYPTED" in text:
        return "holds a key with a passphrase, which the runner cannot ask for"
    _text(certificate)

    def none() -> str:
        raise ValueError

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, path, none)
    except (ssl.SSLError, ValueError):
        return f"does not go with the certificate in {certificate}"
    return ""


_KINDS: dict[str, Callable[[Check], str]] = {
    "host_key": lambda one: _known_hosts.problem(one["path"], one["home"], one["lines"]),
    "listener": _listener,
    "folder": _folder,
    "directory": _directory,
    "writable": _writable,
    "file": _file,
    "json": _json,
    "program": _program,
    "certificates": _certificates,
    "private_key": _private_key,
}
