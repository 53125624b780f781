# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of a run of project_revoke have in common: what is known, and what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import (
    Place,
    Settings,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_api import RevokeApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_note import (
    Note,
    NoteProblem,
    stamp,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_plan import Values
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_settings import Wanted


@dataclass
class Outcome:
    """What a run tells.

    Attributes:
        done: what was changed, or would be, and when.
        places: where the token was.
        jobs: which jobs could have had it.
        files: those of indexes that no pipeline has uploaded.
        todo: what this run leaves to a person.
        failed: what went wrong.
        diff: lines before and after, by their header.
    """

    done: list[tuple[str, str]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    diff: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def diffs(self) -> list[dict[str, str]]:
        """As Ansible shows it."""
        return [
            {
                "before_header": header,
                "after_header": header,
                "before": "".join(f"{before}\n" for before, __ in lines),
                "after": "".join(f"{after}\n" for __, after in lines if after),
            }
            for header, lines in self.diff.items()
        ]

    @contextmanager
    def told(self, where: str, cure: str = "") -> Iterator[None]:
        """What GitLab refuses is told at the end, and keeps nothing else from being done.

        Args:
            where: for the message.
            cure: what a person can do in its place.
        """
        try:
            yield
        except ApiProblem as problem:
            self.failed.append(f"{where}: {problem}")
            if cure:
                self.todo.append(cure)


@dataclass
class Incident:
    """One run.

    Attributes:
        check: whether nothing may be changed.
        values: what was leaked.
        owners: the projects and groups that GitLab has.
        advice: what is left to a person, at the end of the run.
    """

    settings: Settings
    wanted: Wanted
    api: RevokeApi
    note: Note
    check: bool
    values: Values = field(init=False)
    owners: list[tuple[Place, Owner]] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)
    advice: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        data = self.note.data
        self.values = Values(bytes.fromhex(data.salt), digests=set(data.digests))
        self.continued = self.note.there
        self._started = stamp(datetime.now(timezone.utc))

    @property
    def projects(self) -> list[Owner]:
        """The projects, without the groups."""
        return [owner for place, owner in self.owners if not place.group]

    @property
    def changed(self) -> bool:
        """Whether anything was changed, or would be; a new note too."""
        return bool(self.outcome.done) or not self.continued

    def change(
        self, words: str, do: Callable[[], None], header: str, before: str, after: str = ""
    ) -> None:
        """Makes a change, unless in check mode, and tells of it.

        Args:
            words: what was done.
            do: does it.
            header, before, after: of the diff.

        Raises:
            ApiProblem: if GitLab refuses it.
        """
        if not self.check:
            do()
        self.outcome.done.append((f"{datetime.now(timezone.utc):%H:%M:%S}", words))
        self.outcome.diff.setdefault(header, []).append((before, after))

    def begin(self) -> None:
        """Makes the note before anything is done.

        Raises:
            NoteProblem: if that fails; nothing was changed.
        """
        if not self.check and not self.note.there:
            self.note.write(self._section(), self.values.known)

    def save(self) -> None:
        """Writes what is known so far; a note that cannot be written stops nothing."""
        self.api.learn(self.values.known)
        if self.check or not (self.changed or self.note.new):
            return
        try:
            self.note.write(self._section(), self.values.known)
        except NoteProblem as problem:
            if str(problem) not in self.outcome.failed:
                self.outcome.failed.append(str(problem))

    def _section(self) -> list[str]:
        told, since = self.outcome, f"{self.wanted.since:%Y-%m-%d}"
        return [
            f"## Run of {self._started}",
            "",
            *_items("Done", [f"{at} {words}" for at, words in told.done]),
            *_items("Places that had the token", told.places),
            *_items(f"Jobs since {since} that could have had the token", told.jobs),
            *_items("Files on indexes that no pipeline has uploaded", told.files),
            *_items("Failed", told.failed),
            *(["### Left to do, by a person", "", *self.advice, ""] if self.advice else []),
            f"GitLab gave {self.api.calls} answers.",
        ]


def _items(title: str, lines: Sequence[str]) -> list[str]:
    return [f"### {title}", "", *(f"- {line}" for line in lines), ""] if lines else []
