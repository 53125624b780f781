# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases that were made, and went wrong, in the lab: the doctor names the cause of each."""

from __future__ import annotations

import json
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.checkout import Checkout
from lab.inventory import read_pythons
from lab.jobs import project_at
from lab.pipelines import ENDED
from lab.pki import ensure_ca
from lab.services import bind
from lab.world import status
from standins.gitlab.client import LabGitLab, ProjectInfo
from standins.index.server import Index
from tests.lab.broken_releases import BROKEN, HEALTHY, HOST, UNKNOWN, Case, token_of
from tests.lab.leaks import leaks
from tests.lab.site import Site, until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

CASES = {**BROKEN, **HEALTHY, **UNKNOWN}
SECONDS = 1800
IDLE = {"nowhere", "paused", "offline"}
"""Tags of jobs that no runner will take; nor does the protected one without protection."""


NO_PIPELINE = {"no_tag", "no_ci_file", "no_pipeline"}


def path_of(name: str) -> str:
    return f"demo/{name.replace('_', '-')}"


@pytest.fixture(scope="module")
def gitlab(gitlab: LabGitLab) -> LabGitLab:
    """With two more runners: one that never calls, and one that is paused."""
    gitlab.create_runner(description="offline", tag_list="offline", run_untagged=False)
    gitlab.create_runner(description="paused", tag_list="paused", run_untagged=False, paused=True)
    return gitlab


@pytest.fixture(scope="module")
def indexes(site: Site, gitlab: LabGitLab) -> Iterator[dict[str, Index]]:
    """An index that works, and one that takes no uploads now."""
    network = status(site.lab).network
    assert network
    gateway = str(network.gateway)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ensure_ca(site.lab).issue_cert(HOST).configure_cert(context)
    site.sh(f"echo {gateway} {HOST} >> /etc/hosts")
    with ExitStack() as stack:
        made = {}
        for name in ("good", "read_only"):
            made[name] = stack.enter_context(Index(bind(gateway, 0), context, HOST))
        made["read_only"].pypi.read_only = True
        yield made


def inputs_of(case: Case, indexes: Mapping[str, Index], python: str) -> dict[str, Any]:
    """The inputs of a project's pipeline."""
    # On the port of TCP 1 nothing listens.
    url = f"https://{HOST}:1" if case.index == "gone" else indexes[case.index].url
    both = {"upload_url": f"{url}/legacy/", "simple_url": f"{url}/simple/"}
    return {
        "build_tags": ["jammy"], "pythons": [python], "wheels": "one_job", "index": "lab",
        "test_index": "lab", **both, **{f"test_{key}": value for key, value in both.items()},
        # Branches have no pipelines: the tags' are enough.
        "paths": ["nothing/*"], "test_command": "python -m unittest discover -s tests",
        **case.inputs,
    }  # fmt: skip


def declared(site: Site, indexes: Mapping[str, Index]) -> dict[str, Any]:
    """The inventory of all projects."""
    python = read_pythons(site.lab)["jammy"][-1]
    projects, pipelines = [], []
    for name, case in CASES.items():
        value = token_of(case, indexes[case.index if case.index != "gone" else "good"].pypi)
        environment = "testpypi" if "rc" in case.tag else case.environment
        variable = {"key": "TWINE_PASSWORD", "environment": environment, "value": value}
        tags = [{"name": "v*"}, {"name": "one-v*"}] if case.protected else []
        projects.append({"project": path_of(name), "variables": [variable] if value else [],
                         "protected_tags": tags})  # fmt: skip
        if case.pipeline:
            more = {"packages": [dict(one) for one in case.packages]} if case.packages else {}
            inputs = inputs_of(case, indexes, python)
            pipelines.append({"project": path_of(name), "inputs": inputs, **more})
    return {"gitlab_project_projects": projects, "release_pipeline_projects": pipelines}


def push(gitlab: LabGitLab, project: ProjectInfo, case: Case) -> None:
    """Tags a commit with the case's change, and pushes the tag."""
    with tempfile.TemporaryDirectory() as folder:
        checkout = Checkout(Path(folder) / "project")
        gitlab.git("clone", "--quiet", gitlab.address(project), str(checkout.folder))
        if case.change:
            case.change(checkout.folder)
        if case.change or case.message != "A change":
            (checkout.folder / "CHANGES").write_text("A change\n")
            checkout.commit(case.message)
        checkout.git("tag", case.tag)
        if case.pushed:
            gitlab.push(project, checkout.folder, f"refs/tags/{case.tag}")


def cancel(gitlab: LabGitLab, project: ProjectInfo) -> None:
    """Cancels the pipeline of a project, once GitLab has made it."""
    address = f"/projects/{project.id}/pipelines"
    (one,) = until(lambda: gitlab.api("GET", address), SECONDS, "the pipeline")
    gitlab.api("POST", f"{address}/{one['id']}/cancel")


