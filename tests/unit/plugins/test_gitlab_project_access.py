# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments, job token allowlists and runners that gitlab_project sets, and its findings."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_access import AccessApi
from standins.gitlab.client import LabGitLab
from tests.unit.plugins.test_gitlab_project import DEMO, PLANTED, changes, lab, run, token

pytestmark = pytest.mark.long

__all__ = ["lab"]
PYPI = {"name": "pypi", "tier": "production", "external_url": "https://a.test", "description": "x"}


def get(lab: LabGitLab, what: str) -> Any:
    """What GitLab's API says of the project."""
    return lab.api("GET", f"/projects/group%2Fdemo/{what}")


def twice(lab: LabGitLab, **given: Any) -> dict[str, Any]:
    """Predicted, done, and then nothing; what the second of these says."""
    before = lab.last_request()
    predicted = run(lab, check=True, **given)
    assert changes(lab, before) == []
    done = run(lab, **given)
    assert done["failures"] == []
    for key in ("msg", "diff", "changed", "warnings"):
        assert done[key] == predicted[key]
    before = lab.last_request()
    again = run(lab, **given)
    assert (again["changed"], again["msg"]) == (False, [f"{DEMO}: as wanted"])
    assert changes(lab, before) == []
    return done


# -- environments -----------------------------------------------------------------------------


def test_environments_are_made_once(lab: LabGitLab) -> None:
    done = twice(lab, environments=[PYPI, {"name": "testpypi"}])
    assert done["msg"][0] == f"{DEMO}: created environment pypi; created environment testpypi"
    # What is left to do by hand, once.
    assert done["msg"][1].startswith("Not by this role: who may deploy to an environment")
    assert len(done["msg"]) == 2
    assert done["diff"][0]["after"] == (
        "environment pypi: production, https://a.test, x\n"
        "environment testpypi: as GitLab makes it\n"
    )
    first, second = get(lab, "environments")
    assert PYPI.items() <= first.items()
    # As GitLab guesses.
    assert (second["name"], second["tier"]) == ("testpypi", "testing")


@pytest.mark.parametrize(
    "change", [{"tier": "staging"}, {"external_url": "https://b.test"}, {"description": ""},
               {"external_url": ""}],
)  # fmt: skip
def test_each_attribute_of_an_environment_alone_is_one_call(
    lab: LabGitLab, change: dict[str, str]
) -> None:
    run(lab, environments=[PYPI])
    before = lab.last_request()
    done = run(lab, environments=[{**PYPI, **change}])
    assert done["msg"] == [f"{DEMO}: changed environment pypi"]
    (call,) = [one for one in lab.requests(before) if one["method"] != "GET"]
    assert (call["method"], call["body"]) == ("PUT", change)
    assert change.items() <= get(lab, "environments")[0].items()
    assert not run(lab, environments=[{**PYPI, **change}])["changed"]
    # What is not named stays, and so do others.
    assert not run(lab, environments=[{"name": "pypi"}])["changed"]
    assert not run(lab, environments=[], purge=True)["changed"]


def test_a_hundred_environments_are_one_list(lab: LabGitLab) -> None:
    given = [{"name": f"e{number}", "tier": "other"} for number in range(60)]
    run(lab, environments=given)
    before = lab.last_request()
    assert not run(lab, environments=given)["changed"]
    reads = [one for one in lab.requests(before) if one["path"].endswith("/environments")]
    assert len(reads) == 1


