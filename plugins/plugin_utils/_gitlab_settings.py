# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's settings of projects and groups by its API: variables and protected refs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import Projects
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_plan import Change
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import (
    ProtectedRef,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import ALL


@dataclass(frozen=True)
class Owner:
    """A project or group of GitLab.

    Attributes:
        kind: projects or groups, as in the API's addresses.
        path: for messages.
        config_path: where a project's CI/CD configuration is; empty for GitLab's default.
        override_role: who may set variables of its pipelines; empty if GitLab does not tell.
    """

    kind: str
    id: int
    path: str
    config_path: str = ""
    override_role: str = ""

    @property
    def address(self) -> str:
        """Its part of an address."""
        return f"/{self.kind}/{self.id}"


class TakenError(ApiProblem):
    """Somebody else has made it meanwhile."""


class SettingsApi(Projects):
    """One GitLab, for an access token with the scope api of a maintainer (of groups: owner)."""

    def owner(self, path: str, group: bool) -> Owner | None:
        """A project or group by its path; None if this token may see none."""
        kind = "groups" if group else "projects"
        query = {"with_projects": "false"} if group else {}
        found = self._found(f"show {kind[:-1]} {path}", f"/{kind}/{quote(path, safe='')}", **query)
        if found is None:
            return None
        return Owner(
            kind,
            int(found["id"]),
            path,
            str(found.get("ci_config_path") or ""),
            str(found.get("ci_pipeline_variables_minimum_override_role") or ""),
        )

    def _all(self, what: str, address: str, **query: Any) -> list[dict[str, Any]]:
        with self._asked(what):
            # A hundred in each answer: GitLab gives no more.
            found: Any = self._client.http_list(address, get_all=True, per_page=100, **query)
        return [dict(one) for one in found]

    def variables(self, owner: Owner) -> list[dict[str, Any]]:
        """Its CI/CD variables; hidden ones without their value."""
        return self._all(f"list the variables of {owner.path}", f"{owner.address}/variables")

    def change_variable(self, owner: Owner, change: Change) -> None:
        """Makes, changes or deletes a variable; the change of one is one call.

        Raises:
            TakenError: if a variable that was to be made is there.
        """
        one = f"{owner.address}/variables/{quote(change.key, safe='')}"
        query = {"filter[environment_scope]": change.environment}
        body = {**change.body}
        if owner.kind == "groups" and change.environment == ALL:
            # Below the paid tiers a group's variable has no scope.
            query = {}
            body.pop("environment_scope", None)
        if change.action in ("delete", "replace"):
            with self._asked(f"delete variable {change.key} of {owner.path}"):
                self._client.http_delete(one, query_data=query)
        if change.action in ("create", "replace"):
            self._create_variable(owner, change.key, body)
        if change.action == "update":
            with self._asked(f"change variable {change.key} of {owner.path}"):
                self._client.http_put(one, query_data=query, post_data=body)

    def _create_variable(self, owner: Owner, key: str, body: Mapping[str, Any]) -> None:
        try:
            with self._asked(f"create variable {key} of {owner.path}"):
                self._client.http_post(f"{owner.address}/variables", post_data=dict(body))
        except ApiProblem as problem:
            if problem.status == 400 and "has already been taken" in str(problem):
                raise TakenError(str(problem), 400) from None
            raise

    def protected(self, owner: Owner, *, tags: bool) -> list[ProtectedRef]:
        """Its protected tags or branches."""
        kind = "tags" if tags else "branches"
        listed = self._all(
            f"list the protected {kind} of {owner.path}", f"{owner.address}/protected_{kind}"
        )
        if tags:
            return [
                ProtectedRef(str(one["name"]), _level(one["create_access_levels"]))
                for one in listed
            ]
        return [
            ProtectedRef(
                str(one["name"]),
                _level(one["push_access_levels"]),
                _level(one["merge_access_levels"]),
                bool(one.get("allow_force_push")),
            )
            for one in listed
        ]

    def protect(self, owner: Owner, ref: ProtectedRef) -> None:
        """Protects a tag or branch, or all of a pattern."""
        if ref.merge is None:
            address, body = "protected_tags", {"create_access_level": ref.push}
        else:
            address = "protected_branches"
            body = {"push_access_level": ref.push, "merge_access_level": ref.merge}
        with self._asked(f"protect {ref.name} of {owner.path}"):
            self._client.http_post(
                f"{owner.address}/{address}",
                post_data={
                    "name": ref.name,
                    **body,
                    **({} if ref.merge is None else {"allow_force_push": ref.force}),
                },
            )

    def unprotect(self, owner: Owner, ref: ProtectedRef) -> None:
        """Ends a protection: GitLab changes none."""
        address = "protected_tags" if ref.merge is None else "protected_branches"
        with self._asked(f"change the protection of {ref.name} of {owner.path}"):
            self._client.http_delete(f"{owner.address}/{address}/{quote(ref.name, safe='')}")


def _level(levels: Sequence[Mapping[str, Any]]) -> int:
    """Who may, of a protection's rules: the least level of a role.

    -1 where users or groups are named, which a paid tier alone has: no wanted level is equal.
    Deploy keys that may push in addition are left alone.
    """
    named = [one for one in levels if any(one.get(key) for key in ("user_id", "group_id"))]
    roles = [one for one in levels if one not in named and not one.get("deploy_key_id")]
    if named or not roles:
        return -1
    return min(int(one["access_level"]) for one in roles)
