# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs tests/host with the variables and the connection that Ansible has resolved."""

from __future__ import annotations

import json
import os
import secrets as random
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from ansible import context
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.utils.display import Display

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import (
    ROOT,
    missing_packages,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    ToolkitAction,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._unreachable import (
    CONNECTION,
    CONTROLLER,
    Obstacle,
    of_command,
)

ROLES = ("network_access", "build_tools", "python_versions", "gitlab_runner")
TIMEOUT = 600
PROBE_SECONDS = 60
# A socket's path has at most 107 bytes, of which ssh takes 17 for a name of its own meanwhile.
SOCKET_BYTES = 88


class ActionModule(ToolkitAction):
    """The task's controller side; no module runs on the host."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns the failing tests as ``failures``, or as ``obstacle`` why there was no look."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        roles = [str(role) for role in self._task.args.get("roles", ROLES)]
        unknown = [role for role in roles if role not in ROLES]
        if unknown:
            raise AnsibleActionFail(
                f"roles: invalid value {', '.join(unknown)}; expected some of {', '.join(ROLES)}"
            )
        hand_over = str(self._task.args.get("hand_over") or "")
        if hand_over:
            self._hand_over(hand_over, variables)
            return {**result, "changed": False}
        missing = missing_packages("pytest", "pytest-testinfra")
        if missing:
            text, __, cure = missing[0].partition(": ")
            return self._stopped(result, Obstacle(CONTROLLER, text, cure))
        with tempfile.TemporaryDirectory(prefix="runnerhost-verify-") as folder:
            path = os.path.join(folder, "host.json")
            given = self._hand_over(path, variables)
            try:
                obstacle = probe(given["ssh"])
                if obstacle:
                    return self._stopped(result, obstacle)
                return self._tested(result, given["host"], folder, roles)
            except subprocess.TimeoutExpired:
                text = f"the tests have not ended within {TIMEOUT} s"
                cure = "see what the host is busy with, then run again"
                return self._stopped(result, Obstacle(CONNECTION, text, cure))
            finally:
                close(given["ssh"])

    @staticmethod
    def _stopped(result: dict[str, Any], obstacle: Obstacle) -> dict[str, Any]:
        told = {"source": obstacle.source, "found": obstacle.found, "cure": obstacle.cure}
        redacted: dict[str, str] = _secrets.redact(told)
        return {**result, "changed": False, "obstacle": redacted, "failures": []}

    def _hand_over(self, path: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Writes what the tests are told; the file is for this user alone."""
        given = {
            "host": str(variables.get("inventory_hostname", "")),
            "variables": self._variables(variables),
            "ssh": self._ssh(variables, os.path.dirname(path)),
        }
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(given, stream)
        return given

    def _tested(
        self, result: dict[str, Any], name: str, folder: str, roles: list[str]
    ) -> dict[str, Any]:
        """What the tests have found."""
        answer = os.path.join(folder, "result.json")
        arguments = [str(argument) for argument in self._task.args.get("arguments", [])]
        done = subprocess.run(
            command([*arguments, *(f"{ROOT}/tests/host/test_{role}.py" for role in roles)]),
            env=environment(os.path.join(folder, "host.json"), answer),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        lines = _secrets.redact_text(done.stdout + done.stderr).strip().splitlines()
        Display().v("\n".join(lines))
        told: dict[str, Any] = {}
        if os.path.exists(answer):
            with open(answer, encoding="utf-8") as file:
                told = _secrets.redact(json.load(file))
        lost = told.pop("lost", None)
        if lost:
            return self._stopped(result, of_command(lost["code"], lost["stdout"], lost["stderr"]))
        # 0: all passed, 1: some failed (pytest's documentation, exit codes).
        if done.returncode not in (0, 1) or (done.returncode and not told.get("failures")):
            said = lines[-1] if lines else f"pytest ended with exit code {done.returncode}"
            cure = (
                f"run them by hand to see why: {by_hand(name, self._inventory(), context.CLIARGS)}"
            )
            return self._stopped(result, Obstacle(CONTROLLER, said, cure))
        result.update(told, changed=False, summary=lines[-1] if lines else "no output")
        result["msg"] = f"{name}: {result['summary']}"
        result["by_hand"] = by_hand(name, self._inventory(), context.CLIARGS)
        # The number of tests is what the reader wants to see, also without -v.
        Display().display(str(result["msg"]))
        return result

    def _inventory(self) -> str:
        """The inventory of this run, as it was given."""
        sources = (self._templar.available_variables or {}).get("ansible_inventory_sources") or []
        return str(sources[0]) if len(sources) == 1 else ""

    def _variables(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The roles' public variables: defaults overlaid by the inventory, without secrets."""
        merged: dict[str, Any] = {}
        for role in ROLES:
            path = str(ROOT / "roles" / role / "defaults" / "main.yml")
            merged.update(self._loader.load_from_file(path, trusted_as_template=True))
        names = sorted(merged)
        # `name:` without a value says what leaving it out says.
        merged.update((name, value) for name, value in task_vars.items() if value is not None)
        templar = self._templar.copy_with_new_env(available_variables=merged)
        found: dict[str, Any] = {}
        for name in names:
            try:
                found[name] = templar.template(merged[name])
            except AnsibleError:
                # Defaults that need gathered facts: the tests read those from the host itself.
                continue
        plain = json.loads(json.dumps(found, default=str))
        redacted: dict[str, Any] = _secrets.redact(plain)
        return redacted

    def _ssh(self, task_vars: dict[str, Any], folder: str) -> dict[str, Any]:
        """How to reach the host, as Ansible's ssh plugin would.

        Args:
            task_vars: the task's variables.
            folder: where the socket of the one connection may lie.
        """
        connection = self._connection
        if not str(connection.ansible_name).endswith("ssh"):
            raise AnsibleActionFail(
                "verify reaches hosts over ssh, this one has the connection "
                f"{connection.ansible_name}"
            )
        option = connection.get_option
        host = str(option("host") or task_vars.get("inventory_hostname"))
        words = [str(option("ssh_executable") or "ssh")]
        if option("password"):
            words = ["sshpass", "-e", *words]
        else:
            words += ["-o", "BatchMode=yes"]
        if not option("host_key_checking"):
            words += ["-o", "StrictHostKeyChecking=no"]
        words += ["-o", f"ConnectTimeout={int(option('timeout') or 10)}"]
        for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
            words += connection._split_ssh_args(option(name) or "")
        socket = os.path.join(folder, "ssh")
        if not any("ControlPath" in word for word in words):
            # One connection for all tests: each command then costs a few hundredths of a second.
            if len(os.fsencode(socket)) <= SOCKET_BYTES:
                words += ["-o", "ControlMaster=auto", "-o", "ControlPersist=60s"]
                words += ["-o", f"ControlPath={socket.replace('%', '%%')}"]
            else:
                words += ["-o", "ControlPath=none"]
        if option("port"):
            words += ["-p", str(option("port"))]
        if option("private_key_file"):
            words += ["-i", os.path.expanduser(str(option("private_key_file")))]
        user = option("remote_user")
        become = str(
            task_vars.get("ansible_become_password") or task_vars.get("ansible_become_pass") or ""
        )
        become = become or str(getattr(self._play_context, "become_pass", "") or "")
        password = str(self._templar.template(become)) if become else ""
        mark = f"runnerhost-{random.token_hex(8)}"
        sudo = ["sudo", "-S", "-p", ""] if password else ["sudo", "-n"]
        begin = f'echo {mark}; echo {mark} >&2; exec /bin/sh -c "$1"'
        return {
            "argv": [*words, f"{user}@{host}" if user else host],
            # What the login and sudo print of their own comes before the mark.
            # In English, since sudo's words are read.
            "remote": [
                *("env", "LC_ALL=C.UTF-8", "LANGUAGE="),
                *([] if user == "root" else sudo),
                *("/bin/sh", "-c", begin, "sh"),
            ],
            "mark": mark,
            "stdin": f"{password}\n" if password and user != "root" else "",
            "password": str(option("password") or ""),
            "socket": socket,
        }


def command(arguments: list[str]) -> list[str]:
    """The tests, without any configuration of pytest that lies around."""
    return [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        os.devnull,
        f"--rootdir={ROOT}",
        f"--confcutdir={ROOT}/tests/host",
        "--color=no",
        "-q",
        "--tb=short",
        "--no-header",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]


def environment(given: str, answer: str) -> dict[str, str]:
    """The environment of the tests: the user's own settings of pytest and its plugins stay out."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {
        **own,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "RUNNERHOST_VERIFY": given,
        "RUNNERHOST_VERIFY_RESULT": answer,
        "PYTHONDONTWRITEBYTECODE": "1",
        # What lies in the working directory is no module of pytest's.
        "PYTHONSAFEPATH": "1",
    }


def by_hand(name: str, inventory: str, options: Mapping[str, Any]) -> str:
    """The same tests as a command that a person can type.

    Args:
        name: the host's.
        inventory: empty where the run has had several.
        options: Ansible's command line, of which Ansible needs the logins and the vault again.
    """
    text = (
        f"{sys.executable} -m pytest {ROOT}/tests/host --hosts={name} "
        f"--ansible-inventory={shlex.quote(inventory) if inventory else 'INVENTORY'}"
    )
    more = shlex.join(_login_options(options))
    return f"{text} --ansible-args={shlex.quote(more)}" if more else text


def _login_options(options: Mapping[str, Any]) -> list[str]:
    """What of Ansible's command line is no secret, and reaches the host and the vault."""
    found = [
        f"--{option.replace('_', '-')}"
        for option, name in (
            ("ask_vault_pass", "ask_vault_pass"),
            ("ask_pass", "ask_pass"),
            ("ask_become_pass", "become_ask_pass"),
        )
        if options.get(name)
    ]
    for option, name in (
        ("vault_id", "vault_ids"),
        ("vault_password_file", "vault_password_files"),
        ("become_password_file", "become_password_file"),
        ("connection_password_file", "connection_password_file"),
        ("private_key", "private_key_file"),
        ("user", "remote_user"),
    ):
        given = options.get(name) or []
        for value in [given] if isinstance(given, str) else given:
            # The tests call Ansible from another folder.
            label, at, path = str(value).rpartition("@")
            there = f"{label}{at}{os.path.abspath(path)}" if os.path.exists(path) else str(value)
            found.append(f"--{option.replace('_', '-')}={there}")
    for value in options.get("extra_vars") or []:
        if str(value).startswith("@"):
            found.append(f"-e@{os.path.abspath(str(value)[1:])}")
        elif not str(value).startswith(("runner_host_verify_", "verify_")):
            # May hold a secret.
            found.append("-eNAME=VALUE")
    return found


def probe(ssh: dict[str, Any]) -> Obstacle | None:
    """Whether one command runs on the host as root; opens the connection that the tests use."""
    program = ssh["argv"][0]
    if not shutil.which(program):
        text = f"{program}: command not found"
        return Obstacle(CONTROLLER, text, f"install {program} on this machine")
    test = "test $(id -u) = 0 && file=$(mktemp) && rm $file"
    try:
        done = subprocess.run(
            [*ssh["argv"], shlex.join([*ssh["remote"], test])],
            input=ssh["stdin"],
            env={**os.environ, **({"SSHPASS": ssh["password"]} if ssh["password"] else {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        text = f"the host has not answered within {PROBE_SECONDS} s"
        return Obstacle(CONNECTION, text, "try the same login with ssh by hand")
    if ssh["mark"] in done.stdout and not done.returncode:
        return None
    __, begun, said = done.stderr.partition(ssh["mark"])
    return of_command(done.returncode, "" if begun else done.stdout, said or done.stderr)


def close(ssh: dict[str, Any]) -> None:
    """Ends the connection, if one was opened."""
    if os.path.exists(ssh["socket"]):
        *words, target = ssh["argv"]
        subprocess.run([*words, "-O", "exit", target], capture_output=True, timeout=10, check=False)
