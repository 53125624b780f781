# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the GitLab Runner daemons of a host, however they are started.

A daemon is recognised by what runs (`/proc/PID/exe` or the script that an interpreter runs) and by
its subcommand ``run`` or ``run-single``; the runner's helper processes have other subcommands.
Command lines are never returned: ``run-single`` has a token there.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import glob
import mmap
import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TypedDict

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_entries


class Runner(TypedDict):
    """A runner of a configuration; empty texts where it does not name them."""

    name: str
    id: str
    executor: str


class Process(TypedDict):
    """A daemon that runs.

    Attributes:
        pid: its process.
        unit: its system unit; empty without one.
        how: how it was started, in words.
        user: its user.
        program: the path of what runs.
        command: its subcommand, ``run`` or ``run-single``.
        config: its config.toml; empty with ``run-single``.
        runners: the runners in that; None if it cannot be read.
        children: the number of its child processes.
    """

    pid: int
    unit: str
    how: str
    user: str
    program: str
    command: str
    config: str
    runners: list[Runner] | None
    children: int


class Daemon(Process):
    """The same as an operation judges it.

    Attributes:
        activity: ``busy``, ``idle`` or ``unknown``.
        text: all of it in words, without secrets.
    """

    activity: str
    text: str


# gitlab-ci-multi-runner is what gitlab-runner was called before 10.0.
_NAME = re.compile(r"gitlab-(?:ci-)?(?:multi-)?runner")
_INTERPRETER = re.compile(r"(?:python|perl|ruby|node|qemu-|ld-linux|ld-musl)[^/]*\Z")
_SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "busybox"}
# Go records the path of the main module in each binary, also in a stripped one.
_GO_MODULE = b"gitlab.com/gitlab-org/gitlab-runner"
_RUN = {"run", "run-single"}
# The other subcommands (gitlab-runner 19.3, `gitlab-runner --help` and the hidden helpers).
_NOT_RUN = {
    *("exec", "list", "register", "reset-token", "install", "uninstall", "start", "stop"),
    *("restart", "status", "unregister", "verify", "lint", "wrapper", "fleeting", "health-check"),
    *("artifacts-downloader", "artifacts-uploader", "cache-archiver", "cache-extractor"),
    *("cache-init", "read-logs", "proxy-exec", "steps", "help"),
}
# Units in which a process may have been started by a person or a schedule.
_LAUNCHERS = re.compile(r"(?:ssh|sshd|ssh@.*|cron|crond|atd|getty@.*|user@\d+)\.service\Z")
_LIMIT = 1_000_000
_CONTAINER = re.compile(r"(?:docker|libpod|crio|cri-containerd)[-/]([0-9a-f]{12})")
_COMMAND = re.compile(rf"{_NAME.pattern}\b[^\n#;|&]*\srun(?:-single)?(?=\s|$)", re.MULTILINE)
_DEFINITIONS = (
    "/etc/systemd/system/*.service",
    "/etc/systemd/system/*.service.d/*.conf",
    "/run/systemd/system/*.service",
    "/usr/local/lib/systemd/system/*.service",
    "/usr/lib/systemd/system/*runner*.service",
    "/etc/systemd/user/*.service",
    "/root/.config/systemd/user/*.service",
    "/home/*/.config/systemd/user/*.service",
    "/etc/init.d/*runner*",
    "/etc/rc.local",
    "/etc/crontab",
    "/etc/cron.d/*",
    "/var/spool/cron/crontabs/*",
)


def _bytes(path: str, limit: int = _LIMIT) -> bytes:
    """The beginning of a regular file; empty where it cannot be read. A job may own the path."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(handle, "rb") as stream, suppress(OSError):
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return stream.read(limit)
    return b""


def _link(path: str) -> str:
    try:
        return os.readlink(path).removesuffix(" (deleted)")
    except OSError:
        return ""


def _strings(path: str) -> list[str]:
    return _bytes(path).decode(errors="replace").split("\0")[:-1]


def subcommand(words: Iterable[str]) -> str:
    """``run`` or ``run-single`` if that is what a runner's arguments ask for, else empty."""
    for word in words:
        if word in _RUN:
            return word
        if word in _NOT_RUN:
            return ""
    return ""


