# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripts of a job's stages."""

from __future__ import annotations

import os
import shlex
import urllib.parse
from collections.abc import Iterator
from typing import Any

from standins.gitlab_runner.job import Job
from standins.gitlab_runner.log import YELLOW
from standins.gitlab_runner.script import Script
from standins.gitlab_runner.variables import expand
from standins.gitlab_runner.version import ARCH, NAME, VERSION, version_tuple


class JobError(Exception):
    """A job that failed, with what GitLab is told of it."""

    def __init__(self, words: str, reason: str, exit_code: int = 0) -> None:
        super().__init__(words)
        self.reason = reason
        self.exit_code = exit_code


class Stages:
    """Writes each stage's script; None where a stage has nothing to do."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def prepare(self) -> Script:
        """Say where the job runs."""
        script = Script(self.job.tmp)
        script.line('echo "Running on $(hostname)..."')
        self._remove_env_file(script)
        return script

    def _remove_env_file(self, script: Script) -> None:
        # Up to 18 the file stays, and with it the variables, for the next job in this folder.
        if version_tuple() >= (19,):
            script.remove(f"{self.job.tmp}/gitlab_runner_env")

    def get_sources(self) -> Script:
        """Clone or fetch the project, with the hooks around it."""
        script = Script(self.job.tmp)
        script.exports(self.job.variables)
        script.line("export GIT_TERMINAL_PROMPT=0 GCM_INTERACTIVE=Never")
        given = self.job.payload.get("hooks") or []
        hooks = {item["name"]: item.get("script") or [] for item in given}
        if self.job.strategy in ("none", "empty"):
            script.notice(
                "Skipping Git repository setup"
                + (" and creating an empty build directory" if self.job.strategy == "empty" else "")
            )
            if self.job.strategy == "empty":
                script.remove_dir(self.job.dir)
            script.command("mkdir", "-p", self.job.dir)
            if self.job.variables.get("GIT_CHECKOUT").lower() != "false":
                script.notice("Skipping Git checkout")
            script.notice("Skipping Git submodules setup")
            return script
        if self.job.strategy not in ("clone", "fetch"):
            raise JobError("unknown GIT_STRATEGY", "runner_system_failure")
        own = str(self.job.runner.get("pre_get_sources_script") or "")
        script.user_commands([*([own] if own else []), *hooks.get("pre_get_sources_script", [])])
        self._fetch(script)
        own = str(self.job.runner.get("post_get_sources_script") or "")
        script.user_commands([*hooks.get("post_get_sources_script", []), *([own] if own else [])])
        return script

    def _fetch(self, script: Script) -> None:
        sha = str(self.job.git.get("sha") or "")
        if len(sha) < 8:
            raise JobError(
                "panic: runtime error: slice bounds out of range [:8]", "runner_system_failure"
            )
        depth = int(self.job.git.get("depth") or 0)
        template = self._git_template(script)
        if self.job.strategy == "clone":
            script.remove_dir(self.job.dir)
        script.notice(
            f"Fetching changes with git depth set to {depth}..." if depth else "Fetching changes..."
        )
        script.command("git", "init", self.job.dir, "--template", template)
        script.command("cd", self.job.dir)
        url = shlex.quote(self.job.repo_url)
        script.line(f"if git remote add origin {url} >/dev/null 2>&1 ; then")
        script.notice("Created fresh repository.")
        script.line(f"else git remote set-url origin {url}")
        script.line("fi")
        agent = f"http.userAgent={NAME} {VERSION} linux/{ARCH}"
        flags = self.job.variables.get("GIT_FETCH_EXTRA_FLAGS") or "--prune --quiet"
        extra = [] if flags == "none" else flags.split()
        fetch = [
            "git",
            "-c",
            agent,
            "fetch",
            "origin",
            "--no-recurse-submodules",
            *(self.job.git.get("refspecs") or []),
        ]
        if depth:
            script.command(*fetch, "--depth", str(depth), *extra)
        else:
            words = " ".join(shlex.quote(word) for word in [*fetch, *extra])
            script.line(f"if [ -e .git/shallow ]; then {words} --unshallow; else {words}; fi")
        self._check_out(script, sha)

    def _git_template(self, script: Script) -> str:
        """Remove what a killed job has left in .git, and write git's settings for this one."""
        git_dir = f"{self.job.dir}/.git"
        for name in (
            "index.lock",
            "shallow.lock",
            "HEAD.lock",
            "hooks/post-checkout",
            "config.lock",
        ):
            script.remove(f"{git_dir}/{name}")
        refs = shlex.quote(f"{git_dir}/refs")
        script.line(f"if [ -d {refs} ]; then find {refs} -name '*.lock' -type f -delete; fi")
        template = f"{self.job.tmp}/git-template"
        script.command("mkdir", "-p", template)
        config = f"{template}/config"
        settings = {
            "init.defaultBranch": "none",
            "fetch.recurseSubmodules": "false",
            "credential.interactive": "never",
            "gc.autoDetach": "false",
        }
        parts = urllib.parse.urlsplit(self.job.repo_url)
        host = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        if ca_file := self.job.variables.get("CI_SERVER_TLS_CA_FILE"):
            settings[f"http.{host}.sslCAInfo"] = ca_file
        for key, value in settings.items():
            script.command("git", "config", "-f", config, key, value)
        return template

    def _check_out(self, script: Script, sha: str) -> None:
        if self.job.variables.get("GIT_CHECKOUT").lower() == "false":
            script.notice("Skipping Git checkout")
            return
        ref = self.job.git.get("ref")
        script.notice(f"Checking out {sha[:8]} as detached HEAD (ref is {ref})...")
        script.command("git", "-c", "submodule.recurse=false", "checkout", "-f", "-q", sha)
        clean = self.job.variables.get("GIT_CLEAN_FLAGS") or "-ffdx"
        if clean != "none":
            script.command("git", "clean", *clean.split())
        script.notice("Skipping Git submodules setup")

    def begin(self) -> Script:
        """Export the variables and enter the checkout."""
        script = Script(self.job.tmp)
        script.exports(self.job.variables)
        script.command("cd", self.job.dir)
        return script

    def _helper(self, script: Script, action: str, *calls: list[str]) -> None:
        """Add calls of this program as the job's user, who may not be able to run it."""
        binary = self.job.place.binary
        script.line(f"if {shlex.quote(binary)} --version >/dev/null 2>&1 ; then")
        for call in calls:
            script.command(binary, *call)
        script.line("else")
        script.notice(f"Missing {binary}. {action} is disabled.", YELLOW)
        script.line("fi")

    def _caches(self) -> Iterator[tuple[dict[str, Any], str, list[str]]]:
        for item in self.job.payload.get("cache") or []:
            paths = [word for path in item.get("paths") or [] for word in ("--path", path)]
            paths += ["--untracked"] if item.get("untracked") else []
            key = expand(str(item.get("key") or ""), self.job.variables.get)
            key = key or f"{self.job.info.get('name', '')}/{self.job.git.get('ref', '')}"
            if paths:
                yield item, os.path.join(self.job.cache_dir, key.strip("/"), "cache.zip"), paths

    def restore_cache(self) -> Script | None:
        """Unpack the caches that the job may read."""
        script = self.begin()
        some = False
        for item, path, _ in self._caches():
            some = True
            if item.get("policy") == "push":
                script.notice("Not downloading cache due to policy")
                continue
            key = os.path.basename(os.path.dirname(path))
            script.notice(f"Checking cache for {key}...")
            self._helper(script, "Extracting cache", ["cache-extractor", "--file", path])
        return script if some else None

    def archive_cache(self, success: bool) -> Script | None:
        """Pack the caches that the job may write."""
        script = self.begin()
        some = False
        for item, path, paths in self._caches():
            when = item.get("when") or "on_success"
            if item.get("policy") == "pull" or when not in (
                "always",
                "on_success" if success else "on_failure",
            ):
                continue
            some = True
            script.notice(f"Creating cache {os.path.basename(os.path.dirname(path))}...")
            self._helper(script, "Creating cache", ["cache-archiver", "--file", path, *paths])
        return script if some else None

    def download_artifacts(self) -> Script | None:
        """Fetch the artifacts of other jobs."""
        script = self.begin()
        calls = []
        for item in self.job.payload.get("dependencies") or []:
            if not (item.get("artifacts_file") or {}).get("filename"):
                continue
            script.notice(f"Downloading artifacts for {item.get('name')} ({item['id']})...")
            calls.append(
                [
                    "artifacts-downloader",
                    "--url",
                    str(self.job.runner["url"]),
                    "--token",
                    str(item["token"]),
                    "--id",
                    str(item["id"]),
                ]
            )
        self._helper(script, "Artifacts downloading", *calls)
        return script if calls else None

    def user_script(self, step: dict[str, Any]) -> Script:
        """The user's commands of one step, with the entry's before and after them."""
        script = self.begin()
        if before := str(self.job.runner.get("pre_build_script") or ""):
            script.user_commands([before])
        script.user_commands(step.get("script") or [])
        if after := str(self.job.runner.get("post_build_script") or ""):
            script.user_commands([after])
        return script

    def upload_artifacts(self, success: bool) -> Script | None:
        """Pack and send the job's artifacts."""
        script = self.begin()
        some = False
        for item in self.job.payload.get("artifacts") or []:
            when = item.get("when") or "on_success"
            if when not in ("always", "on_success" if success else "on_failure"):
                continue
            call = [
                "artifacts-uploader",
                "--url",
                str(self.job.runner["url"]),
                "--token",
                str(self.job.payload["token"]),
                "--id",
                str(self.job.id),
            ]
            for option, name in (("--path", "paths"), ("--exclude", "exclude")):
                for path in item.get(name) or []:
                    call += [option, expand(path, self.job.variables.get)]
            if item.get("untracked"):
                call += ["--untracked"]
            if not {"--path", "--untracked"} & set(call):
                continue
            for option, name in (
                ("--name", "name"),
                ("--expire-in", "expire_in"),
                ("--artifact-format", "artifact_format"),
                ("--artifact-type", "artifact_type"),
            ):
                if value := item.get(name):
                    call += [option, expand(str(value), self.job.variables.get)]
            some = True
            script.notice("Uploading artifacts...")
            self._helper(script, "Uploading artifacts", call)
        return script if some else None

    def cleanup(self) -> Script:
        """Remove the files of file variables."""
        script = Script(self.job.tmp)
        self._remove_env_file(script)
        for item in self.job.variables.items:
            if item.file:
                script.remove(f"{self.job.tmp}/{item.key}")
        return script
