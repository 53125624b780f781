# SPDX-License-Identifier: GPL-3.0-or-later
"""Typed client of the lab's GitLab: GitLab's own API where there is one, else the control API."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, cast
from urllib.parse import quote

import requests

Cancel = Literal["canceling", "canceled", "failed"]


_STAMP = re.compile(
    r"(^|\n)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z [0-9a-f]{2}[EO]([ +])", re.IGNORECASE
)
"""``2026-11-28T17:29:47.614068Z 00O `` (gitlab-runner 18.7 and later)."""


class LabGitLabError(Exception):
    """The lab's GitLab answered with an error: ``status`` and message."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"the lab's GitLab answered {status}: {text}")
        self.status = status


class LabTimeoutError(LabGitLabError):
    """A condition was not met in time."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)
        self.status = 0


@dataclass(frozen=True)
class RunnerCreated:
    """What ``POST /user/runners`` answers. The token is told only once."""

    id: int
    token: str
    token_expires_at: str | None


@dataclass(frozen=True)
class ProjectInfo:
    """A project of the lab."""

    id: int
    path: str
    http_url: str


@dataclass(frozen=True)
class JobInfo:
    """A job as the lab's GitLab knows it. Times in seconds since the epoch."""

    id: int
    name: str
    state: str
    revision: int
    pipeline_id: int
    sha: str
    runner_id: int | None
    system_id: str | None
    failure_reason: str | None
    exit_code: int | None
    checksum_ok: bool | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    trace_size: int
    finished: bool
    active: bool
    pickups: list[dict[str, Any]]
    uploads: list[dict[str, Any]]


class _Session(requests.Session):
    """Connections to one server; requests name the path alone."""

    def __init__(self, base_url: str, ca_file: Path | None, timeout: float) -> None:
        super().__init__()
        # Ignore proxies in the environment.
        self.trust_env = False
        self.verify = True if ca_file is None else str(ca_file)
        self._base_url, self._timeout = base_url, timeout

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        """Send a request; redirections are not followed."""
        settings = {"timeout": self._timeout, "allow_redirects": False, **options}
        return super().request(method, self._base_url + url, **settings)


