# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action plugins share: module calls are pipelined, and nothing with a token is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import become_loader, connection_loader, init_plugin_loader

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import (
    ROOT,
    missing_packages,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    ToolkitAction,
)

pytestmark = pytest.mark.long

ACTIONS = sorted(path.stem for path in (ROOT / "plugins" / "action").glob("*.py"))


@pytest.fixture(scope="module", autouse=True)
def loader() -> None:
    """Ansible finds its own plugins."""
    init_plugin_loader()


def action(name: str = "ansible.builtin.ssh", **variables: Any) -> ToolkitAction:
    """An action that has just begun, on a real connection plugin that connects to nothing."""
    connection = connection_loader.get(name, PlayContext(), None)
    connection.set_options(var_options=variables)
    if connection.get_option_and_origin("pipelining")[1].endswith("ansible.cfg"):
        # An installed collection has no such file.
        connection._options["pipelining"], connection._origins["pipelining"] = False, "default"
    made = object.__new__(ToolkitAction)
    made._connection = connection
    made._task = SimpleNamespace(async_val=0, check_mode=False, action="x", args={})
    made.run()
    return made


def test_pipelined_where_nobody_has_said_otherwise() -> None:
    assert action()._connection.is_pipelining_enabled()
    assert action().no_file_on_host("tokens") == []


def test_a_no_is_respected_and_warned_of() -> None:
    made = action(ansible_pipelining=False)
    assert not made._connection.is_pipelining_enabled()
    (warning,) = made.no_file_on_host("tokens")
    assert "not pipelined: tokens lie in the login user's temporary folder" in warning


def test_su_cannot_be_pipelined_and_is_warned_of() -> None:
    made = action()
    made._connection.become = become_loader.get("ansible.builtin.su")
    assert len(made.no_file_on_host("tokens")) == 1


def test_a_connection_without_the_option_is_left_alone() -> None:
    made = action()
    made._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    assert made.run() is not None


def test_files_that_would_be_kept_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DEFAULT_KEEP_REMOTE_FILES", True)
    with pytest.raises(AnsibleActionFail, match=r"KEEP_REMOTE_FILES .*leave the tokens in files"):
        action().no_file_on_host("the tokens")


def test_what_the_controllers_python_lacks_is_named_with_its_list() -> None:
    assert missing_packages("tomlkit", "pytest", "pytest-testinfra", "python-gitlab") == []
    cure = f": {sys.executable} -m pip install -r {ROOT}/meta/ee-requirements.txt"
    (text,) = missing_packages("tomlkit", "no_such_module")
    assert text == f"no_such_module is missing on the controller{cure}"
    (text,) = missing_packages("no_such_module", "nor_this")
    assert text == f"no_such_module and nor_this are missing on the controller{cure}"
    assert (ROOT / "meta" / "ee-requirements.txt").is_file()


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_loads_without_the_packages_that_it_names_as_missing(name: str) -> None:
    """Else a controller without those packages would see a traceback, not what it lacks."""
    script = (
        "import sys\n"
        "for one in ('tomlkit', 'gitlab', 'pytest', 'testinfra'):\n"
        "    sys.modules[one] = None\n"
        f"import ansible_collections.runnerhost.toolkit.plugins.action.{name}\n"
    )
    folder = str(Path(str(sys.modules[ToolkitAction.__module__].__file__)).parents[5])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("exception", "says"),
    [
        # Up to ansible-core 2.18, and since.
        (
            "Traceback:\n  File x\nOSError: [Errno 28] No space left on device\n",
            "OSError: [Errno 28]",
        ),
        (
            SimpleNamespace(event=SimpleNamespace(msg="[Errno 28]", formatted_traceback=None)),
            "[Errno",
        ),
        (
            SimpleNamespace(event=SimpleNamespace(msg="x", formatted_traceback="T:\nOSError\n")),
            "OSE",
        ),
        (None, "no answer"),
    ],
)
def test_a_module_that_breaks_is_told_in_a_line(exception: Any, says: str) -> None:
    made = action()
    made._execute_module = lambda **_: {"failed": True, "exception": exception}
    with pytest.raises(AnsibleActionFail) as caught:
        made.ask("a.b.c", {}, {})
    assert str(caught.value).startswith(f"a.b.c: {says}")
