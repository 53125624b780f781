"""`make test`'s runner: what it skips, what it calls failed, its exit code and closing line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import other_python
from tests.__main__ import BIN, SUITES
from tests.processes import marked

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

    def program(self, name: str, script: str) -> None:
        """Puts a shell script on the machine's PATH."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, *words: str, ci: bool = False) -> subprocess.CompletedProcess[str]:
        """Runs `python -m …` there, as a person or as CI."""
        environment = {k: v for k, v in os.environ.items() if k not in ("CI", "WORLD")}
        environment["PATH"] = str(self.programs)
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
        [sys.executable, "-c", script], cwd=ROOT, env={"PATH": str(here)},
        capture_output=True, text=True, check=False, timeout=60,
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
        [sys.executable, "-c", script], cwd=ROOT, env={"PATH": str(machine.programs)},
        capture_output=True, text=True, check=False, timeout=60,
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
    assert {argv[-2] for argv in chosen.values()} == marks


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


@pytest.mark.parametrize("name", [suite.name for suite in SUITES if suite.full])
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
