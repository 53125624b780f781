# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of release_pipeline and the lab's GitLab: what is written, left alone, refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action.release_pipeline import ActionModule
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _pipeline_files,
    _pipeline_settings,
    _pipeline_template,
    _project_pipelines,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import (
    File,
    Projects,
)
from standins.gitlab import Settings
from standins.gitlab.client import LabGitLab
from standins.gitlab.thread import bound_socket, serving

pytestmark = pytest.mark.long

ADMIN = "glpat-AdministratorsOwn00"
COMPONENT = "tools/python-release"
DEMO = "group/demo"
INPUTS = {"pythons": ["3.9", "3.12"], "build_tags": ["build"]}
TEMPLATE = f"templates/{_pipeline_template.NAME}/template.yml"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabGitLab]:
    """A GitLab with a group for tools and a project."""
    listener = bound_socket()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with (
        serving(Settings(tmp_path / "gitlab", url, "the-lab-secret", ADMIN), listener),
        LabGitLab(url, "the-lab-secret", ADMIN) as lab,
    ):
        lab.create_project("tools/other")
        lab.create_project(DEMO)
        commit(lab, DEMO, {"README.md": "A project\n", "pyproject.toml": "[project]\n"})
        lab.api("POST", "/projects/group%2Fdemo/protected_tags", json={"name": "v*"})
        yield lab


def api(lab: LabGitLab) -> Projects:
    return Projects(lab.base_url, ADMIN)


def commit(lab: LabGitLab, path: str, files: dict[str, str], branch: str = "main") -> str:
    """A commit by a person."""
    client = api(lab)
    project = client.project(path)
    assert project is not None
    actions = [
        {
            "action": "update" if client.file(project, branch, name) else "create",
            "file_path": name,
            "content": text,
        }
        for name, text in files.items()
    ]
    return client.commit(project, branch, "", "By hand", actions)


def file(lab: LabGitLab, path: str, name: str = ".gitlab-ci.yml", branch: str = "main") -> str:
    """A file's text; empty if it is not there."""
    project = api(lab).project(path)
    found = project and api(lab).file(project, branch, name)
    return found.content.decode() if found else ""


