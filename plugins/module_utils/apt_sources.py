# SPDX-License-Identifier: Apache-2.0
"""apt's source files: finding and disabling the twins of a repository.

Two entries for one repository with different ``Signed-By`` make apt fail on the whole host
(sources.list(5)); so what a vendor's script wrote goes when ours is written.
Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import re

_LIST_LINE = re.compile(r"^\s*deb(?:-src)?\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s")
NOTE = "# disabled by runnerhost: another file of this host names the same repository\n"


def same_repository(uri: str, ours: list[str]) -> bool:
    """True if ``uri`` is one of ``ours``, whatever its scheme and trailing slash."""
    return _bare(uri) in {_bare(item) for item in ours}


def _bare(uri: str) -> str:
    return re.sub(r"^[a-z+]+://(?:[^/@]*@)?", "", uri.strip()).rstrip("/").lower()


def without_list(text: str, uris: list[str]) -> tuple[str, int]:
    """A one-line-style file with its lines for ``uris`` commented out, and how many those were."""
    lines = []
    found = 0
    for line in text.splitlines(keepends=True):
        match = _LIST_LINE.match(line)
        if match and same_repository(match.group("uri"), uris):
            found += 1
            lines.append(NOTE)
            lines.append("# " + line)
        else:
            lines.append(line)
    return "".join(lines), found


def without_deb822(text: str, uris: list[str]) -> tuple[str, int]:
    """A deb822-style file with its stanzas for ``uris`` disabled, and how many those were."""
    stanzas = re.split(r"(\n[ \t]*\n+)", text)
    found = 0
    for index in range(0, len(stanzas), 2):
        fields = stanza_fields(stanzas[index])
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        named = fields.get("uris", "").split()
        if any(same_repository(uri, uris) for uri in named):
            found += 1
            body = re.sub(r"(?im)^enabled:.*\n?", "", stanzas[index])
            stanzas[index] = NOTE + "Enabled: no\n" + body
    return "".join(stanzas), found


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
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def has_entries(text: str, deb822: bool) -> bool:
    """True if anything but comments and disabled stanzas is left in a file."""
    if not deb822:
        return any(_LIST_LINE.match(line) for line in text.splitlines())
    return any(
        fields.get("uris") and fields.get("enabled", "yes").lower() not in ("no", "false", "0")
        for fields in map(stanza_fields, re.split(r"\n[ \t]*\n+", text))
    )


def render_sources(url: str, suite: str, components: list[str], key: str, about: str) -> str:
    """A deb822 file with its key inside, so that one file is all of it (apt 2.3.10 and newer).

    Args:
        url: the repository's address.
        suite: its suite; one that ends in a slash is a flat repository, without components.
        components: its components.
        key: the armoured public key.
        about: what the repository is, for the file's first line.
    """
    armour = "\n".join(f" {line}" if line.strip() else " ." for line in key.strip().splitlines())
    parts = [] if suite.endswith("/") else [f"Components: {' '.join(components)}"]
    return "\n".join(
        [
            f"# {about}. Written by runnerhost.toolkit: local changes are lost.",
            "Types: deb",
            f"URIs: {url}",
            f"Suites: {suite}",
            *parts,
            f"Signed-By:\n{armour}",
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
