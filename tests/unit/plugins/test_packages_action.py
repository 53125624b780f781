"""One transaction: what is asked of apt, what is only marked, what was left unfinished."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.action import packages
from ansible_collections.runnerhost.toolkit.plugins.module_utils import host, pythons
from ansible_collections.runnerhost.toolkit.plugins.modules import apt_ready

INSTALLED = {"version": "1-1", "status": "install ok installed"}
LOOK: dict[str, Any] = {"packages": {"git": INSTALLED}, "automatic": [], "unfinished": []}


class Action(packages.ActionModule):
    """The action without a host: modules answer what a test gives, and are noted."""

    answers: dict[str, dict[str, Any]]
    called: list[tuple[str, dict[str, Any]]]

    def _execute_module(
        self, module_name: str, module_args: dict[str, Any], task_vars: Any = None
    ) -> dict[str, Any]:
        self.called.append((module_name, module_args))
        return dict(self.answers.get(module_name, {}))

    def _pipeline(self) -> None:
        """There is no connection."""


def run(
    look: dict[str, Any],
    check: bool = False,
    finished: Any = (),
    apt: dict[str, Any] | None = None,
    **args: Any,
) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """The result, and the calls."""
    action = object.__new__(Action)
    action.called = []
    action.answers = {
        packages.LOOK: {"look": {**LOOK, **look}},
        packages.READY: {"finished": list(finished)},
        "ansible.builtin.apt": apt or {"changed": False, "stdout": "", "stderr": ""},
    }
    action._task = SimpleNamespace(args=args, check_mode=check, async_val=0, action="packages")
    action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    return action.run(None, {}), action.called


def test_nothing_to_do_is_one_look() -> None:
    result, called = run({}, names=["git"])
    assert not result["changed"]
    assert [name for name, _ in called] == [packages.LOOK]


def test_what_autoremove_could_take_is_given_to_apt_which_marks_it() -> None:
    result, called = run({"automatic": ["git"]}, names=["git"])
    assert result["changed"]
    assert result["packages"] == ["git"]
    (arguments,) = [a for name, a in called if name == "ansible.builtin.apt"]
    assert arguments["name"] == ["git"]
    predicted, _ = run({"automatic": ["git"]}, check=True, names=["git"])
    assert predicted["packages"] == ["git"]
    assert "autoremove may not take it any more" in predicted["msg"]


def test_companions_go_along_and_keep_their_mark() -> None:
    look = {"packages": {"a": INSTALLED, "b": INSTALLED, "c": INSTALLED}, "automatic": ["b"]}
    result, called = run(look, names=["a=2-1"], companions=["b=2-1", "c=2-1"], allow_downgrade=True)
    assert result["packages"] == ["a=2-1", "b=2-1", "c=2-1"]
    (arguments,) = [a for name, a in called if name == "ansible.builtin.apt"]
    assert arguments["name"] == result["packages"]
    assert arguments["allow_downgrade"]
    assert called[-1] == ("ansible.builtin.command", {"argv": ["apt-mark", "auto", "b"]})


def test_what_was_left_unfinished_is_finished_though_nothing_is_missing() -> None:
    result, called = run({"unfinished": ["cron"]}, finished=["cron"], names=["git"])
    assert result["changed"]
    assert result["finished"] == ["cron"]
    assert "ansible.builtin.apt" not in [name for name, _ in called]
    predicted, called = run({"unfinished": ["cron"]}, check=True, names=["git"])
    assert predicted["changed"]
    assert "cron (left unfinished" in predicted["diff"]["prepared"]
    assert [name for name, _ in called] == [packages.LOOK]


def test_another_process_that_is_through_meanwhile_is_no_change() -> None:
    result, _ = run({"unfinished": ["cron"]}, finished=[], names=["git"])
    assert not result["changed"]


def ages(look: dict[str, Any], apt: dict[str, Any], **args: Any) -> tuple[list[int], int]:
    """How old the lists may be in each call, and how often apt is called."""
    _, called = run(look, apt=apt, **args)
    asked = [a["lists_age"] for name, a in called if name == packages.READY]
    return asked, [name for name, _ in called].count("ansible.builtin.apt")


def test_lists_are_read_anew_where_sources_are_new_and_after_a_failure() -> None:
    good, bad = {"changed": True}, {"failed": True, "msg": "no"}
    hour = packages.LISTS_AGE
    assert ages({}, good, names=["new"]) == ([hour], 1)
    assert ages({}, good, names=["new"], fresh=True) == ([0], 1)
    assert ages({}, bad, names=["new"]) == ([hour, 0], 2)
    assert ages({}, bad, names=["new"], fresh=True) == ([0], 1)
    assert ages({}, good, names=["git"], state="absent") == ([-1], 1)
    assert ages({"unfinished": ["cron"]}, good, names=["git"]) == ([-1], 0)


STATUS = """\
Package: fine
Status: install ok installed

