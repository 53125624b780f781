# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user has left in a checkout is no file of the project."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import reference, tree

ROOT = Path(__file__).resolve().parents[3]
LEFT = (
    "playbooks/ours.yml", "roles/ours/tasks/main.yml", "roles/ours/meta/argument_specs.yml",
    "roles/build_tools/meta/argument_specs.yml.orig", "docs/ours.md", "molecule/ours/molecule.yml",
)  # fmt: skip
PATTERNS = (
    "*.md", "docs/*.md", "playbooks/*.yml", "roles/*/meta/argument_specs.yml", "roles/*/*/*",
    "molecule/*/molecule.yml",
)  # fmt: skip


@pytest.fixture(name="littered")
def _littered(tmp_path: Path) -> Path:
    """A clone in which a user has made a role, a playbook and more."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--shared", ROOT, clone], check=True)
    for name in LEFT:
        path = clone / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("nothing: [of the project\n")
    (clone / "docs" / "mirror.md").unlink()
    return clone


def names(root: Path) -> set[str]:
    return {
        str(path.relative_to(root)) for pattern in PATTERNS for path in tree.files(pattern, root)
    }


def test_a_users_files_are_not_found(littered: Path) -> None:
    found = names(littered)
    assert {"README.md", "playbooks/site.yml", "molecule/default/molecule.yml"} <= found
    assert found.isdisjoint(LEFT)
    # Gone from the folder, git still tracks it.
    assert "docs/mirror.md" not in found
    assert "ours" not in tree.roles(littered)
    assert "build_tools" in tree.roles(littered)


def test_the_reference_of_roles_has_no_role_of_a_user(littered: Path) -> None:
    assert "ours" not in reference.role_order(littered)


def test_without_git_all_files_are_the_projects(tmp_path: Path) -> None:
    """An unpacked archive, even inside a checkout of something else."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("")
    assert names(tmp_path) == {"docs/a.md"}
