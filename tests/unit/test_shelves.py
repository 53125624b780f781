# SPDX-License-Identifier: GPL-3.0-or-later
"""Each file of plugins/ lies on the shelf of the machine that it runs on: docs/architecture.md."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN = "ansible_collections.runnerhost.toolkit."
SHELVES = {
    # Sent to the hosts by Ansible, or kept there for the timers.
    "modules": {"plugins.module_utils"},
    "module_utils": {"plugins.module_utils"},
    # On the controller.
    "action": {"plugins.module_utils", "plugins.plugin_utils"},
    "plugin_utils": {"plugins.module_utils", "plugins.plugin_utils"},
    "filter": {"plugins.module_utils", "plugins.plugin_utils"},
    "lookup": {"plugins.module_utils", "plugins.plugin_utils"},
    # Read by ansible-doc and the actions, not imported.
    "doc_fragments": set(),
}
FILES = [path for shelf in SHELVES for path in sorted((ROOT / "plugins" / shelf).glob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: a relative import"
            yield str(node.module)


def test_every_shelf_is_known() -> None:
    found = {path.parent.name for path in (ROOT / "plugins").rglob("*.py")}
    assert found == set(SHELVES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_stay_on_the_shelf(path: Path) -> None:
    allowed = SHELVES[path.parent.name]
    own = {name.removeprefix(OWN) for name in imported(path) if name.startswith(OWN)}
    shelves = {".".join(name.split(".")[:2]) for name in own}
    assert shelves <= allowed, f"{path.parent.name} may import {sorted(allowed)} only"


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.parent.name in ("modules", "module_utils")],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_hosts_need_the_standard_library_alone(path: Path) -> None:
    """What a host has: Python's standard library, apt's own binding, and what Ansible sends."""
    others = {
        name
        for name in imported(path)
        if not name.startswith((OWN, "ansible.module_utils."))
        and name.split(".")[0] not in sys.stdlib_module_names | {"__future__", "apt_pkg"}
    }
    assert not others


def test_what_only_the_controller_imports_lies_on_its_shelf() -> None:
    """module_utils is what hosts run: something in plugins/modules or a timer reaches each file."""
    needs = {
        path.stem: {
            name.split(".")[2]
            for name in (
                f"{node.module}.{alias.name}".removeprefix(OWN)
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            )
            if name.startswith("plugins.module_utils.")
        }
        for path in FILES
        if path.parent.name in ("modules", "module_utils")
    }
    modules = {path.stem for path in FILES if path.parent.name == "modules"}
    templates = (ROOT / "roles").glob("*/templates/**/*.j2")
    units = "".join(path.read_text(encoding="utf-8") for path in templates if path.is_file())
    started = set(re.findall(rf"-m {re.escape(OWN)}plugins\.module_utils\.(\w+)", units))
    assert started
    reached, new = set(), started.union(*(needs[name] for name in modules))
    while new:
        reached |= new
        new = set().union(*(needs[name] for name in new)) - reached
    there = {path.stem for path in FILES if path.parent.name == "module_utils"}
    assert there == reached


def test_the_controllers_half_can_be_imported_with_ansible_alone() -> None:
    """A plugin names in a message what is missing, so it must load without it."""
    modules = [
        f"{OWN}plugins.{path.parent.name}.{path.stem}"
        for path in FILES
        if path.parent.name in ("action", "plugin_utils", "lookup")
    ]
    code = f"""
import importlib, sys
for name in ("tomlkit", "gitlab", "requests", "cryptography"):
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name)
"""
    path = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_ansible_tests_sanity_refuses(path: Path) -> None:
    """It imports plugins beside ansible-core and what that needs, and takes _ for a translation."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    roots = {
        name.partition(".")[0]
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [one.name for one in node.names]
        )
    }
    known = {"ansible", "ansible_collections", "yaml", *sys.stdlib_module_names}
    on_controller = path.parent.name in ("action", "plugin_utils", "lookup", "filter")
    assert roots <= known | ({"jinja2"} if on_controller else set())
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    assert not [node.lineno for node in names if node.id == "_"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_and_functions_are_short(path: Path) -> None:
    """About 400 lines and 60 lines, so that a file has one subject and a function one task."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 420
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 65, f"{path.name}: {node.name}"
