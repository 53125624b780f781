# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of gitlab_project and the lab's GitLab: what is set, compared, left alone, refused."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action.gitlab_project import WOULD, ActionModule
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _gitlab_settings,
    _index_tokens,
    _project_plan,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import Projects
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import SettingsApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_steps import today
from standins.gitlab import Settings
from standins.gitlab.client import LabGitLab
from standins.gitlab.thread import bound_socket, serving

pytestmark = pytest.mark.long

ADMIN = "glpat-AdministratorsOwn00"
DEMO = "group/demo"
OF_A_PROJECT = ("project", "protected_tags", "protected_branches", "environments", "job_token",
                "deploy_tokens", "runners")  # fmt: skip


def index_token(host: str, mark: str = "x") -> str:
    """A text that looks like a token of an index: a macaroon's first bytes, then any others."""
    location = bytes((2, 1, len(host))) + host.encode()
    body = location + b"\x02\x24" + (mark * 120).encode()[:120]
    return "pypi-" + base64.urlsafe_b64encode(body).decode().rstrip("=")


PYPI = index_token(".".join(("pypi", "org")))
TEST = index_token(".".join(("test", "pypi", "org")))
PLANTED = (PYPI, TEST, "S3cret.Value-of~the@test+more")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabGitLab]:
    """A GitLab with a project in a group."""
    listener = bound_socket()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with (
        serving(Settings(tmp_path / "gitlab", url, "the-lab-secret", ADMIN), listener),
        LabGitLab(url, "the-lab-secret", ADMIN) as lab,
    ):
        lab.create_project(DEMO)
        yield lab


def run(
    lab: LabGitLab | None, *variables: Mapping[str, Any], check: bool = False, **more: Any
) -> dict[str, Any]:
    """One run of the action; no planted value is in what it says."""
    action = object.__new__(ActionModule)
    project: dict[str, Any] = {key: more.pop(key) for key in OF_A_PROJECT if key in more}
    args = {
        "url": lab.base_url if lab else "https://gitlab.test",
        "api_token": ADMIN,
        "projects": [{"project": DEMO, "variables": list(variables), **project}],
        **more,
    }
    action._task = SimpleNamespace(
        args=args, check_mode=check, async_val=0, action="gitlab_project"
    )
    action._connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir="/tmp"), is_pipelining_enabled=lambda: True
    )
    try:
        result: dict[str, Any] = action.run(None, {})
    except AnsibleActionFail as error:
        hides(str(error))
        raise
    hides(json.dumps(result))
    if check and result["changed"]:
        assert result["msg"].pop(0) == WOULD
    return result


def hides(text: str) -> None:
    """No value is in a text, nor the begin of one."""
    for value in PLANTED:
        assert value not in text
        assert value[-12:] not in text
    # Of a deploy token.
    assert "gldt-" not in text


def listed(lab: LabGitLab, owner: str = "projects/group%2Fdemo") -> dict[tuple[str, str], Any]:
    """GitLab's variables by key and scope."""
    found = lab.api("GET", f"/{owner}/variables")
    return {(one["key"], one.get("environment_scope", "*")): one for one in found}


def token(environment: str = "pypi", value: Any = PYPI, **more: Any) -> dict[str, Any]:
    """A variable with an index's token."""
    return {"key": "TWINE_PASSWORD", "environment": environment, "value": value, **more}


def changes(lab: LabGitLab, since: int) -> list[str]:
    """What was written since a request."""
    return [
        f"{one['method']} {one['path']}"
        for one in lab.requests(since)
        if one["method"] not in ("GET", "HEAD")
    ]


