# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults, request log without secrets, git over HTTP and the client, over a real socket."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import trustme

from standins.gitlab import Settings
from standins.gitlab.client import LabGitLab, LabGitLabError, LabTimeoutError
from standins.gitlab.redact import Redactor
from standins.gitlab.thread import bound_socket, serving

pytestmark = pytest.mark.long

ADMIN = "glpat-AdministratorsOwn00"
SECRET = "the-lab-secret"


def git(*arguments: str, cwd: Path) -> str:
    environ = {
        # GIT_SSL_CAINFO in the environment beats http.sslCAInfo.
        **{name: value for name, value in os.environ.items() if name != "GIT_SSL_CAINFO"},
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.com",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.com",
        "GIT_TERMINAL_PROMPT": "0",
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        raise LabGitLabError(done.returncode, done.stderr)
    return done.stdout.strip()


def working_tree(folder: Path) -> Path:
    folder.mkdir()
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    (folder / "file").write_text("content\n")
    git("add", ".", cwd=folder)
    git("commit", "--quiet", "--message=first", cwd=folder)
    return folder


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with bound_socket() as bound:
        yield bound


@pytest.fixture
def lab(tmp_path: Path, listener: socket.socket) -> Iterator[LabGitLab]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("127.0.0.1")
    server.private_key_pem.write_to_path(tmp_path / "key.pem")
    for blob in server.cert_chain_pems:
        blob.write_to_path(tmp_path / "cert.pem", append=True)
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    settings = Settings(tmp_path / "gitlab", url, SECRET, ADMIN)
    with (
        serving(settings, listener, tmp_path / "cert.pem", tmp_path / "key.pem"),
        LabGitLab(url, SECRET, ADMIN, tmp_path / "ca.pem") as client,
    ):
        yield client


def verify(lab: LabGitLab, token: str) -> requests.Response:
    return lab._http.post("/api/v4/runners/verify", json={"token": token})


def test_client_round_trip(lab: LabGitLab) -> None:
    assert lab.healthy()
    runner = lab.create_runner(description="d", tag_list=["a"])
    lab.pause(runner.id)
    assert lab.runner(runner.id)["paused"]
    lab.pause(runner.id, False)
    assert verify(lab, runner.token).status_code == 200
    lab.set_runner(runner.id, revoke=True)
    assert verify(lab, runner.token).status_code == 403
    assert lab.managers(runner.id) == []
    lab.delete_runner(runner.id)
    with pytest.raises(LabGitLabError) as refused:
        lab.runner(runner.id)
    assert refused.value.status == 404


def test_wait_job_gives_up(lab: LabGitLab) -> None:
    lab.create_project("g/p")
    job = lab.queue_job("g/p", ["true"], variables={"GIT_STRATEGY": "none"})
    with pytest.raises(LabTimeoutError, match="still pending"):
        lab.wait_job(job, 0.2)
    lab.cancel_job(job)
    assert lab.wait_job(job, 5).state == "canceled"


def test_faults(lab: LabGitLab) -> None:
    token = lab.create_runner().token
    lab.fault(
        "/api/v4/runners/*", "status", status=429, headers={"Retry-After": "1"}, skip=1, count=2
    )
    codes = [verify(lab, token).status_code for _ in range(4)]
    assert codes == [200, 429, 429, 200]
    assert lab.faults()[0]["hits"] == 2
    lab.clear_faults()
    lab.fault("/api/v4/runners/verify", "drop")
    with pytest.raises(requests.ConnectionError):
        verify(lab, token)
    assert verify(lab, token).status_code == 200
    lab.fault("/api/v4/runners/verify", "delay", delay=0.3)
    assert verify(lab, token).elapsed.total_seconds() >= 0.3
    lab.fault("/api/v4/*", "status", method="PUT", status=503, count=None, body_contains="success")
    assert verify(lab, token).status_code == 200
    with pytest.raises(LabGitLabError, match="422"):
        lab.fault("/x", "explode")


def test_git(lab: LabGitLab, tmp_path: Path) -> None:
    source = working_tree(tmp_path / "source")
    project = lab.create_project("group/project", push_from=source)
    head = git("rev-parse", "HEAD", cwd=source)
    job_id = lab.queue_job("group/project", ["true"])
    assert lab.job(job_id).sha == head
    body = {"token": lab.create_runner().token, "system_id": "s_0123456789ab"}
    payload = lab._http.post("/api/v4/jobs/request", json=body).json()
    secure = ("-c", f"http.sslCAInfo={lab.ca_file}")
    url = payload["git_info"]["repo_url"]
    git(*secure, "clone", "--quiet", url, "clone", cwd=tmp_path)
    clone = tmp_path / "clone"
    assert (clone / "file").read_text() == "content\n"
    git(
        *secure,
        "fetch",
        "--quiet",
        "--depth=1",
        "origin",
        payload["git_info"]["refspecs"][0],
        cwd=clone,
    )
    with pytest.raises(LabGitLabError, match="403"):
        git(*secure, "push", "--quiet", "origin", "HEAD:refs/heads/other", cwd=clone)
    plain = project.http_url
    with pytest.raises(LabGitLabError):
        git(*secure, "ls-remote", plain, cwd=tmp_path)
    answer = lab._http.get(f"/{project.path}.git/info/refs?service=git-upload-pack")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    other = lab.create_project("group/other")
    with pytest.raises(LabGitLabError, match="not found"):
        git(*secure, "ls-remote", url.replace(project.path, other.path), cwd=tmp_path)
    reader = lab.create_token("read_repository")
    as_reader = plain.replace("://", f"://any:{reader}@")
    assert head in git(*secure, "ls-remote", as_reader, cwd=tmp_path)
    with pytest.raises(LabGitLabError, match="403"):
        git(*secure, "push", "--quiet", as_reader, "HEAD:refs/heads/x", cwd=source)
    lab.cancel_job(job_id, "canceled")
    with pytest.raises(LabGitLabError):
        git(*secure, "ls-remote", url, cwd=tmp_path)


def test_big_push(lab: LabGitLab, tmp_path: Path) -> None:
    """Above http.postBuffer git sends the pack chunked."""
    source = working_tree(tmp_path / "source")
    (source / "big").write_bytes(os.urandom(3 * 1024 * 1024))
    git("add", ".", cwd=source)
    git("commit", "--quiet", "--message=big", cwd=source)
    lab.create_project("group/big", push_from=source)
    assert lab.job(lab.queue_job("group/big", ["true"])).sha == git("rev-parse", "HEAD", cwd=source)


def test_log_has_no_planted_secret(lab: LabGitLab, tmp_path: Path) -> None:
    planted = {
        "runner": lab.create_runner().token,
        "pat": lab.create_token("api"),
        "masked": "Planted-Masked-Value-1",
        "url": "Planted-Url-Password-2",
        "query": "Planted-Query-Token-3",
        "basic": "Planted-Basic-Password-4",
        "field": "Planted-Field-Password-5",
        "form": "Planted-Form-Token-6",
        "cookie": "Planted-Cookie-7",
        "admin": ADMIN,
    }
    lab.create_project("g/p")
    job_id = lab.queue_job(
        "g/p",
        ["true"],
        variables=[
            {"key": "GIT_STRATEGY", "value": "none"},
            {"key": "M", "value": planted["masked"], "masked": True},
        ],
    )
    verify(lab, planted["runner"])
    body = {"token": planted["runner"], "system_id": "s_0123456789ab"}
    payload = lab._http.post("/api/v4/jobs/request", json=body).json()
    planted["job"] = payload["token"]
    lab._http.put(f"/api/v4/jobs/{job_id}", json={"token": payload["token"], "state": "running"})
    lab._http.put(
        f"/api/v4/jobs/{job_id}",
        headers={"JOB-TOKEN": payload["token"]},
        json={
            "state": "running",
            "nested": [{"password": planted["field"]}],
            "url": f"https://user:{planted['url']}@host/x",
            "note": planted["masked"],
        },
    )
    basic = base64.b64encode(f"u:{planted['basic']}".encode()).decode()
    planted["encoded"] = basic
    lab._http.get(
        f"/api/v4/version?private_token={planted['query']}&x=1",
        headers={
            "Authorization": f"Basic {basic}",
            "Cookie": f"s={planted['cookie']}",
            "Referer": f"https://u:{planted['url']}@host/",
        },
    )
    lab._http.post("/api/v4/runners", data={"token": planted["form"]})
    lab.api("GET", "/version", token=planted["pat"])
    log = (tmp_path / "gitlab" / "requests.jsonl").read_text()
    assert [name for name, value in planted.items() if value in log] == []
    entries = [json.loads(line) for line in log.splitlines()]
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    # The search works: what is not secret is there.
    assert "s_0123456789ab" in log
    assert "x=1" in log


def test_requests_since(lab: LabGitLab) -> None:
    token = lab.create_runner().token
    last = lab.last_request()
    verify(lab, token)
    entry = lab.wait_request(lambda e: e["path"].endswith("/verify"), 5, since=last)
    assert (entry["method"], entry["status"]) == ("POST", 200)
    with pytest.raises(LabTimeoutError):
        lab.wait_request(lambda e: False, 0.2, since=last)


def test_redactor() -> None:
    cut = Redactor(["known-value", "known-value-longer"])
    assert "known" not in cut.text("a known-value-longer b known-value")
    assert cut.text("https://a:b@host/p") == "https://(hidden)@host/p"
    assert cut.json({"tokens_left": 3, "token": None}) == {"tokens_left": 3, "token": None}
    assert cut.json({"token_expires_at": "x"}) == {"token_expires_at": "x"}
    masked = cut.json([{"key": "A", "value": "v", "masked": True}])
    assert masked == [{"key": "A", "value": "(hidden)", "masked": True}]


def test_cancel_during_an_upload_is_not_lost(lab: LabGitLab) -> None:
    """The body of an upload comes in while the job is cancelled."""
    lab.create_project("g/p")
    job_id = lab.queue_job("g/p", ["true"], variables={"GIT_STRATEGY": "none"})
    body = {"token": lab.create_runner().token, "system_id": "s_0123456789ab"}
    token = lab._http.post("/api/v4/jobs/request", json=body).json()["token"]

    def parts() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\nzip'
        lab.cancel_job(job_id, "canceling")
        yield b"\r\n--b--\r\n"

    headers = {"JOB-TOKEN": token, "Content-Type": "multipart/form-data; boundary=b"}
    answer = lab._http.post(f"/api/v4/jobs/{job_id}/artifacts", headers=headers, data=parts())
    assert answer.status_code == 201
    job = lab.job(job_id)
    assert (job.state, len(job.uploads)) == ("canceling", 1)
