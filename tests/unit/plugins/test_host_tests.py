# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of a provisioned host are told of its inventory."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.template import trust_as_template as trust

from ansible_collections.runnerhost.toolkit.plugins.action import host_tests
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _host_ssh


def action(**given: Any) -> host_tests.ActionModule:
    """The action of a host with these variables."""
    made = object.__new__(host_tests.ActionModule)
    loader = DataLoader()
    made._loader, made._templar = loader, Templar(loader)
    made._task = SimpleNamespace(args={})
    made.variables = {"ansible_facts": {"distribution_release": "jammy"}, **given}
    return made


def variables(**given: Any) -> dict[str, Any]:
    """The variables that the tests get."""
    return dict(action(**given)._variables())


def test_a_name_without_a_value_is_the_default() -> None:
    assert variables(network_access_ca_certificates=None) == variables()
    assert variables()["network_access_ca_certificates"] == []


def test_no_secret_is_handed_over() -> None:
    assert "hunter2" not in str(variables(network_access_proxy_password="hunter2"))


@pytest.mark.parametrize("name", ["ansible_become_password", "ansible_become_pass"])
@pytest.mark.parametrize("value", [trust("{{ vault_sudo }}"), "hunter2"])
def test_the_password_of_sudo_may_be_a_reference(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        _host_ssh, "of_connection", lambda _c, _n, password, _f: asked.append(password)
    )
    made = action(**{name: value})
    made._templar = Templar(made._loader, {"vault_sudo": "hunter2"})
    made._connection, made._play_context = None, SimpleNamespace(become_pass="other")
    made._ssh("/tmp")
    made.variables = {}
    made._ssh("/tmp")
    assert asked == ["hunter2", "other"]


def by_hand(**options: Any) -> list[str]:
    """What the command has for Ansible."""
    words = shlex.split(host_tests.by_hand("h1", "/srv/my inventory", options))
    assert "--ansible-inventory=/srv/my inventory" in words
    more = [word.partition("=")[2] for word in words if word.startswith("--ansible-args=")]
    return shlex.split(more[0]) if more else []


def test_the_command_for_a_run_by_hand_reaches_the_host_and_the_vault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        by_hand(ask_vault_pass=False, vault_ids=[], extra_vars=("runner_host_verify_report=x",))
        == []
    )
    assert by_hand(ask_vault_pass=True, become_ask_pass=True) == [
        "--ask-vault-pass", "--ask-become-pass",
    ]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my pass").touch()
    assert by_hand(
        vault_ids=["prod@prompt", "dev@my pass"],
        vault_password_files=("my pass",),
        remote_user="ops",
        extra_vars=("@my pass", "token=hunter2"),
    ) == [
        "--vault-id=prod@prompt", f"--vault-id=dev@{tmp_path}/my pass",
        f"--vault-password-file={tmp_path}/my pass", "--user=ops",
        f"-e@{tmp_path}/my pass", "-eNAME=VALUE",
    ]  # fmt: skip


@pytest.mark.parametrize("answer", [{"venvs": [], "summary": "none"}, AnsibleError("no sudo")])
def test_virtual_environments_are_checked_beside_the_tests(
    answer: dict[str, Any] | AnsibleError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where that fails, the tests still say what they have found."""
    asked: list[Any] = []

    def ask(self: Any, module: str, given: dict[str, Any], variables: Any) -> Any:
        asked.append((module, given))
        if isinstance(answer, AnsibleError):
            raise answer
        return answer

    monkeypatch.setattr(host_tests.ActionModule, "ask", ask)
    found = action(python_versions_venv_places=["/srv"], python_versions_wanted=["3.12"])._pythons()
    assert asked == [("runnerhost.toolkit.venv_info", {"places": ["/srv"]})]
    failed = isinstance(answer, AnsibleError)
    assert found["venvs"] == ({"failed": True, "msg": "no sudo"} if failed else answer)
    assert found["wanted"] == ["3.12"]
    assert isinstance(found["end_of_life_warning_days"], int)


def test_places_whose_template_has_no_value_are_told_beside_what_the_tests_find() -> None:
    found = action(python_versions_venv_places=trust("{{ none_such }}"))._pythons()
    assert found["venvs"] == {
        "failed": True,
        "msg": "python_versions_venv_places: its template has no value",
    }
