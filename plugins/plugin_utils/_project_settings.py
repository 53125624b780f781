# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the role gitlab_project, checked: what projects and groups are to have.

Pure: no GitLab, no clock. No value of a CI/CD variable is in any message.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _index_tokens,
    _project_access,
    _project_variables,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_access import Access
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_pipelines import (
    Pipelines,
    pipelines_of,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import (
    Variable,
    covers,
)

ROLE = "gitlab_project"
LEVELS = {"no one": 0, "developer": 30, "maintainer": 40}
"""Who may do something with a protected branch or tag, as GitLab's API numbers it."""
_PROJECT = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)+")
_GROUP = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)*")


@dataclass(frozen=True)
class ProtectedRef:
    """A protected branch or tag; ``*`` in the name stands for anything.

    Attributes:
        push: who may push to the branch, or create the tag: an access level.
        merge: who may merge into the branch; None for a tag.
        force: whether the branch takes a push that loses commits.
    """

    name: str
    push: int
    merge: int | None = None
    force: bool = False


@dataclass(frozen=True)
class Place:
    """A project or a group, and what of it is declared; None for what is left alone."""

    where: str
    path: str
    group: bool
    variables: tuple[Variable, ...] | None
    tags: tuple[ProtectedRef, ...] | None = None
    branches: tuple[ProtectedRef, ...] | None = None
    access: Access = field(default_factory=Access)

    @property
    def filled(self) -> list[Variable]:
        """Its declared variables, those of deploy tokens too."""
        return [*(self.variables or ()), *self.access.token_variables]

    @property
    def kind(self) -> str:
        """Project or group."""
        return "group" if self.group else "project"


@dataclass(frozen=True)
class Settings:
    """All that the role was told."""

    url: str
    token: str = field(repr=False)
    purge: bool
    places: tuple[Place, ...]
    pipelines: Pipelines


def settings_of(args: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """The settings, and what is wrong with them."""
    entries = [
        *((f"{ROLE}_projects[{n}]", entry, False) for n, entry in enumerate(args["projects"])),
        *((f"{ROLE}_groups[{n}]", entry, True) for n, entry in enumerate(args["groups"])),
    ]
    places = tuple(_place(where, entry, group) for where, entry, group in entries)
    settings = Settings(
        str(args["url"]).rstrip("/"),
        str(args["api_token"]),
        bool(args["purge"]),
        places,
        pipelines_of(args["pipelines"], args["pipeline_inputs"]),
    )
    problems = [*_own_problems(settings), *_twice(places)]
    for place in places:
        problems += _place_problems(place)
    return settings, problems


def _place(where: str, entry: Mapping[str, Any], group: bool) -> Place:
    variables = entry["variables"]
    path = str(entry["group" if group else "project"])
    found = (
        None
        if variables is None
        else tuple(
            _project_variables.variable(f"{where}.variables[{n}]", one)
            for n, one in enumerate(variables)
        )
    )
    if group:
        return Place(where, path, True, found)
    tags, branches = entry["protected_tags"], entry["protected_branches"]
    return Place(
        where,
        path,
        False,
        found,
        None
        if tags is None
        else tuple(ProtectedRef(str(one["name"]), LEVELS[one["create"]]) for one in tags),
        None
        if branches is None
        else tuple(
            ProtectedRef(
                str(one["name"]),
                LEVELS[one["push"]],
                LEVELS[one["merge"]],
                bool(one["force_push"]),
            )
            for one in branches
        ),
        _project_access.access_of(where, entry),
    )


def with_index_tokens_only(settings: Settings) -> Settings:
    """The same for the variables that hold a token of an index, of which none is deleted."""
    places = (
        Place(
            place.where,
            place.path,
            place.group,
            tuple(one for one in place.variables or () if _index_tokens.is_one(one.value)),
        )
        for place in settings.places
    )
    return replace(settings, purge=False, places=tuple(one for one in places if one.variables))


def untyped(args: Mapping[str, Any]) -> list[str]:
    """Values that are no text: YAML's numbers and dates lose zeros and become something else."""
    problems = []
    for kind in ("projects", "groups"):
        for n, entry in enumerate(args[kind]):
            for m, one in enumerate(entry["variables"] or []):
                if not isinstance(one["value"], str):
                    where = f"{ROLE}_{kind}[{n}].variables[{m}].value"
                    problems.append(f"{where}: {_secrets.unfit(one['value'])}; put it in quotes")
    return problems


def _own_problems(settings: Settings) -> Iterator[str]:
    if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", settings.url):
        yield f"{ROLE}_url: invalid or missing; expected one such as https://gitlab.example.com"
    elif settings.url.rstrip("/").endswith("/api/v4"):
        yield f"{ROLE}_url: invalid value; expected GitLab's address, without /api/v4"
    if not settings.token:
        yield f"{ROLE}_api_token: missing; expected an access token with the scope api"
    elif not re.fullmatch(r"[\x21-\x7e]{8,}", settings.token):
        yield f"{ROLE}_api_token: invalid value; expected an access token with the scope api"
    if not settings.places:
        yield f"{ROLE}_projects: empty; expected at least one project, or a group"


def _twice(places: Sequence[Place]) -> Iterator[str]:
    seen: set[tuple[bool, str]] = set()
    for place in places:
        named = place.group, place.path.lower()
        if named in seen:
            yield f"{place.where}: {place.path} is named twice; expected one entry"
        seen.add(named)


def _place_problems(place: Place) -> Iterator[str]:
    pattern = _GROUP if place.group else _PROJECT
    if not pattern.fullmatch(place.path):
        expected = "GROUP" if place.group else "GROUP/PROJECT"
        yield f"{place.where}: invalid {place.kind} {place.path!r}; expected {expected}"
    for variable in place.variables or ():
        yield from _project_variables.problems(variable)
    yield from _project_access.problems(place.where, place.path, place.access)
    same = Counter(variable.identity for variable in place.filled)
    for key, environment in sorted(one for one, count in same.items() if count > 1):
        yield (
            f"{place.where}: the variable {key} is listed more than once for the environment "
            f"{environment!r}; expected one entry each"
        )
    for kind, refs in (("protected_tags", place.tags), ("protected_branches", place.branches)):
        names = Counter(ref.name for ref in refs or ())
        for name in sorted(one for one, count in names.items() if count > 1):
            yield f"{place.where}.{kind}: {name!r} is listed more than once"
        for name in names:
            if not re.fullmatch(r"[^\s~^:?\[\\]+", name):
                yield f"{place.where}.{kind}: invalid name {name!r}; expected one such as v*"


def _for_one_job(one: Variable, other: Variable) -> bool:
    """Whether a job may get the one in place of the other."""
    scopes = one.environment, other.environment
    return one.key == other.key and (covers(*scopes) or covers(*reversed(scopes)))


def shadowed(places: Sequence[Place]) -> list[str]:
    """Variables of declared groups that a declared project of theirs replaces."""
    found = []
    groups = [place for place in places if place.group]
    projects = [place for place in places if not place.group]
    for group, project in itertools.product(groups, projects):
        if not f"{project.path.lower()}/".startswith(f"{group.path.lower()}/"):
            continue
        found += [
            f"{one.where}: {one.key} replaces the variable of the group {group.path}"
            for one in project.filled
            if any(_for_one_job(one, other) for other in group.variables or ())
        ]
    return found
