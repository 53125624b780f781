# SPDX-License-Identifier: GPL-3.0-or-later
"""The component's inputs and its text; the jobs are in tests/pipelines."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _pipeline_template

TEXT = _pipeline_template.TEMPLATE.read_text(encoding="utf-8")
INPUTS, BODY = _pipeline_template.parts(TEXT)
GOOD: dict[str, Any] = {"pythons": ["3.9", "3.12"], "build_tags": ["build"]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, ""),
        ({"pythons": [3.1]}, "inputs.pythons: item 1 is 3.1; expected a string: quote it"),
        ({"pythons": ["3"]}, "item 1 is '3'; expected a version such as 3.12 or 3.14t"),
        ({"pythons": []}, "inputs.pythons: an empty list"),
        ({"pythons": "3.12"}, "inputs.pythons: invalid value of type string; expected a list"),
        ({"publish_dev": "yes"}, "invalid value of type string; expected true or false"),
        ({"publish_when": "always"}, "'always'; expected on_success or manual"),
        ({"tag_prefix": "v/"}, r"inputs.tag_prefix: invalid value 'v/'; expected one that matches"),
        ({"upload_url": "https://a:b@c/"}, "inputs.upload_url: invalid value"),
        ({"index": "pypi' --index 'x"}, "inputs.index: invalid value"),
        ({"test_command": "a\nb"}, "invalid value; expected one line of less than 1000 characters"),
        ({"test_command": "a" * 1000}, "expected one line of less than 1000 characters"),
        ({"paths": ["a\nb"]}, "item 1 is empty, or more than one line"),
        ({"python": ["3.9"]}, "inputs.python: unknown input; did you mean pythons?"),
        ({"zzz": ["3.9"]}, "inputs.zzz: unknown input; expected one of name, package"),
        ({"token_variable": "pypi-AgE"}, "inputs.token_variable: invalid value (hidden); expected"),
        ({"package": "/libs"}, "inputs.package: invalid value '/libs'; expected a folder of the"),
        ({"package": "a/../b"}, "inputs.package: invalid value 'a/../b'; expected a folder of the"),
        ({"pythons": ["3.9", "3.9"]}, "inputs.pythons: item 2 is '3.9' a second time"),
    ],
)
def test_values_are_judged_as_gitlab_and_the_jobs_do(given: dict[str, Any], message: str) -> None:
    found = list(_pipeline_template.problems("inputs", INPUTS, {**GOOD, **given}))
    assert len(found) == bool(message)
    assert not message or message in found[0]


def test_what_is_missing_is_told() -> None:
    assert list(_pipeline_template.problems("inputs", INPUTS, {})) == [
        "inputs.pythons: missing; expected a list",
        "inputs.build_tags: missing; expected a list",
    ]


def test_every_input_is_described_and_used_and_its_default_is_good() -> None:
    declared = yaml.safe_load(TEXT.partition("\n---\n")[0])["spec"]["inputs"]
    used = set(re.findall(r"\$\[\[ inputs\.(\w+) \]\]", BODY))
    assert used == set(declared)
    for name, one in declared.items():
        assert one["description"].endswith("."), name
        assert "default" not in one or not INPUTS[name].problem(one["default"]), name


@pytest.mark.parametrize("command", ["""python -c "print('a: b # c')" """, "- x", "", "a\\b"])
def test_any_command_survives(command: str) -> None:
    """GitLab puts the value into the text of the template, whatever quotes it has."""
    text = _pipeline_template.rendered(INPUTS, BODY, {**GOOD, "test_command": command})
    found = re.search(r"RELEASE_TEST_COMMAND:\n(?:.*\n){3}", text)
    assert found
    assert yaml.safe_load(found[0])["RELEASE_TEST_COMMAND"] == {"value": command, "expand": False}


@pytest.mark.parametrize("character", ["'", '"', "$", "`", "\\", ";", " ", "\n"])
def test_nothing_in_the_commands_can_leave_its_quotes(character: str) -> None:
    """Values stand in the scripts as they are, between single quotes."""
    scripts = re.findall(r"runnerhost-release .*(?:\n {6}.*)*|echo .*", BODY)
    names = {name for script in scripts for name in re.findall(r"inputs\.(\w+)", script)}
    assert {"index", "package", "tag_prefix", "token_variable", "upload_url"} <= names
    for name in names:
        assert INPUTS[name].problem(f"a{character}b"), name


def test_the_include_names_the_inputs_of_each_package() -> None:
    address = "gitlab.example.com/tools/python-release/python-release@0123"
    text = _pipeline_template.included(address, [{**GOOD, "name": "one"}, {**GOOD, "name": "two"}])
    assert yaml.safe_load(text)["include"] == [
        {"component": address, "inputs": {**GOOD, "name": name}} for name in ("one", "two")
    ]


def test_the_program_gets_every_list_of_versions_that_gitlab_makes() -> None:
    """In a text GitLab writes a list as JSON, with blanks or without."""
    (pattern,) = set(re.findall(r"\$\{RELEASE_PYTHONS//\[\^(.*?)\]/\}", BODY))
    for text in ('["3.9","3.14t"]', '["3.9", "3.14t"]', "3.9,3.14t"):
        kept = re.sub(f"[^{pattern}]", "", text)
        assert re.split(r"[\s,]+", kept) == ["3.9", "3.14t"]


def test_jobs_have_no_images_and_one_command_each() -> None:
    """A shell executor ignores an image, has no root, and hides the failure of `a && b`."""
    jobs = yaml.safe_load(_pipeline_template.rendered(INPUTS, BODY, GOOD))
    scripts = [line for job in jobs.values() for line in job.get("script", [])]
    assert len(scripts) > 10
    assert not [line for line in scripts if "&&" in line or "sudo" in line or "apt" in line]
    assert not {"image", "services"} & {key for job in jobs.values() for key in job}
