"""What the tests of a provisioned host are told of its inventory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.runnerhost.toolkit.plugins.action import host_tests


def variables(**given: Any) -> dict[str, Any]:
    """The variables that the tests get."""
    action = object.__new__(host_tests.ActionModule)
    loader = DataLoader()
    action._loader, action._templar = loader, Templar(loader)
    action._task = SimpleNamespace(args={})
    return action._variables({"ansible_facts": {"distribution_release": "jammy"}, **given})


def test_a_name_without_a_value_is_the_default() -> None:
    assert variables(network_access_ca_certificates=None) == variables()
    assert variables()["network_access_ca_certificates"] == []


def test_no_secret_is_handed_over() -> None:
    assert "hunter2" not in str(variables(network_access_proxy_password="hunter2"))
