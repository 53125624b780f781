# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CI/CD variables of projects and groups a job gets (GitLab docs, "CI/CD variables").

Protected ones for protected refs only; those whose scope fits the job's environment, the better
fitting one last; groups from the outermost on, then the project: the last of a name counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from standins.gitlab.ci_variables import variable
from standins.gitlab.records import Project, Setting
from standins.gitlab.store import Store


def settings_of(
    store: Store, project: Project, protected: bool, environment: str = ""
) -> list[dict[str, Any]]:
    """Return the variables for a job with this environment, as its runner gets them."""
    found: list[Setting] = []
    for group in store.groups_of(project):
        found += _chosen(store.group_settings.of(group), protected, environment)
    found += _chosen(store.project_settings.of(project.id), protected, environment)
    return [
        variable(
            one.key, one.value, public=False, masked=one.masked,
            file=one.variable_type == "file", raw=one.raw,
        )
        for one in found
    ]  # fmt: skip


def _chosen(settings: Iterable[Setting], protected: bool, environment: str) -> Iterator[Setting]:
    fitting = [
        one
        for one in settings
        if (protected or not one.protected) and _fits(one.environment_scope, environment)
    ]

    def relevance(one: Setting) -> tuple[int, int]:
        rank = {"*": 0, environment: 2}.get(one.environment_scope, 1)
        return rank, one.id

    yield from sorted(fitting, key=relevance)


def _fits(scope: str, environment: str) -> bool:
    if scope == "*":
        return True
    pattern = ".*".join(map(re.escape, scope.split("*")))
    return bool(environment) and re.fullmatch(pattern, environment) is not None
