# SPDX-License-Identifier: GPL-3.0-or-later
"""`gitlab-runner run`: configuration, polling, token rotation, signals."""

from __future__ import annotations

import copy
import os
import queue
import signal
import sys
import threading
import time
from typing import Any, NoReturn

from standins.gitlab_runner import metrics
from standins.gitlab_runner.api import Api, runner_info
from standins.gitlab_runner.build import Build
from standins.gitlab_runner.config import Config, ConfigError, warn_of_long_polling
from standins.gitlab_runner.health import Health, unique
from standins.gitlab_runner.host import system_id, user_mode_warning
from standins.gitlab_runner.job import Job, Place
from standins.gitlab_runner.log import log
from standins.gitlab_runner.network import CLIENT_ERROR, Answer
from standins.gitlab_runner.payload import check_types
from standins.gitlab_runner.stages import JobError
from standins.gitlab_runner.times import parse_time
from standins.gitlab_runner.tokens import short_token
from standins.gitlab_runner.trace import Trace
from standins.gitlab_runner.version import VERSION, version_tuple

RELOAD_INTERVAL = 3.0
CHECK_INTERVAL = 3
ROTATE_AT = 0.75
DEAF_SECONDS = 0.3
"""From its start on, a signal ends the daemon."""
BEGAN = time.monotonic()
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Daemon:
    """``gitlab-runner run``."""

    def __init__(self, options: dict[str, str]) -> None:
        self.path = options["config"]
        self.user = options.get("user", "")
        self.working_directory = options.get("working-directory", "") or os.getcwd()
        self.listen_address = options.get("listen-address", "")
        self.binary = os.path.realpath(sys.argv[0])
        self.system_id = ""
        self.builds: list[Build] = []
        self.counters: dict[str, int] = {"jobs": 0, "loads": 0, "load_errors": 0}
        self.process_state = "starting"
        self._config = Config({"concurrent": 1}, 0)
        self._seen_mtime = 0
        self._lock = threading.RLock()
        self._health = Health()
        self._networks: dict[str, str] = {}
        self._busy: dict[str, int] = {}
        self._requesting: set[str] = set()
        self._workers = 0
        self._wake = threading.Event()
        self._reloaded = threading.Event()
        self._draining = threading.Event()
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def _fields(self) -> dict[str, object]:
        return {"builds": len(self.builds), "max_builds": self._config.concurrent}

    # -- configuration --------------------------------------------------------------------------

    def _load(self) -> None:
        """Load the configuration; ConfigError leaves the old one in force."""
        try:
            config = Config.load(self.path)
        except ConfigError:
            self.counters["load_errors"] += 1
            raise
        self.counters["loads"] += 1
        if not self.system_id:
            self.system_id = system_id(self.path)
        # Written back expanded, if the daemon writes: as the real one loses references.
        config.expand()
        with self._lock:
            self._config = config
            self._seen_mtime = config.mtime_ns
            self._health.clear()
        level = str(config.data.get("log_level") or "info")
        if not os.environ.get("LOG_LEVEL") and not log.set_level(level):
            raise ConfigError(f'not a valid logrus Level: "{level}"')
        if config.data.get("log_format") == "json":
            log.format = "json"
        log.info("Configuration loaded", **self._fields())
        for runner in config.runners:
            if not str(runner["token"]).strip():
                log.warning(
                    "Runner token is empty or whitespace; this runner will be skipped during job "
                    "polling. Check the 'token' field in your config.toml for this runner.",
                    runner="",
                    runner_name=runner.get("name", ""),
                )
        warn_of_long_polling(config)
        if config.concurrent < 1:
            log.fatal(
                f"Current configuration 'concurrent = {config.concurrent}' means that no jobs will "
                "be processed",
                **self._fields(),
            )
        self._reloaded.set()
        self._wake.set()

    def _watch_config(self) -> None:
        try:
            mtime = os.stat(self.path).st_mtime_ns
        except OSError as error:
            log.error(f"Failed to load config stat {self.path}: {error.strerror}", **self._fields())
            return
        if mtime <= self._seen_mtime:
            return
        self._try_load()
        # A bad file is not read again before its time changes.
        self._seen_mtime = max(self._seen_mtime, mtime)

    def _try_load(self) -> None:
        try:
            self._load()
        except ConfigError as error:
            log.error(f"Failed to load config {error}", **self._fields())

    # -- token rotation -------------------------------------------------------------------------

    def _rotation_due(self) -> tuple[float, str] | None:
        due = []
        for runner in self._config.runners:
            expires = parse_time(str(runner.get("token_expires_at", "")))
            if expires:
                obtained = parse_time(str(runner.get("token_obtained_at", "")))
                due.append((obtained + ROTATE_AT * (expires - obtained), str(runner["token"])))
        return min(due) if due else None

    def _rotate(self) -> None:
        while not self._draining.is_set():
            self._reloaded.clear()
            due = self._rotation_due()
            wait = None if due is None else max(due[0] - time.time(), 0.0)
            if wait and self._reloaded.wait(min(wait, 3600.0)):
                continue
            if due is None:
                self._reloaded.wait()
                continue
            if wait and due[0] > time.time():
                continue
            if self._rotate_one(due[1]):
                continue
            # Refused or unreachable: the real one asks again at once; once a second is enough.
            self._reloaded.wait(1.0)

    def _rotate_one(self, token: str) -> bool:
        try:
            config = Config.load(self.path)
        except ConfigError as error:
            log.error(f"Failed to load config (token reset) {error}", **self._fields())
            return False
        config.expand()
        mine = [item for item in config.runners if item["token"] == token]
        if not mine or not Api(mine[0]).reset():
            return False
        config.save(self.path)
        with self._lock:
            self._config = config
            self._seen_mtime = config.mtime_ns
        self._wake.set()
        return True

    # -- polling --------------------------------------------------------------------------------

    def _poll(self) -> None:
        """Feed one runner after the other, spread over the check interval."""
        index = 0
        while not self._draining.is_set():
            with self._lock:
                runners = [item for item in self._config.runners if str(item["token"]).strip()]
                interval = int(self._config.data.get("check_interval") or 0) or CHECK_INTERVAL
            if runners:
                self._feed(runners[index % len(runners)])
                index += 1
            self._draining.wait(interval / max(len(runners), 1))

    def _feed(self, runner: dict[str, Any]) -> None:
        key = str(runner["token"])
        with self._lock:
            limit = int(runner.get("limit") or 0)
            known = any(item is runner for item in self._config.runners)
            if (
                self._draining.is_set()
                or not known
                or not self._health.is_good(runner)
                or self._workers >= self._config.concurrent
                or (limit and self._busy.get(key, 0) >= limit)
                or key in self._requesting
            ):
                return
            if runner.get("executor") != "shell":
                log.error(
                    f'Executor "{runner.get("executor")}" is not known; marking Runner as '
                    "unhealthy",
                    runner=short_token(key),
                )
                self._health.mark(runner, False)
                return
            self._workers += 1
            self._busy[key] = self._busy.get(key, 0) + 1
            self._requesting.add(key)
        threading.Thread(target=self._work, args=(runner, key), daemon=True).start()

    def _work(self, runner: dict[str, Any], key: str) -> None:
        build = None
        try:
            try:
                build = self._request(runner)
            finally:
                with self._lock:
                    self._requesting.discard(key)
            if build is not None:
                # At once: there may be more where this one came from.
                if not runner.get("strict_check_interval"):
                    self._feed(runner)
                self._process(build)
        finally:
            with self._lock:
                self._workers -= 1
                self._busy[key] -= 1
                if build in self.builds:
                    self.builds.remove(build)
            self._wake.set()

    def _request(self, runner: dict[str, Any]) -> Build | None:
        api = Api(runner)
        name = unique(runner)
        body: dict[str, Any] = {
            "info": runner_info("shell", str(runner.get("shell") or "bash")),
            "token": runner["token"],
            "system_id": self.system_id,
            "last_update": self._networks.get(name, ""),
        }
        answer = api.network.json(
            "POST", "jobs/request", body, 201, {"RUNNER-TOKEN": str(runner["token"])}
        )
        if api.network.last_update:
            self._networks[name] = api.network.last_update
        return self._accept(runner, api, answer)

    def _accept(self, runner: dict[str, Any], api: Api, answer: Answer) -> Build | None:
        base = "Checking for jobs..."
        if answer.status == 403:
            log.error(f"{base} forbidden", status=answer.text, **api.fields)
            self._health.mark(runner, False)
            return None
        if answer.status == CLIENT_ERROR:
            log.error(f"{base} client error", status=answer.text, **api.fields)
            self._health.mark(runner, False)
            return None
        self._health.mark(runner, True)
        if answer.status == 204:
            log.debug(f"{base} no content", **api.fields)
            return None
        if answer.status != 201:
            log.warning(f"{base} failed", status=answer.text, **api.fields)
            return None
        try:
            check_types(answer.body)
            place = Place(self.binary, self.user, self.working_directory, self.system_id)
            job = Job(place, copy.deepcopy(runner), answer.body, answer.ca_chain)
            build = Build(job, Trace(api, answer.body, int(runner.get("output_limit", 0))))
            self._add(build)
        except (TypeError, KeyError, ValueError) as error:
            # The server believes that the job runs; the real one drops it just so.
            log.warning(f"{base} failed", status=f"decoding json payload {error}", **api.fields)
            return None
        log.info(f"{base} received", job=build.job.id, repo_url=build.job.clean_url, **api.fields)
        return build

    def _add(self, build: Build) -> None:
        with self._lock:
            token = build.job.runner["token"]
            taken = {item.job.slot for item in self.builds if item.job.runner["token"] == token}
            build.job.slot = next(number for number in range(10**6) if number not in taken)
            taken = {
                item.job.project_slot
                for item in self.builds
                if item.job.project_key == build.job.project_key
            }
            build.job.project_slot = next(number for number in range(10**6) if number not in taken)
            build.prepare()
            self.builds.append(build)

    def _process(self, build: Build) -> None:
        fields: dict[str, object] = {
            "job": build.job.id,
            "project": build.job.info.get("project_id"),
            "repo_url": build.job.clean_url,
            "runner": short_token(str(build.job.runner["token"])),
        }
        log.info("Added job to processing list", **fields, **self._fields())
        self.counters["jobs"] += 1
        try:
            build.run()
        finally:
            with self._lock:
                self.builds.remove(build)
            log.info("Removed job from processing list", **fields, **self._fields())

    # -- life -----------------------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Run until a signal ends it."""
        if VERSION == "17.5.0" and not os.environ.get("HOME"):
            # A real release that does not start under systemd, which sets no HOME for root.
            log.fatal("failed to get user home dir: $HOME is not defined")
        log.info(f"Starting multi-runner from {self.path}...", builds=0, max_builds=0)
        user_mode_warning(with_run=False)
        try:
            os.chdir(self.working_directory)
            self.working_directory = os.getcwd()
            if version_tuple() >= (19, 2):
                self._listen()
                self._load()
            else:
                self._load()
                self._listen()
        except (OSError, ConfigError) as error:
            log.fatal("Service run failed", error=error)
        self._serve_metrics()
        log.info(
            "[session_server].listen_address not defined, session endpoints disabled",
            **self._fields(),
        )
        log.info("Initializing executor providers", **self._fields())
        self.process_state = "running"
        for target in (self._poll, self._rotate):
            threading.Thread(target=target, daemon=True).start()
        stop = self._wait_for_stop()
        self._draining.set()
        self._shut_down(stop)
        log.info("All workers stopped.", **self._fields())
        log.info("Can exit now!", **self._fields())
        sys.stdout.flush()
        os._exit(0)

    def _listen(self) -> None:
        """Take signals as orders, from which moment on they do not end the program."""
        time.sleep(max(BEGAN + DEAF_SECONDS - time.monotonic(), 0.0))
        for number in SIGNALS:
            signal.signal(number, lambda number, _frame: self._signals.put(number))

    def _next_signal(self, timeout: float) -> int | None:
        try:
            return self._signals.get(timeout=timeout)
        except queue.Empty:
            return None

    def _wait_for_stop(self) -> int:
        next_look = time.monotonic() + RELOAD_INTERVAL
        while True:
            number = self._next_signal(max(next_look - time.monotonic(), 0.0))
            if number is None:
                self._watch_config()
            elif number == signal.SIGHUP:
                self._try_load()
            else:
                name = signal.strsignal(number)
                log.warning(
                    "[runWait] received stop signal",
                    stop__signal=str(name).lower(),
                    **self._fields(),
                )
                return number
            next_look = time.monotonic() + RELOAD_INTERVAL

    def _shut_down(self, stop: int) -> None:
        name = str(signal.strsignal(stop)).lower()
        if stop == signal.SIGQUIT:
            self.process_state = "graceful-shutdown"
            log.warning(
                "Starting graceful shutdown, waiting for builds to finish",
                StopSignal=name,
                **self._fields(),
            )
            while self._workers:
                number = self._next_signal(0.1)
                if number in (signal.SIGTERM, signal.SIGINT):
                    stop = number
                    break
            else:
                return
        name = str(signal.strsignal(stop)).lower()
        log.warning(
            "Graceful shutdown not finished properly. To gracefully clean up running plugins "
            "please use SIGQUIT (ctrl-\\) instead of SIGINT (ctrl-c)",
            error=f"received stop signal: {name}",
            **self._fields(),
        )
        self.process_state = "forceful-shutdown"
        limit = int(self._config.data.get("shutdown_timeout") or 0) or 30
        log.warning(
            "Starting forceful shutdown",
            StopSignal=name,
            shutdown__timeout=f"{limit}s",
            **self._fields(),
        )
        for build in list(self.builds):
            build.stop(JobError(f"aborted: {name}", "runner_system_failure"))
        deadline = time.monotonic() + limit
        while self._workers:
            number = self._next_signal(0.1)
            if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
                log.fatal(
                    "Service run failed",
                    error=f"forced exit with stop signal: {str(signal.strsignal(number)).lower()}",
                )
            if time.monotonic() > deadline:
                log.fatal("Service run failed", error="shutdown timed out")

    # -- metrics --------------------------------------------------------------------------------

    def _serve_metrics(self) -> None:
        address = self.listen_address or str(self._config.data.get("listen_address") or "")
        if not address:
            log.info(
                "listen_address not defined, metrics & debug endpoints disabled", **self._fields()
            )
            return
        try:
            metrics.serve(address, self._page)
        except (OSError, ValueError) as error:
            log.fatal("Failed to create listener for metrics server", error=error, **self._fields())
        log.info("Metrics server listening", address=address, **self._fields())

    def _page(self, path: str) -> str | None:
        """Return a page of the metrics server."""
        with self._lock:
            if path == "/debug/jobs/list":
                return metrics.jobs_list(self.builds)
            if path == "/debug/process/state":
                return f"{self.process_state}\n"
            if path == "/metrics":
                return metrics.metrics(self._config, self.builds, self.counters, self.system_id)
        return None
