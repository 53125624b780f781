# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of its own for the tests, and the playbooks run against it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.hosts import ssh_command
from lab.jobs import SCRATCH_PROJECT, connect, project_at
from lab.places import Lab
from lab.world import status
from standins.gitlab.client import LabGitLab
from tests.processes import kill_marked

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PLAYBOOK_SECONDS = 900
RUN_MARK = "RUNNERHOST_TEST_RUN"
"""In the environment of a playbook's processes, to find them all by."""

NO_CHECKOUT = {"GIT_STRATEGY": "none"}


@dataclass(frozen=True)
class Run:
    """One run of a playbook: its exit code, whole output, seconds, and each host's counts."""

    code: int
    output: str
    seconds: float
    recap: dict[str, dict[str, int]]

    def counts(self, host: str = "jammy") -> dict[str, int]:
        """A host's counts; the output is the message if there are none."""
        assert host in self.recap, self.output
        return self.recap[host]


def parse(output: str) -> dict[str, dict[str, int]]:
    """Ansible's PLAY RECAP: host to its counts."""
    return {
        host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", rest)}
        for host, rest in re.findall(r"(?m)^(\S+)\s+: (ok=.*)$", output)
    }


@dataclass
class Site:
    """A lab that is up, with everything that was ever printed of it."""

    lab: Lab
    outputs: list[str] = field(default_factory=list)
    temporary: Path = field(
        default_factory=lambda: Path(tempfile.mkdtemp(prefix="runnerhost-controller-"))
    )
    """Where the playbooks have what is temporary on the controller: nobody else writes there."""
    tools: bool = True
    """Whether its hosts get the tools for publishing: sixty megabytes from an index."""
    _addresses: dict[str, str] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        """The lab's inventory folder."""
        return self.lab.state / "inventory"

    @property
    def variables(self) -> dict[str, Any]:
        """What `lab up` wrote for all hosts."""
        data = yaml.safe_load((self.inventory / "hosts.yml").read_text(encoding="utf-8"))
        found: dict[str, Any] = data["all"]["vars"]
        return found

    def changes(self, name: str, *arguments: str) -> set[tuple[str, str]]:
        """What a run changed, or in check mode would: (task, path, package, key or action)."""
        found = set()
        for play in self.record(name, *arguments)["plays"]:
            for task in play["tasks"]:
                for result in task["hosts"].values():
                    if result.get("changed"):
                        parts = [
                            *result.get("changed_paths", []),
                            *result.get("packages", []),
                            *result.get("actions", []),
                            *result.get("changed_keys", []),
                            *result.get("checked", []),
                        ]
                        found |= {(task["task"]["name"], part) for part in parts or ["itself"]}
        return found

    def record(
        self, name: str, *arguments: str, extra: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """A run that goes well, as callbacks/record.py tells it."""
        run = self.playbook(name, *arguments, extra=extra, callback="record")
        assert run.code == 0, run.output
        data: dict[str, Any] = json.loads(run.output[run.output.index("{\n") :])
        return data

    def playbook(
        self,
        name: str,
        *arguments: str,
        extra: Mapping[str, Any] | None = None,
        callback: str = "ansible.builtin.default",
        on_line: Mapping[str, Callable[[], object]] | None = None,
    ) -> Run:
        """Runs a playbook. Extra variables go by a file that only root reads.

        Args:
            on_line: text -> what to do once, when a line of the output holds it.
        """
        pending = dict(on_line or {})
        start = time.monotonic()
        lines: list[str] = []
        with self._started(name, extra, *arguments, callback=callback) as process:
            assert process.stdout
            for line in process.stdout:
                lines.append(line)
                for text in [text for text in pending if text in line]:
                    pending.pop(text)()
            code = process.wait()
        output = "".join(lines)
        self.outputs.append(output)
        assert not pending, f"never printed: {', '.join(pending)}\n{output}"
        return Run(code, output, time.monotonic() - start, parse(output))

    def killed(
        self,
        name: str,
        task: str,
        moment: Callable[[threading.Event], bool],
        extra: Mapping[str, Any] | None = None,
    ) -> bool:
        """Runs a playbook and kills it, with all its processes, in a task.

        Args:
            name: the playbook.
            task: the task's name as it is printed.
            moment: called when the task begins; returns True when it is time to kill. It is given
                what is set once the task is over: then the run is killed in any case.
            extra: variables.

        Returns:
            What `moment` returned; False if there was no such task.
        """
        mark = f"{RUN_MARK}={uuid.uuid4()}"
        over = threading.Event()
        lines: list[str] = []
        hit: Future[bool] | None = None

        def strike() -> bool:
            came = moment(over)
            kill_marked(mark)
            return came

        with ThreadPoolExecutor(1) as pool, self._started(name, extra, mark=mark) as process:
            try:
                assert process.stdout
                for text in process.stdout:
                    lines.append(text)
                    if hit is None and f"TASK [{task}]" in text:
                        hit = pool.submit(strike)
                    elif hit is not None and text.startswith(("TASK [", "PLAY RECAP")):
                        over.set()
                        kill_marked(mark)
                over.set()
                return hit is not None and hit.result()
            finally:
                kill_marked(mark)
                self.outputs.append("".join(lines))

    @contextmanager
    def _started(
        self,
        name: str,
        extra: Mapping[str, Any] | None,
        *arguments: str,
        callback: str = "ansible.builtin.default",
        mark: str = "",
    ) -> Iterator[subprocess.Popen[str]]:
        """A playbook that runs, in a session of its own. Ends with it."""
        key, _, value = (mark or f"{RUN_MARK}=").partition("=")
        with tempfile.TemporaryDirectory(prefix="runnerhost-test-") as folder:
            words = [str(BIN / "ansible-playbook"), "-i", str(self.inventory), f"playbooks/{name}"]
            if not self.tools:
                extra = {"publish_tools_state": "absent", **(extra or {})}
            if extra:
                path = Path(folder) / "extra.json"
                path.touch(mode=0o600)
                path.write_text(json.dumps(extra), encoding="utf-8")
                words += ["-e", f"@{path}"]
            with subprocess.Popen(
                [*words, *arguments],
                cwd=ROOT,
                env={
                    **os.environ,
                    key: value,
                    "TMPDIR": str(self.temporary),
                    "ANSIBLE_LOCAL_TEMP": str(self.temporary),
                    "ANSIBLE_NOCOLOR": "1",
                    # Ansible does not flush what it prints, and into a pipe that waits.
                    "PYTHONUNBUFFERED": "1",
                    # Else a task is printed only once it is over (ansible.cfg hides skipped ones).
                    "ANSIBLE_DISPLAY_SKIPPED_HOSTS": str(bool(value)),
                    "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "lab" / "callbacks"),
                    "ANSIBLE_STDOUT_CALLBACK": callback,
                    "PATH": f"{BIN}:{os.environ['PATH']}",
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process:
                watch = threading.Timer(PLAYBOOK_SECONDS, process.kill)
                watch.start()
                try:
                    yield process
                finally:
                    watch.cancel()
                    process.kill()

    def verb(self, *words: str) -> None:
        """A verb of this lab's command line."""
        environment = {**os.environ, "LAB_NAME": self.lab.name, "HOSTS": "jammy"}
        self._addresses.clear()
        subprocess.run(
            [sys.executable, "-m", "lab", *words],
            cwd=ROOT,
            env=environment,
            check=True,
            timeout=900,
        )

    def sh(self, script: str, host: str = "jammy", check: bool = True) -> str:
        """A script's output, as root on a host."""
        # Asked once: the container engine answers late while a host's disk is busy.
        if host not in self._addresses:
            self._addresses = {h.name: h.address for h in status(self.lab).hosts}
        address = self._addresses[host]
        done = subprocess.run(
            [*ssh_command(self.lab, str(address)), "sudo", "-n", "bash", "-s"],
            input=script,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{script}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def gitlab(self) -> LabGitLab:
        """A client of the lab's GitLab."""
        return connect(self.lab)


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Polls a condition and returns its value; an assertion with `what` if it never holds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


def queue(site: Site, *script: str, **options: Any) -> int:
    """A job without a checkout; options as those of `LabGitLab.queue_job`."""
    given = {
        "timeout": 300,
        **options,
        "variables": {**NO_CHECKOUT, **options.get("variables", {})},
    }
    with site.gitlab() as gitlab:
        return gitlab.queue_job(project_at(gitlab, SCRATCH_PROJECT).path, script, **given)
