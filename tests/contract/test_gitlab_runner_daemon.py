# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon: jobs, git, artifacts, cancel, reload, signals, rotation, health."""

from __future__ import annotations

import io
import os
import re
import signal
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import tomllib

from standins.gitlab.client import JobInfo
from tests.contract.harness import Daemon, Host

Start = Callable[..., Daemon]
NO_GIT = {"GIT_STRATEGY": "none"}


class Lab:
    """A host with one runner of its own, which alone gets the jobs that are queued here."""

    def __init__(self, host: Host, project: str) -> None:
        self.host, self.gitlab, self.project = host, host.gitlab, project
        self.tag = f"tag-{host.root.name}"
        self.runner = self.gitlab.create_runner(tag_list=[self.tag], run_untagged=False)

    def queue(self, *script: str, **options: Any) -> int:
        options.setdefault("variables", NO_GIT)
        return self.gitlab.queue_job(self.project, script, tags=[self.tag], **options)

    def finish(
        self, *script: str, timeout: float = 30, timeout_: int = 3600, **options: Any
    ) -> tuple[JobInfo, str]:
        """Queue a job and wait for its end; ``timeout_`` is the job's own, in seconds."""
        job = self.queue(*script, timeout=timeout_, **options)
        done = self.gitlab.wait_job(job, timeout)
        return done, self.gitlab.trace(job)

    def running(self, job: int, text: str = "") -> JobInfo:
        """Wait until a job runs and its trace holds ``text``."""
        return self.gitlab.wait_for_job(
            job, lambda j: j.active and (not text or text in self.gitlab.trace(job)), 20
        )


@pytest.fixture
def lab(host: Host, project: str) -> Lab:
    made = Lab(host, project)
    host.write_config(made.runner)
    return made


def test_jobs_and_their_exit_codes(lab: Lab, start: Start) -> None:
    start()
    job, trace = lab.finish("echo out; echo err >&2", "echo user $(id -un)")
    assert (job.state, job.exit_code, job.checksum_ok) == ("success", None, True)
    assert "Job succeeded" in trace
    assert "$ echo out; echo err >&2" in trace
    assert "\nerr" in trace
    if lab.host.user:
        assert f"user {lab.host.user}" in trace
    assert len(job.pickups) == 1
    # Up to 19.0 a command that fails is exit 1, whatever it ended with.
    own = lab.host.version >= (19, 1)
    codes = (
        ("exit 3", 3),
        ("bash -c 'exit 5'", 5 if own else 1),
        ("nosuchcommand", 127 if own else 1),
    )
    for script, code in codes:
        job, trace = lab.finish(script, "echo not reached")
        assert (job.state, job.failure_reason) == ("failed", "script_failure"), script
        assert job.exit_code == code, script
        assert "\nnot reached" not in trace
        assert f"ERROR: Job failed: exit status {code}" in trace


def test_stages_and_environment(lab: Lab, start: Start) -> None:
    lab.host.environment["FROM_DAEMON"] = "yes"
    lab.host.write_config(
        lab.runner,
        extra='  environment = ["MINE=runner", "BOTH=runner", "EXPANDED=x-$JOBVAR", "NOTHING", '
        '"DOLLAR=$$1"]\n  pre_build_script = "echo pre-build"\n'
        '  post_build_script = "echo post-build"\n',
    )
    start()
    variables = [
        {"key": "GIT_STRATEGY", "value": "none"},
        {"key": "JOBVAR", "value": "job"},
        {"key": "BOTH", "value": "job"},
        {"key": "RAW", "value": "$JOBVAR", "raw": True},
        {"key": "SECRET", "value": "very-secret-value", "masked": True},
        {"key": "AS_FILE", "value": "line 1\nline 2", "file": True},
    ]
    job, trace = lab.finish(
        'echo "[$FROM_DAEMON|$MINE|$BOTH|$EXPANDED|$RAW|$DOLLAR|$SHLVL]"',
        'echo "secret $SECRET"',
        'echo "file $(tail -n1 "$AS_FILE") $AS_FILE"',
        'echo "dir $PWD $CI_PROJECT_DIR"',
        "cat",
        after_script=["echo after $CI_JOB_STATUS", "exit 9"],
        variables=variables,
    )
    assert job.state == "success", trace
    assert "[yes|runner|job|x-job|$JOBVAR|$1|1]" in trace
    assert "very-secret-value" not in trace
    assert "secret [MASKED]" in trace
    short = lab.runner.token.removeprefix("glrt-")[:9]
    checkout = f"{lab.host.work}/builds/{short}/0/{lab.project}"
    assert f"file line 2 {checkout}.tmp/AS_FILE" in trace
    assert f"dir {checkout} {checkout}" in trace
    assert trace.index("\npre-build") < trace.index("\npost-build") < trace.index("\nafter success")
    for section in ("prepare_script", "get_sources", "step_script", "after_script"):
        assert re.search(rf"section_start:\d+:{section}[\r\n]", trace), section
    assert not os.path.exists(f"{checkout}.tmp/AS_FILE")


