# SPDX-License-Identifier: GPL-3.0-or-later
"""aptly through its command line: mirrors, snapshots and publishing, with its own words on failure.

aptly 1.5 (Debian 12, Ubuntu 24.04). Its passphrase options are not used but for a file's name: a
passphrase has no place in a command line.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 6 * 3600.0
"""Seconds for one command; a first download of everything may take hours."""
QUICK = 120.0
WORDS = 25
"""How many of aptly's last lines a failure shows."""


class Failed(RuntimeError):
    """A program that did not do what it was called for; the text says which, and its words."""


@dataclass(frozen=True)
class Package:
    """One package of a snapshot."""

    name: str
    version: str
    depends: str
    """Depends and Pre-Depends as one text."""


def run(argv: Sequence[str], *, stdin: str = "", timeout: float = QUICK) -> str:
    """A program's output. gpg's agent may ask for a passphrase on this terminal.

    Args:
        argv: the command.
        stdin: what it reads.
        timeout: seconds.

    Raises:
        Failed: it is missing, fails or takes too long.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": ""}
    if os.isatty(0):
        environment["GPG_TTY"] = os.ttyname(0)
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        package = PACKAGES.get(argv[0], argv[0])
        raise Failed(f"{argv[0]} is not installed (package {package})") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{argv[0]}: no end in {timeout:.0f} s") from None
    if done.returncode:
        ending = "\n".join(done.stdout.strip().splitlines()[-WORDS:])
        raise Failed(f"{' '.join(argv[:3])}: exit {done.returncode}\n{ending}")
    return done.stdout


PACKAGES = {"gpg": "gnupg"}


class Aptly:
    """aptly with a folder of its own: `database` for what it knows, `public` for what it serves."""

    ENDPOINT = "filesystem:public"

    def __init__(self, database: Path, public: Path, architectures: Sequence[str]) -> None:
        self.database = database
        self.public = public
        self.architectures = tuple(architectures)
        self._settings = database / "aptly.conf"

    def prepare(self) -> None:
        """Its folders and its settings file."""
        for folder in (self.database, self.public):
            folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "rootDir": str(self.database),
            "gpgProvider": "gpg",
            # Else aptly takes them from the packages, and an empty repository has none.
            "architectures": list(self.architectures),
            "skipContentsPublishing": True,
            "FileSystemPublishEndpoints": {
                # Hard links: another snapshot takes the room of what is new in it.
                "public": {"rootDir": str(self.public), "linkMethod": "hardlink"}
            },
        }
        self._settings.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    def __call__(self, *words: str, timeout: float = QUICK) -> str:
        command, options = words[:2], words[2:]
        return run(["aptly", *command, f"-config={self._settings}", *options], timeout=timeout)

    def names(self, what: str) -> set[str]:
        """The names of all mirrors or snapshots."""
        return set(self(what, "list", "-raw").split())

    def mirror(
        self, name: str, url: str, suite: str, components: Sequence[str], keyring: Path, query: str
    ) -> None:
        """A mirror of what a query names and all that this needs there, as it is upstream now.

        A component that is not there fails at its index. (Debian's security archive calls its
        `main` otherwise in its Release file: hence -force-components.)
        """
        trust = f"-keyring={keyring}"
        if name not in self.names("mirror"):
            self(
                *("mirror", "create", trust),
                *(f"-filter={query}", "-filter-with-deps", "-force-components"),
                *(name, url, suite, *components),
                timeout=TIMEOUT,
            )
        self("mirror", "update", trust, "-max-tries=3", name, timeout=TIMEOUT)

    def meta(self, mirror: str) -> dict[str, str]:
        """What a mirror's Release file states: Origin, Label and so on."""
        found: dict[str, str] = json.loads(self("mirror", "show", "-json", mirror))["Meta"]
        return found

    def packages(self, snapshot: str) -> list[Package]:
        """What a snapshot holds."""
        form = '{{.Package}}|{{.Version}}|{{.Depends}}, {{index . "Pre-Depends"}}\n'
        try:
            text = self("snapshot", "search", f"-format={form}", snapshot, "Name")
        except Failed as error:
            if "no results" in str(error):
                return []
            raise
        rows = (line.split("|", 2) for line in text.splitlines() if line.count("|") >= 2)
        return [Package(name, version, depends) for name, version, depends in rows]

    def verify(self, snapshots: Sequence[str]) -> list[str]:
        """Dependencies of the snapshots' packages that none of the snapshots holds."""
        text = self("snapshot", "verify", *snapshots, timeout=TIMEOUT)
        if "All dependencies are satisfied" in text:
            return []
        found = text.partition("Missing dependencies")[2].splitlines()[1:]
        return [line.strip() for line in found if line.strip()] or [text.strip()]

    def publish(
        self, snapshot: str, prefix: str, suite: str, origin: str, label: str, key: str, secret: str
    ) -> None:
        """A snapshot as a signed repository.

        Args:
            snapshot: its name.
            prefix: where it goes, below `public`.
            suite: its only suite, with the component main.
            origin: what its Release file states, as `label`.
            label: the same.
            key: fingerprint of the signing key.
            secret: file with its passphrase; empty: gpg's agent asks.
        """
        how = ["-batch", f"-passphrase-file={secret}"] if secret else []
        self(
            *("publish", "snapshot", *how, f"-gpg-key={key}", f"-distribution={suite}"),
            *("-component=main", f"-origin={origin}", f"-label={label}"),
            *("-acquire-by-hash", "-skip-bz2"),
            *(snapshot, f"{self.ENDPOINT}:{prefix}"),
            timeout=TIMEOUT,
        )

    def published(self, name: str) -> list[tuple[str, str]]:
        """Prefix and suite of every repository below a snapshot's name."""
        rows = (line.rsplit(" ", 1) for line in self("publish", "list", "-raw").splitlines())
        pairs = [
            (prefix.strip(), suite) for prefix, suite in (row for row in rows if len(row) == 2)
        ]
        start = f"{self.ENDPOINT}:{name}/"
        return [(prefix, suite) for prefix, suite in pairs if prefix.startswith(start)]


def depended(packages: Sequence[Package]) -> list[str]:
    """Every name that packages depend on, alternatives too, without what they are themselves."""
    own = {package.name for package in packages}
    found = set()
    for package in packages:
        for word in re.split(r"[,|]", package.depends):
            match = re.match(r"\s*([a-z0-9][a-z0-9+.-]+)", word)
            if match:
                found.add(match.group(1))
    return sorted(found - own)
