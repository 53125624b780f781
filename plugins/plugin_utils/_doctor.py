# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a tag or a job has led to no release, by GitLab's API and the logs of its jobs.

Statuses and reasons after the GitLab docs, "Jobs API" and "Pipelines API", and GitLab's
app/models/concerns/enums/ci/commit_status.rb.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _doctor_variables
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._doctor_api import DoctorApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._doctor_variables import Holder
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_pipelines import Pipelines
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._symptoms import (
    HEALTHY,
    UNKNOWN,
    Verdict,
    diagnose,
    particular,
    shortened,
    verdict,
)

LOGS = 10
"""How many logs of a pipeline's failed jobs are read."""
_UPLOADS = re.compile(r"publish|upload|deploy|twine", re.IGNORECASE)
# A job of the component that uploads nothing, but says why nothing is.
_GUARD = "tag-not-protected"
_GOES_ON = ("created", "preparing", "pending", "running", "waiting_for_callback", "scheduled")
_REASONS = {
    "stuck_or_timeout_failure": "not_taken_in_time",
    "no_matching_runner": "no_runner",
    "job_execution_timeout": "job_timeout",
    "runner_system_failure": "runner_failed",
    "data_integrity_failure": "runner_failed",
    "failed_outdated_deployment_job": "outdated",
    "forward_deployment_failure": "outdated",
    "protected_environment_failure": "environment_protected",
}
_NO_CONFIGURATION = ".gitlab-ci.yml"


