# SPDX-License-Identifier: GPL-3.0-or-later
"""`make test`'s runner: what it skips, what it calls failed, its exit code and closing line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import other_python
from tests.processes import marked
from tests.suites import BIN, SUITES, Suite, failed_in, find, kinds, last_seconds, write_result

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
COLLECT = """
import pytest

class Seen:
    def pytest_collection_modifyitems(self, items):
        for item in items:
            group = "lab-slow" if item.get_closest_marker("slow") else "lab"
            name = item.path.stem.removeprefix("test_")
            print(f"\\n{group}/{name} tests/lab/{item.path.name}")

pytest.main(["-q", "--collect-only", "-p", "no:cacheprovider", "tests/lab"], plugins=[Seen()])
"""
"""Prints each suite's name that the collected tests make, with their file."""
REFUSAL = "Error: cannot clone: Operation not permitted"


@dataclass
class Machine:
    """A machine whose programs are what a test says."""

    programs: Path

    @property
    def results(self) -> Path:
        """Where its suites leave their results."""
        return self.programs / "results"

    def program(self, name: str, script: str) -> None:
        """Puts a shell script on the machine's PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, *words: str, ci: bool = False) -> subprocess.CompletedProcess[str]:
        """Runs `python -m …` there, as a person or as CI."""
        environment = {k: v for k, v in os.environ.items() if k not in ("CI", "WORLD")}
        environment["PATH"] = str(self.programs)
        environment["RUNNERHOST_RESULTS"] = str(self.results)
        if ci:
            environment["CI"] = "true"
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without podman, on which `make` does nothing, well."""
    made = Machine(tmp_path)
    # What the engine may put in front of podman.
    made.program(
        "sudo", '[ "$1" = podman ] && [ ! -e "$(dirname "$0")/podman" ] && exit 127; exec "$@"'
    )
    (tmp_path / "env").symlink_to("/usr/bin/env")
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    made.program("make", 'echo "made $1"')
    return made


def rows(said: str) -> dict[str, tuple[str, str]]:
    """The closing table: suite to result and reason."""
    _, _, table = said.partition("\nsuite ")
    matches = [re.match(r"(\S+) +(\w+) +\d+ *(.*)", line) for line in table.splitlines()[1:-1]]
    return {match[1]: (match[2], match[3]) for match in matches if match}


def closing(said: str) -> str:
    """The very last line, without its time."""
    return re.sub(r", in \d+ s$", "", said.splitlines()[-1])


def test_where_podman_fails_the_rest_runs_and_the_lab_is_skipped(machine: Machine) -> None:
    machine.program("podman", f"echo trouble >&2; echo '{REFUSAL}' >&2; exit 125")
    done = machine.run("tests", "lint", "unit", "molecule", "lab/drain")
    assert done.returncode == 0, done.stderr
    assert "made lint" in done.stdout
    assert "made unit" in done.stdout
    why = f"no containers here: {REFUSAL}"
    assert rows(done.stdout) == {
        "lint": ("passed", ""), "unit": ("passed", ""),
        "molecule": ("skipped", why), "lab/drain": ("skipped", why),
    }  # fmt: skip
    assert closing(done.stdout) == "2 passed, 0 failed, 2 skipped"


def test_on_ci_a_lab_that_cannot_run_is_a_failure(machine: Machine) -> None:
    machine.program("podman", f"echo '{REFUSAL}' >&2; exit 125")
    done = machine.run("tests", "lint", "unit", "molecule", "lab/drain", ci=True)
    assert done.returncode == 1
    why = f"no containers here: {REFUSAL}"
    assert rows(done.stdout)["molecule"] == ("failed", why)
    assert rows(done.stdout)["lint"] == ("passed", "")
    assert closing(done.stdout) == "2 passed, 2 failed"


@pytest.mark.parametrize(
    ("ci", "code", "last"),
    [(False, 0, "1 passed, 0 failed, 1 skipped"), (True, 1, "1 passed, 1 failed")],
)
def test_without_podman_it_is_named(machine: Machine, ci: bool, code: int, last: str) -> None:
    done = machine.run("tests", "unit", "lab/drain", ci=ci)
    assert done.returncode == code
    assert "podman" in rows(done.stdout)["lab/drain"][1]
    assert closing(done.stdout) == last


