# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the lab's GitLab about jobs, as a runner sees them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from standins.gitlab import Settings, create_app

ADMIN = "glpat-AdministratorsOwn00"
SECRET = "the-lab-secret"
NO_GIT = [{"key": "GIT_STRATEGY", "value": "none"}]


class World:
    """A lab GitLab with one project and one runner."""

    def __init__(self, web: TestClient) -> None:
        self.web = web
        answer = self.control("POST", "/projects", json={"path": "group/project"})
        self.project_id = answer.json()["id"]
        self.runner = self.new_runner()

    def control(self, method: str, path: str, **options: Any) -> Any:
        headers = {"Lab-Secret": SECRET}
        return self.web.request(method, f"/lab/v1{path}", headers=headers, **options)

    def api(self, method: str, path: str, **options: Any) -> Any:
        headers = {"PRIVATE-TOKEN": ADMIN}
        return self.web.request(method, f"/api/v4{path}", headers=headers, **options)

    def new_runner(self, **fields: Any) -> dict[str, Any]:
        body = {"runner_type": "instance_type", **fields}
        return dict(self.api("POST", "/user/runners", json=body).json())

    def queue(self, **fields: Any) -> int:
        body = {"project": "group/project", "script": ["true"], "variables": NO_GIT, **fields}
        answer = self.control("POST", "/jobs", json=body)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["id"])

    def request(self, token: str | None = None, **fields: Any) -> Any:
        body = {"token": token or self.runner["token"], "system_id": "s_0123456789ab", **fields}
        return self.web.post("/api/v4/jobs/request", json=body)

    def take(self, **fields: Any) -> dict[str, Any]:
        self.queue(**fields)
        answer = self.request()
        assert answer.status_code == 201
        return dict(answer.json())

    def put(self, job: dict[str, Any], state: str, **fields: Any) -> Any:
        body = {"token": job["token"], "state": state, **fields}
        return self.web.put(f"/api/v4/jobs/{job['id']}", json=body)

    def patch(self, job: dict[str, Any], start: int, data: bytes, **headers: str) -> Any:
        fields = {
            "JOB-TOKEN": job["token"],
            "Content-Type": "text/plain",
            "Content-Range": f"{start}-{start + len(data) - 1}",
            **headers,
        }
        path = f"/api/v4/jobs/{job['id']}/trace"
        return self.web.patch(path, headers=fields, content=data)

    def job(self, job_id: int) -> dict[str, Any]:
        return dict(self.control("GET", f"/jobs/{job_id}").json())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    settings = Settings(tmp_path / "gitlab", "https://gitlab.test:8443", SECRET, ADMIN)
    with TestClient(create_app(settings)) as web:
        yield World(web)


def test_request_without_jobs(world: World) -> None:
    answer = world.request()
    assert answer.status_code == 204
    seen = answer.headers["X-GitLab-Last-Update"]
    assert world.request(last_update=seen).status_code == 204
    world.queue()
    assert world.request(last_update=seen).status_code == 201
    assert world.request("glrt-unknownunknownunknow").status_code == 403
    assert world.web.post("/api/v4/jobs/request", json={}).status_code == 400


def test_payload_types(world: World) -> None:
    """What the runner decodes into int64, string, bool: common/spec/spec.go."""
    variables = [*NO_GIT, {"key": "SECRET", "value": "s3cret-value", "masked": True}]
    payload = world.take(variables=variables, after_script=["echo after"], timeout=77)
    assert isinstance(payload["id"], int)
    info = payload["job_info"]
    assert isinstance(info["project_jobs_running_on_instance_runners_count"], str)
    for name in ("project_id", "pipeline_id", "queue_size", "user_id"):
        assert isinstance(info[name], int), name
    for name in ("name", "stage", "project_name", "instance_id"):
        assert isinstance(info[name], str), name
    for item in payload["variables"]:
        assert isinstance(item["key"], str), item
        assert isinstance(item["value"], str), item
        assert all(isinstance(item[flag], bool) for flag in ("public", "masked", "file", "raw"))
    assert isinstance(payload["git_info"]["depth"], int)
    assert all(isinstance(spec, str) for spec in payload["git_info"]["refspecs"])
    assert payload["runner_info"]["timeout"] == 77
    assert [step["name"] for step in payload["steps"]] == ["script", "after_script"]
    assert "run" not in payload
    assert payload["image"] is None
    values = {item["key"]: item for item in payload["variables"]}
    assert values["CI_JOB_TOKEN"]["masked"]
    assert values["SECRET"]["masked"]
    assert values["CI_PROJECT_PATH"]["value"] == "group/project"
    assert values["CI_SERVER_PORT"]["value"] == "8443"
    assert payload["token"] in payload["git_info"]["repo_url"]


