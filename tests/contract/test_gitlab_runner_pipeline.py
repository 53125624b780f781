# SPDX-License-Identifier: GPL-3.0-or-later
"""A pushed .gitlab-ci.yml becomes a pipeline that a runner program runs to its end."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from standins.gitlab.client import LabGitLab, ProjectInfo
from tests.contract.harness import Daemon, Host
from tests.contract.pipelines import eventually, git

pytestmark = pytest.mark.usefixtures("compiler")

CONFIG = """\
stages: [build, test]
variables: {GREETING: "hello"}
build:
  stage: build
  parallel: {matrix: [{WHO: [world, moon]}]}
  script:
    - cat hello.txt
    - mkdir dist
    - echo "$GREETING $WHO" >"dist/$WHO.txt"
    - echo "KIND=built" >build.env
  artifacts:
    paths: [dist/]
    reports: {dotenv: build.env}
test:
  stage: test
  needs: [build]
  script:
    - cat dist/world.txt dist/moon.txt >all.txt
    - echo "$CI_COMMIT_TAG $KIND $CI_PIPELINE_SOURCE" >>all.txt
    - test "$(ls dist)" = "$(printf 'moon.txt\\nworld.txt')"
  artifacts: {paths: [all.txt]}
empty:
  stage: test
  needs: [{job: build, artifacts: false}]
  variables: {GIT_STRATEGY: empty}
  script:
    - test -z "$(ls -A)"
broken:
  stage: test
  needs: []
  allow_failure: true
  script: [exit 3]
  after_script: [echo "after it $CI_JOB_STATUS"]
"""


@pytest.fixture
def project(gitlab: LabGitLab, host: Host, tmp_path: Path) -> tuple[ProjectInfo, Path]:
    """A project with a pipeline, and its working tree."""
    (tmp_path / "hello.txt").write_text("hello\n")
    (tmp_path / ".gitlab-ci.yml").write_text(CONFIG)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "First")
    git(tmp_path, "tag", "v1.0", "-m", "One")
    return gitlab.create_project(f"group/{host.root.name}"), tmp_path


def test_a_pushed_tag_runs_to_its_end(
    gitlab: LabGitLab,
    host: Host,
    start: Callable[..., Daemon],
    project: tuple[ProjectInfo, Path],
) -> None:
    info, folder = project
    runner = gitlab.create_runner(runner_type="project_type", project_id=info.id)
    host.write_config(runner)
    gitlab.push(info, folder, "refs/tags/v1.0")
    start()

    def ended() -> dict[str, Any] | None:
        for found in gitlab.api("GET", f"/projects/{info.id}/pipelines?ref=v1.0"):
            if found["status"] in ("success", "failed"):
                return dict(found)
        return None

    pipeline = eventually(ended, "the end of the pipeline")
    jobs = {
        job["name"]: job
        for job in gitlab.api("GET", f"/projects/{info.id}/pipelines/{pipeline['id']}/jobs")
    }
    traces = {name: gitlab.trace(job["id"]) for name, job in jobs.items()}
    assert {name: job["status"] for name, job in jobs.items()} == {
        "build: [world]": "success",
        "build: [moon]": "success",
        "test": "success",
        "empty": "success",
        "broken": "failed",
    }, traces
    assert pipeline["status"] == "success"
    assert "after it failed" in traces["broken"]
    with zipfile.ZipFile(io.BytesIO(gitlab.artifacts(jobs["test"]["id"]))) as archive:
        assert archive.read("all.txt") == b"hello world\nhello moon\nv1.0 built push\n"
    checks = [gitlab.job(job["id"]).checksum_ok for job in jobs.values()]
    assert checks == [True] * len(checks)
