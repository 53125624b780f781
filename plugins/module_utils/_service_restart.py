# SPDX-License-Identifier: GPL-3.0-or-later
"""A service of the runner: how it is started, and restarted without ending a job.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _drain,
    _files,
    _runner_cli,
    _secrets,
    _system,
    _systemd,
)

# How long an idle runner may take to be back; it takes about two seconds (RestartSec=1).
BACK_SECONDS = 20.0
# Between two tries to start a service that dies, and how long our own setting needs to be over.
AUTO_RESTART = "auto-restart"
SOON_SECONDS = 5.0


class Problem(Exception):
    """Why a service cannot reach its state, and the end of its journal."""

    def __init__(self, text: str, journal: list[str] | None = None) -> None:
        super().__init__(text)
        self.journal = journal or []


class Actions:
    """The actions that are performed, or would be in check mode."""

    def __init__(self, check: bool) -> None:
        self.check = check
        self.done: list[str] = []

    def do(self, what: str, argv: list[str], unit: str = "") -> None:
        """Performs an action; in check mode, only records its name."""
        self.done.append(what)
        if self.check:
            return
        ran = _system.run(argv, timeout=120)
        if ran.returncode:
            said = _secrets.redact_text((ran.stderr or ran.stdout).strip())
            raise Problem(f"{what}: {said}", journal(unit))


@dataclass(frozen=True)
class Service:
    """The wanted state of a service.

    Attributes:
        unit: its unit.
        drop_in: the drop-in that must be loaded.
        generation: the mark of the settings that it should have been started with.
        user: the user of its jobs.
        isolated: whether the toolkit brings its unit, and not the package.
        unit_missing: whether the host had no such unit before this run.
    """

    unit: str
    drop_in: str
    generation: str
    user: str
    isolated: bool = False
    unit_missing: bool = False

    def properties(self) -> dict[str, str]:
        """The current properties of its unit."""
        return _systemd.units([self.unit]).get(self.unit, {})

    def runs(self) -> bool:
        """True if its process was started with these settings."""
        return _system.generation(int(self.properties().get("MainPID") or 0)) == self.generation

    def require_graceful(self, unit: dict[str, str]) -> None:
        """Fails if another drop-in makes a stop of the service kill its jobs."""
        if (unit.get("KillSignal"), unit.get("KillMode")) != ("3", "mixed"):
            raise Problem(
                f"{self.unit} would be stopped with signal {unit.get('KillSignal')} and "
                f"KillMode={unit.get('KillMode')}, which kills its jobs: another drop-in comes "
                f"after the toolkit's; take it away. Read in this order: {unit.get('DropInPaths')}"
            )


def journal(unit: str) -> list[str]:
    """The end of a unit's journal, without secrets."""
    if not unit:
        return []
    done = _system.run(["journalctl", "-u", unit, "-n", "15", "--no-pager", "-o", "cat"])
    return _secrets.redact_text(done.stdout).splitlines()


# The daemon's last words, in each of its formats.
_LAST_WORDS = re.compile(r'FATAL|PANIC|panic:|"level":"(?:fatal|panic)"')
_LISTENER = re.compile(r"(?i)listen(?:er)?\b|bind: ")


def restarts(unit: dict[str, str]) -> int:
    """How often systemd has started a unit again by itself since somebody has started it."""
    return int(unit.get("NRestarts") or 0)


def ended(unit: dict[str, str], before: int) -> bool:
    """True if the daemon has ended by itself.

    Args:
        unit: the unit's properties.
        before: systemd's own starts that have another reason.
    """
    gone = unit.get("SubState") == AUTO_RESTART or unit.get("ActiveState") == "failed"
    return gone or restarts(unit) > before


def last_words(unit: str) -> str:
    """Why the daemon of a unit has ended, in its own words; empty if it did not say."""
    argv = ["journalctl", "-u", unit, "-b", "-n", "200", "--no-pager", "-o", "cat"]
    lines = [line for line in _system.run(argv).stdout.splitlines() if _LAST_WORDS.search(line)]
    return _secrets.redact_text(_runner_cli.plain(lines[-1])) if lines else ""


