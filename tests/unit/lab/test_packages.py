# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner's packages: versions, scripts, lock-step."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.packages import (
    build_runner_packages,
    find_runner,
    helper_control,
    next_patch,
    parse_version,
    runner_control,
    runner_files,
)
from lab.run import LabError

REAL_SAYS = """\
Version:      {version}
Git revision: d79f3e7b
Git branch:   19-3-stable
GO version:   go1.25.1
Built:        2026-08-20T10:00:00Z
OS/Arch:      linux/amd64
"""


@pytest.mark.parametrize(
    ("said", "version"),
    [("19.3.0", "19.3.0"), ("18.5.0~pre.10.gabc", "18.5.0"), ("v17.5.5", "17.5.5")],
)
def test_version_of_a_real_binary(said: str, version: str) -> None:
    assert parse_version(REAL_SAYS.format(version=said)) == version


@pytest.mark.parametrize("said", ["", "Version:      development version", "usage: …"])
def test_no_version_is_refused(said: str) -> None:
    with pytest.raises(LabError, match="not a version"):
        parse_version(said)


def test_next_patch() -> None:
    assert next_patch("19.3.9") == "19.3.10"


def test_stand_in_tells_the_version_that_it_is_packed_as(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAB_GITLAB_RUNNER", raising=False)
    program = tmp_path / "gitlab-runner"
    program.write_bytes(find_runner().content("17.6.0"))
    done = subprocess.run(
        [sys.executable, "-I", str(program), "--version"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert parse_version(done.stdout) == "17.6.0"


def test_packages_are_in_lock_step() -> None:
    control = runner_control("17.5.5-1", "amd64")
    depends = re.search(r"^Depends: (.*)$", control, re.MULTILINE)
    assert depends is not None
    assert depends.group(1).split(", ") == [
        "gitlab-runner-helper-images (= 17.5.5-1)", "git", "curl", "tar", "ca-certificates",
    ]  # fmt: skip
    assert "Architecture: all\n" in helper_control("17.5.5-1")


def test_there_are_postinst_and_prerm_and_no_other_scripts() -> None:
    scripts = {path for path in runner_files(b"") if path.startswith("DEBIAN/")}
    assert scripts == {"DEBIAN/postinst", "DEBIAN/prerm"}


@pytest.mark.parametrize(
    "path", [path for path in runner_files(b"#!/bin/sh\n") if "bin" not in path]
)
def test_scripts_are_valid_shell(path: str) -> None:
    subprocess.run(["sh", "-n"], input=runner_files(b"")[path][0], check=True, timeout=10)


def test_real_binary_is_packed_under_two_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "gitlab-runner"
    binary.write_text("#!/bin/sh\necho 'Version:      19.3.0'\n")
    binary.chmod(0o755)
    monkeypatch.setenv("LAB_GITLAB_RUNNER", str(binary))
    runner = find_runner()
    assert (str(runner), runner.package_versions) == ("real 19.3.0", ("19.3.0-1", "19.3.1-1"))
    made = build_runner_packages(runner, tmp_path)
    fields = [
        subprocess.run(
            ["dpkg-deb", "-f", str(deb), "Package", "Version"],
            capture_output=True, text=True, check=True, timeout=30,
        ).stdout.split()[1::2]
        for deb in made
    ]  # fmt: skip
    names = ("gitlab-runner", "gitlab-runner-helper-images")
    assert fields == [[name, v] for v in ("19.3.0-1", "19.3.1-1") for name in names]
    assert not list(tmp_path.glob("*.tree"))


def binary(folder: Path, version: str) -> str:
    """A program that calls itself so."""
    path = folder / f"gitlab-runner-{version}"
    path.write_text(f"#!/bin/sh\necho 'Version:      {version}'\n")
    path.chmod(0o755)
    return str(path)


def test_several_real_binaries_are_packed_each_under_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = ("17.4.0", "17.5.0", "18.5.0", "19.3.0")
    paths = [binary(tmp_path, version) for version in versions]
    monkeypatch.setenv("LAB_GITLAB_RUNNER", ":".join(paths))
    runner = find_runner()
    assert str(runner) == "real 19.3.0 (older: 17.4.0, 17.5.0, 18.5.0)"
    assert (runner.old, runner.broken) == ("17.4.0", "17.5.0")
    assert runner.package_versions == ("19.3.0-1", "19.3.1-1")
    for version in versions:
        assert f"      {version}'" in runner.content(version).decode()
    assert runner.content("19.3.1") == runner.content("19.3.0")


@pytest.mark.parametrize(
    ("versions", "roles"),
    [
        (("18.5.0", "19.3.0"), ("18.5.0", "")),
        (("17.4.0", "17.5.0", "19.3.0"), ("17.4.0", "17.5.0")),
        (("17.5.0", "19.3.0"), ("19.3.0", "")),
        (("17.5.0", "18.5.0", "19.3.0"), ("18.5.0", "")),
        (("19.3.0",), ("19.3.0", "")),
    ],
)
def test_roles_that_the_list_has(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    versions: tuple[str, ...],
    roles: tuple[str, str],
) -> None:
    monkeypatch.setenv("LAB_GITLAB_RUNNER", ":".join(binary(tmp_path, v) for v in versions))
    runner = find_runner()
    assert (runner.old, runner.broken) == roles


@pytest.mark.parametrize("versions", [("19.3.0", "18.5.0"), ("9.5.0", "10.1.0", "9.6.0")])
def test_binaries_in_the_wrong_order_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LAB_GITLAB_RUNNER", ":".join(binary(tmp_path, v) for v in versions))
    with pytest.raises(LabError, match="the oldest first"):
        find_runner()


def test_same_version_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = binary(tmp_path, "19.3.0")
    monkeypatch.setenv("LAB_GITLAB_RUNNER", f"{path}:{path}")
    with pytest.raises(LabError, match="expected different versions"):
        find_runner()


def test_a_missing_binary_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_GITLAB_RUNNER", "/nowhere/gitlab-runner")
    with pytest.raises(LabError, match="no such file: /nowhere/gitlab-runner"):
        find_runner()
