# SPDX-License-Identifier: GPL-3.0-or-later
"""One job as a host sees it: its folders, addresses and variables."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from standins.gitlab_runner.tokens import short_token
from standins.gitlab_runner.variables import Variable, Variables, decode_variables
from standins.gitlab_runner.version import ARCH, REVISION, VERSION, version_tuple


@dataclass(frozen=True)
class Place:
    """Where a daemon runs its jobs."""

    binary: str
    user: str
    working_directory: str
    system_id: str


class Job:
    """What GitLab sent, the entry of ``[[runners]]`` that takes it, and what follows from both."""

    def __init__(
        self, place: Place, runner: dict[str, Any], payload: dict[str, Any], ca_chain: str
    ) -> None:
        self.place = place
        self.runner = runner
        self.payload = payload
        self.id = int(payload["id"])
        self.slot = 0
        self.project_slot = 0
        self.info: dict[str, Any] = payload.get("job_info") or {}
        self.git: dict[str, Any] = payload.get("git_info") or {}
        self.features: dict[str, Any] = payload.get("features") or {}
        self.project_key = f"{runner.get('token')}/{self.info.get('project_id')}"
        self.timeout = float((payload.get("runner_info") or {}).get("timeout") or 7200)
        self._ca_chain = ca_chain

    def prepare(self) -> None:
        """Work out paths and variables; TypeError for a payload of wrong types."""
        given = decode_variables(self.payload.get("variables") or [])
        strategy = next((item.value for item in reversed(given) if item.key == "GIT_STRATEGY"), "")
        if not strategy:
            for entry in self.runner.get("environment", []):
                key, found, value = entry.partition("=")
                strategy = value if found and key == "GIT_STRATEGY" else strategy
        self.strategy = strategy or ("fetch" if self.payload.get("allow_git_fetch") else "clone")
        work = self.place.working_directory
        root = self.runner.get("builds_dir") or os.path.join(work, "builds")
        url = urllib.parse.urlsplit(self.repo_url)
        project = re.sub(r"\.git$", "", url.path).strip("/") if url.netloc else ""
        project = project or f"project-{self.info.get('project_id', 0)}"
        self.root_dir = str(root)
        self.dir = os.path.join(
            self.root_dir, short_token(str(self.runner["token"])), str(self.project_slot), project
        ) + ("-empty" if self.strategy == "empty" else "")
        self.tmp = f"{self.dir}.tmp"
        cache_root = self.runner.get("cache_dir") or os.path.join(work, "cache")
        self.cache_dir = os.path.join(str(cache_root), project)
        self.variables = Variables([*self._before(), *given, *self._after()], self.tmp)

    @property
    def has_stamps(self) -> bool:
        """Return FF_TIMESTAMPS: the runner's own word, else the job's, else the default."""
        flags = self.runner.get("feature_flags") or {}
        if "FF_TIMESTAMPS" in flags:
            return bool(flags["FF_TIMESTAMPS"])
        said = self.variables.get("FF_TIMESTAMPS").lower()
        return said in ("true", "1") if said else version_tuple() >= (18, 7)

    @property
    def repo_url(self) -> str:
        """Return the address to clone, with the job's token in it."""
        url = str(self.git.get("repo_url") or "")
        if clone_url := self.runner.get("clone_url"):
            base, there = urllib.parse.urlsplit(str(clone_url)), urllib.parse.urlsplit(url)
            host = f"gitlab-ci-token:{self.payload['token']}@{base.netloc}"
            path = base.path.rstrip("/") + there.path
            url = urllib.parse.urlunsplit((base.scheme, host, path, "", ""))
        return url

    @property
    def clean_url(self) -> str:
        """Return the address without credentials."""
        parts = urllib.parse.urlsplit(str(self.git.get("repo_url") or ""))
        host = parts.netloc.rpartition("@")[2]
        return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))

    def _before(self) -> Iterator[Variable]:
        for entry in self.runner.get("environment", []):
            key, found, value = entry.partition("=")
            if found:
                yield Variable(key, value)
        for key, value in {
            "CI_BUILDS_DIR": self.root_dir,
            "CI_PROJECT_DIR": self.dir,
            "CI_CONCURRENT_ID": str(self.slot),
            "CI_CONCURRENT_PROJECT_ID": str(self.project_slot),
            "CI_SERVER": "yes",
            "CI_JOB_STATUS": "running",
            "CI_JOB_TIMEOUT": str(int(self.timeout)),
        }.items():
            yield Variable(key, value, raw=True)
        if self._ca_chain:
            yield Variable("CI_SERVER_TLS_CA_FILE", self._ca_chain, file=True, raw=True)

    def _after(self) -> Iterator[Variable]:
        for key, value in {
            "CI_SHARED_ENVIRONMENT": "true",
            "CI_RUNNER_SHORT_TOKEN": short_token(str(self.runner["token"])),
            "CI_RUNNER_VERSION": VERSION,
            "CI_RUNNER_REVISION": REVISION,
            "CI_RUNNER_EXECUTABLE_ARCH": f"linux/{ARCH}",
            "RUNNER_TEMP_PROJECT_DIR": self.tmp,
        }.items():
            yield Variable(key, value, raw=True)
