# SPDX-License-Identifier: GPL-3.0-or-later
"""A runner program, its daemon and its folders, for the contract tests."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from standins.gitlab.client import LabGitLab, RunnerCreated

TEST_USER = "runnerhost-contract"
_COLOURS = re.compile(r"\x1b\[[0-9;]*[mK]")


@dataclass(frozen=True)
class Done:
    """What a command left behind: exit code, output, log without colours."""

    code: int
    out: str
    log: str


@dataclass
class Host:
    """A folder tree as a runner host has one, and the program on it."""

    kind: str
    binary: Path
    root: Path
    gitlab: LabGitLab
    user: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def version(self) -> tuple[int, ...]:
        """Return the program's version as numbers."""
        said = re.search(r"^Version: +(\d+)\.(\d+)\.(\d+)", self.run("--version").out)
        assert said
        return tuple(map(int, said.groups()))

    def processes(self) -> dict[int, str]:
        """Return what runs for this host, daemon and jobs: by number, with its command line.

        The daemon's environment, which is its jobs' too, names the host's folder.
        """
        mark = str(self.root).encode()
        found = {}
        for folder in Path("/proc").iterdir():
            # It may end while it is looked at, or be another user's.
            with suppress(OSError):
                if folder.name.isdigit() and mark in (folder / "environ").read_bytes():
                    line = (folder / "cmdline").read_bytes()
                    found[int(folder.name)] = line.replace(b"\0", b" ").decode(errors="replace")
        return found

    @property
    def config(self) -> Path:
        """Return the path of config.toml."""
        return self.root / "etc" / "config.toml"

    @property
    def work(self) -> Path:
        """Return the working directory, which is the job user's."""
        return self.root / "work"

    def environ(self) -> dict[str, str]:
        """Return a service's bare environment: nothing of the developer's gets in."""
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            **self.environment,
        }

    def run(self, *words: str, **environment: str) -> Done:
        """Run a command of the program to its end."""
        done = subprocess.run(
            [str(self.binary), *words],
            env={**self.environ(), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, _COLOURS.sub("", done.stderr))

    def register(self, token: str, *words: str, **environment: str) -> Done:
        """Register with the usual options."""
        return self.run(
            "register",
            "--non-interactive",
            f"--config={self.config}",
            f"--url={self.gitlab.base_url}",
            f"--token={token}",
            "--executor=shell",
            f"--tls-ca-file={self.gitlab.ca_file}",
            *words,
            **environment,
        )

    def write_config(self, *runners: RunnerCreated, top: str = "", extra: str = "") -> None:
        """Write a config.toml by rename, as the roles do."""
        text = "check_interval = 1\n" + (top or "concurrent = 2\n")
        for number, runner in enumerate(runners):
            text += (
                "\n[[runners]]\n"
                f'  name = "r{number}"\n'
                f'  url = "{self.gitlab.base_url}"\n'
                f"  id = {runner.id}\n"
                f'  token = "{runner.token}"\n'
                '  executor = "shell"\n'
                f'  tls-ca-file = "{self.gitlab.ca_file}"\n'
                f"{extra}"
            )
        self.replace_config(text)

    def replace_config(self, text: str) -> None:
        """Put a new config.toml in place in one step."""
        new = self.config.with_suffix(".new")
        new.write_text(text)
        new.chmod(0o600)
        new.rename(self.config)


class Daemon:
    """A running ``gitlab-runner run``; its log is read as it comes."""

    def __init__(self, host: Host, *words: str) -> None:
        self._host = host
        user = ["--user", host.user] if host.user else []
        self._process = subprocess.Popen(
            [
                str(host.binary),
                "run",
                "--config",
                str(host.config),
                "--working-directory",
                str(host.work),
                *user,
                *words,
            ],
            env=host.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Return the daemon's process id."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._news:
                self.lines.append(_COLOURS.sub("", line.rstrip("\n")))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def mark(self) -> int:
        """Return how many lines there are by now."""
        with self._news:
            return len(self.lines)

    def wait_log(self, pattern: str, timeout: float = 20, after: int = 0) -> str:
        """Wait for a line that matches, behind line number ``after``."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for line in self.lines[after:]:
                    if re.search(pattern, line):
                        return line
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    tail = "\n".join(self.lines[-30:])
                    raise AssertionError(f"no line {pattern!r} within {timeout} s:\n{tail}")
                self._news.wait(min(left, 1.0))

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the daemon alone."""
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Wait for the end and return the exit code."""
        return self._process.wait(timeout)

    @property
    def running(self) -> bool:
        """Say whether the daemon lives."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the daemon and what its jobs left, whatever state they are in."""
        if self.running:
            self._process.kill()
        self._process.wait(10)
        deadline = time.monotonic() + 10
        while left := self._host.processes():
            assert time.monotonic() < deadline, f"cannot end {left}"
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)  # /proc has no way to be told
        self._reader.join(10)


def job_user() -> str:
    """Return the job user, made if absent; "" where we are not root (jobs run as ourselves)."""
    if os.getuid() != 0:
        return ""
    try:
        pwd.getpwnam(TEST_USER)
    except KeyError:
        command = [
            "useradd",
            "--system",
            "--shell",
            "/bin/bash",
            "--create-home",
            "--skel",
            "/dev/null",
            TEST_USER,
        ]
        subprocess.run(command, check=True, timeout=30)
    return TEST_USER
