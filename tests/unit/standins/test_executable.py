# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for gitlab-runner as one executable file."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from standins.executable import PACKAGE, PYTHON, gitlab_runner, with_version
from standins.gitlab_runner.version import VERSION


def test_the_same_sources_give_the_same_bytes() -> None:
    assert gitlab_runner() == gitlab_runner()
    assert gitlab_runner("17.5.0") != gitlab_runner()
    with zipfile.ZipFile(io.BytesIO(gitlab_runner())) as archive:
        found = archive.infolist()
    assert {info.date_time for info in found} == {(1980, 1, 1, 0, 0, 0)}
    names = [info.filename for info in found]
    assert names == sorted(names)
    assert {Path(name).name for name in names} == {path.name for path in PACKAGE.glob("*.py")}


def test_it_runs_from_anywhere_without_the_project(tmp_path: Path) -> None:
    """With -I, as its first line says: neither the folder nor the environment adds a module."""
    assert gitlab_runner().startswith(f"#!{PYTHON} -I\n".encode())
    program = tmp_path / "gitlab-runner"
    program.write_bytes(gitlab_runner(python=sys.executable))
    program.chmod(0o755)
    done = subprocess.run(
        [program, "--version"], cwd="/", env={}, capture_output=True, text=True, check=True,
        timeout=30,
    )  # fmt: skip
    assert done.stdout.startswith(f"Version:      {VERSION}\n")


def test_it_imports_the_standard_library_alone_and_all_of_it_at_the_start() -> None:
    """A daemon outlives its package: the file may be another version's when it looks again."""
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        every = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        assert [node for node in tree.body if node in every] == every, path
        names = [one.name for node in every if isinstance(node, ast.Import) for one in node.names]
        names += [node.module or "" for node in every if isinstance(node, ast.ImportFrom)]
        tops = {name.partition(".")[0] for name in names}
        assert tops <= {*sys.stdlib_module_names, "standins"}, path


def test_a_source_without_version_line_is_refused() -> None:
    with pytest.raises(ValueError, match="no VERSION line"):
        with_version("print(1)\n", "1.2.3")
