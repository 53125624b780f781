# SPDX-License-Identifier: GPL-3.0-or-later
"""The component and the standalone file: GitLab's schema, the jobs of each situation, a release.

The jobs are those that gitlab-ci-local sees; it evaluates the rules as GitLab documents them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _pipeline_template
from tests.pipelines.conftest import FORMS, Checker, committed, pipeline
from tests.release.conftest import TOKEN, Desk
from tests.release.door import Door
from tests.release.projects import Project

TEXT = _pipeline_template.TEMPLATE.read_text(encoding="utf-8")
# No commit of a test is made in the name of a real pipeline.
BRANCH: dict[str, str | None] = {
    "CI_PIPELINE_SOURCE": "push",
    "CI_COMMIT_BRANCH": "topic",
    "CI_COMMIT_REF_NAME": "topic",
    "CI_COMMIT_REF_PROTECTED": "false",
}
MAIN = {**BRANCH, "CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_NAME": "main",
        "CI_COMMIT_REF_PROTECTED": "true"}  # fmt: skip
MERGE_REQUEST = {**BRANCH, "CI_PIPELINE_SOURCE": "merge_request_event", "CI_COMMIT_BRANCH": None}


def tag(name: str, protected: str = "true") -> dict[str, str | None]:
    """A pipeline for a tag."""
    return {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": None, "CI_COMMIT_TAG": name,
            "CI_COMMIT_REF_NAME": name, "CI_COMMIT_REF_PROTECTED": protected}  # fmt: skip


BUILD = "sdist wheel[3.9] wheel[3.12] check test[3.9] test[3.12]"
FINAL = f"{BUILD} publish verify"
PRE_RELEASE = f"{BUILD} publish-test verify-test"
OFF: dict[str, object] = {"index": "", "test_index": ""}
SITUATIONS: list[tuple[str, dict[str, object], dict[str, str | None], str]] = [
    ("merge request", {}, MERGE_REQUEST, BUILD),
    ("branch", {}, BRANCH, BUILD),
    ("branch with a merge request", {}, {**BRANCH, "CI_OPEN_MERGE_REQUESTS": "group/demo!1"}, ""),
    ("default branch", {}, MAIN, BUILD),
    ("default branch with a merge request", {}, {**MAIN, "CI_OPEN_MERGE_REQUESTS": "g/d!1"}, BUILD),
    ("default branch, publish_dev", {"publish_dev": True}, MAIN, PRE_RELEASE),
    ("schedule, publish_dev", {"publish_dev": True},
     {**MAIN, "CI_PIPELINE_SOURCE": "schedule"}, BUILD),
    ("branch, publish_dev", {"publish_dev": True}, BRANCH, BUILD),
    ("merge request, publish_dev", {"publish_dev": True}, MERGE_REQUEST, BUILD),
    ("default branch, trusted", {"auth": "trusted"}, MAIN, f"{BUILD} claims"),
    ("default branch that is not protected, trusted", {"auth": "trusted"},
     {**MAIN, "CI_COMMIT_REF_PROTECTED": "false"}, BUILD),
    ("branch, trusted", {"auth": "trusted"}, BRANCH, BUILD),
    ("final tag, trusted", {"auth": "trusted"}, tag("v1.2.3"), FINAL),
    ("final tag", {}, tag("v1.2.3"), FINAL),
    ("final tag, one number", {}, tag("v1"), FINAL),
    ("post-release tag", {}, tag("v1.2.3.post1"), FINAL),
    ("pre-release tag", {}, tag("v1.2.3rc1"), PRE_RELEASE),
    ("alpha tag", {}, tag("v2.0a1"), PRE_RELEASE),
    ("development tag", {}, tag("v2.0.dev3"), PRE_RELEASE),
    ("tag that is no version", {}, tag("v1.2.3-test"), BUILD),
    ("another word", {}, tag("vendor"), ""),
    ("another package's tag", {}, tag("one-v1.2.3"), ""),
    ("tag not protected", {}, tag("v1.2.3", "false"), f"{BUILD} tag-not-protected"),
    ("tag not protected, nothing published", OFF, tag("v1.2.3", "false"), BUILD),
    ("branch with a variable of that name", {}, {**MAIN, "CI_COMMIT_TAG": "v1.2.3"}, BUILD),
    ("the same, and without its branch", {},
     {**MAIN, "CI_COMMIT_TAG": "v1.2.3rc1", "CI_COMMIT_BRANCH": ""}, BUILD),
    ("pkg-v*", {"tag_prefix": "pkg-v"}, tag("pkg-v1.2.3"), FINAL),
    ("pkg-v* pre-release", {"tag_prefix": "pkg-v"}, tag("pkg-v1.2.3b2"), PRE_RELEASE),
    ("pkg-v*, tag without it", {"tag_prefix": "pkg-v"}, tag("v1.2.3"), ""),
    ("no index", OFF, tag("v1.2.3"), BUILD),
    ("no index, pre-release", OFF, tag("v1.2.3rc1"), BUILD),
    ("GitLab's registry", {**OFF, "gitlab_registry": "gitlab"}, tag("v1.2.3"),
     f"{BUILD} publish-gitlab verify-gitlab"),
    ("GitLab's registry, pre-release", {**OFF, "gitlab_registry": "gitlab:7"}, tag("v1.2.3rc1"),
     f"{BUILD} publish-gitlab verify-gitlab"),
    ("one job for wheels", {"wheels": "one_job"}, BRANCH,
     "sdist wheels check test[3.9] test[3.12]"),
    ("changed paths", {"paths": ["src/**/*"]}, BRANCH, BUILD),
    ("unchanged paths", {"paths": ["docs/**/*"]}, BRANCH, ""),
    ("unchanged paths, merge request", {"paths": ["docs/**/*"]}, MERGE_REQUEST, ""),
    ("unchanged paths, publish_dev", {"paths": ["docs/**/*"], "publish_dev": True}, MAIN, ""),
    ("unchanged paths, tag", {"paths": ["docs/**/*"]}, tag("v1.2.3"), FINAL),
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose sources have changed since the default branch's last commit."""
    (tmp_path / "demo").mkdir()
    return Project(tmp_path / "demo").pure("demo", "1.2.3")


