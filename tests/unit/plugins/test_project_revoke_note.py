# SPDX-License-Identifier: GPL-3.0-or-later
"""make revoke, interrupted and undone: killed, refused and lost calls; the note; the undo."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _project_plan,
    _revoke_note,
)
from standins.index.server import Index
from standins.index.store import File
from tests.unit.plugins.revoke_world import (
    ADMIN,
    DECLARED,
    DEMO,
    INNOCENT,
    KEY,
    LEAKED,
    OTHER,
    World,
    hides,
    words,
    world_in,
)

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[3]
PUBLISHERS = ["publisher", "shared publisher"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A GitLab, and an empty current folder."""
    desk = tmp_path / "desk"
    desk.mkdir()
    monkeypatch.chdir(desk)
    with world_in(tmp_path) as made:
        yield made


def only_note() -> Path:
    (note,) = Path.cwd().iterdir()
    return note


# -- interrupted ------------------------------------------------------------------------------


class KilledError(BaseException):
    """As if the process had ended."""


@contextmanager
def disturbed(monkeypatch: pytest.MonkeyPatch, kind: str, at: int) -> Iterator[list[str]]:
    """Disturbs the call of this number; the list has its address once that has happened."""
    send, numbers, hit = requests.Session.send, itertools.count(1), list[str]()

    def sent(self: Any, request: Any, **more: Any) -> Any:
        if request.headers.get("User-Agent") != "runnerhost.toolkit" or next(numbers) != at:
            return send(self, request, **more)
        hit.append(f"{request.method} {request.url}")
        if kind == "killed":
            raise KilledError
        if kind == "killed after it":
            send(self, request, **more)
            raise KilledError
        if kind == "lost":
            send(self, request, **more)
            raise requests.ConnectionError("the answer was lost")
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = 500, request, str(request.url)
        answer._content = b'{"message": "500 Internal Server Error"}'
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(requests.Session, "send", sent)
        yield hit


def as_before(world: World) -> None:
    """What a run changes is as it was, and there is no note."""
    for note in Path.cwd().iterdir():
        note.unlink()
    for runner in world.store.runners():
        runner.paused = False
        world.store.save_runner(runner)
    for table in (world.store.project_settings, world.store.group_settings):
        for one in table.all():
            table.delete(one.id)
    world.variable("projects/group%2Fdemo", KEY, LEAKED, environment_scope="pypi", raw=True)
    world.variable("projects/group%2Fdemo", "OLD_NAME", LEAKED, raw=True)
    (schedule,) = world.store.schedules.all()
    schedule.variables = [{"key": "UPLOAD_TOKEN", "value": LEAKED, "variable_type": "env_var"}]
    world.store.schedules.save(schedule)
    for job in world.store.jobs():
        job.state = "running"
        world.store.save_job(job)