def test_git_over_tls_with_the_private_ca(lab: Lab, start: Start) -> None:
    start()
    job, trace = lab.finish("cat hello.txt", "git log --oneline | wc -l", variables={})
    assert job.state == "success", trace
    assert "\nhello" in trace
    assert f"Checking out {job.sha[:8]} as detached HEAD (ref is main)..." in trace
    job, trace = lab.finish("touch leftover; cat hello.txt", variables={})
    assert job.state == "success"
    job, trace = lab.finish("test ! -e leftover", variables={})
    assert job.state == "success", trace
    job, trace = lab.finish("true", variables={"GIT_STRATEGY": "clone"})
    assert job.state == "success", trace


def test_a_ca_of_the_system_reaches_git_and_the_helper(lab: Lab, start: Start) -> None:
    lab.host.environment["SSL_CERT_FILE"] = str(lab.gitlab.ca_file)
    text = re.sub(r"  tls-ca-file.*\n", "", lab.host.config.read_text())
    lab.host.replace_config(text)
    start()
    wanted = [{"paths": ["hello.txt"]}]
    job, trace = lab.finish(
        "unset SSL_CERT_FILE",
        "grep -c BEGIN $CI_SERVER_TLS_CA_FILE",
        variables={},
        artifacts=wanted,
    )
    assert (job.state, len(job.uploads)) == ("success", 1), trace


def test_artifacts_between_jobs(lab: Lab, start: Start) -> None:
    start()
    artifacts = [
        {
            "paths": ["dist/", "*.txt"],
            "exclude": ["dist/*.tmp"],
            "name": "built",
            "expire_in": "1 week",
        }
    ]
    job, trace = lab.finish(
        "mkdir -p dist/deep",
        "echo w > dist/deep/a.whl; chmod 755 dist/deep/a.whl",
        "touch dist/b.tmp note.txt",
        artifacts=artifacts,
    )
    assert job.state == "success", trace
    assert "201 Created" in trace
    assert job.uploads[0]["filename"] == "built.zip"
    assert job.uploads[0]["expire_in"] == "1 week"
    names = zipfile.ZipFile(io.BytesIO(lab.gitlab.artifacts(job.id))).namelist()
    assert "dist/deep/a.whl" in names
    assert "note.txt" in names
    assert "dist/b.tmp" not in names
    job, trace = lab.finish(
        "test -x dist/deep/a.whl && cat dist/deep/a.whl",
        dependencies=[job.id],
        variables={"GIT_STRATEGY": "empty"},
    )
    assert job.state == "success", trace
    job, trace = lab.finish("true", artifacts=[{"paths": ["nothing-there"]}])
    assert job.state == "success"
    assert "no matching files" in trace
    lab.gitlab.fault("/api/v4/jobs/*/artifacts", "status", status=403)
    job, trace = lab.finish("touch x.txt", artifacts=[{"paths": ["x.txt"]}])
    assert (job.state, job.failure_reason) == ("failed", "script_failure"), trace


