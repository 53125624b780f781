# SPDX-License-Identifier: GPL-3.0-or-later
"""pytest-testinfra is no longer actively maintained: its use stays small and in one place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tools.tree import files

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = re.compile(r"(?m)^\s*(?:import|from) testinfra\b")


def test_one_file_imports_it() -> None:
    paths = [path for pattern in ("**/*.py", "tools/*") for path in files(pattern)]
    found = {
        str(path.relative_to(ROOT)) for path in paths if IMPORTS.search(path.read_text("utf-8"))
    }
    assert found == {"tests/host/conftest.py"}


def test_the_tests_use_of_it_what_the_docs_say() -> None:
    used = set()
    for path in files("tests/host/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "host":
                used.add(node.attr)
    assert used == {"check_output", "file", "run", "user"}
    told = " ".join((ROOT / "docs" / "verified.md").read_text("utf-8").split())
    assert "`file`, `user`, `run` and `check_output`" in told


def test_what_is_run_ahead_is_what_tests_run() -> None:
    """Else it would only cost time."""
    seen = 0
    for path in files("tests/host/test_*.py"):
        functions = {
            node.name: {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.FunctionDef)
        }
        # Constants and functions of the file; `named` only tells for what.
        begun = functions.pop("ahead", set()) - {
            "dict",
            "str",
            "Any",
            "list",
            "map",
            "wanted",
            "named",
        }
        used = set().union(*functions.values())
        assert begun <= used, path
        seen += len(begun)
    assert seen


def test_what_is_no_comparison_says_what_was_expected_and_found() -> None:
    """`make verify` shows what a comparison compared; of all else it knows the message alone."""
    seen = 0
    for path in files("tests/host/test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Compare):
                if isinstance(node.msg, ast.Name | ast.Subscript):
                    # Made where it is known.
                    continue
                told = ast.unparse(node.msg) if node.msg else ""
                assert re.search("(?s): expected .*, found ", told), f"{path}:{node.lineno}"
                seen += 1
    assert seen
