# SPDX-License-Identifier: GPL-3.0-or-later
"""The tokens that the inventory and the projects know of: age, scope, where used. Pure.

No value is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _index_tokens,
    _project_plan,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_access import Issued
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_pipelines import Pipeline
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import Place
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import Variable

WARNING_DAYS = 30
"""A token that ends within these days is a finding."""


@dataclass(frozen=True)
class Token:
    """A token, without its value.

    Attributes:
        where: the variable that holds it.
        kind: what it is a token of.
        scope: what it may do.
        ends: its last day; None if it has none, or does not tell.
        since: when the toolkit set it; None if it has not, or before it kept that.
        account: whether it may upload to each project of its account.
        upload: the last job that has published with it.
        index: whether an index issued it.
        cure: what to do when it ends.
    """

    where: str
    kind: str
    scope: str
    ends: date | None = None
    since: date | None = None
    account: bool = False
    upload: str = ""
    index: bool = False
    cure: str = "make a new one"

    def line(self, today: date) -> str:
        """For people."""
        words = [self.scope]
        if self.since:
            words.append(f"set {self.since}, {(today - self.since).days} days ago")
        elif self.index:
            words.append("not known since when")
        if self.ends:
            words.append(f"until {self.ends}")
        if self.index:
            words.append(f"published by {self.upload}" if self.upload else "not used by a release")
        return f"{self.where}: {self.kind}, {'; '.join(words)}"

    def findings(self, today: date, index_days: int) -> Iterator[str]:
        """What is due.

        Args:
            today: in UTC.
            index_days: how old an index's token may be; 0 for any age.
        """
        if self.ends and (self.ends - today).days < 0:
            yield f"{self.where}: expired on {self.ends}; {self.cure}"
        elif self.ends and (self.ends - today).days < WARNING_DAYS:
            yield f"{self.where}: expires on {self.ends}; {self.cure} before that day"
        age = (today - self.since).days if self.since else 0
        if self.index and index_days and age > index_days:
            yield (
                f"{self.where}: set {age} days ago, more than gitlab_project_index_token_days "
                f"({index_days}); make a new token at the index, put it into the inventory, and "
                "run make rotate"
            )
        if self.account and self.upload:
            yield (
                f"{self.where}: may upload to all projects of its account, which only a first "
                "release needs; make a token for this project at the index, put it into the "
                "inventory, and run make rotate"
            )


def of_place(
    place: Place,
    found: Sequence[Mapping[str, Any]],
    issued: Sequence[Issued],
    pipeline: Pipeline | None,
    jobs: Sequence[Mapping[str, Any]],
) -> list[Token]:
    """The tokens of a project or group.

    Args:
        place: what is declared.
        found: its variables in GitLab.
        issued: its valid deploy tokens.
        pipeline: its release pipeline, if the inventory knows one.
        jobs: its latest jobs, the newest first.
    """
    there = {_project_plan.identity(one): one for one in found}
    tokens = [
        _of_index(place, one, there.get(one.identity), pipeline, jobs)
        for one in place.variables or ()
        if _index_tokens.is_one(one.value)
    ]
    declared = {(one.name, one.user): one for one in place.access.deploy_tokens or ()}
    for issue in issued:
        entry = declared.get((issue.name, issue.user))
        if entry:
            keys = ", ".join(one.name for one in entry.variables)
            tokens.append(
                Token(
                    f"{place.path}: {keys}",
                    f"deploy token {issue.name}",
                    ", ".join(sorted(issue.scopes)),
                    issue.ends,
                    cure="run make project, which renews it,",
                )
            )
    return tokens


def _of_index(
    place: Place,
    one: Variable,
    there: Mapping[str, Any] | None,
    pipeline: Pipeline | None,
    jobs: Sequence[Mapping[str, Any]],
) -> Token:
    scope = _index_tokens.scope(one.value)
    since = _project_plan.set_on(str(there.get("description") or "")) if there else None
    names = {
        job
        for job, environment in (pipeline.uploads if pipeline else ())
        if one.environment in ("*", environment)
    }
    used = [
        job
        for job in jobs
        if job["name"] in names
        and job["status"] == "success"
        and (since is None or str(job.get("finished_at") or "")[:10] >= str(since))
    ]
    where = f"{place.path}: {one.name}"
    return Token(
        where if there else f"{where}, not in GitLab yet",
        f"token of {_index_tokens.instance(one.value) or 'an index'}",
        scope.words,
        scope.expires.date() if scope.expires else None,
        since,
        bool(scope.account),
        f"job {used[0]['id']} ({used[0]['name']})" if used else "",
        True,
    )


def of_access(variable: str, found: Mapping[str, Any]) -> Token:
    """An access token of GitLab, as it tells of itself."""
    ends = found.get("expires_at")
    return Token(
        variable,
        "access token of GitLab",
        ", ".join(sorted(str(one) for one in found.get("scopes", []))),
        date.fromisoformat(str(ends)[:10]) if ends else None,
    )
