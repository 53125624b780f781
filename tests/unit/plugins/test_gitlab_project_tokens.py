# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy tokens that gitlab_project makes, renews and revokes: no moment without a valid one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import gitlab as python_gitlab
import pytest
import requests
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _project_plan,
    _project_steps,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_access import AccessApi
from standins.gitlab.client import LabGitLab
from tests.unit.plugins.test_gitlab_project import DEMO, PLANTED, changes, lab, listed, run

pytestmark = pytest.mark.long

__all__ = ["lab"]
READER = {
    "name": "reader",
    "scopes": ["read_repository"],
    "variables": [{"key": "READ_TOKEN", "environment": "pypi", "description": "for the index"}],
}
TAGS: dict[str, Any] = {"protected_tags": [{"name": "v*"}]}
VARIABLE = ("READ_TOKEN", "pypi")


def reader(**more: Any) -> list[dict[str, Any]]:
    """The declaration."""
    return [{**READER, **more}]


def variable(**more: Any) -> list[dict[str, Any]]:
    """Its variable."""
    return [{**READER["variables"][0], **more}]  # type: ignore[dict-item]


def tokens(lab: LabGitLab, project: str = DEMO) -> list[dict[str, Any]]:
    """GitLab's deploy tokens."""
    found: list[dict[str, Any]] = lab.api(
        "GET", f"/projects/{project.replace('/', '%2F')}/deploy_tokens"
    )
    return found


def value(lab: LabGitLab, project: str = DEMO, key: tuple[str, str] = VARIABLE) -> str:
    """What the variable holds."""
    return str(listed(lab, f"projects/{project.replace('/', '%2F')}")[key]["value"])


def lives(lab: LabGitLab, project: str = DEMO, key: tuple[str, str] = VARIABLE) -> bool:
    """Whether GitLab lets in whoever has the variable's value."""
    answer = requests.get(
        f"{lab.base_url}/{project}.git/info/refs?service=git-upload-pack", timeout=30,
        auth=("runnerhost+reader", value(lab, project, key)),
    )  # fmt: skip
    return answer.status_code == 200


def later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """So many days from now."""
    day = date.today() + timedelta(days=days)
    monkeypatch.setattr(_project_steps, "today", lambda: day)


def test_a_token_is_made_with_its_variable_once(lab: LabGitLab) -> None:
    before = lab.last_request()
    predicted = run(lab, deploy_tokens=reader(), check=True, **TAGS)
    assert changes(lab, before) == []
    done = run(lab, deploy_tokens=reader(), **TAGS)
    assert (done["msg"], done["diff"]) == (predicted["msg"], predicted["diff"])
    assert done["failures"] == done["warnings"] == []
    assert done["msg"] == [
        f"{DEMO}: protected v*; created deploy token reader in READ_TOKEN (pypi)"
    ]
    ends = (_project_steps.today() + timedelta(days=90)).isoformat()
    assert done["diff"][0]["after"] == (
        "protected tag v*: create maintainer\n"
        f"deploy token reader: read_repository, until {ends}\n"
        "READ_TOKEN (pypi): protected, masked, raw; for the index\n"
    )
    (found,) = tokens(lab)
    assert (found["name"], found["username"]) == ("reader", "runnerhost+reader")
    assert found["expires_at"].startswith(ends)
    one = listed(lab)[VARIABLE]
    assert [one[key] for key in ("protected", "masked", "hidden", "raw")] == [
        True, True, False, True,
    ]  # fmt: skip
    assert one["description"].startswith(f"for the index [runnerhost {found['id']} ")
    assert lives(lab)
    before = lab.last_request()
    again = run(lab, deploy_tokens=reader(), **TAGS)
    assert (again["changed"], again["msg"]) == (False, [f"{DEMO}: as wanted"])
    assert changes(lab, before) == []


