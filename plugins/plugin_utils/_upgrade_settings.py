# SPDX-License-Identifier: GPL-3.0-or-later
"""Validation of the variables of prepare_upgrade.yml, all named runner_host_prepare_upgrade_*."""

from __future__ import annotations

from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_sources,
    _pythons,
    _upgrades,
)


def problems(
    release: str, target: Any, python: Any, free: Any, accept: Any, apply: Any
) -> list[str]:
    """What is wrong with them, one message each."""
    return [
        *_target_problems(release, target, python),
        *_python_problems(python),
        *_free_problems(free),
        *_accept_problems(accept),
        *_apply_problems(apply),
    ]


def _target_problems(release: str, target: Any, python: Any) -> list[str]:
    variable = "runner_host_prepare_upgrade_target"
    known = _apt_sources.RELEASES
    if not isinstance(target, str):
        return [f"{variable}: invalid value {target!r}; expected a code name such as noble"]
    if not target:
        if _upgrades.next_release(release):
            return []
        return [f"{variable}: no release after {release} is known; set its code name"]
    if target == release or (
        target in known and release in known and known.index(target) < known.index(release)
    ):
        return [f"{variable}: invalid value {target!r}; the host has {release} already"]
    if target not in _pythons.SYSTEMS and not python:
        return [
            f"{variable}: the own Python of {target!r} is not known; set it as "
            "runner_host_prepare_upgrade_target_python"
        ]
    return []


def _python_problems(python: Any) -> list[str]:
    if python == "":
        return []
    version = _pythons.parse(python)
    if version is not None and not version.flavour:
        return []
    return [
        f"runner_host_prepare_upgrade_target_python: invalid value {python!r}; expected a minor "
        'version such as "3.12", quoted'
    ]


def _free_problems(free: Any) -> list[str]:
    if isinstance(free, dict) and all(
        isinstance(path, str)
        and path.startswith("/")
        and isinstance(size, int)
        and not isinstance(size, bool)
        and size >= 0
        for path, size in free.items()
    ):
        return []
    return [
        f"runner_host_prepare_upgrade_free_mb: invalid value {free!r}; expected a mapping of "
        "folders to whole megabytes, such as {/usr: 3000}"
    ]


def _accept_problems(accept: Any) -> list[str]:
    kinds = ", ".join(_upgrades.KINDS)
    if not isinstance(accept, list):
        return [
            f"runner_host_prepare_upgrade_accept: invalid value {accept!r}; "
            f"expected a list of: {kinds}"
        ]
    return [
        f"runner_host_prepare_upgrade_accept[{index}]: invalid value {value!r}; "
        f"expected one of: {kinds}"
        for index, value in enumerate(accept)
        if value not in _upgrades.KINDS
    ]


def _apply_problems(apply: Any) -> list[str]:
    # As -e gives it, it is a text.
    if str(apply).lower() in ("true", "false", "yes", "no"):
        return []
    return [f"runner_host_prepare_upgrade_apply: invalid value {apply!r}; expected true or false"]
