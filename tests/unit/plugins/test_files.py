# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary files and folders: those of killed runs go, those of living ones stay."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files, _system
from ansible_collections.runnerhost.toolkit.plugins.modules import runner_config_io


def test_a_file_that_another_run_is_writing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second controller tidies the folder between this one's writing and its rename."""
    real = os.rename

    def rename(source: str, target: str) -> None:
        assert _files.remove_stale_temporaries(str(tmp_path)) == []
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    _files.write_atomic(str(tmp_path / "a"), "text", 0o600, os.getuid(), os.getgid())
    assert (tmp_path / "a").read_text() == "text"


def test_folders_of_killed_runs_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "x-dead").mkdir()
    (tmp_path / "x-dead" / "token").write_text("secret")
    (tmp_path / "x-file").write_text("")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "x-link").symlink_to(tmp_path / "elsewhere")
    handle, living = _files.scratch_folder("x-", str(tmp_path))
    _files.sweep_folders("x-", str(tmp_path))
    left = {"x-file", "x-link", "elsewhere", os.path.basename(living)}
    assert set(os.listdir(tmp_path)) == left
    os.close(handle)
    _files.sweep_folders("x-", str(tmp_path))
    assert os.path.basename(living) not in os.listdir(tmp_path)


@pytest.mark.parametrize("kind", ["mkdtemp", "mkstemp"])
def test_what_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    real = getattr(tempfile, kind)
    swept: list[Any] = []

    def make(**given: Any) -> Any:
        made = real(**given)
        if not swept:
            swept.append(made)
            _files.remove_stale_temporaries(str(tmp_path))
            _files.sweep_folders("x-", str(tmp_path))
        return made

    monkeypatch.setattr(tempfile, kind, make)
    if kind == "mkstemp":
        _files.write_atomic(str(tmp_path / "a"), "text", 0o600, os.getuid(), os.getgid())
        assert os.listdir(tmp_path) == ["a"]
    else:
        handle, path = _files.scratch_folder("x-", str(tmp_path))
        assert os.listdir(tmp_path) == [os.path.basename(path)]
        os.close(handle)


def test_two_controllers_ask_gitlab_about_tokens_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one's tidying takes nothing away under the first one's `register`."""
    monkeypatch.setattr(_system, "run", lambda argv, **_: registered(tmp_path, argv))
    request = {"index": 0, "url": "https://gitlab.test", "name": "build", "tls": {}}
    answer = runner_config_io.register(str(tmp_path), request, "glrt-x", {})
    assert answer["ok"], answer
    assert os.listdir(tmp_path) == []


def registered(folder: Path, argv: list[str]) -> Any:
    """What gitlab-runner does, and another controller while it does it."""
    path = Path(argv[argv.index("--config") + 1])
    path.write_text("[[runners]]\n")
    runner_config_io.sweep(str(folder))
    return subprocess.CompletedProcess(argv, 0, "", "")
