# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of the role network_access: which files, in which order, and what is refused."""

from __future__ import annotations

import glob
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.runnerhost.toolkit.plugins.action import network_plan
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _controller,
    _network,
    _network_settings,
)
from tests.unit.plugins.test_plans import documented

FACTS = {"ansible_facts": {"distribution_release": "jammy"}}
PROXY = {"network_access_http_proxy": "http://proxy.test:3128"}
LOGIN = {"network_access_proxy_login": "build", "network_access_proxy_password": "s3cret.1"}
MIRROR = {"network_access_distribution_url": "https://mirror.test/ubuntu"}


def certificate(days: int = 9, authority: bool | None = True) -> str:
    """A certificate that expires in so many days; without constraints where `authority` is None."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Company")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=99))
        .not_valid_after(now + timedelta(days=days))
    )
    if authority is not None:
        constraints = x509.BasicConstraints(ca=authority, path_length=None)
        made = made.add_extension(constraints, critical=True)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


AUTHORITY = certificate()


class Action(network_plan.ActionModule):
    """The action, with what the host answers given here."""

    offered: Mapping[str, Any]

    def ask(
        self, module: str, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]
    ) -> dict[str, Any]:
        if module == _controller.CANDIDATES:
            return {"error": "", "distribution_error": "", **self.offered}
        return {"info": {"files": {path: {} for path in arguments["texts"]}}}


def made(pipelined: bool = True, **args: Any) -> Action:
    """The action of a task with these arguments."""
    one = object.__new__(Action)
    loader = DataLoader()
    one._loader, one._templar = loader, Templar(loader)
    one._task = SimpleNamespace(
        async_val=0, check_mode=False, action="x", args=args, get_search_path=list
    )
    one._connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir="/tmp"), is_pipelining_enabled=lambda: pipelined
    )
    one.offered = {"offer": {"ca-certificates": ["1"]}, "origins": ["Company"]}
    return one


def plan(*variables: Mapping[str, Any], **args: Any) -> dict[str, Any]:
    """The plan for these variables."""
    given = {name: value for one in (FACTS, *variables) for name, value in one.items()}
    found: dict[str, Any] = made(**args).run(None, given)["plan"]
    return found


def steps(planned: Mapping[str, Any]) -> list[tuple[str, str]]:
    """State and path of the plan's files."""
    return [(one.get("state", "file"), one["path"]) for one in planned["files"]]


def test_the_plan_is_what_is_documented() -> None:
    assert set(plan(PROXY, MIRROR)) == documented("network_plan")


def test_program_and_folder_are_there_before_the_setting_that_names_them() -> None:
    found = steps(plan(PROXY))
    folder = ("directory", "/usr/local/lib/runnerhost")
    order = [folder, ("file", _network.APT_DIRECT), ("file", _network.APT_CONF)]
    assert [step for step in found if step in order] == order
    assert {one["path"]: one for one in plan(PROXY)["files"]}[folder[1]]["mode"] == "0755"


def test_the_setting_goes_before_the_program_that_it_names() -> None:
    order = [("absent", _network.APT_CONF), ("absent", _network.APT_DIRECT)]
    assert [step for step in steps(plan()) if step in order] == order


def test_another_role_removes_nothing() -> None:
    assert plan(removes=False)["files"] == []
    found = steps(plan(PROXY, MIRROR, removes=False))
    assert {state for state, _ in found} == {"file", "directory", "duplicates_absent"}
    assert plan()["authorities"]["unless_found"]["others"] is False
    # Links of CAs that this role does not know of are no reason to rebuild the trust store.
    assert plan(removes=False)["authorities"]["unless_found"]["others"] is True


