# SPDX-License-Identifier: GPL-3.0-or-later
"""The suites of `make test` and `make test-full`, found from the files, and their results.

Each file of tests/lab is a suite, `lab/NAME` for its plain tests and `lab-slow/NAME` for those
marked slow. Every other folder of tests with tests of its own is one, but tests/host, which
Molecule and `make verify` run on a host. Molecule's scenarios of a whole host as it is by default
run in `make test`, the others in `make test-full`.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
RESULTS = Path(os.environ.get("RUNNERHOST_RESULTS") or ROOT / "tests" / "output" / "junit")
"""One file of JUnit XML for each suite, from its last run."""
PYTEST = (sys.executable, "-m", "pytest")
# Without capture: what the README's commands say is shown as they say it.
_OPTIONS = {"readme": ("-x", "-s")}
_NO_FOLDER_SUITES = {"host", "lab", "unit"}
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LAST_LINES = 200


@dataclass(frozen=True)
class Suite:
    """One command.

    Attributes:
        name: for the table and the command line.
        argv: the command, run in the checkout; JUNIT stands for the file that pytest writes.
        tests: the file or folder with its tests; empty if it runs none of this project's files.
        containers: whether it needs the lab's hosts.
        full: whether only `make test-full` runs it.
        other: whether it needs another Python than this one.
        limit: seconds after which it counts as failed.
    """

    name: str
    argv: tuple[str, ...]
    tests: str = ""
    containers: bool = False
    full: bool = False
    other: bool = False
    limit: int = 1200

    @property
    def result(self) -> Path:
        """Its file of results."""
        return RESULTS / f"{self.name.replace('/', '-')}.xml"


def find(root: Path = ROOT, results: Path = RESULTS) -> tuple[Suite, ...]:
    """All suites, in the order in which they begin.

    The first and the last are the lab's, longest first: the last one to end shall be a short one.
    """
    plain, slow = [], []
    for path in sorted(root.glob("tests/lab/test_*.py")):
        has_plain, has_slow = kinds(path.read_text(encoding="utf-8"))
        plain += [_lab(path.relative_to(root))] if has_plain else []
        slow += [_lab(path.relative_to(root), slow=True)] if has_slow else []
    for suites in (plain, slow):
        suites.sort(key=lambda suite: _order(suite, root, results))
    usual, others = _scenarios(root)
    return (
        *plain[:1],
        Suite("lint", ("make", "lint"), limit=600),
        Suite("unit", ("make", "unit", "ARGS=--junitxml=JUNIT"), tests="tests/unit", limit=1800),
        *_folders(root),
        _molecule("molecule", usual),
        *plain[1:],
        _other_python("unit", "--junitxml=JUNIT"),
        _sanity(),
        _other_python("sanity", "sanity"),
        _molecule("molecule-roles", others, full=True, limit=2400),
        *slow,
    )


def kinds(source: str) -> tuple[bool, bool]:
    """Whether a test file has plain tests, and slow ones."""

    def marks_slow(node: ast.AST) -> bool:
        return any(
            isinstance(part, ast.Attribute)
            and part.attr == "slow"
            and ast.unparse(part.value) == "pytest.mark"
            for part in ast.walk(node)
        )

    tree = ast.parse(source)
    whole = any(
        marks_slow(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
    )
    return not whole, marks_slow(tree)


def _order(suite: Suite, root: Path, results: Path) -> tuple[bool, float]:
    """Longest first by the last run; before them those never run, the larger file first."""
    seconds = last_seconds(results / suite.result.name)
    return seconds > 0, -seconds or -(root / suite.tests).stat().st_size


def _lab(path: Path, slow: bool = False) -> Suite:
    """The plain or the slow tests of one file."""
    name = path.stem.removeprefix("test_")
    # A line for each test, since some take a minute.
    options = ("-v", "-x", "--durations=10", "-m", "slow" if slow else "not slow")
    return Suite(
        f"{'lab-slow' if slow else 'lab'}/{name}",
        (*PYTEST, *options, "--junitxml=JUNIT", str(path)),
        tests=str(path),
        containers=True,
        full=slow,
        limit=4500 if slow else 2400,
    )


def _folders(root: Path) -> list[Suite]:
    """The folders of tests that are a suite each; those with the mark `lab` need its hosts."""
    found = []
    for folder in sorted({path.parent for path in root.glob("tests/*/test_*.py")}):
        if folder.name in _NO_FOLDER_SUITES:
            continue
        texts = [path.read_text(encoding="utf-8") for path in folder.glob("test_*.py")]
        containers = any("pytest.mark.lab" in text for text in texts)
        path = str(folder.relative_to(root))
        options = _OPTIONS.get(folder.name, ())
        argv = (*PYTEST, "-q", *options, "--junitxml=JUNIT", path)
        limit = 1800 if containers else 900
        found.append(Suite(folder.name, argv, path, containers, limit=limit))
    # What needs containers takes longest.
    return sorted(found, key=lambda suite: not suite.containers)


def _scenarios(root: Path) -> tuple[list[str], list[str]]:
    """Molecule's scenarios of a whole host as it is by default, and the others."""
    usual: list[str] = []
    others: list[str] = []
    for path in sorted(root.glob("molecule/*/molecule.yml")):
        provisioner = yaml.safe_load(path.read_text(encoding="utf-8")).get("provisioner", {})
        differs = {"inventory", "playbooks"} & set(provisioner)
        (others if differs else usual).append(path.parent.name)
    return usual, others