def test_the_token_is_in_no_message_of_a_failure(lab: LabGitLab) -> None:
    lab.fault("/api/v4/projects/*/variables", "status", status=400, method="POST",
              body={"message": "no"})  # fmt: skip
    done = run(lab, deploy_tokens=reader(), **TAGS)
    assert "asked to create variable READ_TOKEN" in done["failures"][0]
    # Nobody has it, and nobody will.
    assert (tokens(lab), listed(lab)) == ([], {})
    assert run(lab, deploy_tokens=reader(), **TAGS)["failures"] == []
    assert lives(lab)


@pytest.mark.parametrize(
    "change", [{"scopes": ["read_repository", "read_registry"]}, {"days": 31, "renew_days": 1}]
)
def test_what_a_token_may_and_for_how_long_makes_another(
    lab: LabGitLab, change: dict[str, Any]
) -> None:
    run(lab, deploy_tokens=reader(), **TAGS)
    (old,), before = tokens(lab), lab.last_request()
    done = run(lab, deploy_tokens=reader(**change), **TAGS)
    assert done["msg"] == [f"{DEMO}: renewed deploy token reader in READ_TOKEN (pypi)"]
    methods = [line.partition(" ")[0] for line in changes(lab, before)]
    assert methods == ["POST", "PUT", "DELETE"]
    (new,) = tokens(lab)
    assert new["id"] != old["id"]
    assert lives(lab)
    assert not run(lab, deploy_tokens=reader(**change), **TAGS)["changed"]


def test_a_longer_life_waits_for_the_next_token(lab: LabGitLab) -> None:
    run(lab, deploy_tokens=reader(days=60), **TAGS)
    assert not run(lab, deploy_tokens=reader(days=200), **TAGS)["changed"]


def test_renewal_when_few_days_are_left(lab: LabGitLab, monkeypatch: pytest.MonkeyPatch) -> None:
    run(lab, deploy_tokens=reader(), **TAGS)
    old = value(lab)
    for days in (-1, 1, 60):
        later(monkeypatch, days)
        assert not run(lab, deploy_tokens=reader(), **TAGS)["changed"], days
    later(monkeypatch, 61)
    assert run(lab, deploy_tokens=reader(), check=True, **TAGS)["changed"]
    assert value(lab) == old
    done = run(lab, deploy_tokens=reader(), **TAGS)
    before, after = done["diff"][0]["before"], done["diff"][0]["after"]
    assert "until" in before.splitlines()[0] != after.splitlines()[0]
    assert "READ_TOKEN (pypi): another value" in after
    assert value(lab) != old
    assert lives(lab)
    assert len(tokens(lab)) == 1
    assert not run(lab, deploy_tokens=reader(), **TAGS)["changed"]


