# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of the role network_access: what it asks of the host, of the net, and warns of."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ansible_collections.runnerhost.toolkit.plugins.action import network_plan
from ansible_collections.runnerhost.toolkit.plugins.module_utils import _apt_sources
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _openpgp
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import ROOT
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    CANDIDATES,
    DISTRIBUTION_SOURCES,
    HOST_INFO,
    NETWORK_DEFAULTS,
)

URL = "https://mirror.example.com/ubuntu"
KEY = "https://mirror.example.com/key.asc"
SHIPPED = (ROOT / "roles" / "python_versions" / "files" / "deadsnakes.asc").read_text()


class Action(network_plan.ActionModule):
    """The action for one host, which has a text as its source file, and one answer of the net."""

    changes: dict[str, Any]
    deployed: str
    answer: str
    asked: list[str]

    def network_values(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        values = yaml.safe_load(NETWORK_DEFAULTS.read_text(encoding="utf-8"))
        known = {name.removeprefix("network_access_"): value for name, value in values.items()}
        return {**known, "distribution_suites": ["jammy", "jammy-security"], **self.changes}

    def ask(
        self, module: str, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]
    ) -> dict[str, Any]:
        self.asked.append(module)
        if module == CANDIDATES:
            return {
                "error": "",
                "distribution_error": "",
                "offer": {"ca-certificates": ["1"]},
                "origins": [],
            }
        return {"info": {"files": {path: {"text": self.deployed} for path in arguments["texts"]}}}

    def _fetch(self, source: str) -> str:
        self.asked.append(source)
        if not self.answer:
            raise OSError("no route")
        return self.answer


def sources(key: str) -> str:
    """The host's source file with a key in it."""
    suites = ["jammy", "jammy-security"]
    components = ["main", "restricted", "universe", "multiverse"]
    about = "The distribution, from a mirror of it"
    return _apt_sources.render_sources(URL, suites, components, key, about)


def plan(deployed: str = "", answer: str = "", **changes: Any) -> tuple[dict[str, Any], list[str]]:
    """The action's result, and what it asked for."""
    action = object.__new__(Action)
    action.changes, action.deployed, action.answer, action.asked = changes, deployed, answer, []
    action._task = SimpleNamespace(async_val=0, check_mode=False, action="network_plan", args={})
    action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"))
    action._templar = SimpleNamespace(template=str)
    return action.run(task_vars={}), action.asked


def mirror(key: str) -> dict[str, str]:
    """The variables of a mirror that signs with this key, which an address gives."""
    return {
        "distribution_url": URL,
        "distribution_key": KEY,
        "distribution_key_fingerprint": _openpgp.read(key).fingerprint,
    }


def test_without_a_mirror_the_host_is_not_asked() -> None:
    result, asked = plan()
    assert asked == []
    assert "warnings" not in result


def test_a_key_that_the_host_has_is_not_fetched() -> None:
    result, asked = plan(sources(SHIPPED), **mirror(SHIPPED))
    assert asked == [HOST_INFO]
    assert {"path": DISTRIBUTION_SOURCES, "content": sources(SHIPPED)} in result["plan"]["files"]
    assert "warnings" not in result


def test_a_key_that_the_host_lacks_is_fetched_and_the_mirror_asked() -> None:
    _, asked = plan("", SHIPPED, **mirror(SHIPPED))
    assert asked == [HOST_INFO, KEY, CANDIDATES]


@pytest.mark.parametrize("answers", [True, False])
def test_a_key_near_its_end_is_fetched_again_and_warned_of(short_lived: str, answers: bool) -> None:
    result, asked = plan(
        sources(short_lived), short_lived if answers else "", **mirror(short_lived)
    )
    assert asked == [HOST_INFO, KEY]
    *unread, ends = result["warnings"]
    assert f"network_access_distribution_key: the key from {KEY} expires on" in ends
    assert [f"cannot read {KEY}; the host's own copy is used" in text for text in unread] == (
        [] if answers else [True]
    )