Package: held
Status: hold ok installed

Package: gone
Status: deinstall ok config-files

Package: cut
Status: install ok half-configured

Package: broken
Status: install reinstreq half-installed

Package: waits
Status: install ok triggers-awaited
"""


def test_unfinished(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(STATUS)
    none = str(tmp_path / "updates" / "[0-9]*")
    found = host.unfinished(str(tmp_path / "status"), none)
    assert found == ["cut", "broken", "waits"]
    (tmp_path / "updates").mkdir()
    (tmp_path / "updates" / "0001").touch()
    assert host.unfinished(str(tmp_path / "status"), none)[-1] == "dpkg's journal"


def test_automatic(tmp_path: Path) -> None:
    path = tmp_path / "extended_states"
    assert host.automatic(str(path)) == set()
    path.write_text(
        "Package: a\nArchitecture: amd64\nAuto-Installed: 1\n\n"
        "Package: b\nArchitecture: amd64\nAuto-Installed: 0\n"
    )
    assert host.automatic(str(path)) == {"a"}


@pytest.fixture
def dpkg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A dpkg and an apt-get that do what a file beside them says, and note their calls."""
    for name in ("dpkg", "apt-get"):
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n. {tmp_path}/{name}.does\n'
        )
        program.chmod(0o755)
        (tmp_path / f"{name}.does").write_text("exit 0\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_finishing_waits_for_another_process(dpkg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (dpkg / "dpkg.does").write_text("echo 'dpkg: error: dpkg frontend lock is locked' >&2; exit 2")
    monkeypatch.setattr(time, "sleep", lambda _: (dpkg / "dpkg.does").write_text("exit 0\n"))
    assert apt_ready.configure(60) == ""
    calls = (dpkg / "calls").read_text().splitlines()
    assert calls == ["dpkg --force-confdef --force-confold --configure -a"] * 2


def test_finishing_says_what_dpkg_said(dpkg: Path) -> None:
    (dpkg / "dpkg.does").write_text("echo 'cron: subprocess returned 1' >&2; exit 1")
    assert apt_ready.configure(60) == "cron: subprocess returned 1"
    (dpkg / "apt-get.does").write_text("echo 'E: Unmet dependencies' >&2; exit 100")
    assert apt_ready.fix(5) == "E: Unmet dependencies"
    assert "--fix-broken install" in (dpkg / "calls").read_text()


def test_lists_are_read_when_no_other_process_reads_them(
    dpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    does = dpkg / "apt-get.does"
    does.write_text("echo 'E: Could not get lock /var/lib/apt/lists/lock.' >&2; exit 100")
    monkeypatch.setattr(time, "sleep", lambda _: does.write_text("exit 0\n"))
    assert apt_ready.update(60) == ""
    calls = (dpkg / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert all(call.startswith("apt-get -q -o APT::Update::Error-Mode=any") for call in calls)


def test_lists_that_cannot_be_read_are_named_without_a_password(dpkg: Path) -> None:
    said = "E: Failed to fetch https://me:sesame@mirror.example.com/x  404"
    (dpkg / "apt-get.does").write_text(f"echo '{said}' >&2; exit 100")
    problem = apt_ready.update(60)
    assert "mirror.example.com" in problem
    assert "sesame" not in problem


def test_the_note_of_the_proof_whatever_lies_there() -> None:
    good = json.dumps({"versions": {"python3.9": "1"}, "source": "x"})
    assert pythons.noted(good) == pythons.Noted({"python3.9": "1"}, "x")
    for odd in ("", "{", "[]", '{"python3.9": "1"}'):
        assert pythons.noted(odd) == pythons.Noted({}, "")
