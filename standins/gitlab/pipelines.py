# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipelines are made from the .gitlab-ci.yml of a commit: after a push, or by order of the API.

GitLab answers a push before it makes the pipeline, and so does this.
"""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Sequence
from typing import Any

from standins.gitlab import scheduler
from standins.gitlab.ci_settings import settings_of
from standins.gitlab.ci_variables import predefined
from standins.gitlab.compiler import Compiler, JobConfig, Source
from standins.gitlab.components import ConfigError
from standins.gitlab.definition import definition
from standins.gitlab.environments_api import ensure_environment
from standins.gitlab.includes import CONFIG, Includes
from standins.gitlab.payload import repository_url
from standins.gitlab.protection import ZEROS, Change, is_protected
from standins.gitlab.records import CREATED, Pipeline, Project
from standins.gitlab.repository import Repository
from standins.gitlab.state import State

_SKIP = re.compile(r"\[(ci[ _-]skip|skip[ _-]ci)\]", re.IGNORECASE)
_REFS_OF_A_PUSH = 4
NO_JOBS = (
    "Pipeline will not run for the selected trigger. The rules configuration prevented any jobs "
    "from being added to the pipeline."
)
FILTERED = "Pipeline filtered out by workflow rules."


class NoPipelineError(Exception):
    """There is no pipeline for this commit, and why."""


def pushed(
    state: State,
    project: Project,
    changes: Sequence[Change],
    user: str = "root",
    skip: bool = False,
) -> None:
    """Make the pipelines of a push, after it was answered.

    ``skip``: skipped ones, as the push option ci.skip asks (lib/gitlab/ci/pipeline/chain/skip.rb).
    """
    changes = [change for change in changes if change.after != ZEROS]
    for change in changes:
        _protect_default_branch(state, project, change)
    state.changes.tell()
    if changes:
        state.later(_after_push(state, project, changes[:_REFS_OF_A_PUSH], user, skip))


def _protect_default_branch(state: State, project: Project, change: Change) -> None:
    """The first push of the default branch protects it, as GitLab does unless told otherwise."""
    name = project.default_branch
    first = change.ref == f"refs/heads/{name}" and change.before == ZEROS
    if first and not is_protected(state.store, project, name, tag=False):
        state.store.protected_refs.add(project_id=project.id, tag=False, name=name)


async def _after_push(
    state: State, project: Project, changes: Sequence[Change], user: str, skip: bool
) -> None:
    for change in changes:
        try:
            await create(state, project, change, "push", user, skip=skip)
        except (NoPipelineError, ConfigError):
            continue
        except Exception:
            # Nobody waits for the answer: the server's log has it.
            traceback.print_exc()


async def create(
    state: State,
    project: Project,
    change: Change,
    source: str,
    user: str,
    variables: Sequence[dict[str, Any]] = (),
    *,
    skip: bool = False,
) -> Pipeline:
    """Make a pipeline; ConfigError for a bad configuration, which leaves a failed one."""
    async with state.compiling:
        repository = Repository(state.store.repository(project))
        sha = repository.commit_of(change.after)
        if not sha or not repository.blob(sha, CONFIG):
            raise NoPipelineError("Missing CI config file")
        about = repository.about(sha)
        fields: dict[str, Any] = {
            "id": state.store.next_pipeline_id(),
            "project_id": project.id,
            "iid": len(state.store.pipelines.of(project.id)) + 1,
            "ref": change.name,
            "tag": change.tag,
            "sha": sha,
            "before_sha": ZEROS if change.tag or source != "push" else change.before,
            "source": source,
            "user": user,
            "protected": is_protected(state.store, project, change.name, tag=change.tag),
            "variables": [dict(one) for one in variables],
            "commit": about,
        }
        if skip or _SKIP.search(about["CI_COMMIT_MESSAGE"]):
            return state.store.pipelines.add(skipped=True, **fields)
        draft = Pipeline(**fields)
        try:
            settings = settings_of(state.store, project, draft.protected)
            settings += draft.variables
            jobs = await _compiled(state, project, repository, draft, settings)
            known = predefined(state.settings, project, draft)
            definitions = [definition(job, known, settings, draft.protected) for job in jobs]
            _check_needs(jobs)
        except ConfigError as error:
            state.store.pipelines.add(problem="; ".join(error.problems), **fields)
            state.changes.tell()
            raise
        if not definitions:
            raise NoPipelineError(NO_JOBS)
        for one in definitions:
            ensure_environment(state.store, project, one["plan"].environment)
        return _queued(state, repository, fields, definitions)


async def _compiled(
    state: State,
    project: Project,
    repository: Repository,
    draft: Pipeline,
    settings: Sequence[dict[str, Any]],
) -> list[JobConfig]:
    known = predefined(state.settings, project, draft)
    includes = Includes(state.store, project, draft.sha, known)
    source = Source(
        repository=repository.folder,
        sha=draft.sha,
        files=includes.files,
        url=repository_url(state.settings, project),
        default_branch=project.default_branch,
        before="" if draft.before_sha == ZEROS else draft.before_sha,
        predefined=known,
        default=includes.default,
        settings={one["key"]: one["value"] for one in settings},
    )
    compiler = Compiler(state.settings.compiler)
    jobs = await asyncio.to_thread(compiler.compile, source)
    if jobs is None:
        raise NoPipelineError(FILTERED)
    return jobs


def _check_needs(jobs: Sequence[JobConfig]) -> None:
    there = {job.group for job in jobs}
    for job in jobs:
        for need in job.needs or ():
            if need["job"] not in there and not need.get("optional"):
                raise ConfigError(
                    f"'{job.name}' job needs '{need['job']}' job, but '{need['job']}' does not "
                    "exist in the pipeline. This might be because of the only, except, or rules "
                    "keywords. To need a job that sometimes does not exist in the pipeline, use "
                    "needs:optional."
                )


def _queued(
    state: State, repository: Repository, fields: dict[str, Any], definitions: list[dict[str, Any]]
) -> Pipeline:
    """Add the pipeline and its jobs, and start those whose turn it is."""
    with state.store.transaction():
        pipeline = state.store.pipelines.add(**fields)
        for one in definitions:
            job = state.store.add_job(
                CREATED,
                project_id=pipeline.project_id,
                ref=pipeline.ref,
                ref_type="tag" if pipeline.tag else "branch",
                sha=pipeline.sha,
                pipeline_id=pipeline.id,
                protected=pipeline.protected,
                **one,
            )
            state.redactor.learn(job.token)
    # GitLab keeps a ref for each pipeline, which the runner's refspecs name.
    repository.git("update-ref", f"refs/pipelines/{pipeline.id}", pipeline.sha)
    scheduler.process(state, pipeline.id)
    scheduler.cancel_redundant(state, pipeline)
    return pipeline