def test_first_run_sets_all_and_the_second_changes_nothing(lab: LabGitLab) -> None:
    given = (token(), token("testpypi", TEST, description="the test index"))
    predicted = run(lab, *given, check=True, protected_tags=[{"name": "v*"}])
    assert listed(lab) == {}
    first = run(lab, *given, protected_tags=[{"name": "v*"}])
    assert first["changed"]
    assert first["failures"] == []
    assert (first["msg"], first["diff"]) == (predicted["msg"], predicted["diff"])
    assert first["msg"] == [
        f"{DEMO}: created TWINE_PASSWORD (pypi), TWINE_PASSWORD (testpypi); protected v*"
    ]
    found = listed(lab)
    one = found["TWINE_PASSWORD", "testpypi"]
    assert one["value"] == TEST
    assert [one[key] for key in ("protected", "masked", "hidden", "raw", "variable_type")] == [
        True, True, False, True, "env_var",
    ]  # fmt: skip
    assert one["description"] == f"the test index [runnerhost {today()}]"
    before = lab.last_request()
    again = run(lab, *given, protected_tags=[{"name": "v*"}])
    assert (again["changed"], again["diff"], again["msg"]) == (False, [], [f"{DEMO}: as wanted"])
    assert changes(lab, before) == []


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        ({"protected": False}, {"protected": False}),
        ({"raw": False}, {"raw": False}),
        ({"type": "file", "masked": True}, {"variable_type": "file"}),
        ({"masked": False}, {"masked": False}),
        ({"description": "other"}, {"description": f"other [runnerhost {today()}]"}),
        ({"value": index_token(".".join(("pypi", "org")), "y")}, {}),
    ],
)
def test_each_attribute_alone_is_one_call(
    lab: LabGitLab, change: dict[str, Any], sent: dict[str, Any]
) -> None:
    run(lab, token())
    before = lab.last_request()
    done = run(lab, token(**change))
    assert done["changed"]
    assert len(changes(lab, before)) == 1
    one = listed(lab)["TWINE_PASSWORD", "pypi"]
    assert sent.items() <= one.items()
    assert one["value"] == change.get("value", PYPI)
    assert not run(lab, token(**change))["changed"]


def test_a_hidden_value_is_compared_by_its_digest(lab: LabGitLab) -> None:
    hidden = token(hidden=True, description="for releases")
    run(lab, hidden)
    one = listed(lab)["TWINE_PASSWORD", "pypi"]
    assert (one["value"], one["hidden"], one["masked"]) == (None, True, True)
    assert one["description"].startswith("for releases [runnerhost ")
    assert not run(lab, hidden)["changed"]
    other = {**hidden, "value": index_token(".".join(("pypi", "org")), "y")}
    assert run(lab, other, check=True)["changed"]
    assert run(lab, other)["changed"]
    assert not run(lab, other)["changed"]
    # And back again: the mark is that of the value.
    assert run(lab, hidden)["changed"]


def test_visible_becomes_hidden_only_by_making_it_anew(lab: LabGitLab) -> None:
    run(lab, token())
    with pytest.raises(AnsibleActionFail, match=r"is not hidden in GitLab.*replace: true"):
        run(lab, token(hidden=True))
    assert listed(lab)["TWINE_PASSWORD", "pypi"]["value"] == PYPI
    done = run(lab, token(hidden=True, replace=True))
    assert done["msg"] == [f"{DEMO}: made anew TWINE_PASSWORD (pypi)"]
    assert listed(lab)["TWINE_PASSWORD", "pypi"]["hidden"]
    assert not run(lab, token(hidden=True, replace=True))["changed"]


def test_what_is_not_listed_stays_unless_purged(lab: LabGitLab) -> None:
    lab.api("POST", f"/projects/{DEMO.replace('/', '%2F')}/variables",
            json={"key": "OTHER", "value": "mine"})  # fmt: skip
    assert not run(lab)["changed"]
    shown = run(lab, purge=True, check=True)
    assert shown["msg"] == [f"{DEMO}: deleted OTHER"]
    assert shown["diff"][0]["before"] == "OTHER: plain\n"
    assert listed(lab)
    run(lab, purge=True)
    assert listed(lab) == {}
    # A project without a list of variables is left alone.
    lab.api("POST", f"/projects/{DEMO.replace('/', '%2F')}/variables",
            json={"key": "OTHER", "value": "mine"})  # fmt: skip
    run(lab, purge=True, projects=[{"project": DEMO}])
    assert listed(lab)


