# SPDX-License-Identifier: GPL-3.0-or-later
"""Unknown variables and wrong types, each named in one line; and what YAML has made of a text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.runnerhost.toolkit.plugins.action import validate_variables
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _env_file,
    _isolated,
    _runner_settings,
    _runner_validation,
    _variables,
)
from tests.unit.plugins.test_runner_plan import GOOD

CHECKOUT = Path(__file__).resolve().parents[3]


def found(given: dict[str, Any], *roles: str) -> list[str]:
    return _variables.problems(roles or _variables.EVERY_ROLE, given, lambda value: value)[0]


def test_every_default_is_right() -> None:
    given = {
        name: option["default"]
        for role in _variables.EVERY_ROLE
        for name, option in _variables.options(role).items()
    }
    assert found({**given, _variables.SWITCH: "error"}) == []


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        # After a role's own prefix.
        ("gitlab_runner_concurent", "gitlab_runner_concurrent"),
        ("gitlab_runner_enviroment", "gitlab_runner_environment"),
        ("gitlab_runner_runner", "gitlab_runner_runners"),
        ("python_versions_wnated", "python_versions_wanted"),
        ("build_tools_extra_package", "build_tools_extra_packages"),
        ("network_access_http_prxy", "network_access_http_proxy"),
        ("network_access_no_proxies", "network_access_no_proxy"),
        # In the prefix, or in both.
        ("gitlab_runer_concurrent", "gitlab_runner_concurrent"),
        ("giltab_runner_url", "gitlab_runner_url"),
        ("giltab_runer_concurent", "gitlab_runner_concurrent"),
        ("gitlabrunner_url", "gitlab_runner_url"),
        ("python_version_wanted", "python_versions_wanted"),
        ("buildtools_packages", "build_tools_packages"),
        ("network_acces_https_proxy", "network_access_https_proxy"),
        ("GITLAB_RUNNER_CONCURRENT", "gitlab_runner_concurrent"),
        ("gitlab-runner-url", "gitlab_runner_url"),
        # The playbooks' own.
        ("upgrade_seriel", "gitlab_runner_upgrade_serial"),
        ("retire_whithout_gitlab", "gitlab_runner_retire_without_gitlab"),
        ("rotate_name", "gitlab_runner_rotate_names"),
        ("reboot_allways", "gitlab_runner_reboot_always"),
        ("verify_raport", "runner_host_verify_report"),
        ("prepare_upgrade_aply", "runner_host_prepare_upgrade_apply"),
        ("runnerhost_unknown_variable", "runnerhost_unknown_variables"),
    ],
)
def test_a_misspelt_variable_is_named_with_the_right_one(wrong: str, right: str) -> None:
    (text,) = found({wrong: 1})
    assert text.startswith(f"{wrong}: unknown variable; did you mean {right}?"), text


@pytest.mark.parametrize("role", _variables.EVERY_ROLE)
def test_a_roles_name_is_no_variable(role: str) -> None:
    (text,) = found({role: {"url": "x"}})
    assert text.startswith(f"{role}: unknown variable; a role's settings are variables such as ")
    assert f" {role}_" in text


@pytest.mark.parametrize(("name", "instead"), _variables.REMOVED.items())
def test_a_removed_variable_is_named_with_what_to_do_instead(name: str, instead: str) -> None:
    (text,) = found({name: True})
    assert text.startswith(f"{name}: no longer supported; remove it ({instead})"), text
    role = next(role for role in _variables.ROLES if name.startswith(f"{role}_"))
    assert found({name: True}, *(other for other in _variables.ROLES if other != role)) == []
    assert name not in _variables.options(role)


@pytest.mark.parametrize(
    "name",
    [
        "vault_gitlab_runner_build_token",
        "vault_network_access_proxy_password",
        "old_gitlab_runner_url",
        "my_gitlab_runner_repository_url",
        "__gitlab_runner_planned",
        "ansible_facts",
        "gitlab_url",
        "lab_runner_version",
        "company_python_versions",
        "upgrade_windows",
        "runner_concurrent_jobs",
        "inventory_hostname",
        "verify",
    ],
)
def test_other_variables_are_nobodys_business(name: str) -> None:
    assert found({name: "x"}) == []


def test_each_name_of_ours_but_for_one_letter_is_noticed() -> None:
    public = [n for role in _variables.EVERY_ROLE for n in _variables.options(role)]
    for name in [*public, *_variables.RENAMED, _variables.SWITCH]:
        for index in range(len(name)):
            slip = name[:index] + name[index + 1 :]
            if slip not in public and not slip.startswith("_"):
                assert found({slip: 1}), slip


def test_a_role_alone_looks_at_its_own_variables() -> None:
    """Another collection's role may be called gitlab_runner too."""
    given = {"gitlab_runner_executor_list": 1, "python_versions_wnated": 1}
    (text,) = found(given, "python_versions")
    assert "python_versions_wnated" in text


