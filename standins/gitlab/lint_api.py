# SPDX-License-Identifier: GPL-3.0-or-later
"""The lint of a .gitlab-ci.yml (GitLab docs, CI Lint API), as far as a static look goes.

Stricter than nothing and no more: YAML, includes of components with their inputs, and jobs that do
something. The compiler of pipelines is gitlab-ci-local (tests/pipelines).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from fastapi import APIRouter, Request

from standins.gitlab.params import read_params
from standins.gitlab.repository_api import Repository, find_project
from standins.gitlab.state import State, require_scope, state_of

router = APIRouter(prefix="/api/v4/projects/{key:int}")

_COMPONENT = re.compile(r"[^/@\s]+/(?P<project>[^@\s]+)/(?P<name>[^/@\s]+)@(?P<ref>[^@\s]+)")
_KEYWORDS = {"default", "include", "spec", "stages", "variables", "workflow"}


class _Loader(yaml.SafeLoader):
    """YAML with GitLab's tag."""


_Loader.add_constructor("!reference", lambda _, node: [str(one.value) for one in node.value])


@router.post("/ci/lint")
async def lint(request: Request, key: int) -> dict[str, object]:
    """Say what is wrong with a configuration; the answer is 200 either way."""
    require_scope(request)
    find_project(request, key)
    content = (await read_params(request)).text("content", required=True)
    errors = list(_errors(state_of(request), content))
    return {
        "valid": not errors,
        "errors": errors,
        "warnings": [],
        "merged_yaml": None if errors else content,
        "includes": [],
    }


def _errors(state: State, content: str) -> Iterator[str]:
    try:
        found = yaml.load(content, _Loader)
    except yaml.YAMLError as error:
        yield f"(<unknown>): {getattr(error, 'problem', error)}"
        return
    if not isinstance(found, dict):
        yield "Invalid configuration format"
        return
    includes = found.get("include") or []
    for one in includes if isinstance(includes, list) else [includes]:
        if isinstance(one, dict) and "component" in one:
            yield from _component_errors(state, str(one["component"]), one.get("inputs") or {})
    jobs = {name: job for name, job in found.items() if name not in _KEYWORDS}
    for name, job in jobs.items():
        if not str(name).startswith("."):
            if not isinstance(job, dict):
                yield f"jobs {name} config should be a hash"
            elif not {"script", "run", "trigger", "extends"} & set(job):
                yield (
                    f"jobs:{name} config should implement the script:, run:, or trigger: keyword"
                )
    if not includes and not any(not str(name).startswith(".") for name in jobs):
        yield "jobs config should contain at least one visible job"


def _component_errors(state: State, address: str, given: Mapping[str, Any]) -> Iterator[str]:
    match = _COMPONENT.fullmatch(address)
    text = _template(state, match) if match else None
    if text is None:
        yield f"Component '{address}' - content not found"
        return
    header = yaml.safe_load(text.partition("\n---\n")[0])
    declared = header["spec"]["inputs"]
    unknown = sorted(set(given) - set(declared))
    if unknown:
        yield f"`{address}`: unknown input arguments: {', '.join(unknown)}"
    for name, about in declared.items():
        if name not in given and "default" not in (about or {}):
            yield f"`{address}`: `{name}` input: required value has not been provided"


def _template(state: State, match: re.Match[str]) -> str | None:
    project = state.store.project_by_path(match["project"])
    if project is None:
        return None
    repository = Repository(state.store.repository(project))
    commit = repository.commit_of(match["ref"])
    for path in (f"templates/{match['name']}.yml", f"templates/{match['name']}/template.yml"):
        try:
            if commit and repository.blob(commit, path):
                return repository.git("show", f"{commit}:{path}").decode()
        except subprocess.CalledProcessError:
            continue
    return None
