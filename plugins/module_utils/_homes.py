# SPDX-License-Identifier: Apache-2.0
"""Whose a folder of jobs is, and whether it may be made the job user's.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import os
import pwd
import stat

_OF_A_FRESH_DISK = {"lost+found"}
"""What a fresh file system has in its topmost folder (mke2fs(8))."""

# What only jobs and the toolkit make there: a folder with none of them was never a runner's home.
_OF_A_RUNNER = ("builds", ".cache/pip")
# Accounts of people have numbers from here on (UID_MIN of login.defs(5)); a directory's (LDAP, AD)
# go up to the end.
_FIRST_PERSON = 1000
_NOBODY = 65534
# systemd's dynamic users (systemd.io/UIDS-GIDS).
_DYNAMIC = range(61184, 65520)


def account_of(uid: int) -> pwd.struct_passwd | None:
    """Who has the number; asked one by one, since a directory's accounts are not listed (sssd)."""
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


def is_persons(uid: int) -> bool:
    """True for the number of an account that a person may have."""
    return uid >= _FIRST_PERSON and uid != _NOBODY and uid not in _DYNAMIC


def strangers(path: str, uid: int) -> set[int]:
    """Whose a home is that should be a user's: its owner, and what in it has no account.

    Raises ValueError where it may not be taken over: another's home, a person's, or a folder that
    nothing shows to have been a runner's home.
    """
    owner = os.lstat(path).st_uid
    found = {owner} - {uid}
    if found and not may_take(path, uid):
        whose = account_of(owner)
        name = whose.pw_name if whose else f"the number {owner}"
        home = whose.pw_dir.rstrip("/") if whose else ""
        if (
            (home and f"{path}/".startswith(f"{home}/"))
            or (whose and is_persons(owner))
            or not any(os.path.isdir(f"{path}/{folder}") for folder in _OF_A_RUNNER)
            or path.count("/") < 2
        ):
            raise ValueError(f"{path} belongs to {name}: mend its owner, or name another folder")
    with os.scandir(path) as entries:
        infos = [entry.stat(follow_symlinks=False) for entry in entries]
    others = {info.st_uid for info in infos if is_single(info)} - {uid}
    return found | {number for number in others if account_of(number) is None}


def is_single(info: os.stat_result) -> bool:
    """False for a file with several names: one of them may lie elsewhere."""
    return not stat.S_ISREG(info.st_mode) or info.st_nlink == 1


def may_take(path: str, uid: int) -> bool:
    """True if a folder is the user's, or an empty one of root's: a disk that was mounted there."""
    owner = os.lstat(path).st_uid
    return owner == uid or (owner == 0 and not set(os.listdir(path)) - _OF_A_FRESH_DISK)
