# SPDX-License-Identifier: GPL-3.0-or-later
"""The release program's tools, Pythons to build for, and an index: pypiserver, unmodified."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import environments
from lab.environments import environment
from lab.places import cache_dir
from tests.release.door import Door
from tests.release.projects import Project

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements-release-test.txt"
USER = "__token__"
TOKEN = "planted-Zq7-f4kT9-of-the-index"
"""What the index accepts: it may be found nowhere else."""


@pytest.fixture(scope="session")
def tools(request: pytest.FixtureRequest) -> Path:
    """The programs of the lock, in a virtual environment in the cache; one is kept."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return environment("release-tools", sys.executable, LOCK)


@pytest.fixture(scope="session")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The Pythons of this machine, from PATH and pyenv, in one folder under their names."""
    return environments.pythons(tmp_path_factory.mktemp("pythons"))


@pytest.fixture(scope="session")
def two(pythons: dict[str, Path]) -> tuple[str, str]:
    """The oldest and the newest Python."""
    if len(pythons) < 2:
        pytest.skip(
            f"skipped: two versions of Python are needed; found {' '.join(pythons) or 'none'}"
        )
    return next(iter(pythons)), list(pythons)[-1]


@dataclass
class Desk:
    """Where a user types the release program's commands."""

    folder: Path
    environment: dict[str, str]

    def start(self, folder: Path, *words: str, **more: str) -> subprocess.Popen[str]:
        """Starts a command in a folder."""
        return subprocess.Popen(
            words, cwd=folder, env={**self.environment, **more}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs the release program."""
        child = self.start(folder, sys.executable, str(ROOT / "release/release.py"), *words, **more)
        output, _ = child.communicate(timeout=300)
        return subprocess.CompletedProcess(words, child.returncode, output)


@pytest.fixture
def desk(tools: Path, pythons: dict[str, Path], tmp_path: Path) -> Desk:
    """A user's shell, with a home and a folder for temporary files of its own."""
    folders = {str(path.parent) for path in pythons.values()}
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CI", "GITLAB", "TWINE_", "PYTHON"))
    }
    environment = {
        **kept,
        "PATH": ":".join([str(tools), *folders, "/usr/local/bin:/usr/bin:/bin"]),
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "UV_CACHE_DIR": str(cache_dir() / "uv"),
    }
    return Desk(tmp_path, environment)


@pytest.fixture
def index(tools: Path, tmp_path: Path) -> Iterator[Door]:
    """pypiserver, behind a door that can fail."""
    (tmp_path / "packages").mkdir()
    code = "import sys; from passlib.apache import HtpasswdFile; "
    code += "f = HtpasswdFile(sys.argv[1], new=True); f.set_password(*sys.argv[2:]); f.save()"
    users = tmp_path / "htpasswd"
    subprocess.run([tools / "python", "-c", code, users, USER, TOKEN], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [str(tools / "pypi-server"), "run", "-p", str(port), "-i", "127.0.0.1",
            "-P", str(users), "-a", "update,list,download", "--disable-fallback",
            str(tmp_path / "packages")]  # fmt: skip
    with (tmp_path / "pypiserver.log").open("w") as log:
        child = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            with Door(port) as door:
                yield door
        finally:
            child.terminate()
            child.wait()


@pytest.fixture(scope="session")
def pure(
    tools: Path, pythons: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A pure project, built and checked."""
    project = Project(tmp_path_factory.mktemp("pure")).pure("pure_demo", "1.2.3")
    folder = tmp_path_factory.mktemp("pure-desk")
    environment = {
        **os.environ,
        "PATH": f"{tools}:{next(iter(pythons.values())).parent}:/usr/bin:/bin",
    }
    version = next(iter(pythons))
    done = Desk(folder, environment).run(
        project.folder, "build", "repair", "check", "--python", version
    )
    assert done.returncode == 0, done.stdout
    return project