def test_artifacts_of_a_failed_job(lab: Lab, start: Start) -> None:
    start()
    wanted = [{"paths": ["log.txt"], "when": "on_failure"}]
    job, trace = lab.finish("echo x > log.txt; false", artifacts=wanted)
    assert (job.state, len(job.uploads)) == ("failed", 1), trace


def chatty(mark: str) -> str:
    """Return a script that writes: the word of a cancel comes with the answer to a patch."""
    return f"exec bash -c 'while :; do echo tick; sleep 1; done # chatty-{mark}'"


def test_graceful_cancel_runs_after_script(lab: Lab, start: Start) -> None:
    start()
    job = lab.queue("echo began", chatty("300"), after_script=["echo the end"])
    lab.running(job, "\nbegan")
    # What a job left holds its output open until it ends: make room as logind would.
    lab.gitlab.cancel_job(job, "canceling")
    _end_leftovers(lab, "chatty-300")
    done = lab.gitlab.wait_job(job, 45)
    trace = lab.gitlab.trace(job)
    assert done.state == "canceled", trace
    assert "\nthe end" in trace


def test_cancel_at_once_stops_reporting(lab: Lab, start: Start) -> None:
    daemon = start()
    job = lab.queue("echo began", chatty("301"), after_script=["echo the end"])
    lab.running(job, "\nbegan")
    before = daemon.mark()
    lab.gitlab.cancel_job(job, "canceled")
    _end_leftovers(lab, "chatty-301")
    daemon.wait_log("Removed job from processing list", 60, before)
    assert "\nthe end" not in lab.gitlab.trace(job)


def _end_leftovers(lab: Lab, text: str) -> None:
    """Wait until the runner has ended su's shell, then end what it left, if it left something."""
    deadline = time.monotonic() + 50
    while any(line.startswith("su -s ") for line in lab.host.processes().values()):
        assert time.monotonic() < deadline, "the runner has not ended the job's shell"
        time.sleep(0.2)  # /proc has no way to be told
    for pid, line in lab.host.processes().items():
        if text in line:
            os.kill(pid, signal.SIGKILL)


def test_timeout(lab: Lab, start: Start) -> None:
    start()
    job, trace = lab.finish(
        "exec 1>&- 2>&-; exec sleep 8",
        timeout=60,
        variables={**NO_GIT, "RUNNER_SCRIPT_TIMEOUT": "2s"},
        after_script=["echo the end"],
    )
    assert (job.state, job.failure_reason) == ("failed", "job_execution_timeout"), trace
    assert "\nthe end" in trace


def test_job_timeout_waits_for_who_holds_the_output(lab: Lab, start: Start) -> None:
    start()
    job, trace = lab.finish("exec sleep 7", after_script=["echo the end"], timeout_=2)
    assert (job.state, job.failure_reason) == ("failed", "job_execution_timeout"), trace
    assert job.exit_code is None
    assert "\nthe end" not in trace
    assert "execution took longer than 2s seconds" in trace
    assert job.finished_at is not None
    assert job.started_at is not None
    if lab.host.user:
        # su kills its own shell only: the sleep goes on and holds the output.
        assert job.finished_at - job.started_at > 6


def test_trace_survives_trouble(lab: Lab, start: Start) -> None:
    start()
    lab.gitlab.fault("/api/v4/jobs/*/trace", "status", status=500, count=2)
    lab.gitlab.fault(
        "/api/v4/jobs/*", "status", method="PUT", status=412, body_contains="success", count=1
    )
    job, trace = lab.finish("for i in 1 2 3 4 5; do echo line $i; sleep 0.5; done", timeout=60)
    assert (job.state, job.checksum_ok) == ("success", True)
    assert [trace.count(f"\nline {i}") for i in range(1, 6)] == [1] * 5


