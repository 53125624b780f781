# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of files in one call, on a scratch folder."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.runnerhost.toolkit.plugins.action import file_set as file_set_action
from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_sources,
    _dpkg,
    _file_items,
    _files,
    _source_duplicates,
    _system,
    _systemd,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._file_items import Item
from ansible_collections.runnerhost.toolkit.plugins.modules import file_set
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import ROOT

ME: dict[str, Any] = {"owner": pwd.getpwuid(os.getuid()).pw_name}


def item(path: Path, **more: Any) -> Item:
    return Item(**{"path": str(path), "content": "a\n", "mode": "0640", **ME, **more})


def run(**args: Any) -> dict[str, Any]:
    """The module's answer."""
    output = io.StringIO()
    with (
        contextlib.redirect_stdout(output),
        patch_module_args(args),
        pytest.raises(SystemExit),
    ):
        file_set.main()
    answer: dict[str, Any] = json.loads(output.getvalue())
    return answer


def test_written_whole_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.conf"
    assert _file_items.apply_item(item(path), check=False)
    assert path.read_text() == "a\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not _file_items.apply_item(item(path), check=False)
    assert os.listdir(path.parent) == ["a.conf"]


def test_check_mode_predicts_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    assert _file_items.apply_item(item(path), check=True)
    assert not path.exists()


