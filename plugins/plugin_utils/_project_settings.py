# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of the role gitlab_project, checked: what projects and groups are to have.

Pure: no GitLab, no clock. No value of a CI/CD variable is in any message.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _index_tokens

ROLE = "gitlab_project"
LEVELS = {"no one": 0, "developer": 30, "maintainer": 40}
"""Who may do something with a protected branch or tag, as GitLab's API numbers it."""
ALL = "*"
"""The scope of a variable that all environments have."""
_PROJECT = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)+")
_GROUP = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)*")
# GitLab docs, "Project-level CI/CD variables API".
_KEY = re.compile(r"[A-Za-z0-9_]{1,255}")
_SCOPE = re.compile(r"[A-Za-z0-9_/\\${}. \-*]{1,255}")
# GitLab's app/models/concerns/ci/maskable.rb; the first where references are expanded.
_MASKABLE = re.compile(r"[a-zA-Z0-9_+=/@:.~-]{8,}")
_MASKABLE_RAW = re.compile(r"\S{8,}")
# A digest of a shorter or simpler one could be guessed, and is kept in the description.
_HIDDEN_LENGTH, _HIDDEN_CHARACTERS = 20, 10
_DESCRIPTION = 160
"""Characters; GitLab takes 255, of which the toolkit's mark needs some."""


@dataclass(frozen=True)
class Variable:
    """A CI/CD variable, as it is to be; its key and its environment are its identity.

    Attributes:
        where: the place in the inventory, for messages.
        environment: the scope.
        hidden: masked, and shown by nobody and no API.
        replace: whether it may be deleted and made anew, as a change of ``hidden`` needs.
    """

    where: str
    key: str
    environment: str
    value: str = field(repr=False)
    protected: bool = True
    masked: bool = True
    hidden: bool = False
    raw: bool = True
    file: bool = False
    description: str = ""
    replace: bool = False

    @property
    def identity(self) -> tuple[str, str]:
        """What no two of a project or group have in common."""
        return self.key, self.environment

    @property
    def name(self) -> str:
        """For messages and the diff."""
        return self.key if self.environment == ALL else f"{self.key} ({self.environment})"


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
    read: frozenset[str]
    """Names of variables that release pipelines read, beside twine's own."""


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
        frozenset(str(name) for name in args["token_variables"]),
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
        else tuple(_variable(f"{where}.variables[{n}]", one) for n, one in enumerate(variables))
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
    )


def _variable(where: str, given: Mapping[str, Any]) -> Variable:
    file = given["type"] == "file"
    masked = not file if given["masked"] is None else bool(given["masked"])
    value = given["value"]
    return Variable(
        where,
        str(given["key"]),
        str(given["environment"]),
        value if isinstance(value, str) else "",
        bool(given["protected"]),
        masked or bool(given["hidden"]),
        bool(given["hidden"]),
        bool(given["raw"]),
        file,
        str(given["description"]),
        bool(given["replace"]),
    )


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
        yield from _variable_problems(variable)
    same = Counter(variable.identity for variable in place.variables or ())
    for key, environment in sorted(one for one, count in same.items() if count > 1):
        yield (
            f"{place.where}.variables: {key} is listed more than once for the environment "
            f"{environment!r}; expected one entry each"
        )
    for kind, refs in (("protected_tags", place.tags), ("protected_branches", place.branches)):
        names = Counter(ref.name for ref in refs or ())
        for name in sorted(one for one, count in names.items() if count > 1):
            yield f"{place.where}.{kind}: {name!r} is listed more than once"
        for name in names:
            if not re.fullmatch(r"[^\s~^:?\[\\]+", name):
                yield f"{place.where}.{kind}: invalid name {name!r}; expected one such as v*"


def _variable_problems(one: Variable) -> Iterator[str]:
    if not _KEY.fullmatch(one.key):
        yield f"{one.where}.key: invalid value {one.key!r}; expected letters, digits and _"
    if not _SCOPE.fullmatch(one.environment):
        yield (
            f"{one.where}.environment: invalid value {one.environment!r}; expected a name or "
            "pattern of environments such as pypi, or *"
        )
    if len(one.description) > _DESCRIPTION:
        yield f"{one.where}.description: too long; expected up to {_DESCRIPTION} characters"
    if one.key in ("TWINE_REPOSITORY_URL", "TWINE_REPOSITORY") and one.environment == ALL:
        yield (
            f"{one.where}.key: {one.key} for all environments overrides the repository of each "
            "upload, also of those to the test index; set index and test_index of the pipeline"
        )
    if "$ANSIBLE_VAULT" in one.value:
        yield f"{one.where}.value: a vault text that was not decrypted"
    elif one.value:
        yield from _value_problems(one)
    else:
        yield f"{one.where}.value: empty; expected a value"


def _value_problems(one: Variable) -> Iterator[str]:
    if not one.file and one.value != one.value.strip():
        yield (
            f"{one.where}.value: begins or ends with white space, which becomes part of it; "
            "expected the value alone (in YAML: | keeps the line break, |- does not)"
        )
        return
    said = _index_tokens.problem(one.value, f"{one.key} {one.environment}")
    if said:
        yield f"{one.where}.value: {said}"
    elif one.masked and not (_MASKABLE_RAW if one.raw else _MASKABLE).fullmatch(one.value):
        expected = "8 characters or more without white space"
        if not one.raw:
            expected += ", of letters, digits and _+=/@:.~- alone (raw: true allows others)"
        yield (
            f"{one.where}.value: GitLab cannot mask it; expected {expected}, "
            "or masked: false if it is no secret"
        )
    if one.hidden and not _is_random(one.value):
        yield (
            f"{one.where}.hidden: the value is too simple: GitLab does not show it again, and a "
            f"digest of it, which the toolkit keeps instead, could be guessed; expected at least "
            f"{_HIDDEN_LENGTH} characters, of {_HIDDEN_CHARACTERS} kinds, or hidden: false"
        )


def _is_random(value: str) -> bool:
    return len(value) >= _HIDDEN_LENGTH and len(set(value)) >= _HIDDEN_CHARACTERS


def shadowed(places: Sequence[Place]) -> list[str]:
    """Variables of declared groups that a declared project of theirs replaces."""
    found = []
    groups = [place for place in places if place.group]
    projects = [place for place in places if not place.group]
    for group, project in itertools.product(groups, projects):
        if not f"{project.path.lower()}/".startswith(f"{group.path.lower()}/"):
            continue
        keys = {one.key for one in group.variables or ()}
        found += [
            f"{one.where}: {one.key} replaces the variable of the group {group.path}"
            for one in project.variables or ()
            if one.key in keys
        ]
    return found
