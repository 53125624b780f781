# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments under some folders: whether the interpreter of each still is what it was.

Nothing of a venv is run: it is the code of whoever made it. Its files are read through descriptors
of their folders, no link is followed on the way, and what is reported holds no control characters.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import glob
import os
import pwd
import re
import shlex
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

DEPTH = 12
"""Folders below a place: builds/TOKEN/SLOT, groups, project, .tox, the venv."""
FOLDERS = 50_000
"""The number of folders that a search opens, in all places."""
VENVS = 1_000
"""The number of venvs that a search returns."""
CONFIG = "pyvenv.cfg"
_CONFIG_BYTES = 64 * 1024
_EXTENSIONS = 2_000
_LINKS = 40
# A cache has as many folders as files, and none of these holds a venv.
_SKIPPED = frozenset({".git", "node_modules", "__pycache__", "site-packages"})
_SKIPPED_PAIRS = frozenset({(".cache", "pip"), (".cache", "uv")})
# What a venv itself consists of; a project whose root is a venv has its .tox beside these.
_OF_A_VENV = frozenset({"bin", "include", "lib", "lib64", "share"})
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NAME = re.compile(r"python(?P<minor>3\.\d+)(?P<threads>t|-nogil)?(?:-dbg|d)?\Z")
_VERSION = re.compile(r"3\.\d+(?:\.\d+)?")
_TAG = re.compile(
    r"\.cpython-3(?P<minor>\d+)(?P<threads>t?)d?-(?P<machine>[a-z0-9_]+)-linux[^.]*\.so\Z"
)

ALIVE, DEAD, CHANGED = "alive", "dead", "changed"


@dataclass(frozen=True)
class Interpreters:
    """What the interpreters of the host will be once the run is over.

    Attributes:
        coming: paths of those that the run has installed, or in check mode would install.
        going: paths of those that the run is about to remove.
    """

    coming: frozenset[str] = frozenset()
    going: frozenset[str] = frozenset()

    def follow(self, path: str) -> str:
        """Where a link of an interpreter leads in the end."""
        for __ in range(_LINKS):
            # The folder may be reached by a link itself, as /bin is.
            folder, name = os.path.split(path)
            path = os.path.join(os.path.realpath(folder), name)
            if path in self.coming:
                return path
            try:
                path = os.path.join(os.path.dirname(path), os.readlink(path))
            except OSError:
                return path
        return path

    def has(self, path: str) -> bool:
        """True if there will be an interpreter at a path that leads no further."""
        return path in self.coming or (path not in self.going and os.path.isfile(path))


@dataclass(frozen=True)
class Venv:
    """One virtual environment.

    Attributes:
        path: its folder; characters that no terminal should get are shown as ``?``.
        state: ``alive``; ``dead``, its interpreter is gone; ``changed``, its interpreter is
            another version or build than the one that its packages are for.
        made_with: the version in its pyvenv.cfg, ``3.11.2``; empty without one.
        interpreter: the path that its ``bin/python`` leads to in the end.
        why: the reason for a state that is not ``alive``, in words.
        owner: the folder's user.
    """

    path: str
    state: str
    made_with: str
    interpreter: str
    why: str
    owner: str

    def __str__(self) -> str:
        made = f" (made with Python {self.made_with})" if self.made_with else ""
        text = f"{self.path}: {self.state}{', ' if self.why else ''}{self.why}{made}"
        if self.state != DEAD:
            return text
        # As its owner: root would follow a link that a job puts in the way.
        user = f"'#{self.owner}'" if self.owner.isdigit() else self.owner
        return f"{text}; to remove it: sudo -u {user} rm -r {shlex.quote(self.path)}"


@dataclass
class Found:
    """The result of a search.

    Attributes:
        venvs: in the order of their paths.
        complete: False if there are more folders or venvs than the limits of a search.
        left_out: places that were not searched, each with the reason; those that do not exist are
            no reason to say anything.
    """

    venvs: list[Venv] = field(default_factory=list)
    complete: bool = True
    left_out: list[str] = field(default_factory=list)


def shown(text: str) -> str:
    """A name that a job has chosen, fit for a terminal and for JSON."""
    return "".join(char if char.isprintable() else "?" for char in text)


