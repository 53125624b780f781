# SPDX-License-Identifier: GPL-3.0-or-later
"""CI/CD components: found in the projects of this GitLab, and filled with their inputs.

After GitLab's documentation ("CI/CD components", "CI/CD inputs"): a template is a header with
``spec:inputs``, ``---``, and a text in which ``$[[ inputs.NAME ]]`` stands for a value. Functions
in such a block (``expand_vars``, ``truncate`` …) are refused.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from standins.gitlab.repository import Repository
from standins.gitlab.store import Store

_ADDRESS = re.compile(r"[^/@\s]+/(?P<project>[^@\s]+)/(?P<name>[^/@\s]+)@(?P<ref>[^@\s]+)")
_BLOCK = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_INPUT = re.compile(r"inputs\.([\w-]+)")
_HEADER_ENDS = "\n---\n"
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
}


class ConfigError(Exception):
    """What is wrong with a configuration, in GitLab's words where they are known."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True)
class Template:
    """A component's text and the commit that it is of."""

    text: str
    sha: str

    @property
    def has_header(self) -> bool:
        """Whether it declares inputs."""
        header, found, _ = self.text.partition(_HEADER_ENDS)
        return bool(found and re.search(r"^spec:", header, re.MULTILINE))

    @property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """What its header declares."""
        if not self.has_header:
            return {}
        header = yaml.safe_load(self.text.partition(_HEADER_ENDS)[0])
        declared = (header.get("spec") or {}).get("inputs") or {}
        return {name: about or {} for name, about in declared.items()}

    @property
    def body(self) -> str:
        """The text behind the header."""
        return self.text.partition(_HEADER_ENDS)[2] if self.has_header else self.text


def component(store: Store, address: str) -> Template:
    """Return the component at HOST/GROUP/PROJECT/NAME@REF."""
    match = _ADDRESS.fullmatch(address)
    project = store.project_by_path(match["project"]) if match else None
    if match is not None and project is not None:
        repository = Repository(store.repository(project))
        commit = repository.commit_of(match["ref"])
        for path in (f"templates/{match['name']}.yml", f"templates/{match['name']}/template.yml"):
            try:
                if commit and repository.blob(commit, path):
                    return Template(repository.git("show", f"{commit}:{path}").decode(), commit)
            except subprocess.CalledProcessError:
                continue
    raise ConfigError(f"Component '{address}' - content not found")


def input_problems(where: str, template: Template, given: Mapping[str, Any]) -> Iterator[str]:
    """Say what GitLab refuses of the inputs."""
    declared = template.inputs
    unknown = sorted(set(given) - set(declared))
    if unknown:
        yield f"`{where}`: unknown input arguments: {', '.join(unknown)}"
    for name, about in declared.items():
        if name not in given:
            if "default" not in about:
                yield f"`{where}`: `{name}` input: required value has not been provided"
            continue
        value, kind = given[name], about.get("type", "string")
        article = "an" if kind == "array" else "a"
        if not isinstance(value, _TYPES[kind]) or (kind == "number" and isinstance(value, bool)):
            yield f"`{where}`: `{name}` input: provided value is not {article} {kind}"
        elif about.get("options") and value not in about["options"]:
            yield (
                f"`{where}`: `{name}` input: `{value}` cannot be used because it is not in the "
                "list of allowed options"
            )
        elif about.get("regex") and not re.search(str(about["regex"]), str(value)):
            yield f"`{where}`: `{name}` input: provided value does not match required RegEx pattern"


def filled(where: str, template: Template, given: Mapping[str, Any]) -> str:
    """Return the text with the values of its inputs in it; without a header as it is."""
    if not template.has_header:
        if given:
            raise ConfigError(
                f"`{where}`: Given inputs not defined in the `spec` section of the included "
                "configuration file"
            )
        return template.text
    if problems := list(input_problems(where, template, given)):
        raise ConfigError(*problems)
    declared = template.inputs

    def value(match: re.Match[str]) -> str:
        name = _INPUT.fullmatch(match[1].strip())
        if name is None:
            raise ConfigError(f"`{where}`: the stand-in does not interpolate {match[0]}")
        if name[1] not in declared:
            raise ConfigError(f"`{where}`: unknown interpolation key: `{name[1]}`")
        found = given.get(name[1], declared[name[1]].get("default"))
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _BLOCK.sub(value, template.body)