def run(
    lab: LabGitLab | None,
    check: bool = False,
    variables: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One run of the action."""
    action = object.__new__(ActionModule)
    args = {
        "url": lab.base_url if lab else "",
        "api_token": ADMIN if lab else "",
        "component": COMPONENT,
        "inputs": INPUTS,
        "projects": [{"project": DEMO}],
        **more,
    }
    action._task = SimpleNamespace(
        args=args, check_mode=check, async_val=0, action="release_pipeline"
    )
    action._templar = SimpleNamespace(template=lambda value: value)
    action._connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir="/tmp"), is_pipelining_enabled=lambda: True
    )
    result: dict[str, Any] = action.run(None, variables or {})
    assert ADMIN not in json.dumps(result)
    return result


def test_first_run_pushes_the_component_and_pins_its_commit(lab: LabGitLab) -> None:
    result = run(lab)
    assert result["changed"]
    assert result["refused"] == []
    assert result["msg"] == [
        f"{COMPONENT}: created the project",
        f"{COMPONENT}: committed {TEMPLATE}, README.md",
        f"{COMPONENT}: tagged {_pipeline_settings.version()}",
        f"{DEMO}: committed .gitlab-ci.yml to main",
    ]
    assert file(lab, COMPONENT, TEMPLATE) == _pipeline_template.TEMPLATE.read_text()
    found = yaml.safe_load(file(lab, DEMO))
    assert found == {
        "include": [
            {
                "component": f"$CI_SERVER_FQDN/{COMPONENT}/python-release@{result['commit']}",
                "inputs": INPUTS,
            }
        ]
    }
    assert len(result["commit"]) == 40
    client = api(lab)
    component = client.project(COMPONENT)
    assert component is not None
    assert client.tag(component, _pipeline_settings.version()) == result["commit"]
    assert lab.api("GET", f"/projects/{component.id}")["visibility"] == "internal"


def test_tags_that_no_runner_has_are_warned_of(lab: LabGitLab) -> None:
    lab.create_runner(tag_list=["build", "linux"])
    projects = [{"project": DEMO, "inputs": {"build_tags": ["python-bulid", "linux"]}}]
    for check in (True, False, False):
        (first, second) = run(lab, check, projects=projects)["warnings"]
        assert first == (
            "release_pipeline_projects[0]: build_tags is python-bulid, linux, and group/demo may "
            "use no runner with that: its jobs would wait for ever; correct it, or make a runner "
            "with these tags available to the project"
        )
        assert "publish_tags is publish, " in second
    lab.create_runner(tag_list=["publish"])
    projects[0]["inputs"] = {"build_tags": ["linux", "build"]}
    assert "warnings" not in run(lab, projects=projects)


def test_releases_whose_tags_are_not_protected(lab: LabGitLab) -> None:
    lab.create_runner(tag_list=["build", "publish"])
    packages: list[dict[str, Any]] = [{"name": "a"}, {"name": "b", "tag_prefix": "b-v"}]
    projects = [{"project": DEMO, "packages": packages}]
    (said,) = run(lab, True, projects=projects)["warnings"]
    assert said == (
        "release_pipeline_projects[0]: group/demo protects no tag such as b-v1.0.0 (the input "
        "tag_prefix), and releases need it: protect b-v* by make project (protected_tags)"
    )
    # What is published nowhere needs no protection.
    packages[1] |= {"index": "", "test_index": ""}
    assert "warnings" not in run(lab, True, projects=projects)


@pytest.mark.parametrize(
    ("pattern", "prefix", "covered"),
    [
        ("v*", "v", True),
        ("*", "b-v", True),
        ("v*", "b-v", False),
        # Of a project whose versions are years.
        ("v20*", "v", True),
        ("v2026.*", "v", True),
        ("v20*", "b-v", False),
        ("v2026.1.0", "v", False),
        ("release-*", "v", False),
    ],
)
def test_protected_tags_of_releases(pattern: str, prefix: str, covered: bool) -> None:
    assert _project_pipelines.protects(pattern, prefix) is covered


def test_uploads_on_the_runner_that_builds_are_warned_of(lab: LabGitLab) -> None:
    lab.create_runner(tag_list=["build", "publish"])
    projects = [{"project": DEMO, "inputs": {"publish_tags": ["build"]}}]
    (said,) = run(lab, True, projects=projects)["warnings"]
    assert said.startswith("release_pipeline_projects[0]: publish_tags and build_tags are the same")


def test_a_pipeline_that_gitlab_does_not_read(lab: LabGitLab) -> None:
    lab.create_runner(tag_list=["build", "publish"])
    projects = [{"project": DEMO, "file": "ci/release.yml"}]
    (said,) = run(lab, True, projects=projects)["warnings"]
    assert said == (
        "release_pipeline_projects[0].file: GitLab reads .gitlab-ci.yml of group/demo, which does "
        "not include ci/release.yml: no job of it runs, unless a file does that it includes; add "
        "an include: local there"
    )
    # GitLab takes wildcards.
    for local, read in (("ci/release.yml", True), ("'/ci/*.yml'", True), ("ci/*.yaml", False)):
        commit(lab, DEMO, {".gitlab-ci.yml": f"include:\n  - local: {local}\n"})
        assert ("warnings" not in run(lab, True, projects=projects)) is read


def test_addresses_of_two_gitlabs_and_a_component_that_others_cannot_see(lab: LabGitLab) -> None:
    lab.create_runner(tag_list=["build", "publish"])
    other = {"gitlab_project_url": "https://other.test/"}
    (said,) = run(lab, True, variables=other)["warnings"]
    assert said == (
        f"release_pipeline_url is {lab.base_url}, and gitlab_project_url is https://other.test/; "
        "set both to one GitLab"
    )
    same = {"gitlab_project_url": f"{lab.base_url}/"}
    (said,) = run(lab, True, variables=same, component_visibility="private")["warnings"]
    assert said.startswith("release_pipeline_component_visibility is private: who has no access to")


def test_a_folder_without_a_package_is_warned_of(lab: LabGitLab) -> None:
    lab.create_runner(tag_list=["build", "publish"])
    projects = [{"project": DEMO, "inputs": {"package": "libs/core"}}]
    (said,) = run(lab, True, projects=projects)["warnings"]
    assert said == (
        "release_pipeline_projects[0]: group/demo has no libs/core/pyproject.toml and no "
        "libs/core/setup.py in main: its package cannot be built there (the input package)"
    )
    commit(lab, DEMO, {"libs/core/setup.py": "\n"})
    assert "warnings" not in run(lab, projects=projects)


def test_pythons_that_no_host_has_are_warned_of(lab: LabGitLab) -> None:
    hosts: dict[str, dict[str, list[str]]] = {
        "one": {"python_versions_wanted": ["3.9", "3.13"]}, "two": {"python_versions_wanted": []},
    }  # fmt: skip
    given = {"hostvars": hosts, "groups": {"runner_hosts": ["one", "two"]}}
    projects = [{"project": DEMO, "inputs": {"pythons": ["3.12", "3.9"]}}]
    lab.create_runner(tag_list=["build", "publish"])
    (said,) = run(lab, variables=given, projects=projects)["warnings"]
    assert said == (
        "release_pipeline_projects[0]: pythons has 3.12, and no host of this inventory does "
        "(python_versions_wanted: 3.13, 3.9): its jobs fail there; correct it, or add the version "
        "to the hosts"
    )
    # Of a host that says nothing it is not known.
    del hosts["two"]["python_versions_wanted"]
    assert "warnings" not in run(lab, variables=given, projects=projects)
    assert "warnings" not in run(lab, projects=projects)


def test_second_run_changes_nothing(lab: LabGitLab) -> None:
    first = run(lab)
    again = run(lab)
    assert not again["changed"]
    assert again["msg"] == [f"{COMPONENT}: up to date", f"{DEMO}: up to date"]
    assert again["diff"] == []
    assert again["commit"] == first["commit"]
    # Somebody adds a file there: pipelines keep their pin.
    commit(lab, COMPONENT, {"CHANGELOG.md": "x\n"})
    assert not run(lab)["changed"]


def test_check_mode_predicts_it_and_changes_nothing(lab: LabGitLab) -> None:
    result = run(lab, check=True)
    assert result["changed"]
    assert result["msg"][0] == f"{COMPONENT}: would create the project"
    assert result["msg"][-1] == f"{DEMO}: would commit .gitlab-ci.yml to main"
    assert [one["after_header"] for one in result["diff"]] == [
        f"{COMPONENT}: {TEMPLATE}", f"{COMPONENT}: README.md", f"{DEMO}: .gitlab-ci.yml",
    ]  # fmt: skip
    assert api(lab).project(COMPONENT) is None
    assert file(lab, DEMO) == ""
    real = run(lab)
    result["diff"][2]["after"] = result["diff"][2]["after"].replace("COMMIT", real["commit"])
    assert result["diff"] == real["diff"]


def test_changed_inputs_change_the_pipeline_alone(lab: LabGitLab) -> None:
    first = run(lab)
    result = run(lab, inputs={**INPUTS, "publish_dev": True})
    assert result["msg"] == [
        f"{COMPONENT}: up to date", f"{DEMO}: committed .gitlab-ci.yml to main",
    ]  # fmt: skip
    assert result["commit"] == first["commit"]
    assert "publish_dev: true" in file(lab, DEMO)


def test_a_file_changed_by_hand_is_left_alone_and_shown(lab: LabGitLab) -> None:
    run(lab)
    lab.create_project("group/second")
    changed = (
        file(lab, DEMO) + "\nmine:\n  script: [make]\n  variables: {API_TOKEN: hunter2hunter2}\n"
    )
    commit(lab, DEMO, {".gitlab-ci.yml": changed})
    result = run(
        lab, inputs={**INPUTS, "ceiling": "2_39"},
        projects=[{"project": DEMO}, {"project": "group/second"}],
    )  # fmt: skip
    assert file(lab, DEMO) == changed
    (said,) = result["refused"]
    assert said.startswith(f"{DEMO}: .gitlab-ci.yml was not written by this role, or was changed")
    assert "-  script: [make]" in said
    assert '+      ceiling: "2_39"' in said
    assert "hunter2" not in said
    # The others are done.
    assert 'ceiling: "2_39"' in file(lab, "group/second")


def test_a_pipeline_of_somebody_else_stays(lab: LabGitLab) -> None:
    commit(lab, DEMO, {".gitlab-ci.yml": "mine:\n  script: [make]\n"})
    result = run(lab)
    assert len(result["refused"]) == 1
    assert file(lab, DEMO) == "mine:\n  script: [make]\n"
    beside = run(lab, projects=[{"project": DEMO, "file": "ci/release.yml"}])
    assert beside["refused"] == []
    assert "component:" in file(lab, DEMO, "ci/release.yml")


def test_the_same_file_written_by_hand_is_taken_over(lab: LabGitLab) -> None:
    """Nothing is lost, so nothing has to be asked."""
    run(lab)
    text = file(lab, DEMO)
    commit(lab, DEMO, {_pipeline_files.STATE: ""})
    result = run(lab)
    assert result["msg"][-1] == f"{DEMO}: committed {_pipeline_files.STATE} to main"
    assert file(lab, DEMO) == text
    assert not run(lab)["changed"]


def test_a_component_changed_by_hand_ends_it(lab: LabGitLab) -> None:
    run(lab)
    commit(lab, COMPONENT, {TEMPLATE: "spec:\n"})
    result = run(lab, inputs={**INPUTS, "ceiling": "2_39"})
    (said,) = result["refused"]
    assert said.startswith(f"{COMPONENT}: {TEMPLATE} was not written by this role")
    assert file(lab, COMPONENT, TEMPLATE) == "spec:\n"
    assert "ceiling" not in file(lab, DEMO)


def test_a_new_template_moves_every_pin_by_one_commit(
    lab: LabGitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(lab)
    root = tmp_path / "components"
    path = root / "templates" / _pipeline_template.NAME / "template.yml"
    path.parent.mkdir(parents=True)
    path.write_text(_pipeline_template.TEMPLATE.read_text() + "\n# Newer.\n")
    (root / "README.md").write_bytes((_pipeline_template.COMPONENT / "README.md").read_bytes())
    monkeypatch.setattr(_pipeline_settings, "COMPONENT", root)
    monkeypatch.setattr(_pipeline_settings, "TEMPLATE", path)
    result = run(lab)
    assert result["msg"][0] == f"{COMPONENT}: committed {TEMPLATE}"
    # A tag is not moved: whoever trusts it has read what it was.
    assert result["msg"][1].startswith(f"{COMPONENT}: tag {_pipeline_settings.version()} stays at ")
    assert result["commit"] != first["commit"]
    assert f"@{result['commit']}" in file(lab, DEMO)
    assert not run(lab)["changed"]


def test_another_branch_is_made_for_a_merge_request(lab: LabGitLab) -> None:
    projects = [{"project": DEMO, "branch": "pipeline"}]
    assert run(lab, projects=projects)["msg"][-1].endswith(
        "committed .gitlab-ci.yml to the new branch pipeline, from main"
    )
    assert file(lab, DEMO) == ""
    assert "component:" in file(lab, DEMO, branch="pipeline")
    assert not run(lab, projects=projects)["changed"]
    run(lab, projects=projects, inputs={**INPUTS, "ceiling": "2_39"})
    assert "2_39" in file(lab, DEMO, branch="pipeline")


def test_the_programs_come_with_it_and_can_be_run(lab: LabGitLab) -> None:
    projects = [{"project": DEMO, "programs": True}]
    run(lab, projects=projects)
    client = api(lab)
    project = client.project(DEMO)
    assert project is not None
    for name in ("release.py", "local-ci.sh"):
        found = client.file(project, "main", name)
        assert found is not None
        assert found.content == (_pipeline_template.ROOT / "release" / name).read_bytes()
        assert found.executable
    assert not run(lab, projects=projects)["changed"]
    commit(lab, DEMO, {"release.py": "print('mine')\n"})
    assert "release.py was not written by this role" in run(lab, projects=projects)["refused"][0]


def test_the_list_is_one_that_sha256sum_reads(lab: LabGitLab, tmp_path: Path) -> None:
    run(lab, projects=[{"project": DEMO, "programs": True}])
    for name in (".gitlab-ci.yml", "release.py", "local-ci.sh", _pipeline_files.STATE):
        (tmp_path / name).write_text(file(lab, DEMO, name))
    words = ["sha256sum", "--check", "--strict", _pipeline_files.STATE]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == 3


def test_a_whole_file_in_a_folder_needs_no_gitlab(tmp_path: Path) -> None:
    packages = [{"name": name, "tag_prefix": f"{name}-v"} for name in ("one", "two")]
    projects = [{"folder": str(tmp_path), "programs": True, "packages": packages}]
    check = run(None, check=True, form="standalone", projects=projects)
    assert check["changed"]
    assert not list(tmp_path.iterdir())
    result = run(None, form="standalone", projects=projects)
    assert result["msg"] == [f"{tmp_path}: wrote .gitlab-ci.yml, release.py, local-ci.sh"]
    text = (tmp_path / ".gitlab-ci.yml").read_text()
    assert "$[[" not in text
    assert '"two-publish":' in text
    assert (tmp_path / "local-ci.sh").stat().st_mode & 0o111
    assert not run(None, form="standalone", projects=projects)["changed"]
    (tmp_path / ".gitlab-ci.yml").write_text(text + "# Mine.\n")
    assert len(run(None, form="standalone", projects=projects)["refused"]) == 1
    assert (tmp_path / ".gitlab-ci.yml").read_text() == text + "# Mine.\n"


def test_a_workflow_for_github_needs_no_gitlab(tmp_path: Path) -> None:
    """With what its jobs run, from the same variables; a changed file is left alone."""
    projects = [{"folder": str(tmp_path), "platform": "github"}]
    assert run(None, check=True, projects=projects)["changed"]
    assert list(tmp_path.iterdir()) == []
    result = run(None, projects=projects)
    path = ".github/workflows/release.yml"
    wrote = [path, "release-tools.txt", "release.py", "local-ci.sh"]
    assert result["msg"] == [f"{tmp_path}: wrote {', '.join(wrote)}"]
    assert set(yaml.safe_load((tmp_path / path).read_text())["jobs"]) >= {"build", "publish"}
    assert not run(None, projects=projects)["changed"]
    (tmp_path / "release.py").write_text("print()\n")
    (said,) = run(None, projects=projects)["refused"]
    assert "release.py was not written by this role, or was changed since" in said


def test_what_gitlabs_lint_refuses_is_not_committed(
    lab: LabGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(_: str, packages: Any) -> str:
        return "include:\n  - component: $CI_SERVER_FQDN/tools/none/python-release@main\n"

    monkeypatch.setattr(_pipeline_template, "included", other)
    result = run(lab)
    (said,) = result["refused"]
    assert said.startswith(f"{DEMO}: .gitlab-ci.yml: GitLab's lint refuses it: Component '")
    assert file(lab, DEMO) == ""


def test_what_changed_since_it_was_read_is_not_overwritten(
    lab: LabGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(lab)
    lint = Projects.lint

    def raced(self: Projects, *words: Any) -> list[str]:
        commit(lab, DEMO, {".gitlab-ci.yml": "mine: {script: [make]}\n"})
        return lint(self, *words)

    monkeypatch.setattr(Projects, "lint", raced)
    (said,) = run(lab, inputs={**INPUTS, "ceiling": "2_39"})["refused"]
    assert "The file has changed since you started editing it: .gitlab-ci.yml" in said
    assert file(lab, DEMO) == "mine: {script: [make]}\n"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"projects": [{"project": "group/none"}]}, "projects[0].project: http://"),
        ({"projects": [{"folder": "/none"}]}, "projects[0].folder: /none is not a folder"),
        (
            {"component": "nowhere/python-release"},
            "release_pipeline_component: invalid value 'nowhere/python-release'; ",
        ),
        ({"component": "nowhere/python-release"}, "has no group nowhere that this token may see"),
        ({"api_token": "glpat-wrongwrongwrongwrong"}, "does not know release_pipeline_api_token"),
    ],
)
def test_what_is_not_there_is_told_before_any_change(
    lab: LabGitLab, more: dict[str, Any], message: str
) -> None:
    for check in (True, False):
        with pytest.raises(AnsibleActionFail) as said:
            run(lab, check, **more)
        assert message in str(said.value)
    assert "wrongwrong" not in str(said.value)
    assert api(lab).project(COMPONENT) is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"api_token": ""}, "release_pipeline_api_token: missing; the component is a project of"),
        ({"url": ""}, "release_pipeline_url: missing"),
        ({"inputs": {**INPUTS, "index": "pipy"}}, "index: invalid value 'pipy' without upload_url"),
        (
            {"inputs": {**INPUTS, "test_index": "lab", "test_upload_url": "https://a.test/"}},
            "test_index: invalid value 'lab' without test_simple_url; expected pypi, testpypi",
        ),
        ({"url": "https://gitlab.test/api/v4/"}, "GitLab's address, without /api/v4"),
        (
            {"url": "https://u:p@gitlab.example.com"},
            "release_pipeline_url: invalid value; expected",
        ),
        ({"form": "both"}, "release_pipeline_form: invalid value 'both'; expected component or"),
        ({"component": "alone"}, "release_pipeline_component: invalid value 'alone'; expected"),
        ({"inputs": {"build_tags": ["b"]}}, "release_pipeline_projects[0].inputs.pythons: missing"),
        (
            {"projects": [{"project": DEMO, "inputs": {"x": 1}}]},
            "[0].inputs.x: unknown input",
        ),
        ({"projects": [{"project": DEMO, "path": "x"}]}, "projects[0].path: unknown key"),
        ({"projects": [{"branch": "x"}]}, "projects[0]: expected either project or folder"),
        ({"projects": [{"folder": "/", "branch": "x"}]}, "projects[0].branch: not for a folder"),
        ({"projects": [{"project": DEMO, "file": "../x.yml"}]}, "projects[0].file: invalid value"),
        ({"projects": [{"project": DEMO, "packages": [{}, {}]}]}, "the name 'release'"),
        ({"projects": [{"project": DEMO, "packages": ["one"]}]}, "packages[0]: invalid value of"),
        ({"projects": [{"project": DEMO}] * 2}, f"projects[1]: {DEMO} is named twice"),
        ({"projects": "demo"}, "projects"),
        ({"form": "standalone", "projects": []}, "release_pipeline_projects: empty"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(more: dict[str, Any], message: str) -> None:
    given = {"url": "https://gitlab.invalid", "api_token": "glpat-PlantedPlantedPlanted", **more}
    with pytest.raises(AnsibleActionFail) as said:
        run(None, **given)
    assert message in str(said.value)
    assert "Planted" not in str(said.value)


def test_the_version_of_an_installed_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _pipeline_settings.version().count(".") == 2
    (tmp_path / "MANIFEST.json").write_text('{"collection_info": {"version": "7.8.9"}}')
    monkeypatch.setattr(_pipeline_settings, "ROOT", tmp_path)
    assert _pipeline_settings.version() == "7.8.9"


def test_the_plan_leaves_what_is_right_alone() -> None:
    old, new = File(b"old\n", "c0ffee"), File(b"new\n", executable=True)
    state = File(f"{_pipeline_files.digest(old)}  a\n".encode(), "c0ffee")
    found = {"a": old, "b": None, _pipeline_files.STATE: state}
    plan = _pipeline_files.plan({"a": new, "b": new}, found)
    assert plan.edited == []
    kinds = [(one["action"], one["file_path"], one.get("last_commit_id")) for one in plan.actions()]
    assert kinds == [
        ("update", "a", "c0ffee"), ("chmod", "a", None), ("create", "b", None),
        ("chmod", "b", None), ("update", _pipeline_files.STATE, "c0ffee"),
    ]  # fmt: skip
    assert _pipeline_files.plan({"a": new}, {"a": File(b"else\n")}).edited == ["a"]
