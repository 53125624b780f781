# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entry of the inventory is which runner of the host's config.toml.

Pure: no host, no GitLab, no clock. See docs/architecture.md, "How entries are matched to runners".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import digest
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _tokens
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import same_url
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_lists import WantedRunner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_state import StateEntry
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data

_LOST = "config.toml has lost its token"


@dataclass(frozen=True)
class Question:
    """A token that GitLab must be asked about before the merge can be made.

    Attributes:
        index: the entry's place in the list of wanted runners.
        reason: why, for the output.
        fallback: position of the host's runner that keeps its identity if GitLab refuses the
            given token (its own, rotated since, is the newer one); None: the refusal stands.
    """

    index: int
    reason: str
    fallback: int | None = None


@dataclass
class Matches:
    """What `match` found.

    Attributes:
        positions: wanted runner -> position in the host's ``[[runners]]``.
        questions: tokens to ask GitLab about, by wanted runner.
        foreign: names of the host's runners that no entry names; they are kept whole.
    """

    positions: dict[int, int] = field(default_factory=dict)
    questions: dict[int, Question] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)


def match(
    wanted: Sequence[WantedRunner],
    host: Mapping[str, Any],
    known: Sequence[StateEntry],
    ids: Mapping[int, int] | None = None,
) -> Matches:
    """Which wanted runner is which of the host's runners.

    An entry that states its runner's id is that runner, under whatever name the host has it. A
    digest that is unchanged finds its runner by id, whatever the entry is called now. A changed
    one means a new token: GitLab is asked. Without a digest: by token, then by url and name.

    Args:
        wanted: the runners that the host is to have.
        host: config.toml's data.
        known: the state file's entries.
        ids: wanted runner -> its id, where the inventory states it.
    """
    matcher = _Matcher(wanted, list(host.get("runners", [])), known)
    for index, number in (ids or {}).items():
        matcher.by_stated_id(index, number)
    # Each way is tried for all entries before the next one: a surer one goes first.
    for way in (matcher.by_digest, matcher.by_token):
        for index in matcher.unmatched():
            way(index)
    for index in matcher.unmatched():
        if not matcher.by_known_name(index):
            matcher.by_name(index)
    return matcher.finish()


class _Matcher:
    """The matches found so far."""

    def __init__(
        self,
        wanted: Sequence[WantedRunner],
        runners: Sequence[Data],
        known: Sequence[StateEntry],
    ) -> None:
        self._wanted = wanted
        self._runners = runners
        self._digests = [digest(runner.token) for runner in wanted]
        self._by_digest = {entry.token_sha256: entry for entry in known}
        self._by_name = {entry.name: entry for entry in known}
        self._taken: set[int] = set()
        self._found = Matches()

    def unmatched(self) -> list[int]:
        """The wanted runners that have no position yet."""
        return [i for i in range(len(self._wanted)) if i not in self._found.positions]

    def by_stated_id(self, index: int, number: int) -> None:
        """The inventory states the runner's id."""
        position = self._find_id(number, self._wanted[index].url)
        if position is not None:
            self._claim(index, position)
            if not self._runners[position].get("token"):
                self._ask(index, _LOST)

    def by_digest(self, index: int) -> None:
        """The state file says which runner this token made."""
        entry = self._by_digest.get(self._digests[index])
        url = self._wanted[index].url
        if entry and same_url(entry.url, url):
            position = self._find_id(entry.id, url)
            if position is not None and self._runners[position].get("token"):
                self._claim(index, position)

    def by_token(self, index: int) -> None:
        """The host has exactly this token."""
        wanted = self._wanted[index]
        position = self._find(lambda runner: runner.get("token") == wanted.token, wanted.url)
        if position is None:
            return
        self._claim(index, position)
        # The id of a token without glrt- the runner's own `register` does not tell. Any other
        # runner was registered by hand without an id: GitLab tells it, and the token's times.
        if wanted.token.startswith("glrt-") and not self._runners[position].get("id"):
            self._ask(index, "its id is not in config.toml")

    def by_known_name(self, index: int) -> bool:
        """The state file has the entry's name with another token, or the host has lost its token.

        Returns:
            True if that is so, and GitLab is to be asked.
        """
        entry = self._known_name(index)
        position = self._find_id(entry.id, entry.url) if entry else None
        if entry is None or position is None:
            return False
        same = entry.token_sha256 == self._digests[index]
        self._claim(index, position)
        self._ask(index, _LOST if same else "its token in the inventory has changed")
        return True

    def by_name(self, index: int) -> None:
        """Nothing is known of the entry: the host's runner of its name, or a new runner."""
        wanted = self._wanted[index]
        position = self._find(lambda runner: runner.get("name") == wanted.name, wanted.url)
        if position is None or self._known_name(index):
            self._ask(index, "config.toml does not hold it")
            return
        self._claim(index, position)
        self._ask(index, "config.toml holds another token for it", fallback=position)

    def finish(self) -> Matches:
        """The matches, with the runners that no entry claimed."""
        self._found.foreign = [
            str(runner.get("name") or f"#{position + 1}")
            for position, runner in enumerate(self._runners)
            if position not in self._taken
        ]
        return self._found

    def _known_name(self, index: int) -> StateEntry | None:
        """What the state file has of the entry's name, unless another entry has that token now."""
        entry = self._by_name.get(self._wanted[index].name)
        own = self._digests[index]
        if entry and entry.token_sha256 != own and entry.token_sha256 in self._digests:
            return None
        return entry

    def _find_id(self, number: int, url: str) -> int | None:
        return self._find(lambda runner: runner.get("id") == number, url)

    def _find(self, fits: Callable[[Data], bool], url: str) -> int | None:
        """The first unclaimed runner of that GitLab that fits."""
        for position, runner in enumerate(self._runners):
            if (
                position not in self._taken
                and fits(runner)
                and same_url(str(runner.get("url", "")), url)
            ):
                return position
        return None

    def _claim(self, index: int, position: int) -> None:
        self._found.positions[index] = position
        self._taken.add(position)

    def _ask(self, index: int, reason: str, fallback: int | None = None) -> None:
        self._found.questions[index] = Question(index, reason, fallback)


def unknown_legacy(wanted: Sequence[WantedRunner], matches: Matches) -> list[WantedRunner]:
    """Those with a legacy token whose runner the host does not have: GitLab cannot be asked."""
    return [wanted[index] for index in matches.questions if _tokens.is_legacy(wanted[index].token)]
