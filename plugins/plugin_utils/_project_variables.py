# SPDX-License-Identifier: GPL-3.0-or-later
"""CI/CD variables of the role gitlab_project, checked.

Pure: no GitLab, no clock. No value of a CI/CD variable is in any message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._secret_rules import (
    looks_secret_name,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _index_tokens

ALL = "*"
"""The scope of a variable that all environments have."""


def covers(scope: str, environment: str) -> bool:
    """Whether the scope of a variable is one of an environment; * stands for anything."""
    return bool(re.fullmatch(".*".join(map(re.escape, scope.split("*"))), environment))


# GitLab docs, "Project-level CI/CD variables API".
_KEY = re.compile(r"[A-Za-z0-9_]{1,255}")
_SCOPE = re.compile(r"[A-Za-z0-9_/\\${}. \-*]{1,255}")
# GitLab's app/models/concerns/ci/maskable.rb; the first where references are expanded.
_MASKABLE = re.compile(r"[a-zA-Z0-9_+=/@:.~-]{8,}")
_MASKABLE_RAW = re.compile(r"\S{8,}")
# A digest of a shorter or simpler one could be guessed, and is kept in the description.
_HIDDEN_LENGTH, _HIDDEN_CHARACTERS = 20, 10
_DESCRIPTION = 160
"""Characters; GitLab takes 255, of which the toolkit's mark needs some."""


@dataclass(frozen=True)
class Variable:
    """A CI/CD variable, as it is to be; its key and its environment are its identity.

    Attributes:
        where: the place in the inventory, for messages.
        environment: the scope.
        hidden: masked, and shown by nobody and no API.
        replace: whether it may be deleted and made anew, as a change of ``hidden`` needs.
    """

    where: str
    key: str
    environment: str
    value: str = field(repr=False)
    protected: bool = True
    masked: bool = True
    hidden: bool = False
    raw: bool = True
    file: bool = False
    description: str = ""
    replace: bool = False

    @property
    def identity(self) -> tuple[str, str]:
        """What no two of a project or group have in common."""
        return self.key, self.environment

    @property
    def name(self) -> str:
        """For messages and the diff."""
        return self.key if self.environment == ALL else f"{self.key} ({self.environment})"


def variable(where: str, given: Mapping[str, Any]) -> Variable:
    """The variable of an entry; one for a deploy token has neither a value nor a type."""
    file = given.get("type") == "file"
    masked = not file if given["masked"] is None else bool(given["masked"])
    value = given.get("value")
    return Variable(
        where,
        str(given["key"]),
        str(given["environment"]),
        value if isinstance(value, str) else "",
        bool(given["protected"]),
        masked or bool(given["hidden"]),
        bool(given["hidden"]),
        bool(given["raw"]),
        file,
        str(given["description"]),
        bool(given["replace"]),
    )


def problems(one: Variable) -> Iterator[str]:
    """What is wrong with a variable, without its value."""
    yield from name_problems(one)
    if "$ANSIBLE_VAULT" in one.value:
        yield f"{one.where}.value: a vault text that was not decrypted"
    elif one.value:
        yield from _value_problems(one)
    else:
        yield f"{one.where}.value: empty; expected a value"


def name_problems(one: Variable) -> Iterator[str]:
    """What is wrong with all but the value."""
    if not _KEY.fullmatch(one.key):
        yield f"{one.where}.key: invalid value {one.key!r}; expected letters, digits and _"
    if not _SCOPE.fullmatch(one.environment):
        yield (
            f"{one.where}.environment: invalid value {one.environment!r}; expected a name or "
            "pattern of environments such as pypi, or *"
        )
    if len(one.description) > _DESCRIPTION:
        yield f"{one.where}.description: too long; expected up to {_DESCRIPTION} characters"
    if one.key in ("TWINE_REPOSITORY_URL", "TWINE_REPOSITORY") and one.environment == ALL:
        yield (
            f"{one.where}.key: {one.key} for all environments overrides the repository of each "
            "upload, also of those to the test index; set index and test_index of the pipeline"
        )


def _value_problems(one: Variable) -> Iterator[str]:
    if not one.file and one.value != one.value.strip():
        yield (
            f"{one.where}.value: begins or ends with white space, which becomes part of it; "
            "expected the value alone (in YAML: | keeps the line break, |- does not)"
        )
        return
    # A file may be a whole .pypirc, and what is no secret may be the name of a host.
    alone = not one.file and ("pypi-Ag" in one.value or looks_secret_name(one.key))
    goes_to = one.key if one.environment == ALL else one.environment
    said = _index_tokens.problem(one.value, f"{one.key} {one.environment}", goes_to)
    if alone and said:
        yield f"{one.where}.value: {said}"
    elif one.masked and not (_MASKABLE_RAW if one.raw else _MASKABLE).fullmatch(one.value):
        expected = "8 characters or more without white space"
        if not one.raw:
            expected += ", of letters, digits and _+=/@:.~- alone (raw: true allows others)"
        yield (
            f"{one.where}.value: GitLab cannot mask it; expected {expected}, "
            "or masked: false if it is no secret"
        )
    if one.hidden and not is_random(one.value):
        yield (
            f"{one.where}.hidden: the value is too simple: GitLab does not show it again, and a "
            f"digest of it, which the toolkit keeps instead, could be guessed; expected at least "
            f"{_HIDDEN_LENGTH} characters, of {_HIDDEN_CHARACTERS} kinds, or hidden: false"
        )


def is_random(value: str) -> bool:
    """Whether nobody can guess a value from its digest."""
    return len(value) >= _HIDDEN_LENGTH and len(set(value)) >= _HIDDEN_CHARACTERS
