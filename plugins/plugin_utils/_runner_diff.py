# SPDX-License-Identifier: GPL-3.0-or-later
"""The difference of two configurations as ``--diff`` shows it; no secret."""

from __future__ import annotations

from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _runner_compare,
    _runner_toml,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data


def diff(before: Data, after: Data, *, exists: bool) -> dict[str, str]:
    """What Ansible shows of a change; `exists`: whether there is a file before."""
    spelled = _runner_compare.spelled_alike(before, after)
    old = _secrets.redact(_hide_foreign_texts(spelled, _texts(after)))
    new = _secrets.redact(after)
    for held, wanted, shown_old, shown_new in zip(
        before.get("runners", []),
        after.get("runners", []),
        old.get("runners", []),
        new.get("runners", []),
        strict=False,
    ):
        both = "token" in shown_old and "token" in shown_new
        if both and held.get("token") != wanted.get("token"):
            shown_new["token"] = f"{_secrets.HIDDEN} another"
    return {
        "before_header": "config.toml",
        "after_header": "config.toml",
        "before": _runner_toml.dump(old) if exists else "",
        "after": _runner_toml.dump(new),
    }


def _texts(value: Any) -> set[str]:
    """All texts of plain data."""
    if isinstance(value, dict):
        return {text for item in value.values() for text in _texts(item)}
    if isinstance(value, list):
        return {text for item in value for text in _texts(item)}
    return {value} if isinstance(value, str) else set()


def _hide_foreign_texts(value: Any, ours: set[str], key: str = "") -> Any:
    """What the host's file holds, without free texts of others: a password may be in them."""
    if isinstance(value, dict):
        return {name: _hide_foreign_texts(item, ours, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_hide_foreign_texts(item, ours, key) for item in value]
    free = key == "environment" or key.endswith("_script")
    if free and isinstance(value, str) and value not in ours:
        name, mark, __ = value.partition("=")
        return f"{name}={_secrets.HIDDEN}" if mark and key == "environment" else _secrets.HIDDEN
    return value
