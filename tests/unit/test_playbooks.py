"""site.yml: what its tags run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = ("network_access", "build_tools", "python_versions", "gitlab_runner")


def steps() -> list[tuple[str, str, list[str]]]:
    """Role, tasks file, and tags of each step of the play."""
    (play,) = yaml.safe_load((ROOT / "playbooks" / "site.yml").read_text(encoding="utf-8"))
    found = []
    for task in play["tasks"]:
        part: dict[str, Any] = task["ansible.builtin.import_role"]
        role = part["name"].rpartition(".")[2]
        found.append((role, part.get("tasks_from", "main"), task["tags"]))
    return found


def test_each_role_has_its_tag_and_the_ways_out_are_set_up_with_every_tag() -> None:
    """What another role fetches on a fresh host must get there."""
    assert {role for role, _, _ in steps()} == set(ROLES)
    for role, part, tags in steps():
        always = role == "network_access"
        assert ("always" in tags) == always, (role, part)
        assert always or tags == [role], (role, part)


def test_everything_is_refused_before_anything_is_touched() -> None:
    """A plan of a later role that refuses must not find the host half provisioned."""
    parts = [part for _, part, _ in steps()]
    assert [role for role, part, _ in steps()[: parts.count("plan")] if part == "plan"] == [
        role for role in ROLES if (ROOT / "roles" / role / "tasks" / "plan.yml").exists()
    ]


def test_what_a_package_needs_is_there_before_the_one_transaction() -> None:
    """Pins and repositories, and the drop-in that keeps jobs alive."""
    order = [(role, part) for role, part, _ in steps()]
    transaction = order.index(("build_tools", "main"))
    for earlier in (
        ("network_access", "main"),
        ("python_versions", "repository"),
        ("gitlab_runner", "prepare"),
    ):
        assert order.index(earlier) < transaction
    assert order[transaction + 1 :] == [("python_versions", "main"), ("gitlab_runner", "main")]