def test_one_that_has_expired_or_gone_is_made_anew(
    lab: LabGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(monkeypatch, -91)
    run(lab, deploy_tokens=reader(), **TAGS)
    assert not lives(lab)
    monkeypatch.undo()
    done = run(lab, deploy_tokens=reader(), **TAGS)
    assert done["msg"] == [f"{DEMO}: created deploy token reader in READ_TOKEN (pypi)"]
    assert lives(lab)
    number = tokens(lab)[-1]["id"]
    lab.api("DELETE", f"/projects/group%2Fdemo/deploy_tokens/{number}")
    assert run(lab, deploy_tokens=reader(), **TAGS)["changed"]
    assert lives(lab)


@pytest.mark.parametrize(
    ("hidden", "change", "sent"),
    [
        # A hidden variable is masked, whatever else changes.
        (False, {"masked": False}, {"masked": False}),
        *(
            (hidden, change, sent)
            for hidden in (False, True)
            for change, sent in (
                ({"protected": False}, {"protected": False}),
                ({"raw": False}, {"raw": False}),
                ({"description": "other"}, {}),
            )
        ),
    ],
)
def test_each_attribute_of_the_variable_alone_keeps_the_token(
    lab: LabGitLab, hidden: bool, change: dict[str, Any], sent: dict[str, Any]
) -> None:
    run(lab, deploy_tokens=reader(variables=variable(hidden=hidden)), **TAGS)
    (old,), held, before = tokens(lab), value(lab), lab.last_request()
    given = reader(variables=variable(hidden=hidden, **change))
    done = run(lab, deploy_tokens=given, **TAGS)
    assert done["msg"] == [f"{DEMO}: changed READ_TOKEN (pypi)"]
    assert len(changes(lab, before)) == 1
    assert (tokens(lab), value(lab)) == ([old], held)
    one = listed(lab)[VARIABLE]
    assert sent.items() <= one.items()
    assert _project_plan.unmarked(one["description"]) == change.get("description", "for the index")
    assert not run(lab, deploy_tokens=given, **TAGS)["changed"]


def test_a_hidden_variable_is_known_by_its_description(lab: LabGitLab) -> None:
    given = reader(variables=variable(hidden=True))
    run(lab, deploy_tokens=given, **TAGS)
    assert listed(lab)[VARIABLE]["value"] is None
    assert not run(lab, deploy_tokens=given, **TAGS)["changed"]
    with pytest.raises(AnsibleActionFail, match=r"is hidden in GitLab.*replace: true"):
        run(lab, deploy_tokens=reader(), **TAGS)
    run(lab, deploy_tokens=reader(variables=variable(replace=True)), **TAGS)
    assert lives(lab)
    assert len(tokens(lab)) == 1
    assert not run(lab, deploy_tokens=reader(), **TAGS)["changed"]


@pytest.mark.parametrize("field", ["value", "description"])
def test_a_variable_that_was_changed_by_hand_gets_a_new_token(lab: LabGitLab, field: str) -> None:
    run(lab, deploy_tokens=reader(), **TAGS)
    lab.api("PUT", "/projects/group%2Fdemo/variables/READ_TOKEN", json={field: "changed-by-hand"})
    # GitLab refuses it: what the variable holds may be the token, and stays.
    lab.fault("/api/v4/projects/*/variables/*", "status", status=400, method="PUT")
    assert run(lab, deploy_tokens=reader(), **TAGS)["failures"]
    assert lives(lab) is (field == "description")
    assert run(lab, deploy_tokens=reader(), **TAGS)["changed"]
    assert lives(lab)
    assert len(tokens(lab)) == 1
    assert not run(lab, deploy_tokens=reader(), **TAGS)["changed"]


def test_tokens_of_others_stay(lab: LabGitLab) -> None:
    path = "/projects/group%2Fdemo/deploy_tokens"
    for name, user in (("reader", ""), ("reader", "somebody"), ("other", "runnerhost+mine")):
        body = {"name": name, "username": user, "scopes": ["read_registry"]}
        lab.api("POST", path, json=body)
    others = tokens(lab)
    run(lab, deploy_tokens=reader(), **TAGS)
    run(lab, deploy_tokens=[], purge=True, **TAGS)
    assert tokens(lab) == others


def test_one_that_is_no_longer_listed_is_revoked_with_purge(lab: LabGitLab) -> None:
    both = [*reader(), {**READER, "name": "other", "variables": [{"key": "OTHER"}]}]
    run(lab, deploy_tokens=both, **TAGS)
    assert not run(lab, deploy_tokens=reader(), **TAGS)["changed"]
    assert not run(lab, purge=True, projects=[{"project": DEMO}])["changed"]
    # Its variable is one that is not listed; that of the other token is.
    number = tokens(lab)[-1]["id"]
    done = run(lab, deploy_tokens=reader(), purge=True, **TAGS)
    assert done["msg"] == [f"{DEMO}: deleted OTHER; revoked deploy token other ({number})"]
    assert [one["name"] for one in tokens(lab)] == ["reader"]
    assert lives(lab)
    assert not run(lab, deploy_tokens=reader(), purge=True, **TAGS)["changed"]


def test_several_variables_hold_one_token(lab: LabGitLab) -> None:
    other = ("READ_TOKEN", "testpypi")
    given = reader(variables=[*variable(), *variable(environment="testpypi")])
    run(lab, deploy_tokens=given, **TAGS)
    assert value(lab) == value(lab, key=other)
    assert len(tokens(lab)) == 1
    # One of them fails: the other keeps the new token, and the first the old one.
    more = [{**given[0], "scopes": ["read_repository", "read_registry"]}]
    lab.fault("/api/v4/projects/*/variables/*", "status", status=400, method="PUT", skip=1)
    assert len(run(lab, deploy_tokens=more, **TAGS)["failures"]) == 1
    assert value(lab) != value(lab, key=other)
    assert lives(lab)
    assert lives(lab, key=other)
    assert run(lab, deploy_tokens=more, **TAGS)["failures"] == []
    assert value(lab) == value(lab, key=other)
    assert (len(tokens(lab)), lives(lab)) == (1, True)
    assert not run(lab, deploy_tokens=more, **TAGS)["changed"]


def test_many_tokens_are_one_list(lab: LabGitLab) -> None:
    given = [{**READER, "name": f"t{n}", "variables": [{"key": f"T{n}"}]} for n in range(5)]
    run(lab, deploy_tokens=given, **TAGS)
    before = lab.last_request()
    assert not run(lab, deploy_tokens=given, **TAGS)["changed"]
    many, before = len(lab.requests(before)), lab.last_request()
    assert not run(lab, deploy_tokens=given[:1], **TAGS)["changed"]
    assert len(lab.requests(before)) == many


def test_a_gitlab_without_descriptions_is_refused(lab: LabGitLab) -> None:
    lab.fault("/api/v4/version", "status", status=200, body={"version": "16.1.9-ee"})
    with pytest.raises(AnsibleActionFail, match="this GitLab is older than 16"):
        run(lab, deploy_tokens=reader())
    assert tokens(lab) == []


# -- failures between any two calls -----------------------------------------------------------


class Killed(BaseException):
    """The run ends here."""


def refused(call: Callable[[], Any]) -> Any:
    raise python_gitlab.exceptions.GitlabHttpError("no", response_code=500)


def lost(call: Callable[[], Any]) -> Any:
    call()
    raise requests.ConnectionError("no answer")


def killed(call: Callable[[], Any]) -> Any:
    raise Killed


def break_call(monkeypatch: pytest.MonkeyPatch, at: int, how: Callable[..., Any]) -> list[str]:
    """Has one call of GitLab's API go wrong; the calls so far."""
    real = python_gitlab.Gitlab.http_request
    seen: list[str] = []

    def request(self: Any, verb: str, path: str, *args: Any, **more: Any) -> Any:
        seen.append(f"{verb} {path}")
        if len(seen) == at:
            return how(lambda: real(self, verb, path, *args, **more))
        return real(self, verb, path, *args, **more)

    monkeypatch.setattr(python_gitlab.Gitlab, "http_request", request)
    return seen


def attempt(lab: LabGitLab, **given: Any) -> None:
    """A run that may fail."""
    with suppress(AnsibleActionFail, Killed):
        run(lab, **given)


@pytest.mark.parametrize("how", [refused, lost, killed])
@pytest.mark.parametrize("first", [True, False], ids=["first", "renewal"])
def test_whatever_call_goes_wrong_the_next_run_repairs(
    lab: LabGitLab, monkeypatch: pytest.MonkeyPatch, how: Callable[..., Any], first: bool
) -> None:
    other = reader(scopes=["read_repository", "read_registry"])
    # From before the first call that writes on.
    for at in itertools.count(6):
        project = f"group/{how.__name__}{at}"
        lab.create_project(project)
        given: dict[str, Any] = {"project": project, "deploy_tokens": other}
        if not first:
            run(lab, project=project, deploy_tokens=reader())
        with monkeypatch.context() as broken:
            seen = break_call(broken, at, how)
            attempt(lab, **given)
        if not first or listed(lab, f"projects/{project.replace('/', '%2F')}"):
            assert lives(lab, project), seen[-1]
        assert run(lab, **given)["failures"] == []
        assert lives(lab, project), seen[-1]
        (left,) = tokens(lab, project)
        assert left["scopes"] == ["read_repository", "read_registry"]
        if len(seen) < at:
            # In this round nothing went wrong.
            break
    assert at > 10


# The method of the client, and whether the other run comes before or after it.
MOMENTS = [
    ("deploy_tokens", False),
    ("create_deploy_token", False),
    ("change_variable", True),
    ("change_variable", False),
    ("revoke_deploy_token", True),
    ("revoke_deploy_token", False),
]


@pytest.mark.parametrize(
    ("moment", "before", "first"),
    [(*moment, False) for moment in MOMENTS] + [(*moment, True) for moment in MOMENTS[:4]],
)
def test_two_controllers_at_once(
    lab: LabGitLab, monkeypatch: pytest.MonkeyPatch, moment: str, before: bool, first: bool
) -> None:
    given = reader() if first else reader(scopes=["read_repository", "read_registry"])
    if not first:
        run(lab, deploy_tokens=reader())
    real = getattr(AccessApi, moment)
    count = [0]

    def other() -> None:
        count[0] += 1
        if count[0] == 1:
            assert run(lab, deploy_tokens=given)["failures"] == []
            assert lives(lab)

    def call(self: AccessApi, *args: Any, **more: Any) -> Any:
        if before:
            other()
        found = real(self, *args, **more)
        if not before:
            other()
        return found

    with monkeypatch.context() as both:
        both.setattr(AccessApi, moment, call)
        assert run(lab, deploy_tokens=given)["failures"] == []
    assert count[0] > 0
    assert lives(lab)
    run(lab, deploy_tokens=given)
    assert (len(tokens(lab)), lives(lab)) == (1, True)
    assert not run(lab, deploy_tokens=given)["changed"]


# -- what is wrong ----------------------------------------------------------------------------

WRONG: list[tuple[list[dict[str, Any]], str]] = [
    (reader(name="gitlab-deploy-token"), "to every job, of branches that are not protected too"),
    (reader(name="a b"), "deploy_tokens[0].name: invalid value 'a b'; expected up to 100 letters"),
    (reader(name=""), "deploy_tokens[0].name: invalid value ''"),
    (reader(scopes=[]), "deploy_tokens[0].scopes: empty; expected at least one"),
    (reader(scopes=["api"]), "expected read_repository or read_registry"),
    (reader(days=0), "invalid days 0 and renew_days 30"),
    (reader(days=30), "invalid days 30 and renew_days 30; expected renew_days from 1 on"),
    (reader(renew_days=0), "invalid days 90 and renew_days 0"),
    (reader(days="soon"), "invalid value"),
    (reader(variables=[]), "deploy_tokens[0].variables: empty; expected at least one variable"),
    (reader(variables=variable(value=PLANTED[2])), "unknown option 'value'"),
    (reader(variables=variable(key="A-B")), "variables[0].key: invalid value 'A-B'"),
    (reader(variables=variable(environment="a,b")), "expected a name or pattern of environments"),
    (reader(variables=[*variable(), *variable()]), "READ_TOKEN is listed more than once"),
    ([*reader(), *reader()], "deploy_tokens: 'reader' is listed more than once"),
    ([{"name": "a", "scopes": ["read_registry"]}], "missing option variables"),
]


@pytest.mark.parametrize(("given", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_tokens_are_refused_before_gitlab_is_asked(
    given: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(AnsibleActionFail, match=re.escape(said)):
        run(None, deploy_tokens=given)


def test_a_variable_has_one_source(lab: LabGitLab) -> None:
    one = {"key": "READ_TOKEN", "environment": "pypi", "value": PLANTED[2]}
    with pytest.raises(AnsibleActionFail, match="READ_TOKEN is listed more than once"):
        run(lab, one, deploy_tokens=reader())


def test_a_protected_variable_needs_a_protected_ref(lab: LabGitLab) -> None:
    said = "protected variables reach no job"
    assert said in " ".join(run(lab, deploy_tokens=reader(), check=True)["warnings"])
    assert run(lab, deploy_tokens=reader(), check=True, **TAGS)["warnings"] == []
