# SPDX-License-Identifier: GPL-3.0-or-later
"""One licence for the whole project, named in each source file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tools.tree import files

ROOT = Path(__file__).resolve().parents[2]
NAME = "GPL-3.0-or-later"
HEADER = f"# SPDX-License-Identifier: {NAME}"
GNU = "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)"


def sources() -> list[Path]:
    """Python and scripts, but for the lab's examples of users' projects."""
    found = [path for path in files("**/*") if path.is_file() and not path.is_symlink()]
    return [
        path
        for path in found
        if not path.is_relative_to(ROOT / "lab" / "projects")
        and (path.suffix == ".py" or path.read_bytes().startswith(b"#!"))
    ]


def test_each_source_file_names_the_licence() -> None:
    without = []
    for path in sources():
        head = path.read_text(encoding="utf-8").splitlines()[:4]
        if HEADER not in head:
            without.append(str(path.relative_to(ROOT)))
    assert without == [], f"first line, after #! if there is one: {HEADER}"


@pytest.mark.parametrize("kind", ["action", "lookup", "modules"])
def test_plugins_name_it_as_ansible_test_asks(kind: str) -> None:
    paths = files(f"plugins/{kind}/*.py")
    assert paths
    for path in paths:
        assert GNU in path.read_text(encoding="utf-8").splitlines()[:3], path


def test_the_papers_name_the_same() -> None:
    assert "GNU GENERAL PUBLIC LICENSE\n" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    assert galaxy["license"] == [NAME]
    for path in files("roles/*/meta/main.yml"):
        assert yaml.safe_load(path.read_text("utf-8"))["galaxy_info"]["license"] == NAME
