# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make sanity` gives ansible-test, and what it makes of its answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import other_python
from tools import sanity
from tools.tree import ROOT

pytestmark = pytest.mark.long

NO_ROUTE = "ERROR: Could not find a version that satisfies the requirement pylint (from versions: )"


@pytest.fixture
def ansible_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs in which ansible-test is what a test writes there."""
    monkeypatch.setattr(sanity, "BIN", tmp_path)
    monkeypatch.setattr(sanity, "HOME", tmp_path / "home")
    return tmp_path / "ansible-test"


def answers(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_artifact_lies_where_ansible_test_wants_it(tmp_path: Path) -> None:
    collection = sanity.unpack(tmp_path)
    assert collection == tmp_path / "ansible_collections" / "runnerhost" / "toolkit"
    # There are no files of ignored errors.
    assert not [*ROOT.glob("tests/sanity*"), *collection.glob("tests/sanity*")]
    assert (collection / "plugins" / "modules" / "file_set.py").is_file()
    assert not (collection / "lab").exists()
    # Not Ansible's: a component of GitLab's.
    assert not (collection / "components").exists()
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=collection, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "plugins/modules/file_set.py" in tracked


@pytest.mark.parametrize(
    ("script", "result", "shown"),
    [
        ("exit 0", "passed", ""),
        ("echo 'ERROR: x.py:1:1: wrong'; echo more; exit 1", "failed", "ERROR: x.py:1:1: wrong\n"),
        ("echo 'Traceback: broken'; exit 2", "failed", "Traceback: broken\n"),
        (
            f"echo 'WARNING: pip'; echo '{NO_ROUTE.removeprefix('ERROR: ')}'; exit 1",
            "skipped: its packages cannot be had here (could not find a version)",
            "",
        ),
        # A real error is one, whatever pip says besides.
        (
            f"echo '{NO_ROUTE}'; echo 'ERROR: x.py:1:1: wrong'; exit 1",
            "failed",
            f"{NO_ROUTE}\nERROR: x.py:1:1: wrong\n",
        ),
    ],
)
def test_what_one_test_has_come_to(
    ansible_test: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    script: str,
    result: str,
    shown: str,
) -> None:
    answers(ansible_test, script)
    assert sanity.run_test("pylint", tmp_path) == result
    assert capsys.readouterr().out == shown


def test_ansible_test_is_asked_for_one_test_and_this_python(
    ansible_test: Path, tmp_path: Path
) -> None:
    answers(ansible_test, f'echo "$PWD $HOME $*" > {tmp_path}/asked')
    sanity.run_test("yamllint", tmp_path)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (tmp_path / "asked").read_text().split() == [
        str(tmp_path), str(tmp_path / "home"),
        "sanity", "--python", version, "--color", "no", "--test", "yamllint",
    ]  # fmt: skip


@pytest.mark.parametrize(("second", "code"), [("exit 0", 0), ("echo ERROR: no; exit 1", 1)])
def test_all_tests_run_and_one_that_fails_fails_the_run(
    ansible_test: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    second: str,
    code: int,
) -> None:
    answers(
        ansible_test,
        f'case "$*" in *--list-tests) echo one; echo two; echo three;; *two) {second};; esac',
    )
    monkeypatch.setattr(sys, "argv", ["sanity"])
    monkeypatch.setattr(sanity, "unpack", lambda folder: folder)
    assert sanity.main() == code
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines if ": " in line and "ERROR" not in line] == [
        "one", "two", "three",
    ]  # fmt: skip


def test_the_other_ansible_core_runs_the_same() -> None:
    assert other_python.command(["sanity", "import"]) == ["tools.sanity", "import"]
    assert other_python.command(["-x"])[0] == "pytest"