def test_job_is_given_out_once(world: World) -> None:
    job_id = world.queue()
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: world.request().status_code, range(8)))
    assert sorted(codes) == [201] + [204] * 7
    job = world.job(job_id)
    assert job["state"] == "running"
    assert len(job["pickups"]) == 1
    assert job["system_id"] == "s_0123456789ab"


def test_a_groups_runner_takes_jobs_of_its_projects(world: World) -> None:
    world.control("POST", "/projects", json={"path": "other/project"})
    world.control("POST", "/projects", json={"path": "group/part/project"})
    number = world.api("GET", "/groups/group").json()["id"]
    token = world.new_runner(runner_type="group_type", group_id=number)["token"]
    for project, code in (
        ("group/project", 201),
        ("other/project", 204),
        ("group/part/project", 201),
    ):
        world.queue(project=project)
        assert world.request(token).status_code == code, project


@pytest.mark.parametrize(
    ("runner", "job", "code"),
    [
        ({}, {}, 201),
        ({"paused": True}, {}, 204),
        ({"tag_list": "a,b"}, {"tags": ["a"]}, 201),
        ({"tag_list": "a"}, {"tags": ["a", "b"]}, 204),
        ({"tag_list": "a", "run_untagged": False}, {}, 204),
        ({}, {"tags": ["a"]}, 204),
        ({"access_level": "ref_protected"}, {}, 204),
        ({"access_level": "ref_protected"}, {"protected": True}, 201),
    ],
)
def test_matching(world: World, runner: dict[str, Any], job: dict[str, Any], code: int) -> None:
    token = world.new_runner(**runner)["token"]
    world.queue(**job)
    assert world.request(token).status_code == code


def test_project_runner_serves_its_project_only(world: World) -> None:
    other = world.control("POST", "/projects", json={"path": "group/other"}).json()["id"]
    token = world.new_runner(runner_type="project_type", project_id=other)["token"]
    world.queue()
    assert world.request(token).status_code == 204
    world.queue(project="group/other")
    assert world.request(token).status_code == 201


def test_runner_timeout_bounds_the_jobs(world: World) -> None:
    token = world.new_runner(maximum_timeout=600)["token"]
    world.queue(timeout=7200)
    assert world.request(token).json()["runner_info"]["timeout"] == 600


def test_trace(world: World) -> None:
    job = world.take()
    answer = world.patch(job, 0, b"hello ")
    assert answer.status_code == 202
    assert answer.headers["Range"] == "0-6"
    assert answer.headers["Job-Status"] == "running"
    assert answer.headers["X-GitLab-Trace-Update-Interval"] == "3"
    wrong = world.patch(job, 9, b"world")
    assert wrong.status_code == 416
    assert wrong.headers["Range"] == "0-6"
    assert world.patch(job, 6, b"world").status_code == 202
    trace = world.control("GET", f"/jobs/{job['id']}/trace")
    assert trace.content == b"hello world"
    assert world.patch(job, 11, b"x", **{"Content-Range": "11-20"}).status_code == 400
    assert world.patch({**job, "token": "wrong"}, 11, b"x").status_code == 403
    assert world.patch({**job, "id": 999}, 11, b"x").status_code == 404
    headers = {"JOB-TOKEN": job["token"], "Content-Type": "text/plain"}
    path = f"/api/v4/jobs/{job['id']}/trace"
    assert world.web.patch(path, headers=headers, content=b"x").status_code == 400


def test_final_update_checks_the_trace(world: World) -> None:
    job = world.take()
    world.patch(job, 0, b"hello")
    wrong = {"checksum": "crc32:00000000", "bytesize": 5}
    assert world.put(job, "success", output=wrong).status_code == 412
    assert world.job(job["id"])["state"] == "running"
    right = {"checksum": f"crc32:{zlib.crc32(b'hello'):08x}", "bytesize": 5}
    assert world.put(job, "success", output=right).status_code == 200
    state = world.job(job["id"])
    assert (state["state"], state["checksum_ok"]) == ("success", True)
    late = world.patch(job, 5, b"more")
    assert late.status_code == 403
    assert late.headers["Job-Status"] == "success"
    assert world.put(job, "success").status_code == 403


def test_updates(world: World) -> None:
    job = world.take()
    assert world.put(job, "running").status_code == 200
    assert world.put(job, "canceled").status_code == 400
    assert world.put({**job, "token": "wrong"}, "running").status_code == 403
    answer = world.put(job, "failed", failure_reason="script_failure", exit_code=3)
    assert answer.status_code == 200
    state = world.job(job["id"])
    assert (state["failure_reason"], state["exit_code"]) == ("script_failure", 3)


def test_graceful_cancel(world: World) -> None:
    job = world.take()
    world.control("POST", f"/jobs/{job['id']}/cancel", json={"how": "canceling"})
    answer = world.patch(job, 0, b"x")
    assert (answer.status_code, answer.headers["Job-Status"]) == (202, "canceling")
    world.put(job, "failed", failure_reason="unknown_failure")
    assert world.job(job["id"])["state"] == "canceled"


