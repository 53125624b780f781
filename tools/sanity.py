# SPDX-License-Identifier: GPL-3.0-or-later
"""`ansible-test sanity` on the collection's artifact: `python -m tools.sanity [TEST…]`.

It is built from the tracked files as they are now, and unpacked into a folder
`ansible_collections/NAMESPACE/NAME`, which ansible-test wants. ansible-test makes a virtual
environment for each test that needs packages; where these cannot be downloaded, the test is
skipped and says why. There are no files of ignored errors.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml

from tools.collection import build
from tools.tree import ROOT

BIN = Path(sys.executable).parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "runnerhost" / "sanity"
"""ansible-test keeps its virtual environments below the home directory."""
# ansible-test would download pip from a vendor; every Python brings one.
BOOTSTRAP = """\
import subprocess, sys
subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True)
words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", *words]).returncode)
"""
_NO_PACKAGES = re.compile(
    r"(?i)could not find a version|no matching distribution|connection (broken|refused)"
    r"|name or service not known|temporary failure in name resolution|max retries exceeded"
    r"|network is unreachable"
)


def unpack(target: Path) -> Path:
    """The artifact below a folder `ansible_collections`, in a git repository of its own."""
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    collection = target / "ansible_collections" / galaxy["namespace"] / galaxy["name"]
    collection.mkdir(parents=True)
    with tarfile.open(build(target, committed=False)) as tar:
        tar.extractall(collection, filter="data")
    # GitLab's own format, two documents in a file: tests/pipelines holds it to GitLab's schema.
    shutil.rmtree(collection / "components")
    # ansible-test asks git what belongs to the collection.
    for words in (["init", "-q"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=collection, check=True)
    return Path(collection)


def environment() -> dict[str, str]:
    """A home directory for ansible-test alone, with the user's settings of pip."""
    (HOME / ".ansible" / "test" / "cache").mkdir(parents=True, exist_ok=True)
    source = Path(_data()) / "_internal" / "python_requirements.py"
    for version in set(re.findall(r"\bpip='([\d.]+)'", source.read_text("utf-8"))):
        name = f"get_pip_{version.replace('.', '_')}.py"
        (HOME / ".ansible" / "test" / "cache" / name).write_text(BOOTSTRAP)
    own = Path.home() / ".config" / "pip" / "pip.conf"
    pip = {"PIP_CONFIG_FILE": str(own)} if own.exists() else {}
    return {**pip, **os.environ, "HOME": str(HOME), "PATH": f"{BIN}:{os.environ.get('PATH', '')}"}


def _data() -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import ansible_test; print(ansible_test.__path__[0])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def run_test(name: str, collection: Path) -> str:
    """Runs one test: ``passed``, ``failed``, or why it is skipped."""
    words = [str(BIN / "ansible-test"), "sanity", "--python", PYTHON, "--color", "no"]
    done = subprocess.run(
        [*words, "--test", name], cwd=collection, env=environment(), text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return "passed"
    errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR: ")]
    if not errors and (match := _NO_PACKAGES.search(done.stdout)):
        return f"skipped: its packages cannot be had here ({match[0].lower()})"
    print("\n".join(errors or done.stdout.splitlines()[-30:]), flush=True)
    return "failed"


def names(collection: Path) -> list[str]:
    """The tests of this ansible-core."""
    done = subprocess.run(
        [str(BIN / "ansible-test"), "sanity", "--list-tests"],
        cwd=collection, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def main() -> int:
    """Runs the tests that were asked for, or all; 1 if one failed."""
    with tempfile.TemporaryDirectory(prefix="runnerhost-sanity-") as folder:
        collection = unpack(Path(folder))
        found = {}
        for name in sys.argv[1:] or names(collection):
            found[name] = run_test(name, collection)
            print(f"{name}: {found[name]}", flush=True)
    return 1 if "failed" in found.values() else 0


if __name__ == "__main__":
    sys.exit(main())
