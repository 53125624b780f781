# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments, job token allowlists, deploy tokens and runners of gitlab_project, checked.

Pure: no GitLab, no clock.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _project_variables
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import Variable

# GitLab's lib/gitlab/regex.rb.
_ENVIRONMENT = re.compile(r"[a-zA-Z0-9_\\${}. -]([a-zA-Z0-9_/\\${}. \-]*[a-zA-Z0-9_\\${}. -])?")
_URL = re.compile(r"https?://[^\s/@]+(/\S*)?")
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_PROJECT = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)+")
_GROUP = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)*")
# GitLab docs, "Deploy tokens": every job gets this one's user and value.
_FOR_ALL_JOBS = "gitlab-deploy-token"
USER = "runnerhost+"
"""Begins the user name of deploy tokens that the toolkit has made: no other ends one of them."""


@dataclass(frozen=True)
class Environment:
    """An environment; None for what is left alone. The name is its identity."""

    name: str
    tier: str | None
    external_url: str | None
    description: str | None

    def attributes(self) -> dict[str, str]:
        """What is declared, as GitLab's API names it."""
        given = {
            "tier": self.tier,
            "external_url": self.external_url,
            "description": self.description,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class JobToken:
    """Whose job tokens a project lets in; None for lists that are left alone.

    Attributes:
        limit: whether the lists count; all projects are let in otherwise.
    """

    limit: bool
    projects: tuple[str, ...] | None
    groups: tuple[str, ...] | None


@dataclass(frozen=True)
class DeployToken:
    """A deploy token, and the variables that hold it; their own ``value`` is empty.

    Attributes:
        days: how long a new one is valid.
        renew: it is renewed when fewer days than these are left.
    """

    where: str
    name: str
    scopes: frozenset[str]
    days: int
    renew: int
    variables: tuple[Variable, ...]

    @property
    def user(self) -> str:
        """The user name, which stays when the token is renewed."""
        return USER + self.name


@dataclass(frozen=True)
class Access:
    """What of a project is declared, beside variables and protected refs."""

    environments: tuple[Environment, ...] | None = None
    job_token: JobToken | None = None
    deploy_tokens: tuple[DeployToken, ...] | None = None
    runners: tuple[str, ...] | None = None

    @property
    def token_variables(self) -> list[Variable]:
        """Variables that hold deploy tokens."""
        return [one for token in self.deploy_tokens or () for one in token.variables]


def access_of(where: str, entry: Mapping[str, Any]) -> Access:
    """What an entry declares."""
    environments, token, runners = entry["environments"], entry["job_token"], entry["runners"]
    deploy = entry["deploy_tokens"]
    return Access(
        None
        if environments is None
        else tuple(
            Environment(
                str(one["name"]), one["tier"], _text(one["external_url"]), _text(one["description"])
            )
            for one in environments
        ),
        JobToken(bool(token["limit"]), _texts(token["projects"]), _texts(token["groups"]))
        if token
        else None,
        None
        if deploy is None
        else tuple(
            _deploy_token(f"{where}.deploy_tokens[{n}]", one) for n, one in enumerate(deploy)
        ),
        _texts(runners),
    )


def _deploy_token(where: str, given: Mapping[str, Any]) -> DeployToken:
    return DeployToken(
        where,
        str(given["name"]),
        frozenset(given["scopes"] or ()),
        int(given["days"]),
        int(given["renew_days"]),
        tuple(
            _project_variables.variable(f"{where}.variables[{n}]", one)
            for n, one in enumerate(given["variables"] or ())
        ),
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _texts(values: Sequence[Any] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(str(one) for one in values)


def problems(where: str, path: str, access: Access) -> Iterator[str]:
    """What is wrong with what a project declares."""
    names = [one.name for one in access.environments or ()]
    yield from _twice(f"{where}.environments", names)
    for n, environment in enumerate(access.environments or ()):
        yield from _environment_problems(f"{where}.environments[{n}]", environment)
    if access.job_token:
        yield from _job_token_problems(f"{where}.job_token", path, access.job_token)
    yield from _twice(f"{where}.deploy_tokens", [one.name for one in access.deploy_tokens or ()])
    for token in access.deploy_tokens or ():
        yield from _deploy_token_problems(token)
    yield from _twice(f"{where}.runners", access.runners or ())
    for n, runner in enumerate(access.runners or ()):
        if runner != runner.strip() or not runner:
            yield (
                f"{where}.runners[{n}]: invalid value {runner!r}; expected the description of a "
                "project runner, or its number"
            )


def _twice(where: str, names: Sequence[str]) -> Iterator[str]:
    counted = Counter(names)
    for name in sorted(one for one, count in counted.items() if count > 1):
        yield f"{where}: {name!r} is listed more than once"


def _environment_problems(where: str, one: Environment) -> Iterator[str]:
    if not _ENVIRONMENT.fullmatch(one.name) or len(one.name) > 255:
        yield (
            f"{where}.name: invalid value {one.name!r}; expected letters, digits, spaces and "
            "-_/${}., and no / at its ends"
        )
    if one.external_url and not (_URL.fullmatch(one.external_url) and len(one.external_url) < 256):
        yield (
            f"{where}.external_url: invalid value; expected an address such as "
            "https://example.com/demo without a user or password, of up to 255 characters"
        )
    if len(one.description or "") > 1000:
        yield f"{where}.description: too long; expected up to 1000 characters"


def _job_token_problems(where: str, path: str, token: JobToken) -> Iterator[str]:
    lists = (("projects", token.projects, _PROJECT), ("groups", token.groups, _GROUP))
    for kind, paths, pattern in lists:
        yield from _twice(f"{where}.{kind}", [one.lower() for one in paths or ()])
        for n, one in enumerate(paths or ()):
            if not pattern.fullmatch(one):
                expected = "GROUP/PROJECT" if kind == "projects" else "GROUP"
                yield f"{where}.{kind}[{n}]: invalid value {one!r}; expected {expected}"
            elif kind == "projects" and one.lower() == path.lower():
                yield f"{where}.{kind}[{n}]: {one} is the project itself, which is always let in"


def _deploy_token_problems(one: DeployToken) -> Iterator[str]:
    if one.name == _FOR_ALL_JOBS:
        yield (
            f"{one.where}.name: GitLab gives a deploy token named {_FOR_ALL_JOBS} to every job, "
            "of branches that are not protected too; expected another name"
        )
    elif not _TOKEN.fullmatch(one.name):
        yield (
            f"{one.where}.name: invalid value {one.name!r}; expected up to 100 letters, digits "
            "and _.-, as it ends the token's user name"
        )
    if not one.scopes:
        yield f"{one.where}.scopes: empty; expected at least one, such as read_package_registry"
    if not 1 <= one.renew < one.days <= 3650:
        yield (
            f"{one.where}: invalid days {one.days} and renew_days {one.renew}; expected "
            "renew_days from 1 on, and days greater than that, up to 3650"
        )
    if not one.variables:
        yield (
            f"{one.where}.variables: empty; expected at least one variable, since GitLab shows "
            "the token to nobody again"
        )
    for variable in one.variables:
        yield from _project_variables.name_problems(variable)
