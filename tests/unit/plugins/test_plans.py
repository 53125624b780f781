# SPDX-License-Identifier: GPL-3.0-or-later
"""What the YAML side reads of a plan is what the plan's module documents, which is all of it."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from typing import Any

import pytest
import yaml

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _python_plan
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import ROOT

PLANS = ("network_plan", "python_plan")


def documented(module: str) -> set[str]:
    """The keys of the plan in a module's RETURN; those of RETURN itself where it has no plan."""
    path = ROOT / "plugins" / "modules" / f"{module}.py"
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "RETURN":
            assert isinstance(node.value, ast.Constant)
            returned: dict[str, Any] = yaml.safe_load(str(node.value.value))
            return set(returned["plan"]["contains"] if "plan" in returned else returned)
    raise AssertionError(f"{module} has no RETURN")


def yaml_side() -> str:
    """All playbooks, tasks and variables of the roles."""
    paths = [*ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("roles/*/vars/*.yml")]
    return "\n".join(path.read_text("utf-8") for path in [*paths, *ROOT.glob("playbooks/*.yml")])


def read_keys(text: str, module: str) -> set[str]:
    """The keys of a plan that a text reads, by whatever names the plan has there."""
    (registered,) = set(
        re.findall(rf"runnerhost\.toolkit\.{module}:.*?^ +register: (\w+)", text, re.M | re.S)
    )
    plan = rf"\(?{registered}(?: \| default\({{}}\)\))?\.plan"
    names: set[str] = set()
    while True:
        known = "|".join([plan, *(rf"\b{name}\b" for name in sorted(names))])
        rest = r"(?: \| default\([^()]*\))?"
        found = set(re.findall(rf"(\w+): \"{{{{ (?:{known}){rest} }}}}\"", text))
        if found <= names:
            return set(re.findall(rf"(?:{known})\.([a-z_]+)", text))
        names |= found


def test_a_plan_is_followed_through_its_names() -> None:
    text = """
    - runnerhost.toolkit.network_plan:
      register: __planned
    a: "{{ (__planned | default({})).plan | default({}) }}"
    b: "{{ a }}"
    c: "{{ b.one + __planned.plan.two + (__planned | default({})).plan.three + other.four }}"
    """
    assert read_keys(text, "network_plan") == {"one", "two", "three"}


@pytest.mark.parametrize("module", PLANS)
def test_all_that_is_read_of_a_plan_is_documented(module: str) -> None:
    read = read_keys(yaml_side(), module)
    assert len(read) > 1
    assert read <= documented(module)


def test_the_plan_of_the_pythons_is_what_is_documented() -> None:
    assert {field.name for field in fields(_python_plan.Plan)} == documented("python_plan")
