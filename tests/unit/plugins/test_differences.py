# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs from the inventory: from each check in one shape, in words and in a file."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import differences as action
from ansible_collections.runnerhost.toolkit.plugins.action import host_tests
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _differences

ROOT = Path(__file__).resolve().parents[3]
# As the action makes one at random.
MARK = "runnerhost-0123456789abcdef"
FAILURE = {
    "what": "private file [/etc/x]",
    "expected": "384",
    "found": "420",
    "where": "tests/host/test_x.py::test_private_file[/etc/x]",
}
REFUSED = {
    "failed": True,
    "unit": "gitlab-runner.service",
    "problems": [{"runner": "build: one", "said": "REFUSED"}],
    "msg": "build: one: REFUSED",
}


class Action(action.ActionModule):
    """Without a connection."""

    def _pipeline(self) -> None:
        pass


def run(**arguments: Any) -> dict[str, Any]:
    one = object.__new__(Action)
    one._task = SimpleNamespace(args=arguments, async_val=0, check_mode=False, action="x")
    one._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    result: dict[str, Any] = one.run(None, {})
    return result


def test_each_check_in_one_shape() -> None:
    found = run(gitlab=[REFUSED, {}], tests={"failures": [FAILURE]})
    assert found["differences"] == [
        {
            "what": "runner build: one",
            "expected": "valid in GitLab",
            "found": "REFUSED",
            "where": "gitlab-runner.service",
            "source": "gitlab",
        },
        {**FAILURE, "source": "tests/host"},
    ]
    assert found["words"][1] == ("private file [/etc/x]: expected 384, found 420")


def test_files_are_differences_and_unread_ones_an_obstacle() -> None:
    found = run(tests={"failures": [], "files": {"differences": [FAILURE]}})
    assert found["differences"] == [{**FAILURE, "source": "files"}]
    assert found["words"][-1] == "1 difference from the inventory"
    found = run(tests={"failures": [], "files": {"failed": True, "msg": "no python3"}})
    assert found["obstacles"][0]["found"] == "files of the toolkit: no python3"
    assert "nothing differs" not in str(found["words"])


def test_nothing_differs() -> None:
    loop = {"results": [{"unit": "gitlab-runner-publish.service", "problems": []}]}
    found = run(gitlab=[{"problems": []}, loop, {"skipped": True}], tests={"failures": []})
    assert (found["differences"], found["notes"]) == ([], [])
    assert found["words"] == ["nothing differs from the inventory"]


def test_runners_that_the_inventory_does_not_name_are_no_nothing() -> None:
    tests = {"failures": [], "notes": ["a note"], "unnamed_runners": [{"name": "x", "id": 5}]}
    found = run(tests=tests)
    assert found["differences"] == []
    assert found["words"] == [
        "a note",
        "what the inventory names is as it should be; 1 runner on the host is not in the inventory",
    ]
    assert found["unnamed_runners"] == [{"name": "x", "id": 5}]


def test_what_keeps_it_from_the_host_is_one_line_and_no_difference() -> None:
    obstacle = {
        "source": "connection",
        "found": "sudo: a password is required",
        "remedy": "do this",
    }
    for name in ("reached", "tests"):
        found = run(**{name: {"obstacle": obstacle}})
        assert (found["differences"], found["obstacles"]) == ([], [obstacle])
        assert found["words"][0] == "connection: sudo: a password is required; do this"
        assert "nothing differs" not in str(found["words"])


@pytest.mark.parametrize(
    ("given", "what", "found"),
    [
        ({"gitlab": [{"failed": True, "msg": "no TOML"}]}, "GitLab can be asked", "no TOML"),
        ({"gitlab": [{}], "gitlab_ended_by": {"failed": True, "msg": "x"}}, "GitLab can", "x"),
        ({"gitlab": [{"results": [REFUSED]}], "gitlab_ended_by": REFUSED}, "runner build", "REF"),
    ],
)
def test_a_check_that_ended_otherwise_is_told_too(
    given: dict[str, Any], what: str, found: str
) -> None:
    (one,) = run(**given)["differences"]
    assert one["what"].startswith(what)
    assert one["found"].startswith(found)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"tests": {"failed": True, "msg": "it is docker"}}, "the tests of the host: it is docker"),
        ({"venvs": {"failed": True, "msg": "no sudo"}}, "virtual environments: no sudo"),
    ],
)
def test_a_look_that_failed_is_an_obstacle(given: dict[str, Any], found: str) -> None:
    (one,) = run(**given)["obstacles"]
    assert (one["source"], one["found"]) == ("connection", found)


