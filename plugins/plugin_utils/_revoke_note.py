# SPDX-License-Identifier: GPL-3.0-or-later
"""The note of an incident: a text for people, and at its end the data that undo reads.

No value of a variable is in it; of values that are random, a salted, slow digest.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _project_variables

FORMAT = 1
CONTINUED_DAYS = 7
"""For how many days a run without a named note goes on with the newest one."""
_BLOCK = re.compile(r"^## Data\n.*?^```yaml\n(?P<data>.*?)^```\n?", re.M | re.S)
_HEAD = """\
# Incident of {begun}

Written by `make revoke` for {url}. Times are in UTC. Add what you like, but leave the section Data
as it is: the undo reads it.

"""
_DATA = """\
## Data

No value of a variable is in here.

```yaml
{data}```
"""


class NoteProblem(Exception):
    """The note cannot be read or written; the text says why."""


@dataclass
class PausedRunner:
    """A runner that this incident has paused, or was about to."""

    id: int
    name: str


@dataclass
class Taken:
    """A variable that was taken out, or was about to be; without its value.

    Attributes:
        kind: projects, groups, or schedules.
        path: of the project or group.
        schedule: the number of a project's pipeline schedule; 0 for none.
        why: how it was recognized, in words.
        named: whether its key was named.
        at: when it was taken out; empty if it is not known to be out.
        attributes: those that it had.
    """

    kind: str
    path: str
    key: str
    environment: str
    schedule: int
    why: str
    named: bool
    at: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, str, int, str, str]:
        """What no two have in common."""
        return self.kind, self.path.lower(), self.schedule, self.key, self.environment

    @property
    def name(self) -> str:
        """For messages."""
        return self.key if self.environment == "*" else f"{self.key} ({self.environment})"

    @property
    def place(self) -> str:
        """Where it was, for messages."""
        if self.kind == "schedules":
            return f"{self.path}, pipeline schedule {self.schedule}"
        return self.path if self.kind == "projects" else f"group {self.path}"


@dataclass
class Cancelled:
    """A pipeline that was cancelled."""

    project: str
    id: int
    ref: str
    url: str


@dataclass
class Data:
    """What later runs need.

    Attributes:
        salt: of the digests, in hex.
        digests: of the values that were taken out.
        undone: when; empty if it is not.
    """

    url: str
    begun: str
    salt: str
    digests: list[str] = field(default_factory=list)
    runners: list[PausedRunner] = field(default_factory=list)
    variables: list[Taken] = field(default_factory=list)
    pipelines: list[Cancelled] = field(default_factory=list)
    undone: str = ""

    def text(self) -> str:
        """As YAML."""
        # By way of JSON: what Ansible has tagged is plain text again.
        plain = _one_line(json.loads(json.dumps({"format": FORMAT, **asdict(self)})))
        return str(yaml.safe_dump(plain, sort_keys=False, width=10**6, allow_unicode=True))


def _one_line(value: Any) -> Any:
    """The same with each text on one line, so that none ends the block."""
    if isinstance(value, dict):
        return {key: _one_line(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_one_line(one) for one in value]
    return " ".join(value.split()) if isinstance(value, str) else value


def data_of(text: str) -> Data:
    """The data of a note.

    Raises:
        NoteProblem: if it is none.
    """
    blocks = list(_BLOCK.finditer(text))
    try:
        found = yaml.safe_load(blocks[-1]["data"])
        if found.pop("format") != FORMAT:
            raise ValueError
        lists = {"runners": PausedRunner, "variables": Taken, "pipelines": Cancelled}
        for name, kind in lists.items():
            found[name] = [_typed(kind, one) for one in found[name]]
        data: Data = _typed(Data, found)
        bytes.fromhex(data.salt)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError):
        raise NoteProblem("is no note of make revoke, or its section Data was changed") from None
    return data


_KINDS: Mapping[str, type] = {"int": int, "str": str, "bool": bool}


def _typed(kind: Any, given: Mapping[str, Any]) -> Any:
    for one in fields(kind):
        wanted = _KINDS.get(str(one.type), list if str(one.type).startswith("list") else dict)
        value = given[one.name]
        # True is an int, too.
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise ValueError(one.name)
    return kind(**given)


class Note:
    """The file.

    Args:
        path: where.
        data: what is in it.
        kept: the text before the data; that of earlier runs.
        there: whether the file exists.
    """

    def __init__(self, path: Path, data: Data, kept: str = "", there: bool = False) -> None:
        self.path, self.data, self.there = path, data, there
        self._kept = kept or _HEAD.format(begun=data.begun, url=data.url)
        self._before = asdict(data)

    @property
    def new(self) -> bool:
        """Whether the data differs from what was read."""
        return asdict(self.data) != self._before or not self.there

    def write(self, section: Sequence[str], secrets: Iterable[str]) -> None:
        """Writes it whole, in one step; a new one only where no file is.

        Args:
            section: the lines of this run.
            secrets: replaced wherever they are.

        Raises:
            NoteProblem: if that fails.
        """
        known = sorted((one for one in secrets if len(one) >= 8), key=len, reverse=True)
        lines = [_hide(" ".join(line.split()), known) for line in section]
        for one in self.data.variables:
            # What people have written.
            if "description" in one.attributes:
                one.attributes["description"] = _hide(str(one.attributes["description"]), known)
        block = _DATA.format(data=self.data.text())
        text = "\n".join([self._kept.rstrip("\n"), "", *lines, "", block])
        # One that is a word may be that of a path or a key, too, which the undo needs.
        text = _hide(text, [one for one in known if _project_variables.is_random(one)])
        try:
            if not self.there:
                # Taken before anything is done; never through a link.
                os.close(os.open(self.path, _NEW, 0o600))
                self.there = True
            _replace(self.path, text)
        except OSError as error:
            raise NoteProblem(f"{self.path}: {error.strerror}") from None


def _hide(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _secrets.HIDDEN)
    return text


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.new")
    # Of a run that was killed.
    draft.unlink(missing_ok=True)
    try:
        with open(os.open(draft, _NEW, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read(path: Path) -> Note:
    """A note that is there.

    Raises:
        NoteProblem: if it cannot be read, or is none.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "no text"
        raise NoteProblem(f"{path}: cannot be read: {said}") from None
    try:
        data = data_of(text)
    except NoteProblem as problem:
        raise NoteProblem(f"{path} {problem}") from None
    last = list(_BLOCK.finditer(text))[-1]
    rest = text[last.end() :].strip("\n")
    kept = text[: last.start()].rstrip("\n") + (f"\n\n{rest}" if rest else "")
    return Note(path, data, kept, there=True)