def summary(found: Found) -> str:
    """One line for all of them."""
    counts = dict.fromkeys((ALIVE, DEAD, CHANGED), 0)
    for venv in found.venvs:
        counts[venv.state] += 1
    parts = [f"{count} {state}" for state, count in counts.items() if count]
    number = len(found.venvs)
    text = f"{number} virtual environment{'' if number == 1 else 's'}"
    text += f": {', '.join(parts)}" if parts else ""
    return text if found.complete else f"{text}; there are more than one look takes"


# --- folders, without following a link ----------------------------------------------------------


@contextmanager
def _opened(name: str, above: int | None = None) -> Iterator[int]:
    """A folder's descriptor; OSError where there is none, or a link."""
    handle = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _opened_place(path: str) -> Iterator[int]:
    """A configured folder; links on the way are followed if they are root's.

    Raises:
        OSError: it is not there.
        ValueError: a link on its way belongs to another user, who could change its target.
    """
    handle = os.open("/", _FOLDER)
    try:
        for name in [part for part in path.split("/") if part]:
            info = os.lstat(name, dir_fd=handle)
            is_link = stat.S_ISLNK(info.st_mode)
            if is_link and info.st_uid != 0:
                raise ValueError(f"{path} is reached by a link that is not root's: {shown(name)}")
            deeper = os.open(name, _FOLDER | (0 if is_link else os.O_NOFOLLOW), dir_fd=handle)
            os.close(handle)
            handle = deeper
        yield handle
    finally:
        os.close(handle)


def _device(handle: int) -> int:
    return os.fstat(handle).st_dev


def places_of(patterns: Iterable[str]) -> list[str]:
    """The folders that patterns name now, each once."""
    found = (path for pattern in patterns for path in sorted(glob.glob(pattern)))
    return list(dict.fromkeys(os.path.normpath(path) for path in found))


@dataclass
class _Budget:
    depth: int
    folders: int
    venvs: int = VENVS
    over: bool = False


def _walk(
    handle: int, path: str, depth: int, device: int, budget: _Budget, interpreters: Interpreters
) -> Iterator[Venv]:
    budget.folders -= 1
    if budget.folders < 0 or budget.venvs <= 0:
        budget.over = True
        return
    names = []
    may_be_venv = False
    with os.scandir(handle) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED:
                    names.append(entry.name)
            elif entry.name == CONFIG:
                may_be_venv = True
    venv = inspect(handle, path, interpreters) if may_be_venv else None
    if venv:
        budget.venvs -= 1
        yield venv
        names = [name for name in names if name not in _OF_A_VENV]
    if depth >= budget.depth:
        return
    for name in sorted(names):
        if (os.path.basename(path), name) in _SKIPPED_PAIRS:
            continue
        # Gone meanwhile, or of a user who has closed it to root (a network's file system).
        with suppress(OSError), _opened(name, handle) as deeper:
            if _device(deeper) == device:
                inside = f"{path}/{name}"
                yield from _walk(deeper, inside, depth + 1, device, budget, interpreters)


def find(
    patterns: Iterable[str],
    interpreters: Interpreters,
    depth: int = DEPTH,
    folders: int = FOLDERS,
) -> Found:
    """Every venv under some folders.

    Args:
        patterns: absolute paths, or shell patterns of them.
        interpreters: what counts as there.
        depth: how many folders deep to look below each.
        folders: how many folders to open in all.
    """
    found = Found()
    budget = _Budget(depth, folders)
    for place in places_of(patterns):
        try:
            with _opened_place(place) as handle:
                found.venvs += _walk(handle, place, 0, _device(handle), budget, interpreters)
        except OSError:
            continue
        except ValueError as problem:
            found.left_out.append(str(problem))
    # A place may lie below another one.
    found.venvs = sorted({venv.path: venv for venv in found.venvs}.values(), key=lambda v: v.path)
    found.complete = not budget.over
    return found


# --- one venv -----------------------------------------------------------------------------------