@pytest.mark.parametrize("kind", ["killed", "killed after it", "refused", "lost"])
def test_the_next_run_does_the_rest(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each call in turn, with an inventory that has no value to compare with."""
    world.projects, world.groups, world.hostvars = [{"project": DEMO}], [], {}
    world.job(DEMO, "release-publish", "v1.0", environment="pypi", state="running")
    for number in itertools.count(1):
        as_before(world)
        with disturbed(monkeypatch, kind, number) as hit:
            try:
                result = world.run()
            except (KilledError, AnsibleActionFail):
                result = {}
        if not hit:
            break
        if kind == "refused" and result:
            assert result["failures"] or "may not read" in words(result), hit
        assert world.run()["failures"] == [], hit
        assert (world.left(), world.paused()) == ([], PUBLISHERS), hit
        assert world.statuses() == ["canceling"], hit
        data = _revoke_note.read(only_note()).data
        assert sorted(one.name for one in data.runners) == PUBLISHERS, hit
        assert len(data.variables) == 3, hit
        assert [one.id for one in data.pipelines] == [1], hit
        assert not world.run()["changed"], hit
    # Each call had its turn.
    assert number > 25
    world.run(undo=str(only_note()))
    assert world.paused() == []


# -- the note ---------------------------------------------------------------------------------


def test_remarks_of_people_stay(world: World) -> None:
    world.run()
    note = only_note()
    text = note.read_text()
    note.write_text(text.replace("### Done\n", "### Done\n\nOur own remark.\n") + "\nAt the end.\n")
    world.variable("projects/group%2Fother", "AGAIN", LEAKED)
    assert world.run()["changed"]
    text = note.read_text()
    assert "Our own remark." in text
    assert "At the end." in text
    assert text.count("## Run of ") == 2
    assert text.count("## Data") == 1
    assert "Took AGAIN out of group/other" in text
    assert text.endswith("```\n")


def test_a_token_that_a_person_has_pasted_into_the_note_is_hidden(world: World) -> None:
    note = Path(world.run()["note"])
    note.write_text(note.read_text().replace("## ", f"It was {LEAKED} in the log.\n\n## ", 1))
    world.variable("projects/group%2Fother", "AGAIN", LEAKED)
    world.run()
    assert "It was (hidden) in the log." in note.read_text()


def test_a_note_is_named_and_continued(world: World) -> None:
    first = world.run(note="leak.md")
    assert first["note"] == str(Path.cwd() / "leak.md")
    second = world.run(note="leak.md")
    assert (second["changed"], second["note"]) == (False, first["note"])
    # Another one is another incident.
    assert world.run()["note"] != first["note"]


def test_a_note_with_a_name_of_its_own_hides_no_newer_one(world: World) -> None:
    old = Path(world.run()["note"])
    data = _revoke_note.read(old).data
    text = old.read_text().replace(f"begun: '{data.begun}'", "begun: '2001-01-01 00:00:00'")
    named = Path("incident-pypi.md")
    named.write_text(text)
    named.chmod(0o600)
    assert world.run()["note"] == str(old)


def test_a_deploy_token_is_told_by_its_number_also_later(world: World) -> None:
    """Its value is in no inventory, and gone from GitLab with the first run."""
    mark = _project_plan.mark("gldt-made", token=7)
    world.variable("projects/group%2Fother", KEY, "gldt-made", environment_scope="read",
                   description=mark, masked_and_hidden=True)  # fmt: skip
    said = "Revoke deploy token 7, in GitLab: Settings > Repository > Deploy tokens of group/other."
    for __ in range(2):
        result = world.run()
        assert said in words(result)
        assert "at pypi: Account settings" in words(result)


def test_a_note_of_last_month_or_of_another_gitlab_is_not_continued(world: World) -> None:
    world.run()
    old = only_note()
    text = old.read_text()
    data = _revoke_note.read(old).data
    old.write_text(text.replace(f"begun: '{data.begun}'", "begun: '2001-01-01 00:00:00'"))
    old = old.rename("incident-20010101T000000Z.md")
    other = Path("incident-29990101T000000Z.md")
    other.write_text(text.replace(f"url: {data.url}", "url: https://other.test"))
    other.chmod(0o600)
    assert Path(world.run()["note"]).name not in (old.name, other.name)
    for name, said in ((other, "a note about https://other.test"), (old, "")):
        if said:
            with pytest.raises(AnsibleActionFail, match=said):
                world.run(note=str(name))
            with pytest.raises(AnsibleActionFail, match=said):
                world.run(undo=str(name))


@pytest.mark.parametrize("kind", ["link", "dangling", "text", "changed", "folder"])
def test_what_is_no_note_is_neither_read_nor_overwritten(
    world: World, kind: str, tmp_path: Path
) -> None:
    note, target = Path.cwd() / "note.md", tmp_path / "target.md"
    if kind == "link":
        world.run(note=str(target))
    before = world.lab.last_request()
    if kind in ("link", "dangling"):
        note.symlink_to(target)
    elif kind == "folder":
        note = tmp_path / "folder"
        note.mkdir()
    else:
        if kind == "changed":
            world.run(note=str(note))
            note.write_text(note.read_text().replace("- id: 1\n", "- id: '1; 2'\n"))
        else:
            note.write_text("# My diary\n")
        note.chmod(0o600)
        before = world.lab.last_request()
    with pytest.raises(AnsibleActionFail, match="gitlab_project_revoke_note: "):
        world.run(note=str(note))
    with pytest.raises(AnsibleActionFail, match="gitlab_project_revoke_undo: "):
        world.run(undo=str(note))
    assert {one["method"] for one in world.lab.requests(before)} == {"GET"}
    if note.is_symlink():
        note.unlink()


def test_a_note_that_can_no_longer_be_written_stops_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = _revoke_note._replace
    calls = itertools.count()

    def full(path: Path, text: str) -> None:
        if next(calls):
            raise OSError(28, "No space left on device")
        replace(path, text)

    monkeypatch.setattr(_revoke_note, "_replace", full)
    result = world.run()
    (failure,) = result["failures"]
    assert failure.endswith("No space left on device")
    assert world.left() == ["UNRELATED *", "LEVEL"]
    assert sorted(path.name for path in Path.cwd().iterdir()) == [Path(result["note"]).name]


def test_texts_of_gitlab_do_not_end_the_data(world: World) -> None:
    world.lab.update_runner(world.runners["publisher"], description="```\n## Data\n```yaml\nx: 1\n")
    world.variable(
        "projects/group%2Fother", KEY, LEAKED, environment_scope="a",
        description=f"```\n\n```yaml\nholds {LEAKED}",
    )  # fmt: skip
    world.run()
    assert len(_revoke_note.read(only_note()).data.runners) == 2
    assert not world.run()["changed"]


# -- undo -------------------------------------------------------------------------------------


def test_undo_resumes_what_this_incident_has_paused(world: World) -> None:
    world.lab.pause(world.runners["shared publisher"])
    first = world.run()
    assert "runner 2 (shared publisher) was paused before" in words(first)
    rehearsal = world.run(undo=first["note"], check=True)
    assert world.paused() == PUBLISHERS
    done = world.run(undo=first["note"])
    assert world.paused() == ["shared publisher"]
    assert (rehearsal["msg"], rehearsal["diff"]) == (done["msg"], done["diff"])
    assert (rehearsal["changed"], done["changed"]) == (True, True)
    text = Path(first["note"]).read_text()
    assert not world.run(undo=first["note"])["changed"]
    assert Path(first["note"]).read_text() == text
    # Paused by somebody since: not by this incident.
    world.lab.pause(world.runners["publisher"])
    assert "Paused again since, and left so: runner 1" in words(world.run(undo=first["note"]))
    assert world.paused() == PUBLISHERS
    # Another incident has a note of its own.
    with pytest.raises(AnsibleActionFail, match="undone on"):
        world.run(note=first["note"])


def test_undo_may_only_read_the_note_first(world: World) -> None:
    first = world.run()
    assert not world.run(undo=first["note"], resume=False)["changed"]
    assert world.paused() == PUBLISHERS
    with pytest.raises(AnsibleActionFail, match="gitlab_project_revoke_undo: "):
        world.run(undo="nowhere.md", resume=False)


def test_undo_tells_what_is_left(world: World) -> None:
    world.job(OTHER, "build", "v2.0", state="running")
    first = world.run()
    fresh = {**DECLARED, "value": INNOCENT}
    done = world.run(undo=first["note"], projects=[{"project": DEMO, "variables": [fresh]}])
    assert done["warnings"] == []
    said = done["msg"]
    assert f"Set by hand, or leave out: OLD_NAME of {DEMO} (plain)" in said
    assert f"Set by hand, or leave out: {KEY} of group group (protected)" in said
    assert not any(f"{KEY} (pypi)" in line for line in said)
    assert (
        f"Retry pipeline 1 of v2.0 in {OTHER}: {world.lab.base_url}/{OTHER}/-/pipelines/1" in said
    )
    world.variable("groups/group", KEY, INNOCENT)
    said = world.run(undo=first["note"])["msg"]
    assert not any("group group" in line for line in said)


def test_undo_warns_of_a_token_that_comes_back(world: World) -> None:
    first = world.run()
    (warning,) = world.run(undo=first["note"], check=True)["warnings"]
    assert warning.startswith("gitlab_project_projects[0].variables[0].value: the token that was")


@pytest.mark.parametrize("hidden", [False, True])
def test_undo_does_not_warn_of_a_token_that_is_new_already(world: World, hidden: bool) -> None:
    """The inventory had another one before the incident was dealt with."""
    fresh = {**DECLARED, "value": INNOCENT}
    world.projects = [{"project": DEMO, "variables": [fresh]}]
    for one in world.store.project_settings.all():
        if one.key == "UNRELATED":
            world.store.project_settings.delete(one.id)
        if hidden and one.environment_scope == "pypi":
            one.hidden, one.description = True, _project_plan.mark(LEAKED)
            world.store.project_settings.save(one)
    first = world.run()
    assert f"Took {KEY} (pypi) out of {DEMO}" in first["msg"]
    assert world.run(undo=first["note"], check=True)["warnings"] == []
    world.projects = [{"project": DEMO, "variables": [DECLARED]}]
    assert len(world.run(undo=first["note"], check=True)["warnings"]) == 1


def test_a_value_that_is_a_word_does_not_spoil_the_note(world: World) -> None:
    world.variable("projects/group%2Fdemo", "WORD", "group/demo", description="it is group/demo")
    first = world.run(variables=["WORD"])
    note = _revoke_note.read(only_note())
    assert [one.path for one in note.data.variables] == [DEMO]
    assert "it is group/demo" not in only_note().read_text()
    assert not world.run(variables=["WORD"])["changed"]
    assert world.run(undo=first["note"])["failures"] == []


def test_undo_goes_on_after_a_refusal(world: World) -> None:
    first = world.run()
    number = world.runners["publisher"]
    world.lab.fault(f"/api/v4/runners/{number}", "status", status=403, method="PUT")
    assert len(world.run(undo=first["note"])["failures"]) == 1
    assert world.paused() == ["publisher"]
    world.lab.delete_runner(world.runners["shared publisher"])
    assert world.run(undo=first["note"])["failures"] == []
    assert world.paused() == []


def test_the_playbook(world: World, tmp_path: Path) -> None:
    """As a user runs it: the rehearsal, the run, the undo that puts the variables back."""
    fresh = {**DECLARED, "value": LEAKED}
    variables = {
        "gitlab_project_url": world.lab.base_url,
        "gitlab_project_api_token": ADMIN,
        "gitlab_project_projects": [{"project": DEMO, "variables": [fresh]}],
        "gitlab_project_groups": [{"group": "group"}],
    }
    hosts = {"builder": {"index_credentials_indexes": [{"kind": "pypi", "password": LEAKED}]},
             "broken": {"index_credentials_indexes": "{{ nowhere }}"}, "plain": {}}  # fmt: skip
    inventory = tmp_path / "hosts.yml"
    groups = {"runner_hosts": {"hosts": hosts}}
    inventory.write_text(yaml.safe_dump({"all": {"vars": variables, "children": groups}}))

    def play(*words: str, code: int = 0) -> str:
        program = Path(sys.executable).with_name("ansible-playbook")
        done = subprocess.run(
            [program, "-i", inventory, ROOT / "playbooks" / "revoke.yml", *words],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120,
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "COLUMNS": "1000",
                 "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections")},
        )  # fmt: skip
        hides(done.stdout)
        assert done.returncode == code, done.stdout
        return done.stdout

    before = world.left()
    assert "host builder: index_credentials_indexes, pypi" in play("--check", "--diff", "-vvv")
    assert (world.left(), list(Path.cwd().iterdir())) == (before, [])
    said = play()
    assert "index_credentials_indexes of broken cannot be read" in said
    assert "Left to do, by a person:" in said
    assert world.paused() == PUBLISHERS
    assert f"{KEY} pypi" not in world.left()
    assert "changed=0" in play()
    note = only_note()
    undo = ("-e", f"gitlab_project_revoke_undo={note}")
    assert f"{KEY} (pypi)" in play("--check", "--diff", *undo)
    assert world.paused() == PUBLISHERS
    since = world.lab.last_request()
    said = play(*undo)
    assert "is still in the inventory, and is put back" in " ".join(said.split())
    assert world.paused() == []
    # A job that waits is taken at once: its variables are there by then.
    written = [one["path"] for one in world.lab.requests(since) if one["method"] != "GET"]
    assert [path.split("/")[3] for path in written] == ["projects", "runners", "runners"], written
    assert f"{KEY} pypi" in world.left()
    assert "changed=0" in play(*undo)
    world.lab.fault("*/variables/*", "status", method="DELETE", status=403)
    said = play("-e", json.dumps({"gitlab_project_revoke_note": "second.md"}), code=2)
    assert "may not do that (403)" in said


def test_files_that_no_pipeline_has_uploaded_are_named(world: World) -> None:
    with Index() as index:
        stray = File("lab_demo-9.9.9.tar.gz", "sdist", "9.9.9", b"by whoever has the token")
        index.pypi.projects.make("lab-demo").add(stray)
        actions = [{"action": "create", "file_path": "pyproject.toml",
                    "content": '[project]\nname = "lab-demo"\n'}]  # fmt: skip
        body = {"branch": "main", "commit_message": "x", "actions": actions}
        number = world.lab.project(DEMO).id
        world.lab.api("POST", f"/projects/{number}/repository/commits", json=body)
        inputs = {"pythons": ["3.12"], "build_tags": ["build"], "index": "lab", "test_index": "",
                  "upload_url": f"{index.url}/legacy/",
                  "simple_url": f"{index.url}/simple/"}  # fmt: skip
        result = world.run(pipelines=[{"project": DEMO}], pipeline_inputs=inputs)
    said = f"lab: lab-demo 9.9.9 (1 file, uploaded {datetime.now(timezone.utc):%Y-%m-%d}): {DEMO} "
    assert any(said in line for line in result["msg"]), result["msg"]
    assert said in only_note().read_text()
    result = world.run(pipelines=[{"project": DEMO}], pipeline_inputs=inputs)
    assert "no answer" in words(result)
    assert result["failures"] == []
