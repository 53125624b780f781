# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of pipelines and jobs: GitLab's own, and how they are expanded.

GitLab docs, "Predefined CI/CD variables"; order and expansion after GitLab's
lib/gitlab/ci/variables/builder.rb and collection.rb: the last of one name counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from standins.gitlab.records import Pipeline, Project
from standins.gitlab.runners_api import timestamp
from standins.gitlab.settings import Settings

_REFERENCE = re.compile(r"\$\$|\$(?:\{(?P<braced>[A-Za-z_]\w*)\}|(?P<plain>[A-Za-z_]\w*))")


def variable(
    key: str,
    value: str,
    *,
    public: bool = True,
    masked: bool = False,
    file: bool = False,
    raw: bool = False,
) -> dict[str, Any]:
    """Return one variable of a payload."""
    return {
        "key": key,
        "value": value,
        "public": public,
        "masked": masked,
        "file": file,
        "raw": raw,
    }


def slug(text: str) -> str:
    """Return a text as GitLab puts it into host names."""
    found = "".join(char if char.isascii() and char.isalnum() else "-" for char in text.lower())
    return found[:63].strip("-")


def predefined(settings: Settings, project: Project, pipeline: Pipeline) -> dict[str, str]:
    """Return GitLab's own variables that all jobs of a pipeline share; rules may use them."""
    base = settings.external_url
    parts = urlsplit(base)
    port = str(parts.port or {"http": 80, "https": 443}.get(parts.scheme, 443))
    major, minor, patch = [*settings.gitlab_version.split("-")[0].split("."), "0", "0"][:3]
    found = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_SERVER_URL": base,
        "CI_SERVER_HOST": parts.hostname or "",
        "CI_SERVER_PORT": port,
        "CI_SERVER_FQDN": parts.netloc.rpartition("@")[2],
        "CI_SERVER_PROTOCOL": parts.scheme,
        "CI_SERVER_NAME": "GitLab",
        "CI_SERVER_VERSION": settings.gitlab_version,
        "CI_SERVER_VERSION_MAJOR": major,
        "CI_SERVER_VERSION_MINOR": minor,
        "CI_SERVER_VERSION_PATCH": patch,
        "CI_API_V4_URL": f"{base}/api/v4",
        "CI_CONFIG_PATH": ".gitlab-ci.yml",
        "CI_PIPELINE_ID": str(pipeline.id),
        "CI_PIPELINE_IID": str(pipeline.iid),
        "CI_PIPELINE_SOURCE": pipeline.source,
        "CI_PIPELINE_URL": f"{base}/{project.path}/-/pipelines/{pipeline.id}",
        "CI_PIPELINE_CREATED_AT": timestamp(pipeline.created_at) or "",
        "CI_PROJECT_ID": str(project.id),
        "CI_PROJECT_NAME": project.name,
        "CI_PROJECT_TITLE": project.name,
        "CI_PROJECT_PATH": project.path,
        "CI_PROJECT_PATH_SLUG": slug(project.path),
        "CI_PROJECT_NAMESPACE": project.namespace,
        "CI_PROJECT_ROOT_NAMESPACE": project.path.split("/", 1)[0],
        "CI_PROJECT_URL": f"{base}/{project.path}",
        "CI_PROJECT_VISIBILITY": project.visibility,
        "CI_DEFAULT_BRANCH": project.default_branch,
        "CI_COMMIT_SHA": pipeline.sha,
        "CI_COMMIT_SHORT_SHA": pipeline.sha[:8],
        "CI_COMMIT_BEFORE_SHA": pipeline.before_sha,
        "CI_COMMIT_REF_NAME": pipeline.ref,
        "CI_COMMIT_REF_SLUG": slug(pipeline.ref),
        "CI_COMMIT_REF_PROTECTED": "true" if pipeline.protected else "false",
        "GITLAB_USER_ID": "1",
        "GITLAB_USER_LOGIN": pipeline.user,
    }
    found["CI_COMMIT_TAG" if pipeline.tag else "CI_COMMIT_BRANCH"] = pipeline.ref
    return {**found, **pipeline.commit}


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace references to known variables; unknown ones become empty, ``$$`` stays."""

    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["plain"]
        return values.get(name, "") if name else match[0]

    return _REFERENCE.sub(value, text)


class _CircularError(Exception):
    """A variable refers to itself."""


def expanded(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the variables with references to each other replaced, as GitLab sends them.

    References to unknown, raw and file variables stay for the runner. With a circle nothing is
    expanded.
    """
    last = {item["key"]: item for item in items}
    known: dict[str, str] = {}

    def text_of(item: Mapping[str, Any], above: tuple[str, ...]) -> str:
        if item["raw"]:
            return str(item["value"])
        if item["key"] in above:
            raise _CircularError

        def value(match: re.Match[str]) -> str:
            other = last.get(match["braced"] or match["plain"] or "")
            if other is None or other["raw"] or other["file"]:
                return match[0]
            return value_of(other, (*above, item["key"]))

        return _REFERENCE.sub(value, str(item["value"]))

    def value_of(item: Mapping[str, Any], above: tuple[str, ...]) -> str:
        if item["key"] not in known:
            known[item["key"]] = text_of(item, above)
        return known[item["key"]]

    try:
        return [{**item, "value": text_of(item, ())} for item in items]
    except _CircularError:
        return [dict(item) for item in items]
