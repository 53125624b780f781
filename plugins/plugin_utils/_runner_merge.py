# SPDX-License-Identifier: GPL-3.0-or-later
"""The merge of the wanted configuration with what only the host's config.toml holds.

Pure: no host, no GitLab, no clock. What a runner *is* (id, token, its two times) comes from the
host's file or from GitLab's answer; what it is *configured to do* comes from the inventory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import digest
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import (
    IDENTITY_KEYS,
    bare_url,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_lists import WantedRunner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_match import Matches
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_state import StateEntry
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data


@dataclass(frozen=True)
class Merged:
    """A configuration to write, and the state to keep beside it.

    Attributes:
        config: config.toml's data.
        state: the state file's entries.
    """

    config: Data
    state: list[StateEntry]


def merge(
    settings: Mapping[str, Any],
    wanted: Sequence[WantedRunner],
    host: Mapping[str, Any],
    matches: Matches,
    answers: Mapping[int, Mapping[str, Any]],
    known: Sequence[StateEntry] = (),
) -> Merged:
    """The configuration that the host should have.

    Args:
        settings: global keys of config.toml.
        wanted: the runners that the host is to have.
        host: config.toml's data as read.
        matches: what `match` said of the same.
        answers: wanted runner -> identity keys that GitLab gave for its token. One that was asked
            about and has no answer keeps the host's identity (or, new and unasked in check mode,
            gets none).
        known: the state file's entries; those of runners that the host still has are kept.
    """
    runners: list[Data] = [dict(runner) for runner in host.get("runners", [])]
    state: list[StateEntry] = []
    for index, runner in enumerate(wanted):
        position = matches.positions.get(index)
        held = runners[position] if position is not None else {}
        identity = _identity(answers.get(index, held))
        table = _table(runner, identity)
        if position is None:
            runners.append(table)
        else:
            runners[position] = table
        if identity.get("id"):
            state.append(
                StateEntry(runner.name, digest(runner.token), int(identity["id"]), runner.url)
            )
    config: Data = dict(settings)
    if runners:
        config["runners"] = runners
    return Merged(config, [*state, *_others(known, state, runners)])


def _identity(table: Mapping[str, Any]) -> Data:
    return {key: table[key] for key in IDENTITY_KEYS if key in table}


def _table(runner: WantedRunner, identity: Data) -> Data:
    table: Data = {"name": runner.table["name"], "url": runner.table["url"], **identity}
    more = {k: v for k, v in runner.table.items() if k not in table and k not in IDENTITY_KEYS}
    return {**table, **more}


def _others(
    known: Sequence[StateEntry], state: Sequence[StateEntry], runners: Sequence[Data]
) -> list[StateEntry]:
    """What the state file says of other runners that the host still has."""
    present = {(runner.get("id"), bare_url(runner.get("url", ""))) for runner in runners}
    listed = {(entry.id, bare_url(entry.url)) for entry in state}
    return [entry for entry in known if (entry.id, bare_url(entry.url)) in present - listed]
