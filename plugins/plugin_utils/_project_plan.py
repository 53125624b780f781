# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done about a project's or group's variables and protected refs. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _index_tokens
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import (
    ProtectedRef,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import (
    ALL,
    Variable,
)

Identity = tuple[str, str]
_MARK = re.compile(
    r" ?\[runnerhost(?: (?P<day>\d{4}-\d\d-\d\d))?(?: (?P<token>\d+))?"
    r"(?: (?P<salt>[A-Za-z0-9_-]{22})\.(?P<digest>[A-Za-z0-9_-]{22}))?\]\Z"
)
_ATTRIBUTES = ("protected", "masked", "raw", "variable_type")


class Refused(Exception):
    """What GitLab cannot do, or the inventory does not allow; the text says which."""


@dataclass(frozen=True)
class Change:
    """One change of a variable.

    Attributes:
        action: create, update, replace or delete.
        body: for GitLab's API; holds the value.
        words: the same without the value, for the diff.
        before: the old lines of the diff.
    """

    action: str
    key: str
    environment: str
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    words: tuple[str, ...] = ()
    before: tuple[str, ...] = ()


def mark(value: str, salt: bytes = b"", token: int = 0) -> str:
    """What the toolkit keeps of a hidden value, in its description: a salted, slow digest.

    GitLab shows the value to nobody, so only this tells whether it is the wanted one. Values that
    could be guessed are refused before.

    Args:
        value: the value.
        salt: random if it is empty.
        token: the number of the deploy token that the value is; 0 for any other.
    """
    return _mark("", token, slow_digest(value, salt or os.urandom(16)))


def slow_digest(value: str, salt: bytes) -> str:
    """A salted digest of a value, with the salt before it."""
    # 16 MB and some milliseconds for each guess (RFC 7914).
    digest = hashlib.scrypt(value.encode(), salt=salt, n=2**14, r=8, p=1, dklen=16)
    words = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (salt, digest))
    return ".".join(words)


def _mark(day: str, token: int, digest: str) -> str:
    words = [word for word in (day, str(token or ""), digest) if word]
    return f"[{' '.join(['runnerhost', *words])}]" if words else ""


def marked(description: str, value: str) -> bool:
    """Whether a description has the mark of this value."""
    found = _MARK.search(description)
    if not found or not found["salt"]:
        return False
    salt = base64.urlsafe_b64decode(found["salt"] + "==")
    return hmac.compare_digest(slow_digest(value, salt), f"{found['salt']}.{found['digest']}")


def has_digest(description: str) -> bool:
    """Whether a description has the mark of any value."""
    found = _MARK.search(description)
    return bool(found and found["salt"])


def token_in(description: str) -> int:
    """The number of the deploy token that a variable holds; 0 if its mark names none."""
    found = _MARK.search(description)
    return int(found["token"] or 0) if found else 0


def set_on(description: str) -> date | None:
    """When the toolkit has set an index's token; None if it has not, or before it kept that."""
    found = _MARK.search(description)
    return date.fromisoformat(found["day"]) if found and found["day"] else None


def unmarked(description: str) -> str:
    """A description as its user has written it."""
    return _MARK.sub("", description)


def variables(
    wanted: Sequence[Variable],
    found: Sequence[Mapping[str, Any]],
    today: date,
    *,
    purge: bool,
    kept: Collection[Identity] = (),
) -> list[Change]:
    """The changes.

    Args:
        wanted: as it is to be.
        found: as GitLab's API lists it.
        today: kept with new tokens of indexes, which do not tell their age.
        purge: whether variables that are not wanted are deleted.
        kept: what is not deleted: variables for deploy tokens.

    Raises:
        Refused: if one cannot become what is wanted.
    """
    there = {identity(one): one for one in found}
    changes = []
    for one in wanted:
        old = there.pop(one.identity, None)
        change = _create(one, today) if old is None else _change(one, old, today)
        if change:
            changes.append(change)
    # Last: what takes the place of a purged one is there by then.
    if purge:
        changes += [
            Change("delete", key, environment, before=tuple(_lines(there[key, environment])))
            for key, environment in sorted(set(there) - set(kept))
        ]
    return changes


def identity(one: Mapping[str, Any]) -> Identity:
    """Key and environment of a variable of GitLab's."""
    # Groups' variables have no scope below GitLab's paid tiers.
    return str(one["key"]), str(one.get("environment_scope") or ALL)


def _create(one: Variable, today: date) -> Change:
    return Change("create", one.key, one.environment, _body(one, today), tuple(_new_lines(one)))


