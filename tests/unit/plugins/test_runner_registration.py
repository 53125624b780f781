"""What a host's runners look like from outside: lines, failures, the inventory's variables."""

from __future__ import annotations

import os
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import runner_registration
from ansible_collections.runnerhost.toolkit.plugins.module_utils import host
from ansible_collections.runnerhost.toolkit.plugins.modules import runner_registration as module

TOKEN = "glrt-" + "a" * 20
CONFIG = f"""
concurrent = 3
check_interval = 0
connection_max_age = "15m0s"
shutdown_timeout = 0
log_level = "warning"

[session_server]
  session_timeout = 1800

[[runners]]
  name = "Build & test"
  url = "https://gitlab.example.com"
  id = 7
  token = "{TOKEN}"
  token_obtained_at = 2026-01-01T00:00:00Z
  token_expires_at = 0001-01-01T00:00:00Z
  executor = "shell"
  limit = 2
  environment = ["A=1", "API_TOKEN=hunter2hunter2"]
  [runners.custom_build_dir]
  [runners.cache]
    MaxUploadedArchiveSize = 0
    [runners.cache.s3]
"""


def judge(
    answers: dict[str, str], more: dict[str, Any] | None = None, **runner: Any
) -> dict[str, Any]:
    action = object.__new__(runner_registration.ActionModule)
    action._task = SimpleNamespace(args={"token_warning_days": 3})
    runners = [{"name": "build", "url": "https://x", "id": 7, **runner}]
    read = {"system_id": "s_1", "now": 1_800_000_000.0, "exists": True}
    told = {
        "answers": answers,
        "version": "18.5.0",
        "reasons": {},
        "asleep": [],
        "system_id": "s_1",
        **(more or {}),
    }
    return action._judge(runners, told, read)


def test_refused_and_silent_are_told_apart() -> None:
    refused = judge({"build": "refused"})
    silent = judge({"build": "unanswered"})
    assert refused["failed"]
    assert silent["failed"]
    assert "REFUSED" in refused["msg"]
    assert "GitLab gave no answer" in silent["msg"]
    assert "failed" not in judge({"build": "valid"})


def test_silence_is_said_with_its_reason() -> None:
    silent = judge({"build": "unanswered"}, {"reasons": {"build": "certificate has expired"}})
    assert silent["msg"] == "build: GitLab gave no answer: certificate has expired"
    assert not silent["changed"]


def test_lost_system_id_is_said() -> None:
    anew = judge({"build": "valid"}, {"system_id": "s_2"})
    assert "the runner made it anew: s_2" in anew["warnings"][0]


def test_sleeping_runner_is_named() -> None:
    found = judge({"build": "valid"}, {"asleep": ["build"]})
    assert not found["changed"]
    assert "provision wakes it" in found["runners"][0]
    assert "provision wakes it" in found["warnings"][0]
    refused = judge({"build": "refused"}, {"asleep": ["build"]})
    assert "provision wakes it" not in refused["runners"][0]


def test_end_of_a_token_is_said_and_warned_of() -> None:
    # 2027-01-15T08:00:00Z is 1_800_000_000.
    far = judge({"build": "valid"}, token_expires_at="2027-01-25T08:00:00Z")
    assert "lives 10.0 days more" in far["runners"][0]
    assert far["warnings"] == []
    near = judge({"build": "valid"}, token_expires_at="2027-01-17T08:00:00Z")
    assert "ends in 2.0 days" in near["warnings"][0]
    assert "no end" in judge({"build": "valid"})["runners"][0]


