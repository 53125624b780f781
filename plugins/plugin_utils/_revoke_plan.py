# SPDX-License-Identifier: GPL-3.0-or-later
"""Which variables hold a token that is to be taken out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _index_tokens,
    _project_plan,
    _project_variables,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import ALL
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_note import Taken

# A shorter value may be that of any variable.
_LENGTH = 8
_ATTRIBUTES = ("protected", "masked", "hidden", "raw", "variable_type")
NAMED, SAME = "named", "the same value"


@dataclass(frozen=True)
class Holder:
    """A project, a group or a pipeline schedule, and its variables as GitLab's API shows them.

    Attributes:
        schedule: its number; 0 for none.
        ref: the branch or tag of a schedule.
    """

    owner: Owner
    variables: Sequence[Mapping[str, Any]] = field(repr=False)
    schedule: int = 0
    ref: str = ""


@dataclass(frozen=True)
class Found:
    """A variable that holds a token."""

    holder: Holder
    taken: Taken


@dataclass
class Values:
    """What was leaked: values that are known, and digests of those that were.

    Attributes:
        salt: of the digests.
        known: what to look for.
        taken: those of them that are taken out of GitLab.
        digests: of what was taken out before.
    """

    salt: bytes
    known: set[str] = field(default_factory=set, repr=False)
    taken: set[str] = field(default_factory=set, repr=False)
    digests: set[str] = field(default_factory=set)
    _seen: dict[str, bool] = field(default_factory=dict, repr=False)

    def add(self, value: object) -> None:
        """One more value, if it is long enough to be told from others."""
        if isinstance(value, str) and len(value.strip()) >= _LENGTH:
            self.known.add(value.strip())

    def new_digests(self) -> list[str]:
        """Those of random values; another one could be guessed from its digest."""
        made = (
            _project_plan.slow_digest(one, self.salt) for one in sorted(self.taken) if random(one)
        )
        return [one for one in made if one not in self.digests]

    def has(self, value: object) -> bool:
        """Whether a value is one of them."""
        if not isinstance(value, str):
            return False
        # A file ends with a line break.
        value = value.strip()
        if value in self.known:
            return True
        if not self.digests or not random(value):
            return False
        if value not in self._seen:
            self._seen[value] = _project_plan.slow_digest(value, self.salt) in self.digests
        return self._seen[value]

    def inside(self, value: object) -> bool:
        """Whether a longer text holds one of them."""
        return isinstance(value, str) and any(
            one in value for one in self.known if random(one) and one != value.strip()
        )


def random(value: str) -> bool:
    """Whether a digest does not give a value away."""
    return _project_variables.is_random(value)


def kinds(value: str) -> list[str]:
    """What kind of token a value is: its index, or the prefix of GitLab's; empty for others."""
    index = _index_tokens.instance(value)
    prefixes = [prefix for prefix in ("gldt-", "glpat-") if value.startswith(prefix)]
    return [*([index] if index else []), *prefixes]


def search(
    holders: Iterable[Holder], keys: Sequence[str], values: Values, pending: Iterable[Taken]
) -> tuple[list[Found], list[str]]:
    """The variables to take out, and what is to be checked by hand.

    Args:
        holders: all places.
        keys: names of variables that go, whatever their value.
        values: what was leaked; gets the values of those.
        pending: of the note: what an earlier run has not taken out.
    """
    every = list(holders)
    for holder in every:
        for one in holder.variables:
            if str(one["key"]) in keys:
                values.add(one.get("value"))
    left = {one.identity for one in pending if not one.at}
    found, told = list[Found](), list[str]()
    for holder in every:
        for one in holder.variables:
            taken = _taken(holder, one, keys, values)
            if taken.why or taken.identity in left:
                taken.why = taken.why or SAME
                found.append(Found(holder, taken))
                values.taken |= _values_of(one, values.known)
                told += _reference(taken, one)
                if one.get("hidden") and not _values_of(one, values.known):
                    told.append(
                        f"{taken.place}: {taken.name} was hidden, and its value is not known here, "
                        "so the same token was not searched under other names: ask whoever set it."
                    )
            else:
                told += _doubt(taken, one, values)
    return found, told


def _taken(holder: Holder, one: Mapping[str, Any], keys: Sequence[str], values: Values) -> Taken:
    key, environment = _project_plan.identity(one)
    description = str(one.get("description") or "")
    attributes: dict[str, Any] = {name: one[name] for name in _ATTRIBUTES if name in one}
    if description:
        attributes["description"] = _project_plan.unmarked(description)
    if holder.ref:
        attributes["ref"] = holder.ref
    if number := _project_plan.token_in(description):
        attributes["deploy_token"] = number
    if found := kinds(str(one.get("value") or "")):
        attributes["kinds"] = found
    marked = one.get("hidden") and any(_project_plan.marked(description, v) for v in values.known)
    same = values.has(one.get("value")) or marked
    return Taken(
        "schedules" if holder.schedule else holder.owner.kind,
        holder.owner.path,
        key,
        environment,
        holder.schedule,
        NAMED if key in keys else SAME if same else "",
        key in keys,
        attributes=attributes,
    )


def _values_of(one: Mapping[str, Any], known: set[str]) -> set[str]:
    """What a variable holds; of a hidden one, what it may hold."""
    if not one.get("hidden"):
        return {str(one.get("value") or "").strip()} & known
    description = str(one.get("description") or "")
    if _project_plan.has_digest(description):
        return {value for value in known if _project_plan.marked(description, value)}
    return known


def _reference(taken: Taken, one: Mapping[str, Any]) -> Iterator[str]:
    """The token may be in another variable, which this one names."""
    value = str(one.get("value") or "")
    names = re.findall(r"\$\{?([A-Za-z_]\w*)", value) if not one.get("raw") else []
    if taken.kind != "schedules" and names and len(value) < 100:
        yield (
            f"{taken.place}: {taken.name} refers to ${names[0]}: if that holds the token, run "
            "again with its name in gitlab_project_revoke_variables"
        )


def _doubt(taken: Taken, one: Mapping[str, Any], values: Values) -> Iterator[str]:
    if values.inside(one.get("value")):
        yield (
            f"{taken.place}: the value of {taken.name} holds the token among other text, and is "
            "still there: edit it."
        )
    elif (
        (values.known or values.digests)
        and one.get("hidden")
        and not _project_plan.has_digest(str(one.get("description") or ""))
    ):
        yield (
            f"{taken.place}: {taken.name} is hidden, so nobody can tell whether it holds the "
            "same token: ask whoever set it."
        )


@dataclass(frozen=True)
class Reach:
    """Who got a variable: jobs of one project, by their environment and ref."""

    environment: str
    protected: bool
    schedule_ref: str = ""

    def takes(self, environment: str | None) -> bool | None:
        """Whether jobs of an environment got it; None if nobody can tell.

        Args:
            environment: of the job; empty for none, None if GitLab does not tell.
        """
        if self.environment == ALL:
            return True
        if environment is None:
            return None
        return bool(environment) and _project_variables.covers(self.environment, environment)


def reach(taken: Taken) -> Reach:
    """Which jobs got a variable that was taken out."""
    ref = str(taken.attributes.get("ref") or "")
    for begin in ("refs/heads/", "refs/tags/"):
        ref = ref.removeprefix(begin)
    protected = bool(taken.attributes.get("protected")) and taken.kind != "schedules"
    return Reach(taken.environment, protected, ref if taken.kind == "schedules" else "")
