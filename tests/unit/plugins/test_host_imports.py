# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts run can be imported by an older Python too: it must say which one it takes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[3] / "plugins"
NEWER = {
    "dataclasses": {"KW_ONLY"},
    "datetime": {"UTC"},
    "enum": {"StrEnum"},
    "itertools": {"batched", "pairwise"},
    "tomllib": {"load", "loads"},
    "types": {"NoneType", "UnionType"},
    "typing": {"Concatenate", "ParamSpec", "Self", "TypeAlias", "TypeGuard", "assert_never"},
}
"""Names that Python 3.9 does not have (docs.python.org, "New in version")."""
FILES = sorted([*PLUGINS.glob("modules/*.py"), *PLUGINS.glob("module_utils/*.py")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_import_fails_on_python_3_9(path: Path) -> None:
    names = {
        f"{node.module}.{alias.name}"
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert not names & {f"{module}.{name}" for module, some in NEWER.items() for name in some}