class Cli:
    """A gitlab-runner that answers as the real one does; what GitLab says of each name is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **says: str) -> None:
        self.says = says
        self.kept = list(says)
        self.asked: list[list[str]] = []
        monkeypatch.setattr(host, "run", self.run)

    def run(self, argv: list[str], **_: Any) -> CompletedProcess[str]:
        self.asked.append(argv)
        assert argv[argv.index("--config") + 1] == "/etc/x/config.toml"
        name = argv[argv.index("--name") + 1]
        says = self.says[name]
        words = {"valid": "is valid", "refused": "is not valid", "silent": "failed"}[says]
        if "unregister" in argv:
            if says != "valid":
                return CompletedProcess(argv, 1, "", f"FATAL: failed to unregister {name}")
            self.kept.remove(name)
        elif says == "refused" and "--delete" in argv:
            self.kept.remove(name)
        elif says == "refused":
            return CompletedProcess(argv, 1, "", f"Verifying runner... {words}")
        return CompletedProcess(argv, 0, "", f"Verifying runner... {words}")


def test_runner_that_gitlab_has_no_more_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`unregister` alone would keep its entry, and fail, at every run."""
    cli = Cli(monkeypatch, here="valid", deleted="refused", away="silent")
    left, gone = module.by_name("/etc/x/config.toml", "unregister", list(cli.says), {})
    assert cli.kept == ["away"]
    assert gone == ["deleted"]
    assert left == {"here": "", "deleted": "", "away": "failed to unregister away"}


def test_entry_that_verify_kept_is_not_called_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """GitLab may fall silent between the question and the deletion, which exits 0 then too."""
    cli = Cli(monkeypatch, deleted="refused")
    answer = cli.run

    def silent(argv: list[str], **more: Any) -> CompletedProcess[str]:
        if "--delete" in argv:
            return CompletedProcess(argv, 0, "", "Verifying runner... failed")
        return answer(argv, **more)

    monkeypatch.setattr(host, "run", silent)
    left, gone = module.by_name("/etc/x/config.toml", "unregister", ["deleted"], {})
    assert (left, gone) == ({"deleted": "failed to unregister deleted"}, [])


def test_unregistered_runners_cost_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    cli = Cli(monkeypatch, here="valid")
    done = module.by_name("/etc/x/config.toml", "unregister", ["here"], {})
    assert done == ({"here": ""}, [])
    assert len(cli.asked) == 1


def does(verb: str, names: list[str], answer: dict[str, Any]) -> dict[str, Any]:
    action = object.__new__(runner_registration.ActionModule)
    action._task = SimpleNamespace(args={}, check_mode=False)
    action._ask = lambda *_: answer  # type: ignore[method-assign]
    return action._do(verb, names)


def test_runner_that_gitlab_had_no_more_is_told_from_an_unregistered_one() -> None:
    answer = {"changed": True, "problems": {}, "answers": {}, "gone": ["old"]}
    assert does("unregister", ["build", "old"], answer) == {
        "changed": True,
        "runners": [
            "build: is unregistered",
            "old: GitLab had it no more (403); its entry is dropped from config.toml",
        ],
    }


def test_rotation_of_two_runners_with_one_name_is_refused() -> None:
    """The first would get two new tokens, and the second none."""
    answer = {"changed": True, "problems": {}, "answers": {"build": "valid"}, "gone": []}
    with pytest.raises(AnsibleActionFail, match="more than one runner 'build'"):
        does("rotate", ["build", "wheels", "build"], answer)
    assert does("rotate", ["build"], answer)["runners"] == ["build: has a new token"]
    # Each call of `unregister` takes one of them away.
    assert does("unregister", ["build", "build"], answer)["changed"]


@pytest.mark.parametrize("verb", ["reset-token", "unregister"])
@pytest.mark.parametrize("check", [False, True])
def test_a_full_disk_loses_no_token(
    verb: str, check: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner truncates config.toml and writes it anew."""
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    asked: list[list[str]] = []
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bfree=10, f_frsize=4096))
    monkeypatch.setattr(host, "run", asked.append)

    class Module:
        check_mode = check
        params: ClassVar = {
            "verb": verb,
            "names": ["build"],
            "environment": {},
            "folder": str(tmp_path),
            "unit": "x",
        }

        def __init__(self, **_: Any) -> None:
            pass

        def fail_json(self, msg: str) -> None:
            raise SystemExit(msg)

    monkeypatch.setattr(module, "AnsibleModule", Module)
    with pytest.raises(SystemExit, match=r"has no room: .* Nothing was changed"):
        module.main()
    assert asked == []


def test_little_room_is_enough(tmp_path: Path) -> None:
    assert module.no_room(str(tmp_path)) == ""
