# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's API as the toolkit's client uses it: create, pause, hosts of a runner, reset, lists.

One suite for the lab's GitLab and for a real one: ``LAB_GITLAB_URL`` and ``LAB_GITLAB_TOKEN`` (an
administrator's, scope ``api``) name it, or ``LAB_GITLAB_PROJECT`` too, a project's id, and then the
token of one of its maintainers does. ``LAB_GITLAB_CA`` is its CA, a file. What a test makes there
it deletes.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _gitlab_api
from standins.gitlab.client import LabGitLab

SYSTEM_IDS = ("s_0123456789ab", "r_ba9876543210")


@dataclass
class GitLab:
    """A GitLab, the toolkit's client of it, and where its runners are made.

    Attributes:
        lab: the lab's own, None for a real one.
    """

    url: str
    token: str
    authority: str
    place: dict[str, Any]
    lab: LabGitLab | None
    made: list[int] = field(default_factory=list)

    @property
    def client(self) -> _gitlab_api.Api:
        """The toolkit's client."""
        return _gitlab_api.Api(self.url, self.token, self.authority)

    def call(self, method: str, path: str, token: str = "", **body: Any) -> requests.Response:
        """A call that the client does not make, or makes otherwise."""
        return requests.request(
            method,
            f"{self.url}/api/v4{path}",
            headers={"PRIVATE-TOKEN": token or self.token},
            json=body or None,
            verify=self.authority or True,
            timeout=30,
        )

    def runner_call(self, method: str, path: str, **body: Any) -> int:
        """The status of a call that a runner makes with its own token."""
        answer = requests.request(
            method,
            f"{self.url}/api/v4{path}",
            json=body,
            verify=self.authority or True,
            timeout=30,
        )
        return answer.status_code

    def create(self, line: str = "", **wanted: Any) -> tuple[int, str]:
        """A runner that is deleted in the end: its id and its token."""
        mark = line or _gitlab_api.mark("contract", secrets.token_hex(6))
        number, token = self.client.create({**self.place, **wanted}, mark)
        self.made.append(number)
        return number, token

    def details(self, number: int) -> dict[str, Any]:
        """What GitLab tells of a runner that it has."""
        found = self.client.get(number)
        assert found is not None
        return found


@pytest.fixture(params=["stand-in, instance", "stand-in, project", "real"])
def server(request: pytest.FixtureRequest, gitlab: LabGitLab, project: str) -> Iterator[GitLab]:
    """Each GitLab in turn."""
    place: dict[str, Any] = {"runner_type": "instance_type"}
    if request.param == "real":
        url, token = (os.environ.get(f"LAB_GITLAB_{name}", "") for name in ("URL", "TOKEN"))
        if not url or not token:
            pytest.skip("skipped: LAB_GITLAB_URL and LAB_GITLAB_TOKEN name no GitLab")
        where = os.environ.get("LAB_GITLAB_PROJECT", "")
        if where:
            place = {"runner_type": "project_type", "project_id": int(where)}
        made = GitLab(url.rstrip("/"), token, os.environ.get("LAB_GITLAB_CA", ""), place, None)
    else:
        if request.param.endswith("project"):
            place = {"runner_type": "project_type", "project_id": gitlab.project(project).id}
        made = GitLab(
            gitlab.base_url, "glpat-ContractTestsAdmin", str(gitlab.ca_file), place, gitlab
        )
    yield made
    for number in made.made:
        made.call("DELETE", f"/runners/{number}")


def test_token_tells_its_scopes_and_gitlab_its_version(server: GitLab) -> None:
    scopes, _ = server.client.scopes()
    assert {_gitlab_api.CREATE, _gitlab_api.MANAGE} <= scopes
    assert int(server.client.version().split(".")[0]) >= 16


