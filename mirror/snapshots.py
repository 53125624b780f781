# SPDX-License-Identifier: GPL-3.0-or-later
"""Making, listing and dropping snapshots.

A snapshot is a folder below `public` named by its date, with a repository for each upstream, signed
by the user's own key. It counts once its `variables.yml` is there, which is written last.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.runnerhost.toolkit.mirror.aptly import (
    Aptly,
    Failed,
    Package,
    depended,
    run,
)
from ansible_collections.runnerhost.toolkit.mirror.config import Config, Refused, Upstream
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _openpgp

NAME = re.compile(r"\d{4}-\d{2}-\d{2}(?:[.-][a-z0-9]+)*\Z")
VARIABLES = "variables.yml"
KEY = "key.asc"
DEADSNAKES, RUNNER, DISTRIBUTION = "deadsnakes", "gitlab-runner", "distribution"
IMAGES = "gitlab-runner-helper-images"
# The first version that depends on helper-images (GitLab's docs, "Install GitLab Runner").
IMAGES_SINCE = (17, 7)


@dataclass(frozen=True)
class Made:
    """A snapshot's part for one suite: an upstream, its snapshot in aptly, and what is in it."""

    upstream: str
    suite: str
    snapshot: str
    packages: list[Package]
    origin: str
    label: str