def test_roles_write_the_network_settings_once_and_remove_none_of_them() -> None:
    roles = Path(__file__).resolve().parents[3] / "roles"
    found = []
    alone = set(glob.glob(f"{roles}/*/tasks/main.yml")) - {f"{roles}/runner_host/tasks/main.yml"}
    for path in sorted(alone):
        for task in yaml.safe_load(Path(path).read_text(encoding="utf-8")):
            if part := task.get("ansible.builtin.include_role"):
                assert part["tasks_from"] == "add"
                assert task["when"] == "network_access_plan is not defined"
                found.append(path)
    assert len(found) == 4
    (planned, _) = yaml.safe_load((roles / "network_access/tasks/add.yml").read_text("utf-8"))
    assert planned["vars"] == {"__network_access_removes": False}
    plan = (roles / "network_access/tasks/plan.yml").read_text("utf-8")
    assert 'removes: "{{ __network_access_removes }}"' in plan
    assert "register: network_access_plan" in plan


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("https://apt.example.com/ppa", ""),
        ("https://apt.example.com", ""),
        ("https://APT.example.com/", ""),
        ("https://atp.example.com/ppa", "python_versions_repository_url"),
        ("http://apt.example.com/ppa", "python_versions_repository_url"),
        ("https://apt.example.com/pool", "python_versions_repository_url"),
        ("https://apt.example.com:8443/ppa", "python_versions_repository_url"),
        # For a source of the host's own.
        ("https://packages.vendor.example.org/debian", ""),
        ("https://apt.example.com/repository/apt-internal/", ""),
    ],
)
def test_credentials_that_miss_a_repository_are_warned_of(url: str, near: str) -> None:
    given = {
        "network_access_repository_credentials": [{"url": url, "login": "a", "password": "b"}],
        "python_versions_repository_url": "https://apt.example.com/ppa/ubuntu",
        "gitlab_runner_repository_url": "{{ undefined }}",
    }
    action = made()
    warned: list[str] = []
    action.warn = lambda text, task_vars=None: warned.append(text)  # type: ignore[method-assign]
    action.run(None, {**FACTS, **given})
    if near:
        (said,) = warned
        assert said == (
            f"network_access_repository_credentials[0].url: {url} fits no repository of the "
            f"inventory, and apt sends no password; {near} is https://apt.example.com/ppa/ubuntu"
        )
    else:
        assert warned == []


def test_mirror_takes_the_place_of_its_own_suites_and_of_the_distributions_releases() -> None:
    (duplicates,) = (
        one for one in plan(MIRROR)["files"] if one.get("state") == "duplicates_absent"
    )
    assert duplicates["uris"] == ["https://mirror.test/ubuntu"]
    assert duplicates["suites"] == ["jammy", "jammy-updates", "jammy-security"]
    assert duplicates["releases"] == ["jammy"]


def test_mirror_with_the_origin_that_python_versions_pins_is_refused() -> None:
    # As an inventory gives it: Ansible renders what it trusts.
    origin = trust_as_template("{{ 'Com' ~ 'pany' }}")
    pinned = {"python_versions_repository_origin": origin}
    with pytest.raises(AnsibleActionFail) as caught:
        plan(MIRROR, pinned)
    for name in ("python_versions_repository_origin", "network_access_distribution_url"):
        assert name in str(caught.value)
    plan(MIRROR, {"python_versions_repository_origin": "LP-PPA-deadsnakes"})


def test_a_mirror_that_answers_404_is_named_with_its_suites() -> None:
    one = made()
    one.offered = {"error": "E: Failed to fetch … 404  Not Found"}
    with pytest.raises(AnsibleActionFail) as caught:
        one.run(None, {**FACTS, **MIRROR})
    assert (
        "https://mirror.test/ubuntu (suites jammy, jammy-updates, jammy-security) cannot be used; "
        "there is no such suite at this address"
    ) in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["http_proxy", "no_proxy", "proxy_password", "distribution_suites", "distribution_keyring"],
)
def test_a_name_without_a_value_is_the_default(name: str) -> None:
    values = made().network_values({**FACTS, f"network_access_{name}": None})
    assert values == made().network_values(FACTS)
    assert plan({f"network_access_{name}": None}, MIRROR) == plan(MIRROR)


