# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer to a job request, with the JSON types that the runner's decoder insists on.

A wrong type loses the job (gitlab-runner 19.3, common/spec/spec.go): the server believes that it
runs, the runner has dropped it. So every value is given its type here, in one place.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from standins.gitlab.ci_settings import settings_of
from standins.gitlab.ci_variables import expanded, predefined, slug, variable
from standins.gitlab.oidc import id_tokens
from standins.gitlab.records import Job, Pipeline, Plan, Project, Runner
from standins.gitlab.runners_api import timestamp
from standins.gitlab.settings import Settings
from standins.gitlab.store import Store

FAILURE_REASONS = [
    "unknown_failure",
    "script_failure",
    "api_failure",
    "stuck_or_timeout_failure",
    "runner_system_failure",
    "runner_unsupported",
    "job_execution_timeout",
    "image_pull_failure",
    "configuration_error",
]


def repository_url(settings: Settings, project: Project, credentials: str = "") -> str:
    """Return the clone address, with ``user:password`` in it when given."""
    parts = urlsplit(settings.external_url)
    host = f"{credentials}@{parts.netloc}" if credentials else parts.netloc
    return urlunsplit((parts.scheme, host, f"{parts.path}/{project.path}.git", "", ""))


def job_payload(store: Store, settings: Settings, job: Job, runner: Runner) -> dict[str, Any]:
    """Return the payload of a job for the runner that has just taken it."""
    project = store.project(job.project_id)
    assert project is not None, "a job's project is never deleted"
    timeout = min(job.timeout, runner.maximum_timeout or job.timeout)
    url = repository_url(settings, project, f"gitlab-ci-token:{job.token}")
    variables = _variables(store, settings, job, runner, project, url, timeout)
    depth = _depth(job, variables)
    payload: dict[str, Any] = {
        "id": job.id,
        "token": job.token,
        "allow_git_fetch": job.allow_git_fetch,
        "job_info": {
            "id": job.id,
            "name": job.name,
            "stage": job.stage,
            "pipeline_id": job.pipeline_id,
            "project_id": project.id,
            "project_name": project.name,
            "project_full_path": project.path,
            "namespace_id": 1,
            "root_namespace_id": 1,
            "organization_id": 1,
            "instance_id": "lab",
            "instance_uuid": "lab",
            "user_id": 1,
            "time_in_queue_seconds": max(0.0, (job.started_at or 0.0) - job.created_at),
            # A string, and "+Inf" where GitLab does not count: an integer loses the job.
            "project_jobs_running_on_instance_runners_count": "+Inf",
            "queue_size": 0,
            "queue_depth": 0,
        },
        "git_info": {
            "repo_url": url,
            "repo_object_format": "sha1",
            "ref": job.ref,
            "sha": job.sha,
            "before_sha": "0" * 40,
            "ref_type": job.ref_type,
            "refspecs": _refspecs(job, depth),
            "depth": depth,
            "protected": job.protected,
        },
        "runner_info": {"timeout": timeout, "runner_session_url": None},
        "inputs": [],
        "variables": variables,
        "steps": job.steps,
        "image": None,
        "services": [],
        "artifacts": job.artifacts,
        "cache": job.cache,
        "credentials": [],
        "dependencies": [
            dependency for key in job.dependencies if (dependency := _dependency(store, key))
        ],
        "features": {
            "trace_sections": True,
            "token_mask_prefixes": ["glpat-", "glcbt-", "glrt-"],
            "failure_reasons": FAILURE_REASONS,
        },
        "hooks": job.hooks,
        "policy_options": {"execution_policy_job": False, "policy_name": ""},
    }
    payload.update(job.payload_overrides)
    return payload


def _depth(job: Job, variables: list[dict[str, Any]]) -> int:
    """The depth of the clone: a pipeline's job may say it with GIT_DEPTH."""
    said = next((one["value"] for one in reversed(variables) if one["key"] == "GIT_DEPTH"), "")
    return int(said) if job.plan and said.isdecimal() else job.depth


