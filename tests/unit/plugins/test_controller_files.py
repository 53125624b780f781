# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the controller that are not there, or not the right ones: one line says what to do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader

from ansible_collections.runnerhost.toolkit.plugins.action.publish_tools import ActionModule
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _authorities,
    _gitlab_sync,
    _openpgp,
    _repository_keys,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem

FILE = "files/runner.asc"
EXPECTED = (
    f"cannot read {FILE}: no such file; expected an absolute path, or one that begins with "
    "{{ inventory_dir }}/"
)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def action(tmp_path: Path) -> ActionModule:
    """An action of a play in an empty folder."""
    made = object.__new__(ActionModule)
    made._loader = DataLoader()
    made._loader.set_basedir(str(tmp_path))
    made._task = SimpleNamespace(get_search_path=lambda: [str(tmp_path)], args={"lock": FILE})
    return made


def test_a_key_in_no_file(action: ActionModule) -> None:
    for variable in ("gitlab_runner_repository_key", "network_access_distribution_key"):
        with pytest.raises(AnsibleActionFail) as failed:
            action.key(variable, FILE, "AB" * 20)
        assert str(failed.value) == f"refused, nothing was changed: {variable}: {EXPECTED}"
        # Ansible prints the causes of an error too.
        assert failed.value.__suppress_context__


def test_a_ca_in_no_file(action: ActionModule) -> None:
    __, wrong = _authorities.read([FILE], action.find_file)
    assert wrong == [f"network_access_ca_certificates: {EXPECTED}"]
    to = _gitlab_sync.Access("https://gitlab.example.com", "t", FILE)
    with pytest.raises(ApiProblem) as failed:
        to.api(action.find_file)
    assert str(failed.value) == f"gitlab_runner_api_ca_certificate: {EXPECTED}"


def test_a_lock_in_no_file(action: ActionModule) -> None:
    with pytest.raises(AnsibleActionFail) as failed:
        action._texts()
    assert str(failed.value) == f"refused, nothing was changed: publish_tools_lock: {EXPECTED}"


def test_a_folder_in_the_place_of_a_file(action: ActionModule, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    __, wrong = _authorities.read(["files"], action.find_file)
    assert wrong == ["network_access_ca_certificates: cannot read files: Is a directory"]


def test_other_reasons_stay_as_they_are(action: ActionModule) -> None:
    def broken(_: str) -> str:
        raise AnsibleError("something else")

    __, wrong = _authorities.read([FILE], broken)
    assert wrong == [f"network_access_ca_certificates: cannot read {FILE}: something else"]


def test_a_key_with_another_fingerprint_names_both_variables() -> None:
    key = (ROOT / "roles/python_versions/files/deadsnakes.asc").read_text(encoding="utf-8")
    with pytest.raises(_openpgp.KeyProblem) as failed:
        _repository_keys.read(
            "python_versions_repository_key", "a.asc", "AB" * 20, "", lambda _: key
        )
    own = _openpgp.read(key).fingerprint
    assert str(failed.value) == (
        f"python_versions_repository_key: the key from a.asc has the fingerprint {own}, trusted is "
        f"{'AB' * 20} (python_versions_repository_key_fingerprint); compare both with what the "
        "vendor publishes, and set the one that is wrong"
    )
