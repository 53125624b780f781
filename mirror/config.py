# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror's settings, read from one YAML file; what is wrong is refused, all at once.

What the roles take by default (upstreams, their keys and fingerprints, the build tools) is read
from the roles' own defaults, so that it is told in one place.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _pythons
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import kind_of
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _openpgp

ROLES = Path(__file__).resolve().parents[1] / "roles"
EXAMPLE = "mirror/example.yml"
SUITE = re.compile(r"[a-z][a-z0-9.-]*\Z")
_URL = re.compile(r"https?://[^\s/@]+(?:/[^\s@]*)?\Z")
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:-\d+)?\Z")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")
_PATTERN = re.compile(r"(?:lib)?python\{version\}(?:-[a-z0-9+.-]+)?\Z")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}\Z")


class Refused(ValueError):
    """What is wrong with the settings; one line each."""


@dataclass(frozen=True)
class Archive:
    """One address of an upstream.

    Attributes:
        url: its address.
        suites: its suites; ``{suite}`` in one stands for the release.
    """

    url: str
    suites: tuple[str, ...]


@dataclass(frozen=True)
class Upstream:
    """A repository that is mirrored.

    Attributes:
        archives: where it lies.
        components: its components.
        key: a file or an http(s) address of its key; empty with `keyring`.
        fingerprint: the only one that is trusted, for `key`.
        keyring: a keyring file as gpgv takes it, in place of a key.
    """

    archives: tuple[Archive, ...]
    components: tuple[str, ...]
    key: str = ""
    fingerprint: str = ""
    keyring: str = ""


@dataclass(frozen=True)
class Config:
    """All settings; their meaning is in docs/mirror.md."""

    folder: Path
    url: str
    origin: str
    signing_key: str
    passphrase_file: str
    suites: tuple[str, ...]
    architectures: tuple[str, ...]
    pythons: tuple[_pythons.Version, ...]
    python_patterns: tuple[str, ...]
    runners: tuple[str, ...]
    packages: tuple[str, ...]
    deadsnakes: Upstream
    gitlab_runner: Upstream
    distribution: Upstream | None


TOP = {
    "folder", "url", "origin", "signing_key", "passphrase_file", "suites", "architectures",
    "deadsnakes", "gitlab_runner", "distribution",
}  # fmt: skip
OF_UPSTREAM = {"url", "components", "key", "key_fingerprint"}
KEYS = {
    "deadsnakes": {*OF_UPSTREAM, "pythons", "packages"},
    "gitlab_runner": {*OF_UPSTREAM, "versions"},
    "distribution": {
        *("archives", "components", "keyring", "key", "key_fingerprint"),
        *("packages", "extra_packages"),
    },
}


