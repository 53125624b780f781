# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Python packages a host needs, and from where: from variables, facts and candidates."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _apt_sources, _pythons
from ansible_collections.runnerhost.toolkit.plugins.module_utils._dpkg import is_installed
from ansible_collections.runnerhost.toolkit.plugins.module_utils._pythons import Noted, Version

# The packages of Pythons, whatever the version.
FAMILY = ("python3.*", "libpython3.*", "idle-python3.*")
STAMP = "/var/lib/runnerhost/pythons.json"
# Nothing of the repository replaces anything; what only it has may come in as a dependency.
LOW_PRIORITY = 1
WANTED_PRIORITY = 600
_INTERPRETER = re.compile(r"python(3\.\d+)\Z")

Records = Mapping[str, dict[str, str]]
"""dpkg's records by package name, each with ``version`` and ``status``."""


@dataclass(frozen=True)
class Wanted:
    """The role's variables, valid."""

    versions: list[Version]
    patterns: list[str]
    url: str
    suite: str
    components: list[str]
    origin: str
    upstream: str
    sources_path: str
    preferences_path: str

    @classmethod
    def of(cls, args: Mapping[str, Any]) -> Wanted:
        """From the action's arguments."""
        return cls(
            versions=[v for v in map(_pythons.parse, args["wanted"]) if v],
            patterns=args["patterns"],
            url=args["url"],
            suite=args["suite"],
            components=args["components"],
            origin=args["origin"],
            upstream=args["upstream"],
            sources_path=args["sources_path"],
            preferences_path=args["preferences_path"],
        )

    def names(self, version: Version) -> list[str]:
        """The packages that a version must have."""
        return version.packages(self.patterns)

    def optional(self, version: Version) -> list[str]:
        """The packages that a version takes where there are any."""
        return version.optional(self.patterns)


@dataclass(frozen=True)
class Host:
    """What the host has."""

    system: str
    records: Records
    """Of Pythons alone."""
    everything: Records
    """Of other packages that were asked for too."""
    automatic: list[str]
    unfinished: list[str]
    texts: Mapping[str, str]
    """Files by path; empty for one that is missing."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Host:
        """From what host_info has returned."""
        everything = facts["packages"]
        return cls(
            system=str(facts["system_python"]),
            records={
                name: record
                for name, record in everything.items()
                if any(fnmatch.fnmatchcase(name, pattern) for pattern in FAMILY)
            },
            everything={**everything, **facts.get("provided", {})},
            automatic=facts["automatic"],
            unfinished=facts["unfinished"],
            texts={path: found.get("text", "") for path, found in facts["files"].items()},
        )

    def has(self, name: str) -> bool:
        """Whether a package of a Python is installed."""
        return is_installed(self.records.get(name))

    def version(self, name: str) -> str:
        """The installed version; empty for none."""
        return str(self.records.get(name, {}).get("version", ""))

    def family(self, version: Version) -> list[str]:
        """Everything of a version that is installed."""
        return _pythons.family(version.base, filter(self.has, self.records))


@dataclass(frozen=True)
class Candidates:
    """What the repository, and the distribution, offer: versions by package name."""

    repository: Mapping[str, list[str]] = field(default_factory=dict)
    distribution: Mapping[str, list[str]] = field(default_factory=dict)

    def all(self) -> dict[str, list[str]]:
        """Both, the distribution's where both know the package."""
        return {**self.repository, **self.distribution}


@dataclass(frozen=True)
class Plan:
    """What the role reads of the plan: see RETURN of the module python_plan."""

    sources: str
    preferences: str
    repository: dict[str, Any]
    packages: list[str]
    companions: list[str]
    allow_downgrade: bool
    automatic: list[str]
    from_repository: list[str]
    info: Records
    info_all: Records
    unfinished: list[str]
    missing: list[str]
    fresh: bool
    interpreters: dict[str, str]
    source: str
    moved: bool
    changes: bool
    unchecked: list[str]
    unlisted: list[str]
    unlisted_packages: list[str]
    unlisted_interpreters: list[str]