class Mirror:
    """The user's mirror."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self.config = config
        self.say = say
        self.public = config.folder / "public"
        self.aptly = Aptly(config.folder / "aptly", self.public, config.architectures)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time works on the folder."""
        # A web server reads what is made here.
        os.umask(0o022)
        self.config.folder.mkdir(parents=True, exist_ok=True)
        with (self.config.folder / ".lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(f"another run works on {self.config.folder}") from None
            self.aptly.prepare()
            yield

    def finished(self) -> list[str]:
        """The names of all snapshots that are whole, in order."""
        return sorted(path.parent.name for path in self.public.glob(f"*/{VARIABLES}"))

    def make(self, name: str) -> str:
        """A new snapshot; returns the text of its variables.

        Raises:
            Refused: the name is taken, the key cannot sign, or something wanted is not on offer.
            Failed: a program failed.
        """
        if not NAME.match(name):
            raise Refused(
                f"--name: invalid value {name!r}; expected a date such as 2026-11-21 or "
                "2026-11-21.2"
            )
        with self.locked():
            if name in self.finished():
                raise Refused(
                    f"the snapshot {name} already exists, and snapshots are never changed; choose "
                    f"another name, such as --name {name}.2"
                )
            public_key = self._signing_key()
            keyrings = {one: self._keyring(one, of) for one, of in self._upstreams().items()}
            # What a run that was cut off has left.
            self._remove(name)
            mirrors: set[str] = set()
            parts = [
                part
                for suite in self.config.suites
                for part in self._suite(name, suite, keyrings, mirrors)
            ]
            for part in parts:
                self.say(f"{part.suite}: signing {part.upstream}")
                self.aptly.publish(
                    part.snapshot, f"{name}/{part.upstream}", part.suite, part.origin, part.label,
                    self.config.signing_key, self.config.passphrase_file,
                )  # fmt: skip
            for old in self.aptly.names("mirror") - mirrors:
                self.aptly("mirror", "drop", "-force", old)
            (self.public / name / KEY).write_text(public_key, encoding="utf-8")
            text = self._variables(name, parts)
            temporary = self.public / name / f".{VARIABLES}"
            temporary.write_text(text, encoding="utf-8")
            temporary.rename(self.public / name / VARIABLES)
            return text

    def drop(self, name: str) -> None:
        """Removes a snapshot, with the packages that no other one has."""
        with self.locked():
            if name not in self.finished():
                there = ", ".join(self.finished()) or "none"
                raise Refused(f"snapshot {name!r} does not exist; existing snapshots: {there}")
            # First what says that it is whole.
            (self.public / name / VARIABLES).unlink()
            self._remove(name)
            self.aptly("db", "cleanup", timeout=3600)

    def _remove(self, name: str) -> None:
        for prefix, suite in self.aptly.published(name):
            self.aptly("publish", "drop", "-force-drop", suite, prefix)
        # Merged ones before what they were merged from.
        for snapshot in sorted(self.aptly.names("snapshot")):
            if snapshot.startswith(f"{name}_"):
                self.aptly("snapshot", "drop", "-force", snapshot)
        if (self.public / name).exists():
            shutil.rmtree(self.public / name)

    # --- keys ---

    def _signing_key(self) -> str:
        """The public half of the signing key, after a test signature."""
        key = self.config.signing_key
        secret = self.config.passphrase_file
        try:
            text = run(["gpg", "--batch", "--armor", "--export", key])
            _openpgp.check(_openpgp.read(text), key, datetime.now(timezone.utc))
        except (Failed, _openpgp.KeyProblem) as problem:
            raise Refused(f"signing_key: the key {key} in gpg's keyring {problem}") from None
        how = ["--batch", "--pinentry-mode", "loopback", "--passphrase-file", secret]
        try:
            # Before hours of downloads.
            run(["gpg", *(how if secret else []), "--local-user", key, "--clearsign"], stdin="x\n")
        except Failed as problem:
            raise Refused(f"signing_key: cannot sign with {key}: {problem}") from None
        return text

    def _upstreams(self) -> dict[str, Upstream]:
        found = {DEADSNAKES: self.config.deadsnakes, RUNNER: self.config.gitlab_runner}
        if self.config.distribution:
            found[DISTRIBUTION] = self.config.distribution
        return found

    def _keyring(self, name: str, upstream: Upstream) -> Path:
        """What gpgv checks an upstream by: the trusted key and no other."""
        if upstream.keyring:
            if not Path(upstream.keyring).is_file():
                raise Refused(f"{name}.keyring: no such file: {upstream.keyring}")
            return Path(upstream.keyring)
        try:
            key = _openpgp.read(fetch(upstream.key))
            _openpgp.check(key, upstream.fingerprint, datetime.now(timezone.utc))
        except _openpgp.KeyProblem as problem:
            raise Refused(f"{name}.key: the key from {upstream.key} {problem}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{name}.key: cannot read {upstream.key}: {error}") from None
        target = self.config.folder / "aptly" / f"{name}.gpg"
        run(["gpg", "--batch", "--yes", "--output", str(target), "--dearmor"], stdin=key.armour)
        return target

    # --- what is taken ---

    def _suite(
        self, name: str, suite: str, keyrings: dict[str, Path], mirrors: set[str]
    ) -> list[Made]:
        """All parts for one suite, whole: nothing that they need is missing."""
        config = self.config
        wanted = [n for v in config.pythons for n in v.packages(config.python_patterns)]
        take = _Take(self, name, suite, keyrings, mirrors)
        pythons = take(DEADSNAKES, wanted)
        runners = take(RUNNER, runner_query(config.runners))
        problems = runner_problems(config.runners, runners.packages, suite)
        there = {package.name for package in pythons.packages}
        own = [v for v in config.pythons if not set(v.packages(config.python_patterns)) <= there]
        parts = [pythons, runners]
        if config.distribution:
            more = [n for v in own for n in v.packages(config.python_patterns)]
            parts.append(
                take(
                    DISTRIBUTION,
                    [*config.packages, *more, *depended(pythons.packages + runners.packages)],
                )
            )
            there |= {package.name for package in parts[-1].packages}
            lacking = sorted({*config.packages, *more} - there)
            if lacking:
                problems.append(f"{suite}: no upstream offers {', '.join(lacking)}")
            missing = self.aptly.verify([part.snapshot for part in parts])
            if missing:
                problems.append(
                    f"{suite}: dependencies of the snapshot are missing: "
                    f"{', '.join(missing)}; add them to distribution.extra_packages"
                )
        elif own:
            self.say(
                f"{suite}: {', '.join(map(str, own))} is not in deadsnakes; this is correct "
                "if it is the release's own version"
            )
            if len(own) == len(config.pythons):
                problems.append(f"deadsnakes.pythons: deadsnakes offers none of them for {suite}")
        if problems:
            raise Refused("\n".join(problems))
        return parts

    # --- what is told ---

    def _variables(self, name: str, parts: Sequence[Made]) -> str:
        """What an inventory says to use the snapshot, and in comments what is in it."""
        address = f"{self.config.url}/{name}"
        trust = {"key": f"{address}/{KEY}", "key_fingerprint": self.config.signing_key}
        found: dict[str, Any] = {
            "python_versions_repository_url": f"{address}/{DEADSNAKES}",
            "python_versions_repository_components": ["main"],
            "python_versions_repository_origin": f"{self.config.origin} {DEADSNAKES}",
            **{f"python_versions_repository_{key}": value for key, value in trust.items()},
            "gitlab_runner_repository_url": f"{address}/{RUNNER}",
            "gitlab_runner_repository_components": ["main"],
            **{f"gitlab_runner_repository_{key}": value for key, value in trust.items()},
        }
        if self.config.distribution:
            found |= {
                "network_access_distribution_url": f"{address}/{DISTRIBUTION}",
                "network_access_distribution_suites": [
                    "{{ ansible_facts['distribution_release'] }}"
                ],
                "network_access_distribution_components": ["main"],
                **{f"network_access_distribution_{key}": value for key, value in trust.items()},
            }
        lines = [f"# Snapshot {name} of {self.config.origin}."]
        for part in parts:
            shown = [
                f"{package.name} {package.version}"
                for package in sorted(part.packages, key=lambda one: (one.name, one.version))
                if package.name == "gitlab-runner"
                or re.fullmatch(r"python3\.\d+(-nogil)?", package.name)
            ]
            count = f"{len(part.packages)} packages"
            lines.append(f"# {part.suite}, {part.upstream}: {', '.join([count, *shown])}")
        return "\n".join(lines) + "\n" + yaml.safe_dump(found, sort_keys=False, width=200)


class _Take:
    """Takes what a query names from an upstream into a snapshot in aptly."""

    def __init__(
        self, mirror: Mirror, name: str, suite: str, keyrings: dict[str, Path], mirrors: set[str]
    ) -> None:
        self.mirror = mirror
        self.name = name
        self.suite = suite
        self.keyrings = keyrings
        self.mirrors = mirrors

    def __call__(self, upstream: str, names: Sequence[str]) -> Made:
        of = self.mirror._upstreams()[upstream]
        aptly, config = self.mirror.aptly, self.mirror.config
        query = " | ".join(dict.fromkeys(names))
        target = f"{self.name}_{upstream}_{self.suite}"
        parts: list[str] = []
        meta: dict[str, str] = {}
        for archive in of.archives:
            for pattern in archive.suites:
                suite = pattern.replace("{suite}", self.suite)
                self.mirror.say(f"{self.suite}: fetching {upstream} ({suite})")
                settings = (archive.url, suite, of.components, config.architectures, query)
                digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
                mirror = f"{upstream}-{self.suite}-{digest}"
                self.mirrors.add(mirror)
                aptly.mirror(
                    mirror, archive.url, suite, of.components, self.keyrings[upstream], query
                )
                parts.append(f"{target}.{len(parts)}")
                aptly("snapshot", "create", parts[-1], "from", "mirror", mirror)
                meta = meta or aptly.meta(mirror)
        # The newest of each package, over all suites of a distribution.
        aptly(
            "snapshot",
            "merge",
            *(["-latest"] if len(parts) > 1 else ["-no-remove"]),
            target,
            *parts,
        )
        origin = label = f"{config.origin} {upstream}"
        if upstream == DISTRIBUTION:
            # Its own: unattended-upgrades knows it by that.
            origin, label = meta.get("Origin", origin), meta.get("Label", label)
        return Made(upstream, self.suite, target, aptly.packages(target), origin, label)


def fetch(source: str) -> str:
    """A key's text, from a file or an address."""
    if source.startswith(("https://", "http://")):
        asked = urllib.request.Request(source, headers={"User-Agent": "runnerhost.toolkit"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return str(answer.read().decode())
    return Path(source).read_text(encoding="utf-8")


def runner_query(versions: Sequence[str]) -> list[str]:
    """aptly's words for both packages of each version."""
    return [
        f"({name} ({f'= {version}' if '-' in version else f'% {version}-*'}))"
        for version in versions
        for name in ("gitlab-runner", IMAGES)
    ]


def runner_problems(versions: Sequence[str], packages: Sequence[Package], suite: str) -> list[str]:
    """The wanted versions that are not there as a pair."""
    found = []
    for version in versions:
        pattern = re.compile(re.escape(version) + ("" if "-" in version else r"-\d+") + r"\Z")
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        wanted = ["gitlab-runner", *([IMAGES] if numbers >= IMAGES_SINCE else [])]
        here = {package.name for package in packages if pattern.match(package.version)}
        if lacking := [name for name in wanted if name not in here]:
            found.append(
                f"gitlab_runner.versions: {version} is not available for {suite}: "
                f"{' and '.join(lacking)} missing"
            )
    return found