def short(names: object) -> set[str]:
    """Names of jobs without what all begin with."""
    return {str(name).removeprefix("release-").replace(": ", "") for name in names}  # type: ignore[attr-defined]


def test_the_header_and_both_forms_pass_gitlabs_schema(checker: Checker, tmp_path: Path) -> None:
    file = tmp_path / ".gitlab-ci.yml"
    header = TEXT.partition("\n---\n")[0]
    given: list[dict[str, object]]
    command = """python -c "print('$HOME')" """
    given = [{"name": "one", "tag_prefix": "one-v", "test_command": command},
           {"name": "two", "tag_prefix": "two-v", "publish_dev": True}]  # fmt: skip
    for text in (
        header,
        *(pipeline(form) for form in FORMS),
        *(pipeline(f, *given) for f in FORMS),
    ):
        file.write_text(text, encoding="utf-8")
        assert checker.schema(file) == ""
    file.write_text(pipeline("standalone").replace("resource_group:", "resource_grp:"), "utf-8")
    assert "resource_grp" in checker.schema(file)


def test_both_forms_are_the_same_jobs(checker: Checker, project: Project) -> None:
    """Whatever is said of one form's rules and scripts below goes for the other."""
    package = {"tag_prefix": "one-v", "test_command": """python -c "print('it is $HOME')" """}
    seen = []
    for form in FORMS:
        committed(project, form, package, {"name": "two", "wheels": "one_job", "index": "gitlab"})
        done = checker.run(project.folder, BRANCH, "--preview")
        assert done.returncode == 0, done.stdout + done.stderr
        # gitlab-ci-local shows a list in quotes as no GitLab does.
        text = re.sub(r"RELEASE_PYTHONS: .*", "", done.stdout.partition("---\n")[2])
        seen.append(text)
    assert seen[0] == seen[1]
    assert "two-publish-gitlab:" in seen[0]
    job = jobs_of(seen[0])["release-test"]
    # Not expanded by GitLab: the shell of the test command does that.
    assert job["variables"]["RELEASE_TEST_COMMAND"].strip() == "python -c \"print('it is $$HOME')\""


@pytest.mark.parametrize(
    ("inputs", "variables", "jobs"),
    [one[1:] for one in SITUATIONS],
    ids=[one[0] for one in SITUATIONS],
)
def test_jobs_of_each_situation(
    checker: Checker,
    project: Project,
    inputs: dict[str, object],
    variables: dict[str, str | None],
    jobs: str,
) -> None:
    committed(project, "component", inputs)
    project.write("src/demo/__init__.py", "answer = 42\n\n# Changed.\n")
    project.commit()
    assert short(checker.jobs(project.folder, variables)) == set(jobs.split())


def test_a_person_starts_the_upload_of_a_final_release(checker: Checker, project: Project) -> None:
    committed(project, "component", {"publish_when": "manual"})
    jobs = checker.jobs(project.folder, tag("v1.2.3"))
    assert {name: job["when"] for name, job in jobs.items() if job["when"] != "on_success"} == {
        "release-publish": "manual"
    }
    jobs = checker.jobs(project.folder, tag("v1.2.3rc1"))
    assert {job["when"] for job in jobs.values()} == {"on_success"}


def test_two_packages_are_released_one_by_one(checker: Checker, project: Project) -> None:
    packages = [{"name": name, "package": f"packages/{name}", "tag_prefix": f"{name}-v",
                 "paths": [f"packages/{name}/**/*"]} for name in ("one", "two")]  # fmt: skip
    committed(project, "component", *packages)
    final = {f"two-{job}".replace("[", ": [") for job in FINAL.split()}
    assert set(checker.jobs(project.folder, tag("two-v1.0"))) == final
    project.write("packages/one/src/one.py", "")
    project.commit()
    build = {f"one-{job}".replace("[", ": [") for job in BUILD.split()}
    assert set(checker.jobs(project.folder, BRANCH)) == build