@dataclass
class Doctor:
    """One question about a project.

    Attributes:
        pipelines: what the inventory says of release pipelines.
        details: GitLab's answer about the project.
    """

    api: DoctorApi
    owner: Owner
    details: Mapping[str, Any]
    pipelines: Pipelines
    _runners: dict[tuple[frozenset[str], bool], list[Verdict]] = field(default_factory=dict)
    _variables: list[Holder] = field(default_factory=list)

    def of_tag(self, name: str) -> list[Verdict]:
        """Why a tag has led to no release; the first cause first."""
        tag = self.api.ref(self.owner, name, tag=True)
        if tag is None:
            return [verdict("no_tag", *self._other_tags(name))]
        commit, protected = str(tag["commit"]["id"]), bool(tag.get("protected"))
        pipeline = self._pipeline(name)
        if pipeline is None:
            return self._without_pipeline(name, commit, protected)
        shown = f"GitLab: pipeline {pipeline['id']}"
        found = []
        if pipeline["sha"] != commit:
            words = f"of commit {pipeline['sha'][:8]}; tag {name} is {commit[:8]}"
            found.append(verdict("tag_moved", f"{shown}: {words}"))
        if pipeline.get("yaml_errors"):
            words = shortened(str(pipeline["yaml_errors"]))
            return [*found, verdict("configuration_invalid", f"{shown}: yaml_errors: {words}")]
        jobs = self.api.pipeline_jobs(self.owner, int(pipeline["id"]))
        if not jobs and pipeline["status"] == "skipped":
            return [*found, verdict("pipeline_skipped", f"{shown}: status: skipped")]
        found += self._of_uploads(name, jobs, shown, protected)
        for job in _in_the_way(jobs):
            # What that one says is said already.
            if protected or not str(job["name"]).endswith(_GUARD):
                found += self._of_job(job, protected)
        return self._whole(found, jobs, shown, str(pipeline["status"]))

    def of_job(self, number: int) -> list[Verdict]:
        """Why a job has failed or waits."""
        job = self.api.job(self.owner, number)
        if job is None:
            return [
                Verdict(
                    UNKNOWN, "The project has no such job.",
                    (f"GitLab: {self.owner.path} has no job {number} that this token may see",),
                    (), "check its number, and that the project is the job's",
                )
            ]  # fmt: skip
        ref = self.api.ref(self.owner, str(job["ref"]), tag=bool(job.get("tag")))
        found = list(self._of_job(job, bool(ref and ref.get("protected"))))
        return self._whole(found, [job], f"GitLab: {_named(job)}", str(job["status"]))

    def _other_tags(self, name: str) -> Iterator[str]:
        yield f"GitLab: {self.owner.path} has no tag {name}"
        tags = self.api.newest_tags(self.owner)
        yield f"GitLab: its newest tags: {', '.join(tags) or 'none'}"
        if origin := self.details.get("forked_from_project"):
            yield f"GitLab: it is a fork of {origin['path_with_namespace']}"

    def _pipeline(self, tag: str) -> dict[str, Any] | None:
        """A tag's newest pipeline."""
        for one in self.api.pipelines_of(self.owner, tag):
            details = self.api.pipeline(self.owner, int(one["id"]))
            if details.get("tag"):
                return details
        return None

    def _without_pipeline(self, tag: str, commit: str, protected: bool) -> list[Verdict]:
        shown = f"GitLab: tag {tag} ({commit[:8]}) has no pipeline"
        if self.details.get("builds_access_level") == "disabled":
            found = [verdict("ci_disabled", shown, "GitLab: builds_access_level: disabled")]
        else:
            path = self.owner.config_path or _NO_CONFIGURATION
            elsewhere = "@" in path or "://" in path
            if elsewhere or self.api.configuration(self.owner, path, commit):
                found = [verdict("no_pipeline", shown, f"GitLab: the commit has {path}")]
            else:
                found = [verdict("no_ci_file", shown, f"GitLab: the commit has no {path}")]
        if not protected:
            found.append(verdict("tag_not_protected", f"GitLab: tag {tag}: protected: false"))
        return found

    def _of_uploads(
        self, tag: str, jobs: Sequence[Mapping[str, Any]], shown: str, protected: bool
    ) -> Iterator[Verdict]:
        """About the jobs that a pipeline has, and those that it lacks."""
        uploads = [job for job in jobs if _is_upload(job)]
        guarded = any(str(job["name"]).endswith(_GUARD) for job in jobs)
        if not protected and (guarded or not uploads):
            yield verdict("tag_not_protected", f"GitLab: tag {tag}: protected: false")
        elif not uploads:
            names = ", ".join(str(job["name"]) for job in jobs)
            yield verdict("nothing_publishes", shortened(f"{shown}: its jobs: {names}"))

    def _of_job(self, job: Mapping[str, Any], protected: bool) -> Iterator[Verdict]:
        status, shown = str(job["status"]), f"GitLab: {_named(job)}"
        if status == "failed":
            yield from self._of_failed(job, protected)
        elif status in ("canceled", "canceling"):
            yield verdict("canceled", f"{shown}: status: {status}")
        elif status == "pending":
            yield from self._of_runners(job, protected)
        elif status == "waiting_for_resource":
            yield verdict("resource_taken", f"{shown}: status: {status}")
        elif status == "manual" and _is_upload(job):
            yield verdict("waits_for_person", f"{shown}: status: manual")

    def _of_failed(self, job: Mapping[str, Any], protected: bool) -> Iterator[Verdict]:
        reason = str(job.get("failure_reason") or "")
        known = _REASONS.get(reason, "")
        shown = f"GitLab: {_named(job)}: failure_reason: {reason}"
        if known in ("not_taken_in_time", "no_runner"):
            yield verdict(known, shown)
            yield from self._of_runners(job, protected)
            return
        text = self.api.may("logs of jobs", lambda: self.api.trace(self.owner, int(job["id"])))
        said = diagnose(text, _named(job)) if text is not None else []
        said = [one for one in said if one.id not in (HEALTHY, UNKNOWN if known else HEALTHY)]
        if known and all(one.general for one in said):
            yield verdict(known, shown)
        for one in said:
            yield self._with_variables(one, job, protected)
        if not known and not said:
            yield Verdict(
                UNKNOWN, "A job has failed for a reason that is not known here.", (shown,), (),
                f"read its log: {job.get('web_url', '')}",
            )  # fmt: skip

    def _with_variables(self, found: Verdict, job: Mapping[str, Any], protected: bool) -> Verdict:
        """A verdict about a token, with what GitLab has as the job's variable."""
        if found.id not in ("variable_empty", "token_refused"):
            return found
        path = self.owner.path
        asked = _doctor_variables.Asked(
            _doctor_variables.key_in(found.evidence),
            _doctor_variables.environment_of(str(job["name"]), path, self.pipelines),
            protected,
        )
        return _doctor_variables.explained(found, asked, self._held())

    def _held(self) -> list[Holder]:
        """The project and its groups with their variables, None for those that are not seen."""
        if not self._variables:
            namespace = self.details.get("namespace") or {}
            group = str(namespace.get("full_path", "")) if namespace.get("kind") == "group" else ""
            path = self.owner.path
            own = self.api.may(f"variables of {path}", lambda: self.api.variables(self.owner))
            self._variables.append((path, own))
            while group:
                self._variables.append((group, self._of_group(group)))
                group = group.rpartition("/")[0]
        return self._variables

    def _of_group(self, path: str) -> list[dict[str, Any]] | None:
        return self.api.may(f"variables of {path}", lambda: self.api.group_variables(path))

    def _of_runners(self, job: Mapping[str, Any], protected: bool) -> list[Verdict]:
        """Why no runner takes a job."""
        tags = frozenset(map(str, job.get("tag_list") or ()))
        if (tags, protected) not in self._runners:
            self._runners[tags, protected] = list(self._ask_runners(job, sorted(tags), protected))
        return self._runners[tags, protected]

    def _ask_runners(
        self, job: Mapping[str, Any], tags: Sequence[str], protected: bool
    ) -> Iterator[Verdict]:
        waits = f"GitLab: {_named(job)}: status: {job['status']}; tags: {', '.join(tags) or 'none'}"
        found = self.api.may(
            "runners of the project", lambda: self.api.runners_with(self.owner, tags)
        )
        if found is None:
            yield Verdict(
                UNKNOWN, "A job waits for a runner.", (waits,), (),
                "show the runners with the token of a maintainer of the project",
            )  # fmt: skip
            return
        if not found:
            yield verdict("no_runner", waits)
            return
        why = [_runner_problem(one, protected) for one in found]
        if any(not name for name, __ in why):
            yield verdict("runner_busy", waits, *(said for name, said in why if not name))
            return
        for name in dict.fromkeys(name for name, __ in why):
            yield verdict(name, waits, *(said for other, said in why if other == name))

    def _whole(
        self, found: Sequence[Verdict], jobs: Sequence[Mapping[str, Any]], shown: str, status: str
    ) -> list[Verdict]:
        """Each verdict once; or that all is well, or goes on, or nothing is known."""
        merged: dict[str, Verdict] = {}
        for one in found:
            before = merged.get(one.id, replace(one, evidence=()))
            evidence = tuple(dict.fromkeys((*before.evidence, *one.evidence)))
            merged[one.id] = replace(before, evidence=evidence)
        if merged:
            return particular(list(merged.values()))
        if any(job["status"] in _GOES_ON for job in jobs):
            return [verdict("not_over", f"{shown}: status: {status}")]
        if status in ("success", "manual"):
            done = [_named(job) for job in jobs if _is_upload(job)] or [shown]
            return [
                Verdict(
                    HEALTHY, "The release has been published; no job has failed.",
                    tuple(f"GitLab: {one.removeprefix('GitLab: ')}: success" for one in done),
                )
            ]  # fmt: skip
        return [
            Verdict(
                UNKNOWN, "GitLab shows nothing that is known here.",
                (f"{shown}: status: {status}",), (), "look at the pipeline in GitLab",
            )
        ]  # fmt: skip


