# SPDX-License-Identifier: Apache-2.0
"""What the toolkit's modules share on a host: looking, and writing safely.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import pwd
import re
import stat
import subprocess
import sys
import tempfile
from typing import Any

SYSTEM_PYTHON = "/usr/bin/python3"
# Of python3-minimal, which has the link too: what py3versions(1) answers from.
_PYTHON_DEFAULTS = "/usr/share/python3/debian_defaults"
_DPKG_STATUS = "/var/lib/dpkg/status"
# What dpkg has done since it last wrote that file whole: left by a transaction that was cut off.
_DPKG_JOURNAL = "/var/lib/dpkg/updates/[0-9]*"
_APT_STATES = "/var/lib/apt/extended_states"


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


def system_version() -> str:
    """The version that belongs to the distribution, as ``3.10``.

    As its package says; where that is silent, from where /usr/bin/python3 leads. Not from the
    interpreter that happens to run.
    """
    try:
        said = re.search(
            r"(?m)^default-version *= *python(\d+\.\d+) *$", read_text(_PYTHON_DEFAULTS)
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
        return subprocess.run(
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


def packages(patterns: list[str], status_file: str = _DPKG_STATUS) -> dict[str, dict[str, str]]:
    """dpkg's own record of each package that matches a pattern: version and status.

    Reads the file that dpkg-query reads: one look for any number of names. A record is keyed by the
    package's name; where ``name:architecture`` is asked for, that architecture's by that too.
    """
    exact = {p for p in patterns if not set(p) & set("*?[")}
    globs = [p for p in patterns if p not in exact]
    apart = {p for p in exact if ":" in p}
    found: dict[str, dict[str, str]] = {}
    name = version = status = architecture = ""

    def keep() -> None:
        if name and (name in exact or any(fnmatch.fnmatchcase(name, p) for p in globs)):
            found[name] = {"version": version, "status": status}
        for asked in apart:
            bare, _, wanted = asked.partition(":")
            # apt takes a package for all architectures as one of any.
            if bare == name and architecture in (wanted, "all"):
                found[asked] = {"version": version, "status": status}

    try:
        with open(status_file, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line == "\n":
                    keep()
                    name = version = status = architecture = ""
                elif line.startswith("Package: "):
                    name = line[9:].strip()
                elif line.startswith("Version: "):
                    version = line[9:].strip()
                elif line.startswith("Status: "):
                    status = line[8:].strip()
                elif apart and line.startswith("Architecture: "):
                    architecture = line[14:].strip()
    except FileNotFoundError:
        return {}
    keep()
    return found


def providers(names: set[str], status_file: str = _DPKG_STATUS) -> dict[str, list[str]]:
    """Installed packages that provide each of the names (deb-control(5)); unprovided ones left out.

    Apart from `packages`: what another package provides is no record of the name, and has not its
    version.
    """
    found: dict[str, list[str]] = {}
    name = status = ""
    try:
        with open(status_file, encoding="utf-8", errors="replace") as stream:
            # dpkg writes the status before what is provided.
            for line in stream:
                if line.startswith("Package: "):
                    name = line[9:].strip()
                elif line.startswith("Status: "):
                    status = line[8:].strip()
                elif line.startswith("Provides: ") and status.endswith(" ok installed"):
                    given = {one.split()[0].partition(":")[0] for one in line[10:].split(",")}
                    for one in given & names:
                        found.setdefault(one, []).append(name)
    except FileNotFoundError:
        return {}
    return found


def unfinished(status_file: str = _DPKG_STATUS, journal: str = _DPKG_JOURNAL) -> list[str]:
    """What a transaction that was cut off has left undone; empty as a rule.

    Packages that are neither installed nor gone (dpkg(1), "Package states"), and dpkg's journal.
    """
    found = []
    name = ""
    try:
        with open(status_file, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith("Package: "):
                    name = line[9:].strip()
                elif line.startswith("Status: "):
                    _, flag, state = line[8:].split()
                    whole = state in ("installed", "config-files", "not-installed")
                    if flag != "ok" or not whole:
                        found.append(name)
    except FileNotFoundError:
        return []
    return [*found, *(["dpkg's journal"] if glob.glob(journal) else [])]


def automatic(states_file: str = _APT_STATES) -> set[str]:
    """Packages that apt holds for installed by itself, which autoremove may take (apt-mark(8)).

    Each as ``name`` and as ``name:architecture``.
    """
    found = set()
    name = architecture = ""
    try:
        with open(states_file, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith("Package: "):
                    name = line[9:].strip()
                elif line.startswith("Architecture: "):
                    architecture = line[14:].strip()
                elif line.startswith("Auto-Installed: 1"):
                    found |= {name, f"{name}:{architecture}"}
    except FileNotFoundError:
        return set()
    return found


def is_installed(record: dict[str, str] | None) -> bool:
    """True if dpkg calls the package installed and configured (held or not)."""
    return bool(record) and (record or {}).get("status", "").endswith(" ok installed")


def file_look(path: str, want_text: bool = False) -> dict[str, Any]:
    """What lies at a path: kind, mode, owner, and its text where asked for."""
    try:
        info = os.lstat(path)
    except OSError:
        return {"kind": "absent"}
    kind = (
        "file"
        if stat.S_ISREG(info.st_mode)
        else "directory"
        if stat.S_ISDIR(info.st_mode)
        else "link"
        if stat.S_ISLNK(info.st_mode)
        else "other"
    )
    look: dict[str, Any] = {
        "kind": kind,
        "mode": f"{stat.S_IMODE(info.st_mode):04o}",
        "uid": info.st_uid,
        "gid": info.st_gid,
        "mtime": info.st_mtime,
    }
    if want_text and kind == "file":
        look["text"] = read_text(path)
    return look


def read_text(path: str) -> str:
    """A file's text; bytes that are no UTF-8 are replaced."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def read_exact(path: str) -> str:
    """A file's text from which `write_atomic` makes the same bytes again."""
    with open(path, "rb") as stream:
        return stream.read().decode("utf-8", "surrogateescape")