def test_created_runner_is_as_it_was_asked_for(server: GitLab) -> None:
    wanted = {
        "description": "of the contract tests",
        "tag_list": ["one", "two"],
        "run_untagged": False,
        "locked": True,
        "access_level": "ref_protected",
        "maximum_timeout": 600,
        "paused": True,
        "maintenance_note": "a note",
    }
    line = _gitlab_api.mark("contract", "as asked")
    number, token = server.create(line, **wanted)
    assert token.startswith("glrt-")
    found = server.details(number)
    assert _gitlab_api.differences(wanted, found, line) == {}
    assert found["runner_type"] == server.place["runner_type"]
    assert _gitlab_api.is_marked(found, line)
    # Told once, and never again.
    assert token not in str(found)


def test_defaults_of_a_created_runner(server: GitLab) -> None:
    number, _ = server.create(tag_list=["a"])
    found = server.details(number)
    defaults = {"paused": False, "run_untagged": True, "access_level": "not_protected"}
    assert {key: found[key] for key in defaults} == defaults
    assert found["maximum_timeout"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"runner_type": "nonsense"},
        {"runner_type": "group_type"},
        {"runner_type": "project_type"},
        {"runner_type": "instance_type", "project_id": 1},
        {"runner_type": "project_type", "project_id": 1, "group_id": 1},
        {"maximum_timeout": 599},
        {"run_untagged": False},
        {"access_level": "nonsense"},
        {"description": "x" * 1025},
        {"maintenance_note": "x" * 1025},
        {"paused": "perhaps"},
    ],
    ids=lambda body: ",".join(body) or "nothing",
)
def test_what_creation_refuses(server: GitLab, body: dict[str, Any]) -> None:
    whole = body if not body or "runner_type" in body else {**server.place, **body}
    answer = server.call("POST", "/user/runners", **whole)
    if answer.status_code == 201:
        server.made.append(answer.json()["id"])
    assert answer.status_code == 400, answer.text


def test_longest_note_with_its_mark_is_taken(server: GitLab) -> None:
    line = _gitlab_api.mark("contract", "long")
    number, _ = server.create(line, maintenance_note="x" * (1024 - len(line) - 2))
    assert _gitlab_api.is_marked(server.details(number), line)


def test_who_may_not(server: GitLab) -> None:
    unknown = _gitlab_api.Api(server.url, f"glpat-{secrets.token_hex(10)}", server.authority)
    with pytest.raises(_gitlab_api.ApiProblem, match="does not know gitlab_runner_api_token") as no:
        unknown.scopes()
    assert no.value.status == 401
    if server.lab is None:
        pytest.skip("skipped: 403 takes tokens of fewer scopes, which only the lab makes")
    creator = _gitlab_api.Api(
        server.url, server.lab.create_token("create_runner"), server.authority
    )
    number, _ = creator.create(server.place, "a mark")
    server.made.append(number)
    for forbidden in (creator.get, creator.reset, creator.managers):
        with pytest.raises(_gitlab_api.ApiProblem, match=r"may not do that \(403\)") as no:
            forbidden(number)
        assert no.value.status == 403


def test_pause_and_other_changes(server: GitLab) -> None:
    number, _ = server.create(tag_list=["a"])
    client = server.client
    client.update(number, {"paused": True})
    assert server.details(number)["paused"] is True
    client.update(number, {"paused": False, "tag_list": ["b", "c"], "maximum_timeout": 3600})
    found = server.details(number)
    assert (found["paused"], sorted(found["tag_list"])) == (False, ["b", "c"])
    assert found["maximum_timeout"] == 3600
    with pytest.raises(_gitlab_api.ApiProblem) as no:
        client.update(number, {"maximum_timeout": 1})
    assert no.value.status == 400
    assert server.details(number)["maximum_timeout"] == 3600
    assert server.call("PUT", f"/runners/{number}").status_code == 400


def test_paused_runner_gets_no_job_and_stays_valid(server: GitLab) -> None:
    number, token = server.create(tag_list=["a"], paused=True)
    assert server.runner_call("POST", "/runners/verify", token=token) == 200
    system_id = SYSTEM_IDS[0]
    status = server.runner_call("POST", "/jobs/request", token=token, system_id=system_id)
    assert status == 204
    assert server.details(number)["paused"] is True


