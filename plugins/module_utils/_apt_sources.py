# SPDX-License-Identifier: GPL-3.0-or-later
"""apt's source files: finding and disabling the duplicates of a repository.

Two entries for one repository with different ``Signed-By`` make apt fail on the whole host
(sources.list(5)); so what a vendor's script wrote goes when ours is written.
Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files, _system

_LIST_LINE = re.compile(
    r"^\s*deb(?:-src)?\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>[^#\n]*)"
)
NOTE = "# disabled by runnerhost: another file of this host names the same repository\n"
# Another one, since these are put back when the mirror goes.
NOTE_DISTRIBUTION = "# disabled by runnerhost: a mirror of the distribution takes its place\n"
# Where Ubuntu's installer and cloud-init write the distribution's own entries: 22.04 and 24.04.
DISTRIBUTION_FILES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/ubuntu.sources")
# The toolkit's mirror of it, where there is one.
DISTRIBUTION_SOURCES = "/etc/apt/sources.list.d/runnerhost-distribution.sources"
# Ubuntu's code names since 18.04: repositories for it name their suites so.
RELEASES = ("bionic", "focal", "jammy", "noble", "resolute")
_POCKETS = ("", "-updates", "-security", "-backports", "-proposed")
# Ubuntu's and Debian's: third parties call theirs stable, main of a suite of their own, and so on.
_COMPONENTS = frozenset(
    ["main", "restricted", "universe", "multiverse", "contrib", "non-free", "non-free-firmware"]
)
# Launchpad's PPAs, private ones too: their suite and component are called as Ubuntu's.
_PPA = re.compile(r"(?:private-)?ppa\.launchpad")
# Where the lists of dpkg's repository are not there, these are still the distribution's.
_DISTRIBUTIONS = frozenset({"Ubuntu", "Debian"})
# What apt's StringToBool takes for a no, in any case (apt-pkg/contrib/strutl.cc).
_NO = frozenset({"no", "false", "without", "off", "disable", "0"})
# Only an empty line parts two stanzas: apt 2.6 reads on over one that has blanks in it.
_PARTS = re.compile(r"((?:^\r?\n)+)", re.M)


@dataclass(frozen=True)
class Entry:
    """One line, or one stanza, of a source file."""

    uris: list[str]
    suites: list[str]
    components: list[str]


@dataclass(frozen=True)
class Duplicates:
    """Which entries are another's duplicates.

    Attributes:
        uris: entries of repositories at these addresses.
        suites: of those, the ones with one of these suites: apt tells repositories at one address
            apart by them (sources.list(5)). Empty: all.
        releases: the distribution's own entries of these releases (``jammy``: ``jammy-updates``
            too).
        theirs: repositories that are not the distribution's whatever they are called, as
            `third_parties` knows them.
        note: the comment above what is disabled.
    """

    uris: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    theirs: frozenset[tuple[str, str]] = frozenset()
    note: str = NOTE

    def match(self, entry: Entry) -> bool:
        """True if an entry is one."""
        same = any(same_repository(uri, list(self.uris)) for uri in entry.uris)
        if same and (not self.suites or set(entry.suites) & set(self.suites)):
            return True
        own = {release + pocket for release in self.releases for pocket in _POCKETS}
        if not own & set(entry.suites) or not _COMPONENTS.issuperset(entry.components):
            return False
        return not all(self._is_another(uri, entry.suites) for uri in entry.uris)

    def _is_another(self, uri: str, suites: list[str]) -> bool:
        bare = _bare(uri)
        return bool(_PPA.match(bare)) or any((bare, suite) in self.theirs for suite in suites)


@dataclass(frozen=True)
class Index:
    """A repository's suite, as apt has it.

    Attributes:
        entry: the file and the line or stanza that names it.
        uri: its address.
        suite: its suite.
        origin: the Origin that its Release file states; empty too where that was not read yet.
    """

    entry: str
    uri: str
    suite: str
    origin: str


def indexes() -> list[Index]:
    """All that the host's apt knows, one for each component and architecture."""
    # Any of them but the first two may be empty.
    words = "$(SOURCESENTRY)|$(REPO_URI)|$(RELEASE)|$(ORIGIN)"
    done = _system.run(["apt-get", "indextargets", "--format", words, "Created-By: Packages"])
    return [Index(*line.split("|", 3)) for line in done.stdout.splitlines() if line.count("|") >= 3]