def test_what_is_only_to_be_known() -> None:
    looked = {
        "summary": "2 virtual environments: 1 alive, 1 dead",
        "venvs": [{"state": "alive", "text": "a"}, {"state": "dead", "text": "b is dead"}],
        "left_out": ["c"],
        "system_python": "3.12",
    }
    found = run(venvs=looked, wanted=["3.9"], end_of_life_warning_days=0)
    assert found["differences"] == []
    assert found["notes"][:3] == [looked["summary"], "b is dead", "c"]
    assert "end of life on 2025-10-31" in found["notes"][3]


def test_report_of_all_hosts_in_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("earlier")
    run(report=str(path))
    assert not path.exists()
    here = run(tests={"failures": [FAILURE]})
    run(report=str(path), hosts={"b": here, "a": {}})
    data = json.loads(path.read_text(encoding="utf-8"))
    assert list(data["hosts"]) == ["a", "b"]
    assert data["hosts"]["a"]["differences"] == []
    assert data["hosts"]["a"]["obstacles"][0]["source"] == "connection"
    assert data["hosts"]["b"]["differences"] == [{**FAILURE, "source": "tests/host"}]
    assert list(tmp_path.iterdir()) == [path]


def test_report_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"runner_host_verify_report: .*nowhere"):
        run(report=str(tmp_path / "nowhere" / "x.json"), hosts={})