def _in_the_way(jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that have failed or wait, failures first, and no more of them than are read."""
    failed = [
        job
        for job in jobs
        if job["status"] == "failed" and (_is_upload(job) or not job["allow_failure"])
    ]
    others = [job for job in jobs if job["status"] not in ("failed", "success")]
    return [*failed[:LOGS], *others]


def _named(job: Mapping[str, Any]) -> str:
    return f"job {job['id']} ({job['name']})"


def _is_upload(job: Mapping[str, Any]) -> bool:
    name = str(job["name"])
    return bool(_UPLOADS.search(name)) and not name.endswith(_GUARD)


def _runner_problem(runner: Mapping[str, Any], protected: bool) -> tuple[str, str]:
    """Why a runner takes no job, and what shows it; an empty name for one that may take it."""
    shown = f"GitLab: runner {runner['id']} ({runner.get('description') or 'no description'})"
    if runner.get("paused"):
        return "runner_paused", f"{shown}: paused: true"
    if runner.get("access_level") == "ref_protected" and not protected:
        return "runner_protected", f"{shown}: access_level: ref_protected"
    status, seen = str(runner.get("status")), runner.get("contacted_at") or "never"
    name = "" if status == "online" else "runner_offline"
    return name, f"{shown}: status: {status}; last contact: {seen}"