def test_wrong_type_loses_the_job(lab: Lab, start: Start) -> None:
    daemon = start()
    job = lab.queue("true", payload_overrides={"image": "debian"})
    daemon.wait_log("Checking for jobs... failed")
    assert lab.gitlab.job(job).state == "running"
    assert lab.finish("true")[0].state == "success"


def test_concurrent_is_reloaded_with_a_job_running(lab: Lab, start: Start) -> None:
    lab.host.write_config(lab.runner, top="concurrent = 1\n")
    daemon = start()
    first = lab.queue("echo began", "until [ -e /proc/self/cwd/go ]; do sleep 0.2; done")
    lab.running(first, "\nbegan")
    second = lab.queue("echo second")
    mark = daemon.mark()
    lab.host.write_config(lab.runner, top="concurrent = 2\n")
    daemon.wait_log("Configuration loaded", 10, mark)
    assert lab.gitlab.wait_job(second, 20).state == "success"
    assert lab.gitlab.job(first).state == "running"
    short = lab.runner.token.removeprefix("glrt-")[:9]
    (lab.host.work / "builds" / short / "0" / lab.project / "go").touch()
    assert lab.gitlab.wait_job(first, 20).state == "success"
    assert daemon.running


def test_broken_toml_keeps_the_old_configuration(lab: Lab, start: Start) -> None:
    daemon = start()
    good = lab.host.config.read_text()
    lab.host.replace_config(good + "\nbroken = [\n")
    line = daemon.wait_log("Failed to load config", 10)
    assert "ERROR: Failed to load config decoding configuration file: toml: line" in line
    assert lab.finish("true")[0].state == "success"
    mark = daemon.mark()
    lab.host.replace_config(good)
    daemon.wait_log("Configuration loaded", 10, mark)


def test_older_file_is_not_loaded_until_sighup(lab: Lab, start: Start) -> None:
    daemon = start()
    mark = daemon.mark()
    text = lab.host.config.read_text()
    lab.host.replace_config(text.replace("concurrent = 2", "concurrent = 3"))
    old = time.time() - 3600
    os.utime(lab.host.config, (old, old))
    with pytest.raises(AssertionError):
        daemon.wait_log("Configuration loaded", 5, mark)
    daemon.send(signal.SIGHUP)
    assert "max_builds=3" in daemon.wait_log("Configuration loaded", 10, mark)


def test_concurrent_zero_ends_the_daemon(lab: Lab, start: Start) -> None:
    daemon = start()
    text = lab.host.config.read_text()
    lab.host.replace_config(text.replace("concurrent = 2", "concurrent = 0"))
    assert daemon.wait(15) == 1


def test_bad_configuration_at_start(host: Host) -> None:
    host.replace_config("broken = [\n")
    done = host.run("run", "--config", str(host.config), "--working-directory", str(host.work))
    assert done.code == 1
    assert "FATAL: Service run failed" in done.log


def silence(lab: Lab) -> None:
    """Waits until three check intervals have passed without a request for a job."""
    end = time.monotonic() + 30
    last, asked = lab.gitlab.last_request(), time.monotonic()
    while (now := time.monotonic()) < end:
        if now - asked > 3:
            return
        query = {"since": last, "wait": 3}
        for entry in lab.gitlab.control("GET", "/requests", params=query)["requests"]:
            last = entry["seq"]
            if entry["path"].endswith("/jobs/request"):
                asked = time.monotonic()
    raise AssertionError("the daemon asks GitLab for jobs though it should not")


def test_pause_by_an_empty_configuration(lab: Lab, start: Start) -> None:
    daemon = start()
    full = lab.host.config.read_text()
    mark = daemon.mark()
    lab.host.replace_config("concurrent = 2\ncheck_interval = 1\n")
    daemon.wait_log("Configuration loaded", 10, mark)
    # A request for a job that was under way may still bring one.
    silence(lab)
    job = lab.queue("true")
    with pytest.raises(Exception, match="still pending"):
        lab.gitlab.wait_job(job, 4)
    lab.host.replace_config(full)
    assert lab.gitlab.wait_job(job, 20).state == "success"


