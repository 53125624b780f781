# SPDX-License-Identifier: GPL-3.0-or-later
"""What the variables of release_pipeline say of the pipelines of projects. Pure.

That role validates them; what is not as it expects is left out here.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_OWN_FILE = ".gitlab-ci.yml"
# Of the component's jobs: the inputs' defaults, and that of uploads to GitLab's registry.
_ENVIRONMENTS = {"environment": "pypi", "test_environment": "testpypi"}
_UPLOADS = {"environment": "publish", "test_environment": "publish-test"}
_NAME = "release"
_PREFIX = "v"
_REGISTRY = "gitlab"
_NAMING = ("token_variable", "read_token_variable")
_READ = ("TWINE_PASSWORD", "TWINE_USERNAME")


@dataclass(frozen=True)
class Pipeline:
    """A project's release pipeline.

    Attributes:
        whole: whether the role writes all of its configuration, so that it has no other jobs.
        trusted: whether an index knows its jobs by their ID tokens.
        environments: those of its jobs.
        uploads: the names of the jobs that upload, and their environments.
        indexes: where each environment's files go.
        prefixes: what the tags of its releases begin with.
    """

    whole: bool
    trusted: bool
    environments: frozenset[str]
    uploads: frozenset[tuple[str, str]] = frozenset()
    prefixes: frozenset[str] = frozenset()
    indexes: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Pipelines:
    """Pipelines by their projects' paths in lower case.

    Attributes:
        read: names of variables that they read, beside twine's own.
    """

    by_project: Mapping[str, Pipeline] = field(default_factory=dict)
    read: frozenset[str] = frozenset()

    def of(self, path: str) -> Pipeline | None:
        """A project's; None if the inventory knows none."""
        return self.by_project.get(path.lower())

    def reads(self, key: str) -> bool:
        """Whether a release pipeline reads a variable."""
        return key in self.read or key in _READ


def pipelines_of(entries: Sequence[Any], inputs: Mapping[str, Any]) -> Pipelines:
    """What is known.

    Args:
        entries: as release_pipeline_projects.
        inputs: as release_pipeline_inputs.
    """
    found: dict[str, Pipeline] = {}
    given = [inputs]
    for entry in entries:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("project"), str):
            continue
        own = {**inputs, **_mapping(entry.get("inputs"))}
        listed = entry.get("packages")
        packages = [
            {**own, **_mapping(one)} for one in (listed if isinstance(listed, list) else []) or [{}]
        ]
        given += packages
        environments = {
            str(package.get(name, default))
            for package in packages
            for name, default in _ENVIRONMENTS.items()
        }
        found[entry["project"].lower()] = Pipeline(
            entry.get("file", _OWN_FILE) == _OWN_FILE,
            any(package.get("auth") == "trusted" for package in packages),
            frozenset({*environments, _REGISTRY}),
            frozenset(
                (f"{package.get('name', _NAME)}-{job}", str(package.get(name, _ENVIRONMENTS[name])))
                for package in packages
                for name, job in _UPLOADS.items()
            ),
            frozenset(str(package.get("tag_prefix", _PREFIX)) for package in packages),
            frozenset(
                (str(package.get(name, default)), str(package.get(index, default)))
                for package in packages
                for name, default, index in (
                    ("environment", "pypi", "index"),
                    ("test_environment", "testpypi", "test_index"),
                )
            ),
        )
    read = {str(one[name]) for one in given for name in _NAMING if one.get(name)}
    return Pipelines(found, frozenset(read))


def protects(pattern: str, prefix: str) -> bool:
    """Whether a protection covers releases whose tags begin with a prefix.

    Which versions there will be is not known: v20* may be all that a project has.
    """
    if fnmatch.fnmatchcase(f"{prefix}1.0.0", pattern):
        return True
    begin, mark, __ = pattern.partition("*")
    return bool(mark and re.fullmatch(rf"{re.escape(prefix)}[\d.]+", begin))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
