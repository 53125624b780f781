# SPDX-License-Identifier: GPL-3.0-or-later
"""python_check: what it calls an interpreter that works, and what it says of one that does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _system
from ansible_collections.runnerhost.toolkit.plugins.modules import python_check


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The options of each venv that is made."""
    made: list[list[str]] = []
    real = _system.run

    def run(argv: list[str], **given: float) -> subprocess.CompletedProcess[str]:
        if argv[1:3] == ["-m", "venv"]:
            made.append(argv[3:-1])
        return real(argv, **given)

    monkeypatch.setattr(_system, "run", run)
    return made


def test_pip_is_proven_and_not_unpacked(calls: list[list[str]]) -> None:
    assert python_check.check(sys.executable) == ""
    assert calls == [["--without-pip"]]


def test_what_is_not_found_leaves_it_to_venv(
    tmp_path: Path, calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = python_check._WITH_WHEEL.replace("pip-{", "lost-{")
    assert lost != python_check._WITH_WHEEL
    monkeypatch.setattr(python_check, "_WITH_WHEEL", lost)
    # As Debian's interpreters are without their -venv package.
    path = tmp_path / "python"
    path.write_text(
        '#!/bin/sh\n[ "$3" = --without-pip ] || { echo ensurepip is not available; exit 1; }\n'
        f'exec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)
    assert python_check.check(str(path)) == (
        "no venv (python_versions_packages must bring the -venv package of each version): "
        "ensurepip is not available"
    )
    assert calls == [["--without-pip"], []]


@pytest.mark.parametrize("module", ["ssl", "sqlite3", "lzma", "ctypes", "ensurepip"])
def test_each_module_counts(module: str) -> None:
    without = f"import sys; sys.modules[{module!r}] = None; {python_check._WITH_WHEEL}"
    said = python_check._try(sys.executable, ["--without-pip"], without)
    assert f"import of {module} halted" in said


def test_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert python_check.check(sys.executable) == ""
    assert list(tmp_path.iterdir()) == []
