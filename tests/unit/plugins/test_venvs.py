# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments: found, and judged without running them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _venvs
from ansible_collections.runnerhost.toolkit.plugins.module_utils._venvs import Interpreters

HERE = ".".join(str(part) for part in sys.version_info[:2])
NOTHING = Interpreters()


@pytest.fixture
def pythons(tmp_path: Path) -> Path:
    """A folder with an interpreter of two versions, and the system's name for the first."""
    folder = tmp_path / "usr" / "bin"
    folder.mkdir(parents=True)
    for version in ("3.9", "3.11"):
        (folder / f"python{version}").touch()
    (folder / "python3").symlink_to("python3.11")
    return folder


def make(place: Path, name: str, interpreter: Path, version: str, library: str = "") -> Path:
    """A venv as the standard library lays it out."""
    venv = place / name
    (venv / "bin").mkdir(parents=True)
    minor = ".".join(version.split(".")[:2])
    (venv / "lib" / f"python{library or minor}" / "site-packages").mkdir(parents=True)
    (venv / "bin" / "python3").symlink_to(interpreter)
    (venv / "bin" / "python").symlink_to("python3")
    (venv / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\nversion = {version}\n")
    return venv


def info(place: Path, interpreters: Interpreters = NOTHING, **limits: int) -> _venvs.Found:
    return _venvs.find([str(place)], interpreters, **limits)


def one(place: Path, interpreters: Interpreters = NOTHING) -> _venvs.Venv:
    (venv,) = info(place, interpreters).venvs
    return venv


def test_a_real_venv_is_alive(tmp_path: Path) -> None:
    for name, options in (("linked", []), ("copied", ["--copies"])):
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", *options, str(tmp_path / name)],
            check=True,
        )
    found = info(tmp_path)
    assert [(Path(venv.path).name, venv.state) for venv in found.venvs] == [
        ("copied", "alive"),
        ("linked", "alive"),
    ]
    assert {venv.made_with.rpartition(".")[0] for venv in found.venvs} == {HERE}
    assert _venvs.summary(found) == "2 virtual environments: 2 alive"


def test_a_point_release_changes_nothing(tmp_path: Path, pythons: Path) -> None:
    """What it notes is 3.11.2, whatever the interpreter's last number is now."""
    make(tmp_path / "home", "v", pythons / "python3.11", "3.11.2")
    assert one(tmp_path / "home").state == "alive"


def test_a_gone_interpreter_is_named_and_back_again_it_lives(tmp_path: Path, pythons: Path) -> None:
    make(tmp_path / "home", "builds/x/0/group/project/.tox/py39", pythons / "python3.9", "3.9.2")
    (pythons / "python3.9").unlink()
    venv = one(tmp_path / "home")
    assert (venv.state, venv.why) == ("dead", f"{pythons}/python3.9 is gone")
    assert venv.interpreter == f"{pythons}/python3.9"
    assert " (made with Python 3.9.2); to remove it: sudo -u " in str(venv)
    (pythons / "python3.9").touch()
    assert one(tmp_path / "home").state == "alive"


def test_the_systems_name_leads_to_another_version(tmp_path: Path, pythons: Path) -> None:
    make(tmp_path / "home", "v", pythons / "python3", "3.9.2")
    venv = one(tmp_path / "home")
    assert (venv.state, venv.why) == ("changed", f"{pythons}/python3.11 is 3.11")


@pytest.mark.parametrize(
    ("library", "extension", "says"),
    [
        ("3.9", "", "it has no lib/python3.11"),
        ("3.11t", "", "it has no lib/python3.11"),
        ("3.11", "here.cpython-39-{machine}-linux-gnu.so", "extensions for another Python"),
        ("3.11", "here.cpython-311t-{machine}-linux-gnu.so", "extensions for another Python"),
        ("3.11", "here.cpython-311-sparc64-linux-gnu.so", "extensions for another Python"),
        ("3.11", "here.cpython-311-{machine}-linux-gnu.so", ""),
        ("3.11", "here.abi3.so", ""),
    ],
)
def test_what_is_for_another_build(
    tmp_path: Path, pythons: Path, library: str, extension: str, says: str
) -> None:
    venv = make(tmp_path / "home", "v", pythons / "python3.11", "3.11.2", library)
    if extension:
        package = venv / "lib" / f"python{library}" / "site-packages" / "package"
        package.mkdir()
        (package / extension.format(machine=os.uname().machine)).touch()
    found = one(tmp_path / "home")
    assert found.state == ("changed" if says else "alive")
    assert says in found.why


def test_a_free_threaded_build(tmp_path: Path, pythons: Path) -> None:
    (pythons / "python3.14-nogil").touch()
    make(tmp_path / "home", "v", pythons / "python3.14-nogil", "3.14.0", "3.14t")
    assert one(tmp_path / "home").state == "alive"


@pytest.mark.parametrize("key", ["version_info = 3.9.2.final.0", "version = 3.9.2"])
def test_virtualenv_and_uv(tmp_path: Path, pythons: Path, key: str) -> None:
    venv = make(tmp_path / "home", "v", pythons / "python3.11", "3.9.2")
    (venv / "pyvenv.cfg").write_text(f"home = {pythons}\nimplementation = CPython\n{key}\n")
    assert one(tmp_path / "home").state == "changed"


def test_a_copied_interpreter_needs_its_base(tmp_path: Path, pythons: Path) -> None:
    venv = make(tmp_path / "home", "v", pythons / "python3.9", "3.9.2")
    for name in ("python", "python3"):
        (venv / "bin" / name).unlink()
        (venv / "bin" / name).touch()
    assert one(tmp_path / "home").state == "alive"
    (pythons / "python3.9").unlink()
    assert one(tmp_path / "home").state == "dead"


