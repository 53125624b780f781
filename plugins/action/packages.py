# SPDX-License-Identifier: Apache-2.0
"""Packages in one transaction, and none of apt where dpkg's own record says that all is there."""

from __future__ import annotations

import fnmatch
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils.host import is_installed
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils.controller import ToolkitAction

LOOK = "runnerhost.toolkit.host_look"
APT = "runnerhost.toolkit.apt_transaction"
# How old apt's lists may be, in seconds, before they are read anew for an installation.
LISTS_AGE = 3600


def satisfied(wanted: str, record: dict[str, str] | None) -> bool:
    """True if dpkg's record fulfils ``name`` or ``name=version-pattern``."""
    _, _, version = wanted.partition("=")
    if record is None or not is_installed(record):
        return False
    if record.get("provided_by"):
        # A version is one of a package of that name.
        return not version
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
                "unfinished": {"type": "list", "elements": "str", "default": []},
                "companions": {"type": "list", "elements": "str", "default": []},
                "fresh": {"type": "bool", "default": False},
                "not_yet": {"type": "list", "elements": "str", "default": []},
                "allow_downgrade": {"type": "bool", "default": False},
                "lock_timeout": {"type": "int", "default": 600},
                "variable": {"type": "str", "default": ""},
            }
        )
        names = [str(name) for name in args["names"]]
        companions = [str(name) for name in args["companions"]]
        present, automatic = args["look"], set(args["automatic"])
        unfinished = list(args["unfinished"])
        if present is None:
            bare = [name.partition("=")[0] for name in [*names, *companions]]
            looked = self._execute_module(
                module_name=LOOK, module_args={"packages": bare}, task_vars=task_vars
            )
            if looked.get("failed"):
                return {**result, **looked}
            present = {**looked["look"]["packages"], **looked["look"].get("provided", {})}
            automatic = set(looked["look"]["automatic"])
            unfinished = looked["look"]["unfinished"]

        def own(name: str) -> str:
            """The package that is there for a name: its own, or the one that provides it."""
            bare = name.partition("=")[0]
            return str((present.get(bare) or {}).get("provided_by", bare))

        if args["state"] == "absent":
            # Not the provider of a name: nobody has asked for that.
            todo = [n for n in names if is_installed(present.get(n)) and own(n) == n]
            missing: list[str] = []
            marked: list[str] = []
            along: list[str] = []
        else:
            missing = [n for n in names if not satisfied(n, present.get(n.partition("=")[0]))]
            marked = [n for n in names if n not in missing and own(n) in automatic]
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
        gone = args["state"] == "absent"
        if self._task.check_mode and not (gone and todo):
            return result
        answer = self._execute_module(
            module_name=APT,
            module_args={
                "names": todo if gone else [*missing, *along],
                "state": args["state"],
                "manual": [own(name) for name in marked],
                # What was named only to go along, so that autoremove tidies up.
                "automatic": [
                    name for one in along if (name := one.partition("=")[0]) in automatic
                ],
                "allow_downgrade": args["allow_downgrade"],
                "lock_timeout": args["lock_timeout"],
                "lists_age": 0 if args["fresh"] else LISTS_AGE,
            },
            task_vars=task_vars,
        )
        answer.pop("invocation", None)
        if answer.get("failed") and args["variable"]:
            answer["msg"] = f"{args['variable']}: {answer.get('msg', 'no answer')}"
        if answer.get("finished"):
            result["finished"] = answer["finished"]
        if self._task.check_mode and not answer.get("failed"):
            return result
        # What was unfinished may be done by another process meanwhile.
        result.update(answer, packages=todo, changed=bool(todo or answer.get("finished")))
        return result
