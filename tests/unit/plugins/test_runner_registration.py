# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's runners look like from outside: lines, failures, the inventory's variables."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import yaml
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import runner_registration
from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _runner_cli,
    _runner_managers,
    _system,
)
from ansible_collections.runnerhost.toolkit.plugins.modules import (
    runner_registration as documentation,
)
from ansible_collections.runnerhost.toolkit.plugins.modules import (
    runner_registration_io as module_io,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _runner_toml,
    _runner_verification,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_info import GitLabInfo
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_file import HostFile
from tests.unit.plugins import host_file

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
    """What is said of a runner; ``asleep``: whether the daemon says that it leaves it alone."""
    more = more or {}
    table = {"name": "build", "url": "https://x", "id": 7, "token": TOKEN, **runner}
    complaint = (
        1_800_000_000.0 - 60,
        b'Runner "https://xaaaaaaaa" is unhealthy and will be disabled'.hex(),
    )
    file = HostFile.from_answer(
        host_file.read("x", system_id="s_1", complaints=[complaint] if more.get("asleep") else [])
    )
    verified = _runner_verification.Verified(
        answers, more.get("reasons", {}), "18.5.0", more.get("system_id", "s_1")
    )
    return _runner_verification.report(
        [table],
        verified,
        file,
        GitLabInfo(),
        warning_days=3,
        unit="gitlab-runner.service",
    ).result()


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
    assert "the runner created a new one: s_2" in anew["warnings"][0]


def test_sleeping_runner_is_named() -> None:
    found = judge({"build": "valid"}, {"asleep": True})
    assert not found["changed"]
    assert "provision wakes it" in found["runners"][0]
    assert "provision wakes it" in found["warnings"][0]
    refused = judge({"build": "refused"}, {"asleep": True})
    assert "provision wakes it" not in refused["runners"][0]


def test_end_of_a_token_is_said_and_warned_of() -> None:
    # 2027-01-15T08:00:00Z is 1_800_000_000.
    far = judge({"build": "valid"}, token_expires_at="2027-01-25T08:00:00Z")
    assert "expires in 10.0 days" in far["runners"][0]
    assert far["warnings"] == []
    near = judge({"build": "valid"}, token_expires_at="2027-01-17T08:00:00Z")
    assert "expires in 2.0 days" in near["warnings"][0]
    assert "does not expire" in judge({"build": "valid"})["runners"][0]


class Cli:
    """A gitlab-runner that answers as the real one does; what GitLab says of each name is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **says: str) -> None:
        self.says = says
        self.kept = list(says)
        self.asked: list[list[str]] = []
        monkeypatch.setattr(_system, "run", self.run)

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
    left, gone = module_io.by_name("/etc/x/config.toml", "unregister", list(cli.says), {})
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

    monkeypatch.setattr(_system, "run", silent)
    left, gone = module_io.by_name("/etc/x/config.toml", "unregister", ["deleted"], {})
    assert (left, gone) == ({"deleted": "failed to unregister deleted"}, [])


def test_unregistered_runners_cost_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    cli = Cli(monkeypatch, here="valid")
    done = module_io.by_name("/etc/x/config.toml", "unregister", ["here"], {})
    assert done == ({"here": ""}, [])
    assert len(cli.asked) == 1


def does(verb: str, names: list[str], answer: dict[str, Any]) -> dict[str, Any]:
    action = object.__new__(runner_registration.ActionModule)
    action._task = SimpleNamespace(args={}, check_mode=False)
    action.ask_host = lambda *_, **__: answer  # type: ignore[method-assign]
    return dict(action.change(verb, names).result(verb))


def test_runner_that_gitlab_had_no_more_is_told_from_an_unregistered_one() -> None:
    answer = {"changed": True, "problems": {}, "answers": {}, "gone": ["old"]}
    assert does("unregister", ["build", "old"], answer) == {
        "changed": True,
        "runners": [
            "build: is unregistered",
            "old: GitLab no longer had it (403); its entry was removed from config.toml",
        ],
    }


class Leaving:
    """A host's runners as the action sees them; the runner's own `unregister` is noted."""

    def __init__(self, runners: list[dict[str, str]], **outcomes: str) -> None:
        self.runners = [{"url": "https://x", **one} for one in runners]
        self.outcomes = outcomes
        self.commanded: list[str] = []
        self.asked: list[str] = []

    def ask(self, arguments: Mapping[str, Any], module: str = "") -> dict[str, Any]:
        if arguments.get("verb") == "unregister":
            self.commanded += arguments["names"]
            return {"changed": True, "problems": {}, "answers": {}, "gone": []}
        if arguments.get("verb") == "manager":
            assert "token" not in arguments["runner"]
            self.asked.append(arguments["token"])
            outcome = self.outcomes.get(arguments["runner"]["name"], "removed")
            return {"outcome": outcome, "said": "GitLab answered with an error: 500"}
        text = _runner_toml.dump({"concurrent": 1, "runners": self.runners})
        if arguments["op"] == "read":
            return {"read": host_file.read(text)}
        kept = _runner_toml.parse(base64.b64decode(arguments["text"]).decode())
        self.runners = kept.get("runners", [])
        return {"swapped": True, "read": host_file.read(text)}

    def run(self) -> dict[str, Any]:
        action = object.__new__(runner_registration.ActionModule)
        action._task = SimpleNamespace(args={"folder": "/etc/x"}, check_mode=False)
        action.ask_host = self.ask  # type: ignore[method-assign]
        return dict(action.unregister(list(self.runners)).result("unregister"))


PREFIXED = ["acme-" + TOKEN, "acme" + TOKEN, "a.b_" + TOKEN, "b" * 20, "glrtr-" + "c" * 20]


@pytest.mark.parametrize("token", PREFIXED)
def test_unregister_never_deletes_a_runner_for_other_hosts(token: str) -> None:
    """gitlab-runner up to 19.3 deletes it where the token does not begin with glrt-."""
    host = Leaving([{"name": "build", "token": TOKEN}, {"name": "acme", "token": token}])
    done = host.run()
    assert host.commanded == ["build"]
    assert host.asked == [token]
    assert [one["name"] for one in host.runners] == ["build"], "gitlab-runner drops that one"
    assert done == {
        "changed": True,
        "runners": ["acme: is unregistered", "build: is unregistered"],
    }


def test_failure_to_leave_keeps_the_entry_and_its_namesakes() -> None:
    runners = [
        {"name": "build", "token": PREFIXED[0]},
        {"name": "build", "token": TOKEN},
        {"name": "gone", "token": PREFIXED[1]},
    ]
    host = Leaving(runners, build="failed", gone="gone")
    done = host.run()
    assert host.commanded == [], "gitlab-runner would take the first of the name"
    assert [one["name"] for one in host.runners] == ["build", "build"]
    assert done["failed"]
    assert done["msg"] == "unregister: build: GitLab answered with an error: 500"
    assert "gone: GitLab no longer had it" in done["runners"][1]
    assert done["changed"]


@pytest.mark.parametrize(
    ("status", "says", "outcome"),
    [
        (204, "valid", "removed"),
        (404, "valid", "failed"),
        (403, "refused", "gone"),
        (403, "valid", "failed"),
        (403, "unanswered", "failed"),
        (500, "valid", "failed"),
        (0, "valid", "failed"),
    ],
)
def test_what_gitlab_answers_about_a_host_that_leaves(
    status: int, says: str, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".runner_system_id").write_text("s_1\n", encoding="utf-8")
    asked: list[tuple[Any, ...]] = []

    def remove(*arguments: Any) -> tuple[int, str]:
        asked.append(arguments)
        return status, "" if status == 204 else f"{status} Words"

    monkeypatch.setattr(_runner_managers, "remove", remove)
    monkeypatch.setattr(_runner_cli, "verify", lambda *_: {"build": says})
    runner = {"name": "build", "url": "https://x", "token": PREFIXED[0], "tls-ca-file": "/ca"}
    done = module_io.remove_manager(str(tmp_path), "config.toml", runner, {})
    assert done["outcome"] == outcome
    tls = {"tls-ca-file": "/ca", "tls-cert-file": "", "tls-key-file": ""}
    assert asked == [("https://x", PREFIXED[0], "s_1", tls, str(tmp_path))]


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
    monkeypatch.setattr(_system, "run", asked.append)

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

    monkeypatch.setattr(module_io, "AnsibleModule", Module)
    with pytest.raises(SystemExit, match=r"has no room: .* Nothing was changed"):
        module_io.main()
    assert asked == []


def test_little_room_is_enough(tmp_path: Path) -> None:
    assert module_io.no_room(str(tmp_path)) == ""


class Asked(runner_registration.ActionModule):
    """The action of a host whose runners GitLab takes; what is asked of it is recorded."""

    asked: list[tuple[str, dict[str, Any]]]
    config = CONFIG

    def ask_host(self, arguments: Mapping[str, Any], module: str = "") -> dict[str, Any]:
        self.asked.append((module.rpartition(".")[2], dict(arguments)))
        others: dict[str, Any] = {"daemons": [], "stopped": []}
        read = host_file.read(self.config, system_id="s_1", other_runners=others)
        names = module_io.named(self.config) if arguments.get("read") else arguments["names"]
        answers = dict.fromkeys(names, "valid")
        return {
            "read": read,
            "answers": answers,
            "reasons": {},
            "version": "18.5.0",
            "system_id": "s_1",
        }


def act(**args: Any) -> tuple[dict[str, Any], Asked]:
    action = object.__new__(Asked)
    action.asked = []
    action._task = SimpleNamespace(
        args=args, check_mode=False, async_val=0, no_log=False, action="runner_registration"
    )
    action._connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir="/tmp"), is_pipelining_enabled=lambda: True
    )
    return action.run(None, {}), action


def test_verify_asks_once_and_returns_what_is_documented() -> None:
    result, action = act(verb="verify")
    assert [module for module, _ in action.asked] == ["runner_registration_io"]
    assert result["runners"] == ["Build & test: valid, its token does not expire"]
    documented = yaml.safe_load(documentation.RETURN)
    shown = {key for key in result if not key.startswith("_")}
    assert shown - {"changed", "warnings"} == set(documented)


def test_a_runner_whose_name_the_host_does_not_read_is_asked_about_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_hand = CONFIG + f"[[runners]]\n  name = 'by hand'\n  token = \"{TOKEN}\"\n"
    monkeypatch.setattr(Asked, "config", by_hand)
    result, action = act(verb="verify")
    assert [given["names"] for _, given in action.asked] == [[], ["by hand"]]
    assert [line.partition(":")[0] for line in result["runners"]] == ["Build & test", "by hand"]
    assert all(": valid" in line for line in result["runners"])


def test_names_are_read_as_the_runner_writes_them() -> None:
    text = """
name = "none"
[[runners]]
  token = "t"
  name = "Build \\"x\\" \\u00e9 é"
  [runners.cache]
    name = "no"
[[runners]] # two
  [runners.cache]
    name = "no"
[[runners]]
  name = "last"
"""
    assert module_io.named(text) == ['Build "x" é é', "last"]


def test_wrong_options_are_refused_first() -> None:
    for args, said in (
        ({"verb": "verfy"}, "verb: invalid value 'verfy'; expected verify or rotate or unregister"),
        ({"verb": "verify", "name": ["x"]}, "unknown option 'name'; did you mean names"),
        ({"verb": "verify", "names": ["x"]}, "config.toml on the host has no runner 'x'"),
    ):
        with pytest.raises(AnsibleActionFail, match=re.escape(said)):
            act(**args)
