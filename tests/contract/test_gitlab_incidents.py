# SPDX-License-Identifier: GPL-3.0-or-later
"""What an incident asks of GitLab: schedules, runners by tag, pipelines, jobs and deployments.

One suite for the lab's GitLab and for a real one, see servers.py.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gitlab.exceptions import GitlabCreateError, GitlabDeleteError

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_api import RevokeApi
from tests.contract.pipelines import Shop
from tests.contract.servers import Server, server

__all__ = ["server"]
SINCE = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def shop(server: Server) -> Shop:
    """An empty project with a runner of its own."""
    return Shop(server, server.project())


def client(shop: Shop) -> tuple[RevokeApi, Owner]:
    """The toolkit's client, and the project as it needs it."""
    api = RevokeApi(shop.server.url, shop.server.token, shop.server.authority, "")
    return api, Owner("projects", shop.project.id, shop.project.path)


def schedule(shop: Shop, **variables: str) -> Any:
    """A pipeline schedule that never runs."""
    shop.commit("x: {script: [x]}\n")
    made = shop.api.pipelineschedules.create(
        {"description": "yearly", "ref": shop.project.default_branch, "cron": "0 0 1 1 *",
         "active": False}
    )  # fmt: skip
    for key, value in variables.items():
        made.variables.create({"key": key, "value": value})
    return made


def test_variables_of_schedules_are_listed_and_deleted(shop: Shop) -> None:
    made = schedule(shop, FIRST="one", SECOND="two")
    api, owner = client(shop)
    # Lists have none.
    (listed,) = shop.api.pipelineschedules.list()
    assert "variables" not in listed.attributes
    (found,) = api.schedules(owner)
    assert (found["id"], found["description"]) == (made.id, "yearly")
    assert found["ref"].removeprefix("refs/heads/") == shop.project.default_branch
    assert {one["key"]: one["value"] for one in found["variables"]} == {
        "FIRST": "one",
        "SECOND": "two",
    }
    api.delete_schedule_variable(owner, made.id, "FIRST")
    # One that is gone is no problem.
    api.delete_schedule_variable(owner, made.id, "FIRST")
    (found,) = api.schedules(owner)
    assert [one["key"] for one in found["variables"]] == ["SECOND"]
    with pytest.raises(GitlabDeleteError):
        made.variables.delete("FIRST")


def test_variables_of_schedules_that_are_refused(shop: Shop) -> None:
    made = schedule(shop, FIRST="one")
    for key, said in (("FIRST", "taken|duplicate"), ("A-B", "letters, digits")):
        with pytest.raises(GitlabCreateError, match=said):
            made.variables.create({"key": key, "value": "x"})


def test_runners_by_their_tags_are_paused_and_resumed(shop: Shop) -> None:
    other = f"contract-{secrets.token_hex(6)}"
    shop.new_runner(tag_list=f"{shop.tag},{other}", access_level="ref_protected")
    api, owner = client(shop)
    assert len(api.tagged_runners(owner, [shop.tag])) == 2
    (found,) = api.tagged_runners(owner, [shop.tag, other])
    assert api.tagged_runners(owner, [f"no-{other}"]) == []
    for paused in (True, True, False):
        api.pause(found["id"], paused=paused)
        details = api.get(found["id"])
        assert details is not None
        assert (details["paused"], details["access_level"]) == (paused, "ref_protected")


def test_what_is_cancelled_and_what_waits_for_a_person(shop: Shop) -> None:
    text = """\
stages: [a, b]
begins: {stage: a, script: [x]}
waits: {stage: b, script: [x], when: manual, allow_failure: false}
"""
    shop.pipeline(text)
    begun = shop.pipeline(f"{text}# again\n")
    api, owner = client(shop)
    api.cancel(owner, begun.id)
    shop.await_states(begun, begins="canceled")
    assert begun.id not in [one["id"] for one in api.pipelines(owner, "pending")]
    only = shop.pipeline(f"{text.replace('begins: {', 'begins: {when: manual, ')}# third\n")
    shop.await_states(only, begins="manual")
    states = shop.states(only)
    api.cancel(owner, only.id)
    assert shop.states(only) == states
    assert api.pipelines(owner, "waiting_for_callback") == []


def test_only_a_deployment_tells_the_environment_of_a_job(shop: Shop) -> None:
    text = """\
deploys: {script: [x], environment: pypi}
looks: {script: [x], environment: {name: pypi, action: access}}
plain: {script: [x]}
"""
    pipeline = shop.pipeline(text)
    taken = [shop.runner.take() for __ in range(3)]
    for job in taken:
        shop.runner.end(job)
    shop.await_status(pipeline, "success")
    api, owner = client(shop)
    jobs, complete = api.jobs(owner, SINCE)
    assert complete
    assert {job["name"] for job in jobs} == {"deploys", "looks", "plain"}
    assert not any("environment" in job for job in jobs)
    for job in jobs:
        assert job["runner"]["id"]
        assert job["runner_manager"]["system_id"] == "s_contractests"
        assert (job["tag"], job["pipeline"]["source"]) == (False, "push")
    deployments, __ = api.deployments(owner, SINCE)
    assert [
        (one["deployable"]["name"], one["environment"]["name"], one["deployable"]["status"])
        for one in deployments
    ] == [("deploys", "pypi", "success")]
    later, __ = api.deployments(owner, datetime.now(UTC) + timedelta(days=1))
    assert later == []


def test_the_projects_of_a_group(server: Server) -> None:
    made = [server.project().path for __ in range(2)]
    api = RevokeApi(server.url, server.token, server.authority, "")
    owner = api.owner(server.group, group=True)
    assert owner is not None
    assert set(made) <= {one.path for one in api.group_projects(owner)}
