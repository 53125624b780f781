# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specs and defaults say the same, by value and by type."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _variables
from tools.tree import roles

ROOT = Path(__file__).resolve().parents[3]
ROLES = roles()
TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def options(role: str) -> dict[str, Any]:
    """Of all entry points."""
    return _variables.options(role)


def defaults(role: str) -> dict[str, Any]:
    """As a run without former names has them."""
    found: dict[str, Any] = load(ROOT / "roles" / role / "defaults" / "main.yml")
    for old, new in _variables.RENAMED.items():
        if new in found:
            written = re.fullmatch(rf"{{{{ {old} \| default\((.*)\) }}}}", found[new])
            assert written, new
            found[new] = yaml.safe_load(written[1].replace("[gitlab_runner_home", "[HOME"))
    return found


@pytest.mark.parametrize("role", ROLES)
def test_same_variables(role: str) -> None:
    assert sorted(options(role)) == sorted(defaults(role))


@pytest.mark.parametrize("role", ROLES)
def test_same_values_and_types(role: str) -> None:
    for name, value in defaults(role).items():
        option = options(role)[name]
        if name.endswith("_venv_places") and "HOME" in value:
            value = ["{{ gitlab_runner_home }}" if one == "HOME" else one for one in value]
        assert option["default"] == value, name
        assert type(option["default"]) is type(value), name
        if option["type"] != "raw":
            assert isinstance(value, TYPES[option["type"]]), name


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_described(role: str) -> None:
    for name, option in options(role).items():
        assert option.get("description"), name
        assert option["type"] != "list" or option.get("elements"), name


@pytest.mark.parametrize("role", ROLES)
def test_every_default_has_a_comment_above_it(role: str) -> None:
    text = (ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")
    blocks = text.split("\n\n")
    for block in blocks:
        if any(line and line[0].isalpha() for line in block.splitlines()):
            assert "#" in block, block


@pytest.mark.parametrize("role", ROLES)
def test_names_carry_the_role(role: str) -> None:
    assert all(name.startswith(f"{role}_") for name in defaults(role))


def test_variables_that_may_carry_a_token_are_not_checked_by_ansible() -> None:
    """Its message would print the value."""
    for name in ("gitlab_runner_runners", "gitlab_runner_settings", "gitlab_runner_environment"):
        assert options("gitlab_runner")[name]["type"] == "raw"
        assert "choices" not in options("gitlab_runner")[name]