def test_wrong_mode_alone_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    _file_items.apply_item(item(path), check=False)
    path.chmod(0o644)
    assert _file_items.apply_item(item(path), check=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_missing_folders_get_the_owner_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "home" / ".cache" / "pip"
    assert _file_items.apply_item(item(path, state="directory", mode="0700"), check=False)
    for folder in (path, path.parent, path.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_absent_takes_a_pattern_and_keeps_some(tmp_path: Path) -> None:
    for name in ("x-1.crt", "x-2.crt", "y.crt"):
        (tmp_path / name).write_text("")
    gone = item(tmp_path / "x-*.crt", state="absent", keep=[str(tmp_path / "x-2.crt")])
    assert _file_items.apply_item(gone, check=False)
    assert sorted(os.listdir(tmp_path)) == ["x-2.crt", "y.crt"]
    assert not _file_items.apply_item(gone, check=False)


def test_unknown_user_in_a_path_is_a_prediction_and_an_error(tmp_path: Path) -> None:
    path = tmp_path / "user@{uid:no-such-user}.d" / "a.conf"
    assert _file_items.apply_item(item(path), check=True)
    with pytest.raises(ValueError, match="no-such-user does not exist"):
        _file_items.apply_item(item(path), check=False)


def test_a_folder_in_the_way_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        _file_items.apply_item(item(tmp_path), check=False)


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("")
    with pytest.raises(ValueError, match="is a file, a folder is wanted"):
        _file_items.apply_item(item(path, state="directory", mode="0700"), check=False)


def test_wrong_mode_of_a_folder_is_mended(tmp_path: Path) -> None:
    folder = item(tmp_path / "a", state="directory", mode="0700")
    assert _file_items.apply_item(folder, check=False)
    assert not _file_items.apply_item(folder, check=False)
    (tmp_path / "a").chmod(0o755)
    assert _file_items.apply_item(folder, check=True)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    assert _file_items.apply_item(folder, check=False)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_a_link_on_the_way_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ValueError, match="leads through a link"):
        _file_items.apply_item(
            item(tmp_path / "link" / "a", state="directory", mode="0700"), check=False
        )
    assert os.listdir(tmp_path / "real") == []


@pytest.mark.skipif(os.getuid() != 0, reason="skipped: only root can act as another user")
def test_what_is_done_as_a_user_cannot_do_what_root_can(tmp_path: Path) -> None:
    nobody = __import__("pwd").getpwnam("nobody")
    tmp_path.chmod(0o700)
    with pytest.raises(ValueError, match="Permission denied"):
        _file_items.as_user(nobody.pw_uid, nobody.pw_gid, lambda: os.mkdir(tmp_path / "a"))
    assert not (tmp_path / "a").exists()
    _file_items.as_user(0, 0, lambda: os.mkdir(tmp_path / "b"))
    assert (tmp_path / "b").exists()


URL = "https://packages.example.invalid/runner"
STANZA = f"Types: deb\nURIs: {URL}/\nSuites: jammy\nComponents: main\n"


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's /etc/apt/sources.list.d, in a folder."""
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    files = (str(tmp_path / "sources.list"), str(parts / "ubuntu.sources"))
    monkeypatch.setattr(_apt_sources, "DISTRIBUTION_FILES", files)
    found = _source_duplicates.source_files
    monkeypatch.setattr(_source_duplicates, "source_files", lambda: found(str(tmp_path)))
    return parts


def duplicates(**more: Any) -> Item:
    return Item("/nowhere", **{"uris": [URL], **more})


def test_duplicates_are_disabled_and_files_of_nothing_else_removed(apt: Path) -> None:
    texts = {
        "alone.list": f"# vendor\ndeb {URL} jammy main\n",
        "mixed.sources": f"{STANZA}\n{STANZA.replace('invalid', 'org')}",
        "runnerhost-ours.sources": STANZA,
        "old.list.save": f"deb {URL} jammy main\n",
        "other.list": "deb https://packages.example.org/x jammy main\n",
    }
    for name, text in texts.items():
        (apt / name).write_text(text)
    (apt / "mixed.sources").chmod(0o640)
    touched = [str(apt / "alone.list"), str(apt / "mixed.sources")]
    assert _source_duplicates.remove_duplicates(duplicates(), check=True) == (touched, touched[:1])
    assert {path.name: path.read_text() for path in apt.iterdir()} == texts
    assert _source_duplicates.remove_duplicates(duplicates(), check=False) == (touched, touched[:1])
    after = {path.name: path.read_text() for path in apt.iterdir()}
    assert "alone.list" not in after
    mixed = after.pop("mixed.sources")
    assert mixed.count("Enabled: no") == 1
    assert stat.S_IMODE((apt / "mixed.sources").stat().st_mode) == 0o640
    assert after == {name: texts[name] for name in after}
    assert _source_duplicates.remove_duplicates(duplicates(), check=False) == ([], [])


@pytest.mark.parametrize(("check", "verb"), [(True, "would be"), (False, "is")])
def test_what_became_of_duplicates_is_told(
    monkeypatch: pytest.MonkeyPatch, check: bool, verb: str
) -> None:
    action = object.__new__(file_set_action.ActionModule)
    action._task = SimpleNamespace(
        async_val=0, check_mode=check, action="file_set", args={"files": []}
    )
    action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/nowhere"))
    answer = {
        "changed": True,
        "changed_paths": [],
        "duplicates": ["/a", "/b"],
        "removed_duplicates": ["/a"],
    }
    monkeypatch.setattr(action, "_execute_module", lambda **_: answer)
    assert action.run(None, {})["warnings"] == [
        f"/a {verb} removed: its only active entries are for the repository",
        f"another entry for the repository {verb} disabled in /b",
    ]


def test_repositories_at_one_address_do_not_take_each_other_away(apt: Path) -> None:
    (apt / "company.list").write_text(f"deb {URL} deadsnakes-jammy main\n")
    asked = duplicates(suites=["gitlab-jammy"])
    assert _source_duplicates.remove_duplicates(asked, check=False) == ([], [])
    assert (apt / "company.list").exists()


def test_a_mirror_of_the_distribution_removes_no_file(apt: Path) -> None:
    texts = {
        "corp.list": f"deb {URL} jammy main\n# caf\xe9\r\n",
        "corp-tools.list": f"deb {URL} tools main\n",
        "company.sources": f"{STANZA}Enabled: yes",
        "docker.list": "deb https://docker.example.com/ubuntu jammy stable\n",
        "ubuntu.sources": f"\n{STANZA.replace('runner', 'ubuntu')}",
        "../sources.list": "deb http://a.example.com/ jammy-security main\n",
    }
    for name, text in texts.items():
        (apt / name).write_bytes(text.encode("latin-1"))
    kept = ("corp-tools.list", "docker.list")
    touched = [str(apt.parent / "sources.list")]
    touched += [str(apt / n) for n in sorted(texts) if n[0] != "." and n not in kept]
    mirror = duplicates(suites=["jammy", "jammy-updates"], releases=["jammy"])
    assert _source_duplicates.remove_duplicates(mirror, check=False) == (touched, [])
    assert _source_duplicates.remove_duplicates(mirror, check=False) == ([], [])
    assert f"# deb {URL}" in (apt / "corp.list").read_text(errors="replace")
    # Nor is a file removed in which only such entries are left.
    assert (
        _source_duplicates.remove_duplicates(duplicates(), check=False)
        == ([str(apt / "corp-tools.list")],) * 2
    )
    (apt / "corp-tools.list").write_text(texts["corp-tools.list"])
    assert _source_duplicates.restore_distribution(check=True) == touched
    assert _source_duplicates.restore_distribution(check=False) == touched
    after = {name: (apt / name).read_bytes().decode("latin-1") for name in texts}
    assert after == texts
    assert _source_duplicates.restore_distribution(check=False) == []


def test_a_mirror_of_the_distribution_leaves_third_parties_alone(
    apt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt is asked once, before the mirror's own file may make it say nothing."""
    listed = apt.parent / "sources.list"
    listed.write_text("deb http://d.test/ubuntu jammy main\ndeb https://t.test/x jammy main\n")
    mirror = apt / "runnerhost-distribution.sources"
    calls = []

    def say(argv: list[str]) -> Any:
        calls.append((argv[1], mirror.exists()))
        rows = [
            f"{listed}:1|http://d.test/ubuntu/|jammy|Mine",
            f"{listed}:2|https://t.test/x/|jammy|T",
        ]
        out = {"indextargets": "\n".join(rows), "policy": "500 http://d.test/ubuntu jammy/main x"}
        return SimpleNamespace(stdout=out[argv[1]], stderr="", returncode=0)

    monkeypatch.setattr(_system, "system_python_problem", lambda: None)
    monkeypatch.setattr(_system, "run", say)
    files = [
        {"path": str(mirror), "content": "x\n", "owner": ME["owner"]},
        {"path": str(mirror), "state": "duplicates_absent", "uris": ["http://m.test"],
         "suites": ["jammy"], "releases": ["jammy"]},
    ]  # fmt: skip
    predicted = run(files=files, _ansible_check_mode=True)
    done = run(files=files)
    assert predicted["changed_paths"] == done["changed_paths"] == [str(mirror), str(listed)]
    assert calls == [("indextargets", False), ("policy", False)] * 2
    enabled = [line for line in listed.read_text().splitlines() if not line.startswith("#")]
    assert enabled == ["deb https://t.test/x jammy main"]
    assert run(files=files)["changed_paths"] == []
    # Without a mirror of the distribution, or an entry that may be its, nothing is asked.
    calls.clear()
    listed.write_text("deb http://d.test/ubuntu noble main\n")
    assert run(files=files)["changed_paths"] == []
    assert calls == []


def test_a_vendors_entry_beside_the_distributions_takes_no_file_along(apt: Path) -> None:
    (apt / "corp.list").write_text(f"deb {URL} jammy main\ndeb {URL}/vendor jammy main\n")
    _source_duplicates.remove_duplicates(
        duplicates(suites=["jammy"], releases=["jammy"]), check=False
    )
    _source_duplicates.remove_duplicates(duplicates(uris=[f"{URL}/vendor"]), check=False)
    _source_duplicates.restore_distribution(check=False)
    assert (apt / "corp.list").read_text().startswith(f"deb {URL} jammy main\n# ")


@pytest.mark.parametrize("umask", [0o027, 0o077])
def test_the_logins_umask_shuts_no_folder(tmp_path: Path, umask: int) -> None:
    """apt runs the program that lies there as the user _apt."""
    path = tmp_path / "lib" / "runnerhost" / "apt-direct"
    before = os.umask(umask)
    try:
        _file_items.apply_item(item(path, mode="0755"), check=False)
    finally:
        os.umask(before)
    for one in (path, path.parent, path.parent.parent):
        assert stat.S_IMODE(one.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("p=http://u:hunter2@x\n", "a\n", ["p=http://u:(hidden)@x\n", "a\n"]),
        ("a\n", "p=http://u:hunter2@x\n", ["a\n", "p=http://u:(hidden)@x\n"]),
        ("http://u:hunter2@x", "http://u:hunter3@x", ["(hidden)\n", "(hidden, changed)\n"]),
    ],
)
def test_a_diff_shows_no_password_of_either_side(
    tmp_path: Path, before: str, after: str, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "env-file"
    path.write_text(before)
    monkeypatch.setattr(_system, "system_python_problem", lambda: None)
    files = [{"path": str(path), "content": after, "owner": ME["owner"]}]
    answer = run(files=files, _ansible_diff=True)
    assert [answer["diff"][0][side] for side in ("before", "after")] == shown
    answer.pop("invocation", None)
    assert "hunter" not in json.dumps(answer)


def test_killed_runs_temporary_file_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".runnerhost-abc").write_text("glrt-secret")
    _file_items.apply_item(item(tmp_path / "a.conf"), check=False)
    assert os.listdir(tmp_path) == ["a.conf"]


def test_failed_write_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="no"):
        _files.write_atomic(str(tmp_path / "a.conf"), "a", 0o600)
    assert os.listdir(tmp_path) == []