def test_a_groups_variable_has_no_scope(lab: LabGitLab) -> None:
    groups = [{"group": "group", "variables": [{"key": "SHARED", "value": PLANTED[2]}]}]
    assert run(lab, groups=groups)["changed"]
    assert listed(lab, "groups/group")["SHARED", "*"]["value"] == PLANTED[2]
    assert not run(lab, groups=groups)["changed"]
    shadow = run(lab, {"key": "SHARED", "value": PLANTED[2]}, groups=groups)
    assert "SHARED replaces the variable of the group group" in " ".join(shadow["warnings"])


@pytest.mark.parametrize(
    ("group", "project", "told"),
    [("*", "pypi", True), ("pypi", "pypi", True), ("testpypi", "pypi", False),
     ("py*", "pypi", True), ("pypi", "*", True)],
)  # fmt: skip
def test_a_variable_that_a_job_gets_in_place_of_its_groups(
    lab: LabGitLab, group: str, project: str, told: bool
) -> None:
    own = index_token("index.example.com")
    groups = [{"group": "group", "variables": [token(group, own)]}]
    found = run(lab, token(project, own), groups=groups, check=True)["warnings"]
    assert ("replaces the variable of the group group" in " ".join(found)) is told


def test_a_protection_that_differs_is_made_anew(lab: LabGitLab) -> None:
    run(lab, protected_tags=[{"name": "v*", "create": "developer"}])
    done = run(lab, protected_tags=[{"name": "v*", "create": "maintainer"}])
    assert done["diff"][0]["before"] == "protected tag v*: create developer\n"
    assert done["diff"][0]["after"] == "protected tag v*: create maintainer\n"
    (rule,) = lab.api("GET", "/projects/group%2Fdemo/protected_tags")
    assert rule["create_access_levels"][0]["access_level"] == 40
    branch = [{"name": "main", "push": "no one", "merge": "maintainer"}]
    run(lab, protected_branches=branch)
    assert not run(lab, protected_branches=branch)["changed"]


def test_a_branch_to_protect_that_is_not_there(lab: LabGitLab) -> None:
    """GitLab protects any name."""
    made = Projects(lab.base_url, ADMIN)
    project = made.project(DEMO)
    assert project
    made.commit(project, "main", "", "x", [{"action": "create", "file_path": "a", "content": "a"}])
    given = [{"name": "main"}, {"name": "mian"}, {"name": "release/*"}]
    (said,) = run(lab, protected_branches=given, check=True)["warnings"]
    assert said == (
        "gitlab_project_projects[0].protected_branches: group/demo has no branch mian yet; correct "
        "the name if it is not to come"
    )
    run(lab, protected_branches=given)
    assert run(lab, protected_branches=given)["warnings"] == []


def test_a_protection_that_cannot_be_changed_stays(lab: LabGitLab) -> None:
    run(lab, protected_tags=[{"name": "v*", "create": "developer"}])
    lab.fault("/api/v4/projects/*/protected_tags", "status", status=500, method="POST")
    done = run(lab, protected_tags=[{"name": "v*"}])
    assert "answered 500" in done["failures"][0]
    (rule,) = lab.api("GET", "/projects/group%2Fdemo/protected_tags")
    assert rule["create_access_levels"][0]["access_level"] == 30


def test_a_value_that_gitlab_refuses_leaves_the_old_one_and_the_others_are_set(
    lab: LabGitLab,
) -> None:
    run(lab, token())
    lab.fault("/api/v4/projects/*/variables/*", "status", status=400, method="PUT")
    new = index_token(".".join(("pypi", "org")), "z")
    done = run(lab, token(value=new), {"key": "MORE", "value": PLANTED[2]})
    assert len(done["failures"]) == 1
    assert listed(lab)["TWINE_PASSWORD", "pypi"]["value"] == PYPI
    assert listed(lab)["MORE", "*"]["value"] == PLANTED[2]
    assert not run(lab, token(value=new), {"key": "MORE", "value": PLANTED[2]})["failures"]
    assert listed(lab)["TWINE_PASSWORD", "pypi"]["value"] == new


