# SPDX-License-Identifier: GPL-3.0-or-later
"""What the folders beside Ansible may import: `make venv` and the stand-ins need no lab."""

from __future__ import annotations

import ast
import re

import pytest

from tools.tree import ROOT, files

ALLOWED = {"tools": {"tools"}, "standins": {"standins"}}
OURS = {"ansible_collections", "bench", "lab", "standins", "tests", "tools"}


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_a_folder_imports_nothing_of_the_others(folder: str) -> None:
    paths = files(f"{folder}/**/*.py")
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = {name.partition(".")[0] for name in names} & OURS
            assert found <= ALLOWED[folder], path


def test_the_targets_of_a_user_call_nothing_of_the_lab() -> None:
    """The recipes of `make venv` and of the verbs that work on real hosts."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rules = re.findall(r"(?m)^(\S[^:=\n]*):(?!=)([^\n]*)\n((?:\t[^\n]*\n)*)", text)
    recipes = {name: recipe for name, needs, recipe in rules if re.match(r" *venv\b(?!-)", needs)}
    recipes |= {name: recipe for name, _, recipe in rules if ".stamp" in name}
    assert {"provision", "verify", "mirror", "docs", "collection"} <= set(recipes)
    for name, recipe in recipes.items():
        assert not re.search(r"\blab/|-m lab\b", recipe), name
