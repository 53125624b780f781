# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of release_preflight: asks GitLab about each project, and compares a job's claims."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _preflight
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import Project
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import (
    Owner,
    SettingsApi,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_settings import Wanted
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_template import Input
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._preflight import Publisher

SECONDS = 300
"""How long a job that was started may take."""
_PAUSE = 2.0
_OVER = ("success", "failed", "canceled", "skipped")
_JOBS = 100
"""How many of a project's latest jobs are searched."""


class PreflightApi(SettingsApi):
    """What GitLab says of a project's pipelines."""

    def details(self, path: str) -> tuple[Project, _preflight.Project] | None:
        """A project as the API needs it, and as publishers do; None if there is none to see."""
        found = self._found(f"show project {path}", f"/projects/{quote(path, safe='')}")
        if found is None:
            return None
        sub = found.get("ci_id_token_sub_claim_components") or ()
        whole = str(found["path_with_namespace"])
        return (
            Project(int(found["id"]), path, str(found.get("default_branch") or "main")),
            _preflight.Project(
                whole,
                str(found["web_url"]).removesuffix(f"/{whole}"),
                str(found.get("ci_config_path") or ""),
                tuple(str(one) for one in sub),
            ),
        )

    def jobs(self, project: Project) -> list[dict[str, Any]]:
        """Its latest jobs, the newest first."""
        with self._asked(f"list the jobs of {project.path}"):
            # One page: what is older says nothing of the pipeline that is there now.
            found: Any = self._client.http_list(
                f"/projects/{project.id}/jobs", page=1, per_page=_JOBS, get_all=False
            )
        return [dict(one) for one in found]

    def trace(self, project: Project | Owner, job: int) -> str:
        """A job's log."""
        with self._asked(f"show the log of job {job} of {project.path}"):
            answer: Any = self._client.http_get(f"/projects/{project.id}/jobs/{job}/trace")
        text = answer if isinstance(answer, str) else answer.content.decode(errors="replace")
        return str(text)

    def play(self, project: Project, job: int) -> str:
        """Starts a manual job and waits for its end; its state."""
        with self._asked(f"start job {job} of {project.path}"):
            self._client.http_post(f"/projects/{project.id}/jobs/{job}/play")
        end = time.monotonic() + SECONDS
        while True:
            with self._asked(f"show job {job} of {project.path}"):
                found: Any = self._client.http_get(f"/projects/{project.id}/jobs/{job}")
            if found["status"] in _OVER or time.monotonic() > end:
                return str(found["status"])
            time.sleep(_PAUSE)


@dataclass
class Preflight:
    """One run; changes nothing, but may start the jobs that show claims.

    Attributes:
        start: whether such jobs are started where no job has shown its claims.
        lines: what to type into the indexes' forms, and what was compared.
        problems: what keeps a release from being published.
        warnings: what is not known, or is left over.
    """

    api: PreflightApi
    wanted: Sequence[Wanted]
    inputs: Mapping[str, Input]
    start: bool
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Asks about every project with trusted publishing."""
        for one in self.wanted:
            if not one.project:
                self.lines.append(f"{one.name}: a folder, and not a project of this GitLab")
                continue
            if not any(_preflight.uses(given) for given in one.packages):
                self.lines.append(f"{one.name}: publishes with a token; nothing to compare")
                continue
            found = self.api.details(one.project)
            if found is None:
                self.problems.append(
                    f"{one.variable}.project: {self.api.url} has no project {one.project} that "
                    "this token may see"
                )
                continue
            self._project(one, *found)

    def _project(self, one: Wanted, project: Project, seen: _preflight.Project) -> None:
        wrong = list(_preflight.project_problems(one.variable, seen))
        self.problems += wrong
        if wrong:
            return
        jobs = self.api.jobs(project)
        publishers = [
            publisher
            for given in one.packages
            if _preflight.uses(given)
            for publisher in _preflight.publishers(
                seen, given, self.inputs, self._package(project, given)
            )
        ]
        if not publishers:
            self.problems.append(
                f"{one.variable}: auth: trusted without pypi or testpypi as index or test_index"
            )
        agreed = [self._publisher(project, publisher, jobs) for publisher in publishers]
        if agreed and all(agreed):
            needed = [given for given in one.packages if not _preflight.uses(given)]
            self._leftovers(project, publishers, needed)

    def _package(self, project: Project, given: Mapping[str, Any]) -> str:
        folder = str(given.get("package", "."))
        path = "pyproject.toml" if folder == "." else f"{folder}/pyproject.toml"
        file = self.api.file(project, project.default_branch, path)
        return _preflight.package_name(file.content.decode(errors="replace")) if file else ""

    def _publisher(
        self, project: Project, publisher: Publisher, jobs: Sequence[dict[str, Any]]
    ) -> bool:
        """Whether a job's claims were found and agree."""
        self.lines += publisher.lines()
        ours = [job for job in jobs if job["name"] in (publisher.upload, publisher.claims)]
        found = self._shown(project, publisher, ours)
        if found is None and self.start:
            self._start(project, publisher, ours)
            found = self._shown(project, publisher, ours)
        if found is None:
            self.warnings.append(
                f"{publisher.path}: no job has shown its claims for {publisher.index} yet; start "
                f"the job {publisher.claims} of a pipeline of {project.default_branch}, or run "
                "this with -e release_pipeline_preflight_start=true"
            )
            return False
        job, claims = found
        name = f"job {job['id']} ({job['name']})"
        problems = list(
            _preflight.claim_problems(
                publisher, claims, name,
                environment=publisher.same or job["name"] == publisher.upload,
            )
        )  # fmt: skip
        self.problems += problems
        if not problems:
            self.lines.append(f"  The claims of {name} agree.")
        return not problems

    def _shown(
        self, project: Project, publisher: Publisher, jobs: Sequence[Mapping[str, Any]]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
        """The newest job that shows claims for this index, and the claims."""
        for job in jobs:
            if job["status"] in _OVER:
                shown = _preflight.shown_claims(self.api.trace(project, int(job["id"])))
                if publisher.index in shown:
                    return job, shown[publisher.index]
        return None

    def _start(
        self, project: Project, publisher: Publisher, jobs: Sequence[dict[str, Any]]
    ) -> None:
        """Starts the newest job that shows claims, if one waits for that."""
        for job in jobs:
            if (job["name"], job["status"]) == (publisher.claims, "manual"):
                job["status"] = self.api.play(project, int(job["id"]))
                if job["status"] != "success":
                    self.warnings.append(
                        f"{project.path}: job {job['id']} ({job['name']}) was started: "
                        f"{job['status']} after up to {SECONDS} s; read its log"
                    )
                return

    def _leftovers(
        self,
        project: Project,
        publishers: Sequence[Publisher],
        others: Sequence[Mapping[str, Any]],
    ) -> None:
        """Tokens that trusted publishing does not need, nor the project's other packages."""
        scopes = {publisher.environment for publisher in publishers}
        scopes -= {
            str(given.get(name, self.inputs[name].default))
            for given in others
            for name in ("environment", "test_environment")
        }
        for one in self.api.variables(Owner("projects", project.id, project.path)):
            if one["key"] == "TWINE_PASSWORD" and one.get("environment_scope") in scopes:
                self.warnings.append(
                    f"{project.path}: the variable TWINE_PASSWORD ({one['environment_scope']}) is "
                    "not needed any more: after a release with trusted publishing, take it out of "
                    "gitlab_project_projects, run make project with gitlab_project_purge: true, "
                    "and revoke the token at the index"
                )