def lists_age() -> float:
    """Seconds since apt's lists were read, as Ansible's apt module takes it."""
    # The first is Ubuntu's (update-notifier).
    for path in ("/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/lists"):
        if os.path.exists(path):
            return time.time() - os.stat(path).st_mtime
    return float("inf")


def distribution_origins(known: list[Index]) -> set[str]:
    """The Origin of the distribution: that of dpkg's repositories, a mirror may have another."""
    dpkg = _system.run(["apt-cache", "policy", "dpkg"]).stdout
    return {one.origin for one in known if f"{one.uri.rstrip('/')} {one.suite}/" in dpkg}


def source_texts() -> dict[str, str]:
    """The host's own source files, as text by path."""
    asked = ["FILE", "Dir::Etc::sourcelist/f", "FOLDER", "Dir::Etc::sourceparts/d"]
    found = shlex.split(_system.run(["apt-config", "shell", *asked]).stdout)
    paths = []
    for path in (word.partition("=")[2].rstrip("/") for word in found):
        names = sorted(os.listdir(path)) if os.path.isdir(path) else []
        paths += [f"{path}/{name}" for name in names] or [path]
    return {
        path: _files.read_text(path)
        for path in paths
        if path.endswith((".list", ".sources")) and os.path.isfile(path)
    }


def third_parties() -> frozenset[tuple[str, str]]:
    """Address and suite of each repository whose Origin is known and not the distribution's."""
    known = indexes()
    own = distribution_origins(known) | _DISTRIBUTIONS | {""}
    return frozenset((_bare(one.uri), one.suite) for one in known if one.origin not in own)


def duplicates_of(sources: str) -> Duplicates:
    """The duplicates of the repository that a file of one stanza names, of other releases too."""
    fields = stanza_fields(sources)
    suites = of_any_release(fields.get("suites", "").split())
    return Duplicates(tuple(fields.get("uris", "").split()), tuple(suites))


def of_any_release(suites: list[str]) -> list[str]:
    """The suites, and what they are called for another release: after an upgrade of the system
    what was written before names the old one."""
    found = list(suites)
    for suite in suites:
        for release in RELEASES:
            if re.search(rf"(?<![a-z]){release}(?![a-z])", suite):
                found += [suite.replace(release, other) for other in RELEASES]
    return list(dict.fromkeys(found))


def is_ppas(version: str) -> bool:
    """True for a version that a PPA has built for one release: ``3.12.13-1+jammy1``.

    So deadsnakes names its builds (changelogs of its packaging); neither Ubuntu nor Debian does.
    """
    return re.search(rf"\+(?:{'|'.join(RELEASES)})\d", version) is not None


def same_repository(uri: str, ours: list[str]) -> bool:
    """True if ``uri`` is one of ``ours``, whatever its scheme and trailing slash."""
    return _bare(uri) in {_bare(item) for item in ours}


def _bare(uri: str) -> str:
    return re.sub(r"^[a-z+]+://(?:[^/@]*@)?", "", uri.strip()).rstrip("/").lower()


def lowered(url: str) -> str:
    """An address with its scheme and host in lower case.

    apt compares a source's host with a credential's letter by letter (tried with 2.6).
    """
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{mark}{host.lower()}{slash}{path}"


def cutter(path: str) -> Callable[[str, Duplicates], tuple[str, int]]:
    """What disables entries in a source file of that name."""
    return without_deb822 if path.endswith(".sources") else without_list


def without_list(text: str, duplicates: Duplicates) -> tuple[str, int]:
    """A one-line-style file with its duplicates commented out, and how many those were."""
    lines = []
    found = 0
    for line in re.split(r"(?<=\n)", text):
        match = _LIST_LINE.match(line)
        if match and duplicates.match(
            Entry([match["uri"]], [match["suite"]], match["components"].split())
        ):
            found += 1
            lines.append(duplicates.note)
            lines.append("# " + line)
        else:
            lines.append(line)
    return "".join(lines), found