def option(words: list[str], *names: str) -> str:
    """The value of an option, as ``--name value`` or ``--name=value``; empty without it."""
    found = ""
    for index, word in enumerate(words):
        name, mark, value = word.partition("=")
        if name in names:
            found = value if mark else (words[index + 1 : index + 2] or [""])[0]
    return found


def _has_go_module(path: str) -> bool:
    with (
        suppress(OSError, ValueError),
        open(path, "rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content.find(_GO_MODULE) >= 0
    return False


def _program(folder: str, argv: list[str]) -> tuple[str, list[str], bool]:
    """What a process runs: the path, its arguments, and whether that is a runner."""
    exe = _link(f"{folder}/exe")
    name = os.path.basename(exe or argv[0])
    if name in _SHELLS:
        # A script that starts a runner is no runner; its child is.
        return exe, argv[1:], False
    if _INTERPRETER.match(name):
        rest = list(argv[1:])
        while rest and rest[0].startswith("-"):
            rest.pop(0)
        if not rest:
            return exe, [], False
        path = rest[0] if rest[0].startswith("/") else f"{_link(f'{folder}/cwd')}/{rest[0]}"
        runner = bool(_NAME.search(os.path.basename(path))) or (
            bool(subcommand(rest[1:]))
            and b"gitlab-runner" in _bytes(f"{folder}/root{path}", 200_000)
        )
        return path, rest[1:], runner
    runner = any(_NAME.search(os.path.basename(one)) for one in (exe, argv[0]))
    if not runner and subcommand(argv[1:]):
        runner = _has_go_module(f"{folder}/exe")
    return exe, argv[1:], runner


def _cgroup(folder: str) -> str:
    found = ""
    for line in _bytes(f"{folder}/cgroup").decode(errors="replace").splitlines():
        number, __, rest = line.partition(":")
        controllers, __, path = rest.partition(":")
        if controllers == "name=systemd" or (number == "0" and not found):
            found = path
    return found


def _started(folder: str, user: str) -> tuple[str, str]:
    """The system unit of a process, or empty; and how it was started, in words."""
    path = _cgroup(folder)
    status = _bytes(f"{folder}/status").decode(errors="replace")
    spaces = re.search(r"(?m)^NSpid:\s*\d+\s+\d", status)
    container = _CONTAINER.search(path)
    if spaces:
        return "", f"in the container {container[1]}" if container else "in a container"
    parts = [part for part in path.split("/") if part.endswith((".service", ".scope"))]
    last = parts[-1] if parts else ""
    if any(re.match(r"user@\d+\.service\Z", part) for part in parts[:-1]):
        if last.endswith(".service"):
            return "", f"{last} of systemctl --user of {user}"
        return "", f"started by hand in {last}"
    if last.endswith(".service") and not _LAUNCHERS.match(last):
        return last, "systemd service"
    if last.startswith("cron"):
        return "", "started by cron"
    return "", f"started by hand{f' in {last}' if last else ''}"


def runners(text: str) -> list[Runner]:
    """Name, id and executor of each runner of a config.toml; the token is not read.

    Line by line: the host's Python reads no TOML.
    """
    found: list[Runner] = []
    for table in re.split(r"(?m)^\s*\[\[\s*runners\s*\]\]\s*(?:#.*)?$", text)[1:]:
        head = re.split(r"(?m)^\s*\[", table)[0]
        values = {
            key: value.strip("\"'")
            for key, value in re.findall(
                r"(?m)^\s*(name|id|executor)\s*=\s*(\"[^\"\n]*\"|'[^'\n]*'|\d+)", head
            )
        }
        found.append(
            Runner(
                name=values.get("name", ""),
                id=values.get("id", ""),
                executor=values.get("executor", ""),
            )
        )
    return found


def _daemon(proc: str, pid: int, children: int) -> Process | None:
    folder = f"{proc}/{pid}"
    argv = _strings(f"{folder}/cmdline")
    if not argv:
        return None
    program, words, is_runner = _program(folder, argv)
    verb = subcommand(words)
    if not is_runner or not verb:
        return None
    status = _bytes(f"{folder}/status").decode(errors="replace")
    uid = int((re.search(r"(?m)^Uid:\s*(\d+)", status) or ["0", "0"])[1])
    try:
        entry = pwd.getpwuid(uid)
        user, home = entry.pw_name, entry.pw_dir
    except KeyError:
        user, home = str(uid), ""
    environment = dict(pair.split("=", 1) for pair in _strings(f"{folder}/environ") if "=" in pair)
    unit, how = _started(folder, user)
    config = ""
    known: list[Runner] | None = None
    if verb == "run":
        config = option(words, "--config", "-c", "-config") or environment.get("CONFIG_FILE", "")
        if not config:
            home = environment.get("HOME", home)
            config = "/etc/gitlab-runner" if uid == 0 else f"{home}/.gitlab-runner"
            config += "/config.toml"
        config = os.path.normpath(os.path.join(_link(f"{folder}/cwd") or "/", config))
        path = f"{folder}/root{config}"
        if os.path.isfile(path):
            content = _bytes(path)
            known = runners(content.decode(errors="replace"))
            if not known and _runner_entries.has_runners(content):
                # Valid TOML that is written otherwise than the daemon writes it.
                known = None
    else:
        name = option(words, "--name", "--description") or environment.get("RUNNER_NAME", "")
        executor = option(words, "--executor") or environment.get("RUNNER_EXECUTOR", "")
        known = [{"name": name, "id": "", "executor": executor}]
    return {
        "pid": pid,
        "unit": unit,
        "how": how,
        "user": user,
        "program": program,
        "command": verb,
        "config": config,
        "runners": known,
        "children": children,
    }


def find(proc: str = "/proc") -> list[Process]:
    """Every daemon of the host, except one that a job of another daemon has started."""
    parents: dict[int, int] = {}
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        # The name in brackets may hold blanks: the fields start after its end.
        fields = _bytes(f"{proc}/{name}/stat").decode(errors="replace").rpartition(")")[2].split()
        if len(fields) > 1 and fields[0] != "Z":
            parents[int(name)] = int(fields[1])
    below = list(parents.values())
    found = {}
    for pid in sorted(parents):
        daemon = _daemon(proc, pid, below.count(pid))
        if daemon:
            found[pid] = daemon
    return [
        one for pid, one in found.items() if not any(up in found for up in _above(pid, parents))
    ]


def _above(pid: int, parents: Mapping[int, int]) -> Iterator[int]:
    seen = {pid}
    while (pid := parents.get(pid, 0)) and pid not in seen:
        seen.add(pid)
        yield pid


# --- what does not run now ------------------------------------------------------------------------


def definitions(running: Iterable[str] = (), own: Iterable[str] = (), root: str = "") -> list[str]:
    """Files that start a runner which does not run now: units, cron tables, start scripts.

    Args:
        running: units of the daemons that run, which are left out.
        own: the toolkit's own units.
        root: folder in front of all paths, for tests.
    """
    running = {re.sub(r"@.*\.service", "@.service", unit) for unit in running}
    found = []
    for path in sorted(path for one in _DEFINITIONS for path in glob.glob(root + one)):
        short = path[len(root) :]
        name = os.path.basename(os.path.dirname(path)).removesuffix(".d")
        name = name if name.endswith(".service") else os.path.basename(path)
        is_sysv = "/init.d/" in path and f"{name}.service" in {*running, *own}
        if name in running or name in own or is_sysv:
            continue
        if os.path.islink(path) and os.path.realpath(path) != path and short.endswith(".service"):
            # An alias of a unit that is checked under its own name.
            continue
        content = _bytes(path, 100_000).decode(errors="replace")
        if _starts_runner(content, root):
            found.append(short)
    return found


def _starts_runner(content: str, root: str) -> bool:
    lines = [line for line in content.splitlines() if not line.lstrip().startswith(("#", ";"))]
    plain = "\n".join(lines).replace("\\\n", " ").replace('"', "").replace("'", "")
    if _COMMAND.search(plain):
        return True
    # One level of a wrapper script.
    for path in re.findall(r"(?m)^ExecStart=[-@:+!]*(?:/\S*sh\s+)?(/\S+)", plain):
        script = _bytes(root + path, 10_000)
        if script.startswith(b"#!") and _COMMAND.search(
            script.decode(errors="replace").replace('"', "").replace("\\\n", " ")
        ):
            return True
    return False
