# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts before a release upgrade: what is asked of which repository, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import upgrade_info
from ansible_collections.runnerhost.toolkit.plugins.module_utils import _system
from ansible_collections.runnerhost.toolkit.plugins.modules import upgrade_info_io as module
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _upgrade_report
from tests.unit.plugins.test_plans import documented

THERE = "install ok installed"
ANSWER: dict[str, Any] = {
    "system": "3.10",
    "packages": {
        "python3.12": {"version": "3.12.13-1+jammy1", "status": THERE},
        "gitlab-runner": {"version": "18.5.0-1", "status": THERE},
    },
    "held": ["python3.11"],
    "unfinished": [],
    "lists": True,
    "foreign": {"python3.11": "LP-PPA-deadsnakes"},
    "sources": [],
    "along": ["python3.12"],
    "updates": [],
    "restart": None,
    "mounts": [],
    "pending": [],
    "venvs": [],
    "venvs_complete": True,
    "other_runners": [],
    "in_service": ["gitlab-runner.service"],
    "isolated": [],
}
REPOSITORY = {
    "url": "https://mirror.example.com/x",
    "suite": "jammy",
    "components": ["main"],
    "key": "files/key.asc",
    "fingerprint": "F" * 40,
}
ARGS: dict[str, Any] = {
    "release": "jammy",
    "target": "",
    "target_python": "",
    "free_mb": {"/var": 1, "/usr": 1},
    "accept": [],
    "apply": False,
    "venv_places": ["/home/gitlab-runner"],
    "pythons": {
        **REPOSITORY,
        "wanted": ["3.10", "3.12"],
        "patterns": ["python{version}"],
        "origin": "LP-PPA-deadsnakes",
    },
    "runner": {**REPOSITORY, "version": "18.5.0", "allow_downgrade": False},
}
PAIR = ["18.5.0-1"]


