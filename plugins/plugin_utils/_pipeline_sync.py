# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of release_pipeline does: the component's project first, then each pipeline."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _pipeline_files,
    _pipeline_settings,
    _pipeline_template,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import (
    File,
    Project,
    Projects,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_files import STATE
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_settings import (
    UNKNOWN_COMMIT,
    Settings,
    Template,
    Wanted,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_pipelines import (
    protects,
)

_MAIN = f"templates/{_pipeline_template.NAME}/template.yml"


_OF_A_PACKAGE = ("pyproject.toml", "setup.py")


class Missing(Exception):
    """Projects or folders that are not there; nothing was changed."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass
class Sync:
    """One run.

    Attributes:
        api: GitLab; None if nothing is there to ask it.
        check: whether nothing may be changed.
        lines: what was done, in words.
        diff: the same as Ansible's diff.
        refused: what was not done, with the reason.
        warnings: what would keep the pipelines from their work.
        changed: whether anything was, or would be, changed.
        commit: the component's commit that pipelines name.
    """

    settings: Settings
    template: Template
    api: Projects | None
    check: bool
    lines: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    changed: bool = False
    commit: str = ""

    def run(self) -> None:
        """Does everything.

        Raises:
            Missing: if a project or folder is not there; before any change.
            ApiProblem: if GitLab refuses what concerns all projects.
        """
        places = self._places()
        if self.settings.has_component and not self._component():
            return
        for wanted, project in places:
            try:
                if project is not None and wanted.platform == "gitlab":
                    # Listing runners takes more rights than all else here.
                    with contextlib.suppress(ApiProblem):
                        self._warn_of_tags(wanted, project)
                    with contextlib.suppress(ApiProblem):
                        self._warn_of_prefixes(wanted, project)
                self._pipeline(wanted, project)
            except (ApiProblem, OSError) as problem:
                self.refused.append(f"{wanted.name}: {problem}")

    def _places(self) -> list[tuple[Wanted, Project | None]]:
        found: list[tuple[Wanted, Project | None]] = []
        problems = []
        for wanted in self.settings.wanted:
            project = None
            if wanted.project:
                project = self._gitlab.project(wanted.project)
                if project is None:
                    problems.append(
                        f"{wanted.variable}.project: {self.settings.url} has no project "
                        f"{wanted.project} that this token may see"
                    )
            elif not Path(wanted.folder).is_dir():
                problems.append(f"{wanted.variable}.folder: {wanted.folder} is not a folder")
            found.append((wanted, project))
        if problems:
            raise Missing(problems)
        return found

    @property
    def _gitlab(self) -> Projects:
        if self.api is None:
            raise ValueError("no access to GitLab")
        return self.api

    # The component

    def _component(self) -> bool:
        """Puts the component where it should be; False if somebody has changed it there."""
        path = self.settings.component
        project = self._gitlab.project(path)
        files = self.template.component()
        found = self._read(project, project.default_branch, files) if project else {}
        plan = _pipeline_files.plan(files, found)
        if plan.edited:
            self._refuse_edited(path, plan)
            return False
        if not plan.write:
            template = found.get(_MAIN)
            self.commit = template.commit if template else ""
            self.lines.append(f"{path}: up to date")
        else:
            if project is None:
                place = path.rpartition("/")[0]
                if not self._gitlab.has_namespace(place):
                    url = self.settings.url
                    raise Missing([
                        f"release_pipeline_component: invalid value {path!r}; {url} has no group "
                        f"{place} that this token may see, in which the project could be made"
                    ])  # fmt: skip
                self._do(path, "create the project", "created the project")
                if not self.check:
                    project = self._gitlab.create_project(path, self.settings.visibility)
            self.commit = self._commit_component(project, plan)
        self._tag(project, bool(plan.write))
        return True

    def _commit_component(self, project: Project | None, plan: _pipeline_files.Plan) -> str:
        path, before = self.settings.component, plan.found.get(_MAIN)
        self.diff += plan.differences(path)
        made = UNKNOWN_COMMIT
        if project is not None and not self.check:
            branch = project.default_branch
            message = f"python-release of Runnerhost {_pipeline_settings.version()}"
            made = self._gitlab.commit(project, branch, "", message, plan.actions())
        paths = ", ".join(plan.paths)
        self._do(path, f"commit {paths}", f"committed {paths}")
        # Pipelines name the last commit that changed the template.
        return made if _MAIN in plan.write or before is None else before.commit

    def _tag(self, project: Project | None, committed: bool) -> None:
        name, path = _pipeline_settings.version(), self.settings.component
        at = self._gitlab.tag(project, name) if project else ""
        if not at:
            self._do(path, f"tag {name}", f"tagged {name}")
            if project is not None and not self.check:
                self._gitlab.create_tag(project, name, self.commit)
        elif committed:
            self.lines.append(f"{path}: tag {name} stays at its commit {at[:12]}")

    # Pipelines

    def _pipeline(self, wanted: Wanted, project: Project | None) -> None:
        branch, start = "", ""
        files = self.template.files(self.settings, wanted, self.commit)
        if project is None:
            found = {path: _local(Path(wanted.folder, path)) for path in (*files, STATE)}
        else:
            branch = wanted.branch or project.default_branch
            if wanted.branch and not self._gitlab.has_branch(project, branch):
                start = project.default_branch
            found = self._read(project, start or branch, files)
        if project is not None:
            self._warn_of_folders(wanted, project, start or branch)
            self._warn_of_file(wanted, project, start or branch)
        plan = _pipeline_files.plan(files, found)
        if plan.edited:
            self._refuse_edited(wanted.name, plan)
            return
        if not plan.write:
            self.lines.append(f"{wanted.name}: up to date")
            return
        if project is not None and wanted.file in plan.write:
            said = self._lint(project, files[wanted.file])
            if said:
                self.refused.append(
                    f"{wanted.name}: {wanted.file}: GitLab's lint refuses it: {'; '.join(said)}"
                )
                return
        self.diff += plan.differences(wanted.name)
        paths = ", ".join(plan.paths)
        if project is None:
            if not self.check:
                for path, file in plan.write.items():
                    _write(Path(wanted.folder, path), file)
            self._do(wanted.name, f"write {paths}", f"wrote {paths}")
            return
        if not self.check:
            message = f"Pipeline of Runnerhost: {paths}"
            self._gitlab.commit(project, branch, start, message, plan.actions())
        to = f"the new branch {branch}, from {start}" if start else branch
        self._do(wanted.name, f"commit {paths} to {to}", f"committed {paths} to {to}")

    def _warn_of_prefixes(self, wanted: Wanted, project: Project) -> None:
        """A release of a tag that is not protected fails at its start."""
        inputs = self.template.inputs
        protected = self._gitlab.protected_tags(project)
        for given in wanted.packages:
            published = [
                given.get(name, inputs[name].default)
                for name in ("index", "test_index", "gitlab_registry")
            ]
            prefix = str(given.get("tag_prefix", inputs["tag_prefix"].default))
            if any(published) and not any(protects(name, prefix) for name in protected):
                self.warnings.append(
                    f"{wanted.variable}: {project.path} protects no tag such as {prefix}1.0.0 (the "
                    f"input tag_prefix), and releases need it: protect {prefix}* by make project "
                    "(protected_tags)"
                )

    def _warn_of_folders(self, wanted: Wanted, project: Project, branch: str) -> None:
        """A package without these files cannot be built (PEP 517)."""
        folders = {str(given.get("package", ".")) for given in wanted.packages}
        for folder in sorted(folders):
            paths = [os.path.normpath(f"{folder}/{name}") for name in _OF_A_PACKAGE]
            if not any(self._gitlab.file(project, branch, path) for path in paths):
                self.warnings.append(
                    f"{wanted.variable}: {project.path} has no {' and no '.join(paths)} in "
                    f"{branch}: its package cannot be built there (the input package)"
                )

    def _warn_of_file(self, wanted: Wanted, project: Project, branch: str) -> None:
        """GitLab reads one file, and what it includes."""
        main = project.config or _pipeline_settings.OWN_FILE
        if wanted.platform != "gitlab" or wanted.file == main or "@" in main or "://" in main:
            return
        found = self._gitlab.file(project, branch, main)
        text = found.content.decode(errors="replace") if found else ""
        patterns = re.findall(r"""local:\s*["']?/?([^\s"',}\]]*\*[^\s"',}\]]*)""", text)
        if wanted.file not in text and not any(
            fnmatch.fnmatchcase(wanted.file, one) for one in patterns
        ):
            self.warnings.append(
                f"{wanted.variable}.file: GitLab reads {main} of {project.path}, which does not "
                f"include {wanted.file}: no job of it runs, unless a file does that it includes; "
                "add an include: local there"
            )

    def _warn_of_tags(self, wanted: Wanted, project: Project) -> None:
        """A job whose tags no runner has waits for ever."""
        inputs = self.template.inputs
        named = [name for name in inputs if name.endswith("_tags")]
        asked = {
            (name, tuple(map(str, given.get(name, inputs[name].default) or ())))
            for given in wanted.packages
            for name in named
        }
        for name, tags in sorted(asked):
            if tags and not self._gitlab.serves(project, tags):
                self.warnings.append(
                    f"{wanted.variable}: {name} is {', '.join(tags)}, and {project.path} may use "
                    "no runner with that: its jobs would wait for ever; correct it, or make a "
                    "runner with these tags available to the project"
                )

    def _lint(self, project: Project, file: File) -> list[str]:
        if self.settings.form == "component" and self.commit == UNKNOWN_COMMIT:
            self.lines.append(f"{project.path}: not linted, as the component is not there yet")
            return []
        return self._gitlab.lint(project, file.content.decode())

    # Both

    def _read(
        self, project: Project, branch: str, files: Mapping[str, File]
    ) -> dict[str, File | None]:
        return {path: self._gitlab.file(project, branch, path) for path in (*files, STATE)}

    def _do(self, where: str, would: str, done: str) -> None:
        """One change, in words."""
        self.changed = True
        self.lines.append(f"{where}: would {would}" if self.check else f"{where}: {done}")

    def _refuse_edited(self, where: str, plan: _pipeline_files.Plan) -> None:
        for path in plan.edited:
            diff = _pipeline_files.unified(path, plan.found.get(path), plan.write[path])
            self.refused.append(
                f"{where}: {path} was not written by this role, or was changed since, and is left "
                "alone; move the change to the inventory and delete the file, or name another "
                f"path as file and include that one\n{diff}"
            )


def _local(path: Path) -> File | None:
    """A file of the controller."""
    if not path.is_file():
        return None
    return File(path.read_bytes(), executable=os.access(path, os.X_OK))


def _write(path: Path, file: File) -> None:
    """Writes a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(file.content)
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod((0o777 if file.executable else 0o666) & ~mask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
