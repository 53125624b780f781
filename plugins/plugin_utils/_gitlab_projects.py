# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's projects API, called from the controller: files, commits, tags, lint of pipelines."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import Api, ApiProblem


@dataclass(frozen=True)
class Project:
    """A project of GitLab."""

    id: int
    path: str
    default_branch: str
    config: str = ""
    """The file of its pipelines, if its settings name one."""


@dataclass(frozen=True)
class File:
    """A file in a repository.

    Attributes:
        content: its bytes.
        commit: the last commit that changed it; empty for a file that is in none.
        executable: its mode.
    """

    content: bytes
    commit: str = ""
    executable: bool = False


class Projects(Api):
    """One GitLab, for an access token with the scope api."""

    def _found(self, what: str, path: str, **query: str) -> dict[str, Any] | None:
        """An object of the API; None if GitLab has none that this token may see."""
        try:
            with self._asked(what):
                answer: Any = self._client.http_get(path, query_data=query)
        except ApiProblem as problem:
            if problem.status == 404:
                return None
            raise
        return dict(answer)

    def project(self, path: str) -> Project | None:
        """A project by its path."""
        found = self._found(f"show project {path}", f"/projects/{quote(path, safe='')}")
        if found is None:
            return None
        # A project without commits may have no default branch yet.
        return Project(
            int(found["id"]),
            path,
            str(found.get("default_branch") or "main"),
            str(found.get("ci_config_path") or ""),
        )

    def has_namespace(self, path: str) -> bool:
        """Whether there is a group, or a user's own place, for projects."""
        return self._namespace(path) is not None

    def _namespace(self, path: str) -> dict[str, Any] | None:
        return self._found(f"show group {path}", f"/namespaces/{quote(path, safe='')}")

    def create_project(self, path: str, visibility: str) -> Project:
        """A new, empty project in a group that exists."""
        place, __, name = path.rpartition("/")
        group = self._namespace(place)
        if group is None:
            raise ApiProblem(f"{self.url} has no group {place} that this token may see", 404)
        body = {"name": name, "path": name, "namespace_id": group["id"], "visibility": visibility}
        with self._asked(f"create project {path}"):
            found: Any = self._client.http_post("/projects", post_data=body)
        return Project(int(found["id"]), path, str(found.get("default_branch") or "main"))

    def has_branch(self, project: Project, name: str) -> bool:
        """Whether a branch exists."""
        path = f"/projects/{project.id}/repository/branches/{quote(name, safe='')}"
        return self._found(f"show branch {name} of {project.path}", path) is not None

    def file(self, project: Project, ref: str, path: str) -> File | None:
        """A file at a branch; None if it is not there, or the branch is not."""
        found = self._found(
            f"show {path} of {project.path}",
            f"/projects/{project.id}/repository/files/{quote(path, safe='')}",
            ref=ref,
        )
        if found is None:
            return None
        return File(
            base64.b64decode(found["content"]),
            str(found["last_commit_id"]),
            bool(found.get("execute_filemode")),
        )

    def commit(
        self,
        project: Project,
        branch: str,
        start: str,
        message: str,
        actions: Sequence[Mapping[str, Any]],
    ) -> str:
        """One commit of several files; its SHA.

        Args:
            project: where.
            branch: the branch that it goes to.
            start: the branch that it begins at, if `branch` does not exist yet; else empty.
            message: of the commit.
            actions: as GitLab's commits API takes them.
        """
        body = {"branch": branch, "commit_message": message, "actions": list(actions)}
        if start:
            body["start_branch"] = start
        path = f"/projects/{project.id}/repository/commits"
        with self._asked(f"commit to branch {branch} of {project.path}"):
            answer: Any = self._client.http_post(path, post_data=body)
        return str(answer["id"])

    def tag(self, project: Project, name: str) -> str:
        """The commit of a tag; empty if there is no such tag."""
        path = f"/projects/{project.id}/repository/tags/{quote(name, safe='')}"
        found = self._found(f"show tag {name} of {project.path}", path)
        return str(found["commit"]["id"]) if found else ""

    def create_tag(self, project: Project, name: str, commit: str) -> None:
        """Tags a commit."""
        path = f"/projects/{project.id}/repository/tags"
        with self._asked(f"create tag {name} of {project.path}"):
            self._client.http_post(path, post_data={"tag_name": name, "ref": commit})

    def protected_tags(self, project: Project) -> list[str]:
        """The names and patterns of its protected tags."""
        with self._asked(f"list the protected tags of {project.path}"):
            answer: Any = self._client.http_list(
                f"/projects/{project.id}/protected_tags", get_all=True, per_page=100
            )
        return [str(one["name"]) for one in answer]

    def serves(self, project: Project, tags: Sequence[str]) -> bool:
        """Whether the project may use a runner with all of these tags (GitLab docs, Runners)."""
        query = {"tag_list": ",".join(tags), "per_page": 1}
        with self._asked(f"list the runners of {project.path}"):
            answer = self._client.http_get(f"/projects/{project.id}/runners", query_data=query)
        return bool(answer)

    def lint(self, project: Project, text: str) -> list[str]:
        """What GitLab says against a pipeline in this project."""
        with self._asked(f"lint a pipeline of {project.path}"):
            answer: Any = self._client.http_post(
                f"/projects/{project.id}/ci/lint", post_data={"content": text}
            )
        if answer["valid"]:
            return []
        return [str(one) for one in answer["errors"]] or ["not valid, without a reason"]
