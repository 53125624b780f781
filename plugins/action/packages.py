# SPDX-License-Identifier: Apache-2.0
"""Packages in one transaction, and none of apt where dpkg's own record says that all is there."""

from __future__ import annotations

import fnmatch
import re
from typing import Any

from ansible.utils.display import Display

from ansible_collections.runnerhost.toolkit.plugins.module_utils._dpkg import is_installed
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    DISTRIBUTION_SOURCES,
    ToolkitAction,
)

LOOK = "runnerhost.toolkit.host_info"
APT = "runnerhost.toolkit.apt_transaction"
# How old apt's lists may be, in seconds, before they are read anew for an installation.
LISTS_AGE = 3600
RUNNER = "gitlab-runner"
# How often it says what a transaction does, in seconds.
SAYS_EVERY = 10
display = Display()


def satisfied(wanted: str, record: dict[str, str] | None) -> bool:
    """True if dpkg's record fulfils ``name`` or ``name=version-pattern``."""
    _, _, version = wanted.partition("=")
    if record is None or not is_installed(record):
        return False
    if record.get("provided_by"):
        # A version is one of a package of that name.
        return not version
    return not version or fnmatch.fnmatchcase(record["version"], version)


def asking(names: list[str], wanted: dict[str, list[str]]) -> str:
    """The variables that ask for any of the names; all of them where none does."""
    bare = {name.partition("=")[0] for name in names}
    found = [
        variable
        for variable, asked in wanted.items()
        if bare & {str(name).partition("=")[0] for name in asked}
    ]
    return ", ".join(found or wanted)


def judge(
    found: dict[str, Any], wanted: dict[str, list[str]], expected: dict[str, list[str]]
) -> tuple[list[str], list[str]]:
    """Why a simulated transaction must not be made, and warnings.

    Args:
        found: what apt_candidates_info returned as ``simulated``.
        wanted: the packages that each variable asks for.
        expected: versions that a repository offers of packages that must come from it.
    """
    unreadable = [
        f"apt cannot read an apt source of the host, and what is wanted does not need it: {one}"
        for one in found["unreadable"]
    ]
    if found["error"]:
        if found["stops"]:
            where = "; ".join(found["unreadable"])
            return [
                "apt can do nothing on this host until its configuration is corrected: "
                + (f"{where}: " if where else "")
                + found["error"]
            ], []
        if found["unfinished"] and not found["unknown"]:
            # apt judges nothing before dpkg has finished, which the run does first.
            return [], [f"the installation cannot be simulated: {found['error']}", *unreadable]
        pins = f" (pins of the host: {', '.join(found['pins'])})" if found["pins"] else ""
        problems = []
        for name, why in found["unknown"].items():
            close = found["nearest"].get(name, "")
            hint = f"; did you mean {close}?" if close and close != name.partition("=")[0] else ""
            if name in found["pinned"]:
                why, hint = f"a pin of the host's apt keeps it away{pins}", ""
            problems.append(f"{asking([name], wanted)}: cannot install {name!r}: {why}{hint}")
        if not problems:
            named = [n for ns in wanted.values() for n in ns if _is_named(n, found["error"])]
            problems = [f"{asking(named, wanted)}: apt cannot install this: {found['error']}"]
        # What apt could not read may be where it is.
        return problems + [f"apt cannot read {one}" for one in found["unreadable"]], []
    problems = []
    coming = {**found["installs"], **{n: new for n, (_, new) in found["upgrades"].items()}}
    for name, versions in expected.items():
        if name in coming and coming[name] not in versions:
            pins = ", ".join(found.get("pins", [])) or "APT::Default-Release"
            problems.append(
                f"{asking([name], wanted)}: apt would install {name} {coming[name]}, which the "
                f"configured repository does not offer ({', '.join(versions)}): a setting of the "
                f"host's apt prefers another source ({pins})"
            )
    if RUNNER in found["removes"]:
        problems.append(
            f"{', '.join(wanted)}: apt would remove {RUNNER}, since a wanted package conflicts "
            "with it"
        )
    return problems, unreadable


def _is_named(name: str, text: str) -> bool:
    bare = re.escape(name.partition("=")[0])
    return bool(re.search(rf"(?<![\w.+-]){bare}(?![\w.+-])", text))


