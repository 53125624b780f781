# SPDX-License-Identifier: GPL-3.0-or-later
"""The toolkit's own code that hosts keep for their timers and services: which files it consists of.

The list follows from the imports of what the units start. The files are kept as they are, comments
included, for whoever reads them on a host; file_set (its option ``code``) leaves a file alone that
differs from its source in comments, docstrings or layout only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "module_utils"
PACKAGE = "ansible_collections.runnerhost.toolkit.plugins.module_utils"


def sources(entry_points: Iterable[str], folder: Path = FOLDER) -> dict[str, str]:
    """The entry points and all that they import of the package, by name, each with its text."""
    found: dict[str, str] = {}
    due = list(entry_points)
    while due:
        name = due.pop()
        if name not in found:
            found[name] = (folder / f"{name}.py").read_text(encoding="utf-8")
            due += _imported(found[name])
    return dict(sorted(found.items()))


def _imported(source: str) -> Iterator[str]:
    """Names of the package's modules that a text imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith(f"{PACKAGE}."):
                yield name.removeprefix(f"{PACKAGE}.").partition(".")[0]
