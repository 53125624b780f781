# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparison of two configurations by what they mean, not by how they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import (
    IDENTITY_KEYS,
    RUNNER,
    SETTINGS,
    bare_url,
    durations,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data, Moment

# What `register` and the daemon write where nothing was asked for, beside zero values and empty
# tables (seen with gitlab-runner 17.4 to 18.5).
_GLOBAL_DEFAULTS: Data = {
    "concurrent": 1,
    "connection_max_age": "15m0s",
    "session_server": {"session_timeout": 1800},
}
_ZERO_TIME = "0001-01-01T00:00:00Z"
# In these an explicit false differs from nothing: a feature flag may be on by default.
_OPAQUE = frozenset({"feature_flags", "labels"})
# Keys whose false or 0 differs from nothing (gitlab-runner 19.3, common/config.go and
# cache/cacheconfig/cacheconfig.go: *bool, *int, *int64).
_POINTERS = frozenset(
    {
        "DualStack",
        "PathStyle",
        "allow_privilege_escalation",
        "automount_service_account_token",
        "clean_git_config",
        "cleanup_exec_timeout",
        "cleanup_grace_period_seconds",
        "config_exec_timeout",
        "disable_strict_host_key_checking",
        "enabled",
        "force_kill_timeout",
        "fs_group",
        "graceful_kill_timeout",
        "max_backup_files",
        "pod_disruption_budget",
        "pod_termination_grace_period_seconds",
        "preemptive_mode",
        "prepare_exec_timeout",
        "print_pod_warning_events",
        "proxy_exec",
        "read_only_root_filesystem",
        "reservation_throttling",
        "run_as_group",
        "run_as_non_root",
        "run_as_user",
        "safe_directory_checkout",
        "services_limit",
        "services_privileged",
        "skip_oidc_if_unsupported_cloud",
        "skip_runner_system_failure",
        "strict_check_interval",
    }
)
# The table of docker has a plain one of this name, which the daemon writes even if it was not set.
_KUBERNETES_POINTERS = frozenset({"privileged"})
# Tables that the toolkit does not look into: it does not know which of their zeros mean nothing.
_UNKNOWN = frozenset(
    k for table in (RUNNER, SETTINGS) for k, kind in table.items() if kind == "any"
)
_DURATIONS = frozenset(durations(RUNNER)) | frozenset(durations(SETTINGS))
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def meaning(config: Mapping[str, Any], other: Mapping[str, Any] | None = None) -> Data:
    """The configuration without what makes no difference: zero values, empty tables, defaults.

    Two configurations with equal meaning need no write. In tables that the toolkit does not look
    into, a zero counts where `other`, the inventory's configuration, has the key.

    Args:
        config: the configuration.
        other: what it is compared with; None for the inventory's own.
    """
    given = config if other is None else other
    result: Data = _strip(config, given, _GLOBAL_DEFAULTS)
    runners, others = config.get("runners", []), given.get("runners", [])
    result["runners"] = [
        _strip(runner, others[at] if at < len(others) else {}, {})
        for at, runner in enumerate(runners)
    ]
    return result


