# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service's config.toml is to become: wanted runners, the host's file, GitLab's answers.

Pure: no host, no GitLab, no clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _runner_compare,
    _runner_diff,
    _runner_lists,
    _runner_match,
    _runner_merge,
    _runner_state,
    _runner_validation,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_file import (
    Answer,
    HostFile,
    without_runners,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_lists import WantedRunner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_match import (
    Matches,
    Question,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_merge import Merged
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_state import StateEntry
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data, TomlError

Updates = Mapping[int, Mapping[str, tuple[Any, Any]]]
"""What differs in GitLab: wanted runner -> key -> its value before and after."""


@dataclass(frozen=True)
class WantedConfig:
    """What one service's config.toml is to hold.

    Attributes:
        folder: where the file lies.
        variable: the inventory's list of its runners, for messages.
        settings: the global keys.
        runners: the runners that it is to have.
        leaving: names of runners that are to leave the host.
        elsewhere: names of runners that other services of the host are to have.
    """

    folder: str
    variable: str
    settings: Data = field(repr=False)
    runners: Sequence[WantedRunner]
    leaving: Collection[str] = ()
    elsewhere: Collection[str] = ()


def wanted_config(args: Mapping[str, Any], variable: str) -> WantedConfig:
    """What validated arguments of `runner_config` want."""
    return WantedConfig(
        folder=str(args["folder"]),
        variable=variable,
        settings={"concurrent": args["concurrent"], **args["settings"]},
        runners=_runner_lists.wanted_runners(variable, str(args["url"]), args["runners"]),
        leaving={str(one["name"]) for one in args["runners"] if _runner_lists.is_absent(one)},
        elsewhere={str(name) for name in args["elsewhere"]},
    )


def problems(args: Mapping[str, Any], variable: str) -> list[str]:
    """What is wrong with arguments that have the right types."""
    url = str(args["url"])
    found = _runner_lists.url_problems("url", url)
    found += _runner_validation.settings_problems("settings", args["settings"])
    return found + _runner_lists.entries_problems(
        url, {variable: args["runners"]}, args["api_token"], allowed=None
    )


@dataclass(frozen=True)
class Found:
    """The host's file, and which of its runners are the wanted ones.

    Attributes:
        file: the file.
        config: its data.
        known: the state file's entries, without those of runners that are to leave.
        matches: which wanted runner is which of its runners.
    """

    file: HostFile
    config: Data = field(repr=False)
    known: Sequence[StateEntry]
    matches: Matches

    def runner(self, index: int) -> Data:
        """The host's table of a wanted runner, empty if it has none."""
        position = self.matches.positions.get(index)
        return self.config["runners"][position] if position is not None else {}

    def known_id(self, runner: WantedRunner) -> int | None:
        """The id that the state file has for a wanted runner's name."""
        return _runner_state.known_id(self.known, runner.name, runner.url)


def find(wanted: WantedConfig, file: HostFile, config: Data, ids: Mapping[int, int]) -> Found:
    """Which wanted runners the host has. `ids`: those that the inventory states."""
    entries = _runner_state.state_entries(file.state)
    known = [entry for entry in entries if entry.name not in wanted.leaving]
    return Found(file, config, known, _runner_match.match(wanted.runners, config, known, ids))


def legacy_problems(runners: Sequence[WantedRunner], file: HostFile) -> list[str]:
    """Refusals of legacy tokens whose runners the host does not have; a broken file has none."""
    try:
        config = file.config()
    except TomlError:
        return []
    known = _runner_state.state_entries(file.state)
    matches = _runner_match.match(runners, config, known)
    return [
        _runner_lists.legacy_refusal(runner.at)
        for runner in _runner_match.unknown_legacy(runners, matches)
    ]


def refusals(wanted: WantedConfig, found: Found, ids: Mapping[int, int]) -> list[str]:
    """Why the wanted configuration does not fit what the host has."""
    moved = (set(found.matches.foreign) & set(wanted.elsewhere)) - set(wanted.leaving)
    problems = [
        f"{name} is in this service's config.toml, and another list of the inventory names it: "
        f"remove it here first, by an entry of {wanted.variable} with state: absent"
        for name in sorted(moved)
    ]
    problems += [
        _runner_lists.legacy_refusal(runner.at)
        for runner in _runner_match.unknown_legacy(wanted.runners, found.matches)
    ]
    for index, number in ids.items():
        held = found.runner(index).get("id")
        if held and held != number:
            problems.append(
                f"{wanted.runners[index].at}.gitlab.id: invalid value {number}; expected {held}, "
                "the id that config.toml has for it (to replace that runner, remove it first, by "
                "state: absent)"
            )
    return problems


@dataclass(frozen=True)
class ConfigPlan:
    """What is to be written on the host and set in GitLab.

    Attributes:
        merged: the configuration and the state file's entries.
        changed_keys: what changes, by name.
        foreign: the file's runners that the inventory does not name.
        leaving: those of its runners that are to leave.
        unverified: names of runners that GitLab has not called valid yet.
        updates: what differs in GitLab.
        writes_config: whether config.toml changes in meaning.
        writes_state: whether the state file changes.
        writes_paused: whether the configuration for a full disk changes.
        changed: whether anything changes.
        diff: for ``--diff``, without secrets.
    """

    merged: Merged
    changed_keys: list[str]
    foreign: list[str]
    leaving: list[str]
    unverified: list[str]
    updates: Updates
    writes_config: bool
    writes_state: bool
    writes_paused: bool
    changed: bool
    diff: dict[str, str] = field(repr=False)

    def state_text(self) -> str:
        """The state file until GitLab has called all runners valid."""
        return _runner_state.state_text(
            [replace(one, verified=one.name not in self.unverified) for one in self.merged.state]
        )

    def checked_state_text(self) -> str:
        """The state file once GitLab has called all of them valid."""
        return _runner_state.state_text(self.merged.state)


def merged(wanted: WantedConfig, found: Found, answers: Mapping[int, Answer]) -> Merged:
    """The configuration that the host should have, with GitLab's answers so far."""
    identities = {index: answer.identity for index, answer in answers.items() if answer.identity}
    return _runner_merge.merge(
        wanted.settings, wanted.runners, found.config, found.matches, identities, found.known
    )


def ids_of(wanted: WantedConfig, result: Merged) -> dict[int, int]:
    """Wanted runner -> its id in GitLab, as far as it is known."""
    by_name = {entry.name: entry.id for entry in result.state}
    return {
        index: by_name[runner.name]
        for index, runner in enumerate(wanted.runners)
        if runner.name in by_name
    }


def plan(
    wanted: WantedConfig,
    found: Found,
    result: Merged,
    *,
    updates: Updates,
    asked: Collection[int],
    unasked: Mapping[int, Question],
    woken: Sequence[str],
) -> ConfigPlan:
    """What is to be written and set.

    Args:
        wanted: what the file is to hold.
        found: what the host has.
        result: the merge of both.
        updates: what differs in GitLab.
        asked: the runners whose tokens GitLab was asked about.
        unasked: those that it would be asked about, in check mode.
        woken: names of runners that the daemon takes up again.
    """
    file, config = found.file, result.config
    keys = _runner_compare.changed_keys(found.config, config)
    writes_config = bool(keys or not file.exists or _identity_keys(wanted, found, unasked))
    keys += _identity_keys(wanted, found, unasked)
    keys += [
        f"runners.{wanted.runners[index].name}.gitlab.{key}"
        for index, some in updates.items()
        for key in some
    ]
    keys += [f"runners.{name}.awake" for name in woken]
    paused = hashlib.sha256(without_runners(config).encode()).hexdigest()
    writes_paused = file.paused_sha256 != paused
    writes_state = not _runner_state.same_state(_runner_state.state_data(result.state), file.state)
    says_state = writes_state and bool(result.state or file.state)
    return ConfigPlan(
        merged=result,
        changed_keys=keys,
        foreign=[name for name in found.matches.foreign if name not in wanted.leaving],
        leaving=sorted(set(wanted.leaving) & set(found.matches.foreign)),
        unverified=_unverified(wanted, found, result, asked),
        updates=updates,
        writes_config=writes_config,
        writes_state=writes_state,
        writes_paused=writes_paused,
        changed=bool(
            writes_config or updates or writes_paused or says_state or not file.safe or woken
        ),
        diff=_runner_diff.diff(found.config, config, exists=file.exists),
    )


def _identity_keys(
    wanted: WantedConfig, found: Found, unasked: Mapping[int, Question]
) -> list[str]:
    """Names of identities that GitLab's answers will change."""
    return [
        f"runners.{wanted.runners[index].name}.identity"
        for index, question in unasked.items()
        if index in found.matches.positions and question.fallback is None
    ]


def _unverified(
    wanted: WantedConfig, found: Found, result: Merged, asked: Collection[int]
) -> list[str]:
    """Names of runners that are new, or that GitLab has not called valid yet."""
    open_ = {(entry.id, entry.token_sha256) for entry in found.known if not entry.verified}
    names = {wanted.runners[index].name for index in asked}
    names |= {one.name for one in result.state if (one.id, one.token_sha256) in open_}
    return sorted(names & {runner.name for runner in wanted.runners})


def identities(config: Data) -> set[tuple[str, int]]:
    """Which runners a configuration holds; a token may have been rotated, an id stays."""
    return {
        (str(one.get("url", "")), int(one["id"]))
        for one in config.get("runners", [])
        if one.get("id")
    }