def test_one_ca_in_two_files_is_one(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.pem", "b.pem")]
    for file in files:
        file.write_text(AUTHORITY)
    found = steps(plan({"network_access_ca_certificates": [str(file) for file in files]}))
    assert len([path for state, path in found if state == "file" and path.endswith(".crt")]) == 1


def test_a_binary_certificate_is_refused_with_what_makes_pem_of_it(tmp_path: Path) -> None:
    file = tmp_path / "ca.cer"
    file.write_bytes(ssl.PEM_cert_to_DER_cert(AUTHORITY))
    with pytest.raises(AnsibleActionFail) as caught:
        plan({"network_access_ca_certificates": [str(file)]})
    said = f"network_access_ca_certificates: {file} holds no single certificate (found binary data"
    assert said in str(caught.value)
    assert "openssl x509 -inform der" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (certificate(days=-1), "expired on "),
        (certificate(authority=False), "not a CA"),
        (certificate(authority=None), "not a CA"),
        (AUTHORITY.replace("M", "!", 1), "damaged"),
        (AUTHORITY[:-30], "damaged"),
        (AUTHORITY * 2, "no single certificate"),
        (AUTHORITY * 2, "found 2 certificates"),
        ("", "no single certificate"),
        ("", "found no PEM block"),
        (
            AUTHORITY.replace("CERTIFICATE", "CERTIFICATE REQUEST"),
            "found CERTIFICATE REQUEST, which",
        ),
        (
            AUTHORITY + "-----BEGIN EC PRIVATE KEY-----\nAA==\n",
            "found CERTIFICATE, EC PRIVATE KEY",
        ),
    ],
)
def test_what_is_no_valid_ca_is_refused(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(text)
    with pytest.raises(AnsibleActionFail) as caught:
        plan({"network_access_ca_certificates": [str(file)]})
    said = str(caught.value)
    assert "network_access_ca_certificates" in said
    assert str(file) in said
    assert why in said


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Ansible shows as warnings, whatever becomes of the result."""
    texts: list[str] = []
    monkeypatch.setattr(_controller, "Display", lambda: SimpleNamespace(warning=texts.append))
    return texts


def test_a_hidden_result_keeps_its_warnings(told: list[str]) -> None:
    result = {"plan": "s3cret.1", "warnings": ["expires soon"]}
    made().hide(result)
    assert result == {"plan": "s3cret.1", "_ansible_no_log": True}
    assert told == ["expires soon"]


def test_a_password_in_a_file_on_the_host_is_warned_of(told: list[str]) -> None:
    made(pipelined=False).run(None, {**FACTS, **PROXY})
    assert told == []
    made(pipelined=False).run(None, {**FACTS, **PROXY, **LOGIN})
    (text,) = told
    assert "not pipelined: the passwords of proxies and repositories lie in" in text


def test_kept_files_are_refused_where_there_is_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DEFAULT_KEEP_REMOTE_FILES", True)
    plan(PROXY)
    with pytest.raises(AnsibleActionFail, match=r"KEEP_REMOTE_FILES .*leave the passwords of prox"):
        plan(PROXY, LOGIN)


@pytest.mark.parametrize(
    ("suites", "lacks"),
    [
        (["jammy", "jammy-updates"], "jammy-security"),
        (["jammy", "jammy-security"], ""),
        (["company/stable"], ""),
    ],
)
def test_a_mirror_without_security_updates_is_warned_of(suites: list[str], lacks: str) -> None:
    values = {"distribution_url": "https://m.test/ubuntu", "distribution_suites": suites}
    found = _network_settings.security_warnings(values)
    assert [lacks in one for one in found] == [True] * bool(lacks)
    assert _network_settings.security_warnings({**values, "distribution_url": ""}) == []
