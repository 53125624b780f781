# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts about a host's distribution: the same names and values as Ansible's own module has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import host_facts
from ansible_collections.runnerhost.toolkit.plugins.module_utils import _system

# As on the release's own images; the values beside them are those that setup of ansible-core 2.19
# has for these files.
JAMMY = """\
PRETTY_NAME="Ubuntu 22.04.5 LTS"
NAME="Ubuntu"
VERSION_ID="22.04"
VERSION="22.04.5 LTS (Jammy Jellyfish)"
VERSION_CODENAME=jammy
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=jammy
"""
DEBIAN = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION_CODENAME=bookworm
ID=debian
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (JAMMY, ("Ubuntu", "jammy", "22.04", "22", "Debian")),
        (DEBIAN, ("Debian", "bookworm", "12", "12", "Debian")),
        ("", ("", "", "", "", "")),
    ],
)
def test_facts_are_those_of_ansibles_own_module(
    tmp_path: Path, text: str, expected: tuple[str, ...]
) -> None:
    path = tmp_path / "os-release"
    path.write_text(text)
    names = ("", "_release", "_version", "_major_version")
    keys = (*(f"distribution{name}" for name in names), "os_family")
    assert _system.distribution(str(path)) == dict(zip(keys, expected, strict=True))


def test_a_system_without_the_file_has_no_facts(tmp_path: Path) -> None:
    assert set(_system.distribution(str(tmp_path / "none")).values()) == {""}
    assert _system.release(str(tmp_path / "none")) == ""


class Action(host_facts.ActionModule):
    """The action of a host that answers as given."""

    answer: Mapping[str, Any]

    def _execute_module(self, *asked: Any, **_: Any) -> Mapping[str, Any]:
        assert asked[1] == {"distribution": True}
        return self.answer

    def _pipeline(self) -> None:
        """There is no connection."""


def run(answer: Mapping[str, Any], **args: Any) -> Mapping[str, Any]:
    action = object.__new__(Action)
    action.answer = answer
    action._task = SimpleNamespace(args=args, check_mode=False, async_val=0, action="host_facts")
    action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    action._templar = SimpleNamespace(template=lambda value: value)
    found: Mapping[str, Any] = action.run(None, {})
    return found


def test_the_interpreter_that_ansible_has_found_is_kept() -> None:
    found = run(
        {
            "info": {"distribution": {"distribution_release": "jammy"}, "root": True},
            "ansible_facts": {"discovered_interpreter_python": "/usr/bin/python3"},
            "warnings": ["of the interpreter"],
        }
    )
    # setup's own name: a fact cache must not hold one fact under two.
    assert found["ansible_facts"] == {
        "ansible_distribution_release": "jammy",
        "discovered_interpreter_python": "/usr/bin/python3",
    }
    assert found["warnings"] == ["of the interpreter"]
    assert found["changed"] is False
    assert "info" not in found


def test_tasks_that_do_not_run_as_root_are_an_obstacle() -> None:
    answer = {"info": {"distribution": {}, "root": False}}
    with pytest.raises(AnsibleActionFail, match="remove ansible_become: false"):
        run(answer)
    found = run(answer, keep_going=True)
    assert found["obstacle"]["found"] == "the tasks do not run as root"


def test_a_module_that_fails_is_an_obstacle() -> None:
    with pytest.raises(AnsibleActionFail, match="no room"):
        run({"failed": True, "msg": "no room"})
    found = run({"failed": True, "msg": "no room"}, keep_going=True)
    assert found["obstacle"]["found"] == "no room"
