# SPDX-License-Identifier: GPL-3.0-or-later
"""One root shell on the host, over one ssh connection, for all commands of the tests.

A login and sudo for each command would take most of the tests' time.
"""

from __future__ import annotations

import os
import re
import selectors
import shlex
import subprocess
import time
from dataclasses import dataclass
from typing import Any

# The words that are read are those of no translation; gettext follows LANGUAGE in C.UTF-8 too.
ENGLISH = "export LC_ALL=C.UTF-8 LANGUAGE="
_CHUNK = 65536
# What stands behind the mark.
_END = re.compile(rb"( \d+)?\n")


@dataclass(frozen=True)
class Done:
    """A command that has ended: its exit code and what it wrote."""

    code: int
    out: bytes
    err: bytes


class LostError(Exception):
    """The shell is gone.

    Attributes:
        code: ssh's exit code.
        out: what it wrote since the last command.
        err: the same of standard error.
    """

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        super().__init__(f"ssh ended with exit code {code}")
        self.code = code
        self.out = out
        self.err = err


class RootShell:
    """The shell; it is started with its first command.

    Args:
        ssh: how to reach the host, from the action `host_tests`.
    """

    def __init__(self, ssh: dict[str, Any]) -> None:
        self._ssh = ssh
        self._mark = str(ssh["mark"])
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, text: str, seconds: float) -> Done:
        """Runs a command without standard input.

        Args:
            text: as sh(1) takes it.
            seconds: how long it may take.

        Raises:
            LostError: the connection ended first.
            TimeoutExpired: it took longer. The shell is then stopped.
        """
        until = time.monotonic() + seconds
        try:
            process = self._process or self._start(until)
            # The command's own output ends where the mark begins.
            command = shlex.quote(f"{ENGLISH}; {text}")
            self._send(
                process,
                f"/bin/sh -c {command} </dev/null; "
                f"printf '%s %d\\n' {self._mark} $?; printf '%s\\n' {self._mark} >&2\n",
            )
            out, last, err = self._read(process, until)
        except TimeoutError:
            self.close()
            raise subprocess.TimeoutExpired(text, seconds) from None
        except LostError:
            self.close()
            raise
        return Done(int(last), out, err)

    def close(self) -> None:
        """Ends the shell, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            # Not communicate, which waits for what the command may have left running.
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                assert stream is not None
                stream.close()
            self._process = None

    def _start(self, until: float) -> subprocess.Popen[bytes]:
        """Logs in; what the login and sudo print of their own is dropped."""
        # sudo leaves the password where it needs none.
        skip = f'while IFS= read -r line && [ "$line" != {self._mark} ]; do :; done; exec /bin/sh'
        password = self._ssh["password"]
        process = self._process = subprocess.Popen(
            [*self._ssh["argv"], shlex.join([*self._ssh["remote"], skip])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **({"SSHPASS": password} if password else {})},
            bufsize=0,
        )
        self._send(process, f"{self._ssh['stdin']}{self._mark}\n")
        try:
            self._read(process, until)
        except TimeoutError as slow:
            # Such as sudo, which waits for another password: its words say so.
            raise LostError(255, *slow.args) from None
        return process

    @staticmethod
    def _send(process: subprocess.Popen[bytes], text: str) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(text.encode())
        except BrokenPipeError:
            # Reading tells why.
            return

    def _read(self, process: subprocess.Popen[bytes], until: float) -> tuple[bytes, bytes, bytes]:
        """Standard output to the mark, what stands behind it, and standard error to the mark."""
        mark = self._mark.encode()
        assert process.stdout is not None
        assert process.stderr is not None
        found: dict[int, bytes] = {process.stdout.fileno(): b"", process.stderr.fileno(): b""}
        with selectors.DefaultSelector() as ready:
            for number in found:
                ready.register(number, selectors.EVENT_READ)
            while ready.get_map():
                events = ready.select(max(0.0, until - time.monotonic()))
                if not events:
                    raise TimeoutError(*found.values())
                for key, _events in events:
                    chunk = os.read(key.fd, _CHUNK)
                    found[key.fd] += chunk
                    # The mark, an exit code and the end of the line may come in parts.
                    tail = found[key.fd][-len(chunk) - len(mark) - len(" 255\n") :]
                    __, there, rest = tail.rpartition(mark)
                    if not chunk or (there and _END.fullmatch(rest)):
                        ready.unregister(key.fd)
        out, err = found.values()
        text, begun, last = out.rpartition(mark)
        said, begun_too, __ = err.rpartition(mark)
        if not begun or not begun_too:
            raise LostError(process.wait(), out, err)
        return text, last, said