class Planner:
    """The plan for one host, before and after the repositories are asked.

    Args:
        wanted: the role's variables.
        host: what the host has.
        key: the repository's key.
    """

    def __init__(self, wanted: Wanted, host: Host, key: str) -> None:
        self.wanted = wanted
        self.host = host
        self.origin = _pythons.by_origin(wanted.versions, host.system)
        self.texts = self._texts(key) if self.origin.repository else {}
        self.noted = _pythons.noted(host.texts[STAMP])
        # With what is wanted where there is one: asked anew when that list changes.
        marked = "".join(f" {pattern}" for pattern in wanted.patterns if pattern.endswith("?"))
        components = " ".join(wanted.components)
        self.source = f"{wanted.url} {wanted.suite} {components}{marked}; system {host.system}"
        # Of a release that the host had before, or of a run that was killed before the packages.
        self.moved = self.noted.source != self.source
        # A third party's builds of what has become the system's own with a new release.
        self.foreign = [
            v for v in self.origin.distribution if is_foreign(v, host, self.noted, self.source)
        ]

    def _texts(self, key: str) -> dict[str, str]:
        """The repository's files by path."""
        wanted, pin = self.wanted, f"release o={self.wanted.origin}"
        return {
            wanted.sources_path: _apt_sources.render_sources(
                wanted.url,
                wanted.suite,
                wanted.components,
                key,
                "Python versions beside the system's own",
            ),
            wanted.preferences_path: "\n".join(
                [
                    _apt_sources.render_pin(["*"], pin, LOW_PRIORITY),
                    _apt_sources.render_pin(
                        _pythons.pinned(self.origin.repository), pin, WANTED_PRIORITY
                    ),
                ]
            ),
        }

    def _required(self) -> Iterable[str]:
        return (name for version in self.wanted.versions for name in self.wanted.names(version))

    def _stale(self, path: str) -> bool:
        """Whether one of the repository's files is not on the host as it should be."""
        return path in self.texts and self.host.texts[path] != self.texts[path]

    def asks(self) -> bool:
        """Whether the repositories must be asked; a host that is as it should be needs none."""
        return bool(
            any(not self.host.has(name) for name in self._required())
            or any(map(self._stale, self.texts))
            or self.moved
            or self.foreign
        )

    def question(self) -> dict[str, Any]:
        """The arguments of apt_candidates_info; empty if there is nothing to ask."""
        wanted, host = self.wanted, self.host
        repository, distribution = self.origin.repository, self.origin.distribution
        own = [n for v in distribution for n in wanted.names(v) if not host.has(n)]
        perhaps = [n for v in distribution for n in wanted.optional(v)]
        if not (repository or own or self.foreign or perhaps):
            return {}
        theirs = [n for v in repository for n in [*wanted.names(v), *host.family(v)]]
        theirs += [n for v in repository for n in wanted.optional(v)]
        return {
            "sources": self.texts.get(wanted.sources_path, ""),
            "path": wanted.sources_path if self.texts else "",
            "packages": list(dict.fromkeys(theirs)),
            "names": r"python3\.\d+(-nogil)?",
            "distribution_packages": own,
            "distribution_names": [*(n for v in self.foreign for n in host.family(v)), *perhaps],
        }

    def refusals(self, answer: Mapping[str, Any]) -> list[str]:
        """Why the wanted versions cannot be installed, from the answer to the question."""
        wanted = self.wanted
        where = {"url": wanted.url, "suite": wanted.suite, "origin": wanted.origin}
        return _pythons.refusals(
            self.origin.repository, self.host.system, wanted.patterns, answer, where
        )

    def _names(self, candidates: Candidates) -> dict[Version, list[str]]:
        """Each version's packages, those that it takes where there are any included."""
        found = {}
        for version in self.wanted.versions:
            theirs = version in self.origin.repository
            offered = candidates.repository if theirs else candidates.distribution
            optional = self.wanted.optional(version)
            found[version] = [
                *self.wanted.names(version),
                *(name for name in optional if offered.get(name)),
                # What is there is kept, whatever is on offer now.
                *(name for name in optional if not offered.get(name) and self.host.has(name)),
            ]
        return found

    def _builds(self, candidates: Candidates) -> dict[str, str]:
        """Installed packages of a build that no source offers any more, each with its new one."""
        return {
            name: versions[0]
            for name, versions in candidates.all().items()
            if versions and self.host.has(name) and self.host.version(name) not in versions
        }

    def left(self, candidates: Candidates) -> list[str]:
        """Installed packages that no source offers any more."""
        names = [
            *(n for v in self.origin.repository for n in self.wanted.names(v)),
            *(n for v in [*self.origin.repository, *self.foreign] for n in self.host.family(v)),
        ]
        known = (candidates.repository, candidates.distribution)
        return sorted(
            {n for n in names if self.host.has(n) and not any(offer.get(n) for offer in known)}
        )

    def plan(self, candidates: Candidates) -> Plan:
        """The plan; the candidates are empty where the sources were not asked."""
        wanted, host = self.wanted, self.host
        names = self._names(candidates)
        builds = self._builds(candidates)
        flat = [name for version in wanted.versions for name in names[version]]
        theirs = [name for version in self.origin.repository for name in names[version]]
        interpreters = {names[v][0]: v.executable for v in wanted.versions}
        unchecked = [
            name
            for name in interpreters
            if name in builds
            or not host.has(name)
            or self.noted.versions.get(name) != host.version(name)
        ]
        more = unlisted(host, [version.base for version in wanted.versions])
        return Plan(
            sources=self.texts.get(wanted.sources_path, ""),
            preferences=self.texts.get(wanted.preferences_path, ""),
            repository=self._repository(
                {n: versions for n in theirs if (versions := candidates.repository.get(n))}
            ),
            packages=[f"{name}={builds[name]}" if name in builds else name for name in flat],
            companions=[f"{name}={builds[name]}" for name in builds if name not in flat],
            # A build of another release may have the higher number.
            allow_downgrade=bool(builds),
            automatic=host.automatic,
            from_repository=theirs,
            info=host.records,
            info_all=host.everything,
            unfinished=host.unfinished,
            missing=[name for name in flat if not host.has(name)],
            fresh=self._stale(wanted.sources_path),
            interpreters=interpreters,
            source=self.source,
            moved=self.moved,
            changes=bool(unchecked or self.moved or more["unlisted"]),
            unchecked=unchecked,
            **more,
        )

    def _repository(self, versions: Mapping[str, list[str]]) -> dict[str, Any]:
        """What `packages` simulates an installation with."""
        wanted = self.wanted
        duplicates = [
            {"uris": [wanted.url], "suites": [wanted.suite]},
            {"uris": [wanted.upstream], "suites": []},
        ]
        paths = (wanted.sources_path, wanted.preferences_path)
        return {
            "files": {path: self.texts.get(path, "") for path in paths},
            "duplicates": duplicates if self.texts else [],
            "versions": dict(versions),
        }


def is_foreign(version: Version, host: Host, noted: Noted, source: str) -> bool:
    """True if the build of the system's own version is another's: of a PPA by its name, or the one
    that the repository has brought when the host's own version was another."""
    name = f"python{version}"
    installed = host.version(name)
    own = source.rpartition("; ")[2]
    before = noted.source.rpartition("; ")[2]
    brought = bool(before) and before != own and noted.versions.get(name) == installed
    return _apt_sources.is_ppas(installed) or (bool(installed) and brought)


def unlisted(host: Host, wanted: Iterable[str]) -> dict[str, list[str]]:
    """Versions on the host that the inventory does not list, and their packages."""
    listed = {*wanted, host.system}
    versions = sorted(
        match.group(1)
        for name in host.records
        if (match := _INTERPRETER.match(name)) and host.has(name)
    )
    extra = [version for version in versions if version not in listed]
    packages = {name for v in extra for name in _pythons.family(v, host.records) if host.has(name)}
    return {
        "unlisted": extra,
        "unlisted_packages": sorted(packages),
        "unlisted_interpreters": [
            f"/usr/bin/python{v}{build}" for v in extra for build in ("", "-nogil", "t")
        ],
    }
