# SPDX-License-Identifier: Apache-2.0
"""Packages in one transaction, and none of apt where dpkg's own record says that all is there."""

from __future__ import annotations

import fnmatch
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils.host import is_installed
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils.controller import ToolkitAction

LOOK = "runnerhost.toolkit.host_look"
# How old apt's lists may be, in seconds, before they are read anew for an installation.
LISTS_AGE = 3600
# How much of apt's output a failure shows.
ENDING_LINES = 12


def satisfied(wanted: str, record: dict[str, str] | None) -> bool:
    """True if dpkg's record fulfils ``name`` or ``name=version-pattern``."""
    _, _, version = wanted.partition("=")
    if record is None or not is_installed(record):
        return False
    return not version or fnmatch.fnmatchcase(record["version"], version)


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Looks, then calls apt for what is missing; in check mode only says what that is."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, args = self.validate_argument_spec(
            {
                "names": {"type": "list", "elements": "str", "required": True},
                "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                "look": {"type": "dict"},
                "fresh": {"type": "bool", "default": False},
                "not_yet": {"type": "list", "elements": "str", "default": []},
                "allow_downgrade": {"type": "bool", "default": False},
                "lock_timeout": {"type": "int", "default": 600},
            }
        )
        names = [str(name) for name in args["names"]]
        present = args["look"]
        if present is None:
            bare = [name.partition("=")[0] for name in names]
            looked = self._execute_module(
                module_name=LOOK, module_args={"packages": bare}, task_vars=task_vars
            )
            if looked.get("failed"):
                return {**result, **looked}
            present = looked["look"]["packages"]
        if args["state"] == "absent":
            todo = [name for name in names if is_installed(present.get(name))]
        else:
            todo = [n for n in names if not satisfied(n, present.get(n.partition("=")[0]))]
        result.update(changed=bool(todo), packages=todo)
        if not todo:
            return result
        sign = "+" if args["state"] == "present" else "-"
        later = set(args["not_yet"]) if self._task.check_mode else set()
        note = " (from a repository not yet added)"
        lines = [n + (note if n.partition("=")[0] in later else "") for n in todo]
        result["diff"] = {"prepared": "".join(f"{sign} {line}\n" for line in lines)}
        if self._task.check_mode:
            verb = "install" if args["state"] == "present" else "remove"
            result["msg"] = f"would {verb}: {', '.join(lines)}"
            return result
        # At first boot cloud-init may still be installing; its own failure is not ours.
        self._execute_module(
            module_name="ansible.builtin.command",
            module_args={
                "argv": ["timeout", str(args["lock_timeout"]), "cloud-init", "status", "--wait"],
                "removes": "/usr/bin/cloud-init",
            },
            task_vars=task_vars,
        )
        install = args["state"] == "present"
        answer: dict[str, Any] = {}
        # Young lists may be those of other sources, or gone: a second try reads them anew.
        for age in [0] if args["fresh"] or not install else [LISTS_AGE, 0]:
            answer = self._execute_module(
                module_name="ansible.builtin.apt",
                module_args={
                    "name": todo,
                    "state": args["state"],
                    "install_recommends": False,
                    "update_cache": install,
                    "cache_valid_time": age,
                    "allow_downgrade": args["allow_downgrade"],
                    "lock_timeout": args["lock_timeout"],
                },
                task_vars=task_vars,
            )
            if not answer.get("failed"):
                break
        answer.pop("invocation", None)
        # apt's own screens are hundreds of lines: what counts is in `packages`, and on failure at
        # the end.
        ending = str(answer.get("stdout", "")).splitlines()[-ENDING_LINES:]
        for long in ("stdout", "stdout_lines", "stderr_lines", "diff"):
            answer.pop(long, None)
        if answer.get("failed"):
            answer["ending"] = ending
        else:
            answer.pop("stderr", None)
        result.update(answer)
        result["packages"] = todo
        return result