def test_an_environment_that_another_run_has_made(
    lab: LabGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = AccessApi.environments, list[int]()

    def environments(self: AccessApi, owner: Any) -> Any:
        found = real(self, owner)
        seen.append(len(found))
        if len(seen) == 1:
            lab.api("POST", f"/projects/{owner.id}/environments", json={"name": "pypi"})
        return found

    monkeypatch.setattr(AccessApi, "environments", environments)
    done = run(lab, environments=[PYPI, {"name": "more"}])
    assert done["failures"] == []
    assert seen == [0, 1]
    assert [one["tier"] for one in get(lab, "environments")] == ["production", "other"]


def test_an_environment_that_gitlab_refuses_leaves_the_others(lab: LabGitLab) -> None:
    given = [PYPI, {"name": "more"}]
    lab.fault("/api/v4/projects/*/environments", "status", status=400, method="POST")
    done = run(lab, environments=given)
    assert len(done["failures"]) == 1
    assert "asked to create environment pypi" in done["failures"][0]
    assert [one["name"] for one in get(lab, "environments")] == ["more"]
    assert run(lab, environments=given)["failures"] == []
    assert not run(lab, environments=given)["changed"]


# -- job tokens -------------------------------------------------------------------------------


def allowed(lab: LabGitLab) -> tuple[bool, list[str], list[str]]:
    """Whether access is limited, and to whom."""
    groups = [one["web_url"].partition("/groups/")[2] for one in get(
        lab, "job_token_scope/groups_allowlist")]  # fmt: skip
    projects = [one["path_with_namespace"] for one in get(lab, "job_token_scope/allowlist")]
    limited = get(lab, "job_token_scope")["inbound_enabled"]
    return limited, [path for path in projects if path != DEMO], groups


def test_projects_and_groups_are_let_in_once(lab: LabGitLab) -> None:
    lab.create_project("other/one")
    given = {"projects": ["Other/One"], "groups": ["other", "group"]}
    done = twice(lab, job_token=given)
    assert allowed(lab) == (True, ["other/one"], ["other", "group"])
    assert done["msg"] == [
        f"{DEMO}: let in job tokens of Other/One; let in job tokens of other; "
        "let in job tokens of group",
        "Not by the API: if a job that the allowlist lets in gets 403 admin_packages, the project "
        "has fine-grained permissions: Settings > CI/CD > Job token permissions, edit its entry, "
        "and select Packages: Read and write",
    ]
    assert done["diff"][0]["after"].splitlines()[0] == "job tokens: of project Other/One"


def test_the_limit_alone(lab: LabGitLab) -> None:
    lab.api("PATCH", "/projects/group%2Fdemo/job_token_scope", json={"enabled": False})
    done = twice(lab, job_token={"projects": []})
    assert done["msg"] == [f"{DEMO}: let in job tokens: of the allowlist"]
    assert allowed(lab)[0] is True
    done = twice(lab, job_token={"limit": False})
    assert done["diff"][0]["before"] == "job tokens: of the allowlist\n"
    assert allowed(lab)[0] is False


def test_a_limit_that_an_administrator_enforces_is_told(lab: LabGitLab) -> None:
    lab.fault("/api/v4/projects/*/job_token_scope", "status", status=204, method="PATCH")
    done = run(lab, job_token={"limit": False})
    assert "an administrator enforces it" in done["failures"][0]


def test_who_is_not_listed_stays_unless_purged(lab: LabGitLab) -> None:
    for name in ("other/one", "other/two"):
        lab.create_project(name)
    run(lab, job_token={"projects": ["other/one", "other/two"], "groups": ["other"]})
    given = {"projects": ["other/two"], "groups": []}
    assert not run(lab, job_token=given)["changed"]
    # A list that is not there is left alone.
    assert not run(lab, job_token={"limit": True}, purge=True)["changed"]
    done = twice(lab, job_token=given, purge=True)
    assert done["msg"] == [
        f"{DEMO}: no longer let in job tokens of other/one; no longer let in job tokens of other"
    ]
    assert allowed(lab) == (True, ["other/two"], [])


def test_access_is_limited_after_all_are_let_in(lab: LabGitLab) -> None:
    lab.create_project("other/one")
    lab.api("PATCH", "/projects/group%2Fdemo/job_token_scope", json={"enabled": False})
    before = lab.last_request()
    run(lab, job_token={"projects": ["other/one"]})
    assert [line.partition("/job")[2] for line in changes(lab, before)] == [
        "_token_scope/allowlist", "_token_scope",
    ]  # fmt: skip


def test_lists_are_read_by_the_hundred(lab: LabGitLab) -> None:
    names = [f"other/p{number}" for number in range(5)]
    for name in names:
        lab.create_project(name)
    run(lab, job_token={"projects": names})
    before = lab.last_request()
    assert not run(lab, job_token={"projects": names})["changed"]
    many = len(lab.requests(before))
    before = lab.last_request()
    assert not run(lab, job_token={"projects": names[:1]})["changed"]
    assert len(lab.requests(before)) == many


def test_what_another_run_has_let_in_or_out_meanwhile(
    lab: LabGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = lab.create_project("other/new"), lab.create_project("other/old")
    number = lab.project(DEMO).id
    address = f"/projects/{number}/job_token_scope/allowlist"
    lab.api("POST", address, json={"target_project_id": old.id})
    real = AccessApi.let_in

    def let_in(self: AccessApi, owner: Any, *, groups: bool) -> Any:
        found = real(self, owner, groups=groups)
        if not groups:
            lab.api("POST", address, json={"target_project_id": new.id})
            lab.api("DELETE", f"{address}/{old.id}")
        return found

    monkeypatch.setattr(AccessApi, "let_in", let_in)
    done = run(lab, job_token={"projects": ["other/new"]}, purge=True)
    assert done["failures"] == []
    assert allowed(lab) == (True, ["other/new"], [])


def test_whom_gitlab_does_not_have_stops_all(lab: LabGitLab) -> None:
    with pytest.raises(AnsibleActionFail, match=r"job_token.groups: GitLab has no group none"):
        run(lab, token(), job_token={"groups": ["group", "none"]})
    assert get(lab, "variables") == []
    assert allowed(lab) == (True, [], [])


# -- runners ----------------------------------------------------------------------------------


def publish(lab: LabGitLab, **fields: Any) -> int:
    """A runner of another project."""
    project = lab.create_project(f"other/p{lab.last_request()}")
    wanted = {"runner_type": "project_type", "project_id": project.id, "description": "publish"}
    return lab.create_runner(**{**wanted, **fields}).id


def assigned(lab: LabGitLab) -> list[int]:
    """The project's own runners."""
    return [one["id"] for one in get(lab, "runners?type=project_type")]


@pytest.mark.parametrize("by_number", [False, True])
def test_a_runner_is_assigned_once(lab: LabGitLab, by_number: bool) -> None:
    number = publish(lab)
    name = str(number) if by_number else "publish"
    done = twice(lab, runners=[number if by_number else "publish"])
    assert done["msg"] == [f"{DEMO}: assigned runner {name}"]
    assert done["diff"][0]["after"] == f"runner {name}\n"
    assert assigned(lab) == [number]
    # None is taken away.
    assert not run(lab, runners=[], purge=True)["changed"]


def test_a_runner_that_the_project_has_is_no_call(lab: LabGitLab) -> None:
    lab.create_runner(
        runner_type="project_type", project_id=lab.project(DEMO).id, description="publish"
    )
    publish(lab)
    before = lab.last_request()
    assert not run(lab, runners=["publish"])["changed"]
    reads = [one["path"] for one in lab.requests(before) if "runners" in one["path"]]
    assert len(reads) == 1


def test_runners_that_cannot_be_assigned(lab: LabGitLab) -> None:
    group = lab.api("GET", "/groups/group")["id"]
    publish(lab, description="locked", locked=True)
    twins = [publish(lab, description="twin") for _ in range(2)]
    lab.create_runner(runner_type="group_type", group_id=group, description="group's")
    lab.create_runner(description="shared")
    for name, said in (
        ("none", "no project runner none that this token's user may assign"),
        ("4711", "no project runner 4711 that this token's user may assign"),
        ("locked", "runner locked is locked to its projects; in the project that owns it"),
        ("twin", f"several runners are named twin: {twins[0]}, {twins[1]}; name one by number"),
        ("group's", "group's is a runner of a group, which serves projects without"),
        ("shared", "shared is a runner of the instance, which serves projects without"),
    ):
        with pytest.raises(AnsibleActionFail, match=re.escape(said)) as no:
            run(lab, token(), runners=[name])
        assert "refused, nothing was changed: gitlab_project_projects[0].runners:" in str(no.value)
    assert (assigned(lab), get(lab, "variables")) == ([], [])


def test_a_runner_that_another_run_has_assigned_meanwhile(
    lab: LabGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = publish(lab)
    real = AccessApi.assign_runner

    def assign(self: AccessApi, owner: Any, runner: int, name: str) -> None:
        lab.api("POST", f"/projects/{owner.id}/runners", json={"runner_id": number})
        real(self, owner, runner, name)

    monkeypatch.setattr(AccessApi, "assign_runner", assign)
    assert run(lab, runners=["publish"])["failures"] == []
    assert assigned(lab) == [number]


def test_a_runner_that_gitlab_refuses_is_told_once(lab: LabGitLab) -> None:
    publish(lab)
    lab.fault("/api/v4/projects/*/runners", "status", status=400, method="POST", count=2)
    done = run(lab, runners=["publish"], environments=[PYPI])
    assert len(done["failures"]) == 1
    assert "asked to assign runner publish" in done["failures"][0]
    assert run(lab, runners=["publish"], environments=[PYPI])["failures"] == []
    assert not run(lab, runners=["publish"], environments=[PYPI])["changed"]


# -- findings ---------------------------------------------------------------------------------


def test_variables_of_environments_that_no_job_has(lab: LabGitLab) -> None:
    tags = [{"name": "v*"}]
    pipelines: list[Any] = [{"project": DEMO.upper(), "inputs": {"environment": "live"}}]
    given = [token("pypi"), token("testpypi", PLANTED[1]), token("live-*"), token("li*"),
             {"key": "OTHER", "environment": "pypi", "value": PLANTED[2]}]  # fmt: skip
    found = run(lab, *given, protected_tags=tags, pipelines=pipelines, check=True)["warnings"]
    assert [text.partition(":")[0] for text in found] == [
        "gitlab_project_projects[0].variables[0]", "gitlab_project_projects[0].variables[2]",
    ]  # fmt: skip
    assert "gets TWINE_PASSWORD (pypi): its environments are gitlab, live, testpypi" in found[0]
    # Others of the project's jobs may have them.
    pipelines[0]["file"] = "ci/release.yml"
    more: dict[str, Any] = {"protected_tags": tags, "check": True}
    assert run(lab, *given, pipelines=pipelines, **more)["warnings"] == []
    assert run(lab, *given, **more)["warnings"] == []
    # But hardly one whose name is almost the same.
    (said,) = run(lab, token("lvie"), pipelines=pipelines, **more)["warnings"]
    assert said.startswith("gitlab_project_projects[0].variables[0]: no job of the release")
    wrong = [None, "x", {"project": 1}, {"project": DEMO, "inputs": 1, "packages": 2}]
    assert run(lab, *given, pipelines=wrong, pipeline_inputs={"environment": "li"}, **more)


def test_a_token_that_any_branch_gets_is_warned_of(lab: LabGitLab) -> None:
    more: dict[str, Any] = {"protected_tags": [{"name": "v*"}], "check": True}
    (said,) = run(lab, token("pypi") | {"protected": False, "masked": False}, **more)["warnings"]
    assert said.startswith(
        "gitlab_project_projects[0].variables[0]: TWINE_PASSWORD (pypi) holds a token of an index "
        "and is not protected and masked: "
    )
    assert run(lab, token("pypi"), **more)["warnings"] == []


def test_a_token_in_a_variable_that_no_job_reads(lab: LabGitLab) -> None:
    pipelines: list[Any] = [{"project": DEMO, "inputs": {}}]
    given = token("pypi") | {"key": "PYPI_UPLOAD"}
    more: dict[str, Any] = {"protected_tags": [{"name": "v*"}], "check": True}
    (said,) = run(lab, given, pipelines=pipelines, **more)["warnings"]
    assert "[0]: nothing reads the variable PYPI_UPLOAD, since twine takes TWINE_PASSWORD" in said
    pipelines[0]["inputs"] = {"token_variable": "PYPI_UPLOAD"}
    assert run(lab, given, pipelines=pipelines, **more)["warnings"] == []
    pipelines[0] = {"project": DEMO, "file": "ci/release.yml"}
    assert run(lab, given, pipelines=pipelines, **more)["warnings"] == []


def test_a_password_that_is_no_token_of_the_index(lab: LabGitLab) -> None:
    pipelines: list[Any] = [{"project": DEMO, "inputs": {}}]
    given = {"key": "TWINE_PASSWORD", "environment": "pypi", "value": PLANTED[2]}
    more: dict[str, Any] = {"protected_tags": [{"name": "v*"}], "check": True}
    (said,) = run(lab, given, pipelines=pipelines, **more)["warnings"]
    assert "TWINE_PASSWORD (pypi) holds no token of an index (pypi-…), and releases in the" in said
    own = {"index": "company", "upload_url": "https://a.test", "simple_url": "https://a.test"}
    pipelines[0]["inputs"] = own
    assert run(lab, given, pipelines=pipelines, **more)["warnings"] == []


def test_a_token_of_another_index(lab: LabGitLab) -> None:
    pipelines: list[Any] = [{"project": DEMO, "inputs": {"test_index": "pypi"}}]
    given = token("testpypi", PLANTED[1])
    more: dict[str, Any] = {"protected_tags": [{"name": "v*"}], "check": True}
    (said,) = run(lab, given, pipelines=pipelines, **more)["warnings"]
    assert said == (
        "gitlab_project_projects[0].variables[0]: TWINE_PASSWORD (testpypi) holds a token of "
        "testpypi, and releases in the environment testpypi go to pypi; correct the token, or the "
        "pipeline's index"
    )
    pipelines[0]["inputs"] = {}
    assert run(lab, given, pipelines=pipelines, **more)["warnings"] == []


def test_protected_tags_that_releases_do_not_have(lab: LabGitLab) -> None:
    pipelines: list[Any] = [{"project": DEMO, "packages": [{}, {"tag_prefix": "two-"}]}]
    more: dict[str, Any] = {"pipelines": pipelines, "check": True}
    protected = token("pypi") | {"protected": True}
    found = run(lab, protected, protected_tags=[{"name": "release-*"}], **more)["warnings"]
    assert [text.partition(",")[0] for text in found] == [
        f"gitlab_project_projects[0]: protected variables are empty in releases of the tags {tag} "
        "(the input tag_prefix)"
        for tag in ("two-*", "v*")
    ]
    both = [{"name": "v*"}, {"name": "two-*"}]
    assert run(lab, protected, protected_tags=both, **more)["warnings"] == []
    assert run(lab, protected, protected_tags=[{"name": "*"}], **more)["warnings"] == []


@pytest.mark.parametrize(
    ("config", "inputs", "said"),
    [
        ("ci.yml@group/ci", {"auth": "trusted"}, "trusted publishing refuses its jobs"),
        ("https://a.test/ci.yml", {"auth": "trusted"}, "trusted publishing refuses its jobs"),
        ("ci.yml@group/ci", {}, "GitLab does not read the .gitlab-ci.yml of the release pipeline"),
        ("ci/own.yml", {"auth": "trusted"}, ""),
        ("ci.yml@group/ci", None, ""),
    ],
)
def test_a_configuration_in_another_project(
    lab: LabGitLab, config: str, inputs: dict[str, str] | None, said: str
) -> None:
    told(lab, ci_config_path=config)
    pipelines = [] if inputs is None else [{"project": DEMO, "inputs": inputs}]
    found = " ".join(run(lab, pipelines=pipelines, check=True)["warnings"])
    assert said in found
    assert bool(said) == bool(found)


def told(lab: LabGitLab, **fields: Any) -> None:
    """GitLab tells this of the project; the lab's has no such settings."""
    body = {**lab.api("GET", "/projects/group%2Fdemo"), **fields}
    lab.fault("/api/v4/projects/group/demo", "status", status=200, body=body, method="GET")


def test_developers_who_may_override_variables(lab: LabGitLab) -> None:
    branches = [{"name": "main", "push": "maintainer", "merge": "developer"}]
    said = "developers may run pipelines of main, which get protected variables, and override"
    for role, given, expected in (
        ("developer", branches, True),
        ("maintainer", branches, False),
        ("developer", [{"name": "main"}], False),
    ):
        told(lab, ci_pipeline_variables_minimum_override_role=role)
        found = run(lab, {"key": "A", "value": PLANTED[2]}, protected_branches=given, check=True)
        assert (said in " ".join(found["warnings"])) is expected
        lab.clear_faults()


# -- what is wrong ----------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"environments": [{"name": "a?b"}]}, "environments[0].name: invalid value 'a?b'"),
    ({"environments": [{"name": "/a"}]}, "environments[0].name: invalid value '/a'"),
    ({"environments": [{"name": ""}]}, "environments[0].name: invalid value ''"),
    ({"environments": [{"tier": "other"}]}, "missing option name"),
    ({"environments": [{"name": "a", "tier": "live"}]}, "expected production or staging"),
    ({"environments": [{"name": "a"}, {"name": "a"}]}, "environments: 'a' is listed more than"),
    ({"environments": [{"name": "a", "external_url": "a.test"}]}, "external_url: invalid value"),
    (
        {"environments": [{"name": "a", "external_url": f"https://me:{PLANTED[2]}@a.test"}]},
        "external_url: invalid value; expected an address",
    ),
    ({"environments": [{"name": "a", "description": "x" * 1001}]}, "description: too long"),
    ({"job_token": {"projects": ["demo"]}}, "invalid value 'demo'; expected GROUP/PROJECT"),
    ({"job_token": {"groups": ["a b"]}}, "job_token.groups[0]: invalid value 'a b'"),
    ({"job_token": {"groups": ["a", "A"]}}, "job_token.groups: 'a' is listed more than once"),
    ({"job_token": {"projects": ["Group/Demo"]}}, "Group/Demo is the project itself"),
    ({"job_token": {"project": ["a/b"]}}, "unknown option 'project'; did you mean projects?"),
    ({"job_token": {"limit": "perhaps"}}, "invalid value"),
    ({"runners": [""]}, "runners[0]: invalid value ''; expected the description of a project"),
    ({"runners": ["a", "a"]}, "runners: 'a' is listed more than once"),
]


@pytest.mark.parametrize(("given", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_access_is_refused_before_gitlab_is_asked(given: dict[str, Any], said: str) -> None:
    # No lab: a call would fail otherwise.
    with pytest.raises(AnsibleActionFail, match=re.escape(said)) as no:
        run(None, **given)
    assert "project" in str(no.value)


def test_groups_have_none_of_it() -> None:
    groups = [{"group": "group", "environments": [PYPI]}]
    with pytest.raises(AnsibleActionFail, match="unknown option 'environments'"):
        run(None, groups=groups)


def test_the_log_of_requests_shows_what_was_asked(lab: LabGitLab) -> None:
    run(lab, environments=[PYPI], job_token={"groups": ["group"]})
    assert "gldt-" not in json.dumps(lab.requests())
