# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a secret may show: what is searched, and what is watched while a playbook runs."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.engine import Engine
from tests.lab.site import ROOT, Site

LARGEST = 2_000_000
"""Bytes of a file that is looked at."""
HOST_FOLDERS = ("tmp", "var/tmp", "dev/shm", "run", "root/.ansible", "home/admin/.ansible")


@dataclass
class Watch:
    """What was seen of processes and temporary files: (place, text)."""

    host_pid: int
    controller: Path
    """The playbooks' own temporary folder."""
    began: float
    seen: set[tuple[str, bytes]] = field(default_factory=set)
    _files: set[tuple[str, int]] = field(default_factory=set)

    def scan(self) -> None:
        """Looks once at both sides."""
        spaces = {
            os.readlink("/proc/self/ns/pid"): "the controller",
            os.readlink(f"/proc/{self.host_pid}/ns/pid"): "the host",
        }
        for process in Path("/proc").glob("[0-9]*"):
            # It may end while it is looked at.
            with suppress(OSError):
                side = spaces.get(os.readlink(process / "ns/pid"))
                if side is None or process.name == str(os.getpid()):
                    continue
                self.seen.add((f"arguments on {side}", (process / "cmdline").read_bytes()))
                # A process's environment is for its own user: root's is root's.
                if process.stat().st_uid:
                    self.seen.add((f"environment on {side}", (process / "environ").read_bytes()))
        root = Path(f"/proc/{self.host_pid}/root")
        for name in HOST_FOLDERS:
            self._look_at_files("the host", root / name)
        self._look_at_files("the controller", self.controller)

    def _look_at_files(self, side: str, top: Path) -> None:
        for folder, inner, names in os.walk(top):
            # The journal is searched as such.
            inner[:] = [name for name in inner if name != "journal"]
            for path in (Path(folder) / name for name in names):
                with suppress(OSError):
                    info = path.lstat()
                    key = (str(path), info.st_mtime_ns)
                    if (
                        stat.S_ISREG(info.st_mode)
                        and self.began <= info.st_mtime
                        and info.st_size < LARGEST
                        and key not in self._files
                    ):
                        self.seen.add((f"temporary file on {side}", path.read_bytes()))
                        self._files.add(key)

    def leaks(self, secrets: set[str]) -> set[str]:
        """The places where a secret was seen."""
        known = [secret.encode() for secret in secrets]
        return {place for place, text in self.seen if any(secret in text for secret in known)}


@contextmanager
def watched(site: Site, host: str = "jammy") -> Iterator[Watch]:
    """Looks at processes and temporary files of both sides again and again."""
    name = site.lab.container(host)
    pid = int(Engine()("inspect", "--format", "{{.State.Pid}}", name).stdout)
    watch = Watch(pid, site.temporary, time.time())
    ended = threading.Event()
    problems: list[Exception] = []

    def work() -> None:
        try:
            while not ended.wait(0.02):
                watch.scan()
        except Exception as problem:
            problems.append(problem)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join(60)
    assert not problems, problems
    # One more: what is left when all is over.
    watch.scan()


def logs(site: Site) -> list[Path]:
    """The log files of the lab's servers."""
    return [
        path
        for path in sorted(Path(site.lab.state).rglob("*"))
        if path.is_file() and ("log" in path.name or path.suffix in (".log", ".jsonl"))
    ]


def leaks(site: Site, secrets: set[str]) -> set[str]:
    """The places where a secret is that should hold none."""
    texts = [(f"output {number}", text) for number, text in enumerate(site.outputs)]
    texts += [(f"log {path.name}", path.read_text(errors="replace")) for path in logs(site)]
    with site.gitlab() as gitlab:
        texts.append(("GitLab's requests", json.dumps(gitlab.requests())))
    texts.append(("journal", site.sh("journalctl --no-pager")))
    places = {place for place, text in texts if any(secret in text for secret in secrets)}
    places |= {f"host {path}" for path in readable_files(site, secrets)}
    for path in [*ROOT.glob(f".lab/{site.lab.name}/**/*"), *ROOT.glob("inventories/lab/*")]:
        if path.is_file() and path.stat().st_mode & 0o077:
            text = path.read_text(errors="replace")
            if any(secret in text for secret in secrets):
                places.add(f"controller {path.name}")
    return places


def readable_files(site: Site, secrets: set[str]) -> set[str]:
    """World-readable files of the host that hold a secret; patterns go by standard input."""
    patterns = "\n".join(sorted(secrets))
    out = site.sh(
        "umask 077; p=$(mktemp -p /root); trap 'rm -f $p' EXIT\n"
        f"cat > $p <<'X'\n{patterns}\nX\n"
        "find / -xdev -type f -perm -o=r -size -20M -not -path '/proc/*' -not -path '/sys/*' "
        "-not -path '/usr/*' -print0 | xargs -0 grep -lFf $p 2>/dev/null || true"
    )
    return {line for line in out.splitlines() if line}


def known_secrets(site: Site) -> set[str]:
    """Every token and secret that this lab has, as the host and the controller hold them."""
    text = site.sh("cat /etc/gitlab-runner/config.toml 2>/dev/null || true")
    secrets = set(re.findall(r"glrt-[\w.-]+", text))
    for tokens in site.variables["lab_runner_tokens"].values():
        secrets |= set(tokens)
    return secrets | {
        value
        for value in json.loads(site.lab.secrets.read_text(encoding="utf-8")).values()
        if isinstance(value, str) and len(value) > 8
    }
