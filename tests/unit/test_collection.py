# SPDX-License-Identifier: GPL-3.0-or-later
"""The built artifact: what a user of the collection needs, and nothing else."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import collection

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]

WHOLE = (
    "components",
    "data",
    "docs",
    "inventories/example",
    "meta",
    "mirror",
    "playbooks",
    "plugins",
    "release",
    "roles",
    "tests/host",
)
"""Folders of which the artifact holds all that git has."""
SINGLE = (
    "CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "README.md",
    "SECURITY.md", "requirements-release.txt",
)  # fmt: skip
MADE = ("FILES.json", "MANIFEST.json")
"""Written by ansible-galaxy."""

PLANTED = (
    ".vault-password", ".lab/demo/secrets.json", "dist/runnerhost-toolkit-0.0.1.tar.gz",
    "inventories/production/hosts.yml", "inventories/production/group_vars/all/vault.yml",
    "inventories/ex-prod/hosts.yml", "inventories/external/group_vars/all.yml", "inventories/e",
    "inventories/exam/hosts.yml", "inventories/exampla.yml", "inventories/examples/hosts.yml",
    "inventories/eu/hosts.yml",
    "adopted/runner1.yml", "inventories/example2/hosts.yml", "inventories/lab/hosts.yml",
    "inventories/example/group_vars/runner_hosts/vault.yml", "tests/__pycache__/x.pyc",
    "tests/host/__pycache__/conftest.cpython-311.pyc", "mirror.yml",
    "runnerhost-toolkit-0.1.0.tar.gz",
)  # fmt: skip
"""What may well lie in the folder that somebody calls `ansible-galaxy collection build` in."""


def names(artifact: Path) -> set[str]:
    """The files in an artifact."""
    with tarfile.open(artifact) as tar:
        return {member.name for member in tar if member.isfile()}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of the checkout as it is now."""
    return collection.build(tmp_path_factory.mktemp("artifact"), committed=False)