def test_cancel_at_once(world: World) -> None:
    job = world.take()
    world.control("POST", f"/jobs/{job['id']}/cancel", json={"how": "canceled"})
    answer = world.patch(job, 0, b"x")
    assert (answer.status_code, answer.headers["Job-Status"]) == (403, "canceled")
    pending = world.queue()
    world.control("POST", f"/jobs/{pending}/cancel", json={})
    assert world.job(pending)["state"] == "canceled"
    assert world.request().status_code == 204
    again = world.control("POST", f"/jobs/{pending}/cancel", json={})
    assert again.status_code == 409


def upload(
    world: World,
    job: dict[str, Any],
    data: bytes,
    query: str = "",
    name: str = "file",
    token: str | None = None,
) -> Any:
    path = f"/api/v4/jobs/{job['id']}/artifacts?artifact_format=zip&artifact_type=archive{query}"
    headers = {"JOB-TOKEN": job["token"] if token is None else token}
    return world.web.post(path, headers=headers, files={name: ("artifacts.zip", data)})


def test_artifacts(world: World) -> None:
    job = world.take()
    assert upload(world, job, b"zip", token="wrong").status_code == 403
    assert upload(world, job, b"zip", name="other").status_code == 400
    assert upload(world, job, b"zip", "&expire_in=1+week").status_code == 201
    assert upload(world, job, b"zip").status_code == 400
    assert world.job(job["id"])["uploads"][0]["expire_in"] == "1 week"
    assert world.control("GET", f"/jobs/{job['id']}/artifacts/archive").content == b"zip"
    world.put(job, "success")
    assert upload(world, job, b"zip").status_code == 403
    by_user = world.api("GET", f"/projects/{world.project_id}/jobs/{job['id']}/artifacts")
    assert by_user.content == b"zip"

    second = world.take(dependencies=[job["id"]])
    dependency = second["dependencies"][0]
    assert dependency["artifacts_file"] == {"filename": "artifacts.zip", "size": 3}
    path = f"/api/v4/jobs/{dependency['id']}/artifacts"

    def download(token: str) -> Any:
        return world.web.get(path, headers={"JOB-TOKEN": token} if token else {})

    assert download(dependency["token"]).content == b"zip"
    assert download("").status_code == 401
    assert download("wrong").status_code == 403


def test_dotenv_reaches_the_next_job(world: World) -> None:
    job = world.take()
    path = f"/api/v4/jobs/{job['id']}/artifacts?artifact_type=dotenv&artifact_format="
    headers = {"JOB-TOKEN": job["token"]}

    def send(kind: str, data: bytes) -> int:
        files = {"file": ("a.gz", data)}
        return int(world.web.post(path + kind, headers=headers, files=files).status_code)

    assert send("zip", gzip.compress(b"A=1")) == 400
    assert send("gzip", b"no gzip") == 400
    assert send("gzip", gzip.compress(b"A=1\nB = two words\n")) == 201
    world.put(job, "success")
    values = {v["key"]: v["value"] for v in world.take(dependencies=[job["id"]])["variables"]}
    assert (values["A"], values["B"]) == ("1", "two words")


def test_runners_jobs(world: World) -> None:
    job = world.take()
    path = f"/runners/{world.runner['id']}/jobs"
    assert [j["id"] for j in world.api("GET", path, params={"status": "running"}).json()] == [
        job["id"]
    ]
    other = world.api("GET", path, params={"status": "running", "system_id": "s_other"})
    assert other.json() == []
    assert world.api("GET", path, params={"status": "nonsense"}).status_code == 400
    managers = world.api("GET", f"/runners/{world.runner['id']}/managers").json()
    assert managers[0]["job_execution_status"] == "active"


def test_queue_refuses_what_cannot_run(world: World) -> None:
    body: dict[str, Any] = {"project": "group/project", "script": ["true"]}
    for extra in (
        {},
        {"sha": "a" * 40},
        {"variables": NO_GIT, "dependencies": [99]},
        {"variables": NO_GIT, "colour": "red"},
        {"variables": [{"key": "X", "value": 1}]},
    ):
        answer = world.control("POST", "/jobs", json={**body, **extra})
        assert answer.status_code == 422, extra
    missing = world.control("POST", "/jobs", json={**body, "project": "no/such"})
    assert missing.status_code == 404


def test_project_paths(world: World) -> None:
    for path in ("single", "a/b.git", "a/../b", "a/-b", "group/project", "GROUP/Project", ""):
        assert world.control("POST", "/projects", json={"path": path}).status_code == 400, path
    assert world.api("GET", "/projects/group%2Fproject").json()["id"] == world.project_id
    assert world.api("GET", f"/projects/{world.project_id}").status_code == 200
    assert world.api("GET", "/projects/99").status_code == 404
    made = world.api("POST", "/projects", json={"name": "own"})
    assert made.json()["path_with_namespace"] == "root/own"
