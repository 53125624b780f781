# SPDX-License-Identifier: GPL-3.0-or-later
"""Validation of the keys of config.toml and of what GitLab holds of a runner; shows no secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import (
    CHOICES,
    GITLAB,
    HOST_PATHS,
    LEAST_TIMEOUT,
    RUNNER,
    RUNNER_TYPES,
    SETTINGS,
    SHELL_PATHS,
    Table,
)

# Names that people use, with what to use instead.
_RUNNER_HINTS = {
    "env": 'not a key of the runner; use environment, a list of "NAME=value"',
    "variables": 'not a key of the runner; use environment, a list of "NAME=value"',
    "pre_clone_script": "removed in GitLab Runner 17.0; use pre_get_sources_script",
    "post_clone_script": "removed in GitLab Runner 17.0; use post_get_sources_script",
    "concurrent": "it is a global key; use gitlab_runner_concurrent",
    "tls_ca_file": "it is written with hyphens: tls-ca-file",
    "tls_cert_file": "it is written with hyphens: tls-cert-file",
    "tls_key_file": "it is written with hyphens: tls-key-file",
    "tags": "GitLab holds it: give it under gitlab, as tag_list",
    "tag_list": "GitLab holds it: give it under gitlab, as tag_list",
    "run_untagged": "GitLab holds it: give it under gitlab",
    "locked": "GitLab holds it: give it under gitlab",
    "access_level": "GitLab holds it: give it under gitlab",
    "maximum_timeout": "GitLab holds it: give it under gitlab",
    "registration_token": "registration tokens are gone (410); create the runner in GitLab and "
    "give its glrt- token as token",
    "id": "GitLab issues it: leave it out",
    "token_obtained_at": "GitLab's answer gives it: leave it out",
    "token_expires_at": "GitLab's answer gives it: leave it out",
}
_GITLAB_HINTS = {
    "tags": "GitLab's API calls it tag_list",
    "type": "GitLab's API calls it runner_type",
    "protected": "GitLab's API calls it access_level: ref_protected",
}
_SETTINGS_HINTS = {
    "concurrent": "use gitlab_runner_concurrent",
    "runners": "use gitlab_runner_runners",
    "user": "the service's --user has precedence; use gitlab_runner_user",
}

_NAMES = ("shell", "config_exec", "prepare_exec", "run_exec", "cleanup_exec")
"""Those that may be a program's name in place of its path."""

# Go's time.ParseDuration.
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+\Z")
_ADDRESS = re.compile(r"(?:\[[^\]\s]*\]|[^\s:\[\]]*)(?::(?P<port>[0-9]*))?")
_LAST_PORT = 65535
_METRICS_PORT = 9252
_TAKES = {
    "str": "a string",
    "int": "a whole number of 0 or more",
    "bool": "true or false",
    "float": "a number",
    "duration": 'a duration such as "15m" or "1h30m"',
    "list": 'a list of strings (environment: each "NAME=value")',
    "map": "a mapping of names to strings",
    "flags": "a mapping of feature flags to true or false",
    "any": "a mapping",
}


def settings_problems(variable: str, value: Any) -> list[str]:
    """What is wrong with the global keys given in ``variable``, one message each."""
    if not isinstance(value, Mapping):
        return [f"{variable}: {_secrets.unfit(value)}; expected a mapping of global keys"]
    return list(_table_problems(variable, value, SETTINGS, _SETTINGS_HINTS))


def runner_problems(variable: str, value: Any) -> list[str]:
    """What is wrong with one entry of ``[[runners]]``; the token's own rules are in `tokens`."""
    if not isinstance(value, Mapping):
        return [f"{variable}: {_secrets.unfit(value)}; expected a mapping of [[runners]] keys"]
    return list(_table_problems(variable, value, RUNNER, _RUNNER_HINTS))


