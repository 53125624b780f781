# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's artifact, built from a clean copy: `python -m tools.collection FOLDER`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.tree import ROOT


def build(target: Path, *, committed: bool = True) -> Path:
    """Build the artifact into `target` and return its path.

    From the last commit, or else from the checkout's files as they are now.
    In neither case from what git does not track: a checkout holds more than
    belongs into an artifact. Raises CalledProcessError if git or ansible-galaxy fails.
    """
    program = Path(sys.executable).with_name("ansible-galaxy")
    with tempfile.TemporaryDirectory(prefix="runnerhost-build-") as name:
        source = Path(name) / "source"
        source.mkdir()
        if committed:
            archive = Path(name) / "head.tar"
            run(["git", "archive", "--output", str(archive), "HEAD"])
            # Debian 12's tarfile has no filter yet.
            run(["tar", "--extract", "--file", str(archive), "--directory", str(source)])
        else:
            for path in checkout_files():
                copy = source / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
        out = Path(name) / "out"
        run([str(program), "collection", "build", str(source), "--output-path", str(out)])
        (made,) = out.iterdir()
        target.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(made, target / made.name))


def run(command: list[str]) -> str:
    """Run a command that must succeed and return what it printed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def checkout_files() -> list[Path]:
    """The checkout's files that git tracks, as they are now."""
    names = run(["git", "ls-files", "-z"])
    paths = [ROOT / name for name in names.split("\0") if name]
    return [path for path in paths if path.is_file()]


if __name__ == "__main__":
    try:
        print(build(Path(sys.argv[1])))
    except subprocess.CalledProcessError as error:
        sys.exit(f"collection: {error}\n{error.stderr}")
