# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's CI/CD variables: the API, its rules of masking, and what jobs are given.

One suite for the lab's GitLab and for a real one, see servers.py.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from gitlab.exceptions import (
    GitlabCreateError,
    GitlabDeleteError,
    GitlabGetError,
    GitlabUpdateError,
)

from tests.contract.pipelines import Shop, variables
from tests.contract.servers import Server, server

__all__ = ["server"]
SECRET = "s3cret-value.of~the@test"


@pytest.fixture
def shop(server: Server) -> Shop:
    """An empty project with a runner of its own."""
    return Shop(server, server.project())


def test_a_variable_is_made_changed_and_deleted(shop: Shop) -> None:
    all_of = shop.api.variables
    assert all_of.list() == []
    made = all_of.create({"key": "PLAIN", "value": "a b"})
    wanted = {
        "key": "PLAIN", "value": "a b", "variable_type": "env_var", "protected": False,
        "masked": False, "hidden": False, "raw": False, "environment_scope": "*",
        "description": None,
    }  # fmt: skip
    assert wanted.items() <= made.attributes.items()
    change = {"value": "c", "variable_type": "file", "protected": True, "raw": True,
              "description": "why", "environment_scope": "pypi"}  # fmt: skip
    all_of.update("PLAIN", change)
    assert change.items() <= all_of.get("PLAIN").attributes.items()
    assert [one.key for one in all_of.list()] == ["PLAIN"]
    all_of.delete("PLAIN")
    with pytest.raises(GitlabGetError, match="Variable Not Found"):
        all_of.get("PLAIN")
    with pytest.raises(GitlabDeleteError):
        all_of.delete("PLAIN")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"key": "A-B", "value": "x"}, "can contain only letters, digits and '_'"),
        ({"key": "A" * 256, "value": "x"}, "is too long"),
        ({"key": "A", "value": "short", "masked": True}, "is invalid"),
        ({"key": "A", "value": "with blank inside", "masked": True}, "is invalid"),
        ({"key": "A", "value": "with$dollar", "masked": True}, "is invalid"),
        ({"key": "A", "value": "two\nlines-of-it", "masked": True, "raw": True}, "is invalid"),
        ({"key": "A", "value": "short", "masked_and_hidden": True}, "is invalid"),
        ({"key": "A", "value": "x", "variable_type": "other"}, "does not have a valid value"),
        ({"key": "A", "value": "x", "environment_scope": "a?b"}, "can contain only letters"),
    ],
    ids=["key", "long", "short", "blank", "dollar", "lines", "hidden", "type", "scope"],
)
def test_what_is_refused(shop: Shop, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(GitlabCreateError, match=words) as no:
        shop.api.variables.create(fields)
    assert no.value.response_code == 400
    assert shop.api.variables.list() == []


def test_a_value_is_required(shop: Shop) -> None:
    answer = shop.server.call("POST", f"/projects/{shop.project.id}/variables", key="A")
    assert (answer.status_code, answer.json()) == (400, {"error": "value is missing"})


def test_masking(shop: Shop) -> None:
    all_of = shop.api.variables
    assert all_of.create({"key": "MASKED", "value": SECRET, "masked": True}).masked
    # Not expanded, more characters can be masked.
    assert all_of.create({"key": "RAW", "value": "a$b!c%d^", "masked": True, "raw": True}).masked
    with pytest.raises(GitlabUpdateError, match="is invalid"):
        all_of.update("RAW", {"raw": False})
    with pytest.raises(GitlabUpdateError, match="is invalid"):
        all_of.update("MASKED", {"value": "short"})
    all_of.update("MASKED", {"value": "short", "masked": False})
    assert all_of.get("MASKED").value == "short"


def test_hidden_variables(shop: Shop) -> None:
    all_of = shop.api.variables
    made = all_of.create({"key": "HIDDEN", "value": SECRET, "masked_and_hidden": True})
    assert (made.hidden, made.masked, made.value) == (True, True, None)
    assert all_of.get("HIDDEN").value is None
    words = "The visibility setting cannot be changed for masked and hidden variables"
    with pytest.raises(GitlabUpdateError, match=words):
        all_of.update("HIDDEN", {"masked": False})
    assert all_of.update("HIDDEN", {"value": f"{SECRET}2"})["value"] is None


def test_one_key_in_several_scopes(shop: Shop) -> None:
    all_of = shop.api.variables
    all_of.create({"key": "TOKEN", "value": "all"})
    all_of.create({"key": "TOKEN", "value": "one", "environment_scope": "pypi"})
    with pytest.raises(GitlabCreateError, match=r"\(TOKEN\) has already been taken"):
        all_of.create({"key": "TOKEN", "value": "two", "environment_scope": "pypi"})
    with pytest.raises(GitlabGetError, match=r"filter\[environment_scope\]") as no:
        all_of.get("TOKEN")
    assert no.value.response_code == 409
    scope = {"environment_scope": "pypi"}
    assert all_of.get("TOKEN", filter=scope).value == "one"
    all_of.update("TOKEN", {"value": "new", "filter": scope})
    assert all_of.get("TOKEN", filter=scope).value == "new"
    assert all_of.get("TOKEN", filter={"environment_scope": "*"}).value == "all"
    all_of.delete("TOKEN", filter=scope)
    assert all_of.get("TOKEN").environment_scope == "*"


CONFIG = """\
variables: {FROM_FILE: file, EVERYWHERE: file}
plain: {script: [x]}
pypi: {script: [x], environment: {name: pypi}}
review: {script: [x], environment: {name: "review/$CI_COMMIT_REF_SLUG"}}
"""


@pytest.mark.usefixtures("compiler")
def test_what_jobs_are_given(shop: Shop) -> None:
    for fields in (
        {"key": "EVERYWHERE", "value": "project"},
        {"key": "PROTECTED", "value": SECRET, "protected": True, "masked": True, "raw": True},
        {"key": "SCOPED", "value": "all"},
        {"key": "SCOPED", "value": "one", "environment_scope": "pypi"},
        {"key": "SCOPED", "value": "some", "environment_scope": "review/*"},
        {"key": "REVIEW", "value": "only", "environment_scope": "review/*"},
        {"key": "A_FILE", "value": "line\n", "variable_type": "file"},
    ):
        shop.api.variables.create(fields)

    def given(pipeline: Any) -> dict[str, dict[str, Any]]:
        jobs = [shop.runner.do("") for _ in range(3)]
        shop.await_status(pipeline, "success")
        return {job["job_info"]["name"]: job for job in jobs}

    jobs = given(shop.pipeline(CONFIG))
    seen = {name: variables(job) for name, job in jobs.items()}
    assert {name: one["SCOPED"] for name, one in seen.items()} == {
        "plain": "all", "pypi": "one", "review": "some",
    }  # fmt: skip
    assert {name: one.get("REVIEW") for name, one in seen.items()} == {
        "plain": None, "pypi": None, "review": "only",
    }  # fmt: skip
    assert {one["PROTECTED"] for one in seen.values()} == {SECRET}
    assert (seen["plain"]["FROM_FILE"], seen["plain"]["EVERYWHERE"]) == ("file", "project")
    whole = {item["key"]: item for item in jobs["plain"]["variables"]}
    kept = ("value", "public", "masked", "file", "raw")
    assert [whole["PROTECTED"][name] for name in kept] == [SECRET, False, True, False, True]
    assert [whole["A_FILE"][name] for name in kept] == ["line\n", False, False, True, False]
    # A branch that is not protected.
    seen = {name: variables(job) for name, job in given(shop.pipeline(CONFIG, "topic")).items()}
    assert [one.get("PROTECTED") for one in seen.values()] == [None] * 3
    assert seen["review"]["SCOPED"] == "some"


@pytest.mark.usefixtures("compiler")
def test_rules_know_the_variables_of_settings(shop: Shop) -> None:
    shop.api.variables.create({"key": "SWITCH", "value": "on"})
    shop.api.variables.create({"key": "GUARDED", "value": "on", "protected": True})
    text = """\
switched: {script: [x], rules: [{if: $SWITCH == "on"}]}
guarded: {script: [x], rules: [{if: $GUARDED == "on"}]}
"""
    assert set(shop.states(shop.pipeline(text))) == {"switched", "guarded"}
    assert set(shop.states(shop.pipeline(text + "# More.\n", "topic"))) == {"switched"}


@pytest.fixture
def group_key(shop: Shop) -> Iterator[tuple[Any, str]]:
    """The group of the project, and a key that no other test uses in it."""
    group = shop.client.groups.get(shop.server.group)
    key = f"CONTRACT_{secrets.token_hex(6).upper()}"
    yield group, key
    if key in {one.key for one in group.variables.list(get_all=True)}:
        group.variables.delete(key)


@pytest.mark.usefixtures("compiler")
def test_variables_of_a_group(shop: Shop, group_key: tuple[Any, str]) -> None:
    group, key = group_key
    made = group.variables.create({"key": key, "value": "group"})
    assert (made.key, made.value, made.protected) == (key, "group", False)
    assert group.variables.get(key).value == "group"
    pipeline = shop.pipeline("one: {script: [x]}\n")
    assert variables(shop.runner.do("one"))[key] == "group"
    shop.api.variables.create({"key": key, "value": "project"})
    shop.api.pipelines.create({"ref": pipeline.ref})
    assert variables(shop.runner.do("one"))[key] == "project"
    group.variables.delete(key)
    with pytest.raises(GitlabGetError):
        group.variables.get(key)
