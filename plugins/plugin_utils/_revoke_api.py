# SPDX-License-Identifier: GPL-3.0-or-later
"""What an incident asks of GitLab's API: runners, schedules, pipelines, jobs, deployments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_access import AccessApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_plan import Change

PAGES = 20
"""The most pages, of 100 each, that are read of a project's jobs, and of its deployments."""
# GitLab's app/models/concerns/ci/has_status.rb, CANCELABLE_STATUSES: a manual job is not among
# them, and its pipeline neither.
NOT_OVER = (
    *("created", "waiting_for_resource", "preparing", "waiting_for_callback", "pending"),
    *("running", "scheduled"),
)
MANUAL = "manual"


class RevokeApi(AccessApi):
    """One GitLab, for an access token with the scope api of a maintainer (of groups: owner)."""

    def __init__(self, url: str, token: str, ca_certificate: str, proxy: str) -> None:
        super().__init__(url, token, ca_certificate, proxy, "gitlab_project_api_token")

    def learn(self, values: Iterable[str]) -> None:
        """Keeps values out of all messages."""
        self._secrets |= set(values)

    def tagged_runners(self, owner: Owner, tags: Sequence[str]) -> list[dict[str, Any]]:
        """The runners that serve a project or group and have all of these tags."""
        return self._all(
            f"list the runners of {owner.path}", f"{owner.address}/runners",
            query_data={"tag_list": ",".join(tags)},
        )  # fmt: skip

    def pause(self, number: int, *, paused: bool) -> None:
        """Pauses a runner, or ends that; the jobs that it has go on."""
        with self._asked(f"{'pause' if paused else 'resume'} runner {number}"):
            self._client.http_put(f"/runners/{number}", post_data={"paused": paused})

    def delete_variable(self, owner: Owner, key: str, environment: str) -> None:
        """Deletes a variable; one that is gone is no problem."""
        try:
            self.change_variable(owner, Change("delete", key, environment))
        except ApiProblem as problem:
            if problem.status != 404:
                raise

    def schedules(self, owner: Owner) -> list[dict[str, Any]]:
        """A project's pipeline schedules, with their variables where this token may see them."""
        what, address = f"list the pipeline schedules of {owner.path}", "pipeline_schedules"
        found = []
        for one in self._all(what, f"{owner.address}/{address}"):
            with self._asked(f"show pipeline schedule {one['id']} of {owner.path}"):
                details: Any = self._client.http_get(f"{owner.address}/{address}/{one['id']}")
            found.append(dict(details))
        return found

    def delete_schedule_variable(self, owner: Owner, schedule: int, key: str) -> None:
        """Deletes a variable of a pipeline schedule; one that is gone is no problem."""
        name = quote(key, safe="")
        address = f"{owner.address}/pipeline_schedules/{schedule}/variables/{name}"
        try:
            with self._asked(f"delete {key} of pipeline schedule {schedule} of {owner.path}"):
                self._client.http_delete(address)
        except ApiProblem as problem:
            if problem.status != 404:
                raise

    def pipelines(self, owner: Owner, status: str) -> list[dict[str, Any]]:
        """A project's pipelines of one status, and their child pipelines."""
        what, address = f"list the pipelines of {owner.path}", f"{owner.address}/pipelines"
        try:
            # GitLab lists child pipelines only by their source (merge request 149839).
            return [
                one
                for more in ({}, {"source": "parent_pipeline"})
                for one in self._all(what, address, query_data={"status": status, **more})
            ]
        except ApiProblem as problem:
            # A status that this GitLab does not have yet.
            if problem.status == 400 and "does not have a valid value" in str(problem):
                return []
            raise

    def cancel(self, owner: Owner, number: int) -> None:
        """Cancels the jobs of a pipeline that are not over."""
        with self._asked(f"cancel pipeline {number} of {owner.path}"):
            self._client.http_post(f"{owner.address}/pipelines/{number}/cancel")

    def jobs(self, owner: Owner, since: datetime) -> tuple[list[dict[str, Any]], bool]:
        """A project's jobs that were made since then, the newest first; and whether all."""
        return self._pages(f"list the jobs of {owner.path}", f"{owner.address}/jobs", since, {})

    def deployments(self, owner: Owner, since: datetime) -> tuple[list[dict[str, Any]], bool]:
        """A project's deployments since then: only they tell the environment of a job."""
        query = {"order_by": "updated_at", "sort": "desc", "updated_after": since.isoformat()}
        return self._pages(
            f"list the deployments of {owner.path}", f"{owner.address}/deployments", None, query
        )

    def _pages(
        self, what: str, address: str, since: datetime | None, query: dict[str, str]
    ) -> tuple[list[dict[str, Any]], bool]:
        found: list[dict[str, Any]] = []
        for number in range(1, PAGES + 1):
            with self._asked(what):
                page: Any = self._client.http_list(
                    address, page=number, per_page=100, get_all=False, query_data=query
                )
            found += [dict(one) for one in page]
            if len(page) < 100 or (since and time_of(page[-1]["created_at"]) < since):
                return found, True
        return found, False

    def group_projects(self, owner: Owner) -> list[Owner]:
        """The projects of a group and its subgroups, which get the group's variables."""
        listed = self._all(
            f"list the projects of {owner.path}", f"{owner.address}/projects",
            query_data={"include_subgroups": "true", "with_shared": "false", "simple": "true"},
        )  # fmt: skip
        return [
            Owner("projects", int(one["id"]), str(one["path_with_namespace"])) for one in listed
        ]


def time_of(text: str) -> datetime:
    """A time as GitLab writes it."""
    return datetime.fromisoformat(text)
