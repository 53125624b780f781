# SPDX-License-Identifier: GPL-3.0-or-later
"""An emergency, rehearsed: a token has leaked; nothing publishes any more, and then again."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

from lab import services
from lab.checkout import Checkout
from lab.inventory import read_pythons
from lab.jobs import project_at
from lab.pipelines import Pipeline, follow
from lab.world import status
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


def uploaded_by_hand(site: Site, token: str, number: str, tag: str) -> None:
    """Whoever has the token uploads a wheel, past all pipelines."""
    stem = f"rehearsed_demo-{number}"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("WHEEL", "METADATA", "RECORD"):
            archive.writestr(f"{stem}.dist-info/{name}", "\n")
    content = packed.getvalue()
    form = {":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1",
            "name": NAME, "version": number, "filetype": "bdist_wheel", "pyversion": "py3",
            "sha256_digest": hashlib.sha256(content).hexdigest()}  # fmt: skip
    answer = requests.post(
        f"{index_url(site)}/legacy/", data=form, auth=("__token__", token), timeout=30,
        files={"content": (f"{stem}-{tag}.whl", content)}, verify=str(site.lab.ca_file),
    )  # fmt: skip
    assert answer.status_code == 200, answer.text


def index_url(site: Site) -> str:
    """The index, as the controller reaches it."""
    network = status(site.lab).network
    assert network
    return services.index_url(str(network.gateway), "index")


def test_the_watch_names_what_was_uploaded_past_the_pipeline(
    site: Site,
    rehearsal: Rehearsal,
    project: ProjectInfo,
    token: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first test has released 1.0.0 and 1.0.2."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(site.lab.ca_file))
    url = index_url(site)
    inputs = {"index": "lab", "upload_url": f"{url}/legacy/", "simple_url": f"{url}/simple/",
              "test_index": ""}  # fmt: skip

    def watched() -> str:
        extra = {**rehearsal.inventory, "release_pipeline_inputs": inputs}
        run = site.playbook("watch.yml", extra=extra)
        # The lab's token may upload all projects of its account, which is a finding, too.
        assert run.code == 2
        return re.sub(r"\s+", " ", run.output)

    before = watched()
    assert f"{ONE}: lab: {NAME}: 4 files of 2 versions, 4 compared with the jobs" in before
    assert "find out who has uploaded it" not in before
    uploaded_by_hand(site, token, "1.0.2", "cp312-cp312-win_amd64")
    uploaded_by_hand(site, token, "6.6.6", "py3-none-any")
    after = watched()
    assert "rehearsed_demo-1.0.2-cp312-cp312-win_amd64.whl (1 file, uploaded 20" in after
    assert f"{NAME} 6.6.6 (1 file, uploaded 20" in after
    assert f"{ONE} has no tag v6.6.6" in after
    # Ansible says it twice: its error, and the task's result.
    found = re.findall(r"lab: [^;]*; find out who has uploaded it", after)
    assert (len(found), len(set(found))) == (4, 2)
    assert leaks(site, {token}) == set()
