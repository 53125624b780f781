# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments in the cache, and the Pythons of this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from lab.places import CHECKOUT, cache_dir, digest, locked

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def environment(name: str, python: str, lock: Path) -> Path:
    """The folder of programs of an environment of that Python with what a lock says; one is kept.

    Args:
        name: of the folder in the cache.
        python: the program.
        lock: a file of requirements with hashes.
    """
    folder = cache_dir() / name
    made = folder / digest(python, lock.read_bytes())
    with locked(folder / "lock"):
        if not (made / "ready").exists():
            for old in folder.glob("*/"):
                shutil.rmtree(old)
            subprocess.run([python, "-m", "venv", str(made)], check=True)
            install = (made / "bin" / "python", CHECKOUT / "tools/python-packages", lock)
            subprocess.run([str(word) for word in install], check=True)
            (made / "ready").touch()
    return made / "bin"


def pythons(folder: Path) -> dict[str, Path]:
    """The Pythons of this machine, from PATH and pyenv, as links in a folder under their names."""
    code = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    found = {}
    for version in VERSIONS:
        prefix = said("pyenv", "prefix", version)
        by_pyenv = f"{prefix}/bin/python" if prefix else ""
        for program in (f"python{version}", by_pyenv, sys.executable):
            got, _, path = said(program, "-c", code).partition(" ") if program else ("", "", "")
            if got == version:
                (folder / f"python{version}").symlink_to(path)
                found[version] = folder / f"python{version}"
                break
    return found


def said(*words: str) -> str:
    """The one line that a program prints, or an empty text where it fails or does not exist."""
    if not shutil.which(words[0]):
        return ""
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd="/", timeout=60,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout.strip() if done.returncode == 0 else ""
