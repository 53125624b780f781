# SPDX-License-Identifier: GPL-3.0-or-later
"""What a provision leaves on a host, in a form that two hosts of different labs can be compared by.

Of each file, folder and link that appeared or changed: type, mode, owner and its new lines; of each
unit: whether it is enabled and active; and which packages are marked as manually installed. What
differs from lab to lab (addresses, tokens, keys) is replaced by placeholders; comments and
descriptions are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Manifest = Mapping[str, Mapping[str, list[str]]]

_COMMENT = re.compile(r"#|;|//|Description=")
_PLACEHOLDERS = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"\bgl[a-z]+-[\w.-]{8,}", "token"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?", "time"),
        (r"(?<=s_)[0-9a-f]{12}\b|\b[0-9a-f]{12,64}\b", "digest"),
        (r"\b\d{1,3}(?:\.\d{1,3}){3}\b", "address"),
        # Of packages, and of runners in GitLab.
        (r"\b\d+\.\d+\.\d+(?:-[\w.+~]+)?", "version"),
        (r'(?<=^id = )\d+|(?<=^"id": )\d+', "id"),
    )
]

# Runs on the host, as root.
_PROGRAM = r"""
import glob, grp, hashlib, json, os, pwd, re, stat, subprocess

FOLDERS = (
    "/etc", "/home", "/opt", "/root", "/srv", "/usr/local", "/var/lib/runnerhost",
    "/var/lib/systemd", "/var/spool/cron",
)
# What package managers, systemd and logins write by themselves.
OTHERS = re.compile(
    r"/etc/(alternatives|ssl/certs|ca-certificates|rc\d\.d|group-|gshadow-|passwd-|shadow-|shadow|"
    r"ld\.so\.cache|mtab|subuid-|subgid-|localtime|timezone|machine-id|resolv\.conf|hosts|hostname|"
    r"\.pwd\.lock)(/|$)"
    r"|/var/lib/systemd/(?!linger)|/(root|home/admin)/\.ansible(/|$)|/__pycache__(/|$)"
    # A virtual environment, which has tests of its own.
    r"|/usr/local/lib/runnerhost/publish-tools/"
)


def name(get, number):
    try:
        return get(number)[0]
    except KeyError:
        return str(number)


def entry(path):
    found = os.lstat(path)
    owner = f"{name(pwd.getpwuid, found.st_uid)}:{name(grp.getgrgid, found.st_gid)}"
    if stat.S_ISLNK(found.st_mode):
        return ["link", owner, os.readlink(path)]
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    if stat.S_ISDIR(found.st_mode):
        return [f"folder {mode}", owner]
    if not stat.S_ISREG(found.st_mode):
        return [f"special {mode}", owner]
    with open(path, "rb") as stream:
        content = stream.read()
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        lines = ["sha256 " + hashlib.sha256(content).hexdigest()]
    return [f"file {mode}", owner, *lines]


paths = []
for top in FOLDERS:
    for folder, inner, names in os.walk(top):
        inner[:] = [one for one in inner if not OTHERS.search(f"{folder}/{one}")]
        paths += [f"{folder}/{one}" for one in [*inner, *names]]
files = {path: entry(path) for path in sorted(paths) if not OTHERS.search(path)}
of_packages = set()
for path in glob.glob("/var/lib/dpkg/info/*.list"):
    with open(path) as stream:
        of_packages |= set(stream.read().splitlines())
units = {}
for line in subprocess.run(
    ["systemctl", "list-unit-files", "--no-legend", "--no-pager"], capture_output=True, text=True
).stdout.splitlines():
    unit, state = line.split()[:2]
    units[unit] = state
running = {
    line.split()[0]
    for line in subprocess.run(
        ["systemctl", "list-units", "--state=active", "--plain", "--no-legend", "--no-pager"],
        capture_output=True, text=True,
    ).stdout.splitlines()
}
manual = subprocess.run(["apt-mark", "showmanual"], capture_output=True, text=True).stdout
print(json.dumps({
    "packages": manual.split(),
    "files": files,
    "of_packages": sorted(of_packages & set(files)),
    # Sessions, such as this one's, are no part of the host.
    "units": {unit: [state, unit in running] for unit, state in units.items()
              if state != "transient"},
}))
"""


def take(sh: Callable[[str], str]) -> dict[str, Any]:
    """All that is on a host now.

    Args:
        sh: runs a script on it, as root.
    """
    answer: dict[str, Any] = json.loads(sh(f"python3 - <<'END'\n{_PROGRAM}END\n"))
    return answer


def made(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """What was added, changed or removed between two calls of `take`, comparable across labs.

    By kind (files, units, packages) and name, as lines.
    """
    old, new = before["files"], after["files"]
    by_packages = set(after["of_packages"])
    files = {
        _plain(path): _entry(path, entry, old.get(path, []))
        for path, entry in new.items()
        if entry != old.get(path) and (path in old or path not in by_packages)
    }
    files |= {_plain(path): ["absent"] for path in old if path not in new}
    units = {
        unit: [f"{state}, {'active' if active else 'inactive'}"]
        for unit, (state, active) in after["units"].items()
        if before["units"].get(unit) != [state, active]
    }
    packages = {name: ["manual"] for name in {*after["packages"]} - {*before["packages"]}}
    return {"files": files, "units": units, "packages": packages}


def differences(one: Manifest, other: Manifest) -> dict[str, list[str]]:
    """Name -> lines that only one has, behind ``-`` (the first) or ``+`` (the other)."""
    found = {}
    for kind in ("files", "units", "packages"):
        for name in sorted({*one[kind], *other[kind]}):
            left, right = (side[kind].get(name, ["absent"]) for side in (one, other))
            if left != right:
                found[name] = [
                    *(f"-{line}" for line in left if line not in right),
                    *(f"+{line}" for line in right if line not in left),
                ] or ["another order of lines"]
    return found


def _entry(path: str, entry: list[str], old: list[str]) -> list[str]:
    """Type, mode and owner, and the lines that say something and were not there before."""
    if not entry[0].startswith("file"):
        return [_plain(line) for line in entry]
    if path.endswith(".py"):
        return entry[:2]
    text = re.sub(
        r"(?s)-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", r"<\1>", "\n".join(entry[2:])
    )
    lines = [line.strip() for line in text.splitlines() if line not in old]
    gone = [f"removed: {line}" for line in old[2:] if line not in entry]
    lines = [line for line in lines if line and not _COMMENT.match(line)]
    return [*entry[:2], *map(_plain, lines), *map(_plain, gone)]


def _plain(text: str) -> str:
    for pattern, name in _PLACEHOLDERS:
        text = pattern.sub(f"<{name}>", text)
    return text
