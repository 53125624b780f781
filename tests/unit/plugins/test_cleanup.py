# SPDX-License-Identifier: GPL-3.0-or-later
"""What is old goes, what is used stays; a full disk pauses the runner."""

from __future__ import annotations

import os
import shutil
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _cleanup,
    _disk_space,
    _drain,
    _full_disk,
    _old_files,
    _system,
)

NOW = time.time()
OLD = NOW - 40 * _old_files.DAY


def age(path: Path, when: float = OLD) -> None:
    for found in [*path.rglob("*"), path] if path.is_dir() else [path]:
        os.utime(found, (when, when), follow_symlinks=False)


def checkout(builds: Path, name: str = "group/sub/project", when: float = OLD) -> Path:
    path = builds / "abc123" / "0" / name
    (path / ".git").mkdir(parents=True)
    (path / ".git" / "HEAD").touch()
    (path / "file").write_text("x")
    path.with_name(path.name + ".tmp").mkdir()
    age(builds / "abc123", when)
    return path


def test_old_checkout_goes_with_its_empty_parents(tmp_path: Path) -> None:
    path = checkout(tmp_path)
    assert _old_files.clean_builds(str(tmp_path), 30, NOW, []) == [str(path)]
    assert list(tmp_path.iterdir()) == []


def test_what_a_job_makes_anew_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To delete a large checkout takes minutes."""
    path = checkout(tmp_path)
    beside = path.with_name("project.tmp")
    (beside / "old").touch()
    age(tmp_path / "abc123")
    really = shutil.rmtree

    def slowly(victim: str, onerror: Any) -> None:
        for folder in (path, beside):
            assert not (folder / "old").exists()
            folder.mkdir(exist_ok=True)
            (folder / "new").touch()
        really(victim, onerror=onerror)

    monkeypatch.setattr(shutil, "rmtree", slowly)
    assert _old_files.clean_builds(str(tmp_path), 30, NOW, []) == [str(path)]
    assert {one.name for one in path.parent.rglob("*")} == {"project", "project.tmp", "new"}


def test_one_that_was_used_stays_though_its_files_are_old(tmp_path: Path) -> None:
    path = checkout(tmp_path)
    os.utime(path / ".git" / "HEAD", (NOW, NOW))
    assert _old_files.clean_builds(str(tmp_path), 30, NOW, []) == []
    assert (path / "file").exists()


def test_one_that_a_process_works_in_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkout(tmp_path)
    (path / "deep").mkdir()
    age(path)
    monkeypatch.chdir(path / "deep")
    assert _old_files.clean_builds(str(tmp_path), 30, NOW, []) == []
    assert path.exists()


def test_a_link_out_of_the_builds_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "project" / ".git").mkdir(parents=True)
    builds = tmp_path / "builds"
    builds.mkdir()
    (builds / "link").symlink_to(outside)
    path = checkout(builds)
    (path / "link").symlink_to(outside)
    age(outside)
    age(path)
    _old_files.clean_builds(str(builds), 30, NOW, [])
    assert not path.exists()
    assert (outside / "project" / ".git").exists()


def test_checkout_without_git_is_known_by_its_temporary_folder(tmp_path: Path) -> None:
    path = tmp_path / "abc123" / "0" / "group" / "project"
    path.mkdir(parents=True)
    path.with_name("project.tmp").mkdir()
    age(tmp_path / "abc123")
    assert _old_files.clean_builds(str(tmp_path), 30, NOW, []) == [str(path)]


def says(failures: list[_old_files.Failure]) -> str:
    return "\n".join(map(str, failures))


def protect(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Nothing can be deleted in a folder, as in one of root's; tests may run as root."""
    real = os.unlink

    def unlink(name: Any, *, dir_fd: int | None = None) -> None:
        inside = os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else ""
        if (inside or os.path.dirname(name)).endswith(path.name):
            raise PermissionError(13, "Permission denied", name)
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)


