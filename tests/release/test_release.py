# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases from end to end: real builds, real tools, and pypiserver as the index."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from release import release
from tests.release.conftest import ROOT, TOKEN, Desk
from tests.release.door import Door
from tests.release.projects import Project


def settings(index: Door, more: str = "") -> str:
    """A release.ini that names the index."""
    return f"""
        [release]
        test-command = python -m unittest discover -s tests
        {more}

        [index company]
        upload-url = {index.url}/
        simple-url = {index.url}/simple/
        """


@pytest.fixture
def built(pure: Project, tmp_path: Path, index: Door) -> Project:
    """The pure project, built and checked, with the index in its settings."""
    project = Project(tmp_path / "built")
    shutil.copytree(pure.folder, project.folder)
    project.write("release.ini", settings(index))
    return project


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """The command lines of all processes meanwhile."""
    seen: set[str] = set()
    done = threading.Event()

    def info() -> None:
        while not done.wait(0.02):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue

    thread = threading.Thread(target=info)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def files_with(folder: Path, secret: str) -> list[str]:
    """The files below a folder that hold a secret."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes()
    ]


def report(folder: Path) -> dict[str, Any]:
    """What --json has written."""
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_a_c_extension_from_sources_to_the_index_and_back(
    desk: Desk, index: Door, two: tuple[str, str], tmp_path: Path
) -> None:
    """One command; the secret that it has is found nowhere afterwards."""
    old, new = two
    project = Project(tmp_path / "project").compiled("c_demo", "2.0.0")
    project.write("release.ini", settings(index, f"python = {old} {new}"))
    words = ("all", "--index", "company", "--tag", "v2.0.0", "--json", "report.json", "--verbose")
    with command_lines() as seen:
        done = desk.run(project.folder, *words, TWINE_PASSWORD=TOKEN)
    assert done.returncode == 0, done.stdout
    said = report(project.folder)
    names = [file["name"] for file in said["files"]]
    tag = "manylinux_2_5_x86_64|manylinux_2_17_x86_64"
    assert len(names) == 3
    for version in two:
        cp = f"cp{version.replace('.', '')}"
        (wheel,) = (name for name in names if f"-{cp}-{cp}-" in name)
        # One tag, not the old alias beside it.
        assert wheel.removesuffix(".whl").rpartition("-")[2] in tag.split("|"), wheel
        assert said["tested"][version] == wheel
        assert said["installed"][version] == wheel
    assert sorted(said["uploaded"]) == sorted(names) == sorted(index.uploads)
    # The sdist last: who sees it finds the wheels too.
    assert index.uploads[-1] == "c_demo-2.0.0.tar.gz"
    assert any("twine upload" in line for line in seen)
    assert [line for line in seen if TOKEN in line] == []
    assert TOKEN not in done.stdout
    assert files_with(project.folder, TOKEN) == []
    assert list((tmp_path / "temporary").iterdir()) == []
    assert files_with(tmp_path / "home", TOKEN) == []

    again = desk.run(project.folder, "publish", "--index", "company", TWINE_PASSWORD=TOKEN)
    assert again.returncode == 0, again.stdout
    assert "company: 3 of 3 files are there" in again.stdout
    assert len(index.uploads) == 3

    # The same commit gives the same contents, but for where the compiler ran.
    contents = wheel_contents(project.folder / "dist")
    done = desk.run(project.folder, "build", "repair", "check", "--tag", "v2.0.0")
    assert done.returncode == 0, done.stdout
    assert wheel_contents(project.folder / "dist") == contents


def wheel_contents(dist: Path) -> dict[str, list[tuple[str, int]]]:
    """The files of each wheel, with their checksums."""
    found = {}
    for path in dist.glob("*.whl"):
        with zipfile.ZipFile(path) as archive:
            found[path.name] = [
                (one.filename, 0 if one.filename.endswith((".so", "/RECORD")) else one.CRC)
                for one in archive.infolist()
            ]
    return found


def test_times_and_modes_in_a_wheel_are_the_commits(
    desk: Desk, pythons: dict[str, Path], tmp_path: Path
) -> None:
    """After its repair too, and whoever builds."""
    project = Project(tmp_path / "project").compiled("c_demo", "2.0.0")
    words = f"{ROOT}/release/release.py build repair check --python {next(iter(pythons))}"
    seen = []
    for umask in ("0002", "0077"):
        command = f"umask {umask}; {sys.executable} {words}"
        child = desk.start(project.folder, "sh", "-c", command)
        output, _ = child.communicate(timeout=300)
        assert child.returncode == 0, output
        (wheel,) = (project.folder / "dist").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            seen.append([(one.filename, one.date_time, one.external_attr)
                         for one in archive.infolist()])  # fmt: skip
    assert seen[0] == seen[1]
    made = time.gmtime(int(project.git("log", "-1", "--format=%ct")))
    times = {date_time[:5] for _, date_time, _ in seen[0]}
    assert times == {made[:5]}


def test_an_abi3_wheel_is_built_once_and_tested_on_every_python(
    desk: Desk, two: tuple[str, str], tmp_path: Path
) -> None:
    project = Project(tmp_path / "project").compiled("abi_demo", "1.0.0", abi3=True)
    shutil.copy(ROOT / "release/release.py", project.folder)
    shutil.copy(ROOT / "release/local-ci.sh", project.folder)
    words = ("all", "--python", " ".join(two), "--json", "report.json")
    command = "python -m unittest discover -s tests"
    more = ("--test-command", command)
    # The program itself runs on the oldest Python too.
    child = desk.start(project.folder, "./local-ci.sh", *words, *more, PYTHON=f"python{two[0]}")
    output, _ = child.communicate(timeout=300)
    assert child.returncode == 0, output
    said = report(project.folder)
    (wheel,) = {*said["tested"].values()}
    assert wheel.startswith("abi_demo-1.0.0-cp39-abi3-manylinux_2_")
    assert set(said["tested"]) == set(two)
    assert [one["step"] for one in said["steps"] if one["step"].startswith("check the ABI")]


def test_two_pure_packages_of_one_repository(
    desk: Desk, index: Door, two: tuple[str, str], tmp_path: Path
) -> None:
    """Each with its own folder, tag and files; one needs something from the main index."""
    both = [
        Project(tmp_path / "repository" / name).pure(name, "1.0.0", dependency)
        for name, dependency in (("one_demo", "idna"), ("two_demo", ""))
    ]
    words = ["all", "--python", " ".join(two), "--index", "company"]
    for project in both:
        shutil.rmtree(project.folder / ".git")
    repository = Project(tmp_path / "repository").commit()
    for project in both:
        project.write("release.ini", settings(index, f"tag-prefix = {project.folder.name}-v"))
        name = project.folder.name
        more = ["--package", name, "--tag", f"{name}-v1.0.0", "--json", f"{name}/report.json"]
        done = desk.run(repository.folder, *words, *more, TWINE_PASSWORD=TOKEN)
        assert done.returncode == 0, done.stdout
        said = report(project.folder)
        assert said["installed"] == dict.fromkeys(two, f"{name}-1.0.0-py3-none-any.whl")
        assert len([one for one in said["steps"] if "build the wheel" in one["step"]]) == 1
    assert len(index.uploads) == 4


def refusals() -> dict[str, tuple[Callable[[Project], object], list[str], int, str]]:
    """What is done to a C extension, the command, its exit code and its words."""
    return {
        "missing-python": (
            lambda project: None,
            ["build", "--python", "3.99"],
            2,
            "--python 3.99: no python3.99 on this machine; on a runner host, add",
        ),
        "version-is-not-the-tag": (
            lambda project: None,
            ["build", "--tag", "v9.9.9"],
            1,
            "tag v9.9.9: the project's version is 1.0.0; set the version to 9.9.9",
        ),
        "not-repaired": (
            lambda project: None,
            ["build", "check"],
            1,
            "a plain linux tag, which indexes refuse; run repair",
        ),
        "above-the-ceiling": (
            lambda project: None,
            ["build", "repair", "--ceiling", "2_4"],
            1,
            "newer than the ceiling 2.4; build on a system with an older glibc, or allow",
        ),
        "readme-does-not-render": (
            lambda project: project.write("README.rst", ".. nothing::\n\n   `unclosed\n"),
            ["build", "repair", "check"],
            1,
            "check the metadata: exit code 1; give the project a README that renders",
        ),
        "sdist-lacks-a-header": (
            lambda project: (
                (project.folder / "MANIFEST.in").unlink(),
                project.write("setup.py", SETUP_WITHOUT_DEPENDS),
            ),
            ["build"],
            1,
            "lacks these files of the repository: src/bad_demo/answer.h: if the build needs one",
        ),
    }


SETUP_WITHOUT_DEPENDS = """
from setuptools import Extension, setup