def test_a_suite_that_fails_fails_the_whole(machine: Machine) -> None:
    machine.program("podman", "exit 0")
    machine.program("make", '[ "$1" != lint ]')
    done = machine.run("tests", "lint", "unit")
    assert done.returncode == 1
    assert rows(done.stdout) == {"lint": ("failed", ""), "unit": ("passed", "")}
    assert closing(done.stdout) == "1 passed, 1 failed"


def test_where_all_is_well_nothing_is_called_skipped(machine: Machine) -> None:
    machine.program("podman", "exit 0")
    done = machine.run("tests", "lint", "unit")
    assert done.returncode == 0
    assert closing(done.stdout) == "2 passed, 0 failed"


def test_two_suites_run_at_a_time(machine: Machine) -> None:
    """Each waits for the other: one after the other, neither would end well."""
    machine.program("podman", "exit 0")
    here = machine.programs
    for tool in ("mkfifo", "cat"):
        (here / tool).symlink_to(f"/usr/bin/{tool}")
    machine.program("make", f"mkfifo {here}/door 2>/dev/null; echo lint is here > {here}/door")
    machine.program("sitting", f"mkfifo {here}/door 2>/dev/null; exec cat {here}/door")
    script = (
        "import sys; from dataclasses import replace; import tests.__main__ as t; "
        f"t.SUITES = tuple(replace(s, argv=('{here}/sitting',), limit=20) "
        "if s.name == 'lab/drain' else replace(s, limit=20) for s in t.SUITES); "
        "sys.argv[1:] = ['lint', 'lab/drain']; sys.exit(t.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT,
        env={"PATH": str(here), "RUNNERHOST_RESULTS": str(machine.results)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(?m)^lab/drain +lint is here$", done.stdout)


def test_a_suite_without_an_end_is_failed_with_all_that_it_has_started(machine: Machine) -> None:
    for tool in ("setsid", "sleep"):
        (machine.programs / tool).symlink_to(f"/usr/bin/{tool}")
    # Deaf to the signal, and its child has a session of its own.
    machine.program("deaf", "trap '' INT; setsid sleep 60 & sleep 60; sleep 60")
    script = (
        "from dataclasses import replace; import tests.__main__ as t; t.PATIENCE = 0.5; "
        f"suite = replace(t.SUITES[1], argv=('{machine.programs}/deaf',), limit=1); "
        "print(t.run(suite)[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT,
        env={"PATH": str(machine.programs), "RUNNERHOST_RESULTS": str(machine.results)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert re.fullmatch(r"lint +not done after 1 s", done.stdout.splitlines()[-2])
    assert done.stdout.splitlines()[-1] == "failed"
    assert marked(f"PATH={BIN}:{machine.programs}") == []


@pytest.mark.parametrize(
    ("asked", "marks"), [("lab", {"not slow"}), ("lab-slow", {"slow"})], ids=["lab", "lab-slow"]
)
def test_one_word_names_all_suites_of_the_lab(
    machine: Machine, asked: str, marks: set[str]
) -> None:
    machine.program("podman", "exit 125")
    named = set(rows(machine.run("tests", asked).stdout))
    chosen = {suite.name: suite.argv for suite in SUITES if suite.name in named}
    assert named == {suite.name for suite in SUITES if suite.name.startswith(f"{asked}/")}
    assert {argv[argv.index("-m", 3) + 1] for argv in chosen.values()} == marks


@pytest.mark.parametrize("ci", [False, True])
def test_without_another_python_its_suite_is_skipped(machine: Machine, ci: bool) -> None:
    """On a CI machine too: it may have one Python alone."""
    machine.program("podman", "exit 0")
    done = machine.run("tests", "unit", "unit-other", ci=ci)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = "Python 3.12 or newer" if sys.version_info < (3, 12) else "Python 3.11"
    why = f"no {wanted} beside this one"
    assert rows(done.stdout)["unit-other"] == ("skipped", why)
    assert f"skipped: {why}" in done.stdout
    assert closing(done.stdout) == "1 passed, 0 failed, 1 skipped"


def test_the_other_python_is_one_that_works(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shim of pyenv says that there is none; one without ensurepip makes no environment."""
    monkeypatch.setattr(other_python, "NEWER", ("3.14", "3.13", "3.12"))
    monkeypatch.setattr(other_python, "OLDER", ("3.14", "3.13", "3.12"))
    monkeypatch.setenv("PATH", str(machine.programs))
    machine.program("python3.14", "echo 'pyenv: python3.14: command not found'; exit 127")
    machine.program("python3.13", "echo \"ModuleNotFoundError: 'ensurepip'\" >&2; exit 1")
    machine.program("python3.12", "echo 3.12 /opt/three/bin/python3.12")
    assert other_python.find() == "/opt/three/bin/python3.12"
    folder = machine.programs / "versions" / "3.13"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("#!/bin/sh\necho 3.13 /opt/pyenv/3.13/bin/python\n")
    (folder / "bin" / "python").chmod(0o755)
    machine.program("pyenv", f'[ "$1 $2" = "prefix 3.13" ] && echo {folder}')
    assert other_python.find() == "/opt/pyenv/3.13/bin/python"
    machine.program("uv", 'for last; do :; done; [ $last = 3.14 ] && echo "$(dirname "$0")/uvs"')
    machine.program("uvs", "echo 3.14 /opt/uv/3.14/bin/python")
    assert other_python.find() == "/opt/uv/3.14/bin/python"


def test_an_unknown_suite_is_refused(machine: Machine) -> None:
    done = machine.run("tests", "lnit")
    assert done.returncode == 2
    assert "no such suite: lnit" in done.stderr


@pytest.mark.parametrize(
    "name", [suite.name for suite in SUITES if suite.full and suite.name != "sanity"]
)
def test_a_long_suite_runs_when_it_is_named(machine: Machine, name: str) -> None:
    machine.program("podman", "exit 125")
    done = machine.run("tests", name)
    assert list(rows(done.stdout)) == [name]
    assert closing(done.stdout) == "0 passed, 0 failed, 1 skipped"


@pytest.mark.parametrize(("ci", "code", "last"), [(False, 0, "skipped"), (True, 1, "error")])
def test_the_lab_tests_alone_do_the_same(machine: Machine, ci: bool, code: int, last: str) -> None:
    """Whoever calls pytest by hand is told the same."""
    machine.program("podman", f"echo '{REFUSAL}' >&2; exit 125")
    words = ("pytest", "-q", "-p", "no:cacheprovider", "tests/lab/test_lab.py")
    done = machine.run(*words, "-k", "second_up", ci=ci)
    assert done.returncode == code, done.stdout
    assert f"no containers here: {REFUSAL}" in done.stdout
    assert f"1 {last}" in closing(done.stdout)


def test_each_lab_test_is_in_one_suite() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COLLECT], cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {tuple(line.split()) for line in done.stdout.splitlines() if line.startswith("lab")}
    assert len(found) > 15
    suites = [suite for suite in SUITES if suite.name.startswith("lab")]
    assert {(suite.name, suite.argv[-1]) for suite in suites} == found
    assert len(suites) == len(found)


def test_each_test_file_is_in_one_suite() -> None:
    """One of the lab in two, if it has plain and slow tests; tests/host runs on hosts alone."""
    for path in (path.relative_to(ROOT) for path in ROOT.glob("tests/**/test_*.py")):
        names = {
            suite.name.partition("/")[0]
            for suite in SUITES
            if suite.tests and path.is_relative_to(suite.tests)
        }
        if path.parts[1] == "host":
            assert names == set()
        elif path.parts[1] == "lab":
            assert names
            assert names <= {"lab", "lab-slow"}
        else:
            assert len(names) == 1, path


def test_two_folders_of_a_suite_may_have_test_files_of_one_name(tmp_path: Path) -> None:
    for folder in ("lab", "plugins"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test_same.py").write_text(f"def test_{folder}() -> None: pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_each_suite_has_a_name_and_a_file_of_its_own() -> None:
    assert len({suite.name for suite in SUITES}) == len(SUITES)
    assert len({suite.result for suite in SUITES}) == len(SUITES)
    for suite in SUITES:
        assert suite.tests == "" or (ROOT / suite.tests).exists()
        # pytest says what it is to write; for the others the runner writes.
        pytests = bool(suite.tests) or suite.name == "unit-other"
        assert any("--junitxml=JUNIT" in word for word in suite.argv) is pytests, suite.name


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("pytestmark = pytest.mark.lab\n", (True, False)),
        ("pytestmark = [pytest.mark.lab, pytest.mark.slow]\n", (False, True)),
        ("pytestmark = pytest.mark.lab\n@pytest.mark.slow\ndef test_x(): ...\n", (True, True)),
        ("slow = pytest.mark.slow\n@slow\ndef test_x(): ...\n", (True, True)),
        ("def test_x():\n    'pytest.mark.slow'\n    slow = 1\n", (True, False)),
    ],
)
def test_a_files_marks_say_which_tests_it_has(source: str, expected: tuple[bool, bool]) -> None:
    assert kinds(source) == expected


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Another project with suites of its own."""
    for name, source in {
        "tests/lab/test_short.py": "",
        "tests/lab/test_longer.py": "# a comment\n",
        "tests/lab/test_slowest.py": "pytestmark = pytest.mark.slow\n",
        "tests/more/test_a.py": "",
        "tests/onhosts/test_b.py": "pytestmark = pytest.mark.lab\n",
        "tests/host/test_c.py": "",
        "molecule/whole/molecule.yml": "scenario: {name: whole}\n",
        "molecule/part/molecule.yml": "provisioner: {playbooks: {converge: x.yml}}\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    return tmp_path


def test_suites_are_found_from_the_files(project: Path) -> None:
    suites = {suite.name: suite for suite in find(project, project / "results")}
    assert list(suites) == [
        "lab/longer", "lint", "unit", "onhosts", "more", "molecule", "lab/short", "unit-other",
        "sanity", "sanity-other", "molecule-roles", "lab-slow/slowest",
    ]  # fmt: skip
    assert suites["molecule"].argv[2:] == ("--scenario-name=whole",)
    assert suites["molecule-roles"].argv[2:] == ("--scenario-name=part",)
    needs = {name for name, suite in suites.items() if suite.containers}
    assert needs == {name for name in suites if name.startswith(("lab", "molecule", "onhosts"))}
    full = {name for name, suite in suites.items() if suite.full}
    assert full == {
        "unit-other", "sanity", "sanity-other", "molecule-roles", "lab-slow/slowest"
    }  # fmt: skip


def test_what_took_longest_begins_first(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.suites.RESULTS", project)
    for name, seconds in (("lab/short", 90.0), ("lab/longer", 80.0)):
        write_result(Suite(name, ()), "passed", seconds, "", [])
    assert next(one.name for one in find(project, project)) == "lab/short"
    # What has never run is begun before all others: it may be the longest.
    (project / "lab-short.xml").unlink()
    assert next(one.name for one in find(project, project)) == "lab/short"
    assert last_seconds(project / "lab-longer.xml") == 80.0


def test_the_list_shows_each_suite_and_runs_none(machine: Machine) -> None:
    done = machine.run("tests", "--list")
    assert done.returncode == 0, done.stderr
    listed = [line.split()[:2] for line in done.stdout.splitlines()]
    # Not SUITES, whose order follows from the last run in this clone.
    suites = find(results=machine.results)
    assert listed == [[s.name, "test-full" if s.full else "test"] for s in suites]
    assert not machine.results.exists()


def test_each_suite_leaves_its_results_as_junit_xml(machine: Machine) -> None:
    machine.program("podman", f"echo '{REFUSAL}' >&2; exit 125")
    machine.program("make", 'printf "made %s \\033[31m<&>\\n" "$1"; [ "$1" != lint ]')
    machine.run("tests", "lint", "unit", "lab/drain")
    found = {}
    for path in machine.results.iterdir():
        case = ET.parse(path).getroot().find("testsuite/testcase")
        assert case is not None
        found[path.name] = ([part.tag for part in case], case.findtext("system-out"))
        assert failed_in(path) is (path.name == "lint.xml")
    assert found == {
        "lint.xml": (["failure", "system-out"], "made lint ?[31m<&>"),
        "unit.xml": (["system-out"], "made unit ?[31m<&>"),
        "lab-drain.xml": (["skipped"], None),
    }
    skipped = ET.parse(machine.results / "lab-drain.xml").getroot().find("*/*/skipped")
    assert skipped is not None
    assert skipped.get("message") == f"no containers here: {REFUSAL}"


@pytest.mark.parametrize(("code", "kept"), [(0, True), (1, False)])
def test_what_pytest_writes_is_kept_unless_it_hides_the_failure(
    machine: Machine, code: int, kept: bool
) -> None:
    """A run that was cut off has no test that failed."""
    good = "<testsuites><testsuite name='pytest' failures='0' errors='0' time='7'/></testsuites>"
    machine.program("podman", "exit 0")
    machine.program("make", f'echo "{good}" > "${{2#ARGS=--junitxml=}}"; exit {code}')
    machine.run("tests", "unit")
    assert ("pytest" in (machine.results / "unit.xml").read_text()) is kept
    assert failed_in(machine.results / "unit.xml") is bool(code)