def _change(one: Variable, old: Mapping[str, Any], today: date) -> Change | None:
    if _is_made_anew(one, old):
        before, after = tuple(_lines(old)), tuple(_new_lines(one))
        return Change("replace", one.key, one.environment, _body(one, today), after, before)
    wanted, description = _body(one, today), str(old.get("description") or "")
    same_value = marked(description, one.value) if one.hidden else old.get("value") == one.value
    different = [name for name in _attributes(one) if old.get(name) != wanted.get(name)]
    if same_value and not different and unmarked(description) == one.description:
        return None
    if same_value:
        wanted["description"] = _remarked(one, description)
    body = {key: wanted[key] for key in ("value", "description", *different)}
    changed = () if same_value else (f"{one.name}: another value",)
    return Change(
        "update", one.key, one.environment, body,
        (*_new_lines(one), *changed), tuple(_lines(old)),
    )  # fmt: skip


def _is_made_anew(one: Variable, old: Mapping[str, Any]) -> bool:
    """Whether only deleting it gives the variable its visibility."""
    if bool(old.get("hidden")) == one.hidden:
        return False
    if not one.replace:
        state = "hidden" if old.get("hidden") else "not hidden"
        raise Refused(
            f"{one.where}: {one.name} is {state} in GitLab, which cannot be changed; "
            "replace: true deletes the variable and makes it anew"
        )
    return True


def _attributes(one: Variable) -> list[str]:
    # A change of a hidden one's visibility is refused, and to name it is one.
    return [name for name in _ATTRIBUTES if name != "masked" or not one.hidden]


def held(one: Variable, old: Mapping[str, Any] | None, *, renewed: bool) -> Change | None:
    """The change of a variable that holds a deploy token; None if there is none.

    Args:
        one: as it is to be.
        old: as GitLab has it.
        renewed: whether it gets another token, which `filled` puts into the change.
    """
    if old is None:
        return Change("create", one.key, one.environment, words=tuple(_new_lines(one)))
    before, after = tuple(_lines(old)), tuple(_new_lines(one))
    if renewed:
        action = "replace" if _is_made_anew(one, old) else "update"
        after = (*after, f"{one.name}: another value")
        return Change(action, one.key, one.environment, {}, after, before)
    wanted, description = _body(one), str(old.get("description") or "")
    different = {name: wanted[name] for name in _attributes(one) if old.get(name) != wanted[name]}
    if unmarked(description) != one.description:
        different["description"] = _remarked(one, description)
    if not different:
        return None
    return Change("update", one.key, one.environment, different, after, before)


def _remarked(one: Variable, description: str) -> str:
    """The wanted description with the mark of the value that stays."""
    found = _MARK.search(description)
    return f"{one.description} {found[0].strip() if found else ''}".strip()


def filled(change: Change, one: Variable, value: str, token: int) -> Change:
    """The change of a variable that gets a deploy token.

    Args:
        change: as planned.
        one: the variable.
        value: the token.
        token: its number.
    """
    body = _body(replace(one, value=value), None, token)
    if change.action == "update":
        body = {name: body[name] for name in ("value", "description", *_attributes(one))}
    return replace(change, body=body)


def _body(one: Variable, today: date | None = None, token: int = 0) -> dict[str, Any]:
    day = str(today) if today and _index_tokens.is_one(one.value) else ""
    digest = slow_digest(one.value, os.urandom(16)) if one.hidden or token else ""
    description = f"{one.description} {_mark(day, token, digest)}".strip()
    return {
        "key": one.key,
        "value": one.value,
        "environment_scope": one.environment,
        "protected": one.protected,
        "masked": one.masked,
        **({"masked_and_hidden": True} if one.hidden else {}),
        "raw": one.raw,
        "variable_type": "file" if one.file else "env_var",
        "description": description,
    }


def _new_lines(one: Variable) -> list[str]:
    body = _body(one) if not one.hidden else {**_body(one), "hidden": True}
    return _lines({**body, "description": one.description})


def _lines(one: Mapping[str, Any]) -> list[str]:
    """A variable without its value."""
    key, environment = identity(one)
    name = key if environment == ALL else f"{key} ({environment})"
    words = [word for word in ("protected", "masked", "hidden", "raw") if one.get(word)]
    if one.get("variable_type") == "file":
        words.append("file")
    described = unmarked(str(one.get("description") or ""))
    return [f"{name}: {', '.join(words) or 'plain'}" + (f"; {described}" if described else "")]


@dataclass(frozen=True)
class RefChange:
    """A protected branch or tag that is made, or made anew; or `wanted` None: unprotected."""

    name: str
    wanted: ProtectedRef | None
    old: ProtectedRef | None


def refs(wanted: Iterable[ProtectedRef], found: Iterable[ProtectedRef]) -> list[RefChange]:
    """The changes of protected branches or tags; what is not named stays protected."""
    there = {one.name: one for one in found}
    return [
        RefChange(one.name, one, there.get(one.name))
        for one in wanted
        if there.get(one.name) != one
    ]
