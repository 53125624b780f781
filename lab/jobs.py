# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushing a project to the lab's GitLab, queueing a job and following it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import services
from lab.checkout import Checkout
from lab.engine import Engine
from lab.places import Lab
from lab.run import LabError
from standins.gitlab.client import JobInfo, LabGitLab, LabGitLabError, ProjectInfo

SCRATCH_PROJECT = "lab/scratch"
"""Where jobs without a project of their own run (they clone nothing)."""
NAMESPACE = "lab"
PICKUP_TIMEOUT = 60.0
"""Seconds beyond a job's own time-out that the runner may take to notice it and to report."""

_COMMIT_TIME = "2020-01-01T00:00:00Z"
_ANSI_RESET = "\x1b[0;m"


def connect(lab: Lab) -> LabGitLab:
    """A client of the lab's GitLab; LabError where the lab is not up."""
    network = Engine().network(lab.network)
    if network is None or not lab.secrets.exists():
        raise LabError(f"lab {lab.name} is not up (python -m lab up)")
    secrets = services.ensure_secrets(lab)
    return LabGitLab(
        services.gitlab_url(str(network.gateway)),
        secrets["lab_secret"],
        secrets["admin_token"],
        lab.ca_file,
    )


def push_folder(gitlab: LabGitLab, folder: Path) -> tuple[ProjectInfo, str]:
    """Push the content of `folder` as the main branch of lab/NAME; returns project and commit.

    A folder that is not a git checkout is committed in a temporary copy,
    always with the same date: the same content is the same commit.
    """
    if not folder.is_dir():
        raise LabError(f"no such project folder: {folder}")
    project = project_at(gitlab, f"{NAMESPACE}/{folder.resolve().name}")
    allow_force_push(gitlab, project)
    with tempfile.TemporaryDirectory(prefix="rh-project-") as scratch:
        checkout = Checkout.copy_of(folder, Path(scratch) / "project")
        checkout.commit(folder.resolve().name, _COMMIT_TIME)
        return project, gitlab.push(project, checkout.folder, "+HEAD:refs/heads/main")


def project_at(gitlab: LabGitLab, path: str) -> ProjectInfo:
    """GitLab's project; created if it is missing."""
    try:
        return gitlab.project(path)
    except LabGitLabError as error:
        if error.status != 404:
            raise
    return gitlab.create_project(path)


def allow_force_push(gitlab: LabGitLab, project: ProjectInfo) -> None:
    """Let a new main branch replace the old one: GitLab protects it after the first push."""
    path = f"/projects/{project.id}/protected_branches/main"
    try:
        gitlab.api("PATCH", path, json={"allow_force_push": True})
    except LabGitLabError as error:
        if error.status != 404:
            raise


def submit(
    lab: Lab,
    script: Sequence[str],
    *,
    project: Path | None = None,
    tags: Sequence[str] = (),
    artifacts: Sequence[str] = (),
    timeout: int = 600,
) -> int:
    """Queue a job and print its trace as it grows; 0 if it succeeds."""
    with connect(lab) as gitlab:
        try:
            if project:
                info, sha = push_folder(gitlab, project)
                job = gitlab.queue_job(
                    info.path, script, ref="main", sha=sha, tags=list(tags), timeout=timeout,
                    artifacts=_archive(artifacts),
                )  # fmt: skip
            else:
                job = gitlab.queue_job(
                    project_at(gitlab, SCRATCH_PROJECT).path, script, tags=list(tags),
                    timeout=timeout, artifacts=_archive(artifacts),
                    variables={"GIT_STRATEGY": "empty"},
                )  # fmt: skip
            print(f"job {job} queued", flush=True)
            done = follow(gitlab, job, timeout, _printer(gitlab, job))
        except LabGitLabError as error:
            raise LabError(str(error)) from error
        why = f" ({done.failure_reason}, exit {done.exit_code})" if done.failure_reason else ""
        print(f"job {job} {done.state}{why}")
        return 0 if done.state == "success" else 1


def _archive(paths: Sequence[str]) -> list[dict[str, object]]:
    return [{"paths": list(paths), "name": "artifacts"}] if paths else []


def follow(
    gitlab: LabGitLab, job: int, timeout: float, on_progress: Callable[[JobInfo], None]
) -> JobInfo:
    """Wait until a job has ended; LabError if no runner takes it."""
    start = time.monotonic()

    def taken(info: JobInfo) -> bool:
        return info.state != "pending"

    try:
        gitlab.wait_for_job(job, taken, PICKUP_TIMEOUT)
    except LabGitLabError as error:
        if error.status:
            raise
        raise LabError(
            f"no runner took job {job} within {PICKUP_TIMEOUT:.0f} s"
            " (is a host provisioned? python -m lab logs gitlab)"
        ) from error
    left = timeout + PICKUP_TIMEOUT - (time.monotonic() - start)
    return gitlab.wait_job(job, left, on_progress)


def _printer(gitlab: LabGitLab, job: int) -> Callable[[JobInfo], None]:
    shown = 0

    def show(info: JobInfo) -> None:
        nonlocal shown
        if info.trace_size > shown:
            trace = gitlab.trace(job)
            print(trace[shown:].replace(_ANSI_RESET, ""), end="", flush=True)
            shown = len(trace)

    return show
