"""What differs from the inventory: from each check in one shape, in words and in a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import differences as action
from ansible_collections.runnerhost.toolkit.plugins.module_utils import differences

ROOT = Path(__file__).resolve().parents[3]
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
    found = run(gitlab=[REFUSED, {}], tests={"failed": True, "failures": [FAILURE]})
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
    assert found["words"][1] == (
        "private file [/etc/x]: expected 384, found 420 "
        "(tests/host/test_x.py::test_private_file[/etc/x])"
    )


def test_nothing_differs() -> None:
    loop = {"results": [{"unit": "gitlab-runner-publish.service", "problems": []}]}
    found = run(gitlab=[{"problems": []}, loop, {"skipped": True}], tests={"failures": []})
    assert (found["differences"], found["notes"]) == ([], [])
    assert found["words"] == ["nothing differs from the inventory"]


@pytest.mark.parametrize(
    ("given", "what", "found"),
    [
        ({"tests": {"failed": True, "summary": "no output"}}, "the tests of the host run", "no o"),
        ({"venvs": {"failed": True, "msg": "no sudo"}}, "virtual environments can be", "no sudo"),
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
    here = run(tests={"failed": True, "failures": [FAILURE]})
    run(report=str(path), hosts={"b": here, "a": {}})
    data = json.loads(path.read_text(encoding="utf-8"))
    assert list(data["hosts"]) == ["a", "b"]
    assert data["hosts"]["a"]["differences"][0]["source"] == "connection"
    assert data["hosts"]["b"]["differences"] == [{**FAILURE, "source": "tests/host"}]
    assert list(tmp_path.iterdir()) == [path]


def test_report_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"verify_report: .*nowhere"):
        run(report=str(tmp_path / "nowhere" / "x.json"), hosts={})


def test_failing_tests_are_told_in_words(tmp_path: Path) -> None:
    """The suite itself, against this machine in the place of a host."""
    given = {
        "host": "here",
        "variables": {
            "python_versions_wanted": ["3.99"],
            "gitlab_runner_runners": [],
            "build_tools_packages": ["bash", "no-such-package"],
            "build_tools_extra_packages": [],
        },
        "ssh": {"argv": ["sh", "-c"], "password": "", "become_password": "", "root": True},
    }
    (tmp_path / "host.json").write_text(json.dumps(given))
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={ROOT}",
         "-p", "no:cacheprovider", "-k", "package_is_installed or interpreter_answers",
         str(ROOT / "tests/host/test_build_tools.py"),
         str(ROOT / "tests/host/test_python_versions.py")],
        env={
            **os.environ,
            "RUNNERHOST_VERIFY": str(tmp_path / "host.json"),
            "RUNNERHOST_VERIFY_FAILURES": str(tmp_path / "failures.json"),
        },
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    one, other = json.loads((tmp_path / "failures.json").read_text())
    assert one["what"] == "package is installed [no-such-package]"
    assert one["expected"].startswith("no-such-package in {")
    assert one["found"] == "that is not so"
    assert one["where"] == (
        "tests/host/test_build_tools.py::test_package_is_installed[no-such-package]"
    )
    # What the test did not compare itself is told in pytest's words.
    assert (other["what"], other["expected"]) == ("interpreter answers [3.99]", "")
    assert "127" in other["found"]
    assert "python3.99" in other["found"]
    assert differences.from_tests({"failed": True, "failures": [one]})
