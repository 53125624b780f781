# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of gitlab_project: reads everything, plans everything, then changes what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _project_findings,
    _project_plan,
    _project_settings,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_access import AccessApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import Project
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import (
    Owner,
    TakenError,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_plan import (
    Change,
    RefChange,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import (
    LEVELS,
    Place,
    ProtectedRef,
    Settings,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_steps import (
    Step,
    Steps,
    today,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import ALL

_LEVEL_NAMES = {number: name for name, number in LEVELS.items()}


class Refused(Exception):
    """What cannot be done; nothing was changed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Planned:
    """What a project or group has, and what is to change."""

    place: Place
    owner: Owner
    variables: Sequence[Change]
    refs: Sequence[RefChange]
    found: Sequence[Mapping[str, Any]]
    protected: Sequence[ProtectedRef]
    """Its protected tags and branches once the changes are made."""
    steps: Sequence[Step] = ()

    @property
    def changes(self) -> bool:
        """Whether anything differs."""
        return bool(self.variables or self.refs or self.steps)

    def diff(self) -> dict[str, str]:
        """As Ansible shows it; without values."""
        before = [*(line for one in self.variables for line in one.before)]
        after = [*(line for one in self.variables for line in one.words)]
        for ref in self.refs:
            before += [_ref_line(ref.old)] if ref.old else []
            after += [_ref_line(ref.wanted)] if ref.wanted else []
        before += [line for step in self.steps for line in step.before]
        after += [line for step in self.steps for line in step.after]
        header = f"{self.place.kind} {self.place.path}"
        return {
            "before_header": header,
            "after_header": header,
            "before": "".join(f"{line}\n" for line in before),
            "after": "".join(f"{line}\n" for line in after),
        }


def _ref_line(ref: ProtectedRef) -> str:
    push = _LEVEL_NAMES.get(ref.push, "others")
    if ref.merge is None:
        return f"protected tag {ref.name}: create {push}"
    merge = _LEVEL_NAMES.get(ref.merge, "others")
    force = ", force push" if ref.force else ""
    return f"protected branch {ref.name}: push {push}, merge {merge}{force}"


@dataclass
class Sync:
    """One run.

    Attributes:
        check: whether nothing may be changed.
        lines: what was done, in words.
        diff: the same as Ansible's diff.
        failed: what GitLab did not do.
        warnings: what the user should know.
        changed: whether anything was, or would be, changed.
    """

    settings: Settings
    api: AccessApi
    check: bool
    lines: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    changed: bool = False

    def __post_init__(self) -> None:
        self._steps = Steps(self.api, self.settings.purge)

    def run(self) -> None:
        """Does everything.

        Raises:
            Refused: if a project is not there, or GitLab cannot do what is wanted.
            ApiProblem: if GitLab does not let itself be read.
        """
        planned = self._plan()
        self.warnings += _project_settings.shadowed(self.settings.places)
        for one in planned:
            self.warnings += self._findings(one)
            gone = [change.key for change in one.variables if change.action == "delete"]
            if gone:
                self.warnings.append(
                    f"{one.place.path}: gitlab_project_purge deletes {', '.join(gone)}, which the "
                    "inventory does not name; nobody can restore their values"
                )
        for one in planned:
            if not one.changes:
                self.lines.append(f"{one.place.path}: as wanted")
                continue
            self.diff.append(one.diff())
            self.lines.append(f"{one.place.path}: {_summary(one)}")
            self.changed = True
            self.lines += _project_findings.replaced(one.place, one.variables, one.found)
            if not self.check:
                before = len(self.failed)
                self._apply(one)
                if len(self.failed) > before:
                    # What was meant to be done would be told as done.
                    said = f"{one.place.path}: {_summary(one)}"
                    self.lines[self.lines.index(said)] = (
                        f"{one.place.path}: not all of this was done: {_summary(one)}"
                    )
        # By hand; once for all projects.
        notes = [step.note for one in planned for step in one.steps if step.note]
        self.lines += dict.fromkeys(notes)

    def _plan(self) -> list[Planned]:
        found = []
        problems = []
        for place in self.settings.places:
            owner = self.api.owner(place.path, place.group)
            if owner is None:
                problems.append(
                    f"{place.where}: {self.settings.url} has no {place.kind} {place.path} that "
                    "this token may see"
                )
                continue
            try:
                found.append(self._planned(place, owner))
            except _project_plan.Refused as refused:
                problems.append(str(refused))
        if problems:
            raise Refused(problems)
        return found

    def _planned(self, place: Place, owner: Owner) -> Planned:
        filled = place.access.token_variables
        listed = [] if place.variables is None and not filled else self.api.variables(owner)
        variables = _project_plan.variables(
            place.variables or (),
            listed,
            today(),
            purge=self.settings.purge and place.variables is not None,
            kept={one.identity for one in filled},
        )
        if place.group:
            return Planned(place, owner, variables, [], listed, [])
        changes: list[RefChange] = []
        protected: list[ProtectedRef] = []
        for wanted, tags in ((place.tags, True), (place.branches, False)):
            there = self.api.protected(owner, tags=tags)
            changes += _project_plan.refs(wanted or (), there)
            named = {one.name for one in wanted or ()}
            protected += [*(wanted or ()), *(one for one in there if one.name not in named)]
        steps = self._steps.of(place, owner, listed)
        return Planned(place, owner, variables, changes, listed, protected, steps)

    def _findings(self, one: Planned) -> list[str]:
        """What works otherwise than it looks; in words."""
        pipelines = self.settings.pipelines
        gone = {change.key for change in one.variables if change.action == "delete"}
        found = _project_findings.of_found(one.place, one.found, gone)
        if one.place.group:
            return [*_project_findings.of_variables(one.place, pipelines), *found]
        return [
            *_project_findings.of_variables(one.place, pipelines),
            *_project_findings.of_protection(one.place, one.protected, pipelines),
            *_project_findings.of_project(
                one.place, pipelines, one.protected, one.owner.config_path, one.owner.override_role
            ),
            *found,
            *self._branches_to_come(one),
        ]

    def _branches_to_come(self, one: Planned) -> Iterator[str]:
        """Branches that are to be protected and are not there: GitLab takes any name."""
        project = Project(one.owner.id, one.place.path, "")
        new = [ref.wanted for ref in one.refs if ref.wanted and not ref.old]
        for name in (ref.name for ref in new if ref.merge is not None and "*" not in ref.name):
            if not self.api.has_branch(project, name):
                yield (
                    f"{one.place.where}.protected_branches: {one.place.path} has no branch {name} "
                    "yet; correct the name if it is not to come"
                )

    def _apply(self, one: Planned) -> None:
        """Makes the changes; the next run goes on where GitLab has refused one."""
        for ref in one.refs:
            try:
                self._change_ref(one, ref)
            except ApiProblem as problem:
                self.failed.append(f"{one.place.path}: {problem}")
        self._change_variables(one, again=True)
        self._take_steps(one, again=True)

    def _take_steps(self, one: Planned, *, again: bool) -> None:
        for step in one.steps:
            try:
                step.do()
            except TakenError as problem:
                if again:
                    # Another run has made it since it was listed.
                    if planned := self._planned_again(one):
                        self._take_steps(planned, again=False)
                    return
                self.failed.append(f"{one.place.path}: {problem}")
            except (ApiProblem, _project_plan.Refused) as problem:
                self.failed.append(f"{one.place.path}: {problem}")

    def _planned_again(self, one: Planned) -> Planned | None:
        """What is left to do after another run; None if that can no longer be."""
        try:
            return self._planned(one.place, one.owner)
        except (ApiProblem, _project_plan.Refused) as problem:
            self.failed.append(f"{one.place.path}: {problem}")
            return None

    def _change_ref(self, one: Planned, change: RefChange) -> None:
        if change.old:
            self.api.unprotect(one.owner, change.old)
        if change.wanted is None:
            return
        try:
            self.api.protect(one.owner, change.wanted)
        except ApiProblem:
            # Not left open: as it was.
            if change.old and change.old.push >= 0:
                self.api.protect(one.owner, change.old)
            raise

    def _change_variables(self, one: Planned, *, again: bool) -> None:
        for change in one.variables:
            try:
                self.api.change_variable(one.owner, change)
            except TakenError:
                if not again:
                    raise
                # Another run has made it since it was listed.
                if planned := self._planned_again(one):
                    self._change_variables(planned, again=False)
                return
            except ApiProblem as problem:
                self.failed.append(f"{one.place.path}: {problem}")


def _summary(one: Planned) -> str:
    words = {"create": "created", "update": "changed", "replace": "made anew", "delete": "deleted"}
    parts = []
    for action, word in words.items():
        names = [
            change.key if change.environment == ALL else f"{change.key} ({change.environment})"
            for change in one.variables
            if change.action == action
        ]
        if names:
            parts.append(f"{word} {', '.join(names)}")
    if one.refs:
        parts.append(f"protected {', '.join(ref.name for ref in one.refs)}")
    parts += [step.words for step in one.steps]
    return "; ".join(parts)
