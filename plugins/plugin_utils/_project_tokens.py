# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy tokens whose values are CI/CD variables: what is to be done, and the order of the calls.

GitLab shows a token once, so its number is kept in the variable's description, with a digest of the
value. A new token is made first, then the variables are set, then the old token is revoked: at each
moment the variables hold a token that is valid. What a run leaves that was killed in between is a
token that no variable holds, and the next run revokes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _project_plan
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_access import (
    AccessApi,
    Issued,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_access import DeployToken
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_plan import (
    Change,
    Identity,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import Variable

# After these a change may still come true: no answer, or one of a proxy.
_UNCERTAIN = (0, 502, 503, 504)
_ROUNDS = 3


@dataclass(frozen=True)
class TokenPlan:
    """What is to be done about a deploy token.

    Attributes:
        renewed: whether a new one is made.
        ends: the last day of a new one is the day before.
        variables: with their changes.
        held: the numbers of the tokens that the variables hold.
        issued: the tokens that the toolkit has made for this entry.
    """

    entry: DeployToken
    renewed: bool
    ends: date
    variables: Sequence[tuple[Variable, Change]]
    held: Mapping[Identity, int]
    issued: Sequence[Issued]

    @property
    def left_over(self) -> list[Issued]:
        """Tokens that no variable holds: of a run that was killed, or of another run."""
        return [one for one in self.issued if one.id not in self.held.values()]

    @property
    def changes(self) -> bool:
        """Whether anything differs."""
        return bool(self.renewed or self.variables or self.left_over)

    def words(self) -> str:
        """For the summary."""
        name = f"deploy token {self.entry.name}"
        keys = ", ".join(one.name for one, __ in self.variables)
        if self.renewed:
            old = any(one.id in self.held.values() for one in self.issued)
            return f"{'renewed' if old else 'created'} {name} in {keys}"
        parts = [f"changed {keys}"] if keys else []
        return "; ".join([*parts, *(f"revoked {name} ({one.id})" for one in self.left_over)])

    def before(self) -> list[str]:
        """The old lines of the diff."""
        gone = self.issued if self.renewed else self.left_over
        lines = [line for __, change in self.variables for line in change.before]
        return [*(_line(one) for one in gone), *lines]

    def after(self) -> list[str]:
        """The new ones."""
        made = Issued(0, self.entry.name, "", self.entry.scopes, self.ends)
        lines = [line for __, change in self.variables for line in change.words]
        return [*([_line(made)] if self.renewed else []), *lines]


def _line(one: Issued) -> str:
    ends = f", until {one.ends}" if one.ends else ""
    return f"deploy token {one.name}: {', '.join(sorted(one.scopes))}{ends}"


def plan(
    entry: DeployToken,
    issued: Sequence[Issued],
    found: Sequence[Mapping[str, Any]],
    today: date,
) -> TokenPlan:
    """What is to be done.

    Args:
        entry: as it is to be.
        issued: the project's valid deploy tokens.
        found: the project's variables.
        today: in UTC.

    Raises:
        _project_plan.Refused: if a variable cannot become what is wanted.
    """
    mine = [one for one in issued if (one.name, one.user) == (entry.name, entry.user)]
    numbers = {one.id for one in mine}
    there = {_project_plan.identity(one): one for one in found}
    olds = [(one, there.get(one.identity)) for one in entry.variables]
    held = {
        one.identity: number
        for one, old in olds
        if old is not None and (number := _held(old)) in numbers
    }
    renewed = _is_renewed(entry, mine, held, today) or any(
        old is not None and bool(old.get("hidden")) != one.hidden for one, old in olds
    )
    changes = [
        (one, change)
        for one, old in olds
        if (change := _project_plan.held(one, old, renewed=renewed))
    ]
    return TokenPlan(entry, renewed, today + timedelta(days=entry.days), changes, held, mine)


def _held(variable: Mapping[str, Any]) -> int:
    """The token that a variable holds; 0 if it is not known, or its value was changed."""
    description = str(variable.get("description") or "")
    hidden, value = bool(variable.get("hidden")), str(variable.get("value") or "")
    if not hidden and not _project_plan.marked(description, value):
        return 0
    return _project_plan.token_in(description)


def _is_renewed(
    entry: DeployToken, mine: Sequence[Issued], held: Mapping[Identity, int], today: date
) -> bool:
    current = [one for one in mine if one.id in held.values()]
    if len(held) < len(entry.variables) or len(current) != 1:
        return True
    (one,) = current
    left = (one.ends - today).days if one.ends else entry.days + 2
    # A day more: controllers' clocks differ.
    return one.scopes != entry.scopes or not entry.renew <= left <= entry.days + 1


class Tokens:
    """Carries plans out."""

    def __init__(self, api: AccessApi) -> None:
        self._api = api

    def apply(self, owner: Owner, wanted: TokenPlan, today: date) -> None:
        """Does all of it, and looks whether another run has done something meanwhile.

        Raises:
            ApiProblem: if it could not be done; the variables hold a valid token as before. A
                TakenError if another run has made a variable since it was listed.
        """
        for __ in range(_ROUNDS):
            self._once(owner, wanted)
            wanted = plan(
                wanted.entry, self._api.deploy_tokens(owner), self._api.variables(owner), today
            )
            if not wanted.changes:
                return
        raise ApiProblem(
            f"deploy token {wanted.entry.name}: other runs change it at the same time; run again"
        )

    def _once(self, owner: Owner, wanted: TokenPlan) -> None:
        held = dict(wanted.held)
        numbers = [one.id for one in wanted.issued]
        number, value = 0, ""
        if wanted.renewed:
            number, value = self._api.create_deploy_token(owner, wanted.entry, wanted.ends)
            numbers.append(number)
        try:
            for variable, planned in wanted.variables:
                change = planned
                if wanted.renewed:
                    change = _project_plan.filled(planned, variable, value, number)
                self._api.change_variable(owner, change)
                if wanted.renewed:
                    held[variable.identity] = number
        except ApiProblem as problem:
            # Nothing else is revoked: what the variables hold now is not known for sure.
            if number and number not in held.values() and problem.status not in _UNCERTAIN:
                with suppress(ApiProblem):
                    self._api.revoke_deploy_token(owner, number)
            raise
        for one in numbers:
            if one not in held.values():
                self._api.revoke_deploy_token(owner, one)
