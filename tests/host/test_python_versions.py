# SPDX-License-Identifier: GPL-3.0-or-later
"""Each wanted Python works, comes from where it should, and the system's own is untouched."""

from __future__ import annotations

import re
from typing import Any

import pytest

SOURCES = "/etc/apt/sources.list.d/runnerhost-deadsnakes.sources"


UPGRADE = "apt-get --simulate -qq dist-upgrade"
MANUAL = "apt-mark showmanual"
POLICY = "apt-cache policy"


def ahead(wanted: dict[str, Any]) -> list[str]:
    """What takes long."""
    return [POLICY, MANUAL, UPGRADE, *map(make_venv, wanted["python_versions_wanted"])]


def make_venv(python: str) -> str:
    """Makes a venv; pip, which takes four seconds to unpack, was tried once by the role."""
    return (
        "d=$(mktemp -d) && trap 'rm -rf $d' EXIT && "
        f"/usr/bin/python{python} -m venv --without-pip $d/v && $d/v/bin/python -c pass && "
        f"/usr/bin/python{python} -m ensurepip --version"
    )


@pytest.fixture(scope="session")
def system(host: Any) -> str:
    """The system's own version, ``3.10``."""
    return str(
        host.check_output(
            "sed -n 's/^default-version *= *python//p' /usr/share/python3/debian_defaults"
        )
    )


def there(host: Any, python: str) -> str:
    """The interpreter's path; ends the test where there is none."""
    path = f"/usr/bin/python{python}"
    assert host.file(path).exists, f"Python {python}: expected {path}, found nothing"
    return path


@pytest.fixture(scope="session")
def policy(host: Any, wanted: dict[str, Any]) -> dict[str, str]:
    """What apt says of each wanted version's package, and of all repositories."""
    names = [f"python{version}" for version in wanted["python_versions_wanted"]]
    text = host.check_output("apt-cache policy " + " ".join(names))
    blocks = re.split(r"(?m)^(?=\S)", text)
    found = {block.partition(":")[0]: block for block in blocks if block.strip()}
    found["*"] = host.check_output(POLICY)
    return found


def origin_of_installed(block: str, repositories: str) -> set[str]:
    """Origins that offer the installed version of a package."""
    after = block.partition("***")[2].splitlines()[1:]
    origins = set()
    for line in after:
        match = re.match(r"\s+-?\d+ (\S+ \S+) \S+ Packages", line)
        if not match:
            if not re.match(r"\s+-?\d+ /var/lib/dpkg/status", line):
                break
            continue
        where = re.search(
            rf"{re.escape(match.group(1))}.*\n\s+release .*?\bo=([^,\n]*)", repositories
        )
        origins.add(where.group(1) if where else "?")
    return origins


def test_interpreter_answers(host: Any, python: str) -> None:
    there(host, python)
    base = python.partition("-")[0]
    out = host.check_output(
        f"/usr/bin/python{python} -c "
        "'import sys, ssl, sqlite3, lzma, ctypes; print(\"%d.%d\" % sys.version_info[:2])'"
    )
    assert out == base, f"version of /usr/bin/python{python}"


def test_venvs_can_be_made(host: Any, python: str) -> None:
    there(host, python)
    done = host.run(make_venv(python))
    said = (done.stderr.strip().splitlines() or [f"exit code {done.rc}"])[-1]
    assert done.rc == 0, f"a venv of Python {python}: expected to be made, found {said}"
    assert done.stdout.startswith("pip "), f"pip of Python {python}"


def test_headers_are_there(host: Any, python: str) -> None:
    there(host, python)
    done = host.check_output(
        f"/usr/bin/python{python} -c 'import sysconfig; print(sysconfig.get_path(\"include\"))'"
    )
    file = host.file(f"{done}/Python.h")
    assert file.exists, f"{file.path}: expected a file, found nothing"


def test_origin(python: str, system: str, policy: dict[str, str], wanted: dict[str, Any]) -> None:
    origins = origin_of_installed(policy[f"python{python}"], policy["*"])
    ours = wanted["python_versions_repository_origin"]
    if python == system:
        assert ours not in origins, f"origin of Python {python}"
    else:
        assert origins == {ours}, f"origin of Python {python}"


@pytest.fixture(scope="session")
def manual(host: Any) -> set[str]:
    """Packages that apt holds for wanted."""
    return set(host.check_output(MANUAL).split())


def test_no_autoremove_takes_it(python: str, manual: set[str]) -> None:
    names = {f"python{python}", f"python{python.partition('-')[0]}-venv"}
    lacking = ", ".join(sorted(names - manual))
    assert not lacking, f"{lacking}: expected manually installed, found what autoremove takes"


def test_system_python_is_the_distributions(host: Any, system: str, wanted: dict[str, Any]) -> None:
    names = (
        f"python3 python3-minimal python{system} python{system}-minimal libpython{system}-stdlib"
    )
    text = host.check_output(f"apt-cache policy {names}")
    repositories = host.check_output(POLICY)
    for block in re.split(r"(?m)^(?=\S)", text):
        if "***" in block:
            origins = origin_of_installed(block, repositories)
            assert wanted["python_versions_repository_origin"] not in origins, block
    assert host.run(f"dpkg --verify python3-minimal python{system}-minimal").stdout == ""
    # dpkg does not look where a link leads.
    assert host.check_output("readlink -f /usr/bin/python3") == f"/usr/bin/python{system}"


def test_repository_is_written_whole(host: Any, system: str, wanted: dict[str, Any]) -> None:
    file = host.file(SOURCES)
    if set(wanted["python_versions_wanted"]) <= {system}:
        assert not file.exists, f"{SOURCES}: expected no such file, found one"
        return
    assert file.exists, f"{SOURCES}: expected a file, found nothing"
    assert f"{file.mode:04o}" == "0644", f"mode of {SOURCES}"
    assert "Signed-By:" in file.content_string, SOURCES
    assert "Enabled: no" not in file.content_string, SOURCES


def test_pin_prefers_the_repositorys_build(
    python: str, system: str, policy: dict[str, str]
) -> None:
    """Above the 500 of every other source, so that a newer number there does not win."""
    match = re.search(r"(?m)^ \*\*\* \S+ (-?\d+)$", policy[f"python{python}"])
    assert match
    assert int(match.group(1)) > 500 or python == system


def test_pin_keeps_all_else_of_the_repository_back(
    system: str, policy: dict[str, str], wanted: dict[str, Any]
) -> None:
    """Below the 100 of what is installed, so that nothing of it is ever replaced."""
    ours = re.escape(wanted["python_versions_repository_origin"])
    priorities = re.findall(
        rf"(?m)^ *(-?\d+) \S+ \S+ \S+ Packages\n +release (?:.*,)?o={ours}(?:,.*)?$", policy["*"]
    )
    assert [p for p in priorities if int(p) >= 100] == []
    assert priorities or set(wanted["python_versions_wanted"]) <= {system}


def test_nothing_else_would_come_from_the_repository(
    host: Any, system: str, wanted: dict[str, Any]
) -> None:
    """Apt would replace no package by the repository's."""
    done = host.check_output(UPGRADE)
    ours = wanted["python_versions_repository_origin"]
    bases = {v.partition("-")[0] for v in wanted["python_versions_wanted"]} - {system}
    for line in done.splitlines():
        if line.startswith("Inst ") and ours in line:
            assert any(f"python{base}" in line.split()[1] for base in bases), line
