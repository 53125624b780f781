# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's environments, job token allowlists, deploy tokens and runners of projects by its API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import (
    Owner,
    SettingsApi,
    TakenError,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_access import (
    DeployToken,
    Environment,
)


@dataclass(frozen=True)
class Issued:
    """A deploy token of GitLab, without its value; ``ends`` is None for never."""

    id: int
    name: str
    user: str
    scopes: frozenset[str]
    ends: date | None


class AccessApi(SettingsApi):
    """One GitLab, for an access token with the scope api of a maintainer."""

    def environments(self, owner: Owner) -> list[dict[str, Any]]:
        """A project's environments, stopped ones too."""
        what = f"list the environments of {owner.path}"
        return self._all(what, f"{owner.address}/environments")

    def create_environment(self, owner: Owner, one: Environment) -> None:
        """Makes an environment.

        Raises:
            TakenError: if it is there.
        """
        try:
            with self._asked(f"create environment {one.name} of {owner.path}"):
                self._client.http_post(
                    f"{owner.address}/environments",
                    post_data={"name": one.name, **one.attributes()},
                )
        except ApiProblem as problem:
            if problem.status == 400 and "has already been taken" in str(problem):
                raise TakenError(str(problem), 400) from None
            raise

    def change_environment(
        self, owner: Owner, number: int, name: str, body: Mapping[str, str]
    ) -> None:
        """Sets what differs."""
        with self._asked(f"change environment {name} of {owner.path}"):
            self._client.http_put(f"{owner.address}/environments/{number}", post_data=dict(body))

    def limited(self, owner: Owner) -> bool:
        """Whether the allowlist of job tokens counts."""
        with self._asked(f"show the job token permissions of {owner.path}"):
            found: Any = self._client.http_get(f"{owner.address}/job_token_scope")
        return bool(found["inbound_enabled"])

    def limit(self, owner: Owner, limited: bool) -> None:
        """Has the allowlist count, or not; an administrator may have it count everywhere."""
        with self._asked(f"change the job token permissions of {owner.path}"):
            self._client.http_patch(
                f"{owner.address}/job_token_scope", post_data={"enabled": limited}
            )
        if self.limited(owner) != limited:
            raise ApiProblem(
                f"{self.url} keeps the allowlist of job tokens of {owner.path} on: an "
                "administrator enforces it (Admin > Settings > CI/CD > Job token permissions)"
            )

    def let_in(self, owner: Owner, *, groups: bool) -> dict[int, str]:
        """The paths of the projects or groups in a project's allowlist, by their numbers."""
        kind = "groups" if groups else "projects"
        listed = self._all(
            f"list the {kind} in the allowlist of job tokens of {owner.path}",
            f"{owner.address}/job_token_scope/{'groups_' if groups else ''}allowlist",
        )
        # GitLab tells no path of a group but that of its page.
        return {
            int(one["id"]): str(one["web_url"]).partition("/groups/")[2]
            if groups
            else str(one["path_with_namespace"])
            for one in listed
            if groups or int(one["id"]) != owner.id
        }

    def add_to_allowlist(self, owner: Owner, target: Owner) -> None:
        """Lets a project or group in."""
        groups = target.kind == "groups"
        address = f"{owner.address}/job_token_scope/{'groups_' if groups else ''}allowlist"
        name = "target_group_id" if groups else "target_project_id"
        try:
            with self._asked(f"let job tokens of {target.path} into {owner.path}"):
                self._client.http_post(address, post_data={name: target.id})
        except ApiProblem as problem:
            # Another run was faster.
            if problem.status != 400 or "is already in" not in str(problem):
                raise

    def remove_from_allowlist(self, owner: Owner, number: int, path: str, *, groups: bool) -> None:
        """Lets a project or group in no longer."""
        address = f"{owner.address}/job_token_scope/{'groups_' if groups else ''}allowlist"
        try:
            with self._asked(f"let job tokens of {path} into {owner.path} no longer"):
                self._client.http_delete(f"{address}/{number}")
        except ApiProblem as problem:
            if problem.status != 400 or "is not in" not in str(problem):
                raise

    def deploy_tokens(self, owner: Owner) -> list[Issued]:
        """A project's deploy tokens that are neither revoked nor expired."""
        listed = self._all(
            f"list the deploy tokens of {owner.path}", f"{owner.address}/deploy_tokens",
            active=True,
        )  # fmt: skip
        return [
            Issued(
                int(one["id"]),
                str(one["name"]),
                str(one["username"]),
                frozenset(map(str, one["scopes"])),
                date.fromisoformat(str(one["expires_at"])[:10]) if one["expires_at"] else None,
            )
            for one in listed
            if not one["revoked"] and not one["expired"]
        ]

    def create_deploy_token(self, owner: Owner, one: DeployToken, ends: date) -> tuple[int, str]:
        """A new deploy token: its number, and its value, which GitLab tells only now."""
        body = {"name": one.name, "username": one.user, "scopes": sorted(one.scopes),
                "expires_at": ends.isoformat()}  # fmt: skip
        with self._asked(f"create deploy token {one.name} of {owner.path}"):
            answer: Any = self._client.http_post(f"{owner.address}/deploy_tokens", post_data=body)
        value = str(answer["token"])
        self._secrets |= {value}
        return int(answer["id"]), value

    def revoke_deploy_token(self, owner: Owner, number: int) -> None:
        """Ends a deploy token; one that is gone is no problem."""
        try:
            with self._asked(f"revoke deploy token {number} of {owner.path}"):
                self._client.http_delete(f"{owner.address}/deploy_tokens/{number}")
        except ApiProblem as problem:
            if problem.status != 404:
                raise

    def runners(self, owner: Owner) -> list[dict[str, Any]]:
        """The runners that a project may use: its own, its groups', and the instance's."""
        return self._all(f"list the runners of {owner.path}", f"{owner.address}/runners")

    def known_runners(self, *, everywhere: bool) -> list[dict[str, Any]]:
        """Runners of the projects and groups of the token's user; or all, to an administrator."""
        if not everywhere:
            return self._all("list its runners", "/runners")
        try:
            return self._all("list all runners", "/runners/all")
        except ApiProblem as problem:
            if problem.status == 403:
                return []
            raise

    def assign_runner(self, owner: Owner, number: int, name: str) -> None:
        """Has a project's runner serve this project too.

        Raises:
            TakenError: if it does already, or GitLab refuses it for another reason.
        """
        try:
            with self._asked(f"assign runner {name} to {owner.path}"):
                self._client.http_post(f"{owner.address}/runners", post_data={"runner_id": number})
        except ApiProblem as problem:
            if problem.status == 400:
                raise TakenError(str(problem), 400) from None
            raise
