# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's environments, job token allowlists, deploy tokens, and runners of several projects.

One suite for the lab's GitLab and for a real one, see servers.py.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gitlab.exceptions import GitlabCreateError, GitlabDeleteError, GitlabError, GitlabUpdateError

from tests.contract.pipelines import Shop, eventually, git
from tests.contract.servers import Server, server

__all__ = ["server"]
DEVELOPER = 30


@pytest.fixture
def shop(server: Server) -> Shop:
    """An empty project with a runner of its own."""
    return Shop(server, server.project())


def in_days(days: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=days)).isoformat()


# -- environments -----------------------------------------------------------------------------


def test_an_environment_is_made_and_changed(shop: Shop) -> None:
    all_of = shop.api.environments
    given = {"name": "pypi", "tier": "staging", "external_url": "https://index.test",
             "description": "the index"}  # fmt: skip
    made = all_of.create(given)
    assert given.items() <= made.attributes.items()
    assert (made.slug, made.state) == ("pypi", "available")
    all_of.update(made.id, {"tier": "production"})
    found = all_of.get(made.id)
    assert (found.tier, found.external_url) == ("production", "https://index.test")
    all_of.update(made.id, {"external_url": "", "description": ""})
    (found,) = all_of.list()
    assert (found.external_url or "", found.description or "") == ("", "")
    assert found.name == "pypi"


