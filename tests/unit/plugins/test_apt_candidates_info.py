# SPDX-License-Identifier: GPL-3.0-or-later
"""The scratch folder that apt is asked in: where it lies, who can enter it, what it leaves."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_scratch,
    _apt_sources,
    _system,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_request import Request
from ansible_collections.runnerhost.toolkit.plugins.modules import apt_candidates_info

AUTH = "machine http://proxy.test:3128 login build password s3cret.1\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where scratch folders are made here."""
    monkeypatch.setattr(_apt_scratch, "PLACE", str(tmp_path))
    return tmp_path


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_programs_run_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hardened host mounts /tmp, /var/tmp and /dev/shm noexec; dpkg's scripts lie in /var/lib."""
    monkeypatch.undo()
    assert _apt_scratch.PLACE == "/var/lib"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_apts_user_gets_in_and_nobody_else_reads_the_password(umask: int) -> None:
    before = os.umask(umask)
    try:
        scratch = _apt_scratch.Scratch({"conf": "x", "direct": "#!/bin/sh\n"}, AUTH)
    finally:
        os.umask(before)
    for folder in ("", "lists", "lists/partial", "parts", "cache/archives/partial"):
        assert mode(f"{scratch.root}/{folder}") == 0o755
    assert mode(f"{scratch.root}/apt-direct") == 0o755
    assert mode(f"{scratch.root}/auth.d") == 0o700
    assert mode(f"{scratch.root}/auth.d/runnerhost.conf") == 0o600
    scratch.close()


def test_a_killed_runs_password_is_swept_and_a_living_ones_scratch_is_not(place: Path) -> None:
    dead = place / "runnerhost-offer-dead" / "auth.d"
    dead.mkdir(parents=True)
    (dead / "runnerhost.conf").write_text(AUTH)
    (place / "other").mkdir()
    living = _apt_scratch.Scratch({}, AUTH)
    another = _apt_scratch.Scratch({}, "")
    assert Path(living.root, "auth.d/runnerhost.conf").read_text() == AUTH
    another.close()
    living.close()
    assert os.listdir(place) == ["other"]


def test_sources_are_read_as_the_mirror_will_leave_them(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of third parties stay; a link that leads nowhere is passed over, as apt does."""
    parts = place / "sources.list.d"
    parts.mkdir()
    listed = place / "sources.list"
    listed.write_text("deb http://d.test/ubuntu jammy main\ndeb https://t.test/x jammy main\n")
    (parts / "gone.list").symlink_to(place / "nowhere")
    monkeypatch.setattr(_apt_sources, "DISTRIBUTION_FILES", (str(listed),))
    own = {
        **dict.fromkeys(_apt_scratch.OWN, ""),
        "sources": str(listed),
        "sources_folder": str(parts),
    }
    monkeypatch.setattr(_apt_scratch, "own_places", lambda: own)
    read = {"asked": f"FILE='{listed}'\nFOLDER='{parts}/'"}
    monkeypatch.setattr(
        _system,
        "run",
        lambda *_, **__: SimpleNamespace(stdout=read["asked"], stderr="", returncode=0),
    )
    theirs = frozenset({("t.test/x", "jammy")})
    monkeypatch.setattr(_apt_sources, "third_parties", lambda: theirs)
    scratch = _apt_scratch.Scratch({}, "")
    monkeypatch.setattr(scratch, "update", lambda _: "")
    asked = Request(
        distribution_packages=["python3.10"],
        distribution_sources="Types: deb\nURIs: http://m.test\nSuites: jammy\n",
        distribution_suites=["jammy"],
        timeout=1,
    )
    apt_candidates_info.from_distribution(asked, scratch)
    texts = {
        name: Path(scratch.root, "parts", name).read_text()
        for name in os.listdir(f"{scratch.root}/parts")
    }
    texts["sources.list"] = Path(scratch.root, "sources.list").read_text()
    scratch.close()
    assert sorted(texts) == ["runnerhost-distribution.sources", "sources.list"]
    lines = [line for line in texts["sources.list"].splitlines() if not line.startswith("#")]
    assert lines == ["deb https://t.test/x jammy main"]
