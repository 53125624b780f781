# SPDX-License-Identifier: Apache-2.0
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
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

DEPTH = 12
"""Folders below a place: builds/TOKEN/SLOT, groups, project, .tox, the venv."""
FOLDERS = 50_000
"""Folders that one look opens, over all places."""
VENVS = 1_000
"""Venvs that one look tells."""
MIN_AGE = 3600.0
"""Seconds: what was touched since may be a venv that a job is making, or restoring, now."""
CONFIG = "pyvenv.cfg"
_CONFIG_BYTES = 64 * 1024
_EXTENSIONS = 2_000
_LINKS = 40
_SCRATCH = ".runnerhost-old-"
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
        for _ in range(_LINKS):
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
        made_with: the version that it notes, ``3.11.2``; empty if it notes none.
        interpreter: the path that its ``bin/python`` leads to in the end.
        why: the reason for a state that is not ``alive``, in words.
        owner: the folder's user.
        touched: when it was last changed, in seconds since 1970.
    """

    path: str
    state: str
    made_with: str
    interpreter: str
    why: str
    owner: str
    touched: float

    def __str__(self) -> str:
        made = f" (made with Python {self.made_with})" if self.made_with else ""
        return f"{self.path}: {self.state}{', ' if self.why else ''}{self.why}{made}"


@dataclass
class Found:
    """What a look has found.

    Attributes:
        venvs: in the order of their paths.
        complete: False if there are more folders or venvs than a look takes.
        left_out: places that were not looked at, each with the reason; those that do not exist are
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
        ValueError: a link on its way is somebody else's, who could turn it to anywhere.
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
            times = [os.fstat(one) for one in (handle, programs)]
    except OSError:
        # Somebody's test data: a venv has programs.
        return None
    with suppress(OSError):
        times.append(os.lstat(CONFIG, dir_fd=handle))
    noted = _VERSION.match(config.get("version") or config.get("version_info") or "")
    venv = Venv(
        path=shown(path),
        state=ALIVE,
        made_with=noted[0] if noted else "",
        interpreter="",
        why="",
        owner=_user(times[0].st_uid),
        touched=max(max(one.st_mtime, one.st_ctime) for one in times),
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


# --- removal ------------------------------------------------------------------------------------


@dataclass
class Removed:
    """What a removal has done, or would do.

    Attributes:
        paths: venvs that are gone.
        kept: others, each with the reason.
    """

    paths: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def remove(
    paths: Iterable[str],
    patterns: Iterable[str],
    interpreters: Interpreters,
    now: float,
    in_use: Collection[str] = (),
    min_age: float = MIN_AGE,
    pretend: bool = False,
) -> Removed:
    """Removes venvs that are dead, each looked at once more.

    Args:
        paths: the venvs.
        patterns: the places as `find` takes them; nothing outside is removed.
        interpreters: what counts as there.
        now: seconds since 1970.
        in_use: folders in which processes work.
        min_age: seconds that a venv must have been left alone.
        pretend: change nothing.
    """
    done = Removed()
    places = places_of(patterns)
    for path in paths:
        place = next((one for one in places if path.startswith(f"{one}/")), None)
        if place is None or path != os.path.normpath(path):
            done.kept[path] = "it is under none of the places"
            continue
        busy = any(
            # In the venv, or in a folder around it that is a job's own: its checkout.
            f"{one}/".startswith(f"{path}/")
            or (path.startswith(f"{one}/") and one.startswith(f"{place}/"))
            for one in in_use
        )
        try:
            with _opened_place(place) as handle:
                between = path[len(place) + 1 :].split("/")
                why = _remove_below(
                    handle, between, path, interpreters, now, min_age, busy, pretend
                )
        except (OSError, ValueError) as problem:
            why = str(problem)
        if why:
            done.kept[path] = why
        else:
            done.paths.append(path)
    return done


def _remove_below(
    handle: int,
    names: list[str],
    path: str,
    interpreters: Interpreters,
    now: float,
    min_age: float,
    busy: bool,
    pretend: bool,
) -> str:
    """Why the venv stays; empty if it went."""
    name, *deeper = names
    with _opened(name, handle) as folder:
        if _device(folder) != _device(handle):
            return "it lies on another file system than its place"
        if deeper:
            return _remove_below(folder, deeper, path, interpreters, now, min_age, busy, pretend)
        venv = inspect(folder, path, interpreters)
        if venv is None or venv.state != DEAD:
            return "it is not dead any more"
        if busy:
            return "a process works in it, or in the folder that it lies in"
        if now - venv.touched < min_age:
            minutes = max(0, now - venv.touched) / 60
            return f"it was changed {minutes:.0f} minutes ago: a job may be making it"
        if pretend:
            return ""
        # Out of the way first: a job that begins now makes its own anew.
        scratch = f"{_SCRATCH}{os.getpid()}-{name}"
        os.rename(name, scratch, src_dir_fd=handle, dst_dir_fd=handle)
        _empty(folder, _device(folder))
        os.rmdir(scratch, dir_fd=handle)
    return ""


def _empty(handle: int, device: int) -> None:
    """Removes all that a folder holds; its pyvenv.cfg last, by which the next run would find it."""
    with os.scandir(handle) as entries:
        inside = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    for name in sorted(inside, key=lambda one: one == CONFIG):
        if inside[name]:
            with _opened(name, handle) as deeper:
                if _device(deeper) != device:
                    raise OSError(f"another file system is mounted in it: {shown(name)}")
                _empty(deeper, device)
            os.rmdir(name, dir_fd=handle)
        else:
            os.unlink(name, dir_fd=handle)
