# SPDX-License-Identifier: Apache-2.0
"""Packages in one transaction, and none of apt where dpkg's own record says that all is there."""

from __future__ import annotations

import fnmatch
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils.host import is_installed
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils.controller import ToolkitAction

LOOK = "runnerhost.toolkit.host_look"
READY = "runnerhost.toolkit.apt_ready"
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
                "automatic": {"type": "list", "elements": "str", "default": []},
                "companions": {"type": "list", "elements": "str", "default": []},
                "fresh": {"type": "bool", "default": False},
                "not_yet": {"type": "list", "elements": "str", "default": []},
                "allow_downgrade": {"type": "bool", "default": False},
                "lock_timeout": {"type": "int", "default": 600},
            }
        )
        names = [str(name) for name in args["names"]]
        companions = [str(name) for name in args["companions"]]
        present, automatic, unfinished = args["look"], set(args["automatic"]), []
        if present is None:
            bare = [name.partition("=")[0] for name in [*names, *companions]]
            looked = self._execute_module(
                module_name=LOOK, module_args={"packages": bare}, task_vars=task_vars
            )
            if looked.get("failed"):
                return {**result, **looked}
            present = looked["look"]["packages"]
            automatic = set(looked["look"]["automatic"])
            unfinished = looked["look"]["unfinished"]
        if args["state"] == "absent":
            todo = [name for name in names if is_installed(present.get(name))]
            marked: list[str] = []
            along: list[str] = []
        else:
            missing = [n for n in names if not satisfied(n, present.get(n.partition("=")[0]))]
            marked = [n for n in names if n not in missing and n.partition("=")[0] in automatic]
            along = [n for n in companions if not satisfied(n, present.get(n.partition("=")[0]))]
            todo = [*missing, *marked, *along]
        result.update(changed=bool(todo or unfinished), packages=todo)
        if unfinished:
            result["finished"] = unfinished
        if not result["changed"]:
            return result
        sign = "+" if args["state"] == "present" else "-"
        later = set(args["not_yet"]) if self._task.check_mode else set()
        notes = {
            **dict.fromkeys(later, " (from a repository not yet added)"),
            **dict.fromkeys(marked, " (there already; autoremove may not take it any more)"),
        }
        lines = [f"{name}{notes.get(name.partition('=')[0], '')}" for name in todo]
        cut = [f"{name} (left unfinished by another transaction)" for name in unfinished]
        result["diff"] = {"prepared": "".join(f"{sign} {line}\n" for line in [*cut, *lines])}
        if self._task.check_mode:
            verb = "install" if args["state"] == "present" else "remove"
            does = [f"would {verb}: {', '.join(lines)}"] if lines else []
            does += [f"would finish what dpkg has left: {', '.join(unfinished)}"] * bool(unfinished)
            result["msg"] = "; ".join(does)
            return result
        install = args["state"] == "present"
        answer: dict[str, Any] = {}
        # Young lists may be those of other sources, or gone: a second try reads them anew.
        ages = [-1] if not (install and todo) else [0] if args["fresh"] else [LISTS_AGE, 0]
        for age in ages:
            # Also where the record was read by another task: apt refuses all else before.
            ready = self._execute_module(
                module_name=READY,
                module_args={"lock_timeout": args["lock_timeout"], "lists_age": age},
                task_vars=task_vars,
            )
            if ready.get("failed"):
                return {**result, **ready}
            if ready["finished"]:
                result["finished"] = ready["finished"]
            if not todo:
                # Another process may have been at it, and be through.
                result["changed"] = bool(ready["finished"])
                return result
            answer = self._execute_module(
                module_name="ansible.builtin.apt",
                module_args={
                    "name": todo,
                    "state": args["state"],
                    "install_recommends": False,
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
        # apt alone does not call a mark a change.
        result.update(packages=todo, changed=True)
        if install and not result.get("failed"):
            self._keep_marks([n.partition("=")[0] for n in along], automatic, result, task_vars)
        return result

    def _keep_marks(
        self,
        companions: list[str],
        automatic: set[str],
        result: dict[str, Any],
        task_vars: dict[str, Any] | None,
    ) -> None:
        """What was named only to go along is automatic again, so that autoremove tidies up."""
        names = [name for name in companions if name in automatic]
        if not names:
            return
        done = self._execute_module(
            module_name="ansible.builtin.command",
            module_args={"argv": ["apt-mark", "auto", *names]},
            task_vars=task_vars,
        )
        if done.get("failed"):
            result.update(failed=True, msg=f"apt-mark auto: {done.get('stderr') or done['msg']}")
