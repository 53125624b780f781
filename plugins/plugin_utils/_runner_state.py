# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file beside config.toml: which token of the inventory made which runner; no token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import same_url
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data

VERSION = 1


@dataclass(frozen=True)
class StateEntry:
    """How an entry of the inventory became a runner.

    Attributes:
        name: the entry's name then.
        token_sha256: digest of the token that the inventory gave.
        id: the runner's id in GitLab.
        url: its GitLab.
        verified: whether GitLab has called it valid since.
    """

    name: str
    token_sha256: str
    id: int
    url: str
    verified: bool = True


def parse_state(text: str) -> Data:
    """The state file's content; an unreadable one counts as empty."""
    try:
        state = json.loads(text or "{}")
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}


def state_entries(state: Mapping[str, object]) -> list[StateEntry]:
    """The state file's entries, without those that cannot be read."""
    given = state.get("entries")
    found = []
    for entry in given if isinstance(given, list) else []:
        try:
            found.append(
                StateEntry(
                    name=str(entry["name"]),
                    token_sha256=str(entry["token_sha256"]),
                    id=int(entry["id"]),
                    url=str(entry["url"]),
                    verified=bool(entry.get("verified", True)),
                )
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
    return found


def state_data(entries: Sequence[StateEntry]) -> Data:
    """The state file's content for these entries."""
    return {"version": VERSION, "entries": [asdict(entry) for entry in entries]}


def state_text(entries: Sequence[StateEntry]) -> str:
    """The state file's text for these entries."""
    return json.dumps(state_data(entries), indent=1) + "\n"


def same_state(one: Mapping[str, object], two: Mapping[str, object]) -> bool:
    """True if two state files say the same; the order of their entries does not matter."""
    return (
        one.get("version") == two.get("version")
        and isinstance(two.get("entries"), list)
        and _sorted_entries(one) == _sorted_entries(two)
    )


def _sorted_entries(state: Mapping[str, object]) -> list[str]:
    entries = state.get("entries", [])
    if not isinstance(entries, list):
        return []
    return sorted(json.dumps(entry, sort_keys=True) for entry in entries)


def known_id(known: Sequence[StateEntry], name: str, url: str) -> int | None:
    """The id of the runner that an entry of this name became before; None if there is none."""
    for entry in known:
        if entry.name == name and same_url(entry.url, url):
            return entry.id
    return None
