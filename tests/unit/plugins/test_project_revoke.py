# SPDX-License-Identifier: GPL-3.0-or-later
"""make revoke and the lab's GitLab: each step, what it leaves alone, the rehearsal, the report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _revoke_note
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_plan import Reach, Values
from tests.unit.plugins.revoke_world import (
    DEMO,
    INNOCENT,
    KEY,
    LEAKED,
    OTHER,
    World,
    words,
    world_in,
)

pytestmark = pytest.mark.long

SIX_PLACES = (
    f"{DEMO}: {KEY} (pypi)",
    f"{DEMO}: OLD_NAME, the same value",
    f"{OTHER}: {KEY}",
    f"group group: {KEY}",
    f"{DEMO}, pipeline schedule 1: UPLOAD_TOKEN, the same value",
    "host builder: index_credentials_indexes, pypi",
)
LEFT_ALONE = ["UNRELATED *", "LEVEL"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A GitLab, and an empty current folder."""
    desk = tmp_path / "desk"
    desk.mkdir()
    monkeypatch.chdir(desk)
    with world_in(tmp_path) as made:
        yield made


def notes() -> list[Path]:
    return sorted(Path.cwd().iterdir())


def writes(world: World, since: int) -> list[str]:
    """What was changed in GitLab since a request."""
    return [
        f"{one['method']} {one['path'].removeprefix('/api/v4')}"
        for one in world.lab.requests(since)
        if one["method"] != "GET"
    ]


def section(result: dict[str, Any], title: str) -> list[str]:
    """The lines below a title of the report."""
    found: list[str] = []
    inside = False
    for line in result["msg"]:
        if line.startswith("  ") and inside:
            found.append(line.strip())
        inside = line.startswith(title) or (inside and line.startswith("  "))
    return found


def test_all_six_places_are_named_and_emptied(world: World) -> None:
    result = world.run()
    assert result["failures"] == []
    assert set(SIX_PLACES) <= set(section(result, "Places"))
    assert world.left() == LEFT_ALONE
    (note,) = notes()
    assert all(f"- {place}\n" in note.read_text() for place in SIX_PLACES)
    assert not any("web" in place for place in section(result, "Places"))


def test_the_rehearsal_says_what_the_run_does_and_writes_nothing(world: World) -> None:
    world.job(DEMO, "release-publish", "v1.0", environment="pypi")
    world.job(OTHER, "build", "main", state="running")
    before = world.lab.last_request()
    rehearsal = world.run(check=True)
    assert writes(world, before) == []
    assert notes() == []
    assert rehearsal["note"] == ""
    done = world.run()
    # But for the name of the note, and the number of answers.
    assert rehearsal["msg"][:-2] == done["msg"][:-2]
    assert rehearsal["diff"] == done["diff"]
    assert (rehearsal["changed"], done["changed"]) == (True, True)


def test_a_second_run_changes_nothing_and_still_reports(world: World) -> None:
    world.job(DEMO, "release-publish", "v1.0", environment="pypi")
    world.job(OTHER, "build", "main", state="running")
    first = world.run()
    (note,) = notes()
    text, before = note.read_text(), world.lab.last_request()
    second = world.run()
    assert (second["changed"], second["diff"], second["note"]) == (False, [], first["note"])
    assert second["msg"][0] == "Nothing to change in GitLab"
    assert writes(world, before) == []
    assert (notes(), note.read_text()) == ([note], text)
    for place in SIX_PLACES[:5]:
        assert any(line.startswith(place.partition(",")[0]) for line in section(second, "Places"))
    assert section(second, "Jobs") == section(first, "Jobs")
    assert not world.run(check=True)["changed"]


def test_only_runners_that_publish_are_paused(world: World) -> None:
    said = words(world.run())
    assert world.paused() == ["publisher", "shared publisher"]
    assert "runner 3 (open publisher) has the tags publish, but takes jobs of any branch" in said
    assert "builder)" not in said
    assert "runner 1 (publisher): hosts s_publisher" in said


