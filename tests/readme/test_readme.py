# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's commands, in the README's order, in one fresh clone, and lint in what they leave.

The clone is of the last commit. Its home is empty; packages and images come from the caches of this
machine. The clone's lab is told from other labs by the clone's folder.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.places import Lab, cache_dir

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = {"make test": "this suite is a part of it"}
"""Commands of the README that do not run here, with the reason."""
# The hosts of the example do not exist: the lab's take their place, as the README says of `make`
# without INVENTORY. The vault's password is in a file.
INSTEAD = {" INVENTORY=inventories/production": "", "--ask-vault-pass": ""}
PASSWORD = "of-the-example"
LIMIT = 1500.0
"""Seconds for all commands."""
LITTER = {
    "mirror.yml": "folder:   here\nsuites: [ jammy ]\n",
    "my own.yml": "- hosts: all\n  tasks:\n   - shell: ls\n",
    "inventories/production/files/company-ca.pem": "no PEM\n",
    "inventories/production/dynamic.py": "import os;x=1\n",
    "playbooks/ours.yml": "- hosts: all\n  tasks:\n   - shell: ls\n",
    "roles/ours/defaults/main.yml": "nothing: 1\n",
    "roles/ours/tasks/main.yml": "- shell: ls\n",
    "lab/ours.py": "def f(x): return x\n",
    "plugins/filter/ours.py": "import os;x=1\n",
    "bench/results/result.yml": "a:   1\n",
    "docs/ours.md": "[nowhere](nowhere.md)\n",
    # What the last `make test` has left: by it the suites change their order.
    "tests/output/junit/lab-drain.xml": '<testsuites><testsuite time="99999"/></testsuites>',
}
"""What a user may leave in a clone, beside what the commands leave."""
READS_FILES = (
    "test_collection.py", "test_docs.py", "test_lint.py", "test_molecule.py", "test_playbooks.py",
    "plugins/test_argument_specs.py", "plugins/test_target_hosts.py", "plugins/test_variables.py",
    "test_suites.py::test_the_list_shows_each_suite_and_runs_none",
)  # fmt: skip
"""The unit tests that look for files of the project."""


def commands(readme: str) -> list[str]:
    """The commands of the README's blocks, in order."""
    blocks = re.findall(r"(?ms)^ *```sh\n(.*?)^ *```", readme)
    lines = [re.sub(r"\s+# .*", "", line).strip() for block in blocks for line in block.split("\n")]
    return [line for line in lines if line]


def here(command: str) -> str:
    """The command for the lab's hosts."""
    for old, new in INSTEAD.items():
        command = command.replace(old, new)
    return command


class Session:
    """A shell in the clone, in which one command follows the other."""

    def __init__(self, clone: Path, home: Path) -> None:
        self.clone = clone
        self.deadline = time.monotonic() + LIMIT
        password = home / "password"
        password.write_text(PASSWORD)
        real = Path.home()
        # What `make` and the suite hand down is not what a new user has.
        dropped = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VENV", "INVENTORY", "ARGS",
                   "LAB_NAME", "HOSTS", "WORLD", "MIRROR", "RUNNERHOST_STARTED"}  # fmt: skip
        path = os.environ["PATH"].split(":")
        self.environment = {
            "XDG_CONFIG_HOME": str(real / ".config"),
            "XDG_DATA_HOME": str(real / ".local" / "share"),
            "PIP_CACHE_DIR": str(real / ".cache" / "pip"),
            **{name: value for name, value in os.environ.items() if name not in dropped},
            "PATH": ":".join(one for one in path if Path(one) != Path(sys.executable).parent),
            "PYTHON": sys.executable,
            "HOME": str(home),
            "RUNNERHOST_CACHE": str(cache_dir()),
            "EDITOR": "true",
            "ANSIBLE_VAULT_PASSWORD_FILE": str(password),
        }
        self.environment.pop("VIRTUAL_ENV", None)

    def run(self, *lines: str) -> list[str]:
        """What each line printed; all of it is shown. Fails at the first that fails."""
        script = ["set -e"]
        for line in lines:
            script += [f"echo {shlex.quote(f'=== {line}')}", line]
        said: list[list[str]] = []
        left = f"{max(1.0, self.deadline - time.monotonic()):.0f}"
        with subprocess.Popen(
            ["timeout", "--signal=INT", "--kill-after=60", left, "bash", "-c", "\n".join(script)],
            cwd=self.clone, env=self.environment, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as shell:  # fmt: skip
            assert shell.stdout is not None
            for line in shell.stdout:
                print(line, end="", flush=True)
                if line.startswith("=== "):
                    said.append([])
                else:
                    said[-1].append(line)
        assert shell.returncode == 0, f"{lines[len(said) - 1]}:\n{''.join(said[-1][-60:])}"
        return ["".join(part) for part in said]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A fresh clone with a home of its own; its lab is gone at the end."""
    folder = tmp_path_factory.mktemp("readme")
    home, clone = folder / "home", folder / "clone"
    home.mkdir()
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    made = Session(clone, home)
    try:
        yield made
    finally:
        made.deadline = time.monotonic() + 120
        if (clone / ".venv/bin/python").exists():
            made.run("make lab-down")


def test_the_readmes_commands_run_in_their_order(session: Session) -> None:
    readme = (session.clone / "README.md").read_text(encoding="utf-8")
    told = commands(readme)
    assert told[:2] == ["make demo", "make test"]
    wanted = [here(one) for one in told if one not in NOT_RUN]
    said = dict(zip(wanted, session.run(*wanted), strict=True))
    assert "changed=" in said["make demo"]
    assert "failed=0" in said["make provision ARGS=' --check --diff'"]
    assert "failed=0" in said["make verify ARGS=''"]
    vault = session.clone / "inventories/production/group_vars/runner_hosts/vault.yml"
    assert vault.read_text().startswith("$ANSIBLE_VAULT;1.1")
    again = "nothing changed (changed=0)"
    assert f"Run it again, and it ends with `{again}`." in " ".join(readme.split())
    assert again in session.run("make demo")[0]


def test_what_they_and_a_user_leave_turns_no_check_red(session: Session) -> None:
    for name, text in LITTER.items():
        path = session.clone / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tests = " ".join(f"tests/unit/{name}" for name in READS_FILES)
    session.run(
        "make collection", "make lint", f".venv/bin/python -m pytest -q -p no:cacheprovider {tests}"
    )


def test_lab_down_leaves_nothing(session: Session) -> None:
    lab = Lab(checkout=session.clone)
    assert Engine().containers(lab.id)
    session.run("make lab-down")
    assert Engine().containers(lab.id) == []
    assert not lab.inventory.exists()
