# SPDX-License-Identifier: GPL-3.0-or-later
"""A project whose pipelines run, and a runner by hand, for the contract tests of pipelines."""

from __future__ import annotations

import io
import os
import secrets
import subprocess
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import gitlab as python_gitlab
import requests

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import Project
from tests.contract.servers import Server

SOME_TIME = 60.0
"""A real GitLab makes pipelines, and goes on with them, in the background."""


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Wait until a condition is true, and return what it says."""
    deadline = time.monotonic() + SOME_TIME
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {SOME_TIME:.0f} s: {what}"
        time.sleep(0.1)  # the API has no way to wait
    return found


@dataclass
class HandRunner:
    """A runner whose jobs the test itself does, by the API of runners."""

    server: Server
    token: str

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(
            method, f"{self.server.url}/api/v4{path}", verify=self.server.authority or True,
            timeout=30, **options,
        )  # fmt: skip

    def ask(self) -> dict[str, Any] | None:
        """A job, if there is one now."""
        features = {"cancelable": True, "cancel_gracefully": True, "variables": True,
                    "artifacts": True, "upload_multiple_artifacts": True, "raw_variables": True,
                    "masking": True, "trace_reset": True}  # fmt: skip
        body = {"token": self.token, "system_id": "s_contractests",
                "info": {"name": "contract", "version": "18.5.0", "executor": "shell",
                         "features": features}}  # fmt: skip
        answer = self._send("POST", "/jobs/request", json=body)
        assert answer.status_code in (201, 204), answer.text
        return dict(answer.json()) if answer.status_code == 201 else None

    def take(self, name: str = "") -> dict[str, Any]:
        """The next job, which has this name."""
        job: dict[str, Any] = eventually(self.ask, f"a job {name}")
        assert not name or job["job_info"]["name"] == name
        return job

    def log(self, job: dict[str, Any], text: bytes) -> requests.Response:
        """Send a whole trace."""
        headers = {"JOB-TOKEN": job["token"], "Content-Type": "text/plain",
                   "Content-Range": f"0-{len(text) - 1}"}  # fmt: skip
        return self._send("PATCH", f"/jobs/{job['id']}/trace", headers=headers, data=text)

    def upload(self, job: dict[str, Any], **files: str) -> None:
        """Send an archive of files."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as opened:
            for name, text in files.items():
                opened.writestr(name, text)
        answer = self._send(
            "POST", f"/jobs/{job['id']}/artifacts", headers={"JOB-TOKEN": job["token"]},
            params={"artifact_format": "zip", "artifact_type": "archive"},
            files={"file": ("artifacts.zip", archive.getvalue())},
        )  # fmt: skip
        assert answer.status_code == 201, answer.text

    def download(self, dependency: dict[str, Any]) -> dict[str, str]:
        """The files of a job that another depends on."""
        answer = self._send(
            "GET", f"/jobs/{dependency['id']}/artifacts",
            headers={"JOB-TOKEN": dependency["token"]}, params={"direct_download": "true"},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        return unpacked(answer.content)

    def end(self, job: dict[str, Any], state: str = "success", **fields: Any) -> None:
        """Say how a job ended."""
        body = {"token": job["token"], "state": state, **fields}
        if state == "failed":
            body = {"failure_reason": "script_failure", "exit_code": 1, **body}

        def told() -> bool:
            answer = self._send("PUT", f"/jobs/{job['id']}", json=body)
            assert answer.status_code in (200, 202), answer.text
            return answer.status_code == 200

        eventually(told, "the end of a job to be noted")

    def do(self, name: str, state: str = "success", **fields: Any) -> dict[str, Any]:
        """Take a job and end it."""
        job = self.take(name)
        self.end(job, state, **fields)
        return job


def unpacked(content: bytes) -> dict[str, str]:
    """The files of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()}


def without_git() -> dict[str, str]:
    """The environment without git's settings, which would win over those of a command."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def git(folder: Path, *words: str) -> str:
    """Run git as somebody, and return what it says."""
    person = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    done = subprocess.run(
        ["git", *person, *words], cwd=folder, check=True, timeout=30, capture_output=True, text=True
    )
    return done.stdout.strip()


def variables(job: dict[str, Any]) -> dict[str, str]:
    """A job's variables as its runner sees them: the last of a name counts."""
    return {item["key"]: item["value"] for item in job["variables"]}


@dataclass
class Shop:
    """A project, a runner of its own, and a client."""

    server: Server
    project: Project
    tag: str = field(default_factory=lambda: f"contract-{secrets.token_hex(6)}")

    def __post_init__(self) -> None:
        self.client = python_gitlab.Gitlab(
            self.server.url, private_token=self.server.token,
            ssl_verify=self.server.authority or True,
        )  # fmt: skip
        self.api = self.client.projects.get(self.project.id)
        self.runner = self.new_runner()

    def new_runner(self, **fields: Any) -> HandRunner:
        """A runner for the jobs of this project with its tag."""
        body = {"runner_type": "project_type", "project_id": self.project.id,
                "tag_list": self.tag, "run_untagged": False, **fields}  # fmt: skip
        answer = self.server.call("POST", "/user/runners", **body)
        assert answer.status_code == 201, answer.text
        return HandRunner(self.server, answer.json()["token"])

    def token(self, access_level: int, *scopes: str) -> str:
        """The token of someone with this role in the project."""
        expires = (date.today() + timedelta(days=2)).isoformat()
        made = self.api.access_tokens.create(
            {"name": "contract", "scopes": list(scopes or ("api",)),
             "access_level": access_level, "expires_at": expires}
        )  # fmt: skip
        return str(made.token)

    @property
    def address(self) -> str:
        """Where git finds its repository."""
        return f"{self.server.url}/{self.project.path}.git"

    def as_user(self, token: str) -> Any:
        """The project for whoever has this token."""
        other = python_gitlab.Gitlab(
            self.server.url, private_token=token, ssl_verify=self.server.authority or True
        )
        return other.projects.get(self.project.id)

    def push(self, folder: Path, token: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Push as whoever has this token."""
        return self._git(
            folder, token, "push", f"{self.server.url}/{self.project.path}.git", *words
        )

    def refs(self, token: str) -> subprocess.CompletedProcess[str]:
        """List branches and tags as the user somebody with this token."""
        return self._git(Path("/"), token, "ls-remote", self.address)

    def _git(self, folder: Path, token: str, *words: str) -> subprocess.CompletedProcess[str]:
        helper = '!f() { echo username=somebody; echo "password=$TOKEN"; }; f'
        config = ["-c", "credential.helper=", "-c", f"credential.helper={helper}"]
        if self.server.authority:
            config += ["-c", f"http.sslCAInfo={self.server.authority}"]
        return subprocess.run(
            ["git", *config, *words], cwd=folder, capture_output=True, text=True,
            check=False, timeout=60,
            env={**without_git(), "TOKEN": token, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )  # fmt: skip

    def commit(self, config: str, branch: str = "", message: str = "Configure") -> str:
        """Commit a configuration whose jobs are for this runner; its commit."""
        main = self.project.default_branch
        text = f"default:\n  tags: [{self.tag}]\n{config}"
        branch = branch or main
        there = self.server.client.has_branch(self.project, main)
        has_file = there and self.server.client.file(self.project, branch, ".gitlab-ci.yml")
        if there and branch != main:
            has_file = self.server.client.file(self.project, main, ".gitlab-ci.yml")
        action = {"action": "update" if has_file else "create",
                  "file_path": ".gitlab-ci.yml", "content": text}  # fmt: skip
        new = not self.server.client.has_branch(self.project, branch)
        start = main if there and new else ""
        return self.server.client.commit(self.project, branch, start, message, [action])

    def pipeline(self, config: str, branch: str = "") -> Any:
        """The pipeline that the push of a configuration makes."""
        sha = self.commit(config, branch)
        (found,) = eventually(lambda: self.api.pipelines.list(sha=sha), f"a pipeline of {sha}")
        return self.api.pipelines.get(found.id)

    def states(self, pipeline: Any) -> dict[str, str]:
        """The jobs of a pipeline and their statuses."""
        return {job.name: job.status for job in pipeline.jobs.list(get_all=True)}

    def await_states(self, pipeline: Any, **wanted: str) -> None:
        """Wait for statuses of jobs; blanks in names are underscores."""
        given = {name.replace("_", " "): status for name, status in wanted.items()}
        last: dict[str, str] = {}

        def reached() -> bool:
            last.clear()
            last.update(self.states(pipeline))
            return given.items() <= last.items()

        try:
            eventually(reached, "")
        except AssertionError:
            raise AssertionError(f"wanted {given}, found {last}") from None

    def await_status(self, pipeline: Any, status: str) -> None:
        """Wait for the status of a pipeline."""

        def reached() -> bool:
            pipeline.refresh()
            return bool(pipeline.status == status)

        eventually(reached, f"{status}, now {pipeline.status}")

    def job(self, pipeline: Any, name: str) -> Any:
        """A job with its actions."""
        number = next(job.id for job in pipeline.jobs.list(get_all=True) if job.name == name)
        return self.api.jobs.get(number)


def checksum(text: bytes) -> dict[str, Any]:
    """What the runner says of a trace at its end."""
    return {"checksum": f"crc32:{zlib.crc32(text):08x}", "bytesize": len(text)}
