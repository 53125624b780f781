# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the contract tests: the lab's GitLab over TLS, and each runner program."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from lab.pipeline_tools import ensure_pipeline_tools, pipeline_tools
from standins.executable import PYTHON, gitlab_runner
from standins.gitlab import Settings
from standins.gitlab.client import LabGitLab
from standins.gitlab.thread import bound_socket, serving
from tests.contract.harness import Daemon, Host, job_user

REAL = [path for path in os.environ.get("LAB_GITLAB_RUNNER", "").split(os.pathsep) if path]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_dir() -> Iterator[Path]:
    """A folder that the job user may enter, as pytest's own may not be."""
    folder = Path(tempfile.mkdtemp(prefix="runnerhost-contract-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def gitlab(shared_dir: Path) -> Iterator[LabGitLab]:
    """The lab's GitLab with a CA of its own."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(shared_dir / "ca.pem")
    pki = shared_dir / "pki"
    pki.mkdir(mode=0o700)
    server = authority.issue_cert("127.0.0.1")
    server.private_key_pem.write_to_path(pki / "key.pem")
    for blob in server.cert_chain_pems:
        blob.write_to_path(pki / "cert.pem", append=True)
    with bound_socket() as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        settings = Settings(
            shared_dir / "gitlab",
            url,
            "secret-of-the-lab",
            "glpat-ContractTestsAdmin",
            trace_update_interval=1,
            compiler=tuple(pipeline_tools().gitlab_ci_local),
        )
        with (
            serving(settings, listener, pki / "cert.pem", pki / "key.pem"),
            LabGitLab(url, settings.lab_secret, settings.admin_token, shared_dir / "ca.pem") as lab,
        ):
            yield lab


@pytest.fixture(scope="session")
def compiler(request: pytest.FixtureRequest) -> None:
    """What the lab's GitLab makes pipelines with, installed."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        ensure_pipeline_tools()


@pytest.fixture(scope="session")
def project(gitlab: LabGitLab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A project with one commit."""
    source = tmp_path_factory.mktemp("source")
    (source / "hello.txt").write_text("hello\n")
    for words in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "."],
        ["-c", "user.name=A", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "x"],
    ):
        subprocess.run(["git", *words], cwd=source, check=True, timeout=30)
    gitlab.create_project("group/contract", push_from=source)
    return "group/contract"


@pytest.fixture(scope="session", params=["stand-in", *(REAL or ["real"])])
def program(request: pytest.FixtureRequest, shared_dir: Path) -> tuple[str, Path]:
    """The program under test, where the job user can run it."""
    kind: str = request.param
    target = shared_dir / re.sub(r"\W", "_", kind) / "gitlab-runner"
    target.parent.mkdir(exist_ok=True)
    if kind != "stand-in":
        if not os.access(kind, os.X_OK):
            pytest.skip("skipped: LAB_GITLAB_RUNNER names no binary")
        shutil.copyfile(kind, target)
        kind = "real"
    else:
        old = subprocess.run([PYTHON, "-c", "import tomllib"], check=False).returncode
        target.write_bytes(gitlab_runner(python=sys.executable if old else PYTHON))
    target.chmod(0o755)
    return kind, target


@pytest.fixture
def host(program: tuple[str, Path], shared_dir: Path, gitlab: LabGitLab) -> Iterator[Host]:
    """A fresh host tree; faults are cleared afterwards."""
    kind, binary = program
    root = shared_dir / f"host{next(_numbers)}"
    root.mkdir(mode=0o755)
    user = job_user()
    made = Host(kind, binary, root, gitlab, user)
    made.config.parent.mkdir(mode=0o700)
    made.work.mkdir()
    if user:
        shutil.chown(made.work, user, user)
    yield made
    gitlab.clear_faults()


@pytest.fixture
def start(host: Host) -> Iterator[Callable[..., Daemon]]:
    """Start daemons that are gone after the test."""
    daemons: list[Daemon] = []

    def started(*words: str) -> Daemon:
        daemons.append(Daemon(host, *words))
        daemons[-1].wait_log("Initializing executor providers")
        return daemons[-1]

    yield started
    for daemon in daemons:
        daemon.kill()