def test_failing_tests_are_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite itself, against this machine in the place of a host."""
    given = {
        "host": "here",
        "variables": {
            "python_versions_wanted": ["3.99"],
            "gitlab_runner_runners": [],
            "build_tools_packages": ["bash", "no-such-package"],
            "build_tools_extra_packages": [],
        },
        "ssh": {
            "argv": ["sh", "-c"],
            "remote": [
                *("sh", "-c"),
                f'echo WELCOME; echo {MARK}; echo {MARK} >&2; exec sh -c "$1"',
                "sh",
            ],
            "mark": MARK,
            "stdin": "",
            "password": "",
        },
    }
    (tmp_path / "host.json").write_text(json.dumps(given))
    (tmp_path / "conftest.py").write_text("raise SystemExit('another conftest')")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (tmp_path / "json.py").write_text("raise SystemExit('not the module')")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--nor-this")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    done = subprocess.run(
        host_tests.command(
            ["-k", "package_is_installed or interpreter_answers or headers",
             str(ROOT / "tests/host/test_build_tools.py"),
             str(ROOT / "tests/host/test_python_versions.py")],
        ),
        env=host_tests.environment(str(tmp_path / "host.json"), str(tmp_path / "result.json")),
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    one, *others = json.loads((tmp_path / "result.json").read_text())["failures"]
    assert one == {
        "what": "package no-such-package",
        "expected": "installed",
        "found": "nothing",
        "where": "tests/host/test_build_tools.py::test_package_is_installed[no-such-package]",
    }
    assert {(o["what"], o["expected"], o["found"]) for o in others} == {
        ("Python 3.99", "/usr/bin/python3.99", "nothing")
    }
    assert _differences.from_tests({"failures": [one]})


@pytest.fixture(scope="module")
def conftest() -> Any:
    """tests/host/conftest.py as a module of its own."""
    spec = importlib.util.spec_from_file_location("host_conftest", ROOT / "tests/host/conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("op", "left", "right", "told"),
    [
        ("==", ("root", "mode 0644"), ("root", "mode 0600"), ("mode 0600", "mode 0644")),
        ("==", {"a": 1, "b": 2}, {"a": 1, "b": 3}, ("b: 3", "b: 2")),
        ("==", ["a", "b"], ["a", "c"], ("c", "b")),
        ("==", [], ["build"], ("build", "nothing")),
        ("==", False, True, ("yes", "no")),
        ("in", "x", {f"package{n}": "1.2.3" for n in range(900)}, ("x", "not there")),
        ("<=", {"a", "b"}, {"b"}, ("a, b", "missing: a")),
    ],
)
def test_values_are_told_as_a_person_writes_them(
    conftest: Any, op: str, left: Any, right: Any, told: tuple[str, str]
) -> None:
    assert conftest.compared(op, left, right) == told


def test_a_test_that_breaks_is_told_without_a_traceback(conftest: Any) -> None:
    what, expected, found = conftest.finding(KeyError("gitlab-runner"), "a name")
    assert (what, expected) == ("a name", "")
    assert found == "the test cannot tell (KeyError: 'gitlab-runner')"
    told = conftest.finding(AssertionError("mode of x: expected 0600, found 0644"), "a name")
    assert told == ("mode of x", "0600", "0644")
    with pytest.raises(pytest.fail.Exception) as failed:
        pytest.fail("runner 'a': expected in config.toml, found nothing", pytrace=False)
    told = conftest.finding(failed.value, "a name")
    assert told == ("runner 'a'", "in config.toml", "nothing")


@pytest.fixture(scope="module")
def runner_tests() -> Any:
    """tests/host/test_gitlab_runner.py as a module of its own."""
    path = ROOT / "tests/host/test_gitlab_runner.py"
    spec = importlib.util.spec_from_file_location("host_test_gitlab_runner", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("clean", "told"),
    [
        ("UnitFileState=enabled\nActiveState=active", ""),
        ("ActiveState=inactive\nUnitFileState=disabled", "found disabled and inactive"),
        ("ActiveState=inactive\nUnitFileState=", "found missing and inactive"),
        (
            "ActiveState=inactive\nUnitFileState=enabled",
            "found enabled and inactive (systemctl start runnerhost-clean.timer)",
        ),
    ],
)
def test_a_timer_that_is_off_is_told(runner_tests: Any, clean: str, told: str) -> None:
    states = {
        "runnerhost-clean.timer": clean,
        "runnerhost-disk.timer": "ActiveState=active\nUnitFileState=enabled",
    }
    host = SimpleNamespace(check_output=lambda command, name: states[name])
    if not told:
        runner_tests.test_timers_are_enabled_and_active(host)
        return
    with pytest.raises(AssertionError) as problem:
        runner_tests.test_timers_are_enabled_and_active(host)
    first = str(problem.value).splitlines()[0]
    assert first == f"runnerhost-clean.timer: expected enabled and active, {told}"


def test_the_timers_are_those_that_the_role_enables(runner_tests: Any) -> None:
    source = inspect.getsource(runner_tests.test_timers_are_enabled_and_active)
    files = (ROOT / "roles/gitlab_runner/vars/main.yml").read_text(encoding="utf-8")
    (enabled,) = re.findall(r"\[systemctl, enable, --now, (.*)\]", files)
    assert re.findall(r'"(runnerhost-\w+\.timer)"', source) == enabled.split(", ")


def test_a_stopped_service_is_told_once_and_in_true_words(runner_tests: Any, conftest: Any) -> None:
    unit = {
        "MainPID": "0", "UnitFileState": "disabled", "ActiveState": "inactive", "SubState": "dead",
    }  # fmt: skip
    told = []
    for test in (runner_tests.running, runner_tests.test_service_is_enabled_and_running):
        with pytest.raises(AssertionError) as problem:
            test(unit)
        told.append(conftest.finding(problem.value, "a test"))
    assert told[0] == told[1]
    assert told[0][2] == (
        "disabled and inactive (make provision starts it again, "
        "also after runner_host_prepare_upgrade_apply)"
    )