def test_a_runner_whose_name_holds_the_token(world: World) -> None:
    """Neither the output nor the diff nor the note shows it: `run` looks for that itself."""
    body = {"description": f"publisher with {LEAKED}"}
    world.lab.api("PUT", f"/runners/{world.runners['publisher']}", json=body)
    result = world.run()
    assert "publisher with " in words(result)
    assert "publisher with " in json.dumps(result["diff"])


def test_all_of_the_tags_decide(world: World) -> None:
    world.run(runner_tags=["publish", "arm"])
    assert world.paused() == ["shared publisher"]


def test_a_groups_runner_is_paused_too(world: World) -> None:
    group = world.lab.api("GET", "/groups/group")["id"]
    fields = {"tag_list": "publish", "access_level": "ref_protected", "run_untagged": False}
    world.lab.create_runner(
        description="of the group", runner_type="group_type", group_id=group, **fields
    )
    world.run(projects=[], groups=[{"group": "group"}])
    assert "of the group" in world.paused()


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_instances_runner_that_the_token_may_not_touch_is_no_failure(
    world: World, method: str
) -> None:
    number = world.runners["shared publisher"]
    refusal = {"status": 403, "body": {"message": "403 Forbidden"}, "count": None}
    world.lab.fault(f"/api/v4/runners/{number}/managers", "status", **refusal)
    world.lab.fault(f"/api/v4/runners/{number}", "status", method=method, **refusal)
    result = world.run()
    assert result["failures"] == []
    assert world.paused() == ["publisher"]
    # The undo has nothing to do with it, whatever an administrator does.
    numbers = [one.id for one in _revoke_note.read(Path(result["note"])).data.runners]
    assert numbers == [world.runners["publisher"]]
    assert f"runner {number} (shared publisher) has the tags publish, and was not paused" in words(
        result
    )


def test_a_bad_release_alone_keeps_the_variables(world: World) -> None:
    before = world.left()
    world.job(DEMO, "release-publish", "v1.0", state="running")
    result = world.run(variables=[])
    assert world.left() == before
    assert world.paused() == ["publisher", "shared publisher"]
    assert world.statuses() == ["canceling"]
    said = words(result)
    assert "Revoke the token" not in said
    assert "Yank a bad release, at the index" in said
    assert not section(result, "Places")


def test_pipelines_that_are_not_over_are_cancelled(world: World) -> None:
    states = ("created", "pending", "running", "waiting_for_resource")
    for state in states:
        world.job(DEMO, "x", "main", state=state)
    world.job(DEMO, "x", "main", state="manual", started_at=None)
    world.job(DEMO, "x", "main", state="success")
    result = world.run()
    assert world.statuses() == [
        "canceled",
        "canceled",
        "canceling",
        "canceled",
        "manual",
        "success",
    ]
    assert len([line for line in result["msg"] if line.startswith("Cancelled")]) == 4
    assert "pipeline 5 of main waits for a person, which GitLab cannot cancel" in words(result)


def test_child_pipelines_are_cancelled_too(world: World) -> None:
    """GitLab lists them by their source alone."""
    world.job(DEMO, "x", "main", state="running", source="parent_pipeline")
    world.job(DEMO, "x", "main", state="manual", started_at=None, source="parent_pipeline")
    result = world.run()
    assert world.statuses() == ["canceling", "manual"]
    assert "pipeline 2 of main waits for a person" in words(result)


# -- who had it -------------------------------------------------------------------------------


def alone(world: World, **more: Any) -> None:
    """One variable is left: a protected one with a scope, unless told otherwise."""
    for table in (world.store.project_settings, world.store.group_settings):
        for one in table.all():
            table.delete(one.id)
    for schedule in world.store.schedules.all():
        world.store.schedules.delete(schedule.id)
    owner = more.pop("owner", "projects/group%2Fdemo")
    world.variable(owner, KEY, LEAKED, **{"environment_scope": "pypi", "protected": True, **more})