def settled(gitlab: LabGitLab, project: ProjectInfo, case: Case) -> bool:
    """Whether nothing of a project's pipelines will change any more."""
    address = f"/projects/{project.id}"
    pipelines = gitlab.api("GET", f"{address}/pipelines")
    # GitLab makes them one after the other.
    if not pipelines and not NO_PIPELINE & set(case.finds):
        return False
    for pipeline in pipelines:
        if pipeline["status"] in ENDED:
            continue
        jobs = gitlab.api("GET", f"{address}/pipelines/{pipeline['id']}/jobs?per_page=100")
        for job in jobs:
            tags = set(job["tag_list"])
            stuck = tags & IDLE or (tags == {"publish"} and "unprotected" in project.path)
            if job["status"] == "running" or (job["status"] == "pending" and not stuck):
                return False
    return True


@pytest.fixture(scope="module")
def released(
    site: Site, gitlab: LabGitLab, indexes: Mapping[str, Index]
) -> dict[str, tuple[ProjectInfo, Case]]:
    """All releases, as far as they came."""
    made = {}
    for name, case in CASES.items():
        project = project_at(gitlab, path_of(name))
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "source"
            source.mkdir()
            case.make(f"case_{name}")(source)
            checkout = Checkout.copy_of(source, Path(folder) / "checkout")
            checkout.commit("A project")
            gitlab.push(project, checkout.folder, "HEAD:refs/heads/main")
        if case.on_index:
            case.on_index(indexes[case.index].pypi, f"case_{name}")
        made[name] = project, case
    inventory = declared(site, indexes)
    for playbook in ("project.yml", "pipeline.yml"):
        run = site.playbook(playbook, extra=inventory)
        assert run.code == 0, run.output
    for project, case in made.values():
        for variable in case.variables:
            gitlab.api("POST", f"/projects/{project.id}/variables", json=dict(variable))
        push(gitlab, project, case)
        if case.canceled:
            cancel(gitlab, project)
    for name, (project, case) in made.items():
        until(partial(settled, gitlab, project, case), SECONDS, f"the end of {name}")
    return made


@pytest.fixture(scope="module")
def reader(gitlab: LabGitLab) -> str:
    """An access token that may only read."""
    return gitlab.create_token("read_api")


def diagnosed(
    site: Site, reader: str, name: str, case: Case, folder: Path
) -> tuple[int, list[dict[str, Any]]]:
    """The doctor's exit code and verdicts."""
    report = folder / "report.json"
    run = site.playbook(
        "doctor.yml",
        extra={
            "release_pipeline_api_token": reader,
            "release_pipeline_doctor_project": path_of(name),
            "release_pipeline_doctor_tag": case.tag,
            "release_pipeline_doctor_report": str(report),
        },
    )
    assert report.exists(), run.output
    found: list[dict[str, Any]] = json.loads(report.read_text())["verdicts"]
    for one in found:
        assert one["evidence"], run.output
    return run.code, found


Released = dict[str, tuple[ProjectInfo, Case]]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_release_has_the_right_cause_first(
    site: Site, released: Released, reader: str, tmp_path: Path, name: str
) -> None:
    case = BROKEN[name]
    code, found = diagnosed(site, reader, name, case, tmp_path)
    assert code == 2
    ids = [one["id"] for one in found]
    assert ids[0] == case.finds[0], found
    assert set(case.finds) <= set(ids), found
    assert case.says in json.dumps(found)
    assert found[0]["cure"]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_release_that_went_well_has_no_fault(
    site: Site, released: Released, reader: str, tmp_path: Path, name: str
) -> None:
    code, found = diagnosed(site, reader, name, HEALTHY[name], tmp_path)
    assert [one["id"] for one in found] == ["healthy"], found
    assert code == 0


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_called_so(
    site: Site, released: Released, reader: str, tmp_path: Path, name: str
) -> None:
    code, found = diagnosed(site, reader, name, UNKNOWN[name], tmp_path)
    assert [one["id"] for one in found] == ["unknown"], found
    assert code == 2


def test_there_are_enough_of_them() -> None:
    assert len(BROKEN) >= 25
    assert len([case for case in BROKEN.values() if len(case.finds) == 2]) == 5
    assert (len(HEALTHY), len(UNKNOWN)) == (5, 3)


def test_no_token_was_shown(
    site: Site, released: Released, indexes: Mapping[str, Index], reader: str
) -> None:
    secrets = {text for index in indexes.values() for text in index.pypi.tokens}
    assert len(secrets) > len(BROKEN) // 2
    assert leaks(site, {*secrets, reader}) == set()
