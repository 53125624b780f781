"""The collection's artifact, built from a clean copy: `python -m lab.collection FOLDER`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from lab.places import CHECKOUT
from lab.run import LabError, run


def build(target: Path, *, committed: bool = True) -> Path:
    """Build the artifact into `target` and return its path.

    From the last commit, or else from the checkout's files as they are now.
    In neither case from what git does not track: a checkout holds more than
    belongs into an artifact. Raises LabError if git or ansible-galaxy fails.
    """
    program = Path(sys.executable).with_name("ansible-galaxy")
    with tempfile.TemporaryDirectory(prefix="runnerhost-build-") as name:
        source = Path(name) / "source"
        source.mkdir()
        if committed:
            archive = Path(name) / "head.tar"
            run(["git", "archive", "--output", str(archive), "HEAD"], cwd=CHECKOUT)
            # Debian 12's tarfile has no filter yet.
            run(["tar", "--extract", "--file", str(archive), "--directory", str(source)])
        else:
            for path in checkout_files():
                copy = source / path.relative_to(CHECKOUT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
        out = Path(name) / "out"
        run([str(program), "collection", "build", str(source), "--output-path", str(out)])
        (made,) = out.iterdir()
        target.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(made, target / made.name))


def checkout_files() -> list[Path]:
    """The checkout's files that git tracks, as they are now."""
    names = run(["git", "ls-files", "-z"], cwd=CHECKOUT).stdout
    paths = [CHECKOUT / name for name in names.split("\0") if name]
    return [path for path in paths if path.is_file()]


if __name__ == "__main__":
    try:
        print(build(Path(sys.argv[1])))
    except LabError as error:
        sys.exit(f"collection: {error}")