@pytest.mark.parametrize(
    ("name", "tier"), [("pypi", "other"), ("testpypi", "testing"), ("production", "production")]
)
def test_a_tier_is_guessed_from_the_name(shop: Shop, name: str, tier: str) -> None:
    assert shop.api.environments.create({"name": name}).tier == tier


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "a?b"}, "can contain only letters, digits"),
        ({"name": "/a"}, "cannot start or end with"),
        ({"name": "a" * 256}, "is too long"),
        ({"name": "a", "tier": "live"}, "tier does not have a valid value"),
        ({"name": "a", "slug": "b"}, "slug is automatically generated"),
        ({"name": "a", "external_url": "javascript:alert(1)"}, "scheme is not allowed"),
        ({"name": "a", "external_url": f"https://a.test/{'b' * 255}"}, "is too long"),
    ],
    ids=["name", "slash", "long", "tier", "slug", "scheme", "url"],
)
def test_environments_that_are_refused(shop: Shop, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(GitlabCreateError, match=words) as no:
        shop.api.environments.create(fields)
    assert no.value.response_code == 400
    assert shop.api.environments.list() == []


def test_an_environment_is_there_once(shop: Shop) -> None:
    shop.api.environments.create({"name": "pypi"})
    with pytest.raises(GitlabCreateError, match="has already been taken") as no:
        shop.api.environments.create({"name": "pypi"})
    assert no.value.response_code == 400


@pytest.mark.usefixtures("compiler")
def test_a_job_makes_its_environment(shop: Shop) -> None:
    shop.pipeline("upload: {script: [x], environment: {name: testpypi}}\n")
    (found,) = eventually(shop.api.environments.list, "the environment")
    assert (found.name, found.tier) == ("testpypi", "testing")


# -- job tokens -------------------------------------------------------------------------------


def scope(shop: Shop) -> Any:
    return shop.api.job_token_scope.get()


def let_in(shop: Shop) -> set[int]:
    return {one.id for one in scope(shop).allowlist.list(get_all=True)} - {shop.project.id}


def test_access_of_job_tokens_is_limited_and_opened(shop: Shop) -> None:
    for enabled in (False, True):
        shop.api.job_token_scope.update(new_data={"enabled": enabled})
        assert scope(shop).inbound_enabled is enabled
    path = f"/projects/{shop.project.id}/job_token_scope"
    answer = shop.server.call("PATCH", path, other=1)
    assert (answer.status_code, answer.json()) == (400, {"error": "enabled is missing"})


def test_projects_are_let_in_and_no_longer(shop: Shop) -> None:
    other = shop.server.project()
    made = scope(shop).allowlist.create({"target_project_id": other.id})
    assert made.attributes.items() >= {
        "source_project_id": shop.project.id, "target_project_id": other.id,
    }.items()  # fmt: skip
    assert let_in(shop) == {other.id}
    listed = scope(shop).allowlist.list(get_all=True)
    assert other.path in {one.path_with_namespace for one in listed}
    words = "Target project is already in the job token scope"
    with pytest.raises(GitlabCreateError, match=words) as no:
        scope(shop).allowlist.create({"target_project_id": other.id})
    assert no.value.response_code == 400
    scope(shop).allowlist.delete(other.id)
    assert let_in(shop) == set()
    with pytest.raises(GitlabDeleteError, match="Target project is not in the job token scope"):
        scope(shop).allowlist.delete(other.id)


def test_projects_that_are_not_let_in(shop: Shop) -> None:
    with pytest.raises(GitlabCreateError, match="can't be the same as the source project"):
        scope(shop).allowlist.create({"target_project_id": shop.project.id})
    with pytest.raises(GitlabCreateError, match="target_project_id not found") as no:
        scope(shop).allowlist.create({"target_project_id": 2**31 - 1})
    assert no.value.response_code == 404
    path = shop.project.path.replace("/", "%2F")
    answer = shop.server.call(
        "POST", f"/projects/{path}/job_token_scope/allowlist", target_project_id=shop.project.id
    )
    assert (answer.status_code, answer.json()) == (400, {"error": "id is invalid"})


def test_groups_are_let_in_and_no_longer(shop: Shop) -> None:
    group = shop.client.groups.get(shop.server.group)
    made = scope(shop).groups_allowlist.create({"target_group_id": group.id})
    assert made.target_group_id == group.id
    (found,) = scope(shop).groups_allowlist.list(get_all=True)
    # No path but that of its page.
    assert found.id == group.id
    assert found.web_url.lower().endswith(f"/groups/{shop.server.group}".lower())
    with pytest.raises(GitlabCreateError, match="already in the job token scope"):
        scope(shop).groups_allowlist.create({"target_group_id": group.id})
    scope(shop).groups_allowlist.delete(group.id)
    assert scope(shop).groups_allowlist.list(get_all=True) == []
    with pytest.raises(GitlabDeleteError, match="not in the job token scope"):
        scope(shop).groups_allowlist.delete(group.id)


# -- deploy tokens ----------------------------------------------------------------------------


def test_a_deploy_token_is_told_once(shop: Shop) -> None:
    given = {"name": "reader", "username": "runnerhost+reader", "expires_at": in_days(9),
             "scopes": ["read_package_registry", "read_repository"]}  # fmt: skip
    made = shop.api.deploytokens.create(given)
    assert len(made.token) >= 20
    assert made.expires_at.startswith(f"{in_days(9)}T00:00:00")
    (listed,) = shop.api.deploytokens.list()
    assert (listed.name, listed.username) == ("reader", "runnerhost+reader")
    assert sorted(listed.scopes) == sorted(given["scopes"])
    assert (listed.revoked, listed.expired) == (False, False)
    assert made.token not in str(listed.attributes)
    # Another of the same name.
    shop.api.deploytokens.create(given)
    assert len(shop.api.deploytokens.list()) == 2
    shop.api.deploytokens.delete(made.id)
    assert made.id not in {one.id for one in shop.api.deploytokens.list()}
    with pytest.raises(GitlabDeleteError) as no:
        shop.api.deploytokens.delete(made.id)
    assert no.value.response_code == 404


def test_a_deploy_token_without_a_user_name_or_an_end(shop: Shop) -> None:
    made = shop.api.deploytokens.create({"name": "reader", "scopes": ["read_repository"]})
    assert (made.username, made.expires_at) == (f"gitlab+deploy-token-{made.id}", None)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scopes": ["all"]}, "scopes does not have a valid value"),
        ({"scopes": []}, "Scopes can't be blank"),
        ({"expires_at": "soon"}, "expires_at is invalid"),
        ({"username": "a b"}, "can contain only letters, digits"),
        ({"name": "a" * 256}, "is too long"),
    ],
    ids=["scope", "no scope", "date", "user", "name"],
)
def test_deploy_tokens_that_are_refused(shop: Shop, fields: dict[str, Any], words: str) -> None:
    given = {"name": "reader", "scopes": ["read_repository"], "username": "reader", **fields}
    with pytest.raises(GitlabCreateError, match=words) as no:
        shop.api.deploytokens.create(given)
    assert no.value.response_code == 400
    assert shop.api.deploytokens.list() == []


