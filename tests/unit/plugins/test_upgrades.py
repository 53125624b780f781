# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of a release upgrade, judged from what was found on a host."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _upgrades
from ansible_collections.runnerhost.toolkit.plugins.module_utils._upgrades import Goal
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _upgrade_settings

THERE = "install ok installed"
GOAL = Goal("jammy", "noble", "3.10", "3.12", ("3.10", "3.11"), {"/usr": 3000, "/var": 2000})
NOTHING: dict[str, Any] = {
    "packages": {"python3.11": {"version": "3.11.16-1+jammy1", "status": THERE}},
    "held": [],
    "unfinished": [],
    "lists": True,
    "foreign": {"python3.11": "LP-PPA-deadsnakes", "gitlab-runner": "packages.gitlab.com"},
    "sources": [],
    "along": [],
    "updates": [],
    "restart": None,
    "mounts": [{"path": "/usr", "device": 1, "free_mb": 9000}],
    "pending": [],
    "venvs": [],
    "venvs_complete": True,
    "other_runners": [],
}
PPAS = {
    "python3.12": {"version": "3.12.13-1+jammy1", "status": THERE},
    "libpython3.12-stdlib": {"version": "3.12.13-1+jammy1", "status": THERE},
    # Its configuration alone is left.
    "python3.12-venv": {"version": "3.12.13-1+jammy1", "status": "deinstall ok config-files"},
    "python3.1": {"version": "1", "status": THERE},
}


def kinds(**more: Any) -> list[tuple[str, bool]]:
    return [(one.kind, one.cured) for one in _upgrades.obstacles({**NOTHING, **more}, GOAL)]


def test_a_host_that_is_ready() -> None:
    assert kinds() == []


def test_the_next_releases_own_python_from_a_third_party_is_named_and_cured() -> None:
    facts = {**NOTHING, "packages": PPAS, "along": ["python3.12", "libpython3.12-stdlib"]}
    assert _upgrades.conflicts(facts, GOAL) == ["libpython3.12-stdlib", "python3.12"]
    (one,) = _upgrades.obstacles(facts, GOAL)
    assert one.kind == "conflict"
    assert one.cured
    line = one.line()
    assert "Python 3.12 (3.12.13-1+jammy1): libpython3.12-stdlib, python3.12." in line
    assert "python3-venv and python3-dev" in line
    # A half-installed one is in the way too.
    half = {"python3.12": {"version": "1", "status": "install ok unpacked"}}
    assert _upgrades.conflicts({**facts, "packages": half}, GOAL) == ["python3.12"]


def test_what_would_take_others_along_is_not_taken_away() -> None:
    (one,) = _upgrades.obstacles(
        {**NOTHING, "packages": PPAS, "along": ["python3.12", "their-tool"]}, GOAL
    )
    assert not one.cured
    assert "their-tool would go with it" in one.what
    assert "remove their-tool yourself" in one.remedy


def test_the_hosts_own_python_is_no_conflict() -> None:
    goal = Goal("jammy", "noble", "3.12", "3.12", (), {})
    assert _upgrades.conflicts({**NOTHING, "packages": PPAS}, goal) == []


@pytest.mark.parametrize(
    ("more", "kind", "cured"),
    [
        ({"unfinished": ["less"]}, "dpkg", False),
        ({"lists": False}, "lists", False),
        # Ours must be replaced by the new release's build; others stop the upgrade itself.
        ({"held": ["python3.11", "python3.11-venv"]}, "held", True),
        ({"held": ["libc6"]}, "held", False),
        ({"updates": ["openssl"]}, "updates", False),
        ({"restart": []}, "restart", False),
        ({"restart": ["linux-image"]}, "restart", False),
    ],
)
def test_named(more: dict[str, Any], kind: str, cured: bool) -> None:
    assert kinds(**more) == [(kind, cured)]


def test_a_hold_on_a_third_partys_package_is_no_obstacle() -> None:
    assert kinds(held=["gitlab-runner"]) == []
    assert kinds(held=["their-tool"], foreign={"their-tool": ""}) == []


def test_folders_of_one_file_system_share_its_room() -> None:
    apart = [
        {"path": "/usr", "device": 1, "free_mb": 3500},
        {"path": "/var", "device": 2, "free_mb": 2500},
    ]
    assert kinds(mounts=apart) == []
    together = [{**mount, "device": 1, "free_mb": 3500} for mount in apart]
    assert kinds(mounts=together) == [("space", False)]
    (one,) = _upgrades.obstacles({**NOTHING, "mounts": together}, GOAL)
    assert "3500 MB are free for /usr, /var" in one.what
    assert "5000 MB" in one.why


