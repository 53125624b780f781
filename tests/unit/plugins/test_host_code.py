# SPDX-License-Identifier: GPL-3.0-or-later
"""The code that hosts keep: its files follow from its imports, and comments are no change of it."""

from __future__ import annotations

import ast
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.lookup.host_code import LookupModule
from ansible_collections.runnerhost.toolkit.plugins.module_utils._file_items import (
    Item,
    apply_item,
    same_code,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _host_code
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import ROOT

LIBRARY = "/usr/local/lib/runnerhost/" + _host_code.PACKAGE.replace(".", "/")
ROLE = ROOT / "roles" / "gitlab_runner"


def entry_points() -> set[str]:
    """What the role's units start."""
    texts = [path.read_text("utf-8") for path in (ROLE / "templates").rglob("*.j2")]
    return set(re.findall(rf"-m {re.escape(_host_code.PACKAGE)}\.(\w+)", "".join(texts)))


def test_the_role_takes_what_its_units_start() -> None:
    variables = (ROLE / "vars" / "main.yml").read_text("utf-8")
    (call,) = re.findall(r"lookup\('runnerhost.toolkit.host_code', (.*?), folder=", variables)
    assert set(re.findall(r"'(\w+)'", call)) == entry_points() == {"_cleanup", "_drain"}
    assert f"__gitlab_runner_library: {LIBRARY}\n" in variables
    # The units' PYTHONPATH is the first folder of it.
    assert LIBRARY.startswith("/usr/local/lib/runnerhost/ansible_collections/")


def test_the_files_follow_from_the_imports(tmp_path: Path) -> None:
    texts = {
        "_a": f"from {_host_code.PACKAGE} import (\n    _b,\n)\nimport json\n",
        "_b": f"def late():\n    import {_host_code.PACKAGE}._c\n    from os import path\n",
        "_c": f"from {_host_code.PACKAGE}._a import name\n",
        "_d": "",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert list(_host_code.sources(["_a"], tmp_path)) == ["_a", "_b", "_c"]
    assert _host_code.sources(["_d"], tmp_path) == {"_d": ""}


def test_a_host_can_start_it_from_these_files_alone(tmp_path: Path) -> None:
    library = tmp_path / _host_code.PACKAGE.replace(".", "/")
    library.mkdir(parents=True)
    for name, text in _host_code.sources(entry_points()).items():
        (library / f"{name}.py").write_text(text)
    for name in entry_points():
        done = subprocess.run(
            [sys.executable, "-S", "-m", f"{_host_code.PACKAGE}.{name}", "--help"],
            env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_lookup_gives_items_and_removes_files_of_earlier_versions() -> None:
    lookup = LookupModule()
    lookup.set_options = lambda **_: None
    lookup.get_option = lambda _: "/lib"
    ((*files, absent),) = lookup.run(["_systemd"])
    names = _host_code.sources(["_systemd"])
    assert [one["path"] for one in files] == [f"/lib/{name}.py" for name in names]
    assert all(one["code"] for one in files)
    assert absent == {
        "path": "/lib/*.py",
        "state": "absent",
        "keep": [one["path"] for one in files],
    }


ONE = '"""What it is."""\n\nimport os\n\n\ndef f(a: int) -> int:\n    """Why."""\n    return a\n'


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (ONE.replace("What it is", "Something else"), True),
        (ONE.replace('    """Why."""\n', ""), True),
        (
            ONE.replace("import os\n", "# Why.\nimport os  # And this.\nK = 1\n").replace(
                "K = 1\n", ""
            ),
            True,
        ),
        (ONE.replace("f(a: int)", "f(\n    a: int,\n)"), True),
        (ONE.replace("return a", "return -a"), False),
        (ONE.replace("import os", "import re"), False),
        (ONE + "\n(", False),
        ("", False),
    ],
)
def test_what_counts_as_another_code(other: str, same: bool) -> None:
    assert same_code(ONE, other) is same
    assert same_code(other, ONE) is same


def test_a_docstring_alone_is_the_same_as_pass() -> None:
    assert same_code('class A(Exception):\n    """Why."""\n', "class A(Exception):\n    pass\n")


@pytest.mark.parametrize("name", sorted(_host_code.sources(entry_points())))
def test_all_of_it_is_told_apart_by_its_code(name: str) -> None:
    text = _host_code.sources(entry_points())[name]
    assert same_code(text, ast.unparse(ast.parse(text)))
    assert not same_code(text, text + "\nX = 1\n")


def test_a_change_of_a_comment_is_no_change_of_a_host(tmp_path: Path) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    path = tmp_path / "a.py"
    path.write_text(f"# Old.\n{ONE}")
    path.chmod(0o644)
    new = Item(str(path), content=f"# New.\n{ONE}", owner=me, code=True)
    assert apply_item(new, check=False) is None
    assert path.read_text().startswith("# Old.")
    # A wrong mode is, without a new text.
    path.chmod(0o600)
    change = apply_item(new, check=False)
    assert change
    assert change.before == change.after == path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    # What is no code is compared as it is.
    assert apply_item(Item(str(path), content=f"# New.\n{ONE}", owner=me), check=False)
    assert path.read_text().startswith("# New.")
