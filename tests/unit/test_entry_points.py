# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry points of roles: each with a spec, validated once; nothing private crosses a border."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _variables
from tools.tree import files, roles

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
INCLUDES = ("ansible.builtin.import_role", "ansible.builtin.include_role")
PARTS = ("block", "rescue", "always", "tasks", "pre_tasks")
PRIVATE = re.compile(r"\b__[a-z]\w*")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def specs(role: str) -> dict[str, Any]:
    found: dict[str, Any] = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")
    return dict(found["argument_specs"])


def flat(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Tasks and those of their blocks; of a play, its tasks."""
    for task in tasks:
        yield task
        for part in PARTS:
            yield from flat(task.get(part) or [])


def included() -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """File, arguments and task of each inclusion of a role."""
    for pattern in ("playbooks/*.yml", "roles/*/tasks/**/*.yml"):
        for path in files(pattern):
            for task in flat(load(path)):
                for name in INCLUDES:
                    if name in task:
                        yield path, task[name], task


def strangers(owner: str, text: str) -> set[str]:
    """Private variables in a text that are not the role's own; of a playbook all of them."""
    own = f"__{owner}_" if owner else ""
    return {name for name in PRIVATE.findall(text) if not own or not name.startswith(own)}


def test_no_private_variable_crosses_a_roles_border() -> None:
    assert len(roles()) > 4
    for role in roles():
        for pattern in (f"roles/{role}/*/*", f"roles/{role}/**/*.yml", f"roles/{role}/**/*.j2"):
            for path in files(pattern):
                if path.is_file() and path.suffix in (".yml", ".j2"):
                    assert not strangers(role, path.read_text(encoding="utf-8")), path
    for path in files("playbooks/*.yml"):
        assert not strangers("", path.read_text(encoding="utf-8")), path


def test_a_planted_private_variable_is_found() -> None:
    assert strangers("build_tools", "{{ __python_versions_plan }} {{ __build_tools_x }}") == {
        "__python_versions_plan"
    }
    assert strangers("", "vars: {__site_x: 1}") == {"__site_x"}


def test_plugins_and_inventories_name_no_private_variable_of_a_role() -> None:
    private = re.compile(rf"\b__(?:{'|'.join(roles())})_\w+")
    for pattern in ("plugins/*/*.py", "inventories/**/*.yml", "molecule/**/*.yml"):
        for path in files(pattern):
            assert not private.findall(path.read_text(encoding="utf-8")), path


def test_each_inclusion_names_an_entry_point() -> None:
    found = list(included())
    assert len(found) > 20
    for path, arguments, task in found:
        role = arguments["name"].rpartition(".")[2]
        if "{{" in role:
            continue
        entry_point = arguments.get("tasks_from", "main")
        assert entry_point in specs(role), f"{path.name}: {role} has no spec of {entry_point}"
        # The first task of the run has validated them; Ansible's own prints the whole spec.
        assert arguments.get("rolespec_validate") is False, (path, entry_point)
        given = set(task.get("vars", {}))
        assert given <= set(specs(role)[entry_point]["options"]), (path, entry_point)


@pytest.mark.parametrize("role", roles())
def test_each_entry_point_has_its_tasks_and_is_described(role: str) -> None:
    for name, spec in specs(role).items():
        assert (ROOT / "roles" / role / "tasks" / f"{name}.yml").is_file(), name
        assert spec["short_description"], name
        assert spec["description"], name
        # What an entry point takes, it takes with the variables of the role.
        assert set(specs(role)["main"]["options"]) <= set(spec["options"]), name


@pytest.mark.parametrize("role", roles())
def test_no_option_is_left_out_of_the_tasks(role: str) -> None:
    """An option of an entry point that nothing reads does nothing."""
    texts = [
        path.read_text(encoding="utf-8")
        for pattern in (f"roles/{role}/tasks/**/*.yml", "playbooks/*.yml")
        for path in files(pattern)
    ]
    for spec in specs(role).values():
        for name in set(spec["options"]) - set(specs(role)["main"]["options"]):
            assert any(re.search(rf"\b{name}\b", text) for text in texts), name


def test_what_entry_points_return_is_documented() -> None:
    described = "\n".join(
        str(spec["description"]) for role in roles() for spec in specs(role).values()
    )
    for name in _variables.RESULTS:
        assert f"C({name})" in described, name
        assert not any(name in _variables.options(role) for role in roles())
    for name in re.findall(r"(?:Registers|variable) C\((\w+)\)", described):
        assert name in _variables.RESULTS


def test_the_whole_hosts_order_is_in_one_place() -> None:
    (play,) = load(ROOT / "playbooks" / "site.yml")
    (task,) = play["tasks"]
    assert task["ansible.builtin.import_role"]["name"] == "runnerhost.toolkit.runner_host"
    for path in files("playbooks/*.yml"):
        (play,) = load(path)
        named = [a["name"] for p, a, _ in included() if p == path]
        # Projects in GitLab have no order with what is on hosts.
        assert len(named) == 1 or [n for n in named if not n.endswith("gitlab_project")] == [
            "runnerhost.toolkit.gitlab_runner"
        ], path


@pytest.mark.parametrize(("old", "new"), _variables.RENAMED.items())
def test_a_former_name_still_works_and_is_warned_of(old: str, new: str) -> None:
    role = next(role for role in _variables.EVERY_ROLE if new.startswith(f"{role}_"))
    default = load(ROOT / "roles" / role / "defaults" / "main.yml")[new]
    assert default.startswith(f"{{{{ {old} | default(")
    assert old not in _variables.options(role)
    found, warnings = _variables.problems(_variables.EVERY_ROLE, {old: "x"}, lambda value: value)
    assert found == []
    (text,) = warnings
    assert text.startswith(f"{old}: this variable is now called {new}; ")
    assert _variables.problems(_variables.EVERY_ROLE, {new: []}, lambda v: v)[1] == []


def test_a_former_name_reaches_the_task_as_ansible_runs_it(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {hosts: {one: {ansible_connection: local}}}\n")
    (tmp_path / "play.yml").write_text(
        "- hosts: all\n"
        "  gather_facts: false\n"
        "  tasks:\n"
        "    - runnerhost.toolkit.validate_variables:\n"
        "    - ansible.builtin.import_role:\n"
        "        {name: runnerhost.toolkit.gitlab_runner, tasks_from: operations/rotate,\n"
        "         rolespec_validate: false}\n"
        "      when: false\n"
        "    - ansible.builtin.debug:\n"
        "        msg: 'names={{ gitlab_runner_rotate_names }} {{ gitlab_runner_reboot_timeout }}'\n"
    )
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", tmp_path / "hosts.yml", tmp_path / "play.yml",
         "-e", '{"rotate_names": ["a"]}', "-e", "reboot_timeout=9"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "names=['a'] 9" in done.stdout
    for old in ("rotate_names", "reboot_timeout"):
        assert f"{old}: this variable is now called gitlab_runner_{old}" in " ".join(
            done.stderr.split()
        )


@pytest.mark.parametrize("verb", ["upgrade", "reboot"])
def test_hosts_at_a_time_have_the_default_of_the_spec(verb: str) -> None:
    """A play's keyword sees no default of a role."""
    (play,) = load(ROOT / "playbooks" / f"{verb}.yml")
    new, old = f"gitlab_runner_{verb}_serial", f"{verb}_serial"
    default = _variables.options("gitlab_runner")[new]["default"]
    written = re.fullmatch(
        rf"{{{{ {new} \| default\({old} \| default\((.+)\)\) }}}}", play["serial"]
    )
    assert written
    assert yaml.safe_load(written[1]) == default
