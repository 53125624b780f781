# SPDX-License-Identifier: GPL-3.0-or-later
"""What GitLab's API shows of a release: a bounded number of calls, for a token that only reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._preflight_run import PreflightApi

PAGE = 100
JOBS = 300
"""How many jobs of a pipeline are seen."""
RUNNERS = 10
"""How many runners with the tags of a job are asked about."""
_Found = TypeVar("_Found")


class DoctorApi(PreflightApi):
    """One GitLab, for an access token with the scope read_api.

    Attributes:
        unseen: what this token may not see.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.unseen: list[str] = []

    def may(self, what: str, asked: Callable[[], _Found]) -> _Found | None:
        """An answer; None if this token may not have it."""
        try:
            return asked()
        except ApiProblem as problem:
            if not problem.unseen:
                raise
            if what not in self.unseen:
                self.unseen.append(what)
            return None

    def project_details(self, path: str) -> dict[str, Any] | None:
        """A project; None if there is none to see."""
        return self._found(f"show project {path}", f"/projects/{quote(path, safe='')}")

    def ref(self, owner: Owner, name: str, *, tag: bool) -> dict[str, Any] | None:
        """A tag or branch: its commit, and whether it is protected."""
        kind = "tags" if tag else "branches"
        return self._found(
            f"show {name} of {owner.path}",
            f"{owner.address}/repository/{kind}/{quote(name, safe='')}",
        )

    def newest_tags(self, owner: Owner) -> list[str]:
        """Names of some tags, the newest first."""
        found = self._page(
            owner, "list the tags", "repository/tags", 5, query={"order_by": "updated"}
        )
        return [str(one["name"]) for one in found]

    def tags(self, owner: Owner) -> list[str]:
        """Names of all tags."""
        found = self._all(f"list the tags of {owner.path}", f"{owner.address}/repository/tags")
        return [str(one["name"]) for one in found]

    def configuration(self, owner: Owner, path: str, ref: str) -> bool:
        """Whether a commit has a file."""
        address = f"{owner.address}/repository/files/{quote(path, safe='')}"
        return self._found(f"show {path} of {owner.path}", address, ref=ref) is not None

    def pipelines_of(self, owner: Owner, tag: str) -> list[dict[str, Any]]:
        """The newest pipelines of a tag, or of a branch of the same name."""
        return self._page(owner, "list the pipelines", "pipelines", 3, query={"ref": tag})

    def pipeline(self, owner: Owner, number: int) -> dict[str, Any]:
        """A pipeline."""
        found = self._found(
            f"show pipeline {number} of {owner.path}", f"{owner.address}/pipelines/{number}"
        )
        return found or {}

    def pipeline_jobs(self, owner: Owner, number: int) -> list[dict[str, Any]]:
        """The latest run of each of its jobs, in their order."""
        found = [
            job
            for page in range(1, JOBS // PAGE + 1)
            for job in self._page(
                owner, "list the jobs", f"pipelines/{number}/jobs", PAGE, page=page
            )
        ] if number else []  # fmt: skip
        return sorted(found, key=lambda job: int(job["id"]))

    def job(self, owner: Owner, number: int) -> dict[str, Any] | None:
        """A job."""
        return self._found(f"show job {number} of {owner.path}", f"{owner.address}/jobs/{number}")

    def runners_with(self, owner: Owner, tags: Sequence[str]) -> list[dict[str, Any]]:
        """Details of runners that the project may use and that have all of these tags."""
        more = {"tag_list": ",".join(tags)} if tags else {}
        listed = self._page(owner, "list the runners", "runners", PAGE, query=more)
        found = []
        for one in listed[:RUNNERS]:
            details = self.get(int(one["id"]))
            if details is None:
                continue
            has = set(details.get("tag_list") or ())
            if set(tags) <= has and (tags or details.get("run_untagged")):
                found.append(details)
        return found

    def group_variables(self, path: str) -> list[dict[str, Any]]:
        """The variables of a group."""
        address = f"/groups/{quote(path, safe='')}/variables"
        return self._all(f"list the variables of {path}", address)

    def _page(
        self,
        owner: Owner,
        what: str,
        place: str,
        size: int,
        page: int = 1,
        query: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        with self._asked(f"{what} of {owner.path}"):
            found: Any = self._client.http_list(
                f"{owner.address}/{place}", page=page, per_page=size, get_all=False,
                query_data=dict(query or {}),
            )  # fmt: skip
        return [dict(one) for one in found]