def jobs(world: World, **more: Any) -> list[str]:
    """The numbers of the jobs that are reported."""
    lines = section(world.run(**more), "Jobs")
    return [found[1] for line in lines if (found := re.search(r": job (\d+) ", line))]


def test_jobs_are_told_by_environment_and_protection(world: World) -> None:
    alone(world)
    world.job(DEMO, "upload", "v1.0", environment="pypi")
    world.job(DEMO, "upload", "main", environment="pypi")
    world.job(DEMO, "upload", "v1.0", environment="testpypi")
    world.job(DEMO, "upload", "v1.0", environment="pypi", started_at=None, state="skipped")
    world.job(OTHER, "upload", "v1.0", environment="pypi")
    assert jobs(world) == ["1"]


def test_a_job_whose_environment_gitlab_does_not_tell_is_named_as_such(world: World) -> None:
    alone(world)
    for __ in range(2):
        world.job(DEMO, "odd", "v1.0", environment="pypi", action="access")
    world.job(DEMO, "odd", "main", environment="pypi", action="access")
    (line,) = section(world.run(), "Jobs")
    assert line.startswith(f"{DEMO}: 2 of odd, the newest {world.lab.base_url}/{DEMO}/-/jobs/2: ")
    assert "GitLab does not tell their environment" in line


def test_jobs_of_the_release_pipeline_are_known_by_name(world: World) -> None:
    alone(world)
    world.job(DEMO, "release-claims", "v1.0", environment="pypi", action="access")
    world.job(DEMO, "release-verify", "v1.0")
    result = world.run(pipelines=[{"project": DEMO}])
    assert [line for line in section(result, "Jobs") if ": job 1 (release-claims) of v1.0" in line]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"environment_scope": "*"}, ["2", "1"]),
        ({"environment_scope": "*", "protected": False}, ["3", "2", "1"]),
        ({"environment_scope": "py*"}, ["1"]),
        ({"protected": False}, ["3", "1"]),
    ],
)
def test_the_attributes_of_the_variable_decide(
    world: World, more: dict[str, Any], told: list[str]
) -> None:
    alone(world, **more)
    world.job(DEMO, "upload", "v1.0", environment="pypi")
    world.job(DEMO, "upload", "v1.0", environment="other")
    world.job(DEMO, "upload", "main", environment="pypi")
    assert jobs(world) == told


def test_a_groups_variable_reached_all_of_its_projects(world: World) -> None:
    world.lab.create_project("group/deep/undeclared")
    alone(world, owner="groups/group", protected=False)
    for path in (DEMO, "group/deep/undeclared"):
        world.job(path, "upload", "main")
    result = world.run()
    assert [line.split(": ")[0] for line in section(result, "Jobs")] == [
        DEMO, "group/deep/undeclared",
    ]  # fmt: skip
    # What was not searched is left to a person.
    (left,) = [line for line in section(result, "Left") if "does not name: " in line]
    assert "group: its variable reached projects" in left
    assert "does not name: group/deep/undeclared. Their own" in left


def test_a_schedules_variable_reached_the_pipelines_of_the_schedule(world: World) -> None:
    alone(world, environment_scope="none")
    schedule = {"description": "n", "ref": "main", "cron": "0 1 * * *"}
    made = world.lab.api("POST", "/projects/group%2Fdemo/pipeline_schedules", json=schedule)
    world.lab.api("POST", f"/projects/group%2Fdemo/pipeline_schedules/{made['id']}/variables",
                  json={"key": KEY, "value": LEAKED})  # fmt: skip
    world.job(DEMO, "nightly", "main", source="schedule")
    world.job(DEMO, "nightly", "main")
    world.job(DEMO, "nightly", "other", source="schedule")
    assert jobs(world) == ["1"]


