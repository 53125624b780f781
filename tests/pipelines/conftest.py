# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's schema and gitlab-ci-local, which compiles and runs pipelines on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _pipeline_template
from lab.pipeline_tools import PipelineTools, ensure_pipeline_tools
from lab.places import cache_dir
from tests.release.conftest import Desk, index, pythons, tools, two
from tests.release.projects import Project

__all__ = ["index", "pythons", "tools", "two"]

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "$CI_SERVER_FQDN/$CI_PROJECT_PATH/python-release@$CI_COMMIT_SHA"
"""The component, in the project that holds it."""
FORMS = ("component", "standalone")
INPUTS = {"pythons": ["3.9", "3.12"], "build_tags": ["build"]}


class Checker(PipelineTools):
    """Programs that judge pipelines."""

    def schema(self, file: Path) -> str:
        """What GitLab's schema says against a file; empty if nothing."""
        done = subprocess.run(
            [self.bin / "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci",
             "--data-transform", "gitlab-ci", file],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return "" if done.returncode == 0 else done.stdout + done.stderr

    def run(
        self,
        folder: Path,
        variables: Mapping[str, str | None],
        *words: str,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs gitlab-ci-local with these CI/CD variables; None takes one away."""
        options = ["--file", ".gitlab-ci.yml", "--force-shell-executor"]
        options += ["--ignore-predefined-vars", ",".join(variables)]
        for name, value in variables.items():
            gone = ["--unset-variable", name]
            options += gone if value is None else ["--variable", f"{name}={value}"]
        return subprocess.run(
            [*self.gitlab_ci_local, *words, *options], cwd=folder, text=True, check=False,
            capture_output=True, stdin=subprocess.DEVNULL, timeout=600, env=environment,
        )  # fmt: skip

    def jobs(self, folder: Path, variables: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
        """The jobs of the pipeline that these variables make."""
        done = self.run(folder, variables, "--list-json")
        assert done.returncode == 0, done.stdout + done.stderr
        listed = json.loads(done.stdout[done.stdout.index("[\n") :])
        return {job["name"]: job for job in listed if job["when"] != "never"}


@pytest.fixture(scope="session")
def checker(request: pytest.FixtureRequest) -> Checker:
    """The programs of both locks, in the cache."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        tools = ensure_pipeline_tools()
    if not shutil.which("rsync"):
        pytest.skip("skipped: gitlab-ci-local needs rsync")
    return Checker(tools.folder)


def pipeline(form: str, *packages: Mapping[str, Any]) -> str:
    """A project's .gitlab-ci.yml."""
    inputs, body = _pipeline_template.parts(_pipeline_template.TEMPLATE.read_text())
    whole = [{**INPUTS, **given} for given in packages or ({},)]
    for given in whole:
        assert not list(_pipeline_template.problems("inputs", inputs, given))
    if form == "component":
        return _pipeline_template.included(ADDRESS, whole)
    return "\n".join(_pipeline_template.rendered(inputs, body, given) for given in whole)


def committed(project: Project, form: str, *packages: Mapping[str, Any]) -> Project:
    """A project with its pipeline, and a remote with its default branch."""
    place = project.folder / "templates" / _pipeline_template.NAME
    shutil.copytree(_pipeline_template.TEMPLATE.parent, place, dirs_exist_ok=True)
    (project.folder / ".gitlab-ci.yml").write_text(pipeline(form, *packages))
    project.commit()
    remote = project.folder.parent / f"{project.folder.name}.git"
    if remote.exists():
        return project
    project.git("clone", "--quiet", "--bare", ".", str(remote))
    url = "https://gitlab.example.com/group/demo.git"
    project.git("remote", "add", "origin", url)
    project.git("config", f"url.{remote}.insteadOf", url)
    project.git("fetch", "--quiet")
    project.git("remote", "set-head", "origin", "main")
    return project


@pytest.fixture
def desk(tools: Path, pythons: dict[str, Path], tmp_path: Path) -> Desk:
    """A runner host's job user, with the release program on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "runnerhost-release"
    # Each job's environment is kept for the tests.
    program.write_text(
        f'#!/bin/sh\nenv >"{tmp_path}/$(echo "$CI_JOB_NAME" | tr -d " :[]").env"\n'
        f'exec {tools}/python -I {ROOT}/release/release.py "$@"\n'
    )
    program.chmod(0o755)
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("CI", "GITLAB", "TWINE_", "PYTHON"))}  # fmt: skip
    folders = {str(path.parent) for path in pythons.values()}
    path = ":".join([str(programs), *folders, "/usr/local/bin:/usr/bin:/bin"])
    return Desk(tmp_path, {**kept, "PATH": path, "HOME": str(tmp_path / "home"),
                           "UV_CACHE_DIR": str(cache_dir() / "uv")})  # fmt: skip
