# SPDX-License-Identifier: GPL-3.0-or-later
"""Trusted publishing before a release: what the index is told, and what a job's claims say."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action.release_preflight import ActionModule
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _pipeline_settings,
    _preflight,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import (
    File,
    Project,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._preflight_run import (
    Preflight,
    PreflightApi,
)

URL = "https://gitlab.com"
CLAIMS = {
    "iss": URL, "aud": "pypi", "project_path": "Group/demo",
    "sub": "project_path:Group/demo:ref_type:branch:ref:main",
    "ci_config_ref_uri": "gitlab.com/Group/demo//.gitlab-ci.yml@refs/heads/main",
    "environment": "pypi",
}  # fmt: skip
TEST_CLAIMS = {**CLAIMS, "aud": "testpypi"}
PYPROJECT = '[build-system]\nname = "no"\n[project]\nname = "lab-demo"\nversion = "1"\n[tool.x]\n'
INPUTS = _pipeline_settings.Template().inputs


def log(*claims: dict[str, Any]) -> str:
    """What a job prints, in GitLab's form: times, colours, carriage returns."""
    lines = [f"  {one['aud'].upper()}_ID_TOKEN: {json.dumps(one)}" for one in claims]
    return "\x1b[0;m\n" + "".join(f"2026-11-29T18:00:00.000000Z 01O {one}\r\n" for one in lines)


@dataclass
class FakeGitLab:
    """GitLab's answers."""

    seen: _preflight.Project = field(
        default_factory=lambda: _preflight.Project(
            "Group/demo", URL, "", ("project_path", "ref_type", "ref")
        )
    )
    job_list: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[int, str] = field(default_factory=dict)
    set_variables: list[dict[str, Any]] = field(default_factory=list)
    played: list[int] = field(default_factory=list)
    ends: str = "success"
    url: str = URL

    def details(self, path: str) -> tuple[Project, _preflight.Project] | None:
        if path != "group/demo":
            return None
        return Project(7, path, "main"), self.seen

    def jobs(self, project: Project) -> list[dict[str, Any]]:
        return [dict(job) for job in self.job_list]

    def trace(self, project: Project, job: int) -> str:
        return self.logs.get(job, "")

    def play(self, project: Project, job: int) -> str:
        self.played.append(job)
        return self.ends

    def file(self, project: Project, ref: str, path: str) -> File | None:
        return File(PYPROJECT.encode()) if path == "pyproject.toml" else None

    def variables(self, owner: object) -> list[dict[str, Any]]:
        return self.set_variables


def preflight(gitlab: FakeGitLab, start: bool = False, **inputs: Any) -> Preflight:
    """One run over a project."""
    given = {"pythons": ["3.12"], "build_tags": ["b"], "auth": "trusted", **inputs}
    project = inputs.pop("project", "group/demo")
    given.pop("project", None)
    more = {"packages": given.pop("packages")} if "packages" in given else {}
    wanted, problems = _pipeline_settings.wanted_of(
        {"inputs": given, "projects": [{"project": project, **more}]}, INPUTS
    )
    assert problems == []
    run = Preflight(cast(PreflightApi, gitlab), wanted, INPUTS, start)
    run.run()
    return run


def claims_job(number: int = 5, state: str = "success") -> dict[str, Any]:
    return {"id": number, "name": "release-claims", "status": state}


def test_the_form_is_filled_in_from_the_project() -> None:
    run = preflight(FakeGitLab(), test_index="")
    assert run.problems == []
    assert run.lines == [
        "Group/demo: pypi, in its form for GitLab (a project that exists there: its settings, "
        "Publishing; a new one: your account, Publishing, pending publisher, project name "
        "lab-demo)",
        "  Namespace: Group",
        "  Project name: demo",
        "  Top-level pipeline file path: .gitlab-ci.yml",
        "  Environment name: pypi",
    ]
    (warning,) = run.warnings
    assert "no job has shown its claims for pypi yet; start the job release-claims" in warning


