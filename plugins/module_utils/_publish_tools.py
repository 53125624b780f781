# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools for publishing on a host: what is there, what differs from what is wanted.

Each set of tools is a virtual environment of its own, made beside the one in use. The link
``current`` leads to the latter, and the commands on PATH lead through it, so that one rename
switches all of them. A command that runs goes on in the environment in which it began.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files

FOLDER = "/usr/local/lib/runnerhost/publish-tools"
LINKS = "/usr/local/bin"
PROGRAM = "runnerhost-release"
# In an environment: the lock that it was made from, written last.
LOCK = "requirements.txt"
# A number follows where the first of that name is broken.
_NAME = re.compile(r"[0-9a-f]{12}-python3\.\d+t?(-\d+)?")
_LAUNCHER = """\
#!/bin/sh
# Written by runnerhost.toolkit: local changes are lost.
# The environment of now, also if another one takes its place while the program runs.
exec "$(readlink -f {folder}/current)/bin/python" -I {folder}/release.py "$@"
"""


@dataclass(frozen=True)
class Places:
    """Where all of it lies."""

    folder: str = FOLDER
    links: str = LINKS

    @property
    def current(self) -> str:
        """The link to the environment in use."""
        return f"{self.folder}/current"

    @property
    def program(self) -> str:
        """The release program."""
        return f"{self.folder}/release.py"

    @property
    def launcher(self) -> str:
        """What starts it in the environment in use."""
        return f"{self.folder}/{PROGRAM}"

    @property
    def launcher_text(self) -> str:
        """Its text."""
        return _LAUNCHER.format(folder=self.folder)

    def target(self, name: str) -> str:
        """Where the link of a command leads."""
        return self.launcher if name == PROGRAM else f"{self.current}/bin/{name}"

    def owns(self, path: str) -> bool:
        """Whether a path is a link of the toolkit's."""
        return os.path.islink(path) and os.readlink(path).startswith(f"{self.folder}/")

    def environments(self) -> list[str]:
        """The environments, whole or not."""
        found = glob.glob(f"{glob.escape(self.folder)}/*-python3.*")
        return sorted(path for path in found if _NAME.fullmatch(os.path.basename(path)))


@dataclass(frozen=True)
class Wanted:
    """What should be there; nothing where ``lock`` is empty.

    Attributes:
        lock, program: SHA-256 of the lock and of the release program.
        python: the interpreter of the environment.
        commands: the tools that are to be on PATH.
    """

    lock: str
    program: str
    python: str
    commands: Sequence[str]

    @property
    def names(self) -> tuple[str, ...]:
        """All commands on PATH."""
        return (*self.commands, PROGRAM) if self.lock else ()


@dataclass
class Due:
    """What differs.

    Attributes:
        foreign: paths of commands that are not the toolkit's.
        environment: the environment to use.
        make: whether it must be made.
        switch: whether ``current`` does not lead to it yet.
        files: paths of the release program and of what starts it, to write.
        links: paths of commands to link.
        stale: links, files and unused environments to remove.
    """

    foreign: list[str] = field(default_factory=list)
    environment: str = ""
    make: bool = False
    switch: bool = False
    files: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)

    def spare_used(self, places: Places) -> None:
        """Keeps what a process has come to use since, which may be half an hour ago."""
        old = [path for path in self.stale if path in places.environments()]
        busy = in_use(old) if old else []
        self.stale = [path for path in self.stale if path not in busy]

    def paths(self) -> list[str]:
        """Every path that changes, in the order in which it does."""
        made = [self.environment] if self.make or self.switch else []
        return [*made, *self.files, *self.links, *self.stale]

    def lines(self) -> list[str]:
        """The same in words, for a diff."""
        found = [f"install {self.environment}"] if self.make else []
        found += [f"write {path}" for path in self.files]
        found += [f"use {self.environment}"] if self.switch else []
        found += [f"link {path}" for path in self.links]
        return found + [f"remove {path}" for path in self.stale]


def digest(path: str) -> str:
    """A file's SHA-256; empty if it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except OSError:
        return ""


def whole(environment: str, wanted: Wanted) -> bool:
    """Whether an environment is from this lock, and works with the Python as it is now."""
    python = os.path.realpath(wanted.python)
    return (
        digest(f"{environment}/{LOCK}") == wanted.lock
        and os.path.realpath(f"{environment}/bin/python") == python
        and os.access(python, os.X_OK)
        # After an upgrade of the system, the same link leads to another version.
        and os.path.isdir(f"{environment}/lib/{os.path.basename(python)}/site-packages")
        and all(os.access(f"{environment}/bin/{name}", os.X_OK) for name in wanted.commands)
    )


def due(wanted: Wanted, places: Places, used: Iterable[str] | None = None) -> Due:
    """What differs; changes nothing.

    Args:
        wanted: what should be there.
        places: where.
        used: environments that processes use; asked of the system by default.
    """
    found = Due()
    if wanted.lock:
        _due_environment(found, wanted, places)
        if digest(places.program) != wanted.program:
            found.files.append(places.program)
        if not _is_program(places.launcher, places.launcher_text):
            found.files.append(places.launcher)
    for name in wanted.names:
        path = f"{places.links}/{name}"
        if os.path.lexists(path) and not places.owns(path):
            found.foreign.append(path)
        elif not os.path.lexists(path) or os.readlink(path) != places.target(name):
            found.links.append(path)
    _due_removals(found, wanted, places, used)
    return found


def _due_environment(found: Due, wanted: Wanted, places: Places) -> None:
    """The environment in use if it will do, else another one, else one to be made."""
    now = os.path.realpath(places.current)
    there = [now, *places.environments()]
    found.environment = next((path for path in there if whole(path, wanted)), "")
    if not found.environment:
        version = os.path.basename(os.path.realpath(wanted.python))
        name = f"{places.folder}/{wanted.lock[:12]}-{version}"
        others = (f"{name}-{number}" for number in range(2, 1000))
        # Half of one, which a killed run has left, is replaced; one that was used is not.
        used = {path for path in there if os.path.exists(f"{path}/{LOCK}")} | {now}
        free = (path for path in (name, *others) if path not in used)
        found.environment, found.make = next(free), True
    found.switch = now != found.environment


def _due_removals(found: Due, wanted: Wanted, places: Places, used: Iterable[str] | None) -> None:
    names = wanted.names
    for path in sorted(glob.glob(f"{glob.escape(places.links)}/*")):
        if places.owns(path) and os.path.basename(path) not in names:
            found.stale.append(path)
    if not wanted.lock:
        alone = (places.current, places.launcher, places.program)
        found.stale += [path for path in alone if os.path.lexists(path)]
    old = [path for path in places.environments() if path != found.environment]
    if old:
        busy = set(in_use(old) if used is None else used)
        found.stale += [path for path in old if path not in busy]


def _is_program(path: str, text: str) -> bool:
    """Whether a program is there with this text."""
    try:
        return os.access(path, os.X_OK) and _files.read_exact(path) == text
    except OSError:
        return False


def in_use(folders: list[str]) -> list[str]:
    """Those of the folders from which a process runs or has a library."""
    found = set()
    for process in glob.glob("/proc/[0-9]*"):
        told = b""
        # A shell in which somebody has activated it has it in its environment alone.
        for name in ("cmdline", "maps", "environ"):
            try:
                with open(f"{process}/{name}", "rb") as stream:
                    told += stream.read()
            except OSError:
                # It has ended, or it is a thread of the kernel.
                continue
        found |= {folder for folder in folders if f"{folder}/".encode() in told}
    return sorted(found)
