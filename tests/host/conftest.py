"""What a provisioned host is: the host and its variables, as playbooks/verify.yml hands them over.

The suite is never called by hand: `make verify` and Molecule both run it through the playbook,
so that Ansible resolves the inventory.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Generator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.backend import base


@lru_cache
def given() -> dict[str, Any]:
    """The hand-over: host, variables and ssh."""
    path = os.environ.get("RUNNERHOST_VERIFY")
    if not path:
        raise pytest.UsageError("tests/host runs through playbooks/verify.yml (make verify)")
    data: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return data


# The words that are read are those of no translation; gettext follows LANGUAGE in C.UTF-8 too.
_ENGLISH = "export LC_ALL=C.UTF-8 LANGUAGE="


class Root(base.BaseBackend):  # type: ignore[misc]
    """Commands as root over Ansible's own ssh connection."""

    NAME = "ssh"

    def __init__(self, ssh: dict[str, Any]) -> None:
        super().__init__(given()["host"])
        self.ssh = ssh

    def run(self, command: str, *args: str, **kwargs: Any) -> base.CommandResult:
        """One command's result; passwords go by standard input or environment, not by argument."""
        text = self.get_command(command, *args)
        argv = list(self.ssh["argv"])
        environment = {**os.environ}
        if self.ssh["password"]:
            argv = ["sshpass", "-e", *argv]
            environment["SSHPASS"] = self.ssh["password"]
        sudo = [] if self.ssh["root"] else ["sudo", "-n"]
        stdin = b""
        if sudo and self.ssh["become_password"]:
            sudo = ["sudo", "-S", "-p", ""]
            stdin = self.ssh["become_password"].encode() + b"\n"

        done = subprocess.run(
            [*argv, shlex.join([*sudo, "/bin/sh", "-c", f"{_ENGLISH}; {text}"])],
            input=stdin,
            capture_output=True,
            env=environment,
            timeout=120,
            check=False,
        )
        result = self.result(done.returncode, self.encode(text), done.stdout, done.stderr)
        if done.returncode == 255:
            raise RuntimeError(f"ssh failed: {done.stderr.decode(errors='replace').strip()}")
        return result


# What a failing comparison has compared: operator and both sides, by the test's id.
_COMPARED = pytest.StashKey[tuple[str, str, str]]()
_FAILURES: list[dict[str, str]] = []
# Of a value that is shown, so many characters.
_SHOWN = 300


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: Any, right: Any) -> None:
    """Keeps what was compared; pytest explains it itself."""
    config.stash[_COMPARED] = (op, _short(left), _short(right))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes a failing test in words: its name is a sentence."""
    report = yield
    if report.failed:
        op, left, right = item.config.stash.get(_COMPARED, ("", "", ""))
        crash = getattr(report.longrepr, "reprcrash", None)
        said = crash.message if crash else str(report.longrepr)
        # What a helper has compared says little without its own words.
        is_compared = (
            bool(op)
            and call.excinfo is not None
            and call.excinfo.errisinstance(AssertionError)
            and call.excinfo.traceback[-1].path == item.path
        )
        name = item.originalname.removeprefix("test_").replace("_", " ")
        case = f" [{item.callspec.id}]" if hasattr(item, "callspec") else ""
        if not is_compared:
            # pytest's own words, which name what was asked, on one line.
            expected, found = "", _short(" ".join(said.split()) or "no answer")
        elif op == "==":
            expected, found = right, left
        else:
            expected, found = f"{left} {op} {right}", "that is not so"
        _FAILURES.append(
            {"what": f"{name}{case}", "expected": expected, "found": found, "where": item.nodeid}
        )
    if _COMPARED in item.config.stash:
        del item.config.stash[_COMPARED]
    return report


def pytest_sessionfinish() -> None:
    """Hands the failing tests to whoever has started this."""
    path = os.environ.get("RUNNERHOST_VERIFY_FAILURES")
    if path:
        Path(path).write_text(json.dumps(_FAILURES), encoding="utf-8")


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