def test_a_variable_that_refers_to_itself_is_named() -> None:
    def template(value: Any) -> Any:
        raise RecursionError("maximum recursion depth exceeded")

    given = {"gitlab_runner_environment": "{{ gitlab_runner_environment | combine({'A': 1}) }}"}
    (text,) = _variables.problems(["gitlab_runner"], given, template)[0]
    assert text == "gitlab_runner_environment: refers to itself; name another variable in it"


@pytest.mark.parametrize(
    "value",
    [
        "{{ lookup('file', '/run/secrets/gitlab_runner_environment.txt') | from_yaml }}",
        "{{ lookup('x', 'secret=ci/runners:gitlab_runner_environment url=https://v') }}",
        "{{ inventory_dir }}/gitlab_runner_environment.yml",
        "{{ company.gitlab_runner_environment }}",
        {"NAME": "{{ hostvars['one']['gitlab_runner_environment'] }}"},
        # No template, of which Ansible itself tells.
        "{{ gitlab_runner_environment",
    ],
)
def test_a_variable_whose_name_is_only_mentioned(value: Any) -> None:
    given = {"gitlab_runner_environment": value}
    assert _variables.problems(["gitlab_runner"], given, lambda _: {}) == ([], [])


@pytest.mark.parametrize(
    "value",
    [
        {"A": "x", "B": "{{ 'a' ~ gitlab_runner_environment.A }}"},
        "{% if x %}{{ {} }}{% else %}{{ gitlab_runner_environment }}{% endif %}",
    ],
)
def test_a_variable_that_refers_to_itself_inside_another_value(value: Any) -> None:
    given = {"gitlab_runner_environment": value}
    (text,) = _variables.problems(["gitlab_runner"], given, lambda _: {})[0]
    assert "refers to itself" in text


def test_the_inventorys_folder_is_unknown_to_the_controller() -> None:
    """Ansible's own words are five messages in one another."""

    def template(value: Any) -> Any:
        raise ValueError("'inventory_dir' is undefined")

    given = {"gitlab_project_url": "{{ inventory_dir }}/x", "gitlab_project_api_token": "{{ y }}"}
    (text,) = _variables.problems(["gitlab_project"], given, template)[0]
    assert text.startswith("gitlab_project_url: inventory_dir is not defined for the controller")
    given["inventory_dir"] = "/x"
    assert _variables.problems(["gitlab_project"], given, template) == ([], [])


def test_all_in_one_and_a_variable_makes_them_warnings() -> None:
    given = {"gitlab_runner_concurent": 8, "gitlab_runner_my_helper": 1, "build_tools_packages": 1}
    errors = found(given)
    assert len(errors) == 3
    assert "runnerhost_unknown_variables: warn" in errors[1]
    both = _variables.problems(_variables.ROLES, {**given, _variables.SWITCH: "warn"}, lambda v: v)
    assert [len(part) for part in both] == [1, 2]
    (text,) = found({_variables.SWITCH: "yes"})
    assert "expected error or warn" in text


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("gitlab_runner_concurrent", "many", "'many'; expected a whole number"),
        ("gitlab_runner_stop_timeout", "2h", "'2h'; expected a whole number of seconds"),
        ("gitlab_runner_drain_deadline", "2h", "'2h'; expected a whole number of seconds"),
        ("gitlab_runner_reboot_timeout", "5m", "'5m'; expected a whole number of seconds"),
        ("gitlab_runner_cache_max_age_days", "9d", "'9d'; expected a whole number of days"),
        ("gitlab_runner_concurrent", 2.5, "2.5; expected a whole number"),
        ("gitlab_runner_concurrent", True, "true; expected a whole number"),
        ("gitlab_runner_concurrent", [1], "a list; expected a whole number"),
        ("gitlab_runner_version", 18.1, "18.1; expected a string: quote it"),
        ("gitlab_runner_umask", 23, "23; expected a string: quote it"),
        ("gitlab_runner_home", {"a": 1}, "a mapping; expected a string"),
        ("gitlab_runner_recreate", "false", "'false'; expected true or false, on the command line"),
        ("gitlab_runner_recreate", "maybe", "'maybe'; expected true or false"),
        ("gitlab_runner_path", "/opt/bin", "'/opt/bin'; expected a list"),
        ("gitlab_runner_job_limits", ["x"], "a list; expected a mapping"),
        ("gitlab_runner_drain_at_deadline", "wait", "'wait'; expected give_up or go_on"),
        ("build_tools_packages", "git", "'git'; expected a list"),
    ],
)
def test_a_wrong_type_is_one_line(name: str, value: Any, says: str) -> None:
    (text,) = found({name: value})
    assert text.startswith(f"{name}: invalid value {says}"), text
    assert "\n" not in text


