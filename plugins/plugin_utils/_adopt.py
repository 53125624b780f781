# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's variables for a host that was set up otherwise, from its config.toml; no secret.

What it writes goes through provision: each value is held against the same rules, and one that they
refuse becomes a comment with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import place
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _runner_compare,
    _runner_validation,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import (
    IDENTITY_KEYS,
    same_url,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data, Moment

Check = Callable[[Any], list[str]]
_NOTHING = object()
_TEMPLATE = re.compile(r"\{[{%#]")


class Unsafe(str):
    """A text of the host that Ansible must not read as a template."""

    __slots__ = ()


@dataclass
class Adopted:
    """What `adopt` found.

    Attributes:
        text: the file's text.
        vault: names of the variables that go into the vault, each with where its secret stands.
        left_out: why each value is left out that provision would refuse.
        secrets: the variables' values, as JSON.
    """

    text: str = ""
    vault: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


def adopt(
    services: Sequence[tuple[str, Data]],
    url: str,
    entries_problems: Callable[[Any, dict[str, Any]], list[str]],
) -> Adopted:
    """The variables for these services.

    Args:
        services: each one's name (empty for the main one) and what its config.toml says.
        url: the GitLab, should no runner name one.
        entries_problems: the rules for lists of runners, as the role applies them.
    """
    writer = _Writer(entries_problems)
    addresses = [
        str(runner.get("url", ""))
        for __, config in services
        for runner in config.get("runners", [])
    ]
    probe = {"name": "x", "token": "glrt-" + "x" * 20}
    good = [one for one in addresses if not entries_problems(one, {"x": [{**probe, "url": one}]})]
    common = max(good, key=good.count) if good else url
    return writer.write(services, common)


class _Writer:
    """One file. Names, tokens and secrets are a host's, in whichever service they stand."""

    def __init__(self, entries_problems: Callable[[Any, dict[str, Any]], list[str]]) -> None:
        self._problems = entries_problems
        self._given: list[Data] = []
        self._vault: dict[str, str] = {}
        self._result = Adopted()

    def write(self, services: Sequence[tuple[str, Data]], url: str) -> Adopted:
        self._url = url
        lines: list[str] = _dump({"gitlab_runner_url": _safe(url)})
        isolated: list[str] = []
        for name, config in services:
            block = self._service(name, config)
            if name:
                first, *rest = [*_dump({"name": name}), *block]
                isolated += [f"  - {first}", *_indent(rest, 4)]
            else:
                lines += block
        if isolated:
            lines += ["gitlab_runner_isolated:", *isolated]
        head = [
            "# What config.toml on the host says. Provision accepts it as it is, and keeps each",
            "# runner's identity. What it would refuse is a comment, with the reason.",
        ]
        if self._vault:
            head += ["#", "# Put these into the host's vault, with what stands in config.toml:"]
            head += [f"#   {name}: {where}" for name, where in self._result.vault.items()]
        self._result.text = "\n".join([*head, "---", *lines]) + "\n"
        return self._result

    def _service(self, name: str, config: Data) -> list[str]:
        """The variables of one service, without the prefix where it is an isolated one."""
        prefix = "" if name else "gitlab_runner_"
        kept = _kept(config, _runner_compare.meaning(config))
        kept.pop("runners", None)
        folder = place(name).folder
        entries: list[str] = []
        for index, runner in enumerate(config.get("runners", [])):
            entries += self._runner(runner, f"{folder}/config.toml, runner {index + 1}")
        lines = [f"{prefix}runners:" if any(e.startswith("- ") for e in entries) else ""]
        lines = lines if lines[0] else [f"{prefix}runners: []"]
        lines += _indent(entries, 2)
        concurrent = kept.pop("concurrent", 1)
        if not isinstance(concurrent, int) or isinstance(concurrent, bool) or concurrent < 1:
            lines += self._comment("concurrent", concurrent, "the runner does not start with it")
            concurrent = 1
        lines += [f"{prefix}concurrent: {concurrent}"]
        where = f"{folder}/config.toml"
        left: list[tuple[str, Any, str]] = []
        settings: dict[str, Any] = {}
        for key, value in kept.items():

            def check(one: Any, key: str = key) -> list[str]:
                return _dated(one) or _runner_validation.settings_problems(
                    f"{prefix}settings", {key: one}
                )

            part = _fit(value, check, key, left)
            if part is not _NOTHING:
                settings[key] = self._secret_free(key, part, "settings", where)
        if settings:
            lines += _dump({f"{prefix}settings": settings})
        for path, value, why in left:
            lines += self._comment(path, value, why)
        return lines

    def _runner(self, runner: Data, where: str) -> list[str]:
        """One entry; all of it a comment where provision would refuse even its name or token."""
        name = runner.get("name")
        base = {"name": name, "token": runner.get("token")}
        if not same_url(str(runner.get("url", "")), self._url):
            base["url"] = runner.get("url", "")
        kept = _kept(runner, _runner_compare.meaning({"runners": [runner]})["runners"][0])
        rest = {k: v for k, v in kept.items() if k not in (*base, "url", *IDENTITY_KEYS)}
        executor = runner.get("executor")
        if executor == "shell":
            rest.pop("executor", None)
            if runner.get("shell") == "bash":
                rest.pop("shell")
        why = self._problems(self._url, {"gitlab_runner_runners": [base]})
        if not why and self._problems(self._url, {"gitlab_runner_runners": [*self._given, base]}):
            # Two of one name or token, over all the host's services.
            why = ["another runner above has the same name or token; provision accepts each once"]
        if not executor:
            why = why or ["it has no executor"]
        if why:
            entry = {k: v for k, v in {**base, **rest}.items() if k != "token"}
            return self._comment(str(name), entry, why[0], "it stays in config.toml as it is")
        self._given.append(base)
        left: list[tuple[str, Any, str]] = []
        entry = {}
        for key, value in rest.items():

            def check(one: Any, key: str = key) -> list[str]:
                given = [{**base, key: one}]
                return _dated(one) or self._problems(self._url, {"gitlab_runner_runners": given})

            part = _fit(value, check, key, left)
            if part is not _NOTHING:
                entry[key] = self._secret_free(key, part, str(name), where)
        token = self._variable(runner["token"], str(name), "token", where)
        first = {**base, "name": _safe(str(name)), "token": token}
        if "url" in first:
            first["url"] = _safe(str(first["url"]))
        head, *lines = _dump({**first, **entry})
        lines = [f"- {head}", *_indent(lines, 2)]
        for path, value, reason in left:
            lines += _indent(self._comment(path, value, reason), 2)
        if executor == "shell" and not runner.get("shell"):
            lines += ['  # Provision adds shell = "bash" to it, which the runner uses anyway.']
        return lines

    def _comment(self, path: str, value: Any, why: str, then: str = "") -> list[str]:
        then = then or "provision removes it from config.toml"
        # Without the place in a list that holds this runner alone, and without all right names.
        why = re.sub(r"^gitlab_runner_runners\[\d+\][.:]?\s?|; expected one of .*", "", why)
        said = "".join(c if c.isprintable() else "?" for c in _secrets.redact_text(why))
        name = "".join(c if c.isprintable() else "?" for c in path)
        self._result.left_out.append(f"{name}: {said}")
        key = path.rpartition(".")[2]
        text = yaml.safe_dump(
            _plain(_secrets.redact({key: value})), sort_keys=False, width=10**6, allow_unicode=False
        )
        return [
            f"# Left out, {then}: {said}",
            *(f"#   {line}" for line in text.splitlines()),
        ]

    def _secret_free(self, key: str, value: Any, name: str, where: str) -> Any:
        """The value with a variable of the vault in place of each secret."""
        if isinstance(value, Mapping) and _secrets.redact({key: value})[key] != _secrets.HIDDEN:
            return {k: self._secret_free(str(k), v, name, where) for k, v in value.items()}
        if isinstance(value, list) and _secrets.redact({key: value})[key] != _secrets.HIDDEN:
            return [self._item(item, key, name, where) for item in value]
        if _secrets.redact({key: value})[key] != value:
            return self._variable(value, name, key, where)
        return _safe(value)

    def _item(self, item: Any, key: str, name: str, where: str) -> Any:
        """One of a list; of NAME=value the name is shown."""
        if isinstance(item, str) and _secrets.redact(item) != item:
            head, mark, value = item.partition("=")
            if mark and re.fullmatch(r"\w+", head, re.A):
                return f"{head}={self._variable(value, name, head, where)}"
        return self._secret_free(key, item, name, where)

    def _variable(self, secret: Any, name: str, key: str, where: str) -> str:
        """A reference to the vault's variable for a secret: one for each that is distinct."""
        value = json.dumps(_plain(secret), sort_keys=True)
        if value not in self._vault:
            word = re.sub(r"[^0-9a-z]+", "_", f"{name} {key}".lower()).strip("_")
            variable, number = f"vault_gitlab_runner_{word}", 1
            while variable in self._result.vault:
                number += 1
                variable = f"vault_gitlab_runner_{word}_{number}"
            self._vault[value] = variable
            self._result.vault[variable] = f"{key} in {where}"
            self._result.secrets[variable] = value
        return "{{ " + self._vault[value] + " }}"


def _kept(original: Mapping[str, Any], meaning: Mapping[str, Any]) -> Data:
    """What makes a difference, as the file writes it."""
    found: Data = {}
    for key, value in original.items():
        if key in meaning:
            other = meaning[key]
            nested = isinstance(value, Mapping) and isinstance(other, Mapping)
            found[key] = _kept(value, other) if nested else value
    return found


def _fit(value: Any, check: Check, path: str, left: list[tuple[str, Any, str]]) -> Any:
    """What of a value passes; adds the rest to ``left``, with the reason."""
    why = check(value)
    if not why:
        return value
    if isinstance(value, Mapping) and len(value) > 0:
        pieces: list[tuple[str, Any, str]] = []
        good = {}
        for key, item in value.items():
            part = _fit(item, lambda one, key=key: check({key: one}), f"{path}.{key}", pieces)  # type: ignore[misc]
            if part is not _NOTHING:
                good[key] = part
        if good and not check(good):
            left += pieces
            return good
    if isinstance(value, list) and len(value) > 1:
        items = [(item, check([item])) for item in value]
        some = [item for item, said in items if not said]
        if some and not check(some):
            left += [(path, [item], said[0]) for item, said in items if said]
            return some
    left.append((path, value, why[0]))
    return _NOTHING


def _dated(value: Any) -> list[str]:
    """A date of TOML would come back as a text."""
    if isinstance(value, Moment):
        return ["the inventory has no form for a TOML date"]
    inner = value.values() if isinstance(value, Mapping) else value
    if isinstance(inner, str) or not hasattr(inner, "__iter__"):
        return []
    return next((said for item in inner if (said := _dated(item))), [])


def _safe(value: Any) -> Any:
    """Host text that looks like a template, marked as not one."""
    if isinstance(value, Mapping):
        return {key: _safe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_safe(item) for item in value]
    if isinstance(value, str) and _TEMPLATE.search(value):
        return Unsafe(value)
    return value


def _plain(value: Any) -> Any:
    """Built-in types alone, as YAML writes them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | float | Unsafe) or value is None:
        return value
    return str(value)


class _Dumper(yaml.SafeDumper):
    """Scripts as blocks, and Ansible's tag for text that is not a template."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never: two equal values are written twice."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    tag = "!unsafe" if isinstance(value, Unsafe) else "tag:yaml.org,2002:str"
    # In a block a line break of Unicode's would become a plain one.
    broken = re.search("[\x85\u2028\u2029]", value)
    block = "\n" in value and not broken
    style = "|" if block else '"' if isinstance(value, Unsafe) or broken else None
    return dumper.represent_scalar(tag, str(value), style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Unsafe, _text)


def _dump(value: Any) -> list[str]:
    text = yaml.dump(
        _plain(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6
    )
    return str(text).rstrip("\n").split("\n")


def _indent(lines: list[str], width: int) -> list[str]:
    return [" " * width + line if line else line for line in lines]
