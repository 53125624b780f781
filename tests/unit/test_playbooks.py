"""site.yml: what its tags run."""

from __future__ import annotations

from pathlib import Path

import yaml

PLAYBOOK = Path(__file__).resolve().parents[2] / "playbooks" / "site.yml"


def test_each_role_has_its_tag_and_the_ways_out_are_set_up_with_every_tag() -> None:
    """What another role fetches on a fresh host must get there."""
    (play,) = yaml.safe_load(PLAYBOOK.read_text(encoding="utf-8"))
    tags = {role["role"].rpartition(".")[2]: role["tags"] for role in play["roles"]}
    assert all(name in found for name, found in tags.items())
    assert [name for name, found in tags.items() if "always" in found] == ["network_access"]
    assert play["pre_tasks"][0]["ansible.builtin.import_role"]["name"].endswith("network_access")
    assert play["pre_tasks"][0]["tags"] == ["always"]
