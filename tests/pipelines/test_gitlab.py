# SPDX-License-Identifier: GPL-3.0-or-later
"""The component in the lab's GitLab: which jobs a push makes, and which runner may take them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _pipeline_template
from lab.run import until
from standins.gitlab import Settings
from standins.gitlab.client import LabGitLab, ProjectInfo
from standins.gitlab.thread import bound_socket, serving
from tests.pipelines.conftest import INPUTS, Checker
from tests.pipelines.test_component import BUILD, FINAL, PRE_RELEASE, short
from tests.release.projects import Project


@pytest.fixture
def gitlab(checker: Checker, tmp_path: Path) -> Iterator[LabGitLab]:
    """The lab's GitLab with the component in a project."""
    with bound_socket() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = Settings(
            tmp_path / "gitlab", url, "lab-secret", "glpat-Administrator",
            compiler=tuple(checker.gitlab_ci_local),
        )  # fmt: skip
        with (
            serving(settings, listener),
            LabGitLab(url, settings.lab_secret, settings.admin_token) as made,
        ):
            yield made


class Demo:
    """A project that includes the component, and its working tree."""

    def __init__(self, gitlab: LabGitLab, folder: Path, inputs: dict[str, Any]) -> None:
        self.gitlab = gitlab
        template = folder / "component"
        template.mkdir(parents=True)
        component = Project(template)
        component.write(
            "templates/python-release/template.yml", _pipeline_template.TEMPLATE.read_text()
        )
        component.commit()
        pin = gitlab.push(gitlab.create_project("tools/component"), template, "HEAD:main")
        (folder / "demo").mkdir()
        self.tree = Project(folder / "demo").pure("demo", "1.2.3")
        address = f"$CI_SERVER_FQDN/tools/component/python-release@{pin}"
        text = _pipeline_template.included(address, [{**INPUTS, **inputs}])
        self.tree.write(".gitlab-ci.yml", text)
        self.tree.commit()
        self.info: ProjectInfo = gitlab.create_project("group/demo")

    def pipeline(self, *refspecs: str, ref: str) -> dict[str, Any]:
        """The pipeline that a push makes."""
        sha = self.gitlab.push(self.info, self.tree.folder, *refspecs)
        path = f"/projects/{self.info.id}/pipelines"
        found: list[dict[str, Any]] = []

        def made() -> bool:
            found[:] = self.gitlab.api("GET", path, params={"ref": ref, "sha": sha})
            return bool(found)

        until(made, timeout=60, what=f"the pipeline of {ref}")
        return dict(self.gitlab.api("GET", f"{path}/{found[0]['id']}"))

    def jobs(self, pipeline: dict[str, Any]) -> list[dict[str, Any]]:
        """The jobs of a pipeline."""
        path = f"/projects/{self.info.id}/pipelines/{pipeline['id']}/jobs"
        return list(self.gitlab.api("GET", path, params={"per_page": 100}))

    def pushed(self, *refspecs: str, ref: str) -> set[str]:
        """The names of the jobs that a push makes."""
        pipeline = self.pipeline(*refspecs, ref=ref)
        assert pipeline["yaml_errors"] is None
        return short(job["name"] for job in self.jobs(pipeline))


def test_jobs_of_what_is_pushed(gitlab: LabGitLab, tmp_path: Path) -> None:
    demo = Demo(gitlab, tmp_path, {"publish_dev": True, "paths": ["src/**/*"]})
    for name in ("v1.2.3", "v1.2.3rc1", "v1.2.4", "vendor"):
        demo.tree.git("tag", name)
    # The first push has nothing that it could be compared with.
    assert demo.pushed("HEAD:main", ref="main") == set(PRE_RELEASE.split())
    assert demo.pushed("HEAD:topic", ref="topic") == set(BUILD.split())
    assert demo.pushed("v1.2.4", ref="v1.2.4") == set(f"{BUILD} tag-not-protected".split())
    gitlab.api("POST", f"/projects/{demo.info.id}/protected_tags", json={"name": "v*"})
    assert demo.pushed("v1.2.3", ref="v1.2.3") == set(FINAL.split())
    assert demo.pushed("v1.2.3rc1", ref="v1.2.3rc1") == set(PRE_RELEASE.split())
    demo.tree.write("src/demo/__init__.py", "answer = 43\n")
    demo.tree.commit()
    assert demo.pushed("HEAD:main", ref="main") == set(PRE_RELEASE.split())


def test_what_makes_no_pipeline(gitlab: LabGitLab, tmp_path: Path) -> None:
    demo = Demo(gitlab, tmp_path, {"paths": ["src/**/*"]})
    demo.pushed("HEAD:main", ref="main")
    demo.tree.git("tag", "vendor")
    demo.tree.write("docs/more.md", "More.\n")
    demo.tree.commit()
    gitlab.push(demo.info, demo.tree.folder, "HEAD:main", "vendor")
    # Pipelines are made one after the other: this one is behind those of the push.
    demo.pushed("HEAD:topic", ref="topic")
    path = f"/projects/{demo.info.id}/pipelines"
    assert [one["ref"] for one in gitlab.api("GET", path)] == ["topic", "main"]


def test_the_upload_is_for_the_protected_runner_alone(gitlab: LabGitLab, tmp_path: Path) -> None:
    demo = Demo(gitlab, tmp_path, {})
    gitlab.api("POST", f"/projects/{demo.info.id}/protected_tags", json={"name": "v*"})
    demo.tree.git("tag", "v1.2.3")
    pipeline = demo.pipeline("v1.2.3", ref="v1.2.3")
    upload = next(job for job in demo.jobs(pipeline) if job["name"] == "release-publish")
    assert upload["tag_list"] == ["publish"]
    builds = {job["name"] for job in demo.jobs(pipeline) if job["tag_list"] == ["build"]}
    assert len(builds) == len(FINAL.split()) - 1
    assert {job["name"]: job["status"] for job in demo.jobs(pipeline)}["release-sdist"] == "pending"
