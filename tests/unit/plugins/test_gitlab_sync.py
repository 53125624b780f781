# SPDX-License-Identifier: GPL-3.0-or-later
"""Runners that the toolkit creates: the action against a host in memory and the lab's GitLab."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import runner_plan
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _gitlab_api,
    _gitlab_sync,
    _runner_lists,
    _runner_toml,
)
from standins.gitlab import Settings
from standins.gitlab.thread import bound_socket, serving
from tests.unit.plugins import test_runner_config as base

pytestmark = pytest.mark.long

ADMIN = "glpat-AdministratorsOwn00"
SECRET = "the-lab-secret"
SYSTEM_ID = "s_0123456789ab"
WANTED = {"runner_type": "instance_type", "tag_list": ["b", "a"], "run_untagged": False}


class GitLab:
    """The lab's GitLab, by HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def api(self, method: str, path: str, token: str = ADMIN, **options: Any) -> Any:
        headers = {"PRIVATE-TOKEN": token}
        return requests.request(method, f"{self.url}/api/v4{path}", headers=headers, **options)

    def control(self, method: str, path: str, **options: Any) -> Any:
        headers = {"Lab-Secret": SECRET}
        return requests.request(
            method, f"{self.url}/lab/v1{path}", headers=headers, **options
        ).json()

    def access_token(self, *scopes: str) -> str:
        return str(self.control("POST", "/tokens", json={"scopes": list(scopes)})["token"])

    def runners(self) -> list[int]:
        return [int(r["id"]) for r in self.control("GET", "/runners")]

    def details(self, runner: int) -> dict[str, Any]:
        found: dict[str, Any] = self.api("GET", f"/runners/{runner}").json()
        return found


@pytest.fixture
def gitlab(tmp_path: Path) -> Iterator[GitLab]:
    listener = bound_socket()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with serving(Settings(tmp_path / "gitlab", url, SECRET, ADMIN), listener):
        yield GitLab(url)


class Host(base.Host):
    """A host whose runner asks that GitLab about a token."""

    def __init__(self, gitlab: GitLab, system_id: str = SYSTEM_ID) -> None:
        super().__init__()
        self.server = gitlab
        self.system_id = system_id

    def _register(self, token: str) -> dict[str, Any]:
        body = {"token": token, "system_id": self.system_id}
        answer = requests.post(f"{self.server.url}/api/v4/runners/verify", json=body)
        if answer.status_code != 200:
            return {"ok": False, "refused": True, "said": "is not valid"}
        self.gitlab[token] = int(answer.json()["id"])
        text = super()._register(token)["text"]
        text = bytes.fromhex(text).decode().replace(base.URL, self.server.url)
        return {"ok": True, "text": text.encode().hex()}

    def _read(self) -> dict[str, Any]:
        return {**super()._read(), "system_id": self.system_id}


def converge(host: Host, check: bool = False, **more: Any) -> dict[str, Any]:
    more = {
        "runners": [{"name": "build", "gitlab": WANTED}],
        "url": host.server.url,
        "api_token": ADMIN,
        **more,
    }
    return base.converge(host, check=check, task_vars={"inventory_hostname": "one"}, **more)


def test_runner_is_created_from_its_entry_once(gitlab: GitLab) -> None:
    host = Host(gitlab)
    result = converge(host)
    assert result["changed"]
    assert gitlab.runners() == [1]
    details = gitlab.details(1)
    assert (details["description"], details["tag_list"]) == ("build", ["b", "a"])
    assert details["run_untagged"] is False
    assert details["maintenance_note"] == "Managed by Runnerhost: one / build"
    runner = host.data()["runners"][0]
    assert (runner["id"], runner["name"]) == (1, "build")
    assert runner["token"].startswith("glrt-")
    assert "gitlab" not in runner
    assert runner["token"] not in json.dumps(result)
    again = converge(host)
    assert not again["changed"]
    assert gitlab.runners() == [1]


def test_check_mode_creates_nothing_and_says_so(gitlab: GitLab) -> None:
    host = Host(gitlab)
    result = converge(host, check=True)
    assert result["changed"]
    assert "build: a runner would be created in GitLab" in result["msg"]
    assert gitlab.runners() == []
    assert host.text is None


def test_what_differs_in_gitlab_is_set_and_named(gitlab: GitLab) -> None:
    host = Host(gitlab)
    converge(host)
    entry = {
        "name": "build",
        "gitlab": {**WANTED, "paused": True, "tag_list": ["c"], "maintenance_note": "ours"},
    }
    before = host.text
    predicted = converge(host, check=True, runners=[entry])
    assert gitlab.details(1)["paused"] is False
    result = converge(host, runners=[entry])
    wanted = {f"runners.build.gitlab.{key}" for key in ("maintenance_note", "paused", "tag_list")}
    assert set(result["changed_keys"]) == set(predicted["changed_keys"]) == wanted
    details = gitlab.details(1)
    assert (details["paused"], details["tag_list"]) == (True, ["c"])
    assert details["maintenance_note"] == "ours\n\nManaged by Runnerhost: one / build"
    assert host.text == before
    assert not converge(host, runners=[entry])["changed"]


