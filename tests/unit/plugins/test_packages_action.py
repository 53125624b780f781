# SPDX-License-Identifier: GPL-3.0-or-later
"""One transaction: what is asked of apt, what is only marked, what was left unfinished."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.action import packages
from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_sources,
    _dpkg,
    _pythons,
    _system,
)
from ansible_collections.runnerhost.toolkit.plugins.modules import apt_transaction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    HOST_INFO as LOOK_MODULE,
)

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
    info: dict[str, Any],
    /,
    check: bool = False,
    finished: Any = (),
    apt: dict[str, Any] | None = None,
    **args: Any,
) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """The result, and the calls."""
    action = object.__new__(Action)
    action.called = []
    action.answers = {
        LOOK_MODULE: {"info": {**LOOK, **info}},
        packages.APT: {"finished": list(finished), **(apt or {})},
    }
    action._task = SimpleNamespace(args=args, check_mode=check, async_val=0, action="packages")
    action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    return action.run(None, {}), action.called


def test_nothing_to_do_is_one_look() -> None:
    result, called = run({}, names=["git"])
    assert not result["changed"]
    assert [name for name, _ in called] == [LOOK_MODULE]


def test_a_look_of_another_task_spares_one() -> None:
    given: dict[str, Any] = {
        "info": {"git": INSTALLED},
        "automatic": ["git"],
        "unfinished": ["cron"],
    }
    result, called = run({}, names=["git"], **given)
    assert [name for name, _ in called] == [packages.APT]
    assert asked(called)["manual"] == ["git"]
    assert result["changed"]
    _, called = run({}, names=["git"], info={"git": INSTALLED})
    assert called == []


def asked(called: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """What the one transaction was asked for."""
    (arguments,) = [a for name, a in called if name == packages.APT]
    return arguments


def test_what_autoremove_could_take_is_marked() -> None:
    result, called = run({"automatic": ["git"]}, names=["git=1-1", "new"])
    assert result["changed"]
    assert result["packages"] == ["new", "git=1-1"]
    assert (asked(called)["names"], asked(called)["manual"]) == (["new"], ["git"])
    predicted, _ = run({"automatic": ["git"]}, check=True, names=["git"])
    assert predicted["packages"] == ["git"]
    assert "autoremove may not take it any more" in predicted["msg"]


def test_companions_go_along_and_keep_their_mark() -> None:
    info = {"packages": {"a": INSTALLED, "b": INSTALLED, "c": INSTALLED}, "automatic": ["b"]}
    result, called = run(info, names=["a=2-1"], companions=["b=2-1", "c=2-1"], allow_downgrade=True)
    assert result["packages"] == ["a=2-1", "b=2-1", "c=2-1"]
    assert asked(called)["names"] == result["packages"]
    assert asked(called)["allow_downgrade"]
    assert asked(called)["automatic"] == ["b"]


def test_what_was_left_unfinished_is_finished_though_nothing_is_missing() -> None:
    result, called = run({"unfinished": ["cron"]}, finished=["cron"], names=["git"])
    assert result["changed"]
    assert result["finished"] == ["cron"]
    assert asked(called)["names"] == []
    predicted, called = run({"unfinished": ["cron"]}, check=True, names=["git"])
    assert predicted["changed"]
    assert "cron (left unfinished" in predicted["diff"]["prepared"]
    assert [name for name, _ in called] == [LOOK_MODULE]


def test_another_process_that_is_through_meanwhile_is_no_change() -> None:
    result, _ = run({"unfinished": ["cron"]}, finished=[], names=["git"])
    assert not result["changed"]


def test_a_failure_is_told() -> None:
    bad = {"failed": True, "msg": "apt-get install: E: no", "ending": ["Reading"]}
    result, _ = run({}, names=["new"], apt=bad)
    assert (result["failed"], result["msg"]) == (True, "apt-get install: E: no")
    assert result["ending"] == ["Reading"]


def test_check_mode_asks_what_a_removal_would_take_along() -> None:
    asks: dict[str, Any] = {"names": ["git"], "state": "absent", "variable": "some_variable"}
    result, called = run({}, check=True, **asks)
    assert [name for name, _ in called] == [LOOK_MODULE, packages.APT]
    assert (result["changed"], result["msg"]) == (True, "would remove: git")
    bad = {"failed": True, "msg": "nothing was removed: git would take along theirs"}
    for check in (True, False):
        result, _ = run({}, check=check, apt=bad, **asks)
        assert result["failed"]
        assert result["msg"] == f"some_variable: {bad['msg']}"
    assert [name for name, _ in run({}, check=True, names=["no"], state="absent")[1]] == [
        LOOK_MODULE
    ]


RECORDS = """\
Package: libssl3t64
Status: install ok installed
Architecture: amd64
Version: 3.0.13-0ubuntu3
Provides: libssl3 (= 3.0.13-0ubuntu3), other