def test_what_the_run_brings_and_takes(tmp_path: Path, pythons: Path) -> None:
    make(tmp_path / "home", "old", pythons / "python3.9", "3.9.2")
    make(tmp_path / "home", "new", pythons / "python3.10", "3.10.2")
    run = Interpreters(
        coming=frozenset({f"{pythons}/python3.10"}), going=frozenset({f"{pythons}/python3.9"})
    )
    assert [venv.state for venv in info(tmp_path / "home").venvs] == ["dead", "alive"]
    assert [venv.state for venv in info(tmp_path / "home", run).venvs] == ["alive", "dead"]


def test_a_folder_that_is_reached_by_a_link_is_one(tmp_path: Path, pythons: Path) -> None:
    """As /bin is on Ubuntu; its venvs name it so."""
    (tmp_path / "bin").symlink_to("usr/bin")
    make(tmp_path / "home", "v", tmp_path / "bin" / "python3.9", "3.9.2")
    run = Interpreters(going=frozenset({f"{pythons}/python3.9"}))
    assert one(tmp_path / "home", run).state == "dead"


def test_what_is_no_venv(tmp_path: Path) -> None:
    for name, text in (("data/bin", "home = /usr/bin\n"), ("empty/bin", ""), ("no-home", "a=b")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "pyvenv.cfg").write_text(text)
    (tmp_path / "pipe" / "bin").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe" / "pyvenv.cfg")
    (tmp_path / "secret" / "bin").mkdir(parents=True)
    # What a job's link leads to may be for root alone.
    (tmp_path / "file").write_text("home = /usr/bin\nversion = 3.9.2\n")
    (tmp_path / "secret" / "pyvenv.cfg").symlink_to(tmp_path / "file")
    assert info(tmp_path).venvs == []


def test_a_name_that_a_job_has_chosen_is_fit_for_a_terminal(tmp_path: Path, pythons: Path) -> None:
    make(tmp_path / "home", "a\x1b[31m\nb", pythons / "python3.11", "3.11.2")
    assert one(tmp_path / "home").path == f"{tmp_path}/home/a?[31m?b"


def test_a_dead_one_is_named_with_the_command_that_removes_it(
    tmp_path: Path, pythons: Path
) -> None:
    venv = make(tmp_path / "home", "a $(b)/it's", pythons / "python3.8", "3.8.2")
    found = replace(one(tmp_path / "home"), owner="1234")
    command = str(found).partition("; to remove it: ")[2]
    words = shlex.split(command)
    assert words == ["sudo", "-u", "#1234", "rm", "-r", str(venv)]
    subprocess.run(["sh", "-c", shlex.join(words[3:])], check=True)
    assert info(tmp_path / "home").venvs == []
    assert str(replace(found, owner="ci")).partition("; to remove it: ")[2].startswith("sudo -u ci")
    assert "remove" not in str(replace(found, state="changed"))


def test_no_link_is_followed_and_some_folders_are_left_out(tmp_path: Path, pythons: Path) -> None:
    make(tmp_path / "elsewhere", "v", pythons / "python3.11", "3.11.2")
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(tmp_path / "elsewhere")
    for name in (".git/v", "node_modules/v", ".cache/pip/v", "v/lib/python3.11/site-packages/v"):
        make(home, name, pythons / "python3.11", "3.11.2")
    assert info(home).venvs == []
    # But a project that is a venv itself has its own beside what a venv consists of.
    make(home, "project", pythons / "python3.11", "3.11.2")
    make(home, "project/.tox/py311", pythons / "python3.11", "3.11.2")
    assert [Path(v.path).name for v in info(home).venvs] == ["project", "py311"]


def test_a_place_behind_somebodys_link_is_not_looked_at(tmp_path: Path, pythons: Path) -> None:
    make(tmp_path / "elsewhere", "v", pythons / "python3.11", "3.11.2")
    (tmp_path / "place").symlink_to("elsewhere")
    assert len(info(tmp_path / "place").venvs) == 1
    os.lchown(tmp_path / "place", 65534, 65534)
    found = info(tmp_path / "place")
    assert found.venvs == []
    assert found.left_out == [f"{tmp_path}/place is reached by a link that is not root's: place"]


def test_limits_are_told(tmp_path: Path, pythons: Path) -> None:
    make(tmp_path / "home", "a/b/c/v", pythons / "python3.11", "3.11.2")
    assert info(tmp_path / "home", depth=4).venvs
    assert not info(tmp_path / "home", depth=3).venvs
    found = info(tmp_path / "home", folders=3)
    assert not found.complete
    assert "more than one look takes" in _venvs.summary(found)
    assert info(tmp_path / "home").complete


def test_another_file_system_is_left_alone(
    tmp_path: Path, pythons: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "home", "mounted/v", pythons / "python3.11", "3.11.2")
    real = _venvs._device
    mounted = (tmp_path / "home" / "mounted").stat().st_ino
    monkeypatch.setattr(
        _venvs, "_device", lambda handle: 0 if os.fstat(handle).st_ino == mounted else real(handle)
    )
    assert info(tmp_path / "home").venvs == []


def test_patterns_and_places_within_each_other(tmp_path: Path, pythons: Path) -> None:
    make(tmp_path / "home", "user-a/v", pythons / "python3.11", "3.11.2")
    patterns = [f"{tmp_path}/home/user*", f"{tmp_path}/home", f"{tmp_path}/nowhere"]
    assert len(_venvs.find(patterns, NOTHING).venvs) == 1
