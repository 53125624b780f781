# SPDX-License-Identifier: GPL-3.0-or-later
"""The workflow for GitHub: GitHub's schema, and zizmor, which knows how workflows are attacked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _github_workflow
from tests.pipelines.conftest import Checker
from tests.release.conftest import Desk
from tests.release.projects import Project

AUTHS = ("trusted", "token")


def workflow(auth: str) -> str:
    (text,) = _github_workflow.files([{"pythons": ["3.10", "3.12"], "auth": auth}]).values()
    return text.decode()


def judged(checker: Checker, folder: Path, text: str) -> tuple[str, str]:
    """What the schema and zizmor say against a workflow; empty if nothing."""
    path = folder / ".github" / "workflows" / "release.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    said = []
    for argv in (
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
        # Of all severities, without asking GitHub.
        ["zizmor", "--offline", "--no-config", "--persona", "auditor", "--no-progress"],
    ):
        done = subprocess.run([checker.bin / argv[0], *argv[1:], path], check=False, timeout=60,
                              capture_output=True, text=True)  # fmt: skip
        said.append("" if done.returncode == 0 else done.stdout + done.stderr)
    return said[0], said[1]


@pytest.mark.parametrize("auth", AUTHS)
def test_nothing_is_found(checker: Checker, tmp_path: Path, auth: str) -> None:
    assert judged(checker, tmp_path, workflow(auth)) == ("", "")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7", "unpinned-uses"),
        ("persist-credentials: false", "persist-credentials: true", "artipacked"),
        ('name=$GITHUB_REF_NAME"', 'name=${{ github.head_ref }}"', "template-injection"),
        ('"on":\n', '"on":\n  pull_request_target:\n', "dangerous-triggers"),
    ],
)
def test_zizmor_finds_a_planted_weakness(
    checker: Checker, tmp_path: Path, before: str, after: str, says: str
) -> None:
    text = workflow("trusted").replace('echo "index=$index"', 'echo "name=$GITHUB_REF_NAME"')
    assert before in text
    assert says in judged(checker, tmp_path, text.replace(before, after))[1]


def test_the_schema_finds_a_planted_mistake(checker: Checker, tmp_path: Path) -> None:
    text = workflow("trusted").replace("runs-on:", "run-on:", 1)
    assert "run-on" in judged(checker, tmp_path, text)[0]


@pytest.fixture
def project(tmp_path: Path, two: tuple[str, str]) -> Project:
    """A project with its workflow and what that runs."""
    (tmp_path / "demo").mkdir()
    made = Project(tmp_path / "demo").pure("demo", "1.2.3")
    for source, name in (
        (_github_workflow.PROGRAM, "release.py"),
        (_github_workflow.LOCK, _github_workflow.TOOLS),
    ):
        shutil.copy(source, made.folder / name)
    made.commit("v1.2.3")
    return made


def test_the_jobs_build_test_and_keep_what_the_upload_compares(
    project: Project, desk: Desk, tools: Path, two: tuple[str, str], tmp_path: Path
) -> None:
    """Their scripts on this machine, with tools that are there already."""
    (text,) = _github_workflow.files([{"pythons": list(two)}]).values()
    jobs = yaml.safe_load(text)["jobs"]
    (tmp_path / "tools").symlink_to(tools.parent)
    output = tmp_path / "output"
    given = {
        "RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(output), "GITHUB_REF_TYPE": "tag",
        "GITHUB_REF_NAME": "v1.2.3", "GITHUB_EVENT_NAME": "push",
    }  # fmt: skip

    def run(folder: Path, job: str, name: str, **more: str) -> str:
        (one,) = [step for step in jobs[job]["steps"] if step["name"] == name]
        child = desk.start(folder, "bash", "-eo", "pipefail", "-c", one["run"],
                           **{**given, **one.get("env", {}), **more})  # fmt: skip
        said, _ = child.communicate(timeout=300)
        assert child.returncode == 0, said
        return said

    run(project.folder, "build", "Build and check")
    run(project.folder, "build", "Note the digest of what was built")
    sums = output.read_text().removeprefix("sums=").strip()
    for python in two:
        said = run(project.folder, "test", "Test", PYTHON=python)
        assert f"test on {python}: done" in said
    # The job with the token, in a folder without the project.
    place = tmp_path / "upload"
    shutil.copytree(project.folder / "dist", place / "dist")
    (place / "program").mkdir()
    for name in ("release.py", _github_workflow.TOOLS):
        shutil.copy(project.folder / name, place / "program")
    run(place, "publish", "Compare both with what is expected", SUMS=sums)
    (upload,) = [step for step in jobs["publish"]["steps"] if step["name"] == "Upload"]
    child = desk.start(place, "bash", "-eo", "pipefail", "-c", upload["run"],
                       **{**given, **upload["env"], "GITHUB_ACTIONS": "true"})  # fmt: skip
    said, _ = child.communicate(timeout=60)
    # All but what only GitHub gives.
    assert "ACTIONS_ID_TOKEN_REQUEST_TOKEN: empty; give the job" in " ".join(said.split())
