# SPDX-License-Identifier: GPL-3.0-or-later
"""The undo of project_revoke: resumes runners; tells what of the rest is left to whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _revoke_note,
    _revoke_runners,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import Settings
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_api import RevokeApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_incident import Outcome
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_note import (
    Note,
    NoteProblem,
    PausedRunner,
    Taken,
    stamp,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_plan import Values


def note_of(name: str, url: str) -> Note:
    """The note of the incident that is to be undone.

    Raises:
        NoteProblem: if it is none, or one of another GitLab.
    """
    note = _revoke_note.read(Path(name).expanduser().absolute())
    if note.data.url != url:
        raise NoteProblem(f"{note.path}: a note about {note.data.url}, and not about {url}")
    return note


@dataclass
class Undo:
    """One run; the declared variables are put back by the role's own tasks.

    Attributes:
        check: whether nothing may be changed.
        lines: the report.
        warnings: what may be dangerous.
    """

    settings: Settings
    api: RevokeApi
    note: Note
    check: bool
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)
    changed: bool = False

    def run(self) -> None:
        """Does everything; a second run changes nothing."""
        data = self.note.data
        self.changed = not data.undone
        for one in data.runners:
            with self.outcome.told(_name(one)):
                self._resume(one)
        self.lines += self._by_hand()
        self.warnings += self._still_there()
        self.lines += [
            f"Retry pipeline {one.id} of {one.ref} in {one.project}: {one.url}"
            for one in data.pipelines
        ]
        if self.check or data.undone or self.outcome.failed:
            return
        now = stamp(datetime.now(timezone.utc))
        data.undone = now
        known = {one.value for place in self.settings.places for one in place.filled}
        try:
            self.note.write([f"## Undone {now}", "", *(f"- {line}" for line in self.lines)], known)
        except NoteProblem as problem:
            self.outcome.failed.append(str(problem))

    def _resume(self, one: PausedRunner) -> None:
        details = self.api.get(one.id)
        if details is None:
            self.lines.append(f"GitLab no longer has {_name(one)}")
        elif not details["paused"]:
            self.lines.append(f"Not paused: {_name(one)}")
        elif self.note.data.undone:
            # This note's pause has ended: this is another one.
            self.lines.append(f"Paused again since, and left so: {_name(one)}")
        else:
            if not self.check:
                self.api.pause(one.id, paused=False)
            self.changed = True
            self.lines.append(f"Resumed {_name(one)}")
            self.outcome.diff[_name(one)] = [("paused: true", "paused: false")]

    def _by_hand(self) -> Iterator[str]:
        """Variables that were taken out, and that the inventory does not declare."""
        declared = {
            ("groups" if place.group else "projects", place.path.lower(), 0, *one.identity)
            for place in self.settings.places
            for one in place.filled
        }
        for one in self.note.data.variables:
            if one.identity not in declared and not self._there(one):
                words = [name for name, value in one.attributes.items() if value is True]
                about = one.attributes.get("description")
                yield (
                    f"Set by hand, or leave out: {one.name} of {one.place} ("
                    f"{', '.join(words) or 'plain'}{f'; {about}' if about else ''})"
                )

    def _there(self, one: Taken) -> bool:
        """Whether somebody has set it again."""
        if one.kind == "schedules":
            return False
        try:
            owner = self.api.owner(one.path, one.kind == "groups")
            found = self.api.variables(owner) if owner else []
        except ApiProblem:
            return False
        return any(
            (str(it["key"]), str(it.get("environment_scope") or "*")) == (one.key, one.environment)
            for it in found
        )

    def _still_there(self) -> Iterator[str]:
        """The inventory would put the same token back."""
        data = self.note.data
        values = Values(bytes.fromhex(data.salt), digests=set(data.digests))
        for place in self.settings.places:
            for one in place.variables or ():
                if values.has(one.value):
                    yield (
                        f"{one.where}.value: the token that was taken out in this incident is "
                        "still in the inventory, and is put back: make a new one, and revoke this "
                        "one at the index"
                    )


def _name(one: PausedRunner) -> str:
    return _revoke_runners.title({"id": one.id, "description": one.name})