def test_dpkg_status_is_read_by_name_and_pattern(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: git\nStatus: install ok installed\nVersion: 1:2.39\n\n"
        "Package: python3.9\nStatus: deinstall ok config-files\nVersion: 3.9.2\n\n"
        "Package: python3.9-venv\nStatus: install ok half-configured\nVersion: 3.9.2\n"
    )
    found = _dpkg.packages(["git", "python3.*"], str(status))
    assert sorted(found) == ["git", "python3.9", "python3.9-venv"]
    assert [name for name in found if _dpkg.is_installed(found[name])] == ["git"]


@pytest.mark.parametrize(
    ("executable", "refused"),
    [("/usr/bin/python3", False), ("/usr/bin/python3.99", True), ("/opt/venv/bin/python", True)],
)
def test_only_the_systems_own_python_is_taken(
    executable: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    problem = _system.system_python_problem()
    assert bool(problem) is refused
    if problem:
        assert problem.startswith("ansible_python_interpreter")
        assert executable in problem


@pytest.mark.parametrize(
    ("said", "own", "refused"),
    [
        ("default-version = python3.11", "3.11", False),
        ("# default-version = python3.9\ndefault-version=python3.10\n", "3.10", True),
        # Without the file, or with another one, only the link is left to ask.
        ("nothing", "3.11", False),
        (None, "3.11", False),
    ],
)
def test_a_system_python_that_was_turned_to_another_is_refused(
    said: str | None, own: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `update-alternatives --install /usr/bin/python3 python3 /usr/bin/python3.11 1`."""
    (tmp_path / "python3.11").touch()
    (tmp_path / "alternative").symlink_to("python3.11")
    link = tmp_path / "python3"
    link.symlink_to("alternative")
    if said is not None:
        (tmp_path / "defaults").write_text(said)
    monkeypatch.setattr(sys, "executable", str(link))
    monkeypatch.setattr(_system, "SYSTEM_PYTHON", str(link))
    monkeypatch.setattr(_system, "_PYTHON_DEFAULTS", str(tmp_path / "defaults"))
    assert _system.system_version() == own
    problem = _system.system_python_problem()
    assert bool(problem) is refused
    if problem:
        assert f"leads to {tmp_path}/python3.11, but the system's own is python3.10" in problem
        assert "update-alternatives --remove-all python3" in problem


@pytest.mark.parametrize(
    ("links", "others", "runs"),
    [
        (["a.pem"], False, False),
        (["a.pem"], True, False),
        (["a.pem", "b.pem"], False, True),
        (["a.pem", "b.pem"], True, False),
        ([], True, True),
    ],
)
def test_what_is_found_decides_on_a_command(
    tmp_path: Path, links: list[str], others: bool, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in links:
        (tmp_path / name).touch()
    expected = {"glob": f"{tmp_path}/*.pem", "names": ["a.pem"], "others": others}
    command = {"argv": ["true"], "if_changed": "/x", "unless_found": expected}
    monkeypatch.setattr(_system, "system_python_problem", lambda: None)
    answer = run(files=[], commands=[command], _ansible_diff=True)
    assert answer["changed_paths"] == (["true"] if runs else [])
    assert answer["diff"] == ([{"prepared": "run: true\n"}] if runs else [])


@pytest.mark.parametrize(("links", "ran"), [([], "true first"), (["b.pem"], "true again")])
def test_a_first_time_may_have_a_command_of_its_own(
    tmp_path: Path, links: list[str], ran: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in links:
        (tmp_path / name).touch()
    expected = {"glob": f"{tmp_path}/*.pem", "names": ["a.pem"]}
    command = {
        "argv": ["true", "again"], "argv_first": ["true", "first"],
        "if_changed": "/x", "unless_found": expected,
    }  # fmt: skip
    monkeypatch.setattr(_system, "system_python_problem", lambda: None)
    assert run(files=[], commands=[command])["changed_paths"] == [ran]


@pytest.mark.parametrize(
    ("command", "done"),
    [
        ("systemctl enable --now x.timer", "systemctl enable x.timer"),
        ("systemctl enable x.service", "systemctl enable x.service"),
        ("systemctl daemon-reload", ""),
        ("systemctl restart x.service", ""),
        ("update-ca-certificates", "update-ca-certificates"),
    ],
)
def test_without_systemd_units_are_enabled_and_nothing_else(
    command: str, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/systemctl")
    monkeypatch.setattr(_systemd, "has_systemd", lambda: False)
    assert file_set.possible(command.split()) == done.split()
    monkeypatch.setattr(_systemd, "has_systemd", lambda: True)
    assert file_set.possible(command.split()) == command.split()


def test_without_systemctl_nothing_is_enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(_systemd, "has_systemd", lambda: False)
    assert file_set.possible(["systemctl", "enable", "x.service"]) == []


@pytest.mark.parametrize(
    ("offline", "booted", "talks"),
    [
        ("", True, True),
        ("0", True, True),
        ("1", True, False),
        ("", False, False),
    ],
)
def test_systemd_is_left_alone_while_an_image_is_baked(
    offline: str, booted: bool, talks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEMD_OFFLINE", offline)
    monkeypatch.setattr(os.path, "isdir", lambda _: booted)
    assert _systemd.has_systemd() is talks


def mappings(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a YAML file."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for entry in node:
            yield from mappings(entry)


@pytest.mark.parametrize("role", ["python_versions", "gitlab_runner"])
def test_roles_tell_their_repository_apart_by_its_suite(role: str) -> None:
    """An address that the inventory gives may hold several; only a vendor's own does not."""
    folder = ROOT / "roles" / role
    paths = [*(folder / "tasks").rglob("*.yml"), *(folder / "vars").glob("*.yml")]
    items = [item for path in paths for item in mappings(yaml.safe_load(path.read_text("utf-8")))]
    given = [one for one in items if "repository_url" in str(one.get("uris", ""))]
    assert len(given) == 1
    assert "repository_suite" in str(given[0]["suites"])


def test_full_disk_names_the_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a.conf").write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.conf'"):
        _files.write_atomic(str(tmp_path / "a.conf"), "after", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["a.conf"]
    assert (tmp_path / "a.conf").read_text() == "before"


needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="skipped: only root can change a file's owner"
)


@needs_root
def test_a_folder_of_another_user_is_refused_with_the_command_that_cures_it(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    (home / "builds").mkdir(parents=True)
    for path in (home, home / "builds"):
        os.chown(path, 4_000_000, 4_000_000)
    wanted = item(home, state="directory", mode="0700", owner="nobody")
    cure = f"belongs to the number 4000000 and .* may have it: chown -R nobody: {home}, otherwise"
    for check in (True, False):
        with pytest.raises(ValueError, match=cure):
            _file_items.apply_item(wanted, check=check)
    assert home.stat().st_uid == 4_000_000
    subprocess.run(["chown", "-R", "nobody:", home], check=True)
    assert _file_items.apply_item(wanted, check=False)
    assert not _file_items.apply_item(wanted, check=False)


ARMOUR = "-----BEGIN {0}-----\n\nAAAA{1}\nBBBB\n-----END {0}-----\n"


@pytest.mark.parametrize("kind", ["PGP PUBLIC KEY BLOCK", "CERTIFICATE"])
def test_a_diff_shows_a_key_as_one_line(kind: str) -> None:
    first, second = (_file_items.shown(Item("/x"), ARMOUR.format(kind, n)) for n in (1, 2))
    assert first.count("\n") == 1
    assert re.fullmatch(rf"\({kind.lower()}: [0-9]+ bytes, sha256 [0-9a-f]{{64}}\)\n", first)
    assert first != second


def test_a_diff_shows_an_apt_source_without_its_key() -> None:
    key = textwrap.indent(ARMOUR.format("PGP PUBLIC KEY BLOCK", ""), " ")
    lines = _file_items.shown(Item("/x.sources"), f"Types: deb\nSigned-By:\n{key}").splitlines()
    assert lines[:2] == ["Types: deb", "Signed-By:"]
    assert len(lines) == 3


def test_a_diff_shows_the_toolkits_code_as_one_line() -> None:
    code = Item("/x.py", code=True)
    one, two = (_file_items.shown(code, text * 300) for text in ("a = 1\n", "a = 2\n"))
    assert re.fullmatch(r"\(code: 1800 bytes, sha256 [0-9a-f]{64}\)\n", one)
    assert one != two
    # A file that is new has nothing before.
    assert _file_items.shown(code, "") == ""
    assert _file_items.shown(Item("/x.conf"), "a = 1\n" * 300) == "a = 1\n" * 300


def test_the_module_shows_new_files_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ca.crt"
    monkeypatch.setattr(_system, "system_python_problem", lambda: None)
    content = ARMOUR.format("CERTIFICATE", "")
    files = [{"path": str(path), "content": content, "owner": ME["owner"]}]
    (diff,) = run(files=files, _ansible_diff=True)["diff"]
    assert (diff["before"], diff["after"].count("\n")) == ("", 1)
    assert path.read_text() == ARMOUR.format("CERTIFICATE", "")
