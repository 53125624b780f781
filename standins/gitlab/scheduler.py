# SPDX-License-Identifier: GPL-3.0-or-later
"""Which job of a pipeline is next: stages, needs, manual jobs, failures, resource groups.

After GitLab's composite status (lib/gitlab/ci/status/composite.rb), process_build_service.rb,
atomic_processing_service.rb, retry_job_service.rb and reset_skipped_jobs_service.rb.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable

from standins.gitlab.records import (
    ACTIVE,
    CANCELED,
    CANCELING,
    CREATED,
    FAILED,
    FINISHED,
    MANUAL,
    PENDING,
    RUNNING,
    SKIPPED,
    SUCCESS,
    WAITING,
    Job,
    Pipeline,
)
from standins.gitlab.state import State

_WARNING, _IGNORED = "success_with_warnings", "ignored"
COMPLETED = (*FINISHED, SKIPPED)


def composite(jobs: Iterable[Job], *, needed: bool = False) -> str:
    """Return the status of several jobs together; ``needed``: for a job that needs all of them."""
    found = {_counted(job) for job in jobs}

    def only(*names: str) -> bool:
        return found <= set(names)

    if needed and found & {SKIPPED, _IGNORED}:
        return SKIPPED
    if needed and not only(SUCCESS, FAILED, CANCELED, SKIPPED, _WARNING):
        return PENDING
    passed = {_WARNING, _IGNORED}
    rules = (
        ({SKIPPED, _IGNORED}, SKIPPED),
        ({SUCCESS, SKIPPED, *passed}, SUCCESS),
        ({CREATED, *passed}, CREATED),
        ({CANCELED, SUCCESS, SKIPPED, *passed}, CANCELED),
        ({PENDING, CREATED, SKIPPED, *passed}, PENDING),
    )
    for names, status in rules:
        if only(*names):
            return status
    for names, status in (
        ({CANCELING}, CANCELING),
        ({RUNNING, PENDING}, RUNNING),
        ({WAITING}, WAITING),
        ({MANUAL}, MANUAL),
        ({CREATED}, RUNNING),
    ):
        if found & names:
            return status
    return FAILED


def _counted(job: Job) -> str:
    if job.of_pipeline.allow_failure:
        if job.state in (FAILED, CANCELED):
            return _WARNING
        if job.state == MANUAL:
            return _IGNORED
    return job.state


def latest(state: State, pipeline_id: int) -> list[Job]:
    """Return the jobs of a pipeline without those that were retried."""
    return [job for job in state.store.jobs_of(pipeline_id) if not job.of_pipeline.retried]


def status_of(state: State, pipeline: Pipeline) -> str:
    """Return the status of a pipeline."""
    if pipeline.problem:
        return FAILED
    if pipeline.skipped:
        return SKIPPED
    return composite(latest(state, pipeline.id))


def needed_jobs(job: Job, jobs: Iterable[Job], *, artifacts: bool = False) -> list[Job]:
    """Return the jobs that one needs; with ``artifacts`` those whose artifacts it takes."""
    wanted = {
        need["job"]: need for need in job.of_pipeline.needs or []
        if not artifacts or need["artifacts"]
    }  # fmt: skip
    return [
        other
        for other in jobs
        if (need := wanted.get(other.of_pipeline.group)) and _in_matrix(other, need["matrix"])
    ]


def _in_matrix(job: Job, matrix: list[dict[str, object]] | None) -> bool:
    if matrix is None:
        return True
    values = {item["key"]: item["value"] for item in job.of_pipeline.variables}

    def fits(entry: dict[str, object]) -> bool:
        choices = {key: one if isinstance(one, list) else [one] for key, one in entry.items()}
        return all(values.get(key) in [str(one) for one in some] for key, some in choices.items())

    return any(fits(entry) for entry in matrix)


def sources(job: Job, jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs whose artifacts a job takes: by needs, dependencies, or earlier stages."""
    plan = job.of_pipeline
    if plan.needs is not None:
        found = needed_jobs(job, jobs, artifacts=True)
    else:
        found = [other for other in jobs if other.of_pipeline.stage_index < plan.stage_index]
    if plan.sources is not None:
        found = [other for other in found if other.of_pipeline.group in plan.sources]
    return found


def process(state: State, pipeline_id: int) -> None:
    """Start, offer or skip all jobs whose turn it is."""
    moved = True
    while moved:
        jobs = latest(state, pipeline_id)
        moved = False
        for job in sorted(jobs, key=lambda one: (one.of_pipeline.stage_index, one.id)):
            if job.state == CREATED and (before := _before(job, jobs)) in COMPLETED:
                _proceed(state, job, before, jobs)
                moved = True
    assign_resources(state)
    state.store.tick_queue()
    state.changes.tell()


def _before(job: Job, jobs: list[Job]) -> str:
    """The status of what comes before a job."""
    plan = job.of_pipeline
    if plan.needs is not None:
        found = needed_jobs(job, jobs)
        return composite(found, needed=True) if found else SUCCESS
    earlier = [other for other in jobs if other.of_pipeline.stage_index < plan.stage_index]
    return composite(earlier) if earlier else SUCCESS