def test_what_another_run_has_made_meanwhile_is_changed(
    lab: LabGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SettingsApi.variables
    seen: list[int] = []

    def variables(self: SettingsApi, owner: Any) -> Any:
        found = real(self, owner)
        seen.append(len(found))
        if len(seen) == 1:
            lab.api("POST", f"/projects/{owner.id}/variables",
                    json={"key": "MORE", "value": "other value of somebody"})  # fmt: skip
        return found

    monkeypatch.setattr(SettingsApi, "variables", variables)
    done = run(lab, {"key": "MORE", "value": PLANTED[2]}, {"key": "LAST", "value": PLANTED[2]})
    assert done["failures"] == []
    assert seen == [0, 1]
    assert {one["value"] for one in listed(lab).values()} == {PLANTED[2]}


def test_three_hundred_variables_are_read_by_the_hundred(lab: LabGitLab) -> None:
    given = [{"key": f"KEY_{number}", "value": PLANTED[2]} for number in range(300)]
    run(lab, *given)
    before = lab.last_request()
    assert not run(lab, *given)["changed"]
    reads = [one for one in lab.requests(before) if one["path"].endswith("/variables")]
    assert len(reads) == 3


@pytest.mark.parametrize(
    ("variables", "more", "said"),
    [
        ([token(protected=True)], {}, "protects no branch and no tag|protects no tag"),
        (
            [{"key": "PYPI_TOKEN", "value": PYPI}],
            {},
            "no release pipeline reads the variable PYPI_TOKEN, since twine takes .*, unless a job",
        ),
    ],
)
def test_what_works_otherwise_than_it_looks_is_told(
    lab: LabGitLab, variables: list[dict[str, Any]], more: dict[str, Any], said: str
) -> None:
    assert re.search(said, " ".join(run(lab, *variables, **more)["warnings"]))


def test_a_token_variable_that_the_pipelines_read_is_no_finding(lab: LabGitLab) -> None:
    tags = [{"name": "v*"}]
    given = {"key": "PYPI_TOKEN", "value": PYPI}
    done = run(lab, given, protected_tags=tags, pipeline_inputs={"token_variable": "PYPI_TOKEN"})
    assert done["warnings"] == []


def test_a_repository_for_all_uploads_that_gitlab_has_is_told(lab: LabGitLab) -> None:
    lab.api("POST", "/projects/group%2Fdemo/variables",
            json={"key": "TWINE_REPOSITORY_URL", "value": "https://index.test"})  # fmt: skip
    assert "its variable TWINE_REPOSITORY_URL overrides" in " ".join(run(lab)["warnings"])
    assert run(lab, purge=True)["warnings"] == [
        "group/demo: gitlab_project_purge deletes TWINE_REPOSITORY_URL, which the inventory does "
        "not name; nobody can restore their values"
    ]


def test_the_token_of_a_companys_own_index_is_taken(lab: LabGitLab) -> None:
    own = index_token("index.example.com")
    for environment in ("pypi", "testpypi"):
        assert run(lab, token(environment, own), check=True)["changed"]


@pytest.mark.parametrize(
    "given",
    [
        {"key": "PYPIRC", "type": "file", "environment": "pypi",
         "value": f"[pypi]\nusername = __token__\npassword = {PYPI}\n"},
        {"key": "TWINE_USERNAME", "value": "pypi-uploader", "masked": False},
        {"key": "INDEX_HOST", "value": "pypi-mirror.example.com"},
        token("pytest-acme"),
        token("latest"),
        {"key": "PYPI_TOKEN", "environment": "staging", "value": TEST},
    ],
)  # fmt: skip
def test_values_that_only_look_wrong_are_taken(lab: LabGitLab, given: dict[str, Any]) -> None:
    assert run(lab, given, check=True)["changed"]


def test_a_deploy_key_beside_a_role_makes_no_other_protection() -> None:
    key = {"access_level": 40, "deploy_key_id": 7}
    assert _gitlab_settings._level([{"access_level": 0}, key]) == 0
    assert _gitlab_settings._level([key]) == -1
    assert _gitlab_settings._level([{"access_level": 40}, {"access_level": 40, "user_id": 3}]) == -1


WRONG: list[tuple[dict[str, Any], str]] = [
    (token(value=TEST), "a token of TestPyPI for PyPI"),
    (token("testpypi", PYPI), "a token of PyPI for the test index"),
    ({"key": "TEST_PYPI_PASSWORD", "value": PYPI}, "a token of PyPI for the test index"),
    (token(value=PYPI + "\n"), "begins or ends with white space"),
    (token(value=" " + PYPI), "begins or ends with white space"),
    (token(value=PYPI[:60]), "cut short"),
    (token(value=PYPI[:40] + "\n" + PYPI[40:]), "has characters that none has"),
    (token(value=f'"{PYPI}"'), "holds an index's token and something else"),
    (token(value=f"TWINE_PASSWORD={PYPI}"), "holds an index's token and something else"),
    (token(value=index_token("index.example.com") + '"'), "and something else"),
    (token(value="pypi-abcdefgh"), "none of PyPI or TestPyPI"),
    # No base64 has such a length.
    (token(value="pypi-" + "b" * 73), "none of PyPI or TestPyPI"),
    (token(value=""), "value: empty"),
    (token(value="$ANSIBLE_VAULT;1.1;AES256 3834"), "was not decrypted"),
    (token(value=12345678), "invalid value of type number; put it in quotes"),
    (token(value=True), "invalid value of type boolean; put it in quotes"),
    (token(value=None), "invalid value of type null"),
    (token(value={"a": PYPI}), "invalid value of type mapping"),
    ({"key": "A", "value": "short"}, "GitLab cannot mask it"),
    ({"key": "A", "value": "two words here"}, "GitLab cannot mask it"),
    ({"key": "A", "value": "dollar$sign&more", "raw": False}, "raw: true allows others"),
    ({"key": "A", "value": "aaaaaaaaaaaaaaaaaaaaaaaa", "hidden": True}, "the value is too simple"),
    ({"key": "A", "value": "hunter2hunter2", "hidden": True}, "the value is too simple"),
    ({"key": "A-B", "value": PLANTED[2]}, "expected letters, digits and _"),
    ({"key": "", "value": PLANTED[2]}, "expected letters, digits and _"),
    ({"key": "A" * 256, "value": PLANTED[2]}, "expected letters, digits and _"),
    ({"key": "TWINE_REPOSITORY_URL", "value": "https://index.test"}, "overrides the repository"),
    ({"key": "TWINE_REPOSITORY", "value": "testpypi"}, "overrides the repository"),
    (token(environment="a,b"), "expected a name or pattern of environments"),
    (token(description="x" * 200), "description: too long"),
    (token(type="text"), "expected env_var or file"),
    (token(protected="perhaps"), "invalid value"),
    (token(mask=True), "unknown option 'mask'; did you mean masked?"),
    ({"key": "A"}, "missing option value"),
    ({"value": PLANTED[2]}, "missing option key"),
]


@pytest.mark.parametrize(("variable", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_variables_are_refused_before_gitlab_is_asked(
    variable: dict[str, Any], said: str
) -> None:
    # No lab: a call would fail otherwise.
    with pytest.raises(AnsibleActionFail, match=re.escape(said)):
        run(None, variable)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"url": ""}, "gitlab_project_url: invalid or missing"),
        ({"url": "gitlab.test"}, "gitlab_project_url: invalid or missing"),
        ({"api_token": ""}, "gitlab_project_api_token: missing"),
        ({"api_token": "a b"}, "gitlab_project_api_token: invalid value"),
        ({"projects": []}, "gitlab_project_projects: empty"),
        ({"projects": [{"project": "demo"}]}, "invalid project 'demo'; expected GROUP/PROJECT"),
        ({"projects": [{"project": DEMO}, {"project": DEMO}]}, "is named twice"),
        ({"projects": [{"project": DEMO, "variables": [token(), token()]}]}, "more than once"),
        ({"groups": [{"group": "a b"}]}, "invalid group 'a b'"),
        ({"protected_tags": [{"name": "v*"}, {"name": "v*"}]}, "'v*' is listed more than once"),
        ({"protected_tags": [{"name": "v *"}]}, "invalid name 'v *'"),
        ({"protected_tags": [{"name": "v*", "create": "all"}]}, "expected no one or developer"),
    ],
)
def test_wrong_settings_are_refused_before_gitlab_is_asked(args: dict[str, Any], said: str) -> None:
    with pytest.raises(AnsibleActionFail, match=re.escape(said)):
        run(None, **args)


