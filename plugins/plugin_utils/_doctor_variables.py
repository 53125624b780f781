# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CI/CD variable a job got, and why it was empty or wrong. Pure; shows no value.

Precedence and protection after the GitLab docs, "CI/CD variables".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _index_tokens
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_pipelines import (
    Pipelines,
    pipelines_of,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import (
    ALL,
    covers,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._symptoms import Verdict, verdict

Holder = tuple[str, Sequence[Mapping[str, Any]] | None]
"""The path of a project or group, and its variables as GitLab's API shows them, if it does."""
_USUAL = "TWINE_PASSWORD"
_KEY = re.compile(r"variable (\w+): ")


@dataclass(frozen=True)
class Asked:
    """What a job wanted.

    Attributes:
        key: the variable.
        environment: the job's; empty if it is not known.
        protected: whether the job's branch or tag is protected.
    """

    key: str
    environment: str
    protected: bool


def key_in(evidence: Sequence[str]) -> str:
    """The variable that a line of a log names; otherwise twine's."""
    return next((found[1] for line in evidence if (found := _KEY.search(line))), _USUAL)


def environment_of(job: str, project: str, pipelines: Pipelines) -> str:
    """The environment of a job that uploads; empty if it is not known."""
    usual = pipelines_of([{"project": project}], {}).of(project)
    pipeline = pipelines.of(project) or usual
    return dict(pipeline.uploads).get(job, "") if pipeline else ""


def explained(found: Verdict, asked: Asked, holders: Sequence[Holder]) -> Verdict:
    """A verdict with the cause that the variables show, if they show one.

    Args:
        found: variable_empty or token_refused.
        asked: what the job wanted.
        holders: the project, and then its groups, the nearest first.
    """
    key, environment = asked.key, asked.environment
    named = [(path, one) for path, held in holders for one in held or () if one["key"] == key]
    found = _shown(found, *(_words(path, one) for path, one in named))
    fitting = [one for one in named if not environment or covers(_scope(one[1]), environment)]
    reaching = [one for one in fitting if asked.protected or not one[1].get("protected")]
    if reaching:
        path, one = reaching[0]
        return _of_value(found, f"{key} ({_scope(one)}) of {path}", one, environment)
    if any(held is None for __, held in holders):
        # Another one may be there.
        return found
    if fitting:
        return _caused(found, f"{key} is protected, and the tag or branch is not.")
    if named:
        words = f"{key} is set for other environments than the job's, which is {environment}."
        return _caused(found, words)
    found = _shown(found, f"no variable {key} in {', '.join(path for path, __ in holders)}")
    return _caused(found, f"GitLab has no variable {key} for this project.")


def _of_value(found: Verdict, name: str, one: Mapping[str, Any], environment: str) -> Verdict:
    """With what the value shows, without showing it."""
    value = str(one.get("value") or "")
    if found.id == "variable_empty":
        if not one.get("raw") and "$" in value:
            words = f"{name} is expanded, and what follows its $ is no variable; set raw: true."
            return _caused(found, words)
        return found
    if value != value.strip():
        return verdict("white_space_in_token", *found.evidence)
    said = _index_tokens.problem(value, f"{one['key']} {environment or _scope(one)}")
    if not said:
        return found
    if "accounts and tokens of its own" in said:
        found = verdict("wrong_instance", *found.evidence)
    return _caused(found, f"{name}: {said}.")


def _shown(found: Verdict, *words: str) -> Verdict:
    """With more evidence."""
    return replace(found, evidence=(*found.evidence, *(f"GitLab: {one}" for one in words)))


def _caused(found: Verdict, words: str) -> Verdict:
    """With the cause that was found."""
    return replace(found, causes=(words,), certain=True)


def _scope(one: Mapping[str, Any]) -> str:
    return str(one.get("environment_scope") or ALL)


def _words(path: str, one: Mapping[str, Any]) -> str:
    protected = "protected" if one.get("protected") else "not protected"
    return f"variable {one['key']} of {path}: environment {_scope(one)}, {protected}"
