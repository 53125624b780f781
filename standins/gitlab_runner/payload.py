# SPDX-License-Identifier: GPL-3.0-or-later
"""The types in a job's payload that the real program's decoder asks for."""

from __future__ import annotations

from typing import Any


def check_types(job: dict[str, Any]) -> None:
    """Refuse what the real one's decoder refuses; TypeError names the field."""

    def want(value: object, types: tuple[type, ...], name: str) -> None:
        wrong_bool = isinstance(value, bool) and bool not in types
        if value is not None and (not isinstance(value, types) or wrong_bool):
            kind = type(value).__name__
            raise TypeError(f"json: cannot unmarshal {kind} into Go struct field Job.{name}")

    want(job.get("id"), (int,), "id")
    want(job.get("token"), (str,), "token")
    want(job.get("image"), (dict,), "image")
    for name in ("variables", "steps", "artifacts", "cache", "dependencies", "services"):
        want(job.get(name), (list,), name)
        for item in job.get(name) or []:
            want(item, (dict,), name)
    info = job.get("job_info") or {}
    want(info, (dict,), "job_info")
    for name in ("project_id", "pipeline_id", "user_id", "queue_size", "queue_depth"):
        want(info.get(name), (int,), f"job_info.{name}")
    for name in (
        "name",
        "stage",
        "project_name",
        "project_full_path",
        "instance_id",
        "project_jobs_running_on_instance_runners_count",
    ):
        want(info.get(name), (str,), f"job_info.{name}")
    git = job.get("git_info") or {}
    for name in ("repo_url", "ref", "sha", "before_sha", "ref_type"):
        want(git.get(name), (str,), f"git_info.{name}")
    want(git.get("depth"), (int,), "git_info.depth")
    for item in job.get("variables") or []:
        for name in ("key", "value"):
            want(item.get(name), (str,), f"variables.{name}")
        for name in ("public", "file", "masked", "raw"):
            want(item.get(name), (bool,), f"variables.{name}")
    for item in job.get("steps") or []:
        want(item.get("script"), (list,), "steps.script")
        for line in item.get("script") or []:
            want(line, (str,), "steps.script")
        want(item.get("timeout"), (int,), "steps.timeout")
    if "run" in job:
        want(job["run"] if job["run"] is not None else 0, (str,), "run")