def test_a_project_that_is_not_there_stops_all(lab: LabGitLab) -> None:
    projects = [{"project": DEMO, "variables": [token()]}, {"project": "group/none"}]
    with pytest.raises(AnsibleActionFail, match="has no project group/none that this token may"):
        run(lab, projects=projects)
    assert listed(lab) == {}


def test_a_mark_is_of_one_value_and_hides_it() -> None:
    mark = _project_plan.mark(PYPI)
    assert mark != _project_plan.mark(PYPI)
    assert _project_plan.marked(f"words {mark}", PYPI)
    assert not _project_plan.marked(f"words {mark}", TEST)
    assert not _project_plan.marked("words", PYPI)
    assert _project_plan.unmarked(f"words {mark}") == "words"


def test_the_instance_of_a_token_is_read_offline() -> None:
    assert _index_tokens.instance(PYPI) == "PyPI"
    assert _index_tokens.instance(TEST) == "TestPyPI"
    assert _index_tokens.instance("glpat-x") == ""
    assert _index_tokens.problem(PYPI, "TWINE_PASSWORD pypi") == ""
    assert _index_tokens.problem(TEST, "TWINE_PASSWORD testpypi") == ""


@pytest.mark.parametrize(
    ("projects", "says"),
    [
        ([{"project": DEMO, "variables": "x"}], "gitlab_project_projects[0].variables[0]: "),
        ([{"project": DEMO, "protected": []}], "gitlab_project_projects[0]: unknown option"),
        ("x", "gitlab_project_projects[0]: "),
    ],
)
def test_a_wrong_type_is_told_by_the_variables_name(
    lab: LabGitLab, projects: Any, says: str
) -> None:
    with pytest.raises(AnsibleActionFail) as said:
        run(lab, projects=projects)
    assert says in str(said.value)
    assert "gitlab_project.projects" not in str(said.value)


def test_an_address_that_redirects_is_refused_at_the_first_question(lab: LabGitLab) -> None:
    """Reading alone would get through, with the token in clear text before."""

    class Moves(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(301)
            self.send_header("Location", f"{lab.base_url}{self.path}")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Moves)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        for check in (True, False):
            with pytest.raises(AnsibleActionFail) as said:
                run(lab, url=url, check=check)
            assert f"gitlab_project_url: {url} redirects to {lab.base_url}; set" in str(said.value)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_what_gitlab_has_refused_is_not_told_as_done(lab: LabGitLab) -> None:
    lab.fault("/api/v4/projects/*/variables", "status", status=400, method="POST", count=5)
    done = run(lab, token("pypi"))
    assert done["failures"]
    assert done["msg"] == ["group/demo: not all of this was done: created TWINE_PASSWORD (pypi)"]
