# SPDX-License-Identifier: Apache-2.0
"""Runs tests/host with the variables and the connection that Ansible has resolved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError

from ansible_collections.runnerhost.toolkit.plugins.module_utils import secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils.controller import (
    ROOT,
    ToolkitAction,
    lacking,
)

ROLES = ("network_access", "build_tools", "python_versions", "gitlab_runner")
TIMEOUT = 600


class ActionModule(ToolkitAction):
    """The task's controller side; no module runs on the host."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Fails with the failing tests, also as ``failures``; succeeds with their number."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.refuse(lacking("pytest", "testinfra"))
        variables = task_vars or {}
        roles = [str(role) for role in self._task.args.get("roles", ROLES)]
        unknown = [role for role in roles if role not in ROLES]
        if unknown:
            raise AnsibleActionFail(
                f"roles got {', '.join(unknown)}, it takes some of {', '.join(ROLES)}"
            )
        given = {
            "host": str(variables.get("inventory_hostname", "")),
            "variables": self._variables(variables),
            "ssh": self._ssh(variables),
        }
        with tempfile.TemporaryDirectory(prefix="runnerhost-verify-") as folder:
            path = os.path.join(folder, "host.json")
            handle = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(given, stream)
            failures = os.path.join(folder, "failures.json")
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "pytest",
                    "-c",
                    os.devnull,
                    f"--rootdir={ROOT}",
                    "-q",
                    "-ra",
                    "--tb=short",
                    "--no-header",
                    "-p",
                    "no:cacheprovider",
                    *[str(argument) for argument in self._task.args.get("arguments", [])],
                    *[str(ROOT / "tests" / "host" / f"test_{role}.py") for role in roles],
                ],
                env={
                    **os.environ,
                    "RUNNERHOST_VERIFY": path,
                    "RUNNERHOST_VERIFY_FAILURES": failures,
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
            if os.path.exists(failures):
                with open(failures, encoding="utf-8") as file:
                    result["failures"] = secrets.redact(json.load(file))
        lines = secrets.redact_text(done.stdout + done.stderr).strip().splitlines()
        result["summary"] = lines[-1] if lines else "no output"
        result["msg"] = f"{given['host']}: {result['summary']}"
        # The number of tests is what the reader wants to see, also without -v.
        result["_ansible_verbose_always"] = True
        if done.returncode:
            result.update(failed=True, tests=lines)
        return result

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
        redacted: dict[str, Any] = secrets.redact(plain)
        return redacted

    def _ssh(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """How to reach the host, as Ansible's ssh plugin would."""
        connection = self._connection
        if not str(connection.ansible_name).endswith("ssh"):
            raise AnsibleActionFail(
                "verify reaches hosts over ssh, this one has the connection "
                f"{connection.ansible_name}"
            )
        option = connection.get_option
        host = str(option("host") or task_vars.get("inventory_hostname"))
        words = ["ssh", "-o", "BatchMode=yes"] if not option("password") else ["ssh"]
        for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
            words += connection._split_ssh_args(option(name) or "")
        if not any("ControlPath" in word for word in words):
            # One connection for all tests: each command then costs a few hundredths of a second.
            words += ["-o", "ControlMaster=auto", "-o", "ControlPersist=60s"]
            words += ["-o", "ControlPath=~/.ssh/runnerhost-%C"]
        if option("port"):
            words += ["-p", str(option("port"))]
        if option("private_key_file"):
            words += ["-i", os.path.expanduser(str(option("private_key_file")))]
        user = option("remote_user")
        become = str(
            task_vars.get("ansible_become_password") or task_vars.get("ansible_become_pass") or ""
        )
        become = become or str(getattr(self._play_context, "become_pass", "") or "")
        return {
            "argv": [*words, f"{user}@{host}" if user else host],
            "password": str(option("password") or ""),
            "become_password": str(self._templar.template(become)) if become else "",
            "root": user == "root",
        }