def test_what_cannot_be_removed_is_named_and_tried_again_and_does_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkout(tmp_path)
    (path / "of-root").mkdir()
    (path / "of-root" / "file").touch()
    age(tmp_path / "abc123")
    failures: list[_old_files.Failure] = []
    with monkeypatch.context() as patch:
        protect(patch, path / "of-root")
        assert _old_files.clean_builds(str(tmp_path), 30, NOW, failures) == []
        aside = path.with_name(".runnerhost-old-project")
        assert f"{aside}/of-root/file (owner " in says(failures)
        assert "Permission denied" in says(failures)
        # The rest of it is gone.
        assert not (aside / ".git").exists()
        # The next day: a job has made another one, which has become old as well.
        checkout(tmp_path)
        failures.clear()
        assert _old_files.clean_builds(str(tmp_path), 30, NOW, failures) == []
        assert f"{aside}/of-root/file (owner " in says(failures)
        assert f"{path} (owner " in says(failures)
        assert "is still there from an earlier run" in says(failures)
        assert [one.name for one in path.parent.glob(".runnerhost-old-*")] == [aside.name]
    # An administrator has made it right.
    failures.clear()
    assert _old_files.clean_builds(str(tmp_path), 30, NOW, failures) == [str(path)]
    assert failures == []
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_an_older_release_are_removed(tmp_path: Path) -> None:
    aside = tmp_path / "abc123" / "0" / "group" / ".runnerhost-old-4711-project"
    (aside / "of-root").mkdir(parents=True)
    _old_files.clean_builds(str(tmp_path), 30, NOW, [])
    assert not aside.exists()


def test_what_is_mounted_in_a_checkout_keeps_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkout(tmp_path)
    mount = str(path / "data with blank")
    table = tmp_path / "mountinfo"
    table.write_text("36 35 98:0 / " + mount.replace(" ", "\\040") + " rw - ext4 /dev/x rw\n")
    real = _old_files.mount_points
    monkeypatch.setattr(_old_files, "mount_points", lambda: real(str(table)))
    failures: list[_old_files.Failure] = []
    assert _old_files.clean_builds(str(tmp_path), 30, NOW, failures) == []
    assert [one.path for one in failures] == [mount]
    assert "something is mounted there" in says(failures)
    assert (path / "file").exists()


def test_read_only_folders_of_ones_own_go(tmp_path: Path) -> None:
    """As Go's module cache has them; root needs no such right."""
    path = checkout(tmp_path)
    (path / "mod" / "deep").mkdir(parents=True)
    (path / "mod" / "deep" / "file").touch()
    (path / "mod" / "deep").chmod(0o555)
    (path / "mod").chmod(0o555)
    age(tmp_path / "abc123")
    _old_files.make_writable(str(path))
    assert (path / "mod" / "deep").stat().st_mode & 0o700 == 0o700
    age(tmp_path / "abc123")
    assert _old_files.clean_builds(str(tmp_path), 30, NOW, []) == [str(path)]


def test_cached_and_temporary_files_that_stay_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "of-root"
    folder.mkdir()
    (folder / "file").touch()
    age(tmp_path)
    protect(monkeypatch, folder)
    failures: list[_old_files.Failure] = []
    assert _old_files.clean_files(str(tmp_path), 30, NOW, failures) == []
    assert f"{folder}/file (owner " in says(failures)
    failures.clear()
    later = NOW + 20 * _old_files.DAY
    assert _old_files.clean_temporary(str(tmp_path), 10, later, failures) == []
    assert f"{tmp_path}/.runnerhost-old-of-root/file (owner " in says(failures)


def test_exit_code_and_words_of_a_clean_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkout(tmp_path)
    asked = Namespace(
        builds=[str(tmp_path)], builds_days=30.0, cache=[], cache_days=0.0, temporary=[],
        temporary_days=0.0,
    )  # fmt: skip
    with monkeypatch.context() as patch:
        protect(patch, path.with_name(".runnerhost-old-project"))
        assert _cleanup.clean_all(asked) == 1
    said = capsys.readouterr()
    assert "cannot remove " in said.err
    assert "Permission denied" in said.err
    assert _cleanup.clean_all(asked) == 0


def test_cached_file_goes_if_nobody_reads_or_writes_it(tmp_path: Path) -> None:
    old, read = tmp_path / "a" / "cache.zip", tmp_path / "b" / "cache.zip"
    for path in (old, read):
        path.parent.mkdir()
        path.touch()
    age(old)
    os.utime(read, (NOW, OLD))
    assert _old_files.clean_files(str(tmp_path), 30, NOW, []) == [str(old)]
    assert not old.parent.exists()
    assert read.exists()