def test_hosts_of_a_runner_come_and_are_forgotten(server: GitLab) -> None:
    number, token = server.create(tag_list=["a"])
    client = server.client
    assert client.managers(number) == []
    for system_id in SYSTEM_IDS:
        body = {"token": token, "system_id": system_id}
        assert server.runner_call("POST", "/runners/verify", **body) == 200
    found = {manager["system_id"]: manager for manager in client.managers(number)}
    assert set(found) == set(SYSTEM_IDS)
    assert {"contacted_at", "version", "status"} <= set(found[SYSTEM_IDS[0]])
    client.forget_manager(token, SYSTEM_IDS[0])
    assert [manager["system_id"] for manager in client.managers(number)] == [SYSTEM_IDS[1]]
    with pytest.raises(_gitlab_api.ApiProblem) as no:
        client.forget_manager(token, SYSTEM_IDS[0])
    assert no.value.status == 404
    with pytest.raises(_gitlab_api.ApiProblem) as no:
        client.forget_manager(f"glrt-{secrets.token_hex(10)}", SYSTEM_IDS[1])
    assert no.value.status == 403


def test_reset_kills_the_old_token_at_once(server: GitLab) -> None:
    number, first = server.create(tag_list=["a"])
    second = server.client.reset(number)
    assert second.startswith("glrt-")
    assert server.runner_call("POST", "/runners/verify", token=first) == 403
    assert server.runner_call("POST", "/runners/verify", token=second) == 200
    path = "/runners/reset_authentication_token"
    assert server.runner_call("POST", path, token=first) == 403
    assert server.runner_call("POST", path, token=second) == 201
    assert server.runner_call("POST", "/runners/verify", token=second) == 403
    assert server.details(number)["id"] == number


def test_deleted_runner_is_none_and_its_token_refused(server: GitLab) -> None:
    number, token = server.create(tag_list=["a"])
    assert server.call("DELETE", f"/runners/{number}").status_code == 204
    assert server.client.get(number) is None
    assert server.runner_call("POST", "/runners/verify", token=token) == 403
    for what in (server.client.reset, server.client.managers):
        with pytest.raises(_gitlab_api.ApiProblem) as no:
            what(number)
        assert no.value.status == 404


def listing(server: GitLab) -> str:
    """Where the list of the place's runners is."""
    if "project_id" in server.place:
        return f"/projects/{server.place['project_id']}/runners"
    return "/runners/all"


def test_list_comes_in_pages_and_tells_no_note(server: GitLab) -> None:
    numbers = [server.create(tag_list=["a"])[0] for _ in range(3)]
    seen: list[int] = []
    kind = server.place["runner_type"]
    address = f"{server.url}/api/v4{listing(server)}?type={kind}&per_page=2"
    while address:
        answer = requests.get(
            address,
            headers={"PRIVATE-TOKEN": server.token},
            verify=server.authority or True,
            timeout=30,
        )
        page = answer.json()
        assert len(page) <= 2
        assert all("maintenance_note" not in item and "token" not in item for item in page)
        seen += [item["id"] for item in page]
        address = answer.links.get("next", {}).get("url", "")
    assert set(numbers) <= set(seen)
    assert len(seen) == len(set(seen))


def test_runner_is_found_by_its_mark_on_any_page(server: GitLab) -> None:
    line = _gitlab_api.mark("contract", secrets.token_hex(6))
    assert server.client.find(server.place, line) is None
    first, _ = server.create(line, tag_list=["a"])
    # A page has twenty.
    for _ in range(21):
        server.create(tag_list=["a"])
    found = server.client.find(server.place, line)
    assert found is not None
    assert found["id"] == first
    second, _ = server.create(line, tag_list=["a"])
    with pytest.raises(_gitlab_api.ApiProblem, match=f"several runners.*{first}.*{second}|"
                       f"several runners.*{second}.*{first}"):  # fmt: skip
        server.client.find(server.place, line)