def test_order_of_tags_makes_no_difference(gitlab: GitLab) -> None:
    host = Host(gitlab)
    converge(host)
    entry = {"name": "build", "gitlab": {**WANTED, "tag_list": ["a", "b"]}}
    assert not converge(host, runners=[entry])["changed"]


def test_lost_config_gets_its_own_runner_back(gitlab: GitLab) -> None:
    host = Host(gitlab)
    converge(host)
    old = host.data()["runners"][0]["token"]
    host.text = ""
    assert "the token of runner 1 would be reset" in converge(host, check=True)["msg"]
    converge(host)
    assert gitlab.runners() == [1]
    assert host.data()["runners"][0]["token"] != old
    assert not converge(host)["changed"]


def test_runner_whose_token_is_dead_gets_a_new_one(gitlab: GitLab) -> None:
    host = Host(gitlab)
    converge(host)
    old = host.data()["runners"][0]["token"]
    gitlab.control("PATCH", "/runners/1", json={"revoke": True})
    line = f'Runner "{gitlab.url}{old.removeprefix("glrt-")[:9]}" is unhealthy and will be disabled'
    host.complaints = [(base.NOW - 5, line)]
    host.verified = "refused"
    assert "the token of runner 1 would be reset" in converge(host, check=True)["msg"]
    host.before_swap.append(lambda host: setattr(host, "verified", "valid"))
    result = converge(host)
    assert gitlab.runners() == [1]
    assert host.data()["runners"][0]["token"] != old
    assert "reset the token of runner 1 (build)" in result["gitlab"]
    assert not converge(host)["changed"]


def test_deleted_runner_that_sleeps_is_not_created_anew_unasked(gitlab: GitLab) -> None:
    host = Host(gitlab)
    converge(host)
    mark = host.data()["runners"][0]["token"].removeprefix("glrt-")[:9]
    gitlab.api("DELETE", "/runners/1")
    host.complaints = [(base.NOW - 5, f'Runner "x{mark}" is unhealthy and will be disabled')]
    host.verified = "refused"
    with pytest.raises(AnsibleActionFail, match="GitLab no longer has runner 1"):
        converge(host)
    assert gitlab.runners() == []


def test_rebuilt_host_gets_its_runner_back_and_the_dead_one_goes(
    gitlab: GitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_gitlab_sync, "ALIVE_SECONDS", 0.0)
    converge(Host(gitlab, "s_dead00000000"))
    rebuilt = Host(gitlab)
    result = converge(rebuilt)
    assert gitlab.runners() == [1]
    systems = [m["system_id"] for m in gitlab.api("GET", "/runners/1/managers").json()]
    assert systems == [SYSTEM_ID]
    assert any("removed the dead host s_dead00000000" in line for line in result["gitlab"])