def test_an_upload_runs_no_code_of_the_project(checker: Checker) -> None:
    """No checkout, nothing inherited, and no variable in its commands but GitLab's own."""
    jobs = jobs_of(pipeline("standalone", {"gitlab_registry": "gitlab"}))
    uploads = {name: job for name, job in jobs.items() if re.search("-publish(-|$)", name)}
    assert set(uploads) == {
        ".release-publish",
        *(f"release-publish{one}" for one in ("", "-test", "-gitlab")),
    }
    hidden = uploads.pop(".release-publish")
    assert hidden["inherit"] == {"default": False, "variables": False}
    assert hidden["variables"] == {"GIT_STRATEGY": "empty"}
    assert hidden["needs"] == [
        {"job": "release-check"},
        {"job": "release-test", "artifacts": False},
    ]
    for job in uploads.values():
        assert ".release-publish" in job["extends"]
        # One upload to an index at a time, and its deployments in one place.
        assert job["resource_group"] == job["environment"]["name"]
        assert not {"before_script", "after_script", "variables", "inherit", "tags"} & set(job)
        (script,) = job["script"]
        assert script.startswith("runnerhost-release publish --settings - ")
        assert set(re.findall(r"\$\w+", script)) <= {"$CI_COMMIT_TAG"}
    # On the same runner, without files and without an upload.
    claims = jobs.pop("release-claims")
    assert claims["extends"] == ".release-publish"
    assert (claims["script"], claims["needs"]) == (["runnerhost-release claims"], [])
    assert claims["environment"] == {"name": "pypi", "action": "access"}
    assert set(claims) == {"extends", "needs", "environment", "id_tokens", "script", "rules"}
    for name, job in jobs.items():
        if "publish" not in name:
            # No environment: no token with its scope.
            assert "environment" not in job, name
            assert "id_tokens" not in job, name


def jobs_of(text: str) -> dict[str, Any]:
    """The jobs of a whole file."""

    found: dict[str, Any] = yaml.safe_load(text)
    return found


def test_a_release_under_gitlab_ci_local(
    checker: Checker, desk: Desk, index: Door, two: tuple[str, str], tmp_path: Path
) -> None:
    """The component unchanged, by the shell executor: from a tag to the installation."""
    project = Project(tmp_path / "project").compiled("c_demo", "2.0.0")
    project.write("release.ini", "[release]\ntest-command = python -m unittest discover -s tests\n")
    inputs = {"pythons": list(two), "index": "company", **addresses("", index)}
    inputs["smoke_command"] = """python -c "import c_demo; print('it is', c_demo.answer())" """
    committed(project, "component", inputs)
    jobs = release(checker, desk, project, "v2.0.0", "pypi")
    assert len(jobs) == len(FINAL.split())
    assert [name for name, env in jobs.items() if "TWINE_PASSWORD" in env] == ["release-publish"]
    assert len(index.uploads) == 3
    assert index.uploads[-1] == "c_demo-2.0.0.tar.gz"


def test_a_pre_release_by_the_whole_file(
    checker: Checker, desk: Desk, index: Door, two: tuple[str, str], tmp_path: Path
) -> None:
    """The standalone form, with one job for a wheel that serves every Python."""
    project = Project(tmp_path / "project").pure("pure_demo", "1.0rc1")
    inputs = {"pythons": list(two), "test_index": "company", **addresses("test_", index),
              "wheels": "one_job",
              "test_command": "python -m unittest discover -s tests"}  # fmt: skip
    committed(project, "standalone", inputs)
    jobs = release(checker, desk, project, "v1.0rc1", "testpypi")
    token = [name for name, env in jobs.items() if "TWINE_PASSWORD" in env]
    assert token == ["release-publish-test"]
    assert index.uploads == ["pure_demo-1.0rc1-py3-none-any.whl", "pure_demo-1.0rc1.tar.gz"]


def addresses(prefix: str, index: Door) -> dict[str, Any]:
    """The inputs for an index with a name of its own."""
    return {
        f"{prefix}upload_url": f"{index.url}/",
        f"{prefix}simple_url": f"{index.url}/simple",
        "read_token_variable": "READ_TOKEN",
    }


def release(
    checker: Checker, desk: Desk, project: Project, name: str, environment: str
) -> dict[str, str]:
    """Runs the pipeline of a tag; each job's environment."""
    (project.folder / ".gitlab-ci-local-variables.yml").write_text(
        f"TWINE_PASSWORD:\n  type: variable\n  values:\n    {environment}: {TOKEN}\n"
    )
    variables = {**tag(name), "READ_TOKEN": TOKEN}
    options = ("--shell-isolation", "--no-artifacts-to-source")
    done = checker.run(project.folder, variables, *options, environment=desk.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "smoke command on" in done.stdout + done.stderr
    return {path.stem: path.read_text() for path in sorted(desk.folder.glob("*.env"))}