def test_since_when(world: World) -> None:
    alone(world)
    for days in (1, 20, 40):
        world.job(DEMO, "upload", "v1.0", environment="pypi", minutes=days * 24 * 60)
    assert jobs(world) == ["2", "1"]
    day = datetime.now(timezone.utc) - timedelta(days=10)
    assert jobs(world, since=f"{day:%Y-%m-%d}") == ["1"]


def test_the_runner_and_its_host_are_told(world: World) -> None:
    alone(world)
    world.job(DEMO, "upload", "v1.0", environment="pypi")
    (line,) = section(world.run(), "Jobs")
    assert re.fullmatch(
        rf"{DEMO}: job 1 \(upload\) of v1.0, started \d{{4}}-\S+ \S+, success, on runner 1 "
        rf"\(publisher\), host s_publisher: {world.lab.base_url}/{DEMO}/-/jobs/1",
        line,
    )


def test_the_number_of_questions_does_not_grow_with_what_is_not_concerned(world: World) -> None:
    alone(world)
    first = int(re.findall(r"GitLab gave (\d+)", words(world.run(check=True)))[0])
    for number in range(50):
        world.job(DEMO, "build", "main", minutes=number)
        world.variable("projects/group%2Fdemo", f"PLAIN_{number}", f"any value {number}")
    assert f"GitLab gave {first} answers" in world.run(check=True)["msg"]


# -- what is refused, and what is told --------------------------------------------------------


def test_a_token_that_may_change_nothing_is_refused_before_anything(world: World) -> None:
    before = world.lab.last_request()
    for check in (False, True):
        with pytest.raises(
            AnsibleActionFail, match=r"gitlab_project_api_token: may change noth"
        ) as no:
            world.run(api_token=world.lab.create_token("read_api"), check=check)
        assert "refused, nothing was changed: gitlab_project_api_token: " in str(no.value)
    asked = [f"{one['method']} {one['path']}" for one in world.lab.requests(before)]
    assert asked == ["GET /api/v4/personal_access_tokens/self"] * 2
    assert notes() == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"variables": ["A-B"]}, "gitlab_project_revoke_variables[0]: invalid value 'A-B'"),
        ({"runner_tags": []}, "gitlab_project_revoke_runner_tags: empty"),
        ({"runner_tags": ["a,b"]}, "gitlab_project_revoke_runner_tags[0]: invalid value 'a,b'"),
        ({"since": "yesterday"}, "gitlab_project_revoke_since: invalid value 'yesterday'"),
        ({"since": "2999-01-01"}, "gitlab_project_revoke_since: 2999-01-01 is in the future"),
        ({"projects": [], "groups": []}, "gitlab_project_projects: empty"),
        ({"projects": [{"project": "demo"}]}, "invalid project 'demo'"),
        ({"note": "no/such/folder.md"}, "gitlab_project_revoke_note: "),
        ({"undo": "none.md"}, "gitlab_project_revoke_undo: "),
    ],
)
def test_wrong_settings_are_refused(world: World, more: dict[str, Any], said: str) -> None:
    before = world.lab.last_request()
    with pytest.raises(AnsibleActionFail, match=re.escape(said)):
        world.run(**more)
    assert writes(world, before) == []


def test_a_token_that_was_spoilt_in_the_inventory_keeps_nobody_from_stopping(world: World) -> None:
    for value in ("", LEAKED[:40], 12345678):
        spoilt = {"key": KEY, "environment": "pypi", "value": value}
        assert world.run(projects=[{"project": DEMO, "variables": [spoilt]}], check=True)["changed"]


def test_what_cannot_be_seen_keeps_nothing_else_from_being_done(world: World) -> None:
    result = world.run(projects=[{"project": "group/gone"}, *world.projects])
    (failure,) = result["failures"]
    assert "has no project group/gone that this token may see" in failure
    assert world.left() == LEFT_ALONE
    with pytest.raises(AnsibleActionFail, match=r"nothing was changed: .*group/gone"):
        world.run(projects=[{"project": "group/gone"}], groups=[])