def test_only_own_temporary_entries_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    later = NOW + 20 * _old_files.DAY
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert _old_files.clean_temporary(str(tmp_path), 10, later, []) == []
    monkeypatch.undo()
    assert _old_files.clean_temporary(str(tmp_path), 10, NOW, []) == []
    assert _old_files.clean_temporary(str(tmp_path), 10, later, []) == [str(tmp_path / "mine")]


class Disk:
    """A runner's folder, and a disk with so much free."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = (50.0, 50.0)
        self.folder = tmp_path / "etc"
        self.folder.mkdir()
        self.config = self.folder / "config.toml"
        self.config.write_text('concurrent = 2\n\n[[runners]]\n  id = 7\n  name = "build"\n')
        (self.folder / _full_disk.PAUSED_TEXT).write_text("concurrent = 2\n")
        monkeypatch.setattr(_drain, "LEASES", str(tmp_path / "run"))
        monkeypatch.setattr(_full_disk, "FULL_MARK", str(tmp_path / "run" / "disk-full"))
        monkeypatch.setattr(_disk_space, "free_percent", lambda path: self.free)
        monkeypatch.setattr(_drain, "reload", lambda unit: None)
        monkeypatch.setattr(_system, "run", lambda *words, **more: None)

    def info(self) -> str:
        return _full_disk.watch_disk(str(self.folder), "gitlab-runner.service", ["/"], 5, 5)

    @property
    def paused(self) -> bool:
        return "[[runners]]" not in self.config.read_text()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path, monkeypatch)


@pytest.mark.parametrize("free", [(4.0, 50.0), (50.0, 4.0)])
def test_full_disk_pauses_and_room_resumes(disk: Disk, free: tuple[float, float]) -> None:
    before = disk.config.read_text()
    assert disk.info() == ""
    disk.free = free
    assert "takes no new job" in disk.info()
    assert disk.paused
    assert disk.info() == ""
    assert _drain.lease_left(str(disk.folder)) > 100
    disk.free = (6.0, 6.0)
    assert disk.info() == ""
    assert disk.paused, "just above the limit is not enough to resume"
    disk.free = (8.0, 8.0)
    assert "space is free again" in disk.info()
    assert disk.config.read_text() == before
    assert disk.info() == ""


def test_drain_of_somebody_else_is_left_alone(disk: Disk) -> None:
    text = disk.config.read_bytes()
    assert _drain.pause(str(disk.folder), _drain.digest(text), "concurrent = 2\n", 60)
    disk.free = (1.0, 1.0)
    assert disk.info() == ""
    disk.free = (50.0, 50.0)
    assert disk.info() == ""
    assert disk.paused


def test_pause_that_a_run_took_back_comes_again(disk: Disk) -> None:
    disk.free = (1.0, 50.0)
    disk.info()
    _drain.resume(str(disk.folder))
    assert not disk.paused
    assert "takes no new job" in disk.info()
    assert disk.paused


def test_metrics_tell_pauses_and_ends_of_tokens_and_no_secret(disk: Disk, tmp_path: Path) -> None:
    disk.config.write_text(
        "concurrent = 2\n"
        '[[runners]]\n  name = "a \\"quoted\\" one"\n  token = "glrt-secret"\n'
        "  token_expires_at = 2027-01-15T08:00:00.123Z\n"
        '[[runners]]\n  name = "endless"\n  token_expires_at = 0001-01-01T00:00:00Z\n'
    )
    path = tmp_path / "collector" / "runnerhost.prom"
    _full_disk.write_metrics(str(path), {str(disk.folder): "gitlab-runner.service"})
    text = path.read_text()
    assert 'runnerhost_paused{service="gitlab-runner"} 0' in text.splitlines()
    ends = 'runnerhost_token_expires_timestamp_seconds{runner="a \\"quoted\\" one"} 1800000000'
    assert ends in text.splitlines()
    assert "endless" not in text
    assert "glrt" not in text
    disk.free = (1.0, 50.0)
    disk.info()
    _full_disk.write_metrics(str(path), {str(disk.folder): "gitlab-runner.service"})
    text = path.read_text()
    assert 'runnerhost_paused{service="gitlab-runner"} 1' in text.splitlines()
    assert 'runnerhost_disk_full{service="gitlab-runner"} 1' in text.splitlines()
    assert ends in text.splitlines(), "the whole file is read while it is paused"
