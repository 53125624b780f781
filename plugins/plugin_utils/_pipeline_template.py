# SPDX-License-Identifier: GPL-3.0-or-later
"""The CI/CD component's template: its inputs, and its text with their values in it.

GitLab's rules (docs, "CI/CD inputs"): a template is a header with `spec:inputs`, `---`, and the
text in which each `$[[ inputs.NAME ]]` stands for a value, a list as JSON. The same text thus
serves as a component and, with the values in it, as a whole `.gitlab-ci.yml`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets

ROOT = Path(__file__).resolve().parents[2]
NAME = "python-release"
COMPONENT = ROOT / "components"
TEMPLATE = COMPONENT / "templates" / NAME / "template.yml"
LONGEST = 1000
"""GitLab takes an input below 1 KB."""

_BLOCK = re.compile(r"\$\[\[\s*inputs\.(\w+)\s*\]\]")
_HEADER_ENDS = "\n---\n"
_KINDS: dict[str, tuple[type, str]] = {
    "string": (str, "a string"),
    "boolean": (bool, "true or false"),
    "array": (list, "a list"),
}
_PYTHON = re.compile(r"3\.\d+t?")


@dataclass(frozen=True)
class Input:
    """An input of the template, as its header declares it."""

    name: str
    kind: str
    required: bool
    default: Any
    options: tuple[str, ...]
    regex: str

    def problem(self, value: Any) -> str:
        """What is wrong with a value; empty if nothing is."""
        of, expected = _KINDS[self.kind]
        if not isinstance(value, of):
            return f"{_secrets.unfit(value)}; expected {expected}"
        if isinstance(value, list):
            return self._list_problem(value)
        if isinstance(value, str):
            if len(value) >= LONGEST or not value.isprintable():
                return f"invalid value; expected one line of less than {LONGEST} characters"
            if self.options and value not in self.options:
                return f"invalid value {value!r}; expected {' or '.join(self.options)}"
            if self.regex and not re.search(self.regex, value):
                # A token may stand in place of its variable's name.
                shown = _secrets.HIDDEN if self.name.endswith("_variable") else repr(value)
                return f"invalid value {shown}; expected one that matches {self.regex}"
            if self.name == "package" and (value.startswith("/") or ".." in value.split("/")):
                return f"invalid value {value!r}; expected a folder of the repository"
        return ""

    def _list_problem(self, value: Sequence[Any]) -> str:
        for index, item in enumerate(value):
            if not isinstance(item, str):
                return f"item {index + 1} is {item!r}; expected a string: quote it"
            if not item or not item.isprintable():
                return f"item {index + 1} is empty, or more than one line"
            if self.name == "pythons" and not _PYTHON.fullmatch(item):
                return f"item {index + 1} is {item!r}; expected a version such as 3.12 or 3.14t"
            if item in value[:index]:
                return f"item {index + 1} is {item!r} a second time"
        return "" if value else "an empty list; expected at least one item"


def parts(template: str) -> tuple[dict[str, Input], str]:
    """The inputs of a template, and its text behind the header."""
    header, __, body = template.partition(_HEADER_ENDS)
    declared = yaml.safe_load(header)["spec"]["inputs"]
    found = {
        name: Input(
            name,
            said.get("type", "string"),
            "default" not in said,
            said.get("default"),
            tuple(said.get("options", ())),
            said.get("regex", ""),
        )
        for name, said in declared.items()
    }
    return found, body


def problems(where: str, inputs: Mapping[str, Input], given: Mapping[str, Any]) -> Iterator[str]:
    """What GitLab, or the jobs, would refuse of the values for one package."""
    for name in given:
        if name not in inputs:
            near = difflib.get_close_matches(str(name), inputs, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(inputs)}"
            yield f"{where}.{name}: unknown input; {hint}"
    for name, declared in inputs.items():
        if name not in given:
            if declared.required:
                yield f"{where}.{name}: missing; expected {_KINDS[declared.kind][1]}"
        elif said := declared.problem(given[name]):
            yield f"{where}.{name}: {said}"


def rendered(inputs: Mapping[str, Input], body: str, given: Mapping[str, Any]) -> str:
    """The template's text with these values, or the defaults, in it."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        found = given[name] if name in given else inputs[name].default
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _BLOCK.sub(value, body)


def included(address: str, packages: Sequence[Mapping[str, Any]]) -> str:
    """The `include` of a component, once for each package.

    Args:
        address: host, project, name and commit.
        packages: the inputs of each.
    """
    lines = ["include:"]
    for given in packages:
        lines += [f"  - component: {address}", "    inputs:"]
        lines += [
            f"      {name}: {json.dumps(value, ensure_ascii=False)}"
            for name, value in given.items()
        ]
    return "\n".join(lines) + "\n"
