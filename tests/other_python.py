# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit tests, or `make sanity`, with the other of the two locked ansible-core versions.

Usage: python -m tests.other_python [pytest's OPTION…]
       python -m tests.other_python sanity [TEST…]

requirements-dev.txt locks two versions: the newest for Python 3.11, and the newest of all, for
Python 3.12 and newer. The suites `unit` and `sanity` use one of them, the suites `unit-other` and
`sanity-other` the other: with another Python of this machine, in a cached virtual environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lab.environments import environment, said

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements-dev.txt"
NEWER = ("3.14", "3.13", "3.12")
"""The Pythons on which the lock takes the newest ansible-core, in the order they are looked for."""
OLDER = ("3.11",)
WORKS = "import ensurepip, ssl, venv, sys; print('%d.%d' % sys.version_info[:2], sys.executable)"


def missing() -> str:
    """What is said where there is no such Python."""
    wanted = "Python 3.12 or newer" if sys.version_info < (3, 12) else "Python 3.11"
    return f"no {wanted} beside this one"


def find() -> str:
    """The other Python's program, or an empty text: from PATH, pyenv or uv, none is downloaded."""
    for version in NEWER if sys.version_info < (3, 12) else OLDER:
        named = (f"python{version}",)
        asked = (
            ("pyenv", "prefix", version),
            ("uv", "python", "find", "--no-python-downloads", "--no-project", version),
        )
        for program in (*named, *(said(*words) for words in asked)):
            if program and os.path.isdir(program):
                program = f"{program}/bin/python"
            # A shim of pyenv is there for Pythons that it would not run.
            got, _, path = said(program, "-c", WORKS).partition(" ") if program else ("", "", "")
            if got == version:
                return path
    return ""


def main() -> int:
    """Runs the tests; their exit code."""
    python = find()
    if not python:
        print(f"skipped: {missing()}")
        return 0
    programs = environment("other-python", python, LOCK)
    core = [str(programs / "ansible"), "--version"]
    print(subprocess.run(core, capture_output=True, text=True, check=True).stdout.splitlines()[0])
    return subprocess.run(
        [str(programs / "python"), "-m", *command(sys.argv[1:])],
        cwd=ROOT, check=False,
        env={**os.environ, "PATH": f"{programs}:{os.environ.get('PATH', '')}"},
    ).returncode  # fmt: skip


def command(words: list[str]) -> list[str]:
    """The Python module to run, with its arguments."""
    if words[:1] == ["sanity"]:
        return ["tools.sanity", *words[1:]]
    # The lab and its stand-ins run on the first environment alone.
    left_out = ("--ignore", "tests/unit/lab", "--ignore", "tests/unit/standins")
    return ["pytest", "-q", "-p", "no:cacheprovider", "tests/unit", *left_out, *words]


if __name__ == "__main__":
    sys.exit(main())