def further(found: dict[str, Any], todo: list[str]) -> list[str]:
    """What a transaction changes besides the packages that it was asked for."""
    # A runner that is upgraded has a task of its own.
    named = {RUNNER, f"{RUNNER}-helper-images", *(name.partition("=")[0] for name in todo)}
    more = sorted(set(found.get("installs", {})) - named)
    return [
        *(f"- {name} (removed by apt: it conflicts)" for name in found.get("removes", [])),
        *(
            f"+ {name} {old} -> {new}"
            for name, (old, new) in sorted(found.get("upgrades", {}).items())
            if name not in named
        ),
        *([f"+ {len(more)} packages that these need: {', '.join(more)}"] if more else []),
    ]


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def _simulate(
        self, todo: list[str], args: dict[str, Any], task_vars: dict[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        """What apt would do, and warnings; refuses what it would refuse."""
        ways = self.ways(task_vars)
        values = self.network_values(task_vars)
        deployed = ""
        if values["distribution_url"] and "://" in str(values["distribution_key"]):
            # A key that the host holds already is not fetched.
            look = self.ask(LOOK, {"texts": [DISTRIBUTION_SOURCES]}, task_vars)["look"]
            deployed = str(look["files"][DISTRIBUTION_SOURCES].get("text", ""))
        distribution, _ = self.distribution_offer(task_vars, deployed)
        planned = args["planned"]
        files = {path: text for one in planned for path, text in one["files"].items()}
        found: dict[str, Any] = self.offer(
            {
                "install": todo,
                "allow_downgrade": args["allow_downgrade"],
                "files": files,
                "twins": [twins for one in planned for twins in one["twins"]],
                "distribution_restored": args["distribution_restored"],
                "lists_age": 0 if args["fresh"] else LISTS_AGE,
                **distribution,
            },
            ways,
            task_vars,
        )["simulated"]
        expected = {name: vs for one in planned for name, vs in one["versions"].items()}
        problems, warnings = judge(found, args["wanted"], expected)
        self.refuse(problems)
        return found, warnings

    def _apt(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """The transaction's answer; says what it does while it takes long."""

        def call(arguments: dict[str, Any]) -> dict[str, Any]:
            answer: dict[str, Any] = self._execute_module(
                module_name=APT, module_args=arguments, task_vars=task_vars
            )
            return answer

        if self._task.check_mode:
            return call(arguments)
        answer = call({**arguments, "background": True})
        while answer.get("job"):
            answer = call({"job": answer["job"], "patience": SAYS_EVERY})
            if answer.get("phase"):
                name = task_vars.get("inventory_hostname", "host")
                display.display(f"[{name}] {answer['phase']}")
        return answer

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Looks, then calls apt for what is missing; in check mode only says what that is."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self._task.args
        names = [str(n) for ns in [args["names"], *args["wanted"].values()] for n in ns]
        names = list(dict.fromkeys(names))
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
        if args["simulate"]:
            looked_at = {"packages": present, "automatic": sorted(automatic)}
            result.update(changed=False, look={**looked_at, "unfinished": unfinished})
            result["simulated"] = {}
            if missing or along:
                result["simulated"], warnings = self._simulate(
                    [*missing, *along], args, task_vars or {}
                )
                if warnings:
                    result["warnings"] = warnings
            return result
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
        besides = further(args["simulated"], todo) if missing or along else []
        shown = [*(f"{sign} {line}" for line in [*cut, *lines]), *besides]
        result["diff"] = {"prepared": "".join(f"{line}\n" for line in shown)}
        if self._task.check_mode:
            verb = "install" if args["state"] == "present" else "remove"
            does = [f"would {verb}: {', '.join(lines)}"] if lines else []
            does += [f"also: {line}" for line in besides]
            does += [f"would finish what dpkg has left: {', '.join(unfinished)}"] * bool(unfinished)
            result["msg"] = "; ".join(does)
        gone = args["state"] == "absent"
        if self._task.check_mode and not (gone and todo):
            return result
        answer = self._apt(
            {
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
            task_vars or {},
        )
        answer.pop("invocation", None)
        if answer.get("failed") and args["variable"]:
            answer["msg"] = f"{args['variable']}: {answer.get('msg', 'no answer')}"
        if answer.get("finished"):
            result["finished"] = answer["finished"]
        if self._task.check_mode and not answer.get("failed"):
            return result
        unreadable = answer.pop("unreadable", [])
        if unreadable:
            found = {"error": "", "unreadable": unreadable, "installs": {}, "upgrades": {}}
            result["warnings"] = judge({**found, "removes": []}, {}, {})[1]
        # What was unfinished may be done by another process meanwhile.
        result.update(answer, packages=todo, changed=bool(todo or answer.get("finished")))
        return result