def test_claims_that_agree() -> None:
    gitlab = FakeGitLab(job_list=[claims_job()], logs={5: log(CLAIMS, TEST_CLAIMS)})
    run = preflight(gitlab)
    assert (run.problems, run.warnings, gitlab.played) == ([], [], [])
    # The job has the environment of the main index: only its own upload shows the other's.
    assert [line for line in run.lines if "agree" in line] == [
        "  The claims of job 5 (release-claims) agree."
    ] * 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iss", "https://gitlab.example"),
        ("aud", "sigstore"),
        ("project_path", "group/other"),
        ("sub", "ref:main:project_path:Group/demo"),
        ("ci_config_ref_uri", "gitlab.com/Group/demo//ci/release.yml@refs/heads/main"),
        ("environment", "Pypi"),
        ("environment", None),
    ],
)
def test_each_claim_that_differs_is_named(name: str, value: str | None) -> None:
    told = {key: one for key, one in {**CLAIMS, name: value}.items() if one is not None}
    shown = log(told).replace("SIGSTORE_", "PYPI_")
    run = preflight(FakeGitLab(job_list=[claims_job()], logs={5: shown}), test_index="")
    found = [text for text in run.problems if f": the claim {name} of job 5" in text]
    assert len(found) == 1, run.problems
    assert f"is {value!r}" in found[0]
    assert not any("agree" in line for line in run.lines)


def test_the_environment_of_the_test_index_is_compared_where_its_own_upload_has_shown_it() -> None:
    upload = {"id": 9, "name": "release-publish-test", "status": "failed"}
    gitlab = FakeGitLab(
        job_list=[upload, claims_job()],
        logs={5: log(CLAIMS, TEST_CLAIMS), 9: log({**TEST_CLAIMS, "environment": "test"})},
    )
    run = preflight(gitlab)
    assert run.problems == [
        "Group/demo: testpypi: the claim environment of job 9 (release-publish-test) is 'test', "
        "and the publisher above has 'testpypi'; if the inventory has changed since that job, run "
        "make pipeline and start a new one"
    ]


def test_a_job_is_started_only_when_asked_and_only_once() -> None:
    gitlab = FakeGitLab(job_list=[claims_job(state="manual")], logs={5: log(CLAIMS, TEST_CLAIMS)})
    run = preflight(gitlab)
    assert gitlab.played == []
    assert len(run.warnings) == 2
    run = preflight(gitlab, start=True)
    assert gitlab.played == [5]
    assert (run.problems, run.warnings) == ([], [])


def test_a_started_job_that_fails_is_told() -> None:
    gitlab = FakeGitLab(job_list=[claims_job(state="manual")], ends="failed")
    run = preflight(gitlab, start=True, test_index="")
    assert "job 5 (release-claims) was started: failed" in run.warnings[0]
    assert "no job has shown its claims" in run.warnings[1]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (_preflight.Project("group/demo", URL, "ci.yml@other/project", ()), "outside the project"),
        (
            _preflight.Project("group/demo", URL, "https://x.example/ci.yml", ()),
            "outside the project",
        ),
        (_preflight.Project("group/demo", URL, "", ("ref", "project_path")), "begins with 'ref'"),
    ],
)
def test_a_project_that_no_publisher_fits(seen: _preflight.Project, words: str) -> None:
    run = preflight(FakeGitLab(seen=seen))
    assert len(run.problems) == 1
    assert words in run.problems[0]
    assert run.problems[0].startswith("release_pipeline_projects[0]: ")
    assert run.lines == []


def test_another_file_of_the_project_is_what_is_typed() -> None:
    seen = _preflight.Project("group/demo", URL, "ci/main.yml", ("project_path",))
    run = preflight(FakeGitLab(seen=seen), test_index="")
    assert "  Top-level pipeline file path: ci/main.yml" in run.lines


def test_a_token_that_is_left_over_is_named_once_the_claims_agree() -> None:
    variables = [
        {"key": "TWINE_PASSWORD", "environment_scope": "pypi"},
        {"key": "TWINE_PASSWORD", "environment_scope": "company"},
    ]
    gitlab = FakeGitLab(set_variables=variables)
    assert not any("TWINE_PASSWORD" in text for text in preflight(gitlab).warnings)
    gitlab.job_list, gitlab.logs = [claims_job()], {5: log(CLAIMS, TEST_CLAIMS)}
    (warning,) = preflight(gitlab).warnings
    assert "TWINE_PASSWORD (pypi) is not needed any more" in warning