def _config(handle: int) -> dict[str, str] | None:
    """pyvenv.cfg; None where the folder has none that is a venv's (it names its ``home``)."""
    try:
        # Not blocking: a pipe could lie there.
        file = os.open(
            CONFIG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle
        )
    except OSError:
        return None
    with os.fdopen(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        text = stream.read(_CONFIG_BYTES).decode(errors="replace")
    pairs = (line.partition("=") for line in text.splitlines())
    found = {key.strip().lower(): value.strip() for key, mark, value in pairs if mark}
    return found if found.get("home") else None


def inspect(handle: int, path: str, interpreters: Interpreters) -> Venv | None:
    """The venv that a folder is, or None.

    Args:
        handle: the folder's descriptor.
        path: its path.
        interpreters: what counts as there.
    """
    config = _config(handle)
    if config is None:
        return None
    try:
        with _opened("bin", handle) as programs:
            link, kind = _program(programs)
    except OSError:
        # Somebody's test data: a venv has programs.
        return None
    noted = _VERSION.match(config.get("version") or config.get("version_info") or "")
    venv = Venv(
        path=shown(path),
        state=ALIVE,
        made_with=noted[0] if noted else "",
        interpreter="",
        why="",
        owner=_user(os.fstat(handle).st_uid),
    )
    if not kind:
        return replace(venv, state=DEAD, why="it has no bin/python")
    if kind == "link":
        real = interpreters.follow(os.path.join(path, "bin", link))
    else:
        real = _base(config, venv.made_with, interpreters)
    venv = replace(venv, interpreter=shown(real))
    if not interpreters.has(real):
        return replace(venv, state=DEAD, why=f"{venv.interpreter} is gone")
    why = _difference(handle, venv, real)
    return replace(venv, state=CHANGED, why=why) if why else venv


def _program(programs: int) -> tuple[str, str]:
    """Name of the venv's interpreter in ``bin``, and whether it is a link or a file."""
    for name in ("python", "python3"):
        with suppress(OSError):
            mode = os.lstat(name, dir_fd=programs).st_mode
            return name, "link" if stat.S_ISLNK(mode) else "file"
    return "", ""


def _base(config: dict[str, str], version: str, interpreters: Interpreters) -> str:
    """The interpreter that a copied one takes its library from."""
    minor = ".".join(version.split(".")[:2])
    named = config.get("base-executable") or config.get("executable")
    return interpreters.follow(named or os.path.join(config["home"], f"python{minor}"))


def _difference(handle: int, venv: Venv, real: str) -> str:
    """What of the interpreter is not what the venv is for, in words; empty if nothing."""
    now, threads = version_of(real)
    if not now:
        return ""
    made = ".".join(venv.made_with.split(".")[:2])
    if made and made != now:
        return f"{venv.interpreter} is {now}"
    library = f"lib/python{now}{'t' if threads else ''}"
    try:
        with _opened("lib", handle) as lib, _opened(library[4:], lib) as own:
            return _foreign_extensions(own, now, threads)
    except OSError:
        return f"it has no {library}, which {venv.interpreter} reads"


def version_of(interpreter: str) -> tuple[str, bool]:
    """An interpreter's minor version and whether it is a free-threaded build; not by running it.

    By its name, else by the one library beside it; an empty version if neither tells.
    """
    match = _NAME.match(os.path.basename(interpreter))
    if match:
        return match["minor"], bool(match["threads"])
    prefix = os.path.dirname(os.path.dirname(interpreter))
    libraries = [
        os.path.dirname(path) for path in glob.glob(f"{glob.escape(prefix)}/lib/python3*/os.py")
    ]
    match = _NAME.match(os.path.basename(libraries[0])) if len(libraries) == 1 else None
    return (match["minor"], bool(match["threads"])) if match else ("", False)


def _foreign_extensions(library: int, now: str, threads: bool) -> str:
    """Compiled extensions of another interpreter or machine, by their names (PEP 3149)."""
    left = _EXTENSIONS
    try:
        with _opened("site-packages", library) as packages:
            for folder in (".", *sorted(os.listdir(packages))[:left]):
                with suppress(OSError), _opened(folder, packages) as inside:
                    for name in os.listdir(inside):
                        left -= 1
                        match = _TAG.search(name)
                        if match and (
                            f"3.{match['minor']}" != now
                            or bool(match["threads"]) != threads
                            or match["machine"] != os.uname().machine
                        ):
                            return f"it has compiled extensions for another Python: {shown(name)}"
                if left <= 0:
                    break
    except OSError:
        return ""
    return ""


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