def test_sigquit_drains(lab: Lab, start: Start) -> None:
    daemon = start()
    wait = "until [ -e /proc/self/cwd/go ]; do sleep 0.2; done"
    job = lab.queue("echo began", wait, "echo ended well")
    lab.running(job, "\nbegan")
    daemon.send(signal.SIGQUIT)
    daemon.wait_log("WARNING: Starting graceful shutdown, waiting for builds to finish")
    # A request for a job that was under way may still bring one.
    silence(lab)
    late = lab.queue("true")
    with pytest.raises(Exception, match="still pending"):
        lab.gitlab.wait_job(late, 3)
    short = lab.runner.token.removeprefix("glrt-")[:9]
    (lab.host.work / "builds" / short / "0" / lab.project / "go").touch()
    assert daemon.wait(30) == 0
    daemon.wait_log("Can exit now!")
    assert lab.gitlab.job(job).state == "success"
    assert "\nended well" in lab.gitlab.trace(job)
    assert lab.gitlab.job(late).state == "pending"
    lab.gitlab.cancel_job(late)


def test_sigterm_aborts(lab: Lab, start: Start) -> None:
    daemon = start()
    job = lab.queue("echo began", "exec sleep 302")
    lab.running(job, "\nbegan")
    daemon.send(signal.SIGTERM)
    daemon.wait_log("Starting forceful shutdown")
    _end_leftovers(lab, "sleep 302")
    assert daemon.wait(60) == 0
    done = lab.gitlab.job(job)
    assert done.state == "failed"
    # 19 has a reason of its own, which GitLab must announce to get.
    assert done.failure_reason in ("runner_system_failure", "runner_interrupted", "unknown_failure")


def test_idle_signals(lab: Lab, start: Start) -> None:
    for number in (signal.SIGQUIT, signal.SIGTERM, signal.SIGINT):
        daemon = start()
        daemon.send(number)
        assert daemon.wait(10) == 0, number


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP])
def test_signal_at_the_start_ends_the_daemon(host: Host, number: signal.Signals) -> None:
    """So nothing may signal a service that has just started."""
    host.replace_config("concurrent = 1\n")
    daemon = Daemon(host)
    try:
        daemon.wait_log("Starting multi-runner from")
        daemon.send(number)
        code = daemon.wait(10)
        # SIGHUP's own code was not noted of the real one.
        assert code == 2 or (number == signal.SIGHUP and code != 0)
    finally:
        daemon.kill()


def test_lines_of_the_trace_have_times(lab: Lab, start: Start) -> None:
    """FF_TIMESTAMPS is on from 18.7 on."""
    start()
    stamped = lab.host.version >= (18, 7)
    job, trace = lab.finish("echo one; echo two")
    lines = [line for line in lab.gitlab.raw_trace(job.id).split("\n") if line]
    form = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z [0-9a-f]{2}[EO][ +]")
    assert {bool(form.match(line)) for line in lines} == {stamped}
    assert "\none\ntwo\n" in trace.replace("\r", "")
    job, _ = lab.finish("echo one", variables={**NO_GIT, "FF_TIMESTAMPS": "false"})
    assert not any(form.match(line) for line in lab.gitlab.raw_trace(job.id).splitlines())
    assert job.checksum_ok


def test_long_polling_is_warned_of_at_each_load(lab: Lab, start: Start) -> None:
    """By 18.4 and later; what takes the warnings away is what the documents recommend."""
    warned = lab.host.version >= (18, 4)
    lab.host.write_config(lab.runner, lab.runner, top="concurrent = 1\n")
    daemon = start()
    said = "\n".join(daemon.lines)
    assert ("CONFIGURATION: Long polling issues detected" in said) is warned
    assert ("Worker starvation" in said) is warned
    mark = daemon.mark()
    more = "  request_concurrency = 2\n"
    lab.host.write_config(lab.runner, lab.runner, top="concurrent = 2\n", extra=more)
    daemon.wait_log("Configuration loaded", 10, mark)
    assert lab.finish("true")[0].state == "success"
    assert "Long polling" not in "\n".join(daemon.lines[mark:])


