# SPDX-License-Identifier: GPL-3.0-or-later
"""An emergency, rehearsed: a token has leaked; nothing publishes any more, and then again."""

from __future__ import annotations

import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.checkout import Checkout
from lab.inventory import read_pythons
from lab.jobs import project_at
from lab.pipeline_tools import ensure_pipeline_tools
from lab.pipelines import Pipeline, follow
from lab.platforms import all_platforms
from lab.world import up
from standins.gitlab.client import LabGitLab, ProjectInfo
from tests.lab.broken_releases import job_beside, several
from tests.lab.leaks import leaks
from tests.lab.site import Run, Site, until
from tests.lab.test_release import listed, push_tag, version
from tests.release.projects import Project

pytestmark = [pytest.mark.lab, pytest.mark.slow]

ONE, TWO = "demo/one", "demo/two"
NAME = "rehearsed-demo"
LONG = "sleep 4321"
"""A job that is running when the token leaks."""


@pytest.fixture(scope="module")
def gitlab(site: Site) -> Iterator[LabGitLab]:
    ensure_pipeline_tools()
    up(site.lab, [all_platforms()["jammy"]], publishing=True)
    run = site.playbook("site.yml")
    assert run.code == 0, run.output
    with site.gitlab() as client:
        yield client


@pytest.fixture(scope="module")
def token(site: Site, gitlab: LabGitLab) -> str:
    """The index's, which leaks."""
    return str(site.variables["lab_index_token"])


class Rehearsal:
    """The playbooks with what the inventory says."""

    def __init__(self, site: Site, token: str, note: Path) -> None:
        self.site, self.note = site, note
        variable = {"key": "TWINE_PASSWORD", "environment": "pypi", "value": token}
        inputs = {
            "build_tags": ["jammy"], "pythons": [read_pythons(site.lab)["jammy"][-1]],
            "wheels": "one_job", "test_command": "python -m unittest discover -s tests",
        }  # fmt: skip
        self.inventory: dict[str, Any] = {
            "gitlab_project_projects": [
                {"project": ONE, "protected_tags": [{"name": "v*"}], "variables": [variable]},
                {"project": TWO, "variables": [variable]},
            ],
            "gitlab_project_groups": [
                {"group": "demo", "variables": [{**variable, "environment": "*"}]}
            ],
            "release_pipeline_projects": [{"project": ONE, "inputs": inputs}],
            "index_credentials_indexes": [
                {"kind": "other", "name": "lab", "login": "__token__", "password": token,
                 "url": f"{site.variables['lab_index_url']}/simple/"}
            ],
        }  # fmt: skip

    def play(self, name: str, *words: str, **extra: Any) -> Run:
        run = self.site.playbook(name, *words, extra={**self.inventory, **extra})
        assert run.code == 0, run.output
        return run

    def revoke(self, *words: str) -> Run:
        return self.play("revoke.yml", *words, gitlab_project_revoke_note=str(self.note))

    def undo(self, *words: str) -> Run:
        return self.play("revoke.yml", *words, gitlab_project_revoke_undo=str(self.note))


@pytest.fixture(scope="module")
def rehearsal(
    site: Site, gitlab: LabGitLab, token: str, tmp_path_factory: pytest.TempPathFactory
) -> Rehearsal:
    """Two projects, one of which publishes, with the token in six places."""
    made = Rehearsal(site, token, tmp_path_factory.mktemp("incident") / "incident.md")
    project = project_at(gitlab, ONE)
    project_at(gitlab, TWO)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        Project(source).pure("rehearsed_demo", "1.0.0")
        checkout = Checkout.copy_of(source, Path(folder) / "checkout")
        checkout.commit("A project")
        gitlab.push(project, checkout.folder, "HEAD:refs/heads/main")
    made.play("project.yml")
    made.play("pipeline.yml")
    # Set by hand, in a hurry, by somebody.
    body = {"key": "UPLOAD_TOKEN", "value": token, "raw": True}
    gitlab.api("POST", f"/projects/{project.id}/variables", json=body)
    schedules = f"/projects/{project.id}/pipeline_schedules"
    nightly = gitlab.api("POST", schedules, json={"description": "nightly", "ref": "main",
                                                  "cron": "0 1 * * *"})  # fmt: skip
    gitlab.api("POST", f"{schedules}/{nightly['id']}/variables",
               json={"key": "NIGHTLY_TOKEN", "value": token})  # fmt: skip
    return made


@pytest.fixture(scope="module")
def project(gitlab: LabGitLab, rehearsal: Rehearsal) -> ProjectInfo:
    return gitlab.project(ONE)