class LabGitLab:
    """Client of one lab GitLab. ``timeout`` in seconds."""

    def __init__(
        self,
        base_url: str,
        secret: str,
        admin_token: str,
        ca_file: Path | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.ca_file = ca_file
        self._admin_token = admin_token
        self._secret = secret
        self._http = _Session(self.base_url, ca_file, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # -- GitLab's own API ---------------------------------------------------------------------

    def api(self, method: str, path: str, token: str | None = None, **options: Any) -> Any:
        """Call GitLab's API (``path`` below ``/api/v4``) as the administrator or with ``token``."""
        headers = {"PRIVATE-TOKEN": self._admin_token if token is None else token}
        return self._call(method, f"/api/v4{path}", headers, **options)

    def download(self, path: str) -> bytes:
        """What GitLab's API answers where that is no JSON: a trace, an archive."""
        headers = {"PRIVATE-TOKEN": self._admin_token}
        return self._raw("GET", f"/api/v4{path}", headers)

    def create_runner(self, **fields: object) -> RunnerCreated:
        """Create a runner (``runner_type`` defaults to instance_type)."""
        body = {"runner_type": "instance_type", **fields}
        answer = self.api("POST", "/user/runners", json=body)
        return RunnerCreated(answer["id"], answer["token"], answer["token_expires_at"])

    def pause(self, runner_id: int, paused: bool = True) -> None:
        """Pause or resume a runner."""
        self.api("PUT", f"/runners/{runner_id}", json={"paused": paused})

    def update_runner(self, runner_id: int, **fields: object) -> dict[str, Any]:
        """Change a runner's tags, description and so on."""
        return cast(dict[str, Any], self.api("PUT", f"/runners/{runner_id}", json=fields))

    def runner(self, runner_id: int) -> dict[str, Any]:
        """Return a runner's details."""
        return cast(dict[str, Any], self.api("GET", f"/runners/{runner_id}"))

    def delete_runner(self, runner_id: int) -> None:
        """Delete a runner."""
        self.api("DELETE", f"/runners/{runner_id}")

    def managers(self, runner_id: int) -> list[dict[str, Any]]:
        """Return the hosts that use a runner's token."""
        return cast(list[dict[str, Any]], self.api("GET", f"/runners/{runner_id}/managers"))

    def project(self, path: str) -> ProjectInfo:
        """Return a project by its full path."""
        return _project(self.api("GET", f"/projects/{quote(path, safe='')}"))

    # -- control API --------------------------------------------------------------------------

    def control(self, method: str, path: str, **options: Any) -> Any:
        """Call the control API (``path`` below ``/lab/v1``)."""
        return self._call(method, f"/lab/v1{path}", {"Lab-Secret": self._secret}, **options)

    def healthy(self) -> bool:
        """Say whether the server answers."""
        try:
            return bool(self.control("GET", "/health")["status"] == "ok")
        except (requests.RequestException, LabGitLabError):
            return False

    def create_token(self, *scopes: str) -> str:
        """Make a personal access token."""
        return str(self.control("POST", "/tokens", json={"scopes": list(scopes)})["token"])

    def create_project(self, path: str, push_from: Path | None = None) -> ProjectInfo:
        """Make a project; with ``push_from`` push that working tree's HEAD as its main branch."""
        project = _project(self.control("POST", "/projects", json={"path": path}))
        if push_from is not None:
            self.push(project, push_from, "HEAD:refs/heads/main")
        return project

    def address(self, project: ProjectInfo) -> str:
        """Where git finds a project's repository."""
        return f"{self.base_url}/{project.path}.git"

    def git(self, *words: str, timeout: float = 120) -> str:
        """Run git, which knows this server's user; its output. LabGitLabError if it fails."""
        # The token comes from the environment: a command line can be read by every user.
        helper = '!f() { echo username=lab; echo "password=$LAB_GIT_PASSWORD"; }; f'
        config = ["-c", "credential.helper=", "-c", f"credential.helper={helper}"]
        if self.ca_file is not None:
            config += ["-c", f"http.sslCAInfo={self.ca_file}"]
        done = subprocess.run(
            ["git", *config, *words],
            env={
                **_git_environ(),
                "LAB_GIT_PASSWORD": self._admin_token,
                "GIT_TERMINAL_PROMPT": "0",
            },
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            verb = next((word for word in words if word in ("clone", "push")), words[0])
            raise LabGitLabError(0, f"git {verb} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def push(self, project: ProjectInfo, source: Path, *words: str, timeout: float = 120) -> str:
        """Push by real git over smart HTTP and return the commit of ``source``'s HEAD."""
        options = [word for word in words if word.startswith("--")]
        refspecs = [word for word in words if not word.startswith("--")]
        push = ("push", "--quiet", *options, self.address(project), *refspecs)
        self.git("-C", str(source), *push, timeout=timeout)
        return self.git("-C", str(source), "rev-parse", "HEAD")

    def queue_job(
        self,
        project: str,
        script: Sequence[str],
        *,
        variables: dict[str, str] | Sequence[dict[str, Any]] = (),
        **options: Any,
    ) -> int:
        """Queue a job and return its id.

        ``variables`` is a mapping, or a list of objects with key, value, public, masked, file,
        raw. Options: ref, ref_type, sha, name, stage, after_script, artifacts (objects with
        paths, name, when, expire_in, …), cache, dependencies, tags, protected, timeout (s),
        depth, allow_git_fetch, hooks, payload_overrides.
        """
        if isinstance(variables, dict):
            variables = [{"key": key, "value": value} for key, value in variables.items()]
        body = {"project": project, "script": list(script), "variables": list(variables)}
        return int(self.control("POST", "/jobs", json={**body, **options})["id"])

    def job(self, job_id: int) -> JobInfo:
        """Return a job."""
        return _job(self.control("GET", f"/jobs/{job_id}"))

    def trace(self, job_id: int) -> str:
        """Return a job's trace so far, as GitLab shows it: without the times of its lines."""
        return without_stamps(self.raw_trace(job_id))

    def raw_trace(self, job_id: int) -> str:
        """Return a job's trace so far, as the runner sent it."""
        return self._raw("GET", f"/lab/v1/jobs/{job_id}/trace").decode("utf-8", "replace")

    def artifacts(self, job_id: int, kind: str = "archive") -> bytes:
        """Return an artifact of a job: the zip, unless another kind is asked for."""
        return self._raw("GET", f"/lab/v1/jobs/{job_id}/artifacts/{kind}")

    def cancel_job(self, job_id: int, how: Cancel = "canceling") -> JobInfo:
        """Cancel a job, gracefully or immediately."""
        return _job(self.control("POST", f"/jobs/{job_id}/cancel", json={"how": how}))

    def wait_for_job(
        self,
        job_id: int,
        condition: Callable[[JobInfo], bool],
        timeout: float,
        on_progress: Callable[[JobInfo], None] | None = None,
    ) -> JobInfo:
        """Wait until ``condition`` holds for a job; LabTimeoutError with its state otherwise."""
        deadline = time.monotonic() + timeout
        job = self.job(job_id)
        while not condition(job):
            left = deadline - time.monotonic()
            if left <= 0:
                raise LabTimeoutError(f"job {job_id} is still {job.state} after {timeout:g} s")
            query = {"after": job.revision, "wait": min(left, 10.0)}
            job = _job(self.control("GET", f"/jobs/{job_id}", params=query))
            if on_progress is not None:
                on_progress(job)
        return job

    def wait_job(
        self,
        job_id: int,
        timeout: float,
        on_progress: Callable[[JobInfo], None] | None = None,
    ) -> JobInfo:
        """Wait until a job has ended (``timeout`` in seconds)."""
        return self.wait_for_job(job_id, lambda job: job.finished, timeout, on_progress)

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the request log after number ``since`` (secrets are cut)."""
        answer = self.control("GET", "/requests", params={"since": since})
        return cast(list[dict[str, Any]], answer["requests"])

    def last_request(self) -> int:
        """Return the number of the last logged request."""
        return int(self.control("GET", "/requests", params={"since": 2**53})["last"])

    def wait_request(
        self, condition: Callable[[dict[str, Any]], bool], timeout: float, since: int = 0
    ) -> dict[str, Any]:
        """Wait for a request after number ``since`` that fits; LabTimeoutError otherwise."""
        deadline = time.monotonic() + timeout
        wait = 0.0
        while True:
            query = {"since": since, "wait": wait}
            for entry in self.control("GET", "/requests", params=query)["requests"]:
                since = max(since, int(entry["seq"]))
                if condition(entry):
                    return cast(dict[str, Any], entry)
            wait = min(deadline - time.monotonic(), 10.0)
            if wait <= 0:
                raise LabTimeoutError(f"no fitting request within {timeout:g} s")

    def fault(self, path: str, kind: str, **options: Any) -> None:
        """Switch a fault on: method, count, skip, status, delay, headers, body, body_contains."""
        self.control("POST", "/faults", json={"path": path, "kind": kind, **options})

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults and their hits."""
        return cast(list[dict[str, Any]], self.control("GET", "/faults"))

    def clear_faults(self) -> None:
        """Switch all faults off."""
        self.control("DELETE", "/faults")

    def set_runner(
        self,
        runner_id: int,
        *,
        expires_in: float | None = None,
        token_ttl: float | None = None,
        revoke: bool = False,
        token: str = "",
    ) -> dict[str, Any]:
        """Make a runner's token expire (seconds from now), renewed ones too, revoke or set it."""
        times = {"expires_in": expires_in, "token_ttl": token_ttl}
        body = {**times, "revoke": revoke, "token": token}
        return cast(dict[str, Any], self.control("PATCH", f"/runners/{runner_id}", json=body))

    # -- plumbing -----------------------------------------------------------------------------

    def _call(self, method: str, path: str, headers: dict[str, str], **options: Any) -> Any:
        answer = self._http.request(method, path, headers=headers, **options)
        if not answer.ok:
            raise LabGitLabError(answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def _raw(self, method: str, path: str, headers: dict[str, str] | None = None) -> bytes:
        known = {"Lab-Secret": self._secret} if headers is None else headers
        answer = self._http.request(method, path, headers=known)
        if not answer.ok:
            raise LabGitLabError(answer.status_code, answer.text)
        return answer.content


def without_stamps(trace: str) -> str:
    """The trace without what FF_TIMESTAMPS puts before each line: time, stream, a blank or a plus.

    A plus goes on with the line before.
    """
    return _STAMP.sub(lambda found: "" if found[2] == "+" else found[1], trace)


def _project(answer: dict[str, Any]) -> ProjectInfo:
    return ProjectInfo(answer["id"], answer["path_with_namespace"], answer["http_url_to_repo"])


def _job(answer: dict[str, Any]) -> JobInfo:
    return JobInfo(**{field.name: answer[field.name] for field in fields(JobInfo)})


def _git_environ() -> dict[str, str]:
    """Return the environment for git without variables that select another repository."""
    hidden = (
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_SSL_CAINFO",
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    )
    return {name: value for name, value in os.environ.items() if name not in hidden}
