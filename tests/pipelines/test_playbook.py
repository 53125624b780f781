# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks that work in GitLab, with an inventory such as a user's and the lab's GitLab."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from standins.gitlab import Settings
from standins.gitlab.client import LabGitLab
from standins.gitlab.thread import bound_socket, serving
from tests.pipelines.conftest import ROOT

TOKEN = "glpat-PlantedPlantedPlanted"
VALUE = "PlantedValue.of~a@variable+1"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabGitLab]:
    """A GitLab with a group for tools and a project."""
    listener = bound_socket()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with (
        serving(Settings(tmp_path / "gitlab", url, "the-lab-secret", TOKEN), listener),
        LabGitLab(url, "the-lab-secret", TOKEN) as lab,
    ):
        lab.create_project("tools/other")
        lab.create_project("group/demo")
        yield lab


@pytest.fixture
def inventory(lab: LabGitLab, tmp_path: Path) -> Path:
    """An inventory with the variables of this role, and a host that is not to be reached."""
    variables = {
        "release_pipeline_url": lab.base_url,
        "release_pipeline_api_token": TOKEN,
        "release_pipeline_component": "tools/python-release",
        "release_pipeline_inputs": {"build_tags": ["build"]},
        "release_pipeline_projects": [
            {"project": "group/demo", "inputs": {"pythons": ["3.9", "3.12"]}}
        ],
        "gitlab_project_url": lab.base_url,
        "gitlab_project_api_token": TOKEN,
        "gitlab_project_projects": [
            {
                "project": "group/demo",
                "protected_tags": [{"name": "v*"}],
                "variables": [{"key": "TWINE_PASSWORD", "environment": "x", "value": VALUE}],
                "environments": [{"name": "x", "tier": "production"}],
                "job_token": {"groups": ["tools"]},
                "deploy_tokens": [
                    {
                        "name": "reader",
                        "scopes": ["read_package_registry"],
                        "variables": [{"key": "READ_TOKEN"}],
                    }
                ],
            }
        ],
    }
    folder = tmp_path / "inventory"
    (folder / "group_vars" / "all").mkdir(parents=True)
    hosts: dict[str, object] = {"runner_hosts": {"hosts": {"runner1.invalid": {}}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (folder / "group_vars/all/pipeline.yml").write_text(yaml.safe_dump(variables))
    return folder


def play(
    inventory: Path, *words: str, playbook: str = "pipeline"
) -> subprocess.CompletedProcess[str]:
    """Runs a playbook; its output never holds a token or value."""
    argv = [f"{Path(sys.executable).parent}/ansible-playbook", "-i", str(inventory),
            f"playbooks/{playbook}.yml", *words]  # fmt: skip
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": "default"},
    )  # fmt: skip
    assert TOKEN not in done.stdout + done.stderr
    assert VALUE not in done.stdout + done.stderr
    # Of a deploy token.
    assert "gldt-" not in done.stdout + done.stderr
    return done


def changed(done: subprocess.CompletedProcess[str]) -> int:
    found = re.search(r"localhost .*changed=(\d+)", done.stdout)
    assert found, done.stdout + done.stderr
    return int(found[1])


def text_of(lab: LabGitLab, path: str) -> str:
    project = lab.project(path)
    found = lab.api("GET", f"/projects/{project.id}/repository/files/.gitlab-ci.yml?ref=main")
    return str(found["content"])


def test_shown_then_done_then_nothing(
    lab: LabGitLab,
    inventory: Path,
) -> None:
    done = play(inventory, "--check", "--diff")
    assert (done.returncode, changed(done)) == (0, 1), done.stdout + done.stderr
    assert '+      pythons: ["3.9", "3.12"]' in done.stdout
    assert "tools/python-release: would create the project" in done.stdout
    done = play(inventory, "-vvv", "--diff")
    assert (done.returncode, changed(done)) == (0, 1), done.stdout + done.stderr
    assert "group/demo: committed .gitlab-ci.yml to main" in done.stdout
    done = play(inventory)
    assert (done.returncode, changed(done)) == (0, 0), done.stdout + done.stderr


def test_a_changed_file_is_an_exit_status_and_a_diff(lab: LabGitLab, inventory: Path) -> None:
    assert play(inventory).returncode == 0
    before = text_of(lab, "group/demo")
    project = lab.project("group/demo")
    action = {"action": "update", "file_path": ".gitlab-ci.yml", "content": "mine: {script: [x]}\n"}
    lab.api(
        "POST", f"/projects/{project.id}/repository/commits",
        json={"branch": "main", "commit_message": "By hand", "actions": [action]},
    )  # fmt: skip
    by_hand = text_of(lab, "group/demo")
    assert by_hand != before
    done = play(inventory)
    assert done.returncode == 2, done.stdout
    assert "was not written by this role, or was changed since" in done.stdout
    assert "-mine: {script: [x]}" in done.stdout
    assert text_of(lab, "group/demo") == by_hand


def test_a_project_is_set_up_once_without_its_values_in_any_output(
    lab: LabGitLab, inventory: Path
) -> None:
    done = play(inventory, "--check", "--diff", playbook="project")
    assert (done.returncode, changed(done)) == (0, 1), done.stdout + done.stderr
    assert "+TWINE_PASSWORD (x): protected, masked, raw" in done.stdout
    assert lab.api("GET", "/projects/group%2Fdemo/variables") == []
    done = play(inventory, "-vvv", "--diff", playbook="project")
    assert (done.returncode, changed(done)) == (0, 1), done.stdout + done.stderr
    found, made = lab.api("GET", "/projects/group%2Fdemo/variables")
    assert (found["value"], found["environment_scope"]) == (VALUE, "x")
    assert made["value"].startswith("gldt-")
    assert "deploy token reader in READ_TOKEN" in done.stdout
    done = play(inventory, playbook="project")
    assert (done.returncode, changed(done)) == (0, 0), done.stdout + done.stderr
    lab.fault("/api/v4/projects/*/variables/*", "status", status=403, method="PUT")
    variable = {"key": "TWINE_PASSWORD", "environment": "x", "value": VALUE, "protected": False}
    other = {"gitlab_project_projects": [{"project": "group/demo", "variables": [variable]}]}
    done = play(inventory, "-e", json.dumps(other), playbook="project")
    assert done.returncode == 2
    assert "may not do that (403)" in done.stdout


def test_a_misspelt_variable_is_told(inventory: Path) -> None:
    done = play(inventory, "-e", "release_pipeline_project=x")
    assert done.returncode == 2
    assert "did you mean release_pipeline_projects?" in done.stdout + done.stderr


def test_a_preflight_shows_what_to_type_and_refuses_another_gitlab(
    lab: LabGitLab, inventory: Path
) -> None:
    trusted = json.dumps({"release_pipeline_inputs": {"build_tags": ["b"], "auth": "trusted"}})
    for playbook in ("preflight", "pipeline"):
        done = play(inventory, "-e", trusted, playbook=playbook)
        assert done.returncode == 2, done.stdout
        assert f"take ID tokens of https://gitlab.com alone, not of {lab.base_url}" in done.stdout
    onboarded = ("-e", trusted, "-e", "release_pipeline_issuer_onboarded=true")
    done = play(inventory, *onboarded, playbook="preflight")
    assert (done.returncode, changed(done)) == (0, 0), done.stdout + done.stderr
    for line in ("  Namespace: group", "  Project name: demo", "  Environment name: testpypi"):
        assert line in done.stdout
    assert "no job has shown its claims for pypi yet" in done.stdout + done.stderr
    done = play(inventory, playbook="preflight")
    assert "group/demo: publishes with a token; nothing to compare" in done.stdout
