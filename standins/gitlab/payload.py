# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer to a job request, with the JSON types that the runner's decoder insists on.

A wrong type loses the job (gitlab-runner 19.3, common/spec/spec.go): the server believes that it
runs, the runner has dropped it. So every value is given its type here, in one place.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from standins.gitlab.runners_api import timestamp
from standins.gitlab.settings import Settings
from standins.gitlab.store import Job, Project, Runner, Store

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
    branch = job.ref_type == "branch"
    kind = "heads" if branch else "tags"
    target = f"refs/remotes/origin/{job.ref}" if branch else f"refs/tags/{job.ref}"
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
            "refspecs": [
                f"+refs/pipelines/{job.pipeline_id}:refs/pipelines/{job.pipeline_id}",
                f"+refs/{kind}/{job.ref}:{target}",
            ],
            "depth": job.depth,
            "protected": job.protected,
        },
        "runner_info": {"timeout": timeout, "runner_session_url": None},
        "inputs": [],
        "variables": _variables(store, settings, job, runner, project, url, timeout),
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
    base = settings.external_url
    parts = urlsplit(base)
    major, minor, patch = [*settings.gitlab_version.split("-")[0].split("."), "0", "0"][:3]
    public = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_SERVER_URL": base,
        "CI_SERVER_HOST": parts.hostname or "",
        "CI_SERVER_PORT": str(parts.port or {"http": 80, "https": 443}.get(parts.scheme, 443)),
        "CI_SERVER_PROTOCOL": parts.scheme,
        "CI_SERVER_NAME": "GitLab",
        "CI_SERVER_VERSION": settings.gitlab_version,
        "CI_SERVER_VERSION_MAJOR": major,
        "CI_SERVER_VERSION_MINOR": minor,
        "CI_SERVER_VERSION_PATCH": patch,
        "CI_API_V4_URL": f"{base}/api/v4",
        "CI_JOB_ID": str(job.id),
        "CI_JOB_URL": f"{base}/{project.path}/-/jobs/{job.id}",
        "CI_JOB_NAME": job.name,
        "CI_JOB_STAGE": job.stage,
        "CI_JOB_STARTED_AT": timestamp(job.started_at) or "",
        "CI_JOB_TIMEOUT": str(timeout),
        "CI_NODE_TOTAL": "1",
        "CI_PIPELINE_ID": str(job.pipeline_id),
        "CI_PIPELINE_IID": str(job.pipeline_id),
        "CI_PIPELINE_SOURCE": "push",
        "CI_PIPELINE_URL": f"{base}/{project.path}/-/pipelines/{job.pipeline_id}",
        "CI_PROJECT_ID": str(project.id),
        "CI_PROJECT_NAME": project.name,
        "CI_PROJECT_TITLE": project.name,
        "CI_PROJECT_PATH": project.path,
        "CI_PROJECT_PATH_SLUG": _slug(project.path),
        "CI_PROJECT_NAMESPACE": project.namespace,
        "CI_PROJECT_ROOT_NAMESPACE": project.path.split("/", 1)[0],
        "CI_PROJECT_URL": f"{base}/{project.path}",
        "CI_PROJECT_VISIBILITY": "private",
        "CI_DEFAULT_BRANCH": project.default_branch,
        "CI_COMMIT_SHA": job.sha,
        "CI_COMMIT_SHORT_SHA": job.sha[:8],
        "CI_COMMIT_BEFORE_SHA": "0" * 40,
        "CI_COMMIT_REF_NAME": job.ref,
        "CI_COMMIT_REF_SLUG": _slug(job.ref),
        "CI_COMMIT_REF_PROTECTED": "true" if job.protected else "false",
        "CI_RUNNER_ID": str(runner.id),
        "CI_RUNNER_DESCRIPTION": runner.description,
        "CI_RUNNER_TAGS": "[" + ", ".join(f'"{tag}"' for tag in runner.tag_list) + "]",
        "GITLAB_USER_ID": "1",
        "GITLAB_USER_LOGIN": "root",
    }
    public["CI_COMMIT_BRANCH" if job.ref_type == "branch" else "CI_COMMIT_TAG"] = job.ref
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
    for key in job.dependencies:
        if dependency := store.job(key):
            variables += [dict(item) for item in dependency.dotenv]
    return variables + [dict(item) for item in job.variables]


def variable(
    key: str,
    value: str,
    *,
    public: bool = True,
    masked: bool = False,
    file: bool = False,
    raw: bool = False,
) -> dict[str, Any]:
    """Return one variable of a payload."""
    return {
        "key": key,
        "value": value,
        "public": public,
        "masked": masked,
        "file": file,
        "raw": raw,
    }


def _slug(text: str) -> str:
    slug = "".join(char if char.isascii() and char.isalnum() else "-" for char in text.lower())
    return slug[:63].strip("-")
