# SPDX-License-Identifier: GPL-3.0-or-later
"""Molecule's scenarios: named as their folders, on hosts that the lab has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.platforms import PLATFORMS
from tests.suites import WHOLE_HOST
from tools.tree import files, roles

ROOT = Path(__file__).resolve().parents[2]
SHARED = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text(encoding="utf-8"))
SCENARIOS = [path.parent.name for path in files("molecule/*/molecule.yml")]


def scenario(name: str) -> dict[str, Any]:
    """What a scenario itself says."""
    path = ROOT / "molecule" / name / "molecule.yml"
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def test_make_test_runs_the_whole_host_on_each_platform() -> None:
    hosts = [
        platform["name"]
        for name in WHOLE_HOST
        for platform in scenario(name).get("platforms", SHARED["platforms"])
    ]
    assert hosts == list(PLATFORMS)


def test_each_role_has_a_scenario() -> None:
    # The whole host, a role too, is the scenario default. Two others work on no host.
    alone = set(roles()) - {"runner_host", "gitlab_project", "release_pipeline"}
    assert alone <= set(SCENARIOS)
    for role in alone:
        variables = scenario(role)["provisioner"]["inventory"]["host_vars"]
        verified = {"runner_host_verify_roles": [role]}
        if role == "index_credentials":
            # It does nothing without its variables.
            assert variables["jammy"].items() > verified.items()
        else:
            assert variables == {"jammy": verified}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_says_only_what_differs(name: str) -> None:
    data = scenario(name)
    assert data["scenario"] == {"name": name}
    provisioner = data.get("provisioner", {})
    hosts = {platform["name"] for platform in data.get("platforms", SHARED["platforms"])}
    # Molecule would take another host's variables without a word.
    assert set(provisioner.get("inventory", {}).get("host_vars", {})) <= hosts
    # The lab's group_vars come after the scenario's and would win.
    assert "group_vars" not in provisioner.get("inventory", {})
    assert provisioner.get("env", {}).get("HOSTS", "jammy").split() == sorted(hosts)
