# SPDX-License-Identifier: GPL-3.0-or-later
"""What an index has: projects, releases, files, and who may upload."""

from __future__ import annotations

import hashlib
import pickle
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path


def normal(name: str) -> str:
    """A project's name in addresses (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class File:
    """An uploaded file."""

    name: str
    kind: str
    version: str
    content: bytes = field(repr=False)
    requires_python: str = ""
    metadata: bytes = field(default=b"", repr=False)
    uploaded: float = field(default_factory=time.time)

    @property
    def sha256(self) -> str:
        """Its digest, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def blake2(self) -> str:
        """Its digest that PyPI names files by."""
        return hashlib.blake2b(self.content, digest_size=32).hexdigest()


@dataclass
class Project:
    """A project of an index.

    Attributes:
        name: as its first upload spelt it.
        owner: the user who may upload.
        files: by name.
        used: names of all files that there ever were.
        created: when each version got its first file, in seconds.
    """

    name: str
    owner: str = ""
    files: dict[str, File] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    created: dict[str, float] = field(default_factory=dict)

    def add(self, file: File) -> None:
        """Adds a file."""
        self.files[file.name] = file
        self.used.add(file.name)
        self.created.setdefault(file.version, file.uploaded)

    def age(self, version: str, days: float) -> None:
        """Makes a release that much older."""
        self.created[version] -= days * 86400


@dataclass
class Projects:
    """The projects of one index.

    Attributes:
        folder: where they are kept; None for nowhere.
        named: by their normalized names.
    """

    folder: Path | None = None
    named: dict[str, Project] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        for path in self.folder.glob("*.pickle") if self.folder else ():
            # Written by `keep` alone, in a folder of this user's.
            self.named[path.stem] = pickle.loads(path.read_bytes())

    def keep(self, project: Project) -> None:
        """Has a project, which may be a new one, and writes it down."""
        name = normal(project.name)
        self.named[name] = project
        if self.folder:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = self.folder / f".{name}.new"
            new.write_bytes(pickle.dumps(project))
            new.replace(self.folder / f"{name}.pickle")

    def find(self, name: str) -> Project | None:
        """A project, however its name is spelt."""
        return self.named.get(normal(name))

    def make(self, name: str, owner: str = "") -> Project:
        """A new project."""
        return self.named.setdefault(normal(name), Project(name, owner))

    def file(self, name: str) -> File | None:
        """A file of any project."""
        files = (project.files.get(name) for project in self.named.values())
        return next((file for file in files if file), None)
