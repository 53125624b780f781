# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's trace and state on their way to GitLab."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

from standins.gitlab_runner.api import Api, runner_info
from standins.gitlab_runner.log import RESET, YELLOW, log
from standins.gitlab_runner.network import CLIENT_ERROR, Answer

UPDATE_INTERVAL = 3.0
FORCE_SEND_INTERVAL = 30.0
PATCH_LIMIT = 1024 * 1024


class Trace:
    """A job's log on its way to GitLab, and GitLab's word on the job on the way back."""

    def __init__(self, api: Api, job: dict[str, Any], limit_kb: int) -> None:
        self._api = api
        self._id = int(job["id"])
        self._token = str(job["token"])
        self._headers = {"JOB-TOKEN": self._token}
        self._limit = (limit_kb or 4096) * 1024
        self._data = bytearray()
        self._full = False
        self._sent = 0
        self._sent_at = time.monotonic()
        self._interval = UPDATE_INTERVAL
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self.cancel: Callable[[], None] | None = None
        self.abort: Callable[[], None] | None = None
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._watcher.start()

    def append(self, data: bytes) -> None:
        """Take bytes that are masked already."""
        with self._lock:
            room = self._limit - len(self._data)
            if self._full:
                return
            self._data += data[:room] if len(data) > room else data
            if len(data) > room:
                self._full = True
                words = (
                    f"\n{YELLOW}Job's log exceeded limit of {self._limit} bytes.\n"
                    "Job execution will continue but no more output will be collected."
                    f"{RESET}\n"
                )
                self._data += words.encode()

    def _output(self) -> dict[str, Any]:
        with self._lock:
            return {"checksum": f"crc32:{zlib.crc32(self._data):08x}", "bytesize": len(self._data)}

    def _note(self, answer: Answer) -> str:
        """Read the headers about the job and return its state on the server."""
        with contextlib.suppress(ValueError):
            interval = float(answer.headers.get("x-gitlab-trace-update-interval", 0))
            if interval > 0:
                self._interval = min(interval, 900.0)
        state = answer.headers.get("job-status", "")
        if state == "canceling" and self.cancel is not None:
            cancel, self.cancel = self.cancel, None
            cancel()
        return state

    def _patch(self) -> str:
        """Send the next part; returns ok, abort, not-found, mismatch or failed."""
        with self._lock:
            part = bytes(self._data[self._sent : self._sent + PATCH_LIMIT])
            start = self._sent
        if not part:
            return "ok"
        headers = {
            **self._headers,
            "Content-Type": "text/plain",
            "Content-Range": f"{start}-{start + len(part) - 1}",
        }
        answer = self._api.network.raw(
            "PATCH", f"jobs/{self._id}/trace?debug_trace=false", part, headers
        )
        state = self._note(answer)
        fields: dict[str, object] = {
            "job": self._id,
            "code": answer.status,
            "job__status": state,
            "sent__log": f"{start}-{start + len(part) - 1}",
            **self._api.fields,
        }
        base = "Appending trace to coordinator..."
        if state in ("canceled", "failed") or answer.status == 403:
            log.warning(f"{base} job failed", **fields)
            return "abort"
        if answer.status == 202:
            self._sent, self._sent_at = start + len(part), time.monotonic()
            log.info(f"{base}ok", **fields)
            return "ok"
        if answer.status == 404:
            log.warning(f"{base} not-found", **fields)
            return "not-found"
        if answer.status == 416:
            log.warning(f"{base} range mismatch", **fields)
            match = re.fullmatch(r"\d+-(\d+)", answer.headers.get("range", ""))
            self._sent, self._sent_at = int(match[1]) if match else 0, time.monotonic()
            return "mismatch"
        log.warning(f"{base} failed", status=answer.text, **fields)
        return "failed"

    def update(self, state: str, reason: str = "", exit_code: int = 0) -> str:
        """Send the job's state; returns ok, accepted, invalid, abort or failed."""
        body: dict[str, Any] = {
            "info": runner_info("shell"),
            "token": self._token,
            "state": state,
            "output": self._output(),
        }
        body["checksum"] = body["output"]["checksum"]
        if reason:
            body["failure_reason"] = reason
        if exit_code:
            body["exit_code"] = exit_code
        fields = {"job": self._id, **self._api.fields}
        log.info("Updating job...", **fields, **body["output"])
        answer = self._api.network.json(
            "PUT", f"jobs/{self._id}", body, 200, self._headers, parse=False
        )
        status = self._note(answer)
        base = "Submitting job to coordinator..."
        outcome = {
            200: ("ok", "ok"),
            202: ("accepted", "accepted, but not yet completed"),
            412: ("invalid", "trace validation failed"),
            404: ("abort", "not found"),
            403: ("abort", "forbidden"),
            CLIENT_ERROR: ("abort", "client error"),
        }.get(answer.status, ("failed", "failed"))
        if status in ("canceled", "failed") and state == "running":
            outcome = ("abort", "job failed")
        write = log.info if outcome[0] in ("ok", "accepted", "invalid") else log.warning
        # Go's Info puts no blank between its words, its Warningln does.
        blank = "" if write == log.info else " "
        write(f"{base}{blank}{outcome[1]}", code=answer.status, job__status=status, **fields)
        return outcome[0]

    def _watch(self) -> None:
        while not self._finished.wait(self._interval):
            outcome = self._patch()
            if outcome == "ok" and time.monotonic() - self._sent_at > FORCE_SEND_INTERVAL:
                touched = self.update("running")
                self._sent_at = time.monotonic() if touched == "ok" else self._sent_at
                outcome = touched
            if outcome == "abort":
                if self.abort is not None:
                    self.abort()
                return

    def finish(self, state: str, reason: str, exit_code: int, tries: int) -> None:
        """Send the rest and the final state, with up to ``tries`` retries."""
        self._finished.set()
        self._watcher.join()
        self._interval = UPDATE_INTERVAL
        delay = 1.0
        for _ in range(max(tries, 1)):
            if self._final_round(state, reason, exit_code):
                return
            time.sleep(delay)
            # 17.5 was seen to give up after about a minute.
            delay = min(delay * 2, 3.0)
        log.error('Job trace termination "Fail" failed', job=self._id)

    def _final_round(self, state: str, reason: str, exit_code: int) -> bool:
        while True:
            while self._sent != len(self._data):
                outcome = self._patch()
                if outcome in ("abort", "not-found"):
                    break
                if outcome in ("failed", "mismatch"):
                    time.sleep(self._interval)
                if outcome == "failed":
                    return False
            outcome = self.update(state, reason, exit_code)
            if outcome in ("ok", "abort"):
                return True
            if outcome == "invalid":
                self._sent = 0
            time.sleep(self._interval)
            if outcome == "failed":
                return False
