# SPDX-License-Identifier: GPL-3.0-or-later
"""Trusted publishing: what an index must be told of a project, and whether its jobs agree. Pure.

An index compares a job's ID token with the publisher that its form was told (warehouse,
``oidc/models/gitlab.py``): the issuer, the project's path, the start of ``sub``, the pipeline's
file in ``ci_config_ref_uri``, and the environment if the form has one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_template import Input

ROLE = "release_pipeline"
KNOWN_ISSUER = "https://gitlab.com"
"""The only GitLab whose ID tokens the public indexes take from everybody."""
_ENVIRONMENTS = {
    "index": ("environment", "publish"),
    "test_index": ("test_environment", "publish-test"),
}
"""For each input with an index: that with the environment of its uploads, and their job."""
_PUBLIC = ("pypi", "testpypi")
_SHOWN = re.compile(r"\b(PYPI|TESTPYPI)_ID_TOKEN: (\{.*\})")
_OWN_FILE = ".gitlab-ci.yml"


@dataclass(frozen=True)
class Project:
    """What GitLab says of a project.

    Attributes:
        path: as GitLab writes it.
        issuer: of its ID tokens: GitLab's own address, whichever one the controller has for it.
        config: where its pipeline's configuration is; empty for the usual file.
        sub: the parts of an ID token's ``sub``.
    """

    path: str
    issuer: str
    config: str
    sub: tuple[str, ...]


@dataclass(frozen=True)
class Publisher:
    """A trusted publisher, as an index's form asks for it.

    Attributes:
        index: pypi or testpypi.
        upload: the job that uploads to it.
        claims: the job that shows its claims and uploads nothing.
        same: whether that job has the environment of the uploads.
        package: the project's name at the index; empty if it is not known.
    """

    index: str
    upload: str
    claims: str
    same: bool
    issuer: str
    package: str
    namespace: str
    project: str
    file: str
    environment: str

    @property
    def path(self) -> str:
        """The project in GitLab."""
        return f"{self.namespace}/{self.project}"

    def lines(self) -> list[str]:
        """For the person who types it."""
        new = f", project name {self.package}" if self.package else ""
        return [
            f"{self.path}: {self.index}, in its form for GitLab (a project that exists there: "
            "its settings, Publishing; a new one: your account, Publishing, pending "
            f"publisher{new})",
            f"  Namespace: {self.namespace}",
            f"  Project name: {self.project}",
            f"  Top-level pipeline file path: {self.file}",
            f"  Environment name: {self.environment}",
        ]


def uses(given: Mapping[str, Any]) -> bool:
    """Whether a package's inputs ask for trusted publishing."""
    return given.get("auth") == "trusted"


def index_problems(
    where: str, given: Mapping[str, Any], inputs: Mapping[str, Input]
) -> Iterator[str]:
    """Indexes that take no ID token, in a package with trusted publishing."""
    for name in _ENVIRONMENTS if uses(given) else ():
        index = str(given.get(name, inputs[name].default))
        if index and index not in _PUBLIC:
            yield (
                f"{where}.{name}: invalid value {index!r} with auth: trusted; expected pypi, "
                "testpypi or an empty text, or auth: token"
            )


def publishers(
    project: Project, given: Mapping[str, Any], inputs: Mapping[str, Input], package: str
) -> list[Publisher]:
    """What each public index is to be told of one package.

    Args:
        project: GitLab's.
        given: the package's inputs.
        inputs: all inputs, for their defaults.
        package: the name at the index, or empty.
    """

    def value(name: str) -> str:
        return str(given.get(name, inputs[name].default))

    namespace, __, name = project.path.rpartition("/")
    jobs = value("name")
    return [
        Publisher(
            value(index), f"{jobs}-{upload}", f"{jobs}-claims",
            value(environment) == value("environment"), project.issuer, package, namespace, name,
            project.config or _OWN_FILE, value(environment),
        )
        for index, (environment, upload) in _ENVIRONMENTS.items()
        if value(index) in _PUBLIC
    ]  # fmt: skip


def issuer_problem(url: str, onboarded: bool) -> str:
    """Why the public indexes take no ID token of this GitLab; empty if they do."""
    if url == KNOWN_ISSUER or onboarded:
        return ""
    return (
        f"{ROLE}_url: pypi and testpypi take ID tokens of {KNOWN_ISSUER} alone, not of {url}; use "
        "auth: token and set the token by gitlab_project_projects, or set "
        f"{ROLE}_issuer_onboarded: true if the index has onboarded your organization's GitLab"
    )


def project_problems(where: str, project: Project) -> Iterator[str]:
    """Settings of a project that no publisher fits."""
    if "@" in project.config or "://" in project.config:
        yield (
            f"{where}: the CI/CD configuration of {project.path} is {project.config!r}, outside "
            "the project, and its ID tokens then name no file; set Settings > CI/CD > General "
            f"pipelines > CI/CD configuration file to {_OWN_FILE}, or use auth: token"
        )
    if project.sub and project.sub[0] != "project_path":
        yield (
            f"{where}: sub in the ID tokens of {project.path} begins with {project.sub[0]!r}; "
            "expected project_path first (ci_id_token_sub_claim_components of the projects API)"
        )


def package_name(pyproject: str) -> str:
    """The name in a pyproject.toml; empty if it is made elsewhere.

    One line is enough of TOML here: what is not found is left to its reader.
    """
    table = re.search(r"(?ms)^\[project\]\s*$(.*?)(?=^\[|\Z)", pyproject)
    found = re.search(r"""(?m)^name\s*=\s*["']([A-Za-z0-9._-]+)["']""", table[1] if table else "")
    return found[1] if found else ""


def shown_claims(trace: str) -> dict[str, dict[str, Any]]:
    """The claims that a job's log shows, by index; the last where there are several."""
    found = {}
    for name, text in _SHOWN.findall(trace):
        try:
            found[name.lower()] = dict(json.loads(text))
        except ValueError:
            continue
    return found


def claim_problems(
    wanted: Publisher, claims: Mapping[str, Any], job: str, environment: bool
) -> Iterator[str]:
    """Where a job's claims and a publisher differ.

    Args:
        wanted: what the index is told.
        claims: of the job's ID token.
        job: its name and number, for messages.
        environment: whether the job has the environment of the uploads to this index.
    """
    place = urlsplit(wanted.issuer)
    path = str(claims.get("project_path", ""))
    file = f"{place.netloc}{place.path}/{path}//{wanted.file}@"
    sub = f"project_path:{path}:"
    compared = [
        ("iss", claims.get("iss") == wanted.issuer, wanted.issuer),
        ("aud", claims.get("aud") in (wanted.index, [wanted.index]), wanted.index),
        ("project_path", path.lower() == wanted.path.lower(), wanted.path),
        ("sub", str(claims.get("sub", "")).startswith(sub), f"{sub}…"),
        ("ci_config_ref_uri", str(claims.get("ci_config_ref_uri", "")).startswith(file),
         f"{file}…"),
    ]  # fmt: skip
    if environment:
        said = claims.get("environment")
        compared.append(("environment", said == wanted.environment, wanted.environment))
    for name, same, expected in compared:
        if not same:
            yield (
                f"{wanted.path}: {wanted.index}: the claim {name} of {job} is "
                f"{claims.get(name)!r}, and the publisher above has {expected!r}; if the inventory "
                "has changed since that job, run make pipeline and start a new one"
            )
