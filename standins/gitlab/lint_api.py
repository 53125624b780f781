# SPDX-License-Identifier: GPL-3.0-or-later
"""The lint of a .gitlab-ci.yml (GitLab docs, CI Lint API), as far as a static look goes.

Stricter than nothing and no more: YAML, includes of components with their inputs, and jobs that do
something. Pipelines are compiled by gitlab-ci-local (compiler.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from fastapi import APIRouter, Request

from standins.gitlab.access import DEVELOPER
from standins.gitlab.components import ConfigError, component, input_problems
from standins.gitlab.params import read_params
from standins.gitlab.repository_api import find_project
from standins.gitlab.state import State, state_of

router = APIRouter(prefix="/api/v4/projects/{key:int}")

_KEYWORDS = {"default", "include", "spec", "stages", "variables", "workflow"}


class _Loader(yaml.SafeLoader):
    """YAML with GitLab's tag."""


_Loader.add_constructor("!reference", lambda _, node: [str(one.value) for one in node.value])


@router.post("/ci/lint")
async def lint(request: Request, key: int) -> dict[str, object]:
    """Say what is wrong with a configuration; the answer is 200 either way."""
    find_project(request, key, DEVELOPER)
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
    try:
        yield from input_problems(address, component(state.store, address), given)
    except ConfigError as error:
        yield from error.problems
