# SPDX-License-Identifier: GPL-3.0-or-later
"""Which jobs could have had a token, and on which runner and host they ran. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _project_variables
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_pipelines import Pipeline
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import (
    ProtectedRef,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_api import time_of
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_plan import Reach

_CLAIMS = "claims"
_OVER = ("success", "failed", "canceled")


@dataclass
class Reached:
    """What was found in a project.

    Attributes:
        had: jobs that got the token, the newest first.
        perhaps: jobs of which GitLab does not tell the environment, by name.
    """

    path: str
    had: list[Mapping[str, Any]] = field(default_factory=list)
    perhaps: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """For people."""
        for job in self.had:
            yield f"{self.path}: {_job_line(job)}"
        for name, jobs in self.perhaps.items():
            yield (
                f"{self.path}: {len(jobs)} of {name}, the newest {jobs[0]['web_url']}: GitLab does "
                "not tell their environment; they had the token if .gitlab-ci.yml of their commit "
                "gave them the variable's"
            )


def _job_line(job: Mapping[str, Any]) -> str:
    runner = job.get("runner") or {}
    host = (job.get("runner_manager") or {}).get("system_id")
    where = (
        f"runner {runner['id']} ({runner.get('description')})" if runner else "an unknown runner"
    )
    status = job["status"] if job["status"] in _OVER else "not over"
    started = time_of(str(job["started_at"]))
    return (
        f"job {job['id']} ({job['name']}) of {job['ref']}, started {started:%Y-%m-%d %H:%M:%S}, "
        f"{status}, on {where}, {f'host {host}' if host else 'host not told'}: "
        f"{job['web_url']}"
    )


def reached(
    path: str,
    reaches: Sequence[Reach],
    jobs: Iterable[Mapping[str, Any]],
    deployments: Iterable[Mapping[str, Any]],
    protected: Sequence[ProtectedRef],
    pipeline: Pipeline | None,
    since: datetime,
) -> Reached:
    """The jobs of a project that could have had a token.

    Args:
        path: of the project.
        reaches: who got the variables that were taken out.
        jobs: its jobs.
        deployments: its deployments, which tell the environments of their jobs.
        protected: its protected branches and tags, as they are now.
        pipeline: its release pipeline, if the inventory knows one.
        since: jobs that began before are left out.
    """
    environments = _of_pipeline(pipeline)
    every = {int(job["id"]): job for job in jobs}
    deployed = {}
    for one in deployments:
        job = one.get("deployable")
        if job:
            every.setdefault(int(job["id"]), job)
            deployed[int(job["id"])] = str(one["environment"]["name"])
    found = Reached(path)
    for number, job in sorted(every.items(), reverse=True):
        if not job.get("started_at") or time_of(str(job["started_at"])) < since:
            continue
        environment = deployed.get(number, environments.get(str(job["name"])))
        answers = [_takes(one, job, environment, protected) for one in reaches]
        if True in answers:
            found.had.append(job)
        elif None in answers:
            found.perhaps.setdefault(str(job["name"]), []).append(job)
    return found


def _of_pipeline(pipeline: Pipeline | None) -> dict[str, str]:
    """Environments by the names of jobs; the job that shows claims makes no deployment."""
    found = {}
    for name, environment in sorted(pipeline.uploads if pipeline else ()):
        found[name] = environment
        if name.endswith("-publish"):
            found[f"{name.removesuffix('publish')}{_CLAIMS}"] = environment
    return found


def _takes(
    reach: Reach,
    job: Mapping[str, Any],
    environment: str | None,
    protected: Sequence[ProtectedRef],
) -> bool | None:
    ref = str(job["ref"])
    if reach.schedule_ref:
        scheduled = (job.get("pipeline") or {}).get("source") == "schedule"
        return scheduled and ref == reach.schedule_ref
    answers = [reach.takes(environment)]
    if reach.protected:
        answers.append(_is_protected(job, protected))
    if False in answers:
        return False
    return None if None in answers else True


def _is_protected(job: Mapping[str, Any], protected: Sequence[ProtectedRef]) -> bool | None:
    """Whether a job's ref is protected; None for a merge request, which depends on two."""
    if str(job["ref"]).startswith("refs/merge-requests/"):
        return None
    return any(
        (rule.merge is None) == bool(job["tag"])
        and _project_variables.covers(rule.name, str(job["ref"]))
        for rule in protected
    )
