# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of project_tokens_info: asks GitLab about the tokens of each project; changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _index_tokens,
    _token_report,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_access import AccessApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import (
    Place,
    Settings,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._token_report import Token

_JOBS = 100
"""How many of a project's latest successful jobs are searched for uploads."""


class TokensApi(AccessApi):
    """What GitLab says of tokens and of their use."""

    def itself(self) -> Mapping[str, Any]:
        """What the access token tells of itself (GitLab docs, "Personal access tokens API")."""
        with self._asked("tell what the access token may do"):
            found: Any = self._client.http_get("/personal_access_tokens/self")
        return dict(found)

    def successful_jobs(self, owner: Owner) -> list[dict[str, Any]]:
        """A project's latest successful jobs, the newest first."""
        with self._asked(f"list the jobs of {owner.path}"):
            found: Any = self._client.http_list(
                f"{owner.address}/jobs", page=1, per_page=_JOBS, get_all=False,
                query_data={"scope[]": "success"},
            )  # fmt: skip
        return [dict(one) for one in found]


@dataclass
class Report:
    """One run.

    Attributes:
        days: how old an index's token may be; 0 for any age.
        today: in UTC.
        tokens: all that were found.
        problems: places that this token may not see.
    """

    settings: Settings
    api: TokensApi
    days: int
    today: date
    tokens: list[Token] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def ask(self, variable: str, api: TokensApi) -> None:
        """Has an access token tell of itself; one without an answer is a problem."""
        try:
            self.tokens.append(_token_report.of_access(variable, api.itself()))
        except ApiProblem as problem:
            self.problems.append(f"{variable}: {problem}")

    def run(self) -> None:
        """Asks about the projects, and the token that it asks with."""
        self.ask("gitlab_project_api_token", self.api)
        for place in self.settings.places:
            owner = self.api.owner(place.path, place.group)
            if owner is None:
                self.problems.append(
                    f"{place.where}: {self.settings.url} has no {place.kind} {place.path} that "
                    "this token may see"
                )
                continue
            self.tokens += self._of(place, owner)

    def _of(self, place: Place, owner: Owner) -> list[Token]:
        held = any(_index_tokens.is_one(one.value) for one in place.variables or ())
        deployed = bool(place.access.deploy_tokens)
        pipeline = self.settings.pipelines.of(place.path)
        return _token_report.of_place(
            place,
            self.api.variables(owner) if held else [],
            self.api.deploy_tokens(owner) if deployed else [],
            pipeline,
            self.api.successful_jobs(owner) if held and pipeline else [],
        )

    def lines(self) -> list[str]:
        """The report."""
        return [one.line(self.today) for one in self.tokens]

    def findings(self) -> list[str]:
        """What is due."""
        found = [text for one in self.tokens for text in one.findings(self.today, self.days)]
        return [*self.problems, *found]