def _refspecs(job: Job, depth: int) -> list[str]:
    """What the runner fetches; without a depth, all branches and tags (build_runner_presenter)."""
    own = f"+refs/pipelines/{job.pipeline_id}:refs/pipelines/{job.pipeline_id}"
    branches, tags = "+refs/heads/{0}:refs/remotes/origin/{0}", "+refs/tags/{0}:refs/tags/{0}"
    if depth == 0 and job.plan:
        return [own, branches.format("*"), tags.format("*")]
    return [own, (branches if job.ref_type == "branch" else tags).format(job.ref)]


def _dependency(store: Store, job_id: int) -> dict[str, Any] | None:
    job = store.job(job_id)
    archive = next((up for up in job.uploads if up["type"] == "archive"), None) if job else None
    if job is None or archive is None:
        return None
    return {
        "id": job.id,
        "token": job.token,
        "name": job.name,
        "artifacts_file": {"filename": archive["filename"], "size": archive["size"]},
    }


def _variables(
    store: Store,
    settings: Settings,
    job: Job,
    runner: Runner,
    project: Project,
    url: str,
    timeout: int,
) -> list[dict[str, Any]]:
    """Return all variables of a job, in GitLab's order: the last of a name counts."""
    pipeline = store.pipelines.get(job.pipeline_id) or Pipeline(
        id=job.pipeline_id, project_id=project.id, iid=job.pipeline_id, ref=job.ref,
        tag=job.ref_type == "tag", sha=job.sha, before_sha="0" * 40, source="push",
        protected=job.protected, created_at=job.created_at,
    )  # fmt: skip
    plan = job.plan
    public = {
        **predefined(settings, project, pipeline),
        "CI_JOB_ID": str(job.id),
        "CI_JOB_URL": f"{settings.external_url}/{project.path}/-/jobs/{job.id}",
        "CI_JOB_NAME": job.name,
        "CI_JOB_NAME_SLUG": slug(job.name),
        "CI_JOB_STAGE": job.stage,
        "CI_JOB_STARTED_AT": timestamp(job.started_at) or "",
        "CI_JOB_TIMEOUT": str(timeout),
        "CI_NODE_TOTAL": str(plan.total if plan else 1),
        "CI_RUNNER_ID": str(runner.id),
        "CI_RUNNER_DESCRIPTION": runner.description,
        "CI_RUNNER_TAGS": "[" + ", ".join(f'"{tag}"' for tag in runner.tag_list) + "]",
    }
    secret = {
        "CI_JOB_TOKEN": job.token,
        "CI_BUILD_TOKEN": job.token,
        "CI_REPOSITORY_URL": url,
    }
    variables = [variable(key, value) for key, value in public.items()]
    variables += [variable("CI_REGISTRY_USER", "gitlab-ci-token")]
    # The URL holds the token, which is masked by itself; GitLab does not mask the URL as a whole.
    variables += [
        variable(key, value, public=False, masked=key != "CI_REPOSITORY_URL")
        for key, value in secret.items()
    ]
    if plan:
        variables += [variable(key, value) for key, value in _of_plan(plan).items()]
        variables += id_tokens(settings, job, pipeline, project, runner, timeout)
        variables += [dict(item) for item in plan.variables]
    for key in job.dependencies:
        if dependency := store.job(key):
            variables += [dict(item) for item in dependency.dotenv]
    if plan:
        variables += settings_of(store, project, pipeline.protected, plan.environment)
    variables += [dict(item) for item in (*pipeline.variables, *job.variables)]
    return expanded(variables) if plan else variables


def _of_plan(plan: Plan) -> dict[str, str]:
    """GitLab's own variables of a pipeline's job."""
    found = {"CI_JOB_GROUP_NAME": plan.group}
    if plan.index:
        found["CI_NODE_INDEX"] = str(plan.index)
    if plan.when == "manual":
        found["CI_JOB_MANUAL"] = "true"
    if plan.environment:
        found |= {
            "CI_ENVIRONMENT_NAME": plan.environment,
            "CI_ENVIRONMENT_SLUG": slug(plan.environment)[:24],
            "CI_ENVIRONMENT_ACTION": "start",
        }
    return found