class Action(upgrade_info.ActionModule):
    """The action without a host or a repository: both answer what a test gives."""

    offers: dict[str, dict[str, Any]]
    asked: list[dict[str, Any]]

    def _pipeline(self) -> None:
        """There is no connection."""

    def ask(self, name: str, arguments: Any, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(dict(arguments))
        return {"facts": ANSWER}

    def network(self, task_vars: Any) -> Any:
        return None

    def key(self, *_: Any) -> tuple[str, list[str]]:
        return "KEY", []

    def candidates(self, arguments: Any, network: Any, task_vars: Mapping[str, Any]) -> Any:
        self.asked.append(dict(arguments))
        of = "runner" if "gitlab-runner" in arguments["packages"] else "pythons"
        return {"error": "", "origins": ["LP-PPA-deadsnakes"], "names": [], **self.offers[of]}


def run(
    offers: dict[str, dict[str, Any]] | None = None, **change: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result, and what was asked."""
    action = object.__new__(Action)
    action.asked = []
    action.offers = {
        "pythons": {"offer": {"python3.10": ["3.10.20-1+noble1"]}},
        "runner": {"offer": {"gitlab-runner": PAIR, "gitlab-runner-helper-images": PAIR}},
        **(offers or {}),
    }
    action._task = SimpleNamespace(args={**ARGS, **change}, check_mode=False, async_val=0)
    action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    return action.run(None, {}), action.asked


def test_the_next_lts_is_judged_for() -> None:
    result, asked = run()
    assert result["target"] == "noble"
    assert not result["changed"]
    facts, theirs, runner = asked
    assert facts == {
        "python": "3.12",
        "folders": ["/usr", "/var"],
        "venv_places": ["/home/gitlab-runner"],
    }
    # noble's own is not asked of the Pythons' repository, jammy's own is.
    assert theirs["packages"] == ["python3.10"]
    assert "Suites: noble" in theirs["sources"]
    assert "Suites: noble" in runner["sources"]
    assert [one["kind"] for one in result["obstacles"]] == ["conflict"]
    assert result["conflicts"] == ["python3.12"]
    assert result["python_wanted"]
    assert result["in_service"] == ["gitlab-runner.service"]


def test_what_the_repositories_do_not_have_stands_in_the_way() -> None:
    result, _ = run(
        {
            "pythons": {"offer": {}, "names": ["python3.11"]},
            "runner": {"error": "does not have a Release file", "offer": {}},
        }
    )
    kinds = [one["kind"] for one in result["obstacles"]]
    assert kinds == ["conflict", "pythons", "runner"]
    _, pythons, runner = result["lines"]
    assert "3.10 is not available from https://mirror.example.com/x (suite noble)" in pythons
    assert "noble's own is 3.12" in pythons
    assert "(suite noble) cannot be used; there is no such suite" in runner


def test_an_accepted_obstacle_is_told_and_stays() -> None:
    result, _ = run(accept=["conflict"])
    assert result["obstacles"] == []
    assert [one["kind"] for one in result["accepted"]] == ["conflict"]
    assert result["conflicts"] == []
    assert any(note.startswith("accepted: conflict: ") for note in result["notes"])


def test_a_hold_is_only_taken_off_what_is_in_the_way() -> None:
    result, _ = run()
    assert result["held"] == []
    result, _ = run(pythons={**ARGS["pythons"], "wanted": ["3.11"]},
                    offers={"pythons": {"offer": {"python3.11": ["1"]}}})  # fmt: skip
    assert result["held"] == ["python3.11"]


def test_no_repository_is_asked_for_what_the_distribution_has() -> None:
    _, asked = run(pythons={**ARGS["pythons"], "wanted": ["3.12"]})
    assert len(asked) == 2


def test_another_target() -> None:
    result, asked = run(target="zesty", target_python="3.16")
    assert result["target"] == "zesty"
    assert asked[0]["python"] == "3.16"
    assert result["conflicts"] == []


def test_wrong_variables_are_refused_before_the_host_is_asked() -> None:
    with pytest.raises(AnsibleActionFail, match="2 problems") as caught:
        run(target="jammy", accept=["all"])
    assert "runner_host_prepare_upgrade_target" in str(caught.value)
    assert "runner_host_prepare_upgrade_accept[0]: invalid value 'all'" in str(caught.value)


def test_a_suite_that_does_not_name_the_release_stays() -> None:
    of_target = _upgrade_report.of_target
    assert of_target("jammy-snapshot", "jammy", "noble") == "noble-snapshot"
    assert of_target("stable", "jammy", "noble") == "stable"


def test_the_report_is_what_is_documented_and_all_of_it() -> None:
    result, _ = run()
    fields = {*documented("upgrade_info"), "changed"}
    assert set(result) == fields


def test_folders_of_one_file_system_have_one_device(tmp_path: Any) -> None:
    (tmp_path / "a").mkdir()
    found = module.mounts([str(tmp_path), str(tmp_path / "a"), str(tmp_path / "none")])
    assert [one["path"] for one in found] == [str(tmp_path), str(tmp_path / "a")]
    assert len({one["device"] for one in found}) == 1
    assert found[0]["free_mb"] > 0


def test_a_restart_that_is_due(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "reboot-required"
    monkeypatch.setattr(module, "_RESTART", (str(mark),))
    assert module.restart() is None
    mark.touch()
    assert module.restart() == []
    (tmp_path / "reboot-required.pkgs").write_text("linux-base\nlibc6\nlinux-base\n")
    assert module.restart() == ["libc6", "linux-base"]


def test_sources_that_are_not_the_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = "/etc/apt/sources.list.d"
    targets = "\n".join(
        [
            "/etc/apt/sources.list:1|http://d.example.com/ubuntu/|jammy|Ubuntu",
            "/etc/apt/sources.list:1|http://d.example.com/ubuntu/|jammy-updates|Ubuntu",
            f"{parts}/runnerhost-deadsnakes.sources:1|https://m.example.com/d/|jammy|LP",
            f"{parts}/their.list:1|https://u:secret@t.example.com/|./|",
        ]
    )
    policy = "   500 http://d.example.com/ubuntu jammy/main amd64 Packages"
    answers = {"indextargets": targets, "policy": policy}
    monkeypatch.setattr(
        _system, "run", lambda argv: SimpleNamespace(stdout=answers[argv[1]], returncode=0)
    )
    ours, theirs = module.sources()
    assert (ours["ours"], theirs["ours"]) == (True, False)
    assert theirs == {
        "file": f"{parts}/their.list",
        "url": "https://t.example.com/",
        "suite": "./",
        "ours": False,
    }