Package: libc6-dev
Status: install ok installed
Architecture: i386
Version: 2.39-1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
Provides: lost

Package: every
Status: install ok installed
Architecture: all
Version: 1
Provides: other:amd64
"""


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's dpkg and apt: their two files."""
    (tmp_path / "status").write_text(RECORDS)
    states = tmp_path / "extended_states"
    states.write_text("Package: every\nArchitecture: amd64\nAuto-Installed: 1\n")
    for function in (_dpkg.packages, _dpkg.providers, _dpkg.automatic):
        file = states if function is _dpkg.automatic else tmp_path / "status"
        kept = (*(function.__defaults__ or ())[:-1], str(file))
        monkeypatch.setattr(function, "__defaults__", kept)
    return tmp_path


def seen(*names: str) -> dict[str, Any]:
    """What host_info says of packages."""
    found = _dpkg.packages(list(names))
    provided = _dpkg.provided(list(names), found)
    return {"packages": found, "provided": provided, "automatic": sorted(_dpkg.automatic())}


def test_a_virtual_name_and_one_with_an_architecture_are_there(records: Path) -> None:
    names = ["libssl3", "libc6-dev:i386", "every:amd64", "other"]
    info = seen(*names)
    assert sorted(info["packages"]) == ["every:amd64", "libc6-dev:i386"]
    assert info["provided"]["libssl3"]["provided_by"] == "libssl3t64"
    # The one that autoremove takes not.
    assert info["provided"]["other"]["provided_by"] == "libssl3t64"
    result, called = run(info, names=["libssl3", "libc6-dev:i386", "other"])
    assert not result["changed"]
    assert [name for name, _ in called] == [LOOK_MODULE]
    # An earlier task's look, which has both in one.
    both = {**info["packages"], **info["provided"]}
    result, called = run({}, names=["libssl3", "libc6-dev:i386"], info=both)
    assert (result["changed"], called) == (False, [])


