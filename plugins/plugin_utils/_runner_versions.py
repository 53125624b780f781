# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages of GitLab Runner a host needs, from what is wanted, there and offered."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _apt_sources, _pythons
from ansible_collections.runnerhost.toolkit.plugins.module_utils._dpkg import is_installed
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import (
    HELPER_IMAGES,
    PACKAGE,
    PAIR,
    UNCONFIRMED,
    has_the_images_itself,
    numbers,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_host import HostFacts
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_settings import (
    LATEST,
    Wanted,
)

Records = Mapping[str, Mapping[str, str]]
"""dpkg's record of each package: version and status."""
# Enough for the wanted version; above 1000 apt would downgrade unasked.
PIN_PRIORITY = 990
DOWNGRADE_PRIORITY = 1001


@dataclass(frozen=True)
class Repository:
    """apt's files for the package repository.

    Attributes:
        sources: the source file's text.
        preferences: the pin's text.
    """

    sources: str
    preferences: str


@dataclass(frozen=True)
class Offer:
    """What the repository offers.

    Attributes:
        error: why it cannot be used; empty if it can.
        versions: of each package, the newest first.
    """

    error: str = ""
    versions: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Packages:
    """What is to be installed.

    Attributes:
        missing: names of packages that the host lacks in the wanted version.
        wanted: the same as apt takes them, ``name=version``.
        offered: what the repository offers of them.
        installed: the version that a rollback brings back; empty if none is installed.
        upgrade: whether another version takes the place of one that may have jobs.
    """

    missing: list[str]
    wanted: list[str]
    offered: dict[str, list[str]]
    installed: str
    upgrade: bool


def repository(wanted: Wanted, key: str) -> Repository:
    """apt's files for the package repository, with its key."""
    return Repository(
        sources=_apt_sources.render_sources(
            wanted.url, [wanted.suite], list(wanted.components), key, "GitLab Runner"
        ),
        preferences=preferences(
            wanted.url,
            wanted.pattern,
            DOWNGRADE_PRIORITY if wanted.allow_downgrade else PIN_PRIORITY,
        ),
    )


def preferences(url: str, pattern: str, priority: int) -> str:
    """The pin: one version, or one repository, and nothing else (it fails closed)."""
    pin = f"version {pattern}" if pattern else f'origin "{urlsplit(url).hostname}"'
    return "\n".join(
        [
            _apt_sources.render_pin(list(PAIR), pin, priority),
            _apt_sources.render_pin(list(PAIR), "version *", -1),
        ]
    )


def wants_newest(wanted: Wanted, records: Records) -> bool:
    """True if the repository is asked for a newer version though one is installed."""
    return wanted.version == LATEST and wanted.newest and not missing(records, "")


def packages(wanted: Wanted, facts: HostFacts, offer: Offer | None) -> Packages:
    """What is to be installed.

    Args:
        wanted: what the inventory names.
        facts: the host's.
        offer: what the repository offers; None where it was not asked, since nothing is missing.
    """
    records, pattern = facts.packages, wanted.pattern
    lacking = missing(records, pattern)
    versions = offer.versions if offer else {}
    if wants_newest(wanted, records) and is_newer(common(versions), records[PACKAGE]["version"]):
        # The pin is by origin, so that apt takes the newest by itself.
        lacking = list(PAIR)
        pattern = common(versions)[0]
    offered = {name: list(versions.get(name, [])) for name in lacking}
    if offer and not versions.get(HELPER_IMAGES):
        lacking = [name for name in lacking if name == PACKAGE]
    installed = records[PACKAGE]["version"] if is_installed(records.get(PACKAGE)) else ""
    began = unconfirmed(facts.texts.get(UNCONFIRMED, ""), installed)
    return Packages(
        missing=lacking,
        wanted=[f"{name}={pattern}" if pattern else name for name in lacking],
        offered=offered,
        installed=began or installed,
        upgrade=is_upgrade(installed, lacking, began),
    )


def refusals(wanted: Wanted, offer: Offer, records: Records, lacking: Sequence[str]) -> list[str]:
    """Why the wanted version cannot be installed; empty if it can.

    Args:
        wanted: what the inventory names.
        offer: what the repository offers.
        records: dpkg's.
        lacking: packages that the host lacks in that version.
    """
    where = f"{wanted.url} (suite {wanted.suite})"
    got = f"gitlab_runner_version: invalid value {wanted.version!r}"
    if offer.error:
        return [
            f"gitlab_runner_repository_url: {where} cannot be used; {_pythons.explain(offer.error)}"
        ]
    pattern, versions = wanted.pattern, offer.versions
    fitting = [v for v in common(versions) if not pattern or fnmatch.fnmatchcase(v, pattern)]
    if not fitting:
        halves = ", ".join(f"{name}: {' '.join(versions.get(name, [])) or 'none'}" for name in PAIR)
        return [f"{got}, which {where} does not have for both packages; on offer there: {halves}"]
    held = [n for n in PAIR if records.get(n, {}).get("status", "").startswith("hold ")]
    if held and lacking:
        names = " and ".join(held)
        return [f"{got}, but the host holds {names} back: apt-mark unhold {' '.join(held)}"]
    installed = records.get(PACKAGE)
    if pattern and installed and is_installed(installed) and not wanted.allow_downgrade:
        have = installed["version"]
        if numbers(fitting[0]) < numbers(have):
            return [
                f"{got}, lower than the installed {have}; "
                "gitlab_runner_allow_downgrade=true lets it"
            ]
    return []


def common(versions: Mapping[str, Sequence[str]]) -> list[str]:
    """The versions that a repository has for both packages, the newest first."""
    return [
        version
        for version in versions.get(PACKAGE, [])
        if version in versions.get(HELPER_IMAGES, []) or has_the_images_itself(version)
    ]


def missing(records: Records, pattern: str) -> list[str]:
    """What of the pair the host lacks in the wanted version.

    A runner older than 17.7 may well have no helper images beside it.
    """
    runner = records.get(PACKAGE)
    if runner is None or not is_installed(runner):
        return list(PAIR)
    version = runner["version"]
    if pattern and not fnmatch.fnmatchcase(version, pattern):
        return list(PAIR)
    images = records.get(HELPER_IMAGES)
    if images is not None and is_installed(images):
        return [] if images["version"] == version else list(PAIR)
    return [] if has_the_images_itself(version) else list(PAIR)


def is_upgrade(installed: str, lacking: Sequence[str], began: str) -> bool:
    """True for another version in the place of one that may have jobs, or one not checked yet.

    In the middle of a dead controller's transaction nothing counts as installed.
    """
    return bool(began or (installed and lacking))


def unconfirmed(text: str, installed: str) -> str:
    """The version that an upgrade began with whose controller died before its health check."""
    try:
        note = json.loads(text or "{}")
        began = str(note.get("from", ""))
    except (ValueError, AttributeError):
        return ""
    return began if began != installed or note.get("restored") else ""


def is_newer(offered: Sequence[str], installed: str) -> bool:
    """True if the first of the versions on offer is higher than the installed one."""
    return bool(offered) and numbers(offered[0]) > numbers(installed)
