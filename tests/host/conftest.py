# SPDX-License-Identifier: GPL-3.0-or-later
"""What a provisioned host is: the host and its variables, and each finding in words.

`make verify` and Molecule run the suite through playbooks/verify.yml. By hand:

    python -m pytest tests/host --hosts=NAME --ansible-inventory=inventories/production

Both times Ansible resolves the inventory (the action `host_tests`). What a test compares is told as
`what: expected …, found …`: `what` is the message of its assert, or else the name of the test.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import testinfra
from root_shell import Done, LostError, RootShell
from testinfra.backend import base

ROOT = Path(__file__).resolve().parents[2]
COMMAND_SECONDS = 120
_CONFIG: list[pytest.Config] = []
# What goes back to the action.
_RESULT: dict[str, Any] = {"failures": [], "notes": [], "unnamed_runners": []}
# What a failing comparison has compared: operator and both sides.
_COMPARED: list[tuple[str, Any, Any]] = []
# The last command on the host: its text, exit code and last words.
_LAST: dict[str, Any] = {}
# Of a value that is shown, so many characters.
_SHOWN = 200
_BEGUN: dict[str, Future[Done]] = {}
_EXIT_CODES = {126: "it cannot be executed", 127: "there is no such command"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Beside --hosts and --ansible-inventory, which testinfra brings."""
    parser.addoption(
        "--ansible-args",
        default="",
        help="further arguments for ansible, such as '--ask-vault-pass --ask-become-pass'",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the options."""
    _CONFIG.append(config)


def pytest_sessionstart() -> None:
    """Ends here, once, where no host is named."""
    given()


@lru_cache
def given() -> dict[str, Any]:
    """The hand-over: host, variables and ssh."""
    path = os.environ.get("RUNNERHOST_VERIFY") or _resolved()
    data: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    # Of a service that has left the host nothing is expected.
    variables = data.get("variables", {})
    isolated = variables.get("gitlab_runner_isolated") or []
    kept = [one for one in isolated if one.get("state", "present") != "absent"]
    return {**data, "variables": {**variables, "gitlab_runner_isolated": kept}}


def _resolved() -> str:
    """The hand-over for a run by hand, which Ansible writes."""
    option = _CONFIG[-1].getoption
    name, inventory = option("hosts", default=None), option("ansible_inventory", default=None)
    if not name or "," in name or not inventory:
        raise pytest.UsageError(
            "tests/host takes one host of an inventory: "
            "--hosts=NAME --ansible-inventory=inventories/production "
            "(and --ansible-args='--ask-vault-pass'), or run `make verify`"
        )
    folder = tempfile.mkdtemp(prefix="runnerhost-verify-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = f"{folder}/host.json"
    done = subprocess.run(
        [
            sys.executable, "-m", "ansible", "adhoc", name, "-i", str(Path(inventory).resolve()),
            "-m", "runnerhost.toolkit.host_tests", "-a", json.dumps({"hand_over": path}),
            *shlex.split(option("ansible_args")),
        ],
        cwd=ROOT if (ROOT / "ansible.cfg").exists() else None,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if not os.path.exists(path):
        said = (done.stderr + done.stdout).strip()
        raise pytest.UsageError(f"Ansible cannot resolve the host {name!r}: {said}")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests whose commands run ahead come last: they then wait for none of them."""
    items.sort(key=lambda item: isinstance(item, pytest.Function) and hasattr(item.module, "ahead"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begins what takes longest beside the first tests, for each file in a shell of its own.

    The function `ahead` of a file of tests names such commands. They change nothing that another
    test reads.
    """
    if session.config.option.collectonly:
        return
    modules = dict.fromkeys(
        item.module for item in session.items if isinstance(item, pytest.Function)
    )
    for module in modules:
        if not hasattr(module, "ahead"):
            continue
        pool = ThreadPoolExecutor(1)
        shell = RootShell(given()["ssh"])
        for text in module.ahead(given()["variables"]):
            _BEGUN[text] = pool.submit(shell.run, text, COMMAND_SECONDS)
        pool.submit(shell.close)
        pool.shutdown(wait=False)


class Root(base.BaseBackend):  # type: ignore[misc]
    """Commands as root over one ssh connection, made as Ansible makes its own."""

    NAME = "ssh"

    def __init__(self, ssh: dict[str, Any]) -> None:
        super().__init__(given()["host"])
        self.shell = RootShell(ssh)

    def run(self, command: str, *args: str, **kwargs: Any) -> base.CommandResult:
        """One command's result."""
        text = self.get_command(command, *args)
        try:
            begun = _BEGUN.get(text)
            done = begun.result() if begun else self.shell.run(text, COMMAND_SECONDS)
        except LostError as lost:
            said = lost.err.decode(errors="replace"), lost.out.decode(errors="replace")
            _RESULT["lost"] = {"code": lost.code, "stderr": said[0], "stdout": said[1]}
            pytest.exit(f"the host cannot be reached any more: {' '.join(said).strip()}", 3)
        out, err = done.out, done.err
        words = (err or out).decode(errors="replace").strip().splitlines()
        _LAST.update(text=text, code=done.code, said=words[-1] if words else "")
        return self.result(done.code, self.encode(text), out, err)


# --- findings in words ------------------------------------------------------------------------


def words(value: Any) -> str:
    """A value as a person writes it."""
    if value is None or value in ("", (), [], {}, set()):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        text = ", ".join(f"{key}: {words(item)}" for key, item in sorted(value.items(), key=str))
    elif isinstance(value, set | frozenset):
        text = ", ".join(sorted(words(item) for item in value))
    elif isinstance(value, list | tuple):
        text = ", ".join(words(item) for item in value)
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def apart(found: Any, expected: Any) -> tuple[str, str]:
    """Both sides of a comparison, without what they have in common."""
    if isinstance(found, tuple) and isinstance(expected, tuple) and len(found) == len(expected):
        pairs = [(f, e) for f, e in zip(found, expected, strict=True) if f != e]
        return words([f for f, __ in pairs]), words([e for __, e in pairs])
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = [k for k in {**found, **expected} if found.get(k) != expected.get(k)]
        return (
            words({k: found[k] for k in keys if k in found}),
            words({k: expected[k] for k in keys if k in expected}),
        )
    both = (found, expected)
    if all(isinstance(one, list | set | frozenset) for one in both):
        more = [item for item in found if item not in expected]
        less = [item for item in expected if item not in found]
        if more or less:
            return words(sorted(more, key=str)), words(sorted(less, key=str))
    return words(found), words(expected)


def compared(op: str, left: Any, right: Any) -> tuple[str, str]:
    """What was expected of a comparison, and what was found."""
    if op == "==":
        found, expected = apart(left, right)
        return expected, found
    if op == "in":
        crowd = isinstance(right, str | bytes) or (
            isinstance(right, Collection) and len(words(right)) >= _SHOWN
        )
        return words(left), "not there" if crowd else words(right)
    if op == "not in":
        return f"no {words(left)}", "it is there"
    if op == "<=" and isinstance(left, set | frozenset) and isinstance(right, set | frozenset):
        return words(left), f"missing: {words(left - right)}"
    sides = {"!=": "other than ", ">": "more than ", "<": "less than ", ">=": "at least "}
    return f"{sides.get(op, op + ' ')}{words(right)}", words(left)


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: Any, right: Any) -> None:
    """Keeps what was compared; pytest explains it itself."""
    _COMPARED[:] = [(op, left, right)]


def finding(problem: BaseException, name: str) -> tuple[str, str, str]:
    """What is wrong, what was expected and what was found."""
    text = str(problem)
    message = "" if text.startswith("assert ") else text.partition("\nassert ")[0].strip()
    if isinstance(problem, AssertionError) and text.startswith("Unexpected exit code"):
        # testinfra's `check_output`: the command itself has failed.
        code = int(_LAST.get("code", 1))
        said = _LAST.get("said") or _EXIT_CODES.get(code, f"it ends with exit code {code}")
        return name, "", f"`{words(_LAST.get('text', ''))[:80]}` fails: {said}"
    if not isinstance(problem, AssertionError | pytest.fail.Exception):
        kind = type(problem).__name__
        return name, "", f"the test cannot tell ({kind}: {words(text) if text else 'no message'})"
    told = re.fullmatch(r"(?s)(.*?): expected (.*), found (.*)", message)
    if told:
        return told[1], told[2], words(told[3])
    if _COMPARED:
        return (message or name, *compared(*_COMPARED[-1]))
    return (message, "", "") if message else (name, "", words(text))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes a failing test in words."""
    report = yield
    if report.failed and call.excinfo is not None:
        name = item.originalname.removeprefix("test_").replace("_", " ")
        case = f" [{item.callspec.id}]" if hasattr(item, "callspec") else ""
        what, expected, found = finding(call.excinfo.value, f"{name}{case}")
        one = {"what": what, "expected": expected, "found": found, "where": item.nodeid}
        # What many tests need is missing once.
        told = [(f["what"], f["expected"], f["found"]) for f in _RESULT["failures"]]
        known = [one_told[1:] for one_told in told]
        again = (what, expected, found) in told
        if not again and (report.when == "call" or (expected, found) not in known):
            _RESULT["failures"].append(one)
    _COMPARED.clear()
    return report


def pytest_sessionfinish() -> None:
    """Hands the findings to whoever has started this."""
    path = os.environ.get("RUNNERHOST_VERIFY_RESULT")
    if path:
        Path(path).write_text(json.dumps(_RESULT), encoding="utf-8")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The same lines for a person who runs this by hand."""
    for note in _RESULT["notes"]:
        terminalreporter.write_line(f"note: {note}")
    for one in _RESULT["failures"]:
        parts = [f"{name} {one[name]}" for name in ("expected", "found") if one[name]]
        terminalreporter.write_line(f"differs: {': '.join([one['what'], ', '.join(parts)])}")


# --- what the tests take ----------------------------------------------------------------------


@pytest.fixture(scope="session")
def note() -> Callable[[str], None]:
    """Tells of what is no difference, but to be known."""
    notes: list[str] = _RESULT["notes"]
    return notes.append


@pytest.fixture(scope="session")
def unnamed_runners() -> list[dict[str, Any]]:
    """The host's runners that the inventory does not name; filled by a test."""
    found: list[dict[str, Any]] = _RESULT["unnamed_runners"]
    return found


@pytest.fixture(scope="session")
def host() -> Any:
    """The host, as testinfra sees it."""
    backend = Root(given()["ssh"])
    found = testinfra.host.Host(backend)
    backend.set_host(found)
    return found


@pytest.fixture(scope="session")
def wanted() -> dict[str, Any]:
    """The roles' variables for this host."""
    variables: dict[str, Any] = given()["variables"]
    return variables


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each version, runner or package that the inventory names."""
    variables = given()["variables"]
    lists = {
        "python": variables["python_versions_wanted"],
        "runner": [
            entry
            for entry in variables["gitlab_runner_runners"]
            if entry.get("state", "present") != "absent"
        ],
        "package": variables["build_tools_packages"] + variables["build_tools_extra_packages"],
    }
    for name, values in lists.items():
        if name in metafunc.fixturenames:
            ids = [v["name"] if isinstance(v, dict) else str(v) for v in values]
            metafunc.parametrize(name, values, ids=ids)


@pytest.fixture(scope="session")
def installed(host: Any) -> dict[str, str]:
    """Version by package, for what dpkg calls installed."""
    text = host.check_output(r"dpkg-query -W -f '${db:Status-Abbrev}\t${Package}\t${Version}\n'")
    rows = [line.split("\t") for line in text.splitlines()]
    return {row[1]: row[2] for row in rows if row[0].strip().endswith("i")}
