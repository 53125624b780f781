# SPDX-License-Identifier: GPL-3.0-or-later
"""What works otherwise than it looks in a project's settings; in words. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _index_tokens,
    _project_plan,
    _slips,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_pipelines import (
    Pipelines,
    protects,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import (
    LEVELS,
    Place,
    ProtectedRef,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import (
    ALL,
    covers,
)

# Names that guides give to a token, and no uploader reads.
_READ_BY_NOTHING = ("PYPI_TOKEN", "TESTPYPI_TOKEN", "TEST_PYPI_TOKEN", "TWINE_TOKEN")
_PUBLIC = frozenset(("pypi", "testpypi"))
_OVERRIDES = ("TWINE_REPOSITORY_URL", "TWINE_REPOSITORY")


def of_variables(place: Place, pipelines: Pipelines) -> Iterator[str]:
    """About names and scopes."""
    pipeline = pipelines.of(place.path)
    for one in place.filled:
        if _index_tokens.is_one(one.value) and not (one.protected and one.masked):
            lacks = " and ".join(key for key in ("protected", "masked") if not getattr(one, key))
            yield (
                f"{one.where}: {one.name} holds a token of an index and is not {lacks}: jobs of "
                "any branch could upload with it, or their logs show it; leave both at true"
            )
        # With jobs of its own, a project may read whatever it likes.
        unread = bool(pipeline and pipeline.whole) and _index_tokens.is_one(one.value)
        unread = unread and not pipelines.reads(one.key)
        if (one.key in _READ_BY_NOTHING or unread) and one.key not in pipelines.read:
            known = pipeline and pipeline.whole
            what = (
                "nothing reads the variable" if known else "no release pipeline reads the variable"
            )
            yield (
                f"{one.where}: {what} {one.key}, since twine takes TWINE_PASSWORD; rename it, or "
                "set the pipelines' input token_variable"
                + ("" if known else ", unless a job of its own reads it")
            )
        if pipeline is None or not pipelines.reads(one.key):
            continue
        # Indexes are named as twine names them.
        own = _index_tokens.instance(one.value).lower()
        goes = {index for name, index in pipeline.indexes if name == one.environment and index}
        if one.key == "TWINE_PASSWORD" and goes and goes <= _PUBLIC and not own:
            yield (
                f"{one.where}: {one.name} holds no token of an index (pypi-…), and releases in the "
                f"environment {one.environment} go to {', '.join(sorted(goes))}"
            )
        if own and goes and own not in goes:
            yield (
                f"{one.where}: {one.name} holds a token of {own}, and releases in the environment "
                f"{one.environment} go to {', '.join(sorted(goes))}; correct the token, or the "
                "pipeline's index"
            )
        # Other jobs may use other environments, whose names are not almost the same.
        names = pipeline.environments
        if not pipeline.whole and not _slips.slip_of(one.environment, names):
            continue
        if not any(covers(one.environment, name) for name in pipeline.environments):
            yield (
                f"{one.where}: no job of the release pipeline gets {one.name}: its environments "
                f"are {', '.join(sorted(names))} (the inputs environment and test_environment)"
            )


def of_protection(
    place: Place, protected: Sequence[ProtectedRef], pipelines: Pipelines
) -> Iterator[str]:
    """About protected variables that reach no job."""
    wanted = [one for one in place.filled if one.protected]
    if not wanted:
        return
    if not protected:
        yield (
            f"{place.where}: protected variables reach no job: {place.path} protects "
            "no branch and no tag (protected_tags, such as v*)"
        )
    elif not any(ref.merge is None for ref in protected):
        scoped = [one.name for one in wanted if one.environment != ALL]
        if scoped:
            yield (
                f"{place.where}: {', '.join(scoped)}: empty in pipelines of tags, since "
                f"{place.path} protects no tag (protected_tags, such as v*)"
            )
    else:
        pipeline = pipelines.of(place.path)
        tags = [ref.name for ref in protected if ref.merge is None]
        for prefix in sorted(pipeline.prefixes if pipeline else ()):
            if not any(protects(tag, prefix) for tag in tags):
                yield (
                    f"{place.where}: protected variables are empty in releases of the tags "
                    f"{prefix}* (the input tag_prefix), since {place.path} protects "
                    f"{', '.join(tags)} alone; protect {prefix}*"
                )


def of_found(place: Place, found: Sequence[Mapping[str, Any]], gone: Collection[str]) -> list[str]:
    """About variables that GitLab has.

    Args:
        place: the project or group.
        found: its variables.
        gone: the names of those that are deleted.
    """
    return [
        f"{place.path}: its variable {one['key']} overrides the repository of each "
        "upload, also of those to the test index; delete it in GitLab"
        for one in found
        if one["key"] in _OVERRIDES
        and str(one.get("environment_scope") or ALL) == ALL
        and one["key"] not in gone
    ]


def of_project(
    place: Place,
    pipelines: Pipelines,
    protected: Sequence[ProtectedRef],
    config_path: str,
    override_role: str,
) -> Iterator[str]:
    """About a project's settings for pipelines.

    Args:
        place: the project.
        pipelines: the release pipelines.
        protected: its protected branches and tags.
        config_path: where its CI/CD configuration is.
        override_role: who may set variables of its pipelines.
    """
    pipeline = pipelines.of(place.path)
    if pipeline and ("@" in config_path or "://" in config_path):
        # gitlab!122373: the ID token then has no ci_config_ref_uri, which indexes compare.
        why = (
            "trusted publishing refuses its jobs, whose ID tokens name no file of the project"
            if pipeline.trusted
            else "GitLab does not read the .gitlab-ci.yml of the release pipeline"
        )
        if pipeline.trusted or pipeline.whole:
            yield (
                f"{place.path}: its CI/CD configuration is {config_path}: {why}; clear Settings > "
                "CI/CD > General pipelines > CI/CD configuration file"
            )
    developers = LEVELS["developer"]
    may = [ref.name for ref in protected if developers in (ref.push, ref.merge)]
    if override_role == "developer" and may and any(one.protected for one in place.filled):
        yield (
            f"{place.path}: developers may run pipelines of {', '.join(may)}, which get protected "
            "variables, and override any variable there; set Settings > CI/CD > Variables > "
            "Minimum role to use pipeline variables to No one allowed"
        )


def replaced(
    place: Place, changes: Sequence[_project_plan.Change], found: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """About tokens of indexes that are replaced, and stay valid until somebody revokes them.

    Args:
        place: the project or group.
        changes: of its variables.
        found: its variables as they were.
    """
    there = {_project_plan.identity(one): one for one in found}
    for change in changes:
        old, value = there.get((change.key, change.environment)), change.body.get("value")
        if old is None or not _index_tokens.is_one(str(value or "")):
            continue
        before, description = str(old.get("value") or ""), str(old.get("description") or "")
        since = _project_plan.set_on(description)
        same = (
            _project_plan.marked(description, str(value)) if old.get("hidden") else before == value
        )
        if same or not (since or _index_tokens.is_one(before)):
            continue
        about = "; ".join([_index_tokens.scope(before).words, *([f"set {since}"] if since else [])])
        yield (
            f"{place.path}: the token that {change.key} ({change.environment}) had before "
            f"({about}) is still valid: revoke it at the index once a release has been published "
            "with the new one"
        )
