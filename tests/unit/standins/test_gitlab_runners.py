# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the lab's GitLab about runners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from standins.gitlab import Settings, create_app

ADMIN = "glpat-AdministratorsOwn00"
SECRET = "the-lab-secret"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(tmp_path / "gitlab", "http://gitlab.test", SECRET, ADMIN)
    with TestClient(create_app(settings)) as client:
        yield client


def api(web: TestClient, method: str, path: str, token: str = ADMIN, **options: Any) -> Any:
    headers = {"PRIVATE-TOKEN": token} if token else {}
    return web.request(method, f"/api/v4{path}", headers=headers, **options)


def control(web: TestClient, method: str, path: str, **options: Any) -> Any:
    return web.request(method, f"/lab/v1{path}", headers={"Lab-Secret": SECRET}, **options)


def new_runner(web: TestClient, **fields: Any) -> dict[str, Any]:
    answer = api(web, "POST", "/user/runners", json={"runner_type": "instance_type", **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def verify(web: TestClient, token: str) -> int:
    return int(web.post("/api/v4/runners/verify", json={"token": token}).status_code)


def test_created_runner_has_token_once(web: TestClient) -> None:
    runner = new_runner(web, description="d", tag_list="a, b")
    assert runner["token"].startswith("glrt-")
    assert len(runner["token"]) == len("glrt-") + 20
    assert runner["token_expires_at"] is None
    details = api(web, "GET", f"/runners/{runner['id']}").json()
    assert details["tag_list"] == ["a", "b"]
    assert runner["token"] not in str(details)


def test_create_needs_the_right_scope(web: TestClient) -> None:
    body = {"runner_type": "instance_type"}
    assert api(web, "POST", "/user/runners", "", json=body).status_code == 401
    assert api(web, "POST", "/user/runners", "glpat-nobody", json=body).status_code == 401
    other = control(web, "POST", "/tokens", json={"scopes": ["read_api"]}).json()["token"]
    refused = api(web, "POST", "/user/runners", other, json=body)
    assert refused.status_code == 403
    assert refused.json()["error"] == "insufficient_scope"
    right = control(web, "POST", "/tokens", json={"scopes": ["create_runner"]}).json()["token"]
    assert api(web, "POST", "/user/runners", right, json=body).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"runner_type": "shell"},
        {"runner_type": "project_type"},
        {"runner_type": "project_type", "project_id": 99},
        {"runner_type": "project_type", "project_id": "x"},
        {"runner_type": "group_type"},
        {"runner_type": "instance_type", "project_id": 1},
        {"runner_type": "instance_type", "run_untagged": False},
        {"runner_type": "instance_type", "run_untagged": "perhaps"},
        {"runner_type": "instance_type", "maximum_timeout": 10},
        {"runner_type": "instance_type", "access_level": "all"},
        {"runner_type": "instance_type", "tag_list": [1]},
        {"runner_type": "instance_type", "description": "x" * 1025},
    ],
)
def test_create_refuses_bad_fields(web: TestClient, body: dict[str, Any]) -> None:
    assert api(web, "POST", "/user/runners", json=body).status_code == 400


def test_create_refuses_a_body_that_is_no_json(web: TestClient) -> None:
    headers = {"PRIVATE-TOKEN": ADMIN, "Content-Type": "application/json"}
    for body in (b"{", b"[]"):
        answer = web.post("/api/v4/user/runners", headers=headers, content=body)
        assert answer.status_code == 400


def test_form_bodies_are_understood(web: TestClient) -> None:
    form = {"runner_type": "instance_type", "paused": "true", "run_untagged": "1"}
    answer = api(web, "POST", "/user/runners", data=form)
    assert answer.status_code == 201
    assert api(web, "GET", f"/runners/{answer.json()['id']}").json()["paused"] is True


def test_legacy_registration_is_gone(web: TestClient) -> None:
    answer = web.post("/api/v4/runners", json={"token": "GR1348941" + "x" * 20})
    assert answer.status_code == 410
    assert answer.json() == {"message": "410 Gone - runner registration disallowed"}
    assert web.post("/api/v4/runners", json={"token": "wrong"}).status_code == 403
    assert web.post("/api/v4/runners", json={}).status_code == 400


def test_verify(web: TestClient) -> None:
    runner = new_runner(web)
    body = {"token": runner["token"], "system_id": "s_0123456789ab", "info": {"version": "17.5.5"}}
    answer = web.post("/api/v4/runners/verify", json=body)
    assert answer.status_code == 200
    assert answer.json() == {"id": runner["id"], "token": runner["token"], "token_expires_at": None}
    managers = api(web, "GET", f"/runners/{runner['id']}/managers").json()
    assert [(m["system_id"], m["version"]) for m in managers] == [("s_0123456789ab", "17.5.5")]
    assert verify(web, "glrt-unknownunknownunknow") == 403
    assert web.post("/api/v4/runners/verify", json={}).status_code == 400


