# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bootstrap that failed has left does not stop the next one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from lab import images
from lab.run import LabError
from lab.run import run as run_for_real

ROW = "36 35 98:0 /mnt1 {} rw,noatime master:1 - proc proc rw\n"


def mount_table(path: Path, *places: Path | str) -> Path:
    """A mountinfo with these mount points."""
    rows = [ROW.format(str(place).replace(" ", r"\040")) for place in places]
    path.write_text("".join(rows))
    return path


def test_mounts_below_are_named_the_innermost_first(tmp_path: Path) -> None:
    top = tmp_path / "with blank"
    table = mount_table(tmp_path / "t", "/", top / "x", top / "x/proc", f"{top}2/proc")
    assert images.mounts_below(top, table) == [f"{top}/x/proc", f"{top}/x"]


def test_busy_mount_of_a_failed_build_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "bootstrap"
    (top / "mmdebstrap.x/proc").mkdir(parents=True)
    table = mount_table(tmp_path / "t", "/", top / "mmdebstrap.x/proc")
    ran: list[Sequence[str]] = []

    def run(command: Sequence[str], **options: Any) -> CompletedProcess[str]:
        ran.append(command)
        if command[0] != "umount":
            return run_for_real(command, **options)
        mount_table(table, "/")
        return CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(images, "run", run)
    monkeypatch.setattr(images.mounts_below, "__defaults__", (table,))
    images.clear(top)
    assert ran[0] == ["umount", "--lazy", f"{top}/mmdebstrap.x/proc"]
    assert not top.exists()
    images.clear(top)


def test_nothing_is_removed_below_a_mount_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "bootstrap"
    (top / "dev").mkdir(parents=True)
    table = mount_table(tmp_path / "t", top / "dev")
    monkeypatch.setattr(images, "run", lambda command, **_: CompletedProcess(command, 0, "", ""))
    monkeypatch.setattr(images.mounts_below, "__defaults__", (table,))
    with pytest.raises(LabError, match="still mounted; unmount it by hand"):
        images.clear(top)
    assert (top / "dev").exists()