def test_expired_ones_are_left_out(shop: Shop) -> None:
    for days in (-2, 2):
        shop.api.deploytokens.create(
            {"name": "reader", "scopes": ["read_repository"], "expires_at": in_days(days)}
        )
    assert len(shop.api.deploytokens.list()) == 2
    (left,) = shop.api.deploytokens.list(active=True)
    assert left.expires_at.startswith(in_days(2))


def test_what_a_deploy_token_may(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "First")
    assert shop.push(tmp_path, shop.server.token, "HEAD:main").returncode == 0
    reader = shop.api.deploytokens.create(
        {"name": "reader", "username": "somebody", "scopes": ["read_repository"]}
    )
    other = shop.api.deploytokens.create(
        {"name": "other", "username": "somebody", "scopes": ["read_package_registry"]}
    )
    assert shop.refs(reader.token).returncode == 0
    assert shop.refs(other.token).returncode != 0
    assert shop.push(tmp_path, reader.token, "HEAD:topic").returncode != 0
    shop.api.deploytokens.delete(reader.id)
    assert shop.refs(reader.token).returncode != 0


# -- runners ----------------------------------------------------------------------------------


def test_a_runner_of_a_project_serves_another(shop: Shop) -> None:
    other = Shop(shop.server, shop.server.project())
    (mine,) = shop.api.runners.list(type="project_type")
    made = other.api.runners.create({"runner_id": mine.id})
    assert (made.id, made.runner_type) == (mine.id, "project_type")
    assert mine.id in {one.id for one in other.api.runners.list(type="project_type", get_all=True)}
    with pytest.raises(GitlabCreateError) as no:
        other.api.runners.create({"runner_id": mine.id})
    assert no.value.response_code == 400
    assert mine.id in {one.id for one in shop.client.runners.list(get_all=True)}


@pytest.mark.usefixtures("compiler")
def test_it_gets_the_jobs_of_the_other(shop: Shop) -> None:
    other = Shop(shop.server, shop.server.project(), shop.tag)
    (mine,) = shop.api.runners.list(type="project_type")
    for one in other.api.runners.list(type="project_type"):
        shop.server.call("DELETE", f"/runners/{one.id}")
    other.pipeline("one: {script: [x]}\n")
    assert shop.runner.ask() is None
    other.api.runners.create({"runner_id": mine.id})
    shop.runner.do("one")


def test_runners_that_are_not_assigned(shop: Shop) -> None:
    with pytest.raises(GitlabCreateError) as no:
        shop.api.runners.create({"runner_id": 2**31 - 1})
    assert no.value.response_code == 404
    group = shop.client.groups.get(shop.server.group)
    answer = shop.server.call(
        "POST", "/user/runners", runner_type="group_type", group_id=group.id, tag_list="x"
    )
    assert answer.status_code == 201, answer.text
    number = answer.json()["id"]
    try:
        assert number in {one.id for one in shop.api.runners.list(get_all=True)}
        with pytest.raises(GitlabCreateError, match="Runner is a group runner") as no:
            shop.api.runners.create({"runner_id": number})
        assert no.value.response_code == 403
    finally:
        shop.server.call("DELETE", f"/runners/{number}")


# -- who may ----------------------------------------------------------------------------------


def test_a_developer_may_make_environments_alone(shop: Shop) -> None:
    mine = shop.as_user(shop.token(DEVELOPER))
    mine.environments.create({"name": "pypi"})
    calls: list[Callable[[], Any]] = [
        lambda: mine.job_token_scope.get(),
        lambda: mine.job_token_scope.update(new_data={"enabled": False}),
        lambda: mine.deploytokens.list(),
        lambda: mine.deploytokens.create({"name": "x", "scopes": ["read_repository"]}),
    ]
    for refused in calls:
        with pytest.raises(GitlabError) as no:
            refused()
        assert no.value.response_code == 403
    with pytest.raises(GitlabUpdateError) as gone:
        mine.environments.update(2**31 - 1, {"tier": "other"})
    assert gone.value.response_code == 404


def test_what_a_project_tells_of_its_pipelines(shop: Shop) -> None:
    found = shop.api.attributes
    assert found["ci_config_path"] in ("", None)
    roles = ("no_one_allowed", "developer", "maintainer", "owner")
    assert found["ci_pipeline_variables_minimum_override_role"] in roles
