# SPDX-License-Identifier: GPL-3.0-or-later
"""The system that a module runs on: its Python, release, users and processes.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import contextlib
import glob
import grp
import hashlib
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypedDict

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files

SYSTEM_PYTHON = "/usr/bin/python3"
# The number that stands for a user whom the host does not have (yet).
NOBODY = 65534
# All certificates that the host trusts (update-ca-certificates(8)).
TRUST_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# Of python3-minimal, which has the link too: what py3versions(1) answers from.
_PYTHON_DEFAULTS = "/usr/share/python3/debian_defaults"


def system_python_problem() -> str | None:
    """Why the running interpreter is not the system's own, or None.

    A deadsnakes Python on the host has no python3-apt, and Ansible's discovery prefers it. And a
    link that was turned to another Python (update-alternatives) breaks the system's tools, and
    would have that one taken for the distribution's and the distribution's for superfluous.
    """
    if os.path.realpath(sys.executable) != os.path.realpath(SYSTEM_PYTHON):
        return (
            f"ansible_python_interpreter: the host runs Ansible on {sys.executable}; "
            f"it takes {SYSTEM_PYTHON} (set it in the inventory or in ansible.cfg)"
        )
    own, leads = system_version(), os.path.realpath(SYSTEM_PYTHON)
    if os.path.basename(leads) == f"python{own}":
        return None
    return (
        f"{SYSTEM_PYTHON} leads to {leads}, but the system's own is python{own}: turn it back with "
        f"`update-alternatives --remove-all python3; ln -sfn python{own} {SYSTEM_PYTHON}`"
    )


def last_words(output: str, most: int = 600) -> str:
    """The end of a program's output, in whole lines or words, without an address's password."""
    text = re.sub(r"://[^/@\s]+@", "://(hidden)@", output.strip())
    if len(text) <= most:
        return text or "no message"
    end = text[-most:]
    mark = "\n" if "\n" in end[:-1] else " "
    return f"… {end.partition(mark)[2].lstrip() or end}"


def system_version() -> str:
    """The version that belongs to the distribution, as ``3.10``.

    As its package says; where that is silent, from where /usr/bin/python3 leads. Not from the
    interpreter that happens to run.
    """
    try:
        said = re.search(
            r"(?m)^default-version *= *python(\d+\.\d+) *$", _files.read_text(_PYTHON_DEFAULTS)
        )
    except OSError:
        said = None
    return said[1] if said else os.path.basename(os.path.realpath(SYSTEM_PYTHON))[len("python") :]


def run(argv: list[str], timeout: float = 60, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """One command with its output, in the C locale; never raises for a bad exit."""
    # gettext follows LANGUAGE in every locale but C itself.
    locale = {"LC_ALL": "C.UTF-8", "LANGUAGE": ""}
    environment = {**os.environ, **locale, **kwargs.pop("env", {})}
    try:
        # Without AnsibleModule.run_command: the timers of a host run this code, too.
        return subprocess.run(  # pylint: disable=ansible-bad-function
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment,
            check=False,
            **kwargs,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, "", f"{argv[0]}: not found")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(
            argv, 124, "", f"{argv[0]}: no answer in {timeout:.0f} s"
        )


class User(TypedDict):
    """An entry of passwd(5)."""

    uid: int
    gid: int
    home: str
    shell: str


def user(name: str) -> User | None:
    """The passwd entry, or None."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return {
        "uid": entry.pw_uid,
        "gid": entry.pw_gid,
        "home": entry.pw_dir,
        "shell": entry.pw_shell,
    }


def os_release(path: str = "/etc/os-release") -> dict[str, str]:
    """What os-release(5) says, by key; empty if there is no such file."""
    try:
        text = _files.read_text(path)
    except OSError:
        return {}
    return dict(re.findall(r"(?m)^([A-Z_]+)=[\"']?([^\"'\n]*)", text))


def release(path: str = "/etc/os-release") -> str:
    """The system's code name, ``noble``; empty if it has none."""
    return os_release(path).get("VERSION_CODENAME", "")


def distribution(path: str = "/etc/os-release") -> dict[str, str]:
    """The facts of the same names that Ansible's own module has for Debian and Ubuntu."""
    said = os_release(path)
    version = said.get("VERSION_ID", "")
    name = said.get("ID", "").capitalize()
    return {
        "distribution": name,
        "distribution_release": said.get("VERSION_CODENAME", ""),
        "distribution_version": version,
        "distribution_major_version": version.partition(".")[0],
        "os_family": "Debian" if "debian" in said.get("ID_LIKE", "").split() else name,
    }


def machine() -> str:
    """Stands for the machine's id, which must not leave the host (machine-id(5)); empty if none."""
    try:
        number = _files.read_text("/etc/machine-id").strip()
    except OSError:
        return ""
    return hashlib.sha256(f"runnerhost {number}".encode()).hexdigest()[:16] if number else ""


def has_children(pid: int) -> bool:
    """True if the process has any child: each stage of a job is a `su` below the runner."""
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                # The name in brackets may hold blanks: the fields start after its end.
                fields = stream.read().rpartition(")")[2].split()
        except OSError:
            continue
        if len(fields) > 1 and int(fields[1]) == pid:
            return True
    return False


def generation(pid: int) -> str:
    """The settings that a service was started with, as the toolkit's drop-in marks them."""
    return process_environment(pid).get("RUNNERHOST_GENERATION", "") if pid else ""


def process_environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            raw = stream.read()
    except OSError:
        return {}
    pairs = (part.partition("=") for part in raw.decode(errors="replace").split("\0"))
    return {key: value for key, mark, value in pairs if mark}


def as_user(name: str, groups: Iterable[str], ask: Callable[[], str]) -> str:
    """An answer that a user gets, asked in a process of its own; without root this one's.

    Args:
        name: of a user whom the host may not have yet.
        groups: those that it has or is to have; those that the host lacks are left out.
        ask: gives the answer, of up to 4000 bytes.
    """
    if os.geteuid() != 0:
        return ask()
    found = user(name)
    uid, gid = (found["uid"], found["gid"]) if found else (NOBODY, NOBODY)
    own = os.getgrouplist(name, gid) if found else []
    more = []
    for group in groups:
        with contextlib.suppress(KeyError):
            more.append(grp.getgrnam(group).gr_gid)
    return answer_of(uid, gid, [*own, *more], ask)


def answer_of(uid: int, gid: int, groups: Sequence[int], ask: Callable[[], str]) -> str:
    """What ``ask`` gives as another user, in a process of its own; or the words of its error.

    Args:
        uid: the user's number.
        gid: its group's.
        groups: the numbers of its other groups.
        ask: gives up to 4000 bytes.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            os.write(writer, ask().encode()[:4000])
        except (OSError, ValueError) as error:
            os.write(writer, str(error).encode()[:1000])
        finally:
            # Not sys.exit: nothing of the parent's must be run twice.
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read().decode(errors="replace")
    os.waitpid(child, 0)
    return answer
