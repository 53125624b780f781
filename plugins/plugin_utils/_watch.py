# SPDX-License-Identifier: GPL-3.0-or-later
"""What an index has, and which pipeline of which tag has uploaded it; what nobody has released.

The job that uploads shows each file with its size and the begin of its SHA-256, which it has
checked (release.py, ``describe_files``). Its log is kept longer than its artifacts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _preflight
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._doctor_api import DoctorApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import Project
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_settings import Wanted
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_template import Input
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._watch_index import (
    IndexProblem,
    Listed,
    files_of,
    public_simple,
    version,
)

if TYPE_CHECKING:
    from packaging.version import Version

VERSIONS = 20
"""How many versions are compared with pipelines where the index tells no times."""
_SHOWN = re.compile(r"(?m)(?:^|\s)([0-9a-f]{16})…\s+\d+\s+(\S+)\s*$")
_TARGETS = {
    "index": ("publish", "simple_url"),
    "test_index": ("publish-test", "test_simple_url"),
    "gitlab_registry": ("publish-gitlab", ""),
}
"""For each input with an index: the job that uploads to it, and the input with its address."""
_NEXT = "find out who has uploaded it, and see docs/emergency.md"


@dataclass(frozen=True)
class Target:
    """An index of a package.

    Attributes:
        index: its name in the inputs.
        job: the job that uploads to it.
        simple: the address of its simple index; empty if it is not known.
        login: for GitLab's registry.
        verify: a PEM file for its certificate, or True.
        prefix: of tags, before the version.
        dev: whether branches upload development versions.
    """

    index: str
    job: str
    simple: str
    login: tuple[str, str] | None
    verify: str | bool
    prefix: str
    dev: bool


@dataclass
class Watch:
    """One run; changes nothing.

    Attributes:
        days: how old a file may be to be compared with its pipeline.
        now: in UTC.
        lines: what was compared.
        findings: what nobody has released.
        problems: what could not be compared.
    """

    api: DoctorApi
    wanted: Sequence[Wanted]
    inputs: Mapping[str, Input]
    days: int
    now: datetime
    login: tuple[str, str]
    verify: str | bool
    lines: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Compares the indexes of all projects."""
        for one in self.wanted:
            if one.project:
                try:
                    self._project(one)
                except ApiProblem as problem:
                    # The others are compared all the same.
                    self.problems.append(f"{one.project}: {problem}")

    def _project(self, one: Wanted) -> None:
        project = self.api.project(one.project)
        if project is None:
            self.problems.append(
                f"{one.variable}.project: {self.api.url} has no project {one.project} that "
                "this token may see"
            )
            return
        tags = self.api.tags(Owner("projects", project.id, project.path))
        for given in one.packages:
            self._package(project, given, tags)

    def _package(self, project: Project, given: Mapping[str, Any], tags: Sequence[str]) -> None:
        folder = str(given.get("package", "."))
        path = "pyproject.toml" if folder == "." else f"{folder}/pyproject.toml"
        file = self.api.file(project, project.default_branch, path)
        name = _preflight.package_name(file.content.decode(errors="replace")) if file else ""
        if not name:
            self.problems.append(f"{project.path}: {path} of its default branch has no name")
            return
        for target in self._targets(project, given):
            if not target.simple:
                self.problems.append(
                    f"{project.path}: the address of {target.index} is not known here; set the "
                    "input simple_url, or use a Python with pip"
                )
                continue
            try:
                found = files_of(target.simple, name, target.verify, target.login)
            except IndexProblem as problem:
                self.problems.append(f"{project.path}: {target.index}: {problem}")
                continue
            self._compare(project, f"{target.index}: {name}", target, found, tags)

    def _targets(self, project: Project, given: Mapping[str, Any]) -> Iterator[Target]:
        def value(name: str) -> Any:
            return given.get(name, self.inputs[name].default)

        for name, (job, address) in _TARGETS.items():
            index = str(value(name) or "")
            kind, __, number = index.partition(":")
            if not index:
                continue
            own = kind == "gitlab"
            simple = str(value(address) or "") if address else ""
            if own:
                api = f"{self.api.url}/api/v4/projects/{number or project.id}"
                simple = f"{api}/packages/pypi/simple"
            elif index in ("pypi", "testpypi") and not simple:
                simple = public_simple(index)
            yield Target(
                index, f"{value('name')}-{job}", simple, self.login if own else None,
                self.verify if own else True, str(value("tag_prefix")),
                name == "test_index" and bool(value("publish_dev")),
            )  # fmt: skip

    def _compare(
        self,
        project: Project,
        what: str,
        target: Target,
        files: Sequence[Listed],
        tags: Sequence[str],
    ) -> None:
        by_version: dict[Version, list[Listed]] = {}
        for file in files:
            if file.version is None:
                self.findings.append(f"{what}: {file.name}: its name has no version; {_NEXT}")
            else:
                by_version.setdefault(file.version, []).append(file)
        released = _versions(tags, target.prefix)
        compared = left = 0
        for place, number in enumerate(sorted(by_version, reverse=True)):
            found = by_version[number]
            if number not in released:
                if number.is_devrelease and target.dev:
                    left += 1
                    continue
                self.findings.append(
                    f"{what} {number} ({_uploaded(found)}): {project.path} has no tag "
                    f"{target.prefix}{number}; {_NEXT}"
                )
                continue
            recent = [one for one in found if self._is_recent(one, place)]
            if recent:
                compared += len(recent)
                self._pipelines(project, what, target, released[number], recent)
        self.lines.append(
            f"{project.path}: {what}: {len(files)} files of {len(by_version)} versions, "
            f"{compared} compared with the jobs that uploaded them"
            + (f"; {left} development versions of branches were not compared" if left else "")
        )

    def _is_recent(self, file: Listed, place: int) -> bool:
        if file.uploaded is None:
            return place < VERSIONS
        return self.now - file.uploaded <= timedelta(days=self.days)

    def _pipelines(
        self, project: Project, what: str, target: Target, tag: str, files: Sequence[Listed]
    ) -> None:
        """Compares files with what the pipelines of a tag have uploaded."""
        shown, jobs = self._shown(project, target, tag)
        if not shown:
            self.findings.append(
                f"{what} {files[0].version} ({_uploaded(files)}): no pipeline of tag {tag} of "
                f"{project.path} has uploaded it (job {target.job}); {_NEXT}"
            )
            return
        for file in files:
            begins = shown.get(file.name, set())
            if not begins:
                self.findings.append(
                    f"{what}: {file.name} ({_uploaded([file])}): not among the files of {jobs}; "
                    f"{_NEXT}"
                )
            elif not file.sha256:
                self.problems.append(f"{what}: {file.name}: the index tells no SHA-256 of it")
            elif file.sha256[:16] not in begins:
                self.findings.append(
                    f"{what}: {file.name} ({_uploaded([file])}): its SHA-256 begins with "
                    f"{file.sha256[:16]}, and {jobs} had {', '.join(sorted(begins))}; {_NEXT}"
                )

    def _shown(self, project: Project, target: Target, tag: str) -> tuple[dict[str, set[str]], str]:
        """Begins of digests by file, as the jobs of a tag that have uploaded show them."""
        owner = Owner("projects", project.id, project.path)
        shown: dict[str, set[str]] = {}
        numbers = []
        for pipeline in self.api.pipelines_of(owner, tag):
            for job in self.api.pipeline_jobs(owner, int(pipeline["id"])):
                if job["name"] == target.job and job["status"] == "success" and job.get("tag"):
                    numbers.append(str(job["id"]))
                    for begin, name in _SHOWN.findall(self.api.trace(owner, int(job["id"]))):
                        shown.setdefault(name, set()).add(begin)
        return shown, f"job {', '.join(numbers)} ({target.job})"


def _versions(tags: Sequence[str], prefix: str) -> dict[Version, str]:
    """The tags that stand for a version."""
    found = {}
    for tag in tags:
        if tag.startswith(prefix) and (known := version(tag.removeprefix(prefix))):
            found[known] = tag
    return found


def _uploaded(files: Sequence[Listed]) -> str:
    days = sorted({one.uploaded.date().isoformat() for one in files if one.uploaded})
    count = f"{len(files)} file{'s' if len(files) > 1 else ''}"
    return f"{count}, uploaded {', '.join(days)}" if days else count
