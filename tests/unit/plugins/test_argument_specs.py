# SPDX-License-Identifier: GPL-3.0-or-later
"""Argument specs and defaults say the same, by value and by type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.tree import roles

ROOT = Path(__file__).resolve().parents[3]
ROLES = roles()
TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def options(role: str) -> dict[str, Any]:
    spec = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")
    found: dict[str, Any] = spec["argument_specs"]["main"]["options"]
    return found


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = load(ROOT / "roles" / role / "defaults" / "main.yml")
    return found


@pytest.mark.parametrize("role", ROLES)
def test_same_variables(role: str) -> None:
    assert sorted(options(role)) == sorted(defaults(role))


@pytest.mark.parametrize("role", ROLES)
def test_same_values_and_types(role: str) -> None:
    for name, value in defaults(role).items():
        option = options(role)[name]
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