def test_a_token_that_another_package_needs_is_not_left_over() -> None:
    variables = [{"key": "TWINE_PASSWORD", "environment_scope": "pypi"}]
    gitlab = FakeGitLab(set_variables=variables, job_list=[claims_job()])
    gitlab.logs = {5: log(CLAIMS, TEST_CLAIMS)}
    packages = [{}, {"name": "b", "tag_prefix": "b-", "auth": "token"}]
    assert preflight(gitlab, packages=packages).warnings == []


def test_nothing_to_compare() -> None:
    assert preflight(FakeGitLab(), auth="token").lines == [
        "group/demo: publishes with a token; nothing to compare"
    ]
    run = preflight(FakeGitLab(), index="", test_index="")
    assert "auth: trusted without pypi or testpypi" in run.problems[0]
    (given,), _ = _pipeline_settings.wanted_of(
        {"inputs": {"pythons": ["3.12"], "build_tags": ["b"], "auth": "trusted"},
         "projects": [{"folder": "/srv/demo"}]}, INPUTS,
    )  # fmt: skip
    run = Preflight(cast(PreflightApi, FakeGitLab()), [given], INPUTS, False)
    run.run()
    assert run.lines == ["/srv/demo: a folder, and not a project of this GitLab"]
    run = preflight(FakeGitLab(), project="group/gone")
    assert "has no project group/gone that this token may see" in run.problems[0]


@pytest.mark.parametrize(
    ("pyproject", "name"),
    [
        (PYPROJECT, "lab-demo"),
        ("[project]\nname='a.b'\n", "a.b"),
        ("[tool.poetry]\nname = 'poem'\n", ""),
        ("[project]\ndynamic = ['name']\n", ""),
    ],
)
def test_package_names(pyproject: str, name: str) -> None:
    assert _preflight.package_name(pyproject) == name


def test_lines_that_are_no_claims_are_passed_by() -> None:
    assert _preflight.shown_claims("  PYPI_ID_TOKEN: {broken}\nPYPI_ID_TOKEN: ***\n") == {}
    newer = {**CLAIMS, "environment": "new"}
    assert _preflight.shown_claims(log(CLAIMS, newer))["pypi"]["environment"] == "new"


def act(**args: Any) -> None:
    """The action, which is refused before GitLab is asked."""
    action = object.__new__(ActionModule)
    inputs = {"pythons": ["3.12"], "build_tags": ["b"], "auth": "trusted"}
    given = {"url": "https://gitlab.invalid", "api_token": "glpat-PlantedZq7Planted",
             "inputs": inputs, "projects": [{"project": "group/demo"}], **args}  # fmt: skip
    action._task = SimpleNamespace(
        args=given, check_mode=False, async_val=0, action="release_preflight"
    )
    action._connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir="/tmp"), is_pipelining_enabled=lambda: True
    )
    with pytest.raises(AnsibleActionFail) as caught:
        action.run(None, {})
    assert "Zq7" not in str(caught.value)
    raise caught.value


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "take ID tokens of https://gitlab.com alone, not of https://gitlab.invalid; use auth"),
        ({"api_token": ""}, "release_pipeline_api_token: missing"),
        ({"url": ""}, "release_pipeline_url: missing"),
        ({"projects": []}, "release_pipeline_projects: empty"),
        (
            {"projects": [{"project": "group/demo", "inputs": {"index": "gitlab"}}]},
            "release_pipeline_projects[0].inputs.index: invalid value 'gitlab' with auth: trusted",
        ),
        (
            {"projects": [{"project": "group/demo", "inputs": {"test_index": "company"}}]},
            "projects[0].inputs.test_index: invalid value 'company' with auth: trusted",
        ),
        ({"projects": [{"project": "group/demo", "inputs": {"auth": "oidc"}}]}, "auth: invalid"),
    ],
)
def test_refused_before_gitlab_is_asked(args: dict[str, Any], words: str) -> None:
    with pytest.raises(AnsibleActionFail, match="nothing was changed") as caught:
        act(**args)
    assert words in str(caught.value)