def write_atomic(path: str, text: str, mode: int, uid: int = 0, gid: int = 0) -> None:
    """The file, whole or not at all, never readable by more than it should be.

    The temporary file lies in the same folder, so that the rename is one step; it is removed if
    anything fails.
    """
    folder = os.path.dirname(path) or "."
    try:
        _write(path, folder, text, mode, uid, gid)
    except OSError as error:
        if error.errno is None:
            raise
        # A full disk's error names no file by itself.
        raise OSError(error.errno, error.strerror, path) from error


def _write(path: str, folder: str, text: str, mode: int, uid: int, gid: int) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".runnerhost-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(text.encode("utf-8", "surrogateescape"))
            stream.flush()
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def remove_stale_temporaries(folder: str) -> list[str]:
    """Temporary files of a killed run: removed, since they may hold secrets."""
    removed = []
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            if name.startswith(".runnerhost-"):
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    os.unlink(path)
                    removed.append(path)
    return removed


def user(name: str) -> dict[str, Any] | None:
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


def release(path: str = "/etc/os-release") -> str:
    """The system's code name, ``noble`` (os-release(5)); empty if it has none."""
    try:
        found = re.search(r"(?m)^VERSION_CODENAME=\"?([a-z]+)", read_text(path))
    except OSError:
        return ""
    return found[1] if found else ""


def machine() -> str:
    """Stands for the machine's id, which must not leave the host (machine-id(5)); empty if none."""
    try:
        number = read_text("/etc/machine-id").strip()
    except OSError:
        return ""
    return hashlib.sha256(f"runnerhost {number}".encode()).hexdigest()[:16] if number else ""


def has_systemd() -> bool:
    """True if systemd is PID 1 (systemd's own test, sd_booted(3)), and is to be talked to.

    While an image is baked it is not: SYSTEMD_OFFLINE is systemd's own switch for that
    (systemd.io/ENVIRONMENT).
    """
    return os.environ.get("SYSTEMD_OFFLINE") != "1" and os.path.isdir("/run/systemd/system")


UNIT_PROPERTIES = [
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "MainPID",
    "DropInPaths",
    "KillSignal",
    "KillMode",
]


def units(names: list[str]) -> dict[str, dict[str, str]]:
    """Properties of units as systemd has them loaded, by name; empty without systemd."""
    if not names or not has_systemd():
        return {}
    done = run(["systemctl", "show", *names, "--property=" + ",".join(UNIT_PROPERTIES)])
    found: dict[str, dict[str, str]] = {}
    for block in done.stdout.split("\n\n"):
        pairs = (line.partition("=") for line in block.splitlines())
        properties = {key: value for key, mark, value in pairs if mark}
        if "Id" in properties:
            found[properties["Id"]] = properties
    return found


def masked(found: dict[str, dict[str, str]]) -> list[str]:
    """What is wrong with units that are masked (systemd.unit(5)), and the command that helps.

    Args:
        found: properties of units, by name.
    """
    lines = []
    for name, unit in found.items():
        if unit.get("LoadState") == "masked":
            real = unit.get("Id") or name
            runtime = "--runtime " if unit.get("UnitFileState") == "masked-runtime" else ""
            lines.append(
                f"{real} is masked on the host, so systemd does not start it: "
                f"systemctl unmask {runtime}{real}, then run this again"
            )
    return lines


def logind() -> dict[str, Any]:
    """KillUserProcesses and KillOnlyUsers as the running logind has them; empty if none runs."""
    done = run(
        [
            "busctl",
            "get-property",
            "org.freedesktop.login1",
            "/org/freedesktop/login1",
            "org.freedesktop.login1.Manager",
            "KillUserProcesses",
            "KillOnlyUsers",
        ]
    )
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != 2:
        return {}
    return {
        "kill": lines[0].split()[-1] == "true",
        "only": sorted({word.strip('"') for word in lines[1].split()[2:]}),
    }


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
