# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes of a project's environments, job token allowlist, deploy tokens and runners."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from functools import cached_property, partial
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _project_tokens
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_access import AccessApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_access import (
    USER,
    DeployToken,
    Environment,
    JobToken,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_plan import Refused
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import Place

# GitLab docs, "Project-level CI/CD variables API": variables have descriptions since 16.2.
_LEAST = (16, 2)
# GitLab docs, "Fine-grained permissions for CI/CD job tokens"; gitlab#580385.
PERMISSIONS = (
    "Not by the API: if a job that the allowlist lets in gets 403 admin_packages, the project has "
    "fine-grained permissions: Settings > CI/CD > Job token permissions, edit its entry, and "
    "select Packages: Read and write"
)
# GitLab docs, "Protected environments".
APPROVALS = (
    "Not by this role: who may deploy to an environment, and approvals, in Premium: Settings > "
    "CI/CD > Protected environments"
)


@dataclass(frozen=True)
class Step:
    """One change.

    Attributes:
        words: for the summary.
        do: makes it.
        before: the old lines of the diff.
        after: the new ones.
        note: what is left to do by hand.
    """

    words: str
    do: Callable[[], None]
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    note: str = ""


def today() -> date:
    """The day in UTC, in which GitLab counts."""
    return datetime.now(timezone.utc).date()


class Steps:
    """Reads what projects have, and plans the changes."""

    def __init__(self, api: AccessApi, purge: bool) -> None:
        self._api, self._purge = api, purge

    def of(self, place: Place, owner: Owner, found: Sequence[Mapping[str, Any]]) -> list[Step]:
        """The changes of a project, in their order.

        Args:
            place: what is declared.
            owner: the project.
            found: its variables.

        Raises:
            Refused: if GitLab cannot do one of them.
        """
        access, steps = place.access, list[Step]()
        if access.environments:
            steps += self._environments(owner, access.environments)
        if access.deploy_tokens is not None:
            steps += self._deploy_tokens(place, owner, access.deploy_tokens, found)
        if access.job_token:
            steps += self._job_token(f"{place.where}.job_token", owner, access.job_token)
        if access.runners:
            steps += self._runners(f"{place.where}.runners", owner, access.runners)
        return steps

    def _environments(self, owner: Owner, wanted: Sequence[Environment]) -> Iterator[Step]:
        there = {str(one["name"]): one for one in self._api.environments(owner)}
        for one in wanted:
            old, attributes = there.get(one.name), one.attributes()
            if old is None:
                make = partial(self._api.create_environment, owner, one)
                line = _environment_line(one.name, attributes)
                yield Step(f"created environment {one.name}", make, (), (line,), APPROVALS)
                continue
            # What this GitLab does not tell, it does not keep either.
            different = {
                name: value
                for name, value in attributes.items()
                if name in old and (old[name] or "") != value
            }
            if different:
                change = partial(
                    self._api.change_environment, owner, int(old["id"]), one.name, different
                )
                lines = [_environment_line(one.name, now) for now in (old, {**old, **different})]
                yield Step(f"changed environment {one.name}", change, lines[:1], lines[1:])

    def _deploy_tokens(
        self,
        place: Place,
        owner: Owner,
        wanted: Sequence[DeployToken],
        found: Sequence[Mapping[str, Any]],
    ) -> Iterator[Step]:
        if wanted and self._version < _LEAST:
            raise Refused(
                f"{place.where}.deploy_tokens: this GitLab is older than 16.2, and variables have "
                "no description to keep a token's number in"
            )
        issued = self._api.deploy_tokens(owner)
        tokens = _project_tokens.Tokens(self._api)
        for entry in wanted:
            planned = _project_tokens.plan(entry, issued, found, today())
            if planned.changes:
                do = partial(tokens.apply, owner, planned, today())
                yield Step(planned.words(), do, planned.before(), planned.after())
        names = {entry.name for entry in wanted}
        for one in issued if self._purge else ():
            if one.user == USER + one.name and one.name not in names:
                revoke = partial(self._api.revoke_deploy_token, owner, one.id)
                line = f"deploy token {one.name}: not listed"
                yield Step(f"revoked deploy token {one.name} ({one.id})", revoke, (line,))

    @cached_property
    def _version(self) -> tuple[int, ...]:
        return tuple(map(int, re.findall(r"\d+", self._api.version())[:2]))

    def _job_token(self, where: str, owner: Owner, wanted: JobToken) -> Iterator[Step]:
        limited = self._api.limited(owner)
        removals: list[Step] = []
        for kind, paths in (("projects", wanted.projects), ("groups", wanted.groups)):
            if paths is not None:
                added, removed = self._allowlist(f"{where}.{kind}", owner, paths, kind == "groups")
                yield from added
                removals += removed
        if limited != wanted.limit:
            words = {True: "job tokens: of the allowlist", False: "job tokens: of all projects"}
            yield Step(
                f"let in {words[wanted.limit]}", partial(self._api.limit, owner, wanted.limit),
                (words[limited],), (words[wanted.limit],),
            )  # fmt: skip
        # Last, so that whoever takes the place of another is let in by then.
        yield from removals

    def _allowlist(
        self, where: str, owner: Owner, paths: Sequence[str], groups: bool
    ) -> tuple[list[Step], list[Step]]:
        kind = "group" if groups else "project"
        there = self._api.let_in(owner, groups=groups)
        numbers = {path.lower(): number for number, path in there.items()}
        added, kept = [], set()
        for path in paths:
            if path.lower() in numbers:
                kept.add(numbers[path.lower()])
                continue
            target = self._api.owner(path, groups)
            if target is None:
                raise Refused(f"{where}: GitLab has no {kind} {path} that this token may see")
            kept.add(target.id)
            # There by a name that it had before or has since.
            if target.id not in there:
                add = partial(self._api.add_to_allowlist, owner, target)
                words, line = f"let in job tokens of {path}", f"job tokens: of {kind} {path}"
                added.append(Step(words, add, (), (line,), PERMISSIONS))
        removed = []
        for number, path in there.items() if self._purge else ():
            if number not in kept:
                remove = partial(
                    self._api.remove_from_allowlist, owner, number, path, groups=groups
                )
                words = f"no longer let in job tokens of {path}"
                removed.append(Step(words, remove, (f"job tokens: of {kind} {path}",)))
        return added, removed

    def _runners(self, where: str, owner: Owner, wanted: Sequence[str]) -> Iterator[Step]:
        usable = self._api.runners(owner)
        for name in wanted:
            if any(one["runner_type"] == "project_type" for one in usable if _fits(name, one)):
                continue
            number = self._assignable(where, name, usable)
            assign = partial(self._api.assign_runner, owner, number, name)
            yield Step(f"assigned runner {name}", assign, (), (f"runner {name}",))

    def _assignable(self, where: str, name: str, usable: Sequence[Mapping[str, Any]]) -> int:
        """The number of a runner that a project does not have yet."""
        found = {int(one["id"]): one for one in (*usable, *self._owned) if _fits(name, one)}
        if not found:
            found = {int(one["id"]): one for one in self._everywhere if _fits(name, one)}
        own = sorted(n for n, one in found.items() if one["runner_type"] == "project_type")
        if len(own) > 1:
            listed = ", ".join(map(str, own))
            raise Refused(
                f"{where}: several runners are named {name}: {listed}; name one by number"
            )
        if not own and found:
            kind = str(next(iter(found.values()))["runner_type"])
            whose = "a group" if kind == "group_type" else "the instance"
            raise Refused(
                f"{where}: {name} is a runner of {whose}, which "
                "serves projects without being assigned; remove it from the list"
            )
        details = self._api.get(own[0]) if own else None
        if details is None:
            raise Refused(
                f"{where}: no project runner {name} that this token's user may assign; expected "
                "one of a project of which the user is a maintainer"
            )
        if details["locked"]:
            raise Refused(
                f"{where}: runner {name} is locked to its projects; in the project that owns it, "
                "under Settings > CI/CD > Runners, edit it and unset Lock to current projects"
            )
        return own[0]

    @cached_property
    def _owned(self) -> list[dict[str, Any]]:
        return self._api.known_runners(everywhere=False)

    @cached_property
    def _everywhere(self) -> list[dict[str, Any]]:
        return self._api.known_runners(everywhere=True)


def _fits(name: str, runner: Mapping[str, Any]) -> bool:
    if name.isdigit():
        return str(runner["id"]) == name
    return str(runner.get("description") or "") == name


def _environment_line(name: str, one: Mapping[str, Any]) -> str:
    words = [str(one[key]) for key in ("tier", "external_url", "description") if one.get(key)]
    return f"environment {name}: {', '.join(words) or 'as GitLab makes it'}"