def fail_as_ended(service: Service) -> NoReturn:
    """Tells why a service does not stay up."""
    unit, said = service.unit, last_words(service.unit)
    if _LISTENER.search(said):
        cure = (
            "set listen_address (or session_server) to an address of this host with a free port, "
            "or end the program that has it"
        )
    else:
        cure = f"mend what it names (journalctl -u {unit})"
    raise Problem(
        f"{unit} does not stay up, systemd starts it again and again: "
        f"{said or 'it says not why'}; {cure}, then run this again",
        journal(unit),
    )


def await_ready(service: Service, before: int) -> None:
    """Waits until the daemon handles signals, which it does after all that may end its start.

    Args:
        service: the service.
        before: systemd's own starts that have another reason.
    """
    end = time.monotonic() + BACK_SECONDS
    while True:
        now = service.properties()
        if ended(now, before):
            fail_as_ended(service)
        pid = int(now.get("MainPID") or 0)
        ready = now.get("ActiveState") == "active" and _drain.age(pid) is not None
        if (ready and _drain.is_listening(pid)) or time.monotonic() > end:
            return
        time.sleep(0.2)


def mark_of(unit: str) -> str:
    """The file that marks a signalled restart of a service; a reboot removes it."""
    return f"/run/runnerhost/{unit.removesuffix('.service')}.restart"


def read_mark(unit: str) -> str:
    """The process that was signalled, and the settings for which it is to be replaced."""
    try:
        return _files.read_text(mark_of(unit)).strip()
    except OSError:
        return ""


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Polls a condition."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def start(service: Service, unit: dict[str, str], actions: Actions) -> int:
    """Starts a service that does not run, also if systemd would start it later.

    Returns how often systemd has started it again by then.
    """
    count = restarts(unit)
    if unit.get("SubState") == AUTO_RESTART:
        # The package's own unit waits 120 s, ours one: what is back by then may have a job.
        if wait_until(lambda: service.properties().get("SubState") != AUTO_RESTART, SOON_SECONDS):
            return restarts(service.properties())
        # systemd leaves a start waiting for that time too.
        actions.do(f"start {service.unit}", ["systemctl", "restart", service.unit], service.unit)
        count = 0 if actions.check else restarts(service.properties())
    elif unit.get("ActiveState") not in ("active", "activating", "reloading", "deactivating"):
        actions.do(f"start {service.unit}", ["systemctl", "start", service.unit], service.unit)
        # A start by hand counts from nothing.
        count = 0
    else:
        return count
    if not actions.check:
        # systemd answers before the new process has its environment.
        wait_until(lambda: service.runs() or ended(service.properties(), count), BACK_SECONDS)
    return count


def restart_when_idle(service: Service, actions: Actions) -> bool:
    """Signals a restart that the settings require; True if it is still pending."""
    now = service.properties()
    pid = int(now.get("MainPID") or 0)
    if now.get("ActiveState") != "active" or not pid:
        return False
    if _system.generation(pid) == service.generation:
        return False
    due = f"{pid} {service.generation}"
    signalled = read_mark(service.unit).split()[:1] == [str(pid)]
    if not signalled:
        if not actions.check:
            _drain.await_listening(service.unit)
            if service.properties().get("MainPID") != str(pid):
                # It was restarted meanwhile, maybe with these settings.
                return restart_when_idle(service, actions)
        actions.do(
            f"restart {service.unit} when idle",
            ["systemctl", "kill", "--signal=SIGQUIT", "--kill-who=main", service.unit],
            service.unit,
        )
    if actions.check:
        return signalled
    mark = mark_of(service.unit)
    os.makedirs(os.path.dirname(mark), mode=0o755, exist_ok=True)
    if read_mark(service.unit) != due:
        _files.write_atomic(mark, due + "\n", 0o644)
    before = restarts(now)

    def over() -> bool:
        # Its own end is the first restart.
        again = restarts(service.properties()) > before + 1
        return again or service.runs() or _system.has_children(pid)

    wait_until(over, BACK_SECONDS)
    if restarts(service.properties()) > before + 1:
        fail_as_ended(service)
    return not service.runs()