def test_runner_that_another_host_uses_is_not_taken_from_it(
    gitlab: GitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Host(gitlab, "s_alive0000000")
    converge(other)
    token = other.data()["runners"][0]["token"]

    def call(_: float) -> None:
        body = {"token": token, "system_id": "s_alive0000000"}
        requests.post(f"{gitlab.url}/api/v4/runners/verify", json=body)

    monkeypatch.setattr(_gitlab_sync, "time", _Clock(call))
    with pytest.raises(AnsibleActionFail, match="in use by another host"):
        converge(Host(gitlab))
    call(0)
    assert gitlab.runners() == [1]


class _Clock:
    """The time module, whose sleep does something."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        import time

        self.sleep, self.time, self.monotonic = sleep, time.time, time.monotonic


def test_killed_between_creation_and_swap_creates_no_second(gitlab: GitLab) -> None:
    host = Host(gitlab)
    host.before_swap.append(lambda h: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        converge(host)
    assert gitlab.runners() == [1]
    converge(host)
    assert gitlab.runners() == [1]
    assert host.data()["runners"][0]["id"] == 1


def test_deleted_runner_is_an_error_unless_it_may_be_created_anew(gitlab: GitLab) -> None:
    host = Host(gitlab)
    converge(host)
    gitlab.api("DELETE", "/runners/1")
    before = host.text
    with pytest.raises(AnsibleActionFail, match=r"no longer has runner 1.*recreate=true"):
        converge(host)
    assert host.text == before
    converge(host, recreate=True)
    assert gitlab.runners() == [2]
    assert [r["id"] for r in host.data()["runners"]] == [2]
    assert not converge(host, recreate=True)["changed"]


def test_hand_made_runner_keeps_its_identity(gitlab: GitLab) -> None:
    """An entry that loses its token and gets gitlab is the same runner."""
    made = gitlab.api("POST", "/user/runners", json={"runner_type": "instance_type"}).json()
    host = Host(gitlab)
    converge(host, runners=[{"name": "build", "token": made["token"]}])
    result = converge(host)
    assert gitlab.runners() == [1]
    assert host.data()["runners"][0]["token"] == made["token"]
    assert result["changed"]
    assert gitlab.details(1)["maintenance_note"] == "Managed by Runnerhost: one / build"
    assert not converge(host)["changed"]


def test_entry_that_is_renamed_by_its_runners_id_keeps_its_token(gitlab: GitLab) -> None:
    """As docs/runners.md says to rename it: no second one beside it, and no token reset."""
    host = Host(gitlab)
    converge(host)
    token = host.data()["runners"][0]["token"]
    renamed = [{"name": "wheels", "gitlab": {**WANTED, "id": 1}}]
    predicted = converge(host, check=True, runners=renamed)
    result = converge(host, runners=renamed)
    assert set(predicted["changed_keys"]) == set(result["changed_keys"])
    assert "runners.wheels.name" in result["changed_keys"]
    (runner,) = host.data()["runners"]
    assert (runner["name"], runner["id"], runner["token"]) == ("wheels", 1, token)
    assert result["foreign"] == []
    assert gitlab.details(1)["maintenance_note"] == "Managed by Runnerhost: one / wheels"
    assert not converge(host, runners=renamed)["changed"]
    assert gitlab.runners() == [1]
    # Without its token in the file the same runner comes back.
    host.text = host.text.replace(token, "") if host.text else None
    converge(host, runners=renamed)
    (runner,) = host.data()["runners"]
    assert (runner["id"], runner["token"] != token) == (1, True)


def test_another_id_than_the_one_that_the_host_has_is_refused(gitlab: GitLab) -> None:
    """Neither left without a word nor swapped: the first runner would stay behind in GitLab."""
    host = Host(gitlab)
    converge(host)
    gitlab.api("POST", "/user/runners", json={"runner_type": "instance_type"})
    before = host.text
    with pytest.raises(AnsibleActionFail, match=r"gitlab\.id: invalid value 2; expected 1, the id"):
        converge(host, runners=[{"name": "build", "gitlab": {**WANTED, "id": 2}}])
    assert host.text == before


def test_token_of_the_vault_is_taken_and_gitlab_compared(gitlab: GitLab) -> None:
    made = gitlab.api("POST", "/user/runners", json={"runner_type": "instance_type"}).json()
    host = Host(gitlab)
    entry = {"name": "build", "token": made["token"], "gitlab": {"tag_list": ["x"]}}
    converge(host, runners=[entry])
    assert gitlab.details(1)["tag_list"] == ["x"]
    # A note that is somebody else's stays.
    assert gitlab.details(1)["maintenance_note"] == ""
    assert not converge(host, runners=[entry])["changed"]


def test_token_without_manage_runner_creates_and_warns(gitlab: GitLab) -> None:
    token = gitlab.access_token("create_runner")
    host = Host(gitlab)
    result = converge(host, api_token=token)
    assert gitlab.runners() == [1]
    assert any("no scope manage_runner" in warning for warning in result["warnings"])
    host.text = ""
    with pytest.raises(AnsibleActionFail, match="needs the scope manage_runner"):
        converge(host, api_token=token)
    assert gitlab.runners() == [1]


def test_many_runners_are_looked_through_page_by_page(gitlab: GitLab) -> None:
    host = Host(gitlab)
    for _ in range(25):
        gitlab.api("POST", "/user/runners", json={"runner_type": "instance_type"})
    converge(host)
    host.text, host.note = None, ""
    converge(host)
    assert len(gitlab.runners()) == 26
    assert host.data()["runners"][0]["id"] == 26


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "does not know gitlab_runner_api_token"), (403, "may not do that"), (500, "answered 5")],
)
def test_faults_are_named_and_show_no_token(gitlab: GitLab, status: int, said: str) -> None:
    host = Host(gitlab)
    fault = {"path": "/api/v4/user/runners", "kind": "status", "status": status}
    gitlab.control("POST", "/faults", json=fault)
    with pytest.raises(AnsibleActionFail, match=said) as failed:
        converge(host)
    assert ADMIN not in str(failed.value)
    assert host.text is None
    converge(host)
    assert gitlab.runners() == [1]


def test_gitlab_that_is_down_is_named(gitlab: GitLab) -> None:
    host = Host(gitlab)
    gitlab.url = "http://127.0.0.1:9"
    with pytest.raises(AnsibleActionFail, match="no answer") as failed:
        converge(host)
    assert ADMIN not in str(failed.value)


def test_two_runners_with_the_mark_are_not_guessed_at(gitlab: GitLab) -> None:
    line = _gitlab_api.mark("one", "build")
    body = {"runner_type": "instance_type", "maintenance_note": line}
    for _ in range(2):
        gitlab.api("POST", "/user/runners", json=body)
    with pytest.raises(AnsibleActionFail, match="several runners"):
        converge(Host(gitlab))
    assert gitlab.runners() == [1, 2]


def test_identity_of_other_runners_is_untouched(gitlab: GitLab) -> None:
    host = Host(gitlab)
    converge(host)
    more = [{"name": "build", "gitlab": WANTED}, {"name": "two", "gitlab": WANTED}]
    first = host.data()["runners"][0]
    converge(host, runners=more)
    data = _runner_toml.parse(host.text or "")
    assert data["runners"][0] == first
    assert [r["id"] for r in data["runners"]] == [1, 2]


@pytest.mark.parametrize("scopes", [("api",), ("create_runner",)])
def test_a_project_that_gitlab_does_not_have_is_named(
    gitlab: GitLab, scopes: tuple[str, ...]
) -> None:
    """A token that may create runners and read no project is told nothing, and says nothing."""
    made = gitlab.control("POST", "/projects", json={"path": "group/demo"})
    wanted = [
        {"name": "ours", "gitlab": {"runner_type": "project_type", "project_id": made["id"]}},
        {"name": "example", "gitlab": {"runner_type": "project_type", "project_id": 4242}},
        {"name": "team", "gitlab": {"runner_type": "group_type", "group_id": 4242}},
    ]
    sync = _gitlab_sync.gitlab_sync(
        _runner_lists.wanted_runners("runners", gitlab.url, wanted),
        _gitlab_sync.Access(gitlab.url, gitlab.access_token(*scopes), "", ""),
        "one",
        str,
    )
    told = [
        "runner 'example': gitlab.project_id: GitLab has no project 4242 that "
        "gitlab_runner_api_token may see",
        "runner 'team': gitlab.group_id: GitLab has no group 4242 that "
        "gitlab_runner_api_token may see",
    ]
    assert sync.lacking() == (told if scopes == ("api",) else [])


def test_a_runner_that_gitlab_would_have_to_move_is_named(gitlab: GitLab) -> None:
    host = Host(gitlab)
    first, other = (
        gitlab.control("POST", "/projects", json={"path": f"group/{name}"}) for name in ("a", "b")
    )
    wanted = {"runner_type": "project_type", "project_id": first["id"]}
    converge(host, runners=[{"name": "build", "gitlab": wanted}])
    result = converge(host, runners=[{"name": "build", "gitlab": wanted}])
    assert not [text for text in result["warnings"] if "moves no runner" in text]
    moved = {**wanted, "project_id": other["id"]}
    for given, words in (
        (moved, f"project_id {other['id']}, GitLab {first['id']}"),
        ({"runner_type": "instance_type"}, "runner_type instance_type, GitLab project_type"),
    ):
        result = converge(host, check=True, runners=[{"name": "build", "gitlab": given}])
        (said,) = [text for text in result["warnings"] if "moves no runner" in text]
        assert said.startswith(
            f"gitlab_runner_runners[0] (build).gitlab: the inventory says {words}"
        )


def test_a_runner_to_be_created_with_a_token_that_only_manages_is_known_before(
    gitlab: GitLab,
) -> None:
    def sync(host: str) -> _gitlab_sync.GitLabSync:
        return _gitlab_sync.gitlab_sync(
            _runner_lists.wanted_runners(
                "runners", gitlab.url, [{"name": "build", "gitlab": WANTED}]
            ),
            _gitlab_sync.Access(gitlab.url, gitlab.access_token("manage_runner"), "", ""),
            host,
            str,
        )

    assert sync("one").creates(0)
    converge(Host(gitlab))
    # One that was made for this host is found again.
    assert not sync("one").creates(0)
    assert sync("two").creates(0)

    action = object.__new__(runner_plan.ActionModule)
    settings: Any = SimpleNamespace(services=())
    nothing: Any = None
    for host, refused in (("one", False), ("two", True)):
        action._sync = sync(host)
        found = action._not_creatable(settings, nothing)
        assert [
            "has the scopes manage_runner; GitLab has no runner for build yet" in one
            for one in found
        ] == [True] * refused
