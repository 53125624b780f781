# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of a lab, and atomic writes.

Two places: the state of one lab in the checkout (`.lab/NAME/`, 0700, gone
with `lab down`), and a cache shared by all labs (content-addressed, stays).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.run import LabError

CHECKOUT = Path(__file__).resolve().parent.parent
DEFAULT_NAME = "demo"
GITLAB_NAME = "gitlab.runnerhost.test"
MIRROR_NAME = "mirror.runnerhost.test"
GITLAB_PORT = 8443
MIRROR_PORT = 8080
INDEXES = {
    "index": ("index.runnerhost.test", 8444),
    "test_index": ("test-index.runnerhost.test", 8445),
}
"""The package indexes, for final releases and for pre-releases: name and port."""
NAMES = (GITLAB_NAME, MIRROR_NAME, *(name for name, _ in INDEXES.values()))
"""What hosts find at the gateway."""
HEALTH_PATH = "/-/lab"
"""The page of the mirror that identifies its process for `lab up`."""


@dataclass(frozen=True)
class Lab:
    """One lab: its name, and every path and name that follows from it."""

    name: str = DEFAULT_NAME
    checkout: Path = CHECKOUT

    def __post_init__(self) -> None:
        # The name becomes part of container, network and file names.
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", self.name):
            raise LabError(f"LAB_NAME {self.name!r}: lower-case letters, digits and '-' only")

    @property
    def id(self) -> str:
        """Distinguishes this lab from labs of other checkouts on the same machine."""
        return f"{hashlib.sha256(str(self.checkout).encode()).hexdigest()[:8]}-{self.name}"

    @property
    def state(self) -> Path:
        return self.checkout / ".lab" / self.name

    @property
    def network(self) -> str:
        return f"runnerhost-{self.id}"

    def container(self, platform: str) -> str:
        return f"runnerhost-{self.id}-{platform}"

    @property
    def ssh(self) -> Path:
        return self.state / "ssh"

    @property
    def ca_file(self) -> Path:
        return self.state / "pki" / "ca.pem"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets.json"

    @property
    def service_pid(self) -> Path:
        return self.state / "serve.pid"

    @property
    def service_log(self) -> Path:
        return self.state / "serve.log"

    @property
    def control_dir(self) -> Path:
        """Sockets of shared SSH connections: a short path, since a socket's may have 108 bytes."""
        return Path(f"/tmp/rh-{os.getuid()}-{self.id}")

    @property
    def inventory(self) -> Path:
        """The generated inventory; that of the default lab is inventories/lab, as in the README."""
        if self.name == DEFAULT_NAME:
            return self.checkout / "inventories" / "lab" / "hosts.yml"
        return self.state / "inventory" / "hosts.yml"

    def make_state(self) -> Path:
        """The state folder, created if it is missing; other users have no access."""
        self.state.mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o700)
        ignore = self.state.parent / ".gitignore"
        if not ignore.exists():
            write(ignore, "*\n")
        return self.state


def lab_from_environment() -> Lab:
    return Lab(os.environ.get("LAB_NAME") or DEFAULT_NAME)


def cache_dir() -> Path:
    """The cache folder, created if it is missing (`RUNNERHOST_CACHE` changes it)."""
    named = os.environ.get("RUNNERHOST_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(named) if named else base / "runnerhost"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def digest(*parts: object) -> str:
    """A digest of `parts` (JSON values or bytes) as 16 hex digits."""
    whole = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()[:16]


def write(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Write `content` to `path` atomically: a reader sees either the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to `target` if the block succeeds.

    Folders that a killed process left are removed first: the caller
    holds the lock that excludes other processes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(stale, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path, *, wait_message: str = "") -> Iterator[None]:
    """Hold a lock on `path`; the kernel releases it when this process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait_message:
                print(wait_message, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