setup(ext_modules=[Extension("bad_demo._native", ["src/bad_demo/native.c"])],
      exclude_package_data={"": ["*.h"]})
"""


@pytest.mark.parametrize("case", refusals())
def test_a_project_that_cannot_be_released_is_refused_with_its_cure(
    desk: Desk, pythons: dict[str, Path], tmp_path: Path, case: str
) -> None:
    change, words, code, message = refusals()[case]
    project = Project(tmp_path / "project").compiled("bad_demo", "1.0.0")
    change(project)
    project.commit()
    version = [] if "--python" in words else ["--python", next(iter(pythons))]
    done = desk.run(project.folder, *words, *version, "--json", "report.json")
    assert done.returncode == code, done.stdout
    assert message in done.stdout
    assert report(project.folder)["ok"] is False
    assert not (project.folder / "dist" / "SHA256SUMS").exists()


@pytest.mark.parametrize("fault", ["500", "read-only", "lost", "lost-answer"])
def test_a_half_done_upload_goes_on_when_it_is_run_again(
    desk: Desk, index: Door, built: Project, fault: str
) -> None:
    index.fault = fault
    words = ("publish", "--index", "company")
    done = desk.run(built.folder, *words, TWINE_PASSWORD=TOKEN)
    assert done.returncode == 1, done.stdout
    arrived = 2 if fault == "lost-answer" else 1
    assert f"company has {arrived} of these 2 files now" in done.stdout
    if fault == "read-only":
        assert "the index does not accept this token" in done.stdout
    index.fault = ""
    done = desk.run(built.folder, *words, TWINE_PASSWORD=TOKEN)
    assert done.returncode == 0, done.stdout
    assert f"company: {arrived} of 2 files are there" in done.stdout
    assert sorted(index.uploads) == sorted(set(index.uploads))
    assert len(index.uploads) == 2
    assert TOKEN not in done.stdout


def test_an_upload_that_hangs_can_be_ended_and_resumed(
    desk: Desk, index: Door, built: Project, tmp_path: Path
) -> None:
    index.fault = "hangs"
    program = (sys.executable, str(ROOT / "release/release.py"), "publish", "--index", "company")
    words = ("--json", "report.json")
    child = desk.start(built.folder, *program, *words, TWINE_PASSWORD=TOKEN)
    assert index.reached.wait(60)
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=30)
    assert child.returncode == 143, output
    assert report(built.folder)["problem"]["what"] == "interrupted"
    assert subprocess.run(["pgrep", "-f", str(built.folder)], check=False).returncode == 1
    assert list((tmp_path / "temporary").iterdir()) == []
    index.fault = ""
    done = desk.run(built.folder, *program[2:], TWINE_PASSWORD=TOKEN)
    assert done.returncode == 0, done.stdout
    assert len(index.uploads) == 2


def test_a_wrong_token_is_told_and_not_shown(desk: Desk, index: Door, built: Project) -> None:
    wrong = "another-Zq7-f4kT9-token"
    done = desk.run(built.folder, "publish", "--index", "company", TWINE_PASSWORD=wrong)
    assert done.returncode == 1
    assert "HTTP 403; check the address, and that this token may read there" in done.stdout
    assert wrong not in done.stdout
    assert index.uploads == []


def test_the_public_indexes_are_those_of_twine(
    tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    run = release.parse(["publish", "--package", str(tmp_path)])
    run.temporary = tmp_path
    found = {name: run.public_simple(name) for name in ("pypi", "testpypi")}
    assert all(re.fullmatch(r"https://[a-z.]+/simple", url) for url in found.values()), found
    assert found["testpypi"] == found["pypi"].replace("//", "//test.")


def test_without_a_token_nothing_is_asked(desk: Desk, index: Door, built: Project) -> None:
    done = desk.run(built.folder, "publish", "--index", "company")
    assert done.returncode == 1
    assert "variable TWINE_PASSWORD: empty; set it in GitLab" in done.stdout


def test_a_dry_run_does_all_but_the_upload(desk: Desk, index: Door, built: Project) -> None:
    for name in ("release.py", "local-ci.sh"):
        shutil.copy(ROOT / "release" / name, built.folder)
    child = desk.start(built.folder, "./local-ci.sh", "deploy", "--index", "company", "--dry-run")
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0, output
    assert "would upload pure_demo-1.2.3-py3-none-any.whl" in output
    assert "variable TWINE_PASSWORD is empty: the upload would fail" in output
    assert index.uploads == []


def spoil_wheel(dist: Path) -> None:
    with next(dist.glob("*.whl")).open("ab") as file:
        file.write(b"more")


def add_wheel(dist: Path) -> None:
    shutil.copy(next(dist.glob("*.whl")), dist / "pure_demo-1.2.4-py3-none-any.whl")


def remove_sdist(dist: Path) -> None:
    next(dist.glob("*.tar.gz")).unlink()


def remove_sums(dist: Path) -> None:
    (dist / "SHA256SUMS").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil_wheel, "not the file that was checked: its SHA-256 differs"),
        (add_wheel, "pure_demo-1.2.4-py3-none-any.whl: not in SHA256SUMS"),
        (remove_sdist, "pure_demo-1.2.3.tar.gz: missing, but in SHA256SUMS"),
        (remove_sums, "SHA256SUMS: missing; run check first"),
    ],
)
def test_altered_files_are_not_published(
    desk: Desk, index: Door, built: Project, change: Callable[[Path], None], message: str
) -> None:
    change(built.folder / "dist")
    done = desk.run(built.folder, "publish", "--index", "company", TWINE_PASSWORD=TOKEN)
    assert done.returncode == 1
    assert message in done.stdout
    assert index.uploads == []


def test_other_contents_under_a_published_name_are_refused(
    desk: Desk, index: Door, built: Project, pythons: dict[str, Path]
) -> None:
    words = ("publish", "--index", "company")
    done = desk.run(built.folder, *words, TWINE_PASSWORD=TOKEN)
    assert done.returncode == 0, done.stdout
    built.write("src/pure_demo/__init__.py", "ANSWER = 43\n")
    version = next(iter(pythons))
    done = desk.run(built.folder, "build", "check", "--python", version)
    assert done.returncode == 0, done.stdout
    done = desk.run(built.folder, *words, TWINE_PASSWORD=TOKEN)
    assert done.returncode == 1
    assert "company has it with other contents" in done.stdout
    assert "release a new version" in done.stdout
    assert len(index.uploads) == 2


def test_files_that_the_index_does_not_list_are_waited_for(
    desk: Desk, index: Door, built: Project
) -> None:
    words = ("wait", "--index", "company", "--timeout")
    done = desk.run(built.folder, *words, "1", TWINE_PASSWORD=TOKEN)
    assert done.returncode == 1
    assert "company: does not list pure_demo-1.2.3" in done.stdout
    program = (sys.executable, str(ROOT / "release/release.py"))
    child = desk.start(built.folder, *program, *words, "60", TWINE_PASSWORD=TOKEN)
    done = desk.run(built.folder, "publish", "--index", "company", TWINE_PASSWORD=TOKEN)
    assert done.returncode == 0, done.stdout
    output, _ = child.communicate(timeout=90)
    assert child.returncode == 0, output
    assert "company lists 2 of 2 files, after" in output


def test_the_projects_code_sees_no_credentials_and_no_sources(
    desk: Desk, built: Project, pythons: dict[str, Path]
) -> None:
    code = "import os; print('seen:', sorted(k for k, v in os.environ.items() if 'Zq7' in v), "
    code += "os.listdir('.'))"
    version = next(iter(pythons))
    names = ("TWINE_PASSWORD", "UV_PUBLISH_TOKEN", "PYPI_ID_TOKEN", "PYPI_TOKEN", "COMPANY_TOKEN")
    done = desk.run(
        built.folder, "test", "--python", version, "--test-command", f'python -c "{code}"',
        "--token-variable", "COMPANY_TOKEN", **dict.fromkeys(names, TOKEN),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (line,) = (line for line in done.stdout.splitlines() if "seen:" in line)
    assert line.strip().startswith("seen: []")
    assert "tests" in line
    assert "src" not in line


def test_pytest_is_the_default_and_a_failing_test_is_shown(
    desk: Desk, built: Project, pythons: dict[str, Path]
) -> None:
    built.write("tests/test_it.py", "def test_it():\n    assert 'found' == 'wanted'\n")
    words = ("test", "--settings", "-", "--python", next(iter(pythons)))
    done = desk.run(built.folder, *words)
    assert done.returncode == 1
    assert "assert 'found' == 'wanted'" in done.stdout
    assert "exit code 1; see the output above" in done.stdout


def test_further_repositories_are_cloned_at_a_pin(desk: Desk, tmp_path: Path) -> None:
    other = Project(tmp_path / "other").pure("other_demo", "1.0.0").commit("v1")
    commit = other.git("rev-parse", "HEAD")
    here = tmp_path / "here"
    here.mkdir()
    for pin in ("v1", commit):
        for _ in range(2):
            done = desk.run(here, "prepare", "--clone", f"{other.folder}@{pin}=vendor/other")
            assert done.returncode == 0, done.stdout
            assert f"other is at {pin} ({commit[:12]})" in done.stdout
    other.write("more", "more")
    other.commit("v2")
    done = desk.run(here, "prepare", "--clone", f"{other.folder}@v2=vendor/other")
    assert done.returncode == 1
    assert "not at v2; remove it and run prepare again" in done.stdout
    done = desk.run(here, "prepare", "--clone", f"{other.folder}@main=vendor/more")
    assert done.returncode == 1
    assert "a branch moves" in done.stdout
    assert not (here / "vendor" / "more").exists()


def test_what_lasts_tells_that_it_does(
    desk: Desk, built: Project, pythons: dict[str, Path]
) -> None:
    version = next(iter(pythons))
    words = ("test", "--python", version, "--test-command", "sleep 11")
    done = desk.run(built.folder, *words)
    assert done.returncode == 0, done.stdout
    assert f"test on {version} … 10 s" in done.stdout
