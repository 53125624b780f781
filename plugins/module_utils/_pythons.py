# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of Python: what a name means, which packages it takes, and from where it comes.

A version is a pattern and what a repository offers, not a list: `3.15` needs no change here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._no_answer import (
    NO_TLS,
    NOTHING_ANSWERS,
    PROXY_LOGIN,
    REFUSES,
    TOO_SLOW,
    UNKNOWN_NAME,
    UNTRUSTED,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import kind_of, unfit

_VERSION = re.compile(r"(?P<base>3\.(?:[6-9]|[1-9][0-9]))(?:-(?P<flavour>[a-z][a-z0-9]*))?\Z")
# The version that each LTS has as its own, by code name: it is not deadsnakes' there.
SYSTEMS = {"focal": "3.8", "jammy": "3.10", "noble": "3.12", "resolute": "3.14"}
# The pip wheels of an interpreter's ensurepip: in its own folder, or in the one that the
# distribution configures (Debian's patch for versions before 3.10 does not set the variable).
PIP_WHEELS = """
import ensurepip, glob, os, sys, sysconfig
folders = (
    os.path.join(os.path.dirname(ensurepip.__file__), "_bundled"),
    sysconfig.get_config_var("WHEEL_PKG_DIR") or "/usr/share/python-wheels",
    "/usr/share/python-wheels",
)
wheels = [w for f in folders for w in glob.glob(f"{f}/pip-{ensurepip.version()}-*.whl")]
"""
TAKES = "a minor version such as 3.12, or a build of it such as 3.14-nogil, quoted"


@dataclass(frozen=True)
class Version:
    """One wanted Python.

    Attributes:
        base: ``3.14``.
        flavour: empty, or the name of a special build, ``nogil``.
    """

    base: str
    flavour: str = ""

    def __str__(self) -> str:
        return f"{self.base}-{self.flavour}" if self.flavour else self.base

    @property
    def executable(self) -> str:
        """Path of the interpreter (deadsnakes names a special build as its package)."""
        return f"/usr/bin/python{self}"

    def packages(self, patterns: Sequence[str]) -> list[str]:
        """Package names; ``{version}`` in a pattern stands for the minor version.

        Without those of patterns that end in ``?``, which are `optional`.
        """
        names = [p.replace("{version}", self.base) for p in patterns if not p.endswith("?")]
        return [f"python{self}", *names] if self.flavour else names

    def optional(self, patterns: Sequence[str]) -> list[str]:
        """Names of the packages that are wanted where there are any of this version."""
        return [p[:-1].replace("{version}", self.base) for p in patterns if p.endswith("?")]


def parse(value: Any) -> Version | None:
    """The version that a value names, or None if it names none."""
    if not isinstance(value, str):
        return None
    match = _VERSION.match(value)
    return Version(match.group("base"), match.group("flavour") or "") if match else None


def problems(variable: str, wanted: Any) -> list[str]:
    """What is wrong with a list of versions, one message each."""
    if not isinstance(wanted, list):
        return [f"{variable}: {unfit(wanted)}; expected a list, each {TAKES}"]
    found = []
    for index, value in enumerate(wanted):
        if parse(value) is None:
            hint = (
                " (a number loses its last zero: 3.10 becomes 3.1)"
                if isinstance(value, float)
                else ""
            )
            found.append(
                f"{variable}[{index}]: invalid value {value!r} ({kind_of(value)}); "
                f"expected {TAKES}{hint}"
            )
    texts = [str(value) for value in wanted]
    found.extend(
        f"{variable}: {text} is listed twice; name each version once"
        for text in sorted({t for t in texts if texts.count(t) > 1})
    )
    return found


@dataclass(frozen=True)
class Noted:
    """The state file of `python_check`, which the last successful check wrote.

    Attributes:
        versions: the checked version of each interpreter's package.
        source: the repository of the packages, its suite, and the system's Python version.
    """

    versions: Mapping[str, str]
    source: str


def noted(text: str) -> Noted:
    """Parses the state file; empty if it is missing or unreadable."""
    try:
        data = json.loads(text or "{}")
        versions = {str(name): str(value) for name, value in data.get("versions", {}).items()}
        return Noted(versions, str(data.get("source", "")))
    except (ValueError, AttributeError):
        return Noted({}, "")


@dataclass(frozen=True)
class ByOrigin:
    """The wanted versions by where they come from."""

    distribution: list[Version]
    repository: list[Version]


def by_origin(wanted: Iterable[Version], system: str) -> ByOrigin:
    """The system's own version comes from the distribution, all others from the repository."""
    versions = list(wanted)
    own = [v for v in versions if v.base == system and not v.flavour]
    return ByOrigin(own, [v for v in versions if v not in own])


def pinned(versions: Iterable[Version]) -> list[str]:
    """Patterns of the packages that the repository may deliver (apt_preferences(5))."""
    bases = dict.fromkeys(version.base for version in versions)
    return [
        pattern
        for base in bases
        for pattern in (
            f"python{base}",
            f"python{base}-*",
            f"libpython{base}",
            f"libpython{base}-*",
            # python3.X-full wants it; jammy's universe has one too, of a release candidate.
            f"idle-python{base}",
        )
    ]


def family(base: str, names: Iterable[str]) -> list[str]:
    """Those of the package names that belong to a minor version, whatever brought them."""
    pattern = re.compile(rf"(?:lib|idle-)?python{re.escape(base)}(?:t64)?(?:$|-)")
    return sorted(name for name in names if pattern.match(name))


def refusals(
    versions: Sequence[Version],
    system: str,
    patterns: Sequence[str],
    answer: Mapping[str, Any],
    where: Mapping[str, str],
) -> list[str]:
    """Why the wanted versions cannot be installed; empty if they can.

    Args:
        versions: those that must come from the repository.
        system: the distribution's own version.
        patterns: package patterns, as `Version.packages` takes them.
        answer: what the module apt_candidates_info returned.
        where: ``url``, ``suite`` and ``origin`` as the inventory has them.
    """
    place = f"{where['url']} (suite {where['suite']})"
    if answer.get("error"):
        return [
            f"python_versions_repository_url: {place} cannot be used; {explain(answer['error'])}"
        ]
    found = []
    if versions:
        wrong = [origin for origin in answer["origins"] if origin != where["origin"]]
        if wrong or not answer["origins"]:
            found.append(
                f"python_versions_repository_origin: {place} states the origin "
                f"{', '.join(repr(o) for o in wrong) or 'nothing'}, "
                f"the inventory {where['origin']!r}"
            )
        # A PPA's Origin is its own (Launchpad gives it its name): no other source is meant by it.
        elif not where["origin"].startswith("LP-PPA-"):
            found += origin_problems(
                where["origin"], answer.get("other_origins", []), "another source of the host"
            )
    on_offer = ", ".join(offered(answer.get("names", []))) or "no Python at all"
    for version in versions:
        if version.flavour and version.base == system:
            found.append(
                f"python_versions_wanted: {version} builds on {system}, which is this system's "
                "own; the repository's build would replace the system's Python"
            )
            continue
        missing = [n for n in version.packages(patterns) if not answer["offer"].get(n)]
        if missing:
            found.append(
                f"python_versions_wanted: {version} is not available from {place}: "
                f"{', '.join(missing)} missing; on offer there: {on_offer}"
                + _mark_hint(version, patterns, missing)
            )
    missing = answer.get("missing_from_distribution", [])
    if missing:
        error = answer.get("distribution_error")
        found.append(
            f"python_versions_wanted: {system} is this system's own, and its own sources "
            f"do not offer {', '.join(missing)}" + (f"; {explain(error)}" if error else "")
        )
    return found


def _mark_hint(version: Version, patterns: Sequence[str], missing: Sequence[str]) -> str:
    """How to go on where only packages beside the interpreter are missing."""
    marked = [p for p in patterns if p.replace("{version}", version.base) in missing]
    if f"python{version}" in missing or not marked:
        return ""
    return (
        f"; in python_versions_packages, {marked[0]}? takes the package for the versions that "
        "have one"
    )


def origin_problems(origin: str, others: Sequence[str], where: str) -> list[str]:
    """Why an Origin cannot be pinned: something else states it too, and would get no updates.

    Args:
        origin: the one to be pinned.
        others: what other sources state.
        where: what names those sources, for the message.
    """
    if origin not in others:
        return []
    return [
        f"python_versions_repository_origin: {origin!r} is the Origin of {where} too; the pin "
        "that holds the Pythons' repository back would keep its security updates away: give one "
        "of the two mirrors an Origin of its own"
    ]


def offered(names: Iterable[str]) -> list[str]:
    """The versions that package names such as ``python3.9`` stand for, in order."""
    versions = {v for v in (parse(n.removeprefix("python")) for n in names) if v}
    return [str(v) for v in sorted(versions, key=lambda v: (int(v.base[2:]), v.flavour))]


_NO_SUITE = "there is no such suite at this address: one of the two is wrong"
# The first that is found. apt ends with "is not signed" whatever it could not fetch, and whatever
# its gpgv (Debian 12, jammy, noble) or sqv (Debian 13) has refused: what each says stands before.
_REASONS = (
    ("Could not resolve", UNKNOWN_NAME),
    ("failure resolving", UNKNOWN_NAME),
    ("Could not connect", NOTHING_ANSWERS),
    ("Connection refused", NOTHING_ANSWERS),
    ("Unable to connect", NOTHING_ANSWERS),
    # GnuTLS's words, and those of the OpenSSL of newer releases.
    ("unexpected TLS packet", NO_TLS),
    ("wrong version number", NO_TLS),
    # Before what a certificate may be otherwise; the words are GnuTLS's.
    ("uses expired certificate", "its certificate has expired, or is the host's clock ahead?"),
    ("not yet valid certificate", "its certificate is not valid yet: is the host's clock behind?"),
    ("certificate", UNTRUSTED),
    (" 407 ", PROXY_LOGIN),
    (" 401 ", "it asks for a password"),
    (" 403 ", REFUSES),
    (
        "SHA1 is not considered secure",
        "its key is self-signed with SHA-1, which this system's apt (sqv) rejects: use a mirror "
        "of the repository that is signed by a newer key",
    ),
    ("is not valid yet", "its index is not valid yet: is the host's clock behind?"),
    (
        "is expired (invalid since",
        "its index has expired: the mirror is not renewed any more, or is the host's clock ahead?",
    ),
    ("EXPKEYSIG", "its key has expired: give a renewed one"),
    ("NO_PUBKEY", "it is signed by another key than the one given"),
    ("Missing key", "it is signed by another key than the one given"),
    ("BADSIG", "its signature is wrong"),
    ("Message has been manipulated", "its signature is wrong"),
    ("is not signed", "it is not signed by the key given"),
    ("couldn't be verified", "it is signed by another key than the one given"),
    (
        "doesn't have the component",
        "a component that the inventory names does not exist there (the variable of components)",
    ),
    ("does not have a Release file", _NO_SUITE),
    ("404", _NO_SUITE),
    ("no answer in", TOO_SLOW),
)


def explain(error: str) -> str:
    """apt's error with the likely reason in front."""
    reason = next((text for mark, text in _REASONS if mark in error), "apt refuses it")
    return f"{reason}. apt says: {error.strip()}"