def find(named: str, url: str, now: datetime) -> Note:
    """The note of this run: the named one, the newest that is still open, or a new one.

    Args:
        named: a file; empty for one in the current folder.
        url: the GitLab.
        now: in UTC.

    Raises:
        NoteProblem: if the named one is there and is no note, or is one of another GitLab.
    """
    fresh = Data(url, stamp(now), os.urandom(16).hex())
    if named:
        path = Path(named).expanduser().absolute()
        # A link that leads nowhere is there, too.
        if not os.path.lexists(path):
            return Note(path, fresh)
        note = read(path)
        if note.data.url != url:
            raise NoteProblem(f"{path}: a note about {note.data.url}, and not about {url}")
        if note.data.undone:
            raise NoteProblem(f"{path}: undone on {note.data.undone}; expected another name")
        return note
    notes = []
    for path in Path.cwd().glob("incident-*.md"):
        try:
            # Another user's, in a folder that several share, is not trusted.
            if path.lstat().st_uid != os.geteuid():
                continue
            last = read(path)
        except (NoteProblem, OSError):
            continue
        if last.data.url == url:
            notes.append(last)
    # Whatever people have named older ones.
    newest = max(notes, key=lambda note: note.data.begun, default=None)
    since = stamp(now - timedelta(days=CONTINUED_DAYS))
    if newest and newest.data.begun >= since and not newest.data.undone:
        return newest
    return Note(Path.cwd() / f"incident-{now:%Y%m%dT%H%M%SZ}.md", fresh)


def stamp(now: datetime) -> str:
    """A time for people; it sorts."""
    return f"{now:%Y-%m-%d %H:%M:%S}"