def test_a_wrong_item_is_named_by_its_place() -> None:
    (text,) = found({"gitlab_runner_repository_components": ["main", 3.1]})
    assert text.startswith("gitlab_runner_repository_components[1]: invalid value 3.1")
    (text,) = found({"build_tools_extra_packages": ["git", "Not one"]})
    assert text.endswith("expected a package name, alone or as name=version")


@pytest.mark.parametrize("value", ["3", 3, None])
def test_what_the_command_line_gives_is_taken(value: Any) -> None:
    assert found({"gitlab_runner_concurrent": value}) == []
    assert found({"gitlab_runner_allow_downgrade": "true"}) == []


def test_a_name_like_no_other_gets_no_wrong_hint() -> None:
    (text,) = found({"gitlab_runner_my_helper": 1})
    assert "gitlab_runner has no such variable" in text


def test_host_group_play_and_command_line_are_looked_at(tmp_path: Path) -> None:
    """As Ansible itself runs it: one refusal, a line for each, nothing of a spec."""
    (tmp_path / "hosts.yml").write_text(
        "all:\n"
        "  vars: {gitlab_runner_concurent: 8, gitlab_runner_stop_timeout: soon}\n"
        "  hosts:\n"
        "    one: {ansible_connection: local, python_versions_wnated: [], "
        "gitlab_runner_version: 18.10}\n"
    )
    (tmp_path / "play.yml").write_text(
        "- hosts: all\n"
        "  gather_facts: false\n"
        "  vars: {giltab_runner_url: x}\n"
        "  tasks: [{runnerhost.toolkit.validate_variables: }]\n"
    )
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", tmp_path / "hosts.yml", tmp_path / "play.yml", "-e", "upgrade_seriel=2"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2
    assert "refused, nothing was changed: 6 problems:" in done.stdout, done.stdout
    assert "quote it (YAML reads 18.10 as 18.1)" in done.stdout
    for name in ("gitlab_runner_concurent", "giltab_runner_url", "python_versions_wnated"):
        assert f"- {name}: unknown variable; did you mean" in done.stdout
    assert len(done.stdout.splitlines()) < 40


def test_no_secret_is_shown() -> None:
    (text,) = found({"gitlab_runner_concurrent": "glrt-0123456789abcdefghij"})
    assert "0123456789" not in text


def test_a_value_that_needs_an_undefined_variable_is_left_to_its_user() -> None:
    templar = Templar(DataLoader())
    given = {"gitlab_runner_url": trust_as_template("{{ not_there }}")}
    assert _variables.problems(_variables.ROLES, given, templar.template) == ([], [])


def environment(tmp_path: Path, text: str) -> Any:
    """A mapping as Ansible reads and templates it."""
    path = tmp_path / "vars.yml"
    path.write_text(text, encoding="utf-8")
    given = DataLoader().load_from_file(str(path), trusted_as_template=True)
    templar = Templar(DataLoader(), variables=given)
    return templar.template(trust_as_template("{{ e }}"))


@pytest.mark.parametrize("form", ["e:\n  NAME: {}\n", "e: {{OTHER: a, NAME: {}}}\n"])
@pytest.mark.parametrize(
    ("value", "read"),
    [("0755", "493"), ("12:30", "750"), ("1_000", "1000"), ("0x1F", "31"), ("+4", "4")],
)
def test_a_number_that_is_read_as_another_is_refused(
    tmp_path: Path, value: str, read: str, form: str
) -> None:
    given = environment(tmp_path, form.format(value))
    (text,) = _variables.misread("gitlab_runner_environment", given)
    assert text.startswith(
        f"gitlab_runner_environment.NAME: invalid value {read}; expected a string"
    )
    assert f"YAML reads {value} as {read}" in text


@pytest.mark.parametrize("value", ["4", '"0755"', "0", "4  # four", "-1", "{{ 4 }}"])
def test_a_number_that_is_what_it_says_is_taken(tmp_path: Path, value: str) -> None:
    given = environment(tmp_path, f"e:\n  NAME: {value}\n" if "{" not in value else "e: {NAME: 4}")
    assert _variables.misread("gitlab_runner_environment", given) == []
    assert _env_file.problems("gitlab_runner_environment", given) == []


@pytest.mark.parametrize("value", ["3.10", "yes", "2024-01-02", "1.0e+3", ".inf", "~"])
def test_what_is_no_text_is_refused_in_the_environment(tmp_path: Path, value: str) -> None:
    given = environment(tmp_path, f"e: {{UV_PYTHON: {value}}}\n")
    (text,) = _env_file.problems("gitlab_runner_environment", given)
    assert "UV_PYTHON" in text
    assert "quote" in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 2024),
        ("builds_dir", 3.1),
        ("shell", True),
        ("environment", ["A=1", 3.1]),
        ("labels", {"a": 1}),
        ("unhealthy_interval", 60),
    ],
)
def test_what_is_no_text_is_refused_in_a_runner(key: str, value: Any) -> None:
    (text,) = _runner_validation.runner_problems("x", {key: value})
    assert text.endswith("quote it")