def state_of(pipeline: Pipeline, name: str) -> str:
    """The status of a job; empty if there is none."""
    return next((job.status for job in pipeline.jobs() if job.name == name), "")


def in_gitlab(gitlab: LabGitLab, project: ProjectInfo) -> dict[str, Any]:
    """What an emergency is to change."""
    (runner,) = (one for one in gitlab.api("GET", "/runners/all?per_page=100")
                 if one["description"].endswith(" publish"))  # fmt: skip
    variables = gitlab.api("GET", f"/projects/{project.id}/variables")
    pipelines = gitlab.api("GET", f"/projects/{project.id}/pipelines")
    return {
        "paused": runner["paused"],
        "variables": sorted(one["key"] for one in variables),
        "group": [one["key"] for one in gitlab.api("GET", "/groups/demo/variables")],
        "pipelines": {one["ref"]: one["status"] for one in pipelines},
    }


def test_an_emergency_is_rehearsed_made_and_undone(
    site: Site, gitlab: LabGitLab, rehearsal: Rehearsal, project: ProjectInfo, token: str
) -> None:
    follow(push_tag(gitlab, project, "v1.0.0"), "v1.0.0", 900)
    released = set(listed(site, NAME))
    assert len(released) == 2

    # A job runs when the token leaks.
    change = several(version("1.0.1"), job_beside("jammy", LONG))
    running = push_tag(gitlab, project, "v1.0.1", change)
    until(lambda: state_of(running, "mine") == "running", 300, "the long job to run")
    before = in_gitlab(gitlab, project)
    assert before["variables"] == ["TWINE_PASSWORD", "UPLOAD_TOKEN"]

    # The rehearsal says what would be done, and does none of it.
    rehearsed = rehearsal.revoke("--check", "--diff")
    assert rehearsed.counts("localhost")["changed"] == 1
    assert in_gitlab(gitlab, project) == before
    assert not rehearsal.note.exists()

    done = rehearsal.revoke("--diff")
    assert done.counts("localhost")["changed"] == 1
    after = in_gitlab(gitlab, project)
    assert (after["paused"], after["variables"], after["group"]) == (True, [], [])
    assert after["pipelines"]["v1.0.0"] == "success"
    until(lambda: state_of(running, "mine") == "canceled", 120, "the long job to end")
    assert site.sh(f"pgrep -f '{LONG}' || true") == ""
    said = re.sub(r"\s+", " ", done.output)
    for place in (
        f"{ONE}: TWINE_PASSWORD (pypi)", f"{ONE}: UPLOAD_TOKEN", f"{TWO}: TWINE_PASSWORD (pypi)",
        "group demo: TWINE_PASSWORD", f"{ONE}, pipeline schedule 1: NIGHTLY_TOKEN",
        "host jammy: index_credentials_indexes, lab",
    ):  # fmt: skip
        assert place in said, done.output
        assert place in rehearsal.note.read_text()
    # What had it: the job that published, its runner and host.
    assert re.search(r"job \d+ \(release-publish\) of v1\.0\.0, started .*jammy publish", said)
    assert stat.S_IMODE(rehearsal.note.stat().st_mode) == 0o600
    assert rehearsal.revoke("--diff").counts("localhost")["changed"] == 0

    # No job can publish: it waits, and the doctor says why.
    waiting = push_tag(gitlab, project, "v1.0.2", version("1.0.2"))
    until(lambda: state_of(waiting, "release-publish") == "pending", 600, "the upload to wait")
    asked = {"release_pipeline_doctor_project": ONE, "release_pipeline_doctor_tag": "v1.0.2"}
    told = site.playbook("doctor.yml", extra={**rehearsal.inventory, **asked})
    assert told.code == 2
    assert "The runner is paused in GitLab." in told.output, told.output
    assert set(listed(site, NAME)) == released

    # The undo brings it back: the job that waits is taken, and has its token.
    predicted = rehearsal.undo("--check").counts("localhost")["changed"]
    assert in_gitlab(gitlab, project)["paused"]
    undone = rehearsal.undo("--diff")
    assert undone.counts("localhost")["changed"] == predicted
    follow(waiting, "v1.0.2", 600)
    assert f"{NAME.replace('-', '_')}-1.0.2.tar.gz" in listed(site, NAME)
    assert in_gitlab(gitlab, project)["variables"] == ["TWINE_PASSWORD"]
    assert rehearsal.undo().counts("localhost")["changed"] == 0
    # What only a person can put back is named.
    assert "UPLOAD_TOKEN" in undone.output
    assert token not in rehearsal.note.read_text()
    assert leaks(site, {token}) == set()
