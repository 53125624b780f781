# SPDX-License-Identifier: GPL-3.0-or-later
"""Every action takes what its documentation says, and shows no secret in saying so."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import (
    ROOT,
    documentation,
    validated,
)

MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
ACTIONS = sorted(path.stem for path in (ROOT / "plugins" / "action").glob("*.py"))
LOADED = {
    name: import_module(f"ansible_collections.runnerhost.toolkit.plugins.action.{name}")
    for name in ACTIONS
}
TOKEN = "glrt-" + "x1" * 10


def constant(module: str, name: str) -> str:
    """One of a module's texts, such as EXAMPLES."""
    path = Path(ROOT, "plugins", "modules", f"{module}.py")
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            assert isinstance(node.value, ast.Constant)
            return str(node.value.value)
    return ""


def examples(module: str) -> list[dict[str, Any]]:
    """The arguments of each task of a module's EXAMPLES."""
    tasks = yaml.safe_load(constant(module, "EXAMPLES"))
    key = f"runnerhost.toolkit.{module}"
    return [task[key] or {} for task in tasks if key in task]


@pytest.mark.parametrize("module", MODULES)
def test_the_documented_examples_are_what_the_documented_options_take(module: str) -> None:
    """A template stands for a value that only a play has."""
    assert examples(module), "EXAMPLES show another module"
    for given in examples(module):
        _, problems = validated(module, given)
        assert [text for text in problems if "{{" not in text] == []


def tasks(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a playbook or a file of tasks, blocks included."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for entry in node:
            yield from tasks(entry)


def test_every_task_of_the_collection_uses_documented_options() -> None:
    found = 0
    files = [
        *ROOT.glob("roles/*/tasks/**/*.yml"),
        *ROOT.glob("roles/*/vars/*.yml"),
        *ROOT.glob("playbooks/*.yml"),
    ]
    for path in files:
        for task in tasks(yaml.safe_load(path.read_text("utf-8"))):
            uses = dict(task)
            if "path" in task and {"content", "template"} & set(task):
                # An item of a list that a variable holds.
                uses["runnerhost.toolkit.file_set"] = {"files": [task]}
            for key, given in uses.items():
                name = str(key).removeprefix("runnerhost.toolkit.")
                if name != key and given:
                    _, problems = validated(name, given)
                    found += 1
                    said = [text for text in problems if " option " in text]
                    assert said == [], f"{path}: {task.get('name')}"
    assert found > 50


@pytest.mark.parametrize("module", MODULES)
def test_every_default_is_a_value_that_the_option_takes(module: str) -> None:
    for name, option in (documentation(module).get("options") or {}).items():
        if "default" in option:
            assert not option.get("required"), name
            given = {name: option["default"]}
            arguments, problems = validated(module, given)
            assert [text for text in problems if "missing option" not in text] == []
            assert arguments[name] == option["default"]


def action(name: str, args: dict[str, Any]) -> Any:
    """An action with a task's arguments."""
    made = object.__new__(LOADED[name].ActionModule)
    made._templar = SimpleNamespace(template=lambda value: value)
    made._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    made._task = SimpleNamespace(
        async_val=0, check_mode=False, no_log=False, action=f"runnerhost.toolkit.{name}", args=args
    )
    return made


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_refuses_a_misspelt_option_before_anything_else(name: str) -> None:
    options = documentation(name).get("options") or {}
    option = max(options, key=len, default="anything")
    with pytest.raises(AnsibleActionFail) as caught:
        action(name, {f"{option}x": TOKEN}).run(None, {})
    said = str(caught.value)
    hint = f"did you mean {option}?" if options else "no options"
    assert re.search(rf"{name}: unknown option '{option}x'; .*{re.escape(hint)}", said)
    assert TOKEN not in said


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_names_every_option_that_is_missing(name: str) -> None:
    options = documentation(name).get("options") or {}
    missing = [key for key, option in options.items() if option.get("required")]
    _, problems = validated(name, {})
    assert problems == [f"{name}: missing option {key}" for key in missing]


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        (
            "packages",
            {"state": "there"},
            "state: invalid value 'there'; expected present or",
        ),
        (
            "packages",
            {"fresh": "perhaps"},
            "fresh: invalid value 'perhaps'; expected true or false",
        ),
        (
            "packages",
            {"lock_timeout": {}},
            "lock_timeout: invalid value a mapping; expected a wh",
        ),
        ("packages", {"names": {"a": TOKEN}}, "names: invalid value a mapping; expected a list"),
        ("packages", {"lock_timeout": TOKEN}, "lock_timeout: invalid value '(hidden)'; expected a"),
        ("packages", {"state": [TOKEN]}, "state: invalid value a list; expected present or"),
        (
            "file_set",
            {"files": [{"path": "/a", "mod": "0600"}]},
            "files[0]: unknown option 'mod'; did you mean mode?",
        ),
        ("file_set", {"files": [{"state": "file"}]}, "files[0]: missing option path"),
        (
            "file_set",
            {"files": [{"path": "/a"}, {"path": "/b", "secret": TOKEN}]},
            "files[1].secret: invalid value '(hidden)'; expected true or false",
        ),
        ("file_set", {"files": ["/a"]}, "files[0]: invalid value '/a'; expected a mapping"),
    ],
)
def test_what_is_wrong_is_said_of_the_option_without_a_secret(
    name: str, given: dict[str, Any], said: str
) -> None:
    _, problems = validated(name, given)
    assert [text for text in problems if said in text]
    assert TOKEN not in "".join(problems)


def test_values_get_their_documented_types_and_defaults() -> None:
    found, problems = validated(
        "file_set", {"files": [{"path": "/a", "secret": "yes"}, {}], "commands": None}
    )
    assert problems == []
    (item,) = found["files"]
    assert item["secret"] is True
    assert (item["state"], item["mode"], item["owner"], item["keep"]) == (
        "file",
        "0644",
        "root",
        [],
    )
    assert (item["keep"], item["content"]) == ([], None)
    assert found["commands"] == []


def test_a_raw_value_stays_as_it_is() -> None:
    secret = {"vault": object()}
    found, problems = validated("runner_registration", {"verb": "verify", "api_token": secret})
    assert problems == []
    assert found["api_token"] is secret