def test_a_refused_deletion_is_told_with_its_cure(world: World) -> None:
    refusal = {"method": "DELETE", "status": 403, "body": {"message": "403 Forbidden"}}
    world.lab.fault("*/pipeline_schedules/1/variables/UPLOAD_TOKEN", "status", **refusal)
    result = world.run()
    assert "UPLOAD_TOKEN" in world.left()
    (failure,) = result["failures"]
    assert "may not do that (403)" in failure
    assert "or the schedule, under Build > Pipeline schedules" in words(result)
    assert world.run()["failures"] == []
    assert world.left() == LEFT_ALONE


def test_a_group_that_the_inventory_does_not_name_is_told(world: World) -> None:
    result = world.run(groups=[])
    assert f"group group: {KEY}, still there" in section(result, "Places")
    assert f"{KEY} *" in world.left()
    world.lab.fault("/api/v4/groups/*/variables", "status", status=403, method="GET")
    result = world.run(groups=[])
    assert result["failures"] == []
    assert "group: this token may not read its variables" in words(result)


def test_a_value_inside_another_text_and_hidden_ones_are_told(world: World) -> None:
    demo = "projects/group%2Fdemo"
    world.variable(demo, "PYPIRC", f"[pypi]\npassword = {LEAKED}\n", variable_type="file")
    world.variable(demo, "AS_FILE", f"{LEAKED}\n", variable_type="file")
    world.variable(demo, "UNKNOWN", INNOCENT, masked_and_hidden=True)
    world.variable(demo, "TWINE_USERNAME", "__token__")
    world.variable(demo, KEY, "$THE_TOKEN", environment_scope="testpypi")
    said = words(world.run())
    assert f"{DEMO}: the value of PYPIRC holds the token among other text" in said
    assert f"{DEMO}: UNKNOWN is hidden" in said
    assert f"{KEY} (testpypi) refers to $THE_TOKEN" in said
    assert world.left() == ["UNRELATED *", "PYPIRC *", "UNKNOWN *", "TWINE_USERNAME *", "LEVEL"]


def test_a_hidden_value_that_nobody_knows_is_told(world: World) -> None:
    alone(world, masked_and_hidden=True, masked=True)
    world.variable("projects/group%2Fdemo", "SAME", LEAKED)
    result = world.run(projects=[{"project": DEMO}], groups=[])
    (line,) = [one for one in section(result, "Left") if "was hidden" in one]
    assert f"{DEMO}: {KEY} (pypi) was hidden, and its value is not known here" in line
    assert world.left() == ["SAME *"]


def test_short_values_mean_nothing() -> None:
    values = Values(b"x" * 16)
    for value in ("", "true", "1234567", None, 5):
        values.add(value)
    assert values.known == set()
    values.add("12345678")
    assert values.has("12345678")
    values.taken |= values.known
    # Guessable, so that no digest is kept.
    assert values.new_digests() == []


def test_a_digest_is_enough_to_know_a_value_again() -> None:
    first = Values(b"x" * 16)
    first.add(LEAKED)
    first.taken |= first.known
    second = Values(b"x" * 16, digests=set(first.new_digests()))
    assert second.has(LEAKED)
    assert not second.has(INNOCENT)
    assert not Values(b"y" * 16, digests=second.digests).has(LEAKED)


@pytest.mark.parametrize(
    ("scope", "environment", "takes"),
    [("*", None, True), ("*", "", True), ("pypi", "pypi", True), ("pypi", "testpypi", False),
     ("pypi", "", False), ("pypi", None, None), ("review/*", "review/a/b", True)],
)  # fmt: skip
def test_scopes(scope: str, environment: str | None, takes: bool | None) -> None:
    assert Reach(scope, protected=False).takes(environment) is takes