def _proceed(state: State, job: Job, before: str, jobs: list[Job]) -> None:
    plan = job.of_pipeline
    valid = {
        "on_failure": (FAILED,),
        "always": (SUCCESS, FAILED, SKIPPED),
    }.get(plan.when, (SUCCESS,) if plan.needs is not None else (SUCCESS, SKIPPED))
    if before not in valid:
        job.state = SKIPPED
        state.store.save_job(job)
    elif plan.when == "manual":
        job.state = MANUAL
        state.store.save_job(job)
    else:
        enqueue(state, job, jobs)


def enqueue(state: State, job: Job, jobs: list[Job] | None = None) -> None:
    """Offer a job to runners, once its resource group has room."""
    others = latest(state, job.pipeline_id) if jobs is None else jobs
    job.dependencies = [other.id for other in sources(job, others)]
    job.state = WAITING if job.of_pipeline.resource_group else PENDING
    state.store.save_job(job)


def assign_resources(state: State) -> None:
    """Let the first job of each resource group that waits go on, unless another one has it."""
    jobs = [job for job in state.store.jobs(PENDING, *ACTIVE, WAITING) if job.plan]
    taken = {_resource(job) for job in jobs if job.state != WAITING}
    for job in jobs:
        if job.state == WAITING and _resource(job) not in taken:
            taken.add(_resource(job))
            job.state = PENDING
            state.store.save_job(job)


def _resource(job: Job) -> tuple[int, str]:
    # A job without a group takes nothing from others.
    return (job.project_id, job.of_pipeline.resource_group) if job.of_pipeline.resource_group else (
        -job.id, ""
    )  # fmt: skip


def job_ended(state: State, job: Job) -> None:
    """Go on with a pipeline after one of its jobs has ended."""
    plan = job.plan
    if plan is None:
        return
    if job.state == FAILED:
        if job.exit_code is not None and job.exit_code in plan.exit_codes:
            plan.allow_failure = True
            state.store.save_job(job)
        if plan.attempts > 0:
            retry(state, job, attempts=plan.attempts - 1)
            return
    process(state, job.pipeline_id)


def retry(state: State, job: Job, attempts: int = 0) -> Job:
    """Run a job again, as a new one; jobs that were skipped because of it wait for it again."""
    plan = job.of_pipeline
    plan.retried = True
    state.store.save_job(job)
    kept = ("project_id", "name", "stage", "ref", "ref_type", "sha", "pipeline_id", "timeout",
            "tags", "protected", "steps", "artifacts", "cache", "hooks", "depth",
            "allow_git_fetch")  # fmt: skip
    again = state.store.add_job(
        CREATED,
        plan=dataclasses.replace(plan, retried=False, attempts=attempts),
        **{name: getattr(job, name) for name in kept},
    )
    state.redactor.learn(again.token)
    enqueue(state, again)
    revive(state, again)
    process(state, job.pipeline_id)
    return again


def revive(state: State, job: Job) -> None:
    """Let skipped jobs that depend on one wait for it again."""
    jobs = latest(state, job.pipeline_id)
    again = {job.id}
    for other in sorted(jobs, key=lambda one: (one.of_pipeline.stage_index, one.id)):
        if other.state != SKIPPED:
            continue
        needs = {one.id for one in needed_jobs(other, jobs)}
        later = other.of_pipeline.stage_index > job.of_pipeline.stage_index
        if needs & again or (other.of_pipeline.needs is None and later):
            again.add(other.id)
            other.state, other.finished_at = CREATED, None
            state.store.save_job(other)


def play(state: State, job: Job, variables: list[dict[str, object]]) -> None:
    """Start a manual job by order of a person."""
    job.variables = list(variables)
    enqueue(state, job)
    revive(state, job)
    process(state, job.pipeline_id)


def cancel(state: State, job: Job) -> None:
    """Cancel a job: at once, or through its runner if it runs."""
    if job.state in COMPLETED or job.state == CANCELING:
        return
    if job.state == RUNNING:
        job.state = CANCELING
    else:
        job.state, job.finished_at = CANCELED, time.time()
    state.store.save_job(job)


def cancel_redundant(state: State, newest: Pipeline) -> None:
    """Cancel older pipelines of the same branch or tag, as GitLab does unless told otherwise.

    Not those of the same commit, and none in which a job has begun that is not interruptible
    (cancel_redundant_pipelines_service.rb).
    """
    for pipeline in state.store.pipelines.of(newest.project_id):
        if (
            pipeline.id >= newest.id
            or pipeline.sha == newest.sha
            or (pipeline.ref, pipeline.tag) != (newest.ref, newest.tag)
            or status_of(state, pipeline) in COMPLETED
        ):
            continue
        jobs = latest(state, pipeline.id)
        started = (RUNNING, SUCCESS, FAILED)
        if any(job.state in started and not job.of_pipeline.interruptible for job in jobs):
            continue
        for job in jobs:
            cancel(state, job)
        process(state, pipeline.id)