@pytest.fixture(scope="module")
def unpacked(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact's content."""
    target = tmp_path_factory.mktemp("unpacked")
    subprocess.run(
        ["tar", "--extract", "--file", str(artifact), "--directory", str(target)], check=True
    )
    return target


def wanted() -> set[str]:
    """What the artifact must hold, of what git has."""
    tracked = {str(path.relative_to(ROOT)) for path in collection.checkout_files()}
    folders = tuple(f"{one}/" for one in WHOLE)
    return {name for name in tracked if name in SINGLE or name.startswith(folders)}


def test_artifact_holds_what_is_needed_and_nothing_else(artifact: Path) -> None:
    assert names(artifact) == wanted() | set(MADE)
    # The list above is no empty one.
    assert {
        "tests/host/conftest.py",
        "playbooks/verify.yml",
        "roles/python_versions/files/deadsnakes.asc",
        "inventories/example/group_vars/runner_hosts/vault.yml.example",
    } <= names(artifact)


def test_artifact_of_the_last_commit_is_built_too(tmp_path: Path) -> None:
    made = collection.build(tmp_path)
    assert "tests/host/conftest.py" in names(made)
    other = ("lab/", "standins/", "tests/unit/", "tools/")
    assert not [name for name in names(made) if name.startswith(other)]


def test_a_working_folder_leaks_nothing(tmp_path: Path) -> None:
    """Built in place, as ansible-galaxy does it with a git address or a folder too."""
    for path in collection.checkout_files():
        copy = tmp_path / "source" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    for name in PLANTED:
        planted = tmp_path / "source" / name
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.write_text("glrt-secret")
    program = Path(sys.executable).with_name("ansible-galaxy")
    out = tmp_path / "out"
    build = [str(program), "collection", "build", str(tmp_path / "source")]
    subprocess.run(
        [*build, "--output-path", str(out)], check=True, capture_output=True, timeout=300
    )
    (made,) = out.iterdir()
    assert names(made) == wanted() | set(MADE)


def test_documents_in_the_artifact_have_no_dead_links(unpacked: Path) -> None:
    dead = []
    for path in sorted(unpacked.rglob("*.md")):
        text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
            name = link.partition("#")[0]
            if name and not re.match(r"[a-z]+:", link) and not (path.parent / name).exists():
                dead.append(f"{path.relative_to(unpacked)}: {link}")
    assert dead == []


def test_ansible_knows_the_collections_needs() -> None:
    """The list for pip names what plugins and tests import, at versions that are tested here."""
    meta = ROOT / "meta"
    environment: dict[str, Any] = yaml.safe_load((meta / "execution-environment.yml").read_text())
    for path in environment["dependencies"].values():
        assert (ROOT / path).is_file()
    lines = (meta / "ee-requirements.txt").read_text().splitlines()
    found = {re.split(r"[<>=]", line)[0] for line in lines if line and line[0] != "#"}
    assert found == {"tomlkit", "python-gitlab", "cryptography", "pytest", "pytest-testinfra"}
    check = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--dry-run"]
    subprocess.run([*check, "-r", str(meta / "ee-requirements.txt")], check=True, timeout=300)


def test_the_lines_for_a_users_ansible_cfg_are_the_projects() -> None:
    text = (ROOT / "docs" / "installed.md").read_text(encoding="utf-8")
    block = re.search(r"^ +```ini\n(.*?)^ +```", text, re.M | re.S)
    assert block
    told, ours = configparser.ConfigParser(), configparser.ConfigParser()
    told.read_string(re.sub(r"(?m)^ +", "", block.group(1)))
    ours.read(ROOT / "ansible.cfg")
    assert told.sections() == ["defaults", "inventory", "ssh_connection"]
    for section in told.sections():
        for name, value in told[section].items():
            assert ours[section][name] == value


def test_changelog_is_what_its_fragments_say(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    made = ["tools/changelog", str(tmp_path / "new.md")]
    subprocess.run(made, cwd=ROOT, env={"PATH": path}, check=True, timeout=300)
    new = (tmp_path / "new.md").read_text(encoding="utf-8")
    assert (ROOT / "CHANGELOG.md").read_text(encoding="utf-8") == new, "run: make changelog"


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.glob("requirements*.in")))
def test_locks_have_hashes_for_every_package_and_no_address(name: str) -> None:
    text = (ROOT / f"{name}.txt").read_text(encoding="utf-8")
    wanted = (ROOT / f"{name}.in").read_text(encoding="utf-8")
    pins = re.findall(r"^(\S+)==\S+.*\n(?:    --hash=sha256:[0-9a-f]{64}.*\n)+", text, re.M)
    assert len(pins) == len(re.findall(r"^\S+==", text, re.M))
    assert "://" not in text
    names = [re.split(r"[<>=\[]", line)[0] for line in wanted.splitlines() if line[0] not in "#-"]
    assert {one.lower() for one in names} <= set(pins)


def test_the_smaller_sets_are_parts_of_the_larger() -> None:
    """So that one can be installed over another: what .venv was made for only grows."""

    def pins(name: str) -> set[str]:
        return set(re.findall(r"^\S+==.*?(?= \\$)", (ROOT / name).read_text(), re.M))

    small, lab, dev = (pins(f"requirements{more}.txt") for more in ("", "-lab", "-dev"))
    versions = [{re.split(" ; ", pin)[0] for pin in one} for one in (small, lab, dev)]
    assert versions[0] < versions[1] < versions[2]
    assert pins("requirements-release.txt") < pins("requirements-release-test.txt")


def test_no_other_collection_is_needed() -> None:
    """Nothing but Ansible's own: a controller without Galaxy in reach needs nothing more."""
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text())["dependencies"] == {}
    assert yaml.safe_load((ROOT / "requirements.yml").read_text()) == {"collections": []}
    foreign = [
        f"{path.relative_to(ROOT)}: {found}"
        for path in collection.checkout_files()
        if path.suffix in {".yml", ".yaml"} and path.parts[len(ROOT.parts)] != "changelogs"
        for found in re.findall(
            r"\b(?:community|ansible|containers)\.(?!builtin\b)\w+\.\w+", path.read_text()
        )
    ]
    assert foreign == []
