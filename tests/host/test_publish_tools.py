# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools for publishing are those of the lock, start for every user, and are root's alone."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "/usr/local/lib/runnerhost/publish-tools"
LINKS = "/usr/local/bin"
PROGRAM = "runnerhost-release"
_START = """
import importlib.metadata, subprocess, sys
points = {point.name: point for point in importlib.metadata.entry_points(group="console_scripts")}
for name in sys.argv[1:]:
    try:
        if name in points:
            points[name].load()
        else:
            path = sys.prefix + "/bin/" + name
            subprocess.run([path, "--version"], check=True, stdout=subprocess.DEVNULL)
    except (Exception, SystemExit) as error:
        sys.exit(f"{name}: {error}")
"""


def named(wanted: dict[str, Any]) -> list[str]:
    """The tools that the host should have."""
    absent = wanted["publish_tools_state"] == "absent"
    return [] if absent else [str(name) for name in wanted["publish_tools_commands"]]


def start(names: list[str]) -> str:
    """Starts them as a user without rights; in one process, since most need the same modules."""
    nobody = "runuser -u nobody --"
    return (
        f"cd / && {nobody} {FOLDER}/current/bin/python -I -c {shlex.quote(_START)} "
        f"{' '.join(names)} && {nobody} {LINKS}/{PROGRAM} --help >/dev/null"
    )


def ahead(wanted: dict[str, Any]) -> list[str]:
    """What takes long."""
    return [start(named(wanted))] if named(wanted) else []


@pytest.fixture(scope="session")
def commands(wanted: dict[str, Any]) -> list[str]:
    """The commands that the host should have."""
    absent = wanted["publish_tools_state"] == "absent"
    return [] if absent else [*named(wanted), PROGRAM]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def found_digest(host: Any, path: str) -> str:
    """A file's on the host; empty if there is none."""
    return str(host.run(f"test -e {path} && sha256sum {path}").stdout.partition(" ")[0])


def test_they_are_those_of_the_lock(
    host: Any, wanted: dict[str, Any], commands: list[str], note: Callable[[str], None]
) -> None:
    path = Path(wanted["publish_tools_lock"] or ROOT / "requirements-release.txt")
    if commands and not path.is_file():
        note(f"publish_tools_lock: the tools were not compared with {path}: it is not there")
    elif commands:
        found = found_digest(host, f"{FOLDER}/current/requirements.txt")
        assert found == digest(path), f"digest of the lock of {FOLDER}/current"


def test_the_release_program_is_the_toolkits(host: Any, commands: list[str]) -> None:
    path = f"{FOLDER}/release.py"
    expected = digest(ROOT / "release" / "release.py") if commands else ""
    assert found_digest(host, path) == expected, f"digest of {path}"


def test_commands_lead_to_them(host: Any, commands: list[str]) -> None:
    expected = {f"{LINKS}/{name}": f"{FOLDER}/current/bin/{name}" for name in commands}
    if commands:
        expected[f"{LINKS}/{PROGRAM}"] = f"{FOLDER}/{PROGRAM}"
    lines = host.check_output(f"find {LINKS} -lname '{FOLDER}/*' -printf '%p %l\\n'").splitlines()
    found = dict(line.split(" ") for line in lines)
    foreign = [path for path in expected if path not in found]
    if foreign:
        there = host.run(f"ls -d {' '.join(foreign)} 2>/dev/null").stdout.split()
        found |= dict.fromkeys(there, "what is not the toolkit's")
    assert found == expected, f"links in {LINKS}"


def test_each_tool_starts(host: Any, wanted: dict[str, Any]) -> None:
    names = named(wanted)
    if not names:
        return
    done = host.run(start(names))
    said = (done.stderr.strip().splitlines() or [f"exit code {done.rc}"])[-1]
    assert done.rc == 0, f"the tools for publishing: expected to start, found {said}"


def test_no_job_can_change_them(host: Any) -> None:
    found = host.run(f"find {FOLDER} ! -type l \\( -perm /022 -o ! -user root \\) -print -quit")
    path = found.stdout.strip()
    assert not path, f"{path}: expected root's alone, found what others can write"
