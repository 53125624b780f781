# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs tests/host with the variables and the connection that Ansible has resolved."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.utils.display import Display

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _host_ssh,
    _index_settings,
    _network,
    _templates,
    _variables,
    _wanted_files,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import (
    ROOT,
    missing_packages,
    validated,
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

ROLES = _variables.ROLES
TIMEOUT = 600
VENV_INFO = "runnerhost.toolkit.venv_info"
RUNNER_PLAN = "runnerhost.toolkit.runner_plan"


class ActionModule(ToolkitAction):
    """The task's controller side; no module runs on the host."""

    def act(self) -> Mapping[str, object]:
        """Returns the failing tests as ``failures``, or as ``obstacle`` why there was no look."""
        roles = [str(role) for role in self._task.args.get("roles", ROLES)]
        unknown = [role for role in roles if role not in ROLES]
        if unknown:
            raise AnsibleActionFail(
                f"roles: invalid value {', '.join(unknown)}; expected one or more of: "
                + ", ".join(ROLES)
            )
        hand_over = str(self._task.args.get("hand_over") or "")
        if hand_over:
            self._hand_over(hand_over)
            return {"changed": False}
        missing = missing_packages("pytest", "pytest-testinfra")
        if missing:
            text, __, remedy = missing[0].partition(": ")
            return self._stopped(Obstacle(CONTROLLER, text, remedy))
        with tempfile.TemporaryDirectory(prefix="runnerhost-verify-") as folder:
            ssh = self._hand_over(os.path.join(folder, "host.json"))
            try:
                obstacle = ssh.probe()
                if obstacle:
                    return self._stopped(obstacle)
                return self._tested(folder, roles, ssh)
            except subprocess.TimeoutExpired:
                text = f"the tests have not ended within {TIMEOUT} s"
                remedy = "see what the host is busy with, then run again"
                return self._stopped(Obstacle(CONNECTION, text, remedy))
            finally:
                ssh.close()

    @staticmethod
    def _stopped(obstacle: Obstacle) -> Mapping[str, Any]:
        told = {"source": obstacle.source, "found": obstacle.found, "remedy": obstacle.remedy}
        return {"changed": False, "obstacle": _secrets.redact(told), "failures": []}

    def _host(self) -> str:
        return str(self.variables.get("inventory_hostname", ""))

    def _hand_over(self, path: str) -> _host_ssh.Ssh:
        """Writes what the tests are told; the file is for this user alone."""
        ssh = self._ssh(os.path.dirname(path))
        given = {"host": self._host(), "variables": self._variables(), "ssh": asdict(ssh)}
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(given, stream)
        return ssh

    def _tested(self, folder: str, roles: list[str], ssh: _host_ssh.Ssh) -> Mapping[str, object]:
        """What the tests have found, and beside them the host's virtual environments."""
        answer = os.path.join(folder, "result.json")
        arguments = [str(argument) for argument in self._task.args.get("arguments", [])]
        with subprocess.Popen(
            command([*arguments, *(f"{ROOT}/tests/host/test_{role}.py" for role in roles)]),
            env=environment(os.path.join(folder, "host.json"), answer),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as tests:
            try:
                pythons = self._pythons() if "python_versions" in roles else {}
                files = self._files(ssh, roles)
                output = "".join(tests.communicate(timeout=TIMEOUT))
            except BaseException:
                tests.kill()
                raise
        told = self._answered(answer, tests.returncode, output)
        if "answer" in files:
            said = [str(one["what"]) for one in told.get("failures", [])]
            found = _wanted_files.differences(files.pop("answer"), files.pop("items"), said)
            files["differences"] = found
        return {**pythons, **told, "files": files}

    def _files(self, ssh: _host_ssh.Ssh, roles: list[str]) -> dict[str, Any]:
        """The files whose content the inventory says, and what the host has in their place."""
        try:
            items = self._wanted_files(roles)
            if not items:
                return {}
            done = ssh.run(_wanted_files.question(items), TIMEOUT)
            if done.returncode:
                said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
                raise AnsibleActionFail(f"the host's files cannot be read: {said}")
            return {"answer": done.stdout, "items": items}
        except AnsibleError as error:
            # The tests say what they have found all the same.
            return {"failed": True, "msg": _secrets.redact_text(str(error))}

    def _wanted_files(self, roles: list[str]) -> list[dict[str, Any]]:
        """The items of `file_set`, rendered."""
        network = self.network(self.variables)
        found: list[dict[str, Any]] = []
        if "network_access" in roles:
            mirror = bool(self._resolved("network_access").get("network_access_distribution_url"))
            found += _wanted_files.of_network(network, mirror)
        if "gitlab_runner" in roles:
            found += self._files_of_runner(network)
        return found

    def _files_of_runner(self, network: _network.Network) -> list[dict[str, Any]]:
        """Those of gitlab_runner, by the role's own lists and templates."""
        role = ROOT / "roles" / "gitlab_runner"
        merged = {**self._merged(*ROLES), **self._loaded(role / "vars" / "main.yml")}
        tasks = self._loaded(role / "tasks" / "plan.yml")
        task = next(one for one in tasks if RUNNER_PLAN in one)
        templar = self._templar.copy_with_new_env(available_variables=merged)
        args, problems = validated("runner_plan", templar.template(task[RUNNER_PLAN]))
        self.refuse(problems)
        plan = _wanted_files.of_runner(args, self._host(), network)
        merged[task["register"]] = {"plan": plan}
        templar = self._templar.copy_with_new_env(available_variables=merged)
        items = templar.template(merged["gitlab_runner_host_files"])
        unknown = [args["paths"][name] for name in ("sources", "logind", "machine")]
        found = _wanted_files.of_host(plan, items, unknown)
        for one in found:
            name, own = one.pop("template", ""), one.pop("vars", {})
            if name and one.get("state", "file") == "file":
                path = role / "templates" / name
                one["content"] = _templates.rendered(
                    path, self._loader, self._templar, {**merged, **own}
                )
        return found

    def _loaded(self, path: Path) -> Any:
        """A role's YAML file, with its templates."""
        return self._loader.load_from_file(str(path), trusted_as_template=True)

    def _pythons(self) -> Mapping[str, object]:
        """The host's virtual environments, and what is wanted of its Pythons."""
        wanted = self._resolved("python_versions")
        places = wanted.get("python_versions_venv_places")
        try:
            if places is None:
                raise AnsibleActionFail("python_versions_venv_places: its template has no value")
            venvs = self.ask(VENV_INFO, {"places": places}, self.variables)
        except AnsibleError as error:
            # The tests say what they have found all the same.
            venvs = {"failed": True, "msg": _secrets.redact_text(str(error))}
        return {
            "venvs": venvs,
            "wanted": wanted.get("python_versions_wanted", []),
            "end_of_life_warning_days": wanted.get("python_versions_end_of_life_warning_days", -1),
        }

    def _answered(self, answer: str, code: int, output: str) -> Mapping[str, Any]:
        """What pytest's exit code and result say.

        Args:
            answer: the file with the result.
            code: the exit code.
            output: what it wrote.
        """
        lines = _secrets.redact_text(output).strip().splitlines()
        Display().v("\n".join(lines))
        told = {}
        if os.path.exists(answer):
            with open(answer, encoding="utf-8") as file:
                told = _secrets.redact(json.load(file))
        lost = told.pop("lost", None)
        if lost:
            return self._stopped(of_command(lost["code"], lost["stdout"], lost["stderr"]))
        again = by_hand(self._host(), self._inventory(), context.CLIARGS)
        # 0: all passed, 1: some failed (pytest's documentation, exit codes).
        if code not in (0, 1) or (code and not told.get("failures")):
            said = lines[-1] if lines else f"pytest ended with exit code {code}"
            return self._stopped(
                Obstacle(CONTROLLER, said, f"run them by hand to see why: {again}")
            )
        summary = lines[-1] if lines else "no output"
        # The number of tests is what the reader wants to see, also without -v.
        Display().display(f"{self._host()}: {summary}")
        return {
            **told,
            "changed": False,
            "summary": summary,
            "msg": f"{self._host()}: {summary}",
            "by_hand": again,
        }

    def _inventory(self) -> str:
        """The inventory of this run, as it was given."""
        sources = (self._templar.available_variables or {}).get("ansible_inventory_sources") or []
        return str(sources[0]) if len(sources) == 1 else ""

    def _variables(self) -> Mapping[str, Any]:
        """The roles' public variables: defaults overlaid by the inventory, without secrets."""
        found = self._resolved(*ROLES)
        # By its name alone, all of this list would be a secret.
        named = {name: found[name] for name in (_index_settings.VARIABLE,) if name in found}
        entries = {name: _secrets.redact(value) for name, value in named.items()}
        return {**_secrets.redact(found), **entries}

    def _resolved(self, *roles: str) -> dict[str, Any]:
        """The public variables of these roles, as plain data."""
        merged = self._merged(*roles)
        names = sorted(self._defaults(*roles))
        templar = self._templar.copy_with_new_env(available_variables=merged)
        found = {}
        for name in names:
            try:
                found[name] = templar.template(merged[name])
            except AnsibleError:
                # Defaults that need gathered facts: the tests read those from the host itself.
                continue
        plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
        return plain

    def _defaults(self, *roles: str) -> dict[str, Any]:
        """The defaults of these roles."""
        found: dict[str, Any] = {}
        for role in roles:
            found.update(self._loaded(ROOT / "roles" / role / "defaults" / "main.yml"))
        return found

    def _merged(self, *roles: str) -> dict[str, Any]:
        """The defaults of these roles, overlaid by the host's variables."""
        # `name:` without a value says what leaving it out says.
        given = {name: value for name, value in self.variables.items() if value is not None}
        return {**self._defaults(*roles), **given}

    def _ssh(self, folder: str) -> _host_ssh.Ssh:
        """How to reach the host.

        Args:
            folder: where the socket of the one connection may lie.
        """
        given = self.variables
        become = given.get("ansible_become_password") or given.get("ansible_become_pass")
        # As it is: str() would take away the mark by which Ansible trusts a template.
        become = self._templar.template(become) if become else None
        password = str(become or getattr(self._play_context, "become_pass", "") or "")
        name = str(given.get("inventory_hostname"))
        return _host_ssh.of_connection(self._connection, name, password, folder)


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