def _molecule(name: str, scenarios: list[str], full: bool = False, limit: int = 1200) -> Suite:
    argv = (str(BIN / "molecule"), "test", *(f"--scenario-name={one}" for one in scenarios))
    return Suite(name, argv, containers=True, full=full, limit=limit)


def _sanity() -> Suite:
    return Suite("sanity", (sys.executable, "-m", "tools.sanity"), full=True, limit=1200)


def _other_python(name: str, *words: str) -> Suite:
    argv = (sys.executable, "-m", "tests.other_python", *words)
    return Suite(f"{name}-other", argv, other=True, full=True, limit=1200)


# --- results ------------------------------------------------------------------------------------


def last_seconds(path: Path) -> float:
    """How long a suite took in its last run; 0 where that is not known."""
    try:
        suite = ET.parse(path).getroot().find("testsuite")
        return float(suite.get("time", 0)) if suite is not None else 0.0
    except (OSError, ET.ParseError, ValueError):
        return 0.0


def failed_in(path: Path) -> bool:
    """Whether a file of results has a test that failed."""
    try:
        suites = ET.parse(path).getroot().iter("testsuite")
        return any(int(one.get(key, 0)) for one in suites for key in ("failures", "errors"))
    except (OSError, ET.ParseError, ValueError):
        return False


def write_result(suite: Suite, state: str, seconds: float, why: str, lines: list[str]) -> None:
    """The result of a suite that pytest has written none for, as one test case."""
    root = ET.Element("testsuites")
    counts = {"failures": str(int(state == "failed")), "skipped": str(int(state == "skipped"))}
    time = f"{seconds:.3f}"
    whole = ET.SubElement(root, "testsuite", name=suite.name, tests="1", errors="0", time=time)
    whole.attrib |= counts
    case = ET.SubElement(whole, "testcase", classname="tests", name=suite.name, time=time)
    if state == "failed":
        ET.SubElement(case, "failure", message=_xml(why or "the command failed"))
    elif state == "skipped":
        ET.SubElement(case, "skipped", message=_xml(why))
    if lines:
        ET.SubElement(case, "system-out").text = _xml("\n".join(lines[-_LAST_LINES:]))
    suite.result.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(root).write(suite.result, encoding="utf-8", xml_declaration=True)


def _xml(text: str) -> str:
    return _NOT_XML.sub("?", text)


SUITES = find()
WHOLE_HOST = tuple(_scenarios(ROOT)[0])
"""Molecule's scenarios of a whole host, one for each platform."""