def test_isolated_and_credentials_have_the_nearest_key() -> None:
    entry = {"name": "publish", "runners": [], "enviroment": {}}
    (text,) = _isolated.problems({**GOOD, "isolated": [entry]})
    assert "unknown key 'enviroment'; did you mean 'environment'?" in text


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("name", sorted(GOOD))
@given(value=ANY)
def test_no_value_makes_the_validation_itself_fail(name: str, value: Any) -> None:
    _runner_settings.problems({**GOOD, name: value})


PLACES: dict[str, list[str]] = {
    "all": ["h1", "h2", "web"], "ungrouped": [], "runner_hosts": ["h1", "h2"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("having", "where"),
    [(("h1", "h2"), "the group runner_hosts"), (("h2",), "the host h2"),
     (("web", "h1"), "the host h1"), ((), "")],
)  # fmt: skip
def test_a_variable_that_only_hosts_have_is_found_there(
    having: tuple[str, ...], where: str
) -> None:
    hosts: dict[str, dict[str, Any]] = {
        name: {"gitlab_project_projects": []} if name in having else {} for name in PLACES["all"]
    }
    problems = [
        "gitlab_project_projects: empty; expected at least one project, or a group",
        "gitlab_project_url: invalid or missing; expected one",
        "gitlab_project_projects[0]: invalid project",
    ]
    found = _variables.set_elsewhere(problems, hosts, PLACES, "localhost")
    assert found[1:] == problems[1:]
    told = f"empty for localhost; it is set for {where}: move it to group_vars/all"
    assert found[0] == (f"gitlab_project_projects: {told}" if where else problems[0])


@pytest.mark.parametrize(
    ("listed", "warned"),
    [
        (["libffi-dev", "libpq-dev"], True),
        (["build-essential", "cmake"], False),
        (["gcc-12"], False),
        (None, False),
    ],
)
def test_packages_without_a_compiler_are_warned_of(listed: Any, warned: bool) -> None:
    action = object.__new__(validate_variables.ActionModule)
    action._templar = SimpleNamespace(template=lambda value: value)
    action.variables = {"build_tools_packages": listed}
    assert bool(action._without_compiler()) is warned


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({"ansible_connection": "local", "ansible_host": "10.0.0.7"}, True),
        ({"ansible_connection": "ansible.builtin.local", "ansible_host": "ci.test"}, True),
        ({"ansible_connection": "local", "ansible_host": "127.0.0.1"}, False),
        ({"ansible_connection": "local"}, False),
        ({"ansible_connection": "local", "ansible_host": "one"}, False),
        ({"ansible_connection": "ssh", "ansible_host": "10.0.0.7"}, False),
        # An address of this machine under another name than its own.
        ({"ansible_connection": "local", "ansible_host": "127.0.0.5"}, False),
        # The controller of `make project`, which has what is set for all.
        ({"ansible_connection": "local", "ansible_host": "10.0.0.7",
          "inventory_hostname": "localhost"}, False),
    ],
)  # fmt: skip
def test_an_address_that_the_connection_does_not_use_is_refused(
    variables: dict[str, str], refused: bool
) -> None:
    action = object.__new__(validate_variables.ActionModule)
    action._templar = SimpleNamespace(template=lambda value: value)
    action.variables = {"inventory_hostname": "one", **variables}
    found = action._local()
    assert ["one: ansible_connection is local, and ansible_host" in one for one in found] == [
        True
    ] * refused


def test_a_host_for_which_nothing_is_set_is_warned_of() -> None:
    action = object.__new__(validate_variables.ActionModule)
    action.variables = {"inventory_hostname": "one", "ansible_host": "x"}
    (said,) = action._nothing_set()
    assert said.startswith("no variable of the toolkit is set for one: all have their defaults")
    action.variables = {"inventory_hostname": "one", "build_tools_extra_packages": []}
    assert action._nothing_set() == []


def test_a_host_that_is_no_ubuntu_is_warned_of() -> None:
    action = object.__new__(validate_variables.ActionModule)
    facts = {"distribution": "Debian", "distribution_version": "12"}
    for release, said in (("bookworm", True), ("jammy", False), ("", False)):
        own = {"ansible_facts": {**facts, "distribution_release": release}}
        action.variables = {"inventory_hostname": "one", **own}
        assert ["the system is Debian 12 (bookworm)" in one for one in action._other_system()] == [
            True
        ] * said