def role_defaults(role: str) -> dict[str, Any]:
    """A role's defaults."""
    text = (ROLES / role / "defaults" / "main.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def load(path: Path) -> Config:
    """The settings in a file; relative paths in it start from its folder.

    Raises:
        Refused: the file cannot be read, or what is in it cannot work.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refused(
            f"{path}: no such file; copy {EXAMPLE} and edit it, or name another file "
            "(make mirror MIRROR=FILE)"
        ) from error
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; expected a YAML file of settings") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused(f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise Refused(f"{path}: invalid value of type {kind_of(data)}; expected a mapping")
    return parse(data, path.resolve().parent)


class _Reader:
    """Reads values and collects their errors."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.wrong: list[str] = []

    def text(self, data: Mapping[str, Any], at: str, default: str | None = None) -> str:
        """A string; one without a default is required."""
        value = data.get(at.rpartition(".")[2], default)
        if value is None:
            self.wrong.append(f"{at}: no value; expected a string")
            return ""
        if not isinstance(value, str):
            self.wrong.append(f"{at}: invalid value of type {kind_of(value)}; expected a string")
            return ""
        return value

    def texts(
        self, data: Mapping[str, Any], at: str, takes: str, default: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """A list of texts, not empty unless its default is."""
        value = data.get(at.rpartition(".")[2], default)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.wrong.append(f"{at}: {_told(value)}; expected a list of {takes}, quoted")
            return ()
        if not value and default != []:
            self.wrong.append(f"{at}: empty list; expected {takes}")
        return tuple(value)

    def matching(
        self, at: str, values: Sequence[str], pattern: re.Pattern[str], takes: str
    ) -> None:
        """Every value is what the pattern says."""
        self.wrong += [
            f"{at}: invalid value {one!r}; expected {takes}"
            for one in values
            if not pattern.match(one)
        ]

    def url(self, at: str, value: str) -> str:
        """An http(s) address without a password."""
        if value and not _URL.match(value):
            shown = "(hidden)" if "@" in value else repr(value)
            self.wrong.append(
                f"{at}: invalid value {shown}; expected an http(s) URL without a login"
            )
        return value

    def part(self, data: Mapping[str, Any], name: str) -> dict[str, Any]:
        """A mapping with known keys only."""
        value = data.get(name)
        value = {} if value is None else value
        if not isinstance(value, dict):
            self.wrong.append(f"{name}: invalid value of type {kind_of(value)}; expected a mapping")
            return {}
        self.known(name + ".", value, KEYS[name])
        return value

    def known(self, prefix: str, data: Mapping[str, Any], names: set[str]) -> None:
        """Rejects keys that would be ignored."""
        for key in sorted(map(str, set(data) - names)):
            self.wrong.append(f"{prefix}{key}: unknown key; expected {', '.join(sorted(names))}")

    def file(self, value: str) -> str:
        """A path, from the settings' folder on."""
        return str(self.base / Path(value).expanduser()) if value else ""

    def readable(self, at: str, value: str) -> str:
        """A file that exists; its path, from the settings' folder on."""
        path = self.file(value)
        if path:
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                self.wrong.append(f"{at}: {path}: {error.strerror}; expected a file of keys")
        return path


def _told(value: Any) -> str:
    return "no value" if value is None else f"invalid value of type {kind_of(value)}"


def parse(data: Mapping[str, Any], base: Path) -> Config:
    """The settings in a mapping. Raises Refused with every problem at once."""
    read = _Reader(base)
    read.known("", data, TOP)
    folder = read.text(data, "folder")
    signing_key = _openpgp.plain_fingerprint(read.text(data, "signing_key"))
    if signing_key and not _FINGERPRINT.match(signing_key):
        read.wrong.append("signing_key: invalid value; expected the 40 hex digits of a fingerprint")
    passphrase_file = read.file(read.text(data, "passphrase_file", ""))
    if passphrase_file:
        read.wrong += passphrase_problems(passphrase_file)
    origin = read.text(data, "origin", "Runnerhost mirror")
    if not re.fullmatch(r"[^,\n]+", origin):
        read.wrong.append("origin: invalid value; expected a name without commas")
    suites = read.texts(data, "suites", "releases such as jammy")
    read.matching("suites", suites, SUITE, "a release such as jammy")
    architectures = read.texts(data, "architectures", "architectures such as amd64", ["amd64"])
    read.matching("architectures", architectures, SUITE, "an architecture such as amd64")

    own = role_defaults("python_versions")
    part = read.part(data, "deadsnakes")
    wanted = part.get("pythons")
    read.wrong += _pythons.problems("deadsnakes.pythons", wanted)
    versions = [_pythons.parse(value) for value in wanted] if isinstance(wanted, list) else []
    patterns = read.texts(
        part, "deadsnakes.packages", "package names with {version}", own["python_versions_packages"]
    )
    read.matching("deadsnakes.packages", patterns, _PATTERN, "a name with {version} in it")
    deadsnakes = _upstream(
        read, "deadsnakes", part, own, "python_versions_repository", ROLES / "python_versions"
    )
    part = read.part(data, "gitlab_runner")
    # GitLab's repository keeps every version, each with half a gigabyte of images.
    runners = read.texts(part, "gitlab_runner.versions", "versions such as 18.5.0")
    read.matching("gitlab_runner.versions", runners, _VERSION, "a version such as 18.5.0")
    own = role_defaults("gitlab_runner")
    gitlab_runner = _upstream(
        read, "gitlab_runner", part, own, "gitlab_runner_repository", ROLES / "gitlab_runner"
    )
    part = read.part(data, "distribution")
    tools = role_defaults("build_tools")["build_tools_packages"]
    packages = [
        *read.texts(part, "distribution.packages", "package names", tools),
        *read.texts(part, "distribution.extra_packages", "package names", []),
    ]
    read.matching("distribution.packages", packages, _PACKAGE, "a package's name")
    config = Config(
        folder=Path(read.file(folder)),
        url=read.url("url", read.text(data, "url")).rstrip("/"),
        origin=origin,
        signing_key=signing_key,
        passphrase_file=passphrase_file,
        suites=suites,
        architectures=architectures,
        pythons=tuple(version for version in versions if version),
        python_patterns=patterns,
        runners=runners,
        packages=tuple(dict.fromkeys(packages)),
        deadsnakes=deadsnakes,
        gitlab_runner=gitlab_runner,
        distribution=_distribution(read, part) if part else None,
    )
    if read.wrong:
        raise Refused("\n".join(read.wrong))
    return config


def _upstream(
    read: _Reader,
    name: str,
    part: Mapping[str, Any],
    own: Mapping[str, Any],
    prefix: str,
    role: Path,
) -> Upstream:
    """One that has a default: the role's."""
    url = read.url(f"{name}.url", read.text(part, f"{name}.url", own[f"{prefix}_url"]))
    key = read.text(part, f"{name}.key", own[f"{prefix}_key"].replace("{{ role_path }}", str(role)))
    fingerprint = read.text(part, f"{name}.key_fingerprint", own[f"{prefix}_key_fingerprint"])
    if "key" in part and "key_fingerprint" not in part:
        read.wrong.append(
            f"{name}.key_fingerprint: no value; expected the fingerprint of {name}.key"
        )
    components = read.texts(part, f"{name}.components", "components", own[f"{prefix}_components"])
    key = key if key.startswith(("https://", "http://")) else read.readable(f"{name}.key", key)
    return Upstream((Archive(url, ("{suite}",)),), components, key, fingerprint)


def _distribution(read: _Reader, part: Mapping[str, Any]) -> Upstream:
    """The distribution, whose upstream has no default: it differs by company and country."""
    archives = []
    given = part.get("archives")
    if not isinstance(given, list) or not given:
        read.wrong.append(
            f"distribution.archives: {_told(given)}; expected a list of url and suites"
        )
        given = []
    for number, one in enumerate(given):
        at = f"distribution.archives[{number}]"
        if not isinstance(one, dict):
            read.wrong.append(
                f"{at}: invalid value of type {kind_of(one)}; expected url and suites"
            )
            continue
        read.known(f"{at}.", one, {"url", "suites"})
        archives.append(
            Archive(
                read.url(f"{at}.url", read.text(one, f"{at}.url")),
                read.texts(one, f"{at}.suites", "suites such as {suite}-updates"),
            )
        )
    keyring = read.text(part, "distribution.keyring", "")
    key = read.text(part, "distribution.key", "")
    fingerprint = read.text(part, "distribution.key_fingerprint", "")
    if bool(keyring) == bool(key) or bool(key) != bool(fingerprint):
        read.wrong.append(
            "distribution: invalid combination of keyring, key and key_fingerprint; expected a "
            "keyring, or a key with its key_fingerprint"
        )
    components = read.texts(part, "distribution.components", "components", ["main", "universe"])
    if not key.startswith(("https://", "http://")):
        key = read.readable("distribution.key", key)
    keyring = read.readable("distribution.keyring", keyring)
    return Upstream(tuple(archives), components, key, fingerprint, keyring)


def passphrase_problems(path: str) -> list[str]:
    """What is wrong with the passphrase file; other users must not be able to read it."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return [f"passphrase_file: {path}: {error.strerror}"]
    if stat.S_IMODE(mode) & 0o077:
        return [f"passphrase_file: other users can read {path}; run chmod 600 {path}"]
    return []