def without_deb822(text: str, duplicates: Duplicates) -> tuple[str, int]:
    """A deb822-style file with its duplicates disabled, and how many those were."""
    stanzas = _PARTS.split(text)
    found = 0
    for index in range(0, len(stanzas), 2):
        fields = stanza_fields(stanzas[index])
        entry = Entry(*(fields.get(name, "").split() for name in ("uris", "suites", "components")))
        if _enabled(fields) and duplicates.match(entry):
            found += 1
            # The last of two counts, so what the stanza says itself must go; it may come back.
            body = re.sub(r"(?im)^(?=enabled[ \t]*:)", duplicates.note + "# ", stanzas[index])
            head = re.match(r"(?:[ \t]*\n)*", body)
            cut = head.end() if head else 0
            stanzas[index] = body[:cut] + duplicates.note + "Enabled: no\n" + body[cut:]
    return "".join(stanzas), found


def _enabled(fields: dict[str, str]) -> bool:
    return fields.get("enabled", "yes").lower() not in _NO


def with_distribution(text: str, release: str = "") -> str:
    """A source file with the entries that a mirror of the distribution replaced, as they were.

    Those of another release name this one: an upgrade of the system leaves disabled ones as they
    are, and a host must not read an older release's packages.
    """
    parts = _PARTS.split(text)
    for index in range(0, len(parts), 2):
        if NOTE_DISTRIBUTION + "Enabled: no\n" in parts[index]:
            part = parts[index].replace(NOTE_DISTRIBUTION + "Enabled: no\n", "")
            parts[index] = re.sub(
                r"(?im)^(suites[ \t]*:)(.*)$",
                lambda found: found[1] + _of_release(found[2], release),
                part.replace(NOTE_DISTRIBUTION + "# ", ""),
            )
    return re.sub(
        re.escape(NOTE_DISTRIBUTION) + "# (.*)",
        lambda found: _of_release(found[1], release),
        "".join(parts),
    )


def _of_release(words: str, release: str) -> str:
    """The words with a release's code name in place of any other's, pockets kept."""
    if release not in RELEASES:
        return words
    return re.sub(rf"(?<!\S)(?:{'|'.join(RELEASES)})(?=[-\s]|\Z)", release, words)


def stanza_fields(stanza: str) -> dict[str, str]:
    """The fields of one deb822 stanza, names in lower case, continuation lines joined."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in " \t" and name:
            fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, __, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def has_entries(text: str, deb822: bool) -> bool:
    """True if anything but comments and disabled stanzas is left in a file."""
    if not deb822:
        return any(_LIST_LINE.match(line) for line in text.splitlines())
    return any(
        fields.get("uris") and _enabled(fields)
        for fields in map(stanza_fields, _PARTS.split(text)[::2])
    )


def render_sources(
    url: str, suites: str | list[str], components: list[str], key: str, about: str
) -> str:
    """A deb822 file with its key inside, so that one file is all of it (apt 2.3.10 and newer).

    Args:
        url: the repository's address.
        suites: its suites; one that ends in a slash is a flat repository, without components.
        components: its components.
        key: the armoured public key, or the path of a keyring on the host.
        about: what the repository is, for the file's first line.
    """
    lines = key.strip().splitlines()
    signed = "\n".join(f" {line}" if line.strip() else " ." for line in lines)
    signed = f" {key}" if key.startswith("/") else f"\n{signed}"
    named = suites if isinstance(suites, str) else " ".join(suites)
    parts = [] if named.endswith("/") else [f"Components: {' '.join(components)}"]
    return "\n".join(
        [
            f"# {about}. Written by runnerhost.toolkit: local changes are lost.",
            "Types: deb",
            f"URIs: {lowered(url)}",
            f"Suites: {named}",
            *parts,
            f"Signed-By:{signed}",
            "",
        ]
    )


def without_indent(text: str) -> str:
    """A deb822 file's text with its continuation lines as they were: the key can be read."""
    lines = (line[1:] if line.startswith(" ") else line for line in text.splitlines())
    return "\n".join("" if line == "." else line for line in lines)


def render_pin(packages: list[str], pin: str, priority: int) -> str:
    """One stanza of apt_preferences(5)."""
    return f"Package: {' '.join(packages)}\nPin: {pin}\nPin-Priority: {priority}\n"
