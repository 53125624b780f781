# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one job through its stages."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from standins.gitlab_runner.job import Job
from standins.gitlab_runner.log import CLEAR, CYAN, GREEN, RED, RESET, YELLOW, log
from standins.gitlab_runner.masking import Masker, Stamps
from standins.gitlab_runner.script import Script
from standins.gitlab_runner.stages import JobError, Stages
from standins.gitlab_runner.times import go_duration, go_duration_text
from standins.gitlab_runner.tokens import short_token
from standins.gitlab_runner.trace import Trace
from standins.gitlab_runner.variables import Variable
from standins.gitlab_runner.version import NAME, REVISION, VERSION

GRACEFUL_KILL = 600.0
FORCE_KILL = 10.0
BUILD_FINISH_WAIT = 300.0
AFTER_SCRIPT_TIMEOUT = 300.0


class Stopped(Exception):
    """The stage was stopped from outside."""


class Build:
    """Runs one job and reports it."""

    def __init__(self, job: Job, trace: Trace) -> None:
        self.job = job
        self.state = "pending"
        self.stage = "prepare_executor"
        self.started = time.monotonic()
        self._stages = Stages(job)
        self._trace = trace
        self._masker = Masker((), (), trace.append)
        self._stop_all = threading.Event()
        self._stop_script = threading.Event()
        self._why: JobError | None = None
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Prepare the job and the values that its trace must not show."""
        self.job.prepare()
        masked = [item.value for item in self.job.variables.items if item.masked]
        prefixes = self.job.features.get("token_mask_prefixes") or []
        sink = Stamps(self._trace.append).write if self.job.has_stamps else self._trace.append
        self._masker = Masker(masked, prefixes, sink)

    def say(self, text: str) -> None:
        """Write a line of the runner's own into the trace."""
        self._masker.write(f"{text}\n".encode())

    def _section(self, name: str, title: str, action: Callable[[], None]) -> None:
        timed = self.job.features.get("trace_sections")
        if timed:
            self._masker.write(f"section_start:{int(time.time())}:{name}\r{CLEAR}".encode())
        try:
            self.say(f"{CYAN}{title}{RESET}")
            action()
        finally:
            if timed:
                self._masker.write(f"\nsection_end:{int(time.time())}:{name}\r{CLEAR}".encode())

    def _stage(
        self,
        name: str,
        title: str,
        script: Script | None,
        stop: threading.Event | None = None,
        timeout: float | None = None,
    ) -> None:
        if script is None:
            return
        if self._stop_all.is_set() or (stop is not None and stop.is_set()):
            raise Stopped
        self.stage = name
        xtrace = self.job.variables.get("CI_DEBUG_TRACE").lower() in ("true", "1", "yes")
        text = script.text(xtrace=xtrace and not self.job.runner.get("debug_trace_disabled"))
        self._section(name, title, lambda: self._run(text, stop, timeout))

    def _run(self, text: str, stop: threading.Event | None, timeout: float | None) -> None:
        command = ["bash", "-l"]
        if self.job.place.user:
            command = ["su", "-s", "/bin/bash", self.job.place.user, "-c", "bash -l"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        done = threading.Event()

        def feed() -> None:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.write(text.encode())
            with contextlib.suppress(OSError):
                process.stdin.close()

        def drain() -> None:
            assert process.stdout is not None
            # To the end of the pipe, not of the process: whoever still holds it is waited for.
            while data := os.read(process.stdout.fileno(), 65536):
                self._masker.write(data)
            process.stdout.close()
            process.wait()
            done.set()

        threads = [threading.Thread(target=target, daemon=True) for target in (feed, drain)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + timeout if timeout else None
        stopped = False
        while not done.wait(0.05):
            stopped = self._stop_all.is_set() or (stop is not None and stop.is_set())
            if stopped or (deadline is not None and time.monotonic() > deadline):
                self._kill(process, done)
                break
        self._masker.flush()
        code = process.poll()
        if deadline is not None and time.monotonic() > deadline and not stopped:
            raise TimeoutError
        if stopped:
            raise Stopped
        if code:
            code = code if code > 0 else 128 - code
            raise JobError(f"exit status {code}", "script_failure", code)

    @staticmethod
    def _kill(process: subprocess.Popen[bytes], done: threading.Event) -> None:
        """Ask the process group to go, and wait for all who hold its output."""
        for sign, wait in ((signal.SIGTERM, GRACEFUL_KILL), (signal.SIGKILL, FORCE_KILL)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            if done.wait(wait):
                return

    def _get_sources(self) -> None:
        tries = max(1, min(self.job.variables.number("GET_SOURCES_ATTEMPTS", 1), 10))
        for attempt in range(1, tries + 1):
            script = self._stages.get_sources
            try:
                self._stage("get_sources", "Getting source from Git repository", script())
                return
            except JobError:
                if attempt == tries:
                    raise

    def _run_stages(self) -> None:
        name = self.job.runner.get("shell") or "bash"

        def prepared() -> None:
            self.say(f"Using Shell ({name}) executor...")

        self._section("prepare_executor", 'Preparing the "shell" executor', prepared)
        try:
            self._stage("prepare_script", "Preparing environment", self._stages.prepare())
        except JobError as error:
            raise JobError(
                f"prepare environment: {error}. Check "
                "https://docs.gitlab.com/runner/shells/#shell-profile-loading for more information",
                "runner_system_failure" if not error.exit_code else error.reason,
                error.exit_code,
            ) from None
        failure: JobError | None = None
        try:
            self._get_sources()
            self._stage("restore_cache", "Restoring cache", self._stages.restore_cache())
            self._stage(
                "download_artifacts", "Downloading artifacts", self._stages.download_artifacts()
            )
            failure = self._user_scripts()
        except JobError as error:
            failure = error
        result = "success" if failure is None else "failure"
        try:
            self._stage(
                f"archive_cache{'' if failure is None else '_on_failure'}",
                f"Saving cache for {'successful' if failure is None else 'failed'} job",
                self._stages.archive_cache(failure is None),
            )
            self._stage(
                f"upload_artifacts_on_{result}",
                f"Uploading artifacts for {'successful' if failure is None else 'failed'} job",
                self._stages.upload_artifacts(failure is None),
            )
        except JobError as error:
            failure = failure or error
        with contextlib.suppress(JobError):
            self._stage(
                "cleanup_file_variables",
                "Cleaning up project directory and file based variables",
                self._stages.cleanup(),
            )
        if failure is not None:
            raise failure

    def _user_scripts(self) -> JobError | None:
        failure: JobError | None = None
        self._trace.cancel = self._stop_script.set
        limit = go_duration(self.job.variables.get("RUNNER_SCRIPT_TIMEOUT"), 0) or None
        for step in self.job.payload.get("steps") or []:
            if step.get("name") == "after_script" or failure is not None:
                continue
            name = step.get("name")
            stage = "step_script" if name == "script" else f"step_{name}"
            try:
                self._stage(
                    stage,
                    f'Executing "{stage}" stage of the job script',
                    self._stages.user_script(step),
                    self._stop_script,
                    limit,
                )
            except JobError as error:
                failure = error
            except TimeoutError:
                failure = JobError(
                    "script timeout context: context deadline exceeded", "job_execution_timeout"
                )
            except Stopped:
                if self._stop_all.is_set():
                    raise
        if self._stop_script.is_set():
            failure = JobError("canceled", "job_canceled")
            self.say(f"{YELLOW}WARNING: script canceled externally (UI, API){RESET}")
        steps = self.job.payload.get("steps") or []
        after = next((step for step in steps if step.get("name") == "after_script"), None)
        if after and after.get("script"):
            status = "success" if failure is None else "failed"
            status = "canceled" if self._stop_script.is_set() else status
            failure = self._after_script(after, status, failure)
        return failure

    def _after_script(
        self, step: dict[str, Any], status: str, failure: JobError | None
    ) -> JobError | None:
        self.job.variables.items.append(Variable("CI_JOB_STATUS", status))
        script = self._stages.begin()
        script.notice("Running after script...")
        script.user_commands(step["script"])
        limit = go_duration(
            self.job.variables.get("RUNNER_AFTER_SCRIPT_TIMEOUT"), AFTER_SCRIPT_TIMEOUT
        )
        try:
            self._stage("after_script", "Running after_script", script, timeout=limit)
        except (JobError, TimeoutError) as error:
            words = str(error) or "context deadline exceeded"
            if self.job.variables.get("AFTER_SCRIPT_IGNORE_ERRORS").lower() in ("false", "0"):
                return failure or JobError(words, "script_failure", getattr(error, "exit_code", 1))
            self.say(
                f"{YELLOW}WARNING: after_script failed, but job will continue unaffected: "
                f"{words}{RESET}"
            )
        return failure

    def stop(self, why: JobError) -> None:
        """Stop the job; the first reason counts."""
        with self._lock:
            self._why = self._why or why
        self._stop_all.set()

    def run(self) -> None:
        """Run the job to its end and report it."""
        self._trace.abort = lambda: self.stop(JobError("canceled", "job_canceled"))
        self._trace.start()
        failure: JobError | None = None
        system = False
        box: queue.Queue[BaseException | None] = queue.Queue()

        def body() -> None:
            try:
                self._run_stages()
            except BaseException as error:
                box.put(error)
            else:
                box.put(None)

        self.say(f"Running with {NAME} {VERSION} ({REVISION})")
        token = short_token(str(self.job.runner["token"]))
        self.say(
            f"  on {self.job.runner.get('name')} {token}, system ID: {self.job.place.system_id}"
        )
        self.state = "running"
        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        deadline = time.monotonic() + self.job.timeout
        while thread.is_alive() and not self._stop_all.is_set():
            thread.join(min(0.1, max(deadline - time.monotonic(), 0.01)))
            if time.monotonic() > deadline and thread.is_alive():
                text = go_duration_text(self.job.timeout)
                self.stop(
                    JobError(f"execution took longer than {text} seconds", "job_execution_timeout")
                )
        thread.join(BUILD_FINISH_WAIT if self._stop_all.is_set() else None)
        if thread.is_alive():
            self.say(f"{YELLOW}WARNING: Timed out waiting for the build to finish{RESET}")
        error = box.get() if not box.empty() else Stopped()
        if isinstance(error, Stopped) or self._stop_all.is_set():
            failure = self._why or JobError("canceled", "job_canceled")
        elif isinstance(error, JobError):
            failure = error
        elif error is not None:
            failure = JobError(f"panic: {error}", "runner_system_failure")
        system = failure is not None and failure.reason == "runner_system_failure"
        self._finish(failure, system)

    def _finish(self, failure: JobError | None, system: bool) -> None:
        fields: dict[str, object] = {
            "job": self.job.id,
            "project": self.job.info.get("project_id"),
            "runner": short_token(str(self.job.runner["token"])),
            "duration_s": round(time.monotonic() - self.started, 3),
        }
        tries = int(self.job.runner.get("job_status_final_update_retry_limit") or 10)
        if failure is None:
            log.info("Job succeeded", job__status="success", **fields)
            self.say(f"{GREEN}Job succeeded{RESET}")
            self._masker.flush()
            self.state = "success"
            self._trace.finish("success", "", 0, tries)
            return
        words = f"Job failed{' (system failure)' if system else ''}: {failure}"
        log.warning(
            words,
            job__status="failed",
            failure_reason=failure.reason,
            exit_code=failure.exit_code,
            **fields,
        )
        self.say(f"{RED}ERROR: {words}{RESET}")
        self._masker.flush()
        known = {
            "script_failure",
            "runner_system_failure",
            "job_execution_timeout",
            *(self.job.features.get("failure_reasons") or []),
        }
        reason = failure.reason if failure.reason in known else "unknown_failure"
        self.state = "failed"
        self._trace.finish("failed", reason, failure.exit_code, tries)
