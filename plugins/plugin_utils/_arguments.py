# SPDX-License-Identifier: GPL-3.0-or-later
"""An action's arguments against its documentation, which is the only spec that it has.

Ansible's own validation prints wrong values as they are; these messages show no secret.
"""

from __future__ import annotations

import ast
import difflib
import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ansible.module_utils.common.parameters import DEFAULT_TYPE_VALIDATORS
from ansible.module_utils.common.yaml import yaml_load

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _variables

# The collection's folder: a checkout's, or where ansible-galaxy has put it.
ROOT = Path(__file__).resolve().parents[2]
# Python packages whose modules have another name.
_MODULES = {"python-gitlab": "gitlab", "pytest-testinfra": "testinfra"}


EXPECTED_FILE = "expected an absolute path, or one that begins with {{ inventory_dir }}/"
# On localhost, which the inventory does not name, Ansible has no inventory_dir.
EXPECTED_FILE_OF_CONTROLLER = (
    "expected an absolute path, or one from the folder in which you run this"
)
NO_FILE = f"no such file; {EXPECTED_FILE}"


def unreadable(variable: str, name: str, error: Exception) -> str:
    """That a file of the controller cannot be read, and why, in one line.

    Args:
        variable: that names the file.
        name: as the inventory has it.
        error: what reading it, or searching for it, has raised.
    """
    why = NO_FILE if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None)
    return f"{variable}: cannot read {name}: {why or error}"


@cache
def documentation(action: str) -> Mapping[str, Any]:
    """The DOCUMENTATION of plugins/modules/ACTION.py, with the options of its fragments."""
    found = _documentation(ROOT / "plugins" / "modules" / f"{action}.py")
    options: dict[str, Any] = {}
    for fragment in found.get("extends_documentation_fragment") or ():
        name = str(fragment).rpartition(".")[2]
        options |= _documentation(ROOT / "plugins" / "doc_fragments" / f"{name}.py")["options"]
    return {**found, "options": {**options, **(found.get("options") or {})}}


def _documentation(path: Path) -> Mapping[str, Any]:
    """What a file, or the class in it, assigns to DOCUMENTATION."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Assign(
                targets=[ast.Name("DOCUMENTATION")], value=ast.Constant(value=str() as text)
            ):
                found: Mapping[str, Any] = yaml_load(text)
                return found
    raise LookupError(f"{path} has no DOCUMENTATION")


def missing_packages(*names: str) -> list[str]:
    """The error message if the controller's Python lacks any of these packages; else empty."""
    missing = [name for name in names if find_spec(_MODULES.get(name, name)) is None]
    if not missing:
        return []
    verb = "is" if len(missing) == 1 else "are"
    return [
        f"{' and '.join(missing)} {verb} missing on the controller: "
        f"{sys.executable} -m pip install -r {ROOT}/meta/ee-requirements.txt"
    ]


def validated(action: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The arguments with their documented types and defaults, and what is wrong with them."""
    problems: list[str] = []
    options = documentation(action).get("options") or {}
    return _mapping(action, given, options, problems), problems


def _mapping(
    where: str, given: Mapping[str, Any], options: Mapping[str, Any], problems: list[str]
) -> dict[str, Any]:
    """One level of arguments; adds what is wrong to ``problems``."""
    problems += _unknown(where, given, options)
    found: dict[str, Any] = {}
    for name, option in options.items():
        value = given.get(name)
        if value is not None:
            found[name] = _value(f"{where}.{name}", value, option, problems)
        elif option.get("required") and name not in given:
            problems.append(f"{where}: missing option {name}")
        else:
            # `name:` without a value says what leaving it out says.
            found[name] = deepcopy(option.get("default"))
    return found


def _unknown(where: str, given: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    for name in given:
        if name not in options:
            near = difflib.get_close_matches(str(name), options, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(options)}"
            yield f"{where}: unknown option {_variables.shown('', str(name))}; {hint}"


def _value(where: str, value: Any, option: Mapping[str, Any], problems: list[str]) -> Any:
    """One value, converted as a module's argument is."""
    kind = str(option.get("type", "str"))
    try:
        found = DEFAULT_TYPE_VALIDATORS[kind](value)
    except (TypeError, ValueError):
        problems.append(_invalid(where, value, _variables.takes(where, kind)))
        return value
    choices = option.get("choices")
    wrong = [one for one in _several(found) if choices is not None and one not in choices]
    if wrong:
        # Of a list the item, which is what to correct.
        told = wrong[0] if isinstance(found, list) else value
        problems.append(_invalid(where, told, " or ".join(map(str, choices or ()))))
        return found
    inner = option.get("suboptions")
    if inner and kind == "dict":
        # An empty one is what a condition left out.
        return _mapping(where, found, inner, problems) if found else option.get("default")
    if kind == "list" and "elements" in option:
        element = {key: option[key] for key in ("suboptions",) if key in option}
        element["type"] = option["elements"]
        entries = [_value(f"{where}[{at}]", e, element, problems) for at, e in enumerate(found)]
        return [entry for entry in entries if entry is not None] if inner else entries
    return found


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _invalid(where: str, value: Any, expected: str) -> str:
    """The message; ``where`` ends with the option's name, which tells whether it is a secret."""
    name = where.rpartition(".")[2].partition("[")[0]
    return f"{where}: invalid value {_variables.shown(name, value)}; expected {expected}"
