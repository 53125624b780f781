# SPDX-License-Identifier: GPL-3.0-or-later
"""Each wanted Python works, comes from where it should, and the system's own is untouched."""

from __future__ import annotations

import re
from typing import Any

import pytest

SOURCES = "/etc/apt/sources.list.d/runnerhost-deadsnakes.sources"


UPGRADE = "apt-get --simulate -qq dist-upgrade"
POLICY = "apt-cache policy"


def policies(wanted: dict[str, Any]) -> str:
    """Asks apt about the wanted versions and all that is installed."""
    names = " ".join(f"python{version}" for version in wanted["python_versions_wanted"])
    return f"{POLICY} {names} $(dpkg-query -W -f '${{Package}} ')"


def ahead(wanted: dict[str, Any]) -> list[str]:
    """What takes long."""
    return [POLICY, policies(wanted), *map(make_venv, wanted["python_versions_wanted"])]


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


def of_system(version: str) -> list[str]:
    """The packages of the system's own Python."""
    python = f"python{version}"
    return ["python3", "python3-minimal", python, f"{python}-minimal", f"lib{python}-stdlib"]


@pytest.fixture(scope="session")
def policy(host: Any, wanted: dict[str, Any]) -> dict[str, str]:
    """What apt says of each package, and of all repositories."""
    return {**blocks(host.check_output(policies(wanted))), "*": host.check_output(POLICY)}


def blocks(text: str) -> dict[str, str]:
    """What `apt-cache policy` says, by package."""
    found = re.split(r"(?m)^(?=\S)", text)
    return {block.splitlines()[0].rstrip(":"): block for block in found if block.strip()}


def coming(simulated: str) -> dict[str, str]:
    """The packages that a simulated transaction installs or replaces, with their new versions.

    Where they come from does not stand there: apt shows a source's Label, and not its Origin.
    """
    return dict(re.findall(r"(?m)^Inst (\S+)(?: \[[^]]*\])? \((\S+)", simulated))


def version(block: str, which: str) -> str:
    """A package's ``Installed`` or ``Candidate``; empty if it has none."""
    match = re.search(rf"(?m)^  {which}: (?!\(none\))(\S+)$", block)
    return match[1] if match else ""


def origins(block: str, wanted: str, repositories: str) -> set[str]:
    """Origins that offer one version of a package."""
    # apt says how far a phased update has come.
    row = re.search(
        rf"(?m)^ (?:\*\*\*|   ) {re.escape(wanted)} -?\d+(?: \(phased \d+%\))?\n", block
    )
    found: set[str] = set()
    for line in block[row.end() :].splitlines() if row else ():
        # Less indented: the row of another version.
        source = re.match(r"\s{6,}-?\d+ (\S.*)$", line)
        if not source:
            break
        if source[1] == "/var/lib/dpkg/status":
            continue
        where = re.search(
            rf"(?m)^ *-?\d+ {re.escape(source[1])}\n +release (?:.*,)?o=([^,\n]*)", repositories
        )
        found.add(where[1] if where else "?")
    return found


def pending(policy: dict[str, str]) -> list[str]:
    """The installed packages of which apt prefers another version."""
    return [
        name
        for name, block in policy.items()
        if (there := version(block, "Installed")) and version(block, "Candidate") not in (there, "")
    ]


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
    assert done.stdout.startswith("pip "), (
        f"pip of Python {python}: expected its version, found {done.stdout.strip() or 'nothing'}"
    )


def test_headers_are_there(host: Any, python: str) -> None:
    there(host, python)
    done = host.check_output(
        f"/usr/bin/python{python} -c 'import sysconfig; print(sysconfig.get_path(\"include\"))'"
    )
    file = host.file(f"{done}/Python.h")
    assert file.exists, f"{file.path}: expected a file, found nothing"


def test_origin(python: str, system: str, policy: dict[str, str], wanted: dict[str, Any]) -> None:
    block = policy[f"python{python}"]
    found = origins(block, version(block, "Installed"), policy["*"])
    ours = wanted["python_versions_repository_origin"]
    if python == system:
        assert ours not in found, f"origin of Python {python}"
    else:
        assert found == {ours}, f"origin of Python {python}"


@pytest.fixture(scope="session")
def automatic(host: Any) -> set[str]:
    """Packages that apt has installed by itself (apt-mark(8); `apt-mark` takes far longer)."""
    text = host.check_output("cat /var/lib/apt/extended_states 2>/dev/null || true")
    return set(re.findall(r"(?m)^Package: (\S+)\n(?:\S.*\n)*?Auto-Installed: 1$", text))


def test_no_autoremove_takes_it(
    python: str, installed: dict[str, str], automatic: set[str]
) -> None:
    names = {f"python{python}", f"python{python.partition('-')[0]}-venv"}
    lacking = ", ".join(sorted(names - (set(installed) - automatic)))
    assert not lacking, f"{lacking}: expected manually installed, found what autoremove takes"


def test_system_python_is_the_distributions(
    host: Any, system: str, policy: dict[str, str], wanted: dict[str, Any]
) -> None:
    for name in of_system(system):
        block = policy.get(name, "")
        if there := version(block, "Installed"):
            found = origins(block, there, policy["*"])
            assert wanted["python_versions_repository_origin"] not in found, block
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
    address = re.search(r"(?m)^URIs: (.*)$", file.content_string)
    expected = wanted["python_versions_repository_url"]
    found = address[1] if address else "nothing"
    assert found.rstrip("/").lower() == expected.rstrip("/").lower(), f"URIs in {SOURCES}"


def test_pin_prefers_the_repositorys_build(
    python: str, system: str, policy: dict[str, str]
) -> None:
    """Above the 500 of every other source, so that a newer number there does not win."""
    match = re.search(r"(?m)^ \*\*\* \S+ (-?\d+)$", policy[f"python{python}"])
    assert match, f"python{python}: expected installed, found nothing"
    if python != system:
        number = int(match.group(1))
        assert number > 500, f"apt's priority of Python {python}: expected over 500, found {number}"


def test_pin_keeps_all_else_of_the_repository_back(
    system: str, policy: dict[str, str], wanted: dict[str, Any]
) -> None:
    """Below the 100 of what is installed, so that nothing of it is ever replaced."""
    ours = wanted["python_versions_repository_origin"]
    priorities = re.findall(
        rf"(?m)^ *(-?\d+) \S.* Packages\n +release (?:.*,)?o={re.escape(ours)}(?:,.*)?$",
        policy["*"],
    )
    high = [int(number) for number in priorities if int(number) >= 100]
    assert not high, f"apt's priority of {ours}: expected below 100, found {max(high)}"
    assert priorities or set(wanted["python_versions_wanted"]) <= {system}, (
        f"apt's sources: expected one with the origin {ours}, found none"
    )


def test_nothing_else_would_come_from_the_repository(
    host: Any, system: str, policy: dict[str, str], wanted: dict[str, Any]
) -> None:
    """Apt would replace no package by the repository's, nor add one."""
    # The simulation takes long, and does nothing where apt prefers what is installed.
    new = coming(host.check_output(UPGRADE)) if pending(policy) else {}
    offered = blocks(host.check_output(f"{POLICY} {' '.join(new)}")) if new else {}
    ours = wanted["python_versions_repository_origin"]
    bases = {v.partition("-")[0] for v in wanted["python_versions_wanted"]} - {system}
    for name, number in new.items():
        if ours in origins(offered.get(name, ""), number, policy["*"]):
            assert any(f"python{base}" in name for base in bases), (
                f"{name}: expected no version of {ours}, found {number}, which an upgrade installs"
            )