def test_notes_say_what_the_upgrade_will_do() -> None:
    ours = {
        "file": "/etc/apt/sources.list.d/runnerhost-deadsnakes.sources",
        "url": "https://mirror.example.com/deadsnakes",
        "suite": "jammy",
        "ours": True,
    }
    theirs = {**ours, "file": "/etc/apt/sources.list.d/their.list", "ours": False}
    facts = {
        **NOTHING,
        "sources": [ours, ours, theirs],
        "foreign": {**NOTHING["foreign"], "their-tool": "Them", "old-tool": ""},
        "pending": ["gitlab-runner"],
    }
    said = "\n".join(_upgrades.notes(facts, GOAL))
    assert "disables /etc/apt/sources.list.d/runnerhost-deadsnakes.sources; provision" in said
    assert "their.list (https://mirror.example.com/deadsnakes jammy), which is not" in said
    assert "their-tool from Them" in said
    assert "old-tool from no source" in said
    assert "3.10, jammy's own Python; provision brings it back" in said
    assert "waits for a restart: gitlab-runner" in said
    # What provision replaces needs no word.
    assert "python3.11" not in said
    assert "packages.gitlab.com" not in said
    other = Goal("jammy", "noble", "3.10", "3.12", ("3.11",), {})
    assert "add it to python_versions_wanted" in "\n".join(_upgrades.notes(facts, other))


def test_notes_say_what_becomes_of_venvs() -> None:
    venvs = [
        {"path": "/home/gitlab-runner/v", "interpreter": "/usr/bin/python3.10"},
        {"path": "/home/gitlab-runner/w", "interpreter": "/usr/bin/python3.7"},
    ]
    facts = {**NOTHING, "venvs": venvs, "venvs_complete": False}
    said = "\n".join(_upgrades.notes(facts, GOAL))
    assert "jammy's own Python: /home/gitlab-runner/v; those made by python3.10 live again" in said
    assert "have 3.12 then" in said
    assert "dead already: /home/gitlab-runner/w" in said
    assert "too many virtual environments: not all" in said
    other = Goal("jammy", "noble", "3.10", "3.12", ("3.11",), {})
    assert "those made by python3.10 stay dead" in "\n".join(_upgrades.notes(facts, other))


GOOD: dict[str, Any] = {
    "release": "jammy",
    "target": "",
    "python": "",
    "free": {"/usr": 3000},
    "accept": [],
    "apply": False,
}


def test_good_variables() -> None:
    assert _upgrade_settings.problems(**GOOD) == []
    assert _upgrade_settings.problems(**{**GOOD, "target": "noble", "python": "3.12"}) == []
    # A release that nobody knows yet.
    assert _upgrade_settings.problems(**{**GOOD, "target": "zesty", "python": "3.16"}) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"target": 24.04},
            "runner_host_prepare_upgrade_target: invalid value 24.04; expected a code name",
        ),
        ({"target": "jammy"}, "; the host has jammy already"),
        ({"target": "focal"}, "; the host has jammy already"),
        ({"target": "zesty"}, "the own Python of 'zesty' is not known"),
        ({"release": "resolute"}, "no release after resolute is known"),
        ({"python": 3.12}, "runner_host_prepare_upgrade_target_python: invalid value 3.12"),
        (
            {"python": "3.14-nogil"},
            "runner_host_prepare_upgrade_target_python: invalid value '3.14-nogil'",
        ),
        ({"free": [3000]}, "expected a mapping of folders"),
        ({"free": {"/usr": "3 GB"}}, "expected a mapping of folders"),
        ({"free": {"usr": 3000}}, "expected a mapping of folders"),
        ({"accept": "held"}, "_accept: invalid value 'held'; expected a list of: dpkg"),
        ({"accept": ["holds"]}, "runner_host_prepare_upgrade_accept[0]: invalid value 'holds'"),
        ({"apply": "perhaps"}, "_apply: invalid value 'perhaps'; expected true or false"),
        ({"apply": 1}, "_apply: invalid value 1; expected true or false"),
    ],
)
def test_refused(change: dict[str, Any], says: str) -> None:
    (text,) = _upgrade_settings.problems(**{**GOOD, **change})
    assert says in text


def test_long_lists_are_cut() -> None:
    assert _upgrades.some("abc") == "a, b, c"
    assert _upgrades.some("abcdefghijk") == "a, b, c, d, e, f, g, h and 3 more"


@pytest.mark.parametrize(
    ("unit", "there"),
    [
        ({"UnitFileState": "enabled", "ActiveState": "inactive"}, True),
        ({"UnitFileState": "disabled", "ActiveState": "active"}, True),
        ({"UnitFileState": "disabled", "ActiveState": "deactivating"}, True),
        ({"UnitFileState": "disabled", "ActiveState": "inactive"}, False),
        ({"UnitFileState": "disabled", "ActiveState": "failed"}, False),
        ({}, False),
    ],
)
def test_in_service(unit: dict[str, str], there: bool) -> None:
    assert _upgrades.is_in_service(unit) == there


def test_the_lts_after_the_last_known_one_is_not_guessed() -> None:
    assert _upgrades.next_release("jammy") == "noble"
    assert _upgrades.next_release("noble") == "resolute"
    assert _upgrades.next_release("resolute") == ""
    assert _upgrades.next_release("zesty") == ""


def test_a_runner_that_the_toolkit_does_not_manage_is_in_the_way() -> None:
    other = {"pid": 7, "unit": "ci.service", "runners": None, "children": 0, "text": "ci.service"}
    (one,) = _upgrades.obstacles({**NOTHING, "other_runners": [other]}, GOAL)
    assert (one.kind, one.cured) == ("services", False)
    assert "does not manage: ci.service" in one.line()
