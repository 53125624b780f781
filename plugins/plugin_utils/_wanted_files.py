# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's files as the inventory wants them, and how the host's own differ, for a verification.

Those whose content follows from the inventory alone. What asks the host or the network first is
left to tests/host: the repositories with their keys, the pins of the Pythons, logind's users.
"""

from __future__ import annotations

import base64
import difflib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_sources import (
    DISTRIBUTION_SOURCES,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _job_user,
    _network,
    _network_plan,
    _runner_planning,
    _runner_settings,
    _runner_versions,
    _service_files,
)

Item = dict[str, Any]
"""An item of `file_set`."""
WHERE = "files"
# Of the differing lines of one side, so many characters.
_SHOWN = 200
# More missing files than this are told in one line.
_MISSING = 3
_ROOTS = ("/etc/", "/usr/", "/var/lib/runnerhost/")
_COMMENTS = ("#", "//")
_GENERATION = "RUNNERHOST_GENERATION="
_UID = re.compile(r"\{uid:[^}]+\}")


def of_network(network: _network.Network, mirror: bool) -> list[Item]:
    """The files of network_access.

    Args:
        network: the settings.
        mirror: whether the distribution comes from a mirror, whose file has a key in it.
    """
    none = _network_plan.Mirror(text="", url="", suites=[], releases=[])
    files: list[Item] = _network_plan.plan(network, none, removes=True)["files"]
    return [one for one in _compared(files) if not (mirror and one["path"] == DISTRIBUTION_SOURCES)]


def of_runner(args: Mapping[str, Any], host: str, network: _network.Network) -> dict[str, Any]:
    """What the runner's plan knows without the host, for templates.

    Args:
        args: validated arguments of `runner_plan`.
        host: the host's name.
        network: the network settings.
    """
    settings = _runner_settings.settings_of(args, host)
    choices = _service_files.HostChoices(
        user_manager=settings.user_manager, secret=bool(network.login)
    )
    services, files = [], []
    for service in settings.services:
        environment = _runner_planning.environment_of(service, network)
        mark = _runner_planning.generation(
            service,
            False,
            environment,
            [path for path, __ in network.authorities],
            settings.services[0].home if service.isolated else "",
        )
        services.append({**service.public(), "generation": mark})
        files += _service_files.written(service, mark, environment, choices)
    repository = _runner_versions.repository(settings.wanted, "")
    return {
        "services": services,
        "files": files,
        "job_users": _job_user.note(settings.services),
        "preferences": repository.preferences,
        # Not compared: the host's own id, its other users, and the repository's key are in them.
        "machine_note": "",
        "logind": {"only": []},
        "sources": "",
    }


def of_host(plan: Mapping[str, Any], items: Iterable[Item], unknown: Iterable[str]) -> list[Item]:
    """The files of gitlab_runner.

    Args:
        plan: from `of_runner`.
        items: those of the whole host.
        unknown: paths whose content the inventory does not say.
    """
    left_out = {*unknown}
    return [one for one in _compared([*plan["files"], *items]) if one["path"] not in left_out]


def _compared(items: Iterable[Item]) -> list[Item]:
    """Those with a content; folders and what must not lie in homes are for tests/host."""
    return [
        one
        for one in items
        if one.get("state", "file") == "file"
        or (one.get("state") == "absent" and str(one["path"]).startswith(_ROOTS))
    ]


# --- what the host has ---------------------------------------------------------------------------

_READ = """
import base64, glob, json, os, pwd, re, stat, sys
found = {}
for path in json.loads(sys.argv[1]):
    try:
        real = re.sub(r"[{]uid:([^}]+)[}]", lambda m: str(pwd.getpwnam(m[1]).pw_uid), path)
    except KeyError:
        continue
    for one in glob.glob(real) or [real] * os.path.lexists(real):
        about = os.lstat(one)
        try:
            owner = pwd.getpwuid(about.st_uid).pw_name
        except KeyError:
            owner = str(about.st_uid)
        text = None
        if stat.S_ISREG(about.st_mode):
            with open(one, "rb") as file:
                text = base64.b64encode(file.read()).decode()
        mode = f"{stat.S_IMODE(about.st_mode):04o}"
        found.setdefault(path, {})[one] = {"owner": owner, "mode": mode, "text": text}
print(json.dumps(found))
"""


def question(items: Iterable[Item]) -> str:
    """A shell command that reads the files; it needs nothing of what is in them."""
    paths = json.dumps([str(one["path"]) for one in items])
    return shlex.join(["/usr/bin/python3", "-I", "-S", "-c", _READ, paths])


# --- what differs --------------------------------------------------------------------------------


def differences(
    answer: str, items: Iterable[Item], told: Iterable[str] = ()
) -> list[dict[str, str]]:
    """What is not as it should be, a file each.

    Args:
        answer: what the command has written.
        items: what should be there, with its ``content``.
        told: what is wrong already; a file that is named there is not told again.
    """
    here: dict[str, dict[str, dict[str, Any]]] = json.loads(answer)
    said = " ".join(told)
    found, missing = [], []
    for item in items:
        path, there = str(item["path"]), here.get(str(item["path"]), {})
        name = _UID.sub("UID", path)
        if name in said:
            continue
        if item.get("state") == "absent":
            more = [one for one in there if one not in item.get("keep", [])]
            found += [_difference(one, "no such file", "one") for one in more]
        elif not there:
            missing.append(name)
        else:
            sides = _of_file(item, next(iter(there.values())))
            if sides:
                found.append(_difference(name, *sides))
    if len(missing) > _MISSING:
        found.append(_difference("files of the toolkit", _cut(missing), "nothing"))
    else:
        found += [_difference(path, "a file", "nothing") for path in missing]
    return found


def _difference(what: str, expected: str, found: str) -> dict[str, str]:
    return {"what": what, "expected": expected, "found": found, "where": WHERE}


def _of_file(item: Item, here: Mapping[str, Any]) -> tuple[str, str] | None:
    """What was expected of a file and what was found; None if nothing differs."""
    if here["text"] is None:
        return "a file", "a link, a folder or a device"
    before = base64.b64decode(here["text"]).decode(errors="replace")
    after = str(item.get("content") or "")
    sides = _sides(_settings(before), _settings(after))
    if sides is None:
        wanted = (str(item.get("owner", "root")), f"mode {item.get('mode', '0644')}")
        own = (str(here["owner"]), f"mode {here['mode']}")
        return None if own == wanted else (", ".join(wanted), ", ".join(own))
    less, more = sides
    if item.get("secret") or _secrets.redact_text(before) != before:
        return "the inventory's content", "another (not shown)"
    if item.get("mode") == "0600":
        # Of an environment only the names: any value may be secret.
        names = sorted({line.partition("=")[0] for line in (*less, *more)})
        return f"{_cut(names)} as in the inventory", "other values"
    return _cut(less) or "nothing else", _cut(more) or "nothing"


def _sides(here: list[str], there: list[str]) -> tuple[list[str], list[str]] | None:
    """The lines that only the wanted text has, and those that only the host's has."""
    if here == there:
        return None
    changed = list(difflib.ndiff(here, there))
    sides = [[line[2:] for line in changed if line.startswith(mark)] for mark in ("+ ", "- ")]
    # It follows from the other lines, where there are any.
    less, more = ([line for line in side if _GENERATION not in line] for side in sides)
    return (less, more) if less or more else (sides[0], sides[1])


def _settings(text: str) -> list[str]:
    """A file's lines without comments: those change with the toolkit's version."""
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith(_COMMENTS)]


def _cut(lines: Sequence[str]) -> str:
    text = _secrets.redact_text(", ".join(lines))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