def test_a_host_that_lacks_nothing_is_read_once(
    records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _dpkg.packages(["libssl3t64", "python3.*"])
    monkeypatch.setattr(_dpkg, "providers", lambda _: pytest.fail("reads again"))
    assert _dpkg.provided(["libssl3t64", "python3.*"], found) == {}


def test_what_is_not_there_is_installed(records: Path) -> None:
    names = ["lost", "gone", "libc6-dev:amd64", "libssl3t64:i386", "libssl3=*"]
    info = seen(*(name.partition("=")[0] for name in names))
    result, _ = run(info, names=names)
    assert result["packages"] == names
    # To be rid of a name is not to be rid of what provides it.
    result, called = run(seen("libssl3"), names=["libssl3"], state="absent")
    assert (result["changed"], len(called)) == (False, 1)


def test_the_provider_of_a_wanted_name_is_what_autoremove_may_not_take(records: Path) -> None:
    states = records / "extended_states"
    states.write_text("Package: libssl3t64\nArchitecture: amd64\nAuto-Installed: 1\n")
    result, called = run(seen("libssl3"), names=["libssl3"])
    assert result["packages"] == ["libssl3"]
    assert (asked(called)["names"], asked(called)["manual"]) == ([], ["libssl3t64"])


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
    assert _dpkg.unfinished(str(tmp_path / "status")) == ["cut", "broken", "waits"]
    (tmp_path / "updates").mkdir()
    (tmp_path / "updates" / "0001").touch()
    assert _dpkg.unfinished(str(tmp_path / "status"))[-1] == "dpkg's journal"


def test_automatic(tmp_path: Path) -> None:
    path = tmp_path / "extended_states"
    assert _dpkg.automatic(str(path)) == set()
    path.write_text(
        "Package: a\nArchitecture: amd64\nAuto-Installed: 1\n\n"
        "Package: b\nArchitecture: amd64\nAuto-Installed: 0\n"
    )
    assert _dpkg.automatic(str(path)) == {"a", "a:amd64"}


@pytest.fixture
def dpkg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A dpkg and an apt-get that do what a file beside them says, and note their calls."""
    for name in ("dpkg", "apt-get", "apt-mark"):
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n. {tmp_path}/{name}.does\n'
        )
        program.chmod(0o755)
        (tmp_path / f"{name}.does").write_text("exit 0\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_finishing_waits_for_another_process(dpkg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (dpkg / "dpkg.does").write_text(
        "echo 'dpkg: error: dpkg frontend lock was locked by another process' >&2; exit 2"
    )
    monkeypatch.setattr(time, "sleep", lambda _: (dpkg / "dpkg.does").write_text("exit 0\n"))
    assert apt_transaction.configure(60) == ""
    calls = (dpkg / "calls").read_text().splitlines()
    assert calls == ["dpkg --force-confdef --force-confold --configure -a"] * 2


def test_a_package_with_a_lock_in_its_name_is_not_waited_for(
    dpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "dpkg: error processing package libblockdev2:amd64 (--configure)"
    (dpkg / "dpkg.does").write_text(f"echo '{said}' >&2; exit 1")
    really = time.sleep
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        # subprocess sleeps for less, between its looks at a child.
        if seconds < 1:
            really(seconds)
        else:
            waits.append(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    assert apt_transaction.configure(0.5) == said
    assert waits == []


def test_cloud_init_is_waited_for_where_systemd_has_booted(
    dpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    cloud_init = dpkg / "cloud-init"
    cloud_init.touch()
    real = _system.run

    def note(argv: list[str], **more: Any) -> Any:
        return ran.append(argv) if argv[0] == str(cloud_init) else real(argv, **more)

    monkeypatch.setattr(_system, "run", note)
    for is_booted in (False, True):
        monkeypatch.setattr(apt_transaction, "booted", lambda is_booted=is_booted: is_booted)
        transaction(monkeypatch, cloud_init=cloud_init, names=["a"])
        assert bool(ran) is is_booted
    assert ran == [[str(cloud_init), "status", "--wait"]]


@pytest.mark.parametrize(
    ("comm", "root", "is_booted"),
    [
        ("systemd\n", "/", True),
        ("sh\n", "/", False),
        # A chroot sees the PID 1 of the system around it.
        ("systemd\n", "/usr", False),
        (None, "/", False),
    ],
)
def test_booted(comm: str | None, root: str, is_booted: bool, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "root").symlink_to(root)
    if comm:
        (tmp_path / "1" / "comm").write_text(comm)
    assert apt_transaction.booted(str(tmp_path)) is is_booted
    assert not apt_transaction.booted(str(tmp_path / "nowhere"))


def test_finishing_says_what_dpkg_said(dpkg: Path) -> None:
    (dpkg / "dpkg.does").write_text("echo 'cron: subprocess returned 1' >&2; exit 1")
    assert apt_transaction.configure(60) == "cron: subprocess returned 1"
    (dpkg / "apt-get.does").write_text("echo 'E: Unmet dependencies' >&2; exit 100")
    assert apt_transaction.fix(5) == "E: Unmet dependencies"
    said = "E: Failed to fetch https://me:sesame@mirror.example.com/x  404"
    (dpkg / "apt-get.does").write_text(f"echo '{said}' >&2; exit 100")
    assert "sesame" not in apt_transaction.fix(5)
    assert "--fix-broken install" in (dpkg / "calls").read_text()


def test_lists_are_read_when_no_other_process_reads_them(
    dpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    does = dpkg / "apt-get.does"
    does.write_text("echo 'E: Could not get lock /var/lib/apt/lists/lock.' >&2; exit 100")
    monkeypatch.setattr(time, "sleep", lambda _: does.write_text("exit 0\n"))
    assert apt_transaction.update(60) == ""
    calls = (dpkg / "calls").read_text().splitlines()
    assert len(calls) == 2
    assert all(call.startswith("apt-get -q -o APT::Update::Error-Mode=any") for call in calls)


def test_lists_that_cannot_be_read_are_named_without_a_password(dpkg: Path) -> None:
    said = "E: Failed to fetch https://me:sesame@mirror.example.com/x  404"
    (dpkg / "apt-get.does").write_text(f"echo '{said}' >&2; exit 100")
    problem = apt_transaction.update(60)
    assert "mirror.example.com" in problem
    assert "sesame" not in problem


class Exit(Exception):
    """A module's end, with its answer."""


def transaction(
    monkeypatch: pytest.MonkeyPatch,
    check: bool = False,
    left: Any = (),
    cloud_init: Path = Path("/nowhere"),
    **asked: Any,
) -> dict[str, Any]:
    """The module's answer; what it calls is in the programs' notes."""

    class Module:
        check_mode = check

        def __init__(self, argument_spec: dict[str, Any], **_: Any) -> None:
            defaults = {name: spec.get("default") for name, spec in argument_spec.items()}
            self.params = {**defaults, **asked}

        def exit_json(self, **answer: Any) -> None:
            raise Exit(answer)

        def fail_json(self, **answer: Any) -> None:
            raise Exit({"failed": True, **answer})

    monkeypatch.setattr(apt_transaction, "AnsibleModule", Module)
    monkeypatch.setattr(apt_transaction, "CLOUD_INIT", str(cloud_init))
    monkeypatch.setattr(_system, "system_python_problem", lambda: None)
    monkeypatch.setattr(_dpkg, "unfinished", lambda: list(left))
    with pytest.raises(Exit) as ended:
        apt_transaction.main()
    answer: dict[str, Any] = ended.value.args[0]
    return answer


def calls(dpkg: Path) -> list[str]:
    """The programs' calls without options, and none of them again."""
    noted = dpkg / "calls"
    lines = noted.read_text().splitlines() if noted.exists() else []
    noted.write_text("")
    return [re.sub(r" (-q|-y|-o \S+)(?= |$)", "", line) for line in lines]


def test_one_transaction_with_its_marks(dpkg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_apt_sources, "lists_age", lambda: 10.0)
    done = transaction(
        monkeypatch, names=["a=2-1", "b"], manual=["c"], automatic=["b"], allow_downgrade=True
    )
    assert done == {"changed": True, "finished": []}
    assert "-o Dpkg::Options::=--force-confold" in (dpkg / "calls").read_text()
    assert calls(dpkg) == [
        "apt-get --no-install-recommends --allow-downgrades install a=2-1 b",
        "apt-mark manual c",
        "apt-mark auto b",
    ]
    transaction(monkeypatch, names=["a"], state="absent")
    assert calls(dpkg) == ["apt-get -s remove a", "apt-get remove a"]
    assert not transaction(monkeypatch)["changed"]
    assert calls(dpkg) == []


def test_lists_are_read_anew_where_they_are_old_and_after_a_failure(
    dpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age = 10.0
    monkeypatch.setattr(_apt_sources, "lists_age", lambda: age)
    install = "apt-get --no-install-recommends install a"
    transaction(monkeypatch, names=["a"], lists_age=0)
    assert calls(dpkg) == ["apt-get update", install]
    # The clock was set back since.
    age = -60.0
    transaction(monkeypatch, names=["a"], lists_age=0)
    assert calls(dpkg) == ["apt-get update", install]
    age = 10.0
    # Young ones may be of other sources.
    (dpkg / "apt-get.does").write_text(
        "case $* in *update) exit 0;; esac; echo 'Reading lists'; "
        "echo 'E: Unable to locate https://me:sesame@x.example.com a' >&2; exit 100"
    )
    failed = transaction(monkeypatch, names=["a"])
    assert calls(dpkg) == [install, "apt-get update", install]
    assert failed["failed"]
    assert failed["msg"].startswith("apt-get install: E: Unable to locate")
    assert "sesame" not in failed["msg"]
    assert failed["ending"] == ["Reading lists"]
    age = 7200.0
    transaction(monkeypatch, names=["a"])
    assert calls(dpkg) == ["apt-get update", install]
    failed = transaction(monkeypatch, names=["a"], state="absent")
    assert calls(dpkg) == ["apt-get -s remove a"]
    assert failed["msg"].startswith("apt-get -s remove: E: Unable to locate")
    assert "sesame" not in failed["msg"]


def test_a_source_that_cannot_be_read_fails_no_transaction_that_does_not_need_it(
    dpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "E: The repository 'http://v.test jammy Release' does not have a Release file."
    (dpkg / "apt-get.does").write_text(f'case $* in *update) echo "{said}" >&2; exit 100;; esac')
    texts = {"/etc/apt/sources.list.d/v.list": "deb http://v.test jammy main\n"}
    monkeypatch.setattr(_apt_sources, "source_texts", lambda: texts)
    done = transaction(monkeypatch, names=["a"], lists_age=0)
    assert done["unreadable"] == [f"/etc/apt/sources.list.d/v.list, line 1: {said}"]
    result, _ = run({}, names=["a"], apt=done)
    assert result["changed"]
    assert result["warnings"] == [
        "apt cannot read an apt source of the host, and what is wanted does not need it: "
        f"/etc/apt/sources.list.d/v.list, line 1: {said}"
    ]


@pytest.mark.parametrize("does", ["nothing", "half"])
def test_a_failure_says_what_was_replaced(
    does: str, dpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an upgrade puts nothing back that is still there."""
    (dpkg / "apt-get.does").write_text("case $* in *install*) exit 100;; esac")
    before, after = {"a": INSTALLED}, {"a": {**INSTALLED, "version": "2-1"}}
    states = iter([before, after if does == "half" else before])
    monkeypatch.setattr(_dpkg, "packages", lambda _: next(states))
    failed = transaction(monkeypatch, names=["a=2-1", "b"], lists_age=0)
    assert failed["replaced"] == (["a"] if does == "half" else [])


def test_a_disk_that_runs_full_in_the_middle_is_named(
    dpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dpkg says it in its output, and apt's errors do not."""
    (dpkg / "apt-get.does").write_text(
        "echo ' failed to write (No space left on device)'; echo 'E: Sub-process' >&2; exit 100"
    )
    monkeypatch.setattr(_dpkg, "packages", lambda _: {})
    failed = transaction(monkeypatch, names=["a"], lists_age=0)
    assert failed["msg"].startswith("apt-get install: the disk is full (No space left on device)")
    assert "E: Sub-process" in failed["msg"]


def test_a_long_transaction_says_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(packages.display, "display", said.append)
    job = "/run/runnerhost-apt-x"
    answers = iter(
        [
            {"job": job},
            {"job": job, "phase": "unpacking a (4 %)"},
            {"changed": True, "finished": []},
        ]
    )
    action = object.__new__(Action)
    asked: list[dict[str, Any]] = []

    def execute(module_name: str, module_args: dict[str, Any], task_vars: Any) -> Any:
        asked.append(module_args)
        return next(answers)

    monkeypatch.setattr(action, "_execute_module", execute)
    monkeypatch.setattr(action, "_pipeline", lambda: None)
    action._task = SimpleNamespace(
        args={"names": ["a"], "info": {}}, check_mode=False, async_val=0, action="packages"
    )
    action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    result = action.run(None, {"inventory_hostname": "h1"})
    assert (result["changed"], result["packages"]) == (True, ["a"])
    assert said == ["[h1] unpacking a (4 %)"]
    assert [one.get("job") for one in asked] == [None, job, job]
    assert asked[0]["background"]
    assert {one["patience"] for one in asked[1:]} == {packages.SAYS_EVERY}


GOING = """\
Remv python3.11-venv [3.11.9-1+jammy1]
Purg python3.11 [3.11.9-1+jammy1]
"""


@pytest.mark.parametrize("check", [False, True])
def test_a_removal_that_would_take_others_along_removes_nothing(
    check: bool, dpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["python3.11", "python3.11-venv"]
    does = "case $* in *-s*) cat << EOF\n{}EOF\nesac\n"
    asked: dict[str, Any] = {"names": names, "state": "absent", "check": check}
    more = f"{GOING}Remv somebodys-tool [1.0]\nPurg theirs:i386 [2]\n"
    (dpkg / "apt-get.does").write_text(does.format(more))
    failed = transaction(monkeypatch, **asked)
    assert failed["failed"]
    assert failed["company"] == ["somebodys-tool", "theirs"]
    assert "python3.11, python3.11-venv would take along somebodys-tool, theirs." in failed["msg"]
    info = "apt-get -s remove python3.11 python3.11-venv"
    assert calls(dpkg) == [info]
    (dpkg / "apt-get.does").write_text(does.format(GOING))
    assert transaction(monkeypatch, **asked) == {"changed": True, "finished": []}
    assert calls(dpkg) == [info, *([] if check else [info.replace(" -s", "")])]


def test_what_apt_cannot_tell_before_dpkg_has_finished_fails_no_check(
    dpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dpkg / "apt-get.does").write_text("echo 'E: Unmet dependencies' >&2; exit 100")
    asked: dict[str, Any] = {"names": ["a"], "state": "absent", "check": True}
    assert transaction(monkeypatch, **asked)["failed"]
    assert transaction(monkeypatch, left=["cut"], **asked) == {"changed": True, "finished": ["cut"]}


def test_a_mark_that_cannot_be_set_is_a_failure(
    dpkg: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dpkg / "apt-mark.does").write_text("echo 'E: no such package' >&2; exit 100")
    failed = transaction(monkeypatch, manual=["c"])
    assert failed["msg"] == "apt-mark manual: E: no such package"


def test_the_note_of_the_proof_whatever_lies_there() -> None:
    good = json.dumps({"versions": {"python3.9": "1"}, "source": "x"})
    assert _pythons.noted(good) == _pythons.Noted({"python3.9": "1"}, "x")
    for odd in ("", "{", "[]", '{"python3.9": "1"}'):
        assert _pythons.noted(odd) == _pythons.Noted({}, "")


def test_no_transaction_is_cut_off_while_a_packages_script_waits_for_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The script stops the service, which waits for jobs: two hours by default, a day at most."""
    limits: list[float] = []

    def note(argv: list[str], timeout: float = 60, **_: Any) -> SimpleNamespace:
        limits.append(timeout)
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(_system, "run", note)
    apt_transaction.apt_get(["install", "gitlab-runner"], 600)
    apt_transaction.configure(600)
    apt_transaction.fix(600)
    assert limits == [86_400.0] * 3