def host_paths(runner: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What an entry names on the host: the key, dotted, its value, and what lies there."""
    own = runner.get("executor", "shell") == "shell"
    found = []
    for keys, kind in {**HOST_PATHS, **(SHELL_PATHS if own else {})}.items():
        value: Any = runner
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, str) and value:
            found.append((".".join(keys), value, kind))
    return found


def path_problems(at: str, runner: Mapping[str, Any]) -> list[str]:
    """Paths that are invalid on any host."""
    found = []
    paths = host_paths(runner)
    for key, value, kind in paths:
        if key.rpartition(".")[2] in _NAMES and "/" not in value:
            continue
        if not value.startswith("/") or {"..", "."} & {*value.split("/")}:
            found.append(f"{at}.{key}: invalid value {value!r}; expected an absolute path")
        elif kind == "folder" and re.match(
            r"/+(?:tmp|var/tmp|run|var/run|dev|proc|sys)(?:/|\Z)", value
        ):
            found.append(
                f"{at}.{key}: invalid value {value!r}; expected a folder that outlives a restart "
                "of the host"
            )
    names = {key for key, __, __ in paths}
    found += [
        f"{at}.{one}: missing; {other} needs it"
        for one, other in (("tls-cert-file", "tls-key-file"), ("tls-key-file", "tls-cert-file"))
        if other in names and one not in names
    ]
    return found


def gitlab_problems(variable: str, value: Any) -> list[str]:
    """What is wrong with an entry's ``gitlab``, what GitLab itself is to hold of a runner."""
    if not isinstance(value, Mapping):
        return [f"{variable}: {_secrets.unfit(value)}; expected a mapping of {', '.join(GITLAB)}"]
    # Null removes the limit.
    given = {k: v for k, v in value.items() if (k, v) != ("maximum_timeout", None)}
    found = list(
        _table_problems(
            variable,
            {k: v for k, v in given.items() if k != "maximum_timeout"},
            GITLAB,
            _GITLAB_HINTS,
        )
    )
    runner_type = value.get("runner_type")
    needs = {"group_type": "group_id", "project_type": "project_id"}
    for of, key in needs.items():
        if runner_type == of and key not in value:
            found.append(f"{variable}.{key}: missing; runner_type {of} needs it")
        if runner_type in RUNNER_TYPES and runner_type != of and key in value:
            found.append(f"{variable}.{key}: not possible with runner_type {runner_type}")
    timeout = given.get("maximum_timeout", LEAST_TIMEOUT)
    if not _fits(timeout, "int") or timeout < LEAST_TIMEOUT:
        shown = (
            f"invalid value {timeout!r}"
            if isinstance(timeout, str | int | float)
            else _secrets.unfit(timeout)
        )
        found.append(
            f"{variable}.maximum_timeout: {shown}; expected {LEAST_TIMEOUT} seconds "
            "or more, or null for no limit"
        )
    if value.get("run_untagged") is False and not value.get("tag_list"):
        found.append(f"{variable}.tag_list: missing; run_untagged false needs it")
    tags = value.get("tag_list")
    for tag in tags if isinstance(tags, list) else []:
        if isinstance(tag, str) and ("," in tag or not tag.strip()):
            found.append(
                f"{variable}.tag_list: invalid value {tag!r}; expected a tag without a comma"
            )
    return found


def _table_problems(
    where: str, value: Mapping[Any, Any], table: Table, hints: Mapping[str, str]
) -> Iterator[str]:
    for key, item in value.items():
        if key not in table:
            yield f"{where}: unknown key {key!r}; {nearest(str(key), table, hints)}"
            continue
        kind = table[key]
        at = f"{where}.{key}"
        if isinstance(kind, dict):
            if isinstance(item, Mapping):
                yield from _table_problems(at, item, kind, {})
            else:
                yield f"{at}: {_secrets.unfit(item)}; expected a mapping of {', '.join(kind)}"
        else:
            yield from _value_problems(at, str(key), item, kind)


def _value_problems(at: str, key: str, item: Any, kind: str) -> Iterator[str]:
    shown = _secrets.redact({key: item})[key]
    if kind == "flags" and isinstance(item, Mapping):
        for name, flag in item.items():
            if not isinstance(flag, bool):
                told = _secrets.redact({str(name): flag})[str(name)]
                yield f"{at}.{name}: invalid value {told!r}; expected true or false, without quotes"
        return
    if not _fits(item, kind):
        got = _secrets.unfit(item)
        # Of a table or list in the wrong place nothing is shown: a secret may be in it.
        if kind in ("int", "bool", "float", "duration") and isinstance(item, str | int | float):
            got = f"invalid value {shown!r}"
        # YAML reads 0027, 3.10, yes and dates as other types than text.
        unquoted = kind in ("str", "duration", "list", "map") and _has_plain(item)
        takes = _TAKES[kind]
        if kind == "int" and key.endswith("_timeout"):
            takes = "a whole number of seconds, 0 or more"
        yield f"{at}: {got}; expected {takes}{': quote it' if unquoted else ''}"
        return
    if key in CHOICES and item not in CHOICES[key]:
        yield f"{at}: invalid value {shown!r}; expected one of {', '.join(CHOICES[key])}"
    if key == "clone_url" and item and not re.fullmatch(r"https?://[^\s/]+(?:/\S*)?", str(item)):
        yield f"{at}: invalid value {shown!r}; expected an address such as https://gitlab.example.com"
    if key == "ServerAddress" and "://" in str(item):
        # The runner adds the scheme, by Insecure (its docs, [runners.cache.s3]).
        yield f"{at}: invalid value {shown!r}; expected HOST or HOST:PORT, without https://"
    if key == "listen_address" and not _is_address(item, at.endswith("session_server." + key)):
        yield (
            f"{at}: invalid value {shown!r}; expected HOST:PORT with a port from 1 to {_LAST_PORT}"
        )
    for text in _texts(item):
        if any((ord(c) < 32 and c not in "\t\n") or ord(c) == 127 for c in text):
            yield f"{at}: invalid value with control characters; expected printable text"
        elif "\n" in text and not key.endswith("_script"):
            yield f"{at}: invalid value with a line break; expected one line"


def with_port(address: str) -> str:
    """An address for metrics, with the port that the runner adds (commands/multi.go)."""
    match = _ADDRESS.fullmatch(address)
    return f"{address}:{_METRICS_PORT}" if match and match["port"] is None else address


def _is_address(text: str, needs_port: bool) -> bool:
    """True if a daemon with this address can start, as far as the text says.

    For its metrics the runner adds a missing port, 9252 (commands/multi.go); nothing is no address.
    """
    match = _ADDRESS.fullmatch(text)
    if not text or not match or text.isdigit():
        # Digits alone would be the name of a host.
        return not text
    port = match["port"]
    return 1 <= int(port) <= _LAST_PORT if port else not needs_port


def _has_plain(item: Any) -> bool:
    """True if it is, or holds, a number, a boolean or a date."""
    if isinstance(item, Mapping):
        return any(_has_plain(entry) for entry in item.values())
    if isinstance(item, list):
        return any(_has_plain(entry) for entry in item)
    return item is not None and not isinstance(item, str)


def _fits(item: Any, kind: str) -> bool:
    if kind == "str":
        return isinstance(item, str)
    if kind == "int":
        return isinstance(item, int) and not isinstance(item, bool) and item >= 0
    if kind == "bool":
        return isinstance(item, bool)
    if kind == "float":
        return isinstance(item, int | float) and not isinstance(item, bool)
    if kind == "duration":
        return isinstance(item, str) and bool(_DURATION.match(item))
    if kind == "list":
        return isinstance(item, list) and all(isinstance(entry, str) for entry in item)
    if kind == "map":
        return _is_map(item, str)
    if kind == "flags":
        return _is_map(item, bool)
    return isinstance(item, Mapping)


def _is_map(item: Any, of: type) -> bool:
    return isinstance(item, Mapping) and all(
        isinstance(k, str) and isinstance(v, of) for k, v in item.items()
    )


def _texts(item: Any) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    elif isinstance(item, Mapping):
        for entry in item.values():
            yield from _texts(entry)
    elif isinstance(item, list):
        for entry in item:
            yield from _texts(entry)


def nearest(key: str, table: Iterable[str], hints: Mapping[str, str]) -> str:
    """What to write in place of an unknown key."""
    if key in hints:
        return hints[key]
    by_fold = {name.replace("-", "_").lower(): name for name in table}
    near = difflib.get_close_matches(key.replace("-", "_").lower(), by_fold, n=1, cutoff=0.6)
    if near:
        return f"did you mean {by_fold[near[0]]!r}?"
    return f"expected one of {', '.join(table)}"