def _span(text: Any) -> Any:
    """A duration in seconds: the daemon writes 60m as 1h0m0s."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", str(text))
    return sum(float(count) * _UNITS[unit] for count, unit in parts) if parts else text


def _strip(
    table: Mapping[str, Any],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    path: tuple[str, ...] = (),
) -> Data:
    result: Data = {}
    for key, value in table.items():
        if key == "runners" and not path:
            continue
        if isinstance(value, Mapping) and key not in _OPAQUE:
            inner, stated = defaults.get(key), given.get(key)
            value = _strip(
                value,
                stated if isinstance(stated, Mapping) else {},
                inner if isinstance(inner, Mapping) else {},
                (*path, key),
            )
        if key in _DURATIONS:
            value = _span(value)
        default = _span(defaults.get(key)) if key in _DURATIONS else defaults.get(key)
        if value == 0 and isinstance(value, int | float) and _zero_counts(key, path, given):
            result[str(key)] = _untagged(value)
            continue
        if _is_zero(value) or (key in defaults and value == default):
            continue
        if key == "url":
            value = bare_url(str(value))
        result[str(key)] = _untagged(value)
    return result


def _zero_counts(key: str, path: tuple[str, ...], given: Mapping[str, Any]) -> bool:
    """True if false or 0 differs from nothing in this place."""
    if key in _POINTERS or (key in _KUBERNETES_POINTERS and "kubernetes" in path):
        return True
    return bool(path) and path[0] in _UNKNOWN and key in given


def _is_zero(value: Any) -> bool:
    return value is False or value in ("", 0, _ZERO_TIME) or value in ([], {}) or value is None


def _untagged(value: Any) -> Any:
    """Plain types: Ansible hands over subclasses, whose equality is the same but whose repr not."""
    if isinstance(value, Moment):
        return Moment(value)
    if isinstance(value, list):
        return [_untagged(entry) for entry in value]
    return value


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of what differs in meaning, for the output.

    ``concurrent``, ``runners.build.limit``, ``runners.build.identity`` for what GitLab issued,
    ``runners.build`` for a whole runner.
    """
    old, new = meaning(before, after), meaning(after)
    names = [key for key in sorted({*old, *new} - {"runners"}) if old.get(key) != new.get(key)]
    olds, news = old["runners"], new["runners"]
    for position in range(max(len(olds), len(news))):
        one = olds[position] if position < len(olds) else {}
        two = news[position] if position < len(news) else {}
        label = f"runners.{two.get('name') or one.get('name') or f'#{position + 1}'}"
        if not one or not two:
            names.append(label)
            continue
        differing = [key for key in sorted({*one, *two}) if one.get(key) != two.get(key)]
        # Four keys that GitLab issues together.
        identity = [key for key in differing if key in IDENTITY_KEYS]
        names.extend(f"{label}.{key}" for key in differing if key not in identity)
        if identity:
            names.append(f"{label}.identity")
    return names


def spelled_alike(before: Mapping[str, Any], after: Mapping[str, Any]) -> Data:
    """`before` for a diff: written as `after` wherever the meaning is the same.

    What the daemon encodes in its own way, zeros and defaults among it, is not a change.
    """
    old, new = meaning(before, after), meaning(after)
    shown = _alike(before, after, old, new)
    olds, news = old["runners"], new["runners"]
    befores, afters = before.get("runners", []), after.get("runners", [])
    shown.pop("runners", None)
    if befores:
        shown["runners"] = [
            _alike(runner, afters[at], olds[at], news[at]) if at < len(afters) else dict(runner)
            for at, runner in enumerate(befores)
        ]
    return shown


def _alike(before: Mapping[str, Any], after: Mapping[str, Any], old: Data, new: Data) -> Data:
    result: Data = {}
    for key, value in after.items():
        if old.get(key) == new.get(key):
            result[key] = value
        elif isinstance(value, Mapping) and isinstance(before.get(key), Mapping):
            inner_old, inner_new = old.get(key, {}), new.get(key, {})
            result[key] = _alike(before[key], value, inner_old, inner_new)
        elif key in before:
            result[key] = before[key]
    result.update((k, v) for k, v in before.items() if k not in after and k in old)
    return result


def dropped_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[str]]:
    """Keys of the host's file that the new one lacks: by runner's name, global ones under ""."""
    old, new = meaning(before, after), meaning(after)
    olds, news = old.pop("runners"), new.pop("runners")
    found = {"": _dropped(old, new)}
    for runner, wanted in zip(olds, news, strict=False):
        name = str(runner.get("name") or wanted.get("name") or "")
        found[name] = [*found.get(name, []), *_dropped(runner, wanted)]
    return {name: keys for name, keys in found.items() if keys}


def _dropped(old: Mapping[str, Any], new: Mapping[str, Any], at: str = "") -> list[str]:
    found: list[str] = []
    for key, value in old.items():
        if not at and key in IDENTITY_KEYS:
            continue
        wanted = new.get(key)
        if isinstance(value, Mapping):
            inner = wanted if isinstance(wanted, Mapping) else {}
            found += _dropped(value, inner, f"{at}{key}.")
        elif key not in new:
            found.append(f"{at}{key}")
        elif key == "environment" and isinstance(value, list) and isinstance(wanted, list):
            names = {str(entry).partition("=")[0] for entry in wanted}
            gone = [str(entry).partition("=")[0] for entry in value]
            found += [f"{at}{key}: {name}" for name in gone if name not in names]
    return found