def test_reset_kills_the_old_token(web: TestClient) -> None:
    runner = new_runner(web)
    path = "/api/v4/runners/reset_authentication_token"
    answer = web.post(path, json={"token": runner["token"]})
    assert answer.status_code == 201
    assert answer.json()["token_expires_at"] is None
    assert verify(web, runner["token"]) == 403
    assert verify(web, answer.json()["token"]) == 200
    assert web.post(path, json={"token": runner["token"]}).status_code == 403


def test_reset_by_a_user(web: TestClient) -> None:
    runner = new_runner(web)
    path = f"/runners/{runner['id']}/reset_authentication_token"
    assert api(web, "POST", path, "").status_code == 401
    answer = api(web, "POST", path)
    assert answer.status_code == 201
    assert verify(web, answer.json()["token"]) == 200
    assert api(web, "POST", "/runners/999/reset_authentication_token").status_code == 404


def test_tokens_expire_and_renewed_ones_too(web: TestClient) -> None:
    runner = new_runner(web)
    control(web, "PATCH", f"/runners/{runner['id']}", json={"expires_in": 60, "token_ttl": 120})
    answer = web.post("/api/v4/runners/verify", json={"token": runner["token"]}).json()
    assert answer["token_expires_at"].endswith("Z")
    renewed = web.post(
        "/api/v4/runners/reset_authentication_token", json={"token": runner["token"]}
    ).json()
    assert renewed["token_expires_at"] > answer["token_expires_at"]
    control(web, "PATCH", f"/runners/{runner['id']}", json={"expires_in": -1})
    assert verify(web, renewed["token"]) == 403


def test_delete_manager_and_runner(web: TestClient) -> None:
    runner = new_runner(web)
    credentials = {"token": runner["token"], "system_id": "s_0123456789ab"}
    web.post("/api/v4/runners/verify", json=credentials)

    def delete(path: str, **body: str) -> int:
        return int(web.request("DELETE", f"/api/v4{path}", json=body).status_code)

    assert delete("/runners/managers", token=runner["token"]) == 400
    assert delete("/runners/managers", **{**credentials, "token": "wrong"}) == 403
    assert delete("/runners/managers", **credentials) == 204
    assert delete("/runners/managers", **credentials) == 404
    assert delete("/runners", token="wrong") == 403
    assert delete("/runners", token=runner["token"]) == 204
    assert verify(web, runner["token"]) == 403
    assert api(web, "GET", f"/runners/{runner['id']}").status_code == 404


def test_update(web: TestClient) -> None:
    path = f"/runners/{new_runner(web)['id']}"
    assert api(web, "PUT", path, json={"paused": True}).json()["paused"] is True
    assert api(web, "PUT", path, json={"active": True}).json()["paused"] is False
    assert api(web, "PUT", path, json={"tag_list": ["x"]}).json()["tag_list"] == ["x"]
    assert api(web, "PUT", path, json={}).status_code == 400
    assert api(web, "PUT", path, json={"maximum_timeout": 5}).status_code == 400
    assert api(web, "PUT", path, "", json={"paused": True}).status_code == 401
    assert api(web, "DELETE", path).status_code == 204
    assert api(web, "PUT", path, json={"paused": True}).status_code == 404


def test_version_is_for_users(web: TestClient) -> None:
    assert api(web, "GET", "/version", "").status_code == 401
    assert api(web, "GET", "/version").json()["version"] == "18.5.0"


def test_state_survives_a_restart(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "gitlab", "http://gitlab.test", SECRET, ADMIN)
    with TestClient(create_app(settings)) as first:
        runner = new_runner(first)
    with TestClient(create_app(settings)) as second:
        assert verify(second, runner["token"]) == 200
    assert (tmp_path / "gitlab").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "gitlab").glob("*.*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_control_needs_its_secret(web: TestClient) -> None:
    assert web.get("/lab/v1/jobs").status_code == 401
    assert web.get("/lab/v1/jobs", headers={"Lab-Secret": "x"}).status_code == 401
    assert control(web, "GET", "/jobs").status_code == 200


def test_unknown_address(web: TestClient) -> None:
    answer = web.get("/api/v4/nothing")
    assert answer.status_code == 404
    assert answer.json() == {"error": "404 Not Found"}