def test_end_of_the_harness_leaves_no_job(lab: Lab, start: Start) -> None:
    daemon = start()
    job = lab.queue("echo began", "sleep 303")
    lab.running(job, "\nbegan")
    assert any("sleep 303" in line for line in lab.host.processes().values())
    daemon.kill()
    assert lab.host.processes() == {}


def test_rotation_writes_the_file(lab: Lab, start: Start) -> None:
    now = datetime.now(UTC)
    lab.gitlab.set_runner(lab.runner.id, expires_in=600, token_ttl=86400)
    times = "".join(
        f"  {key} = {moment:%Y-%m-%dT%H:%M:%SZ}\n"
        for key, moment in (
            ("token_obtained_at", now - timedelta(hours=2)),
            ("token_expires_at", now + timedelta(minutes=10)),
        )
    )
    lab.host.write_config(lab.runner, extra=f"# a comment\n{times}  nonsense = 1\n")
    inode = lab.host.config.stat().st_ino
    daemon = start()
    daemon.wait_log("Resetting runner authentication token... succeeded", 10)
    assert lab.finish("true")[0].state == "success"
    text = lab.host.config.read_text()
    entry = tomllib.loads(text)["runners"][0]
    assert entry["token"] != lab.runner.token
    assert entry["token_expires_at"] > now + timedelta(hours=20)
    assert re.search(r"token_obtained_at = \S+\.\d{4,9}Z", text)
    assert "comment" not in text
    assert "nonsense" not in text
    assert lab.host.config.stat().st_ino == inode


def test_three_403_make_it_unhealthy_until_sighup(lab: Lab, start: Start) -> None:
    lab.gitlab.fault("/api/v4/jobs/request", "status", status=403, count=3)
    daemon = start()
    line = daemon.wait_log("is unhealthy and will be disabled", 20)
    assert line.startswith("ERROR: ")
    assert "1h0m0s" in line
    assert any("Checking for jobs... forbidden" in line for line in daemon.lines)
    job = lab.queue("true")
    with pytest.raises(Exception, match="still pending"):
        lab.gitlab.wait_job(job, 4)
    daemon.send(signal.SIGHUP)
    assert lab.gitlab.wait_job(job, 20).state == "success"


def test_other_failures_do_not(lab: Lab, start: Start) -> None:
    lab.gitlab.fault("/api/v4/jobs/request", "status", status=422, count=4)
    start()
    assert lab.finish("true")[0].state == "success"


def test_limit(lab: Lab, start: Start) -> None:
    lab.host.write_config(lab.runner, top="concurrent = 4\n", extra="  limit = 1\n")
    start()
    first = lab.queue("sleep 3")
    second = lab.queue("true")
    one, two = lab.gitlab.wait_job(first, 30), lab.gitlab.wait_job(second, 30)
    assert one.finished_at is not None
    assert two.started_at is not None
    assert two.started_at >= one.finished_at - 0.5


def test_metrics(lab: Lab, start: Start) -> None:
    import socket
    import urllib.request

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    lab.host.write_config(lab.runner, top=f'concurrent = 2\nlisten_address = "{address}"\n')
    start()
    job = lab.queue("echo began", "sleep 7")
    lab.running(job, "\nbegan")

    def page(path: str) -> str:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    metrics = page("/metrics")
    assert "\ngitlab_runner_concurrent 2" in f"\n{metrics}"
    busy = [
        float(line.split()[-1])
        for line in metrics.splitlines()
        if line.startswith("gitlab_runner_jobs{") and 'state="idle"' not in line
    ]
    assert sum(busy) == 1
    assert re.search(rf"^url=\S+/{job} state=running stage=\S+ ", page("/debug/jobs/list"), re.M)
    assert lab.gitlab.wait_job(job, 20).state == "success"
