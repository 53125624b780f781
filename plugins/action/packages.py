# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages in one transaction, and none of apt where dpkg's own record says that all is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.utils.display import Display

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _package_plan,
    _package_simulation,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    DISTRIBUTION_SOURCES,
    HOST_INFO,
    ToolkitAction,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._package_plan import (
    Known,
    Plan,
    Words,
)

APT = "runnerhost.toolkit.apt_transaction"
# How old apt's lists may be, in seconds, before they are read anew for an installation.
LISTS_AGE = 3600
# How often it says what a transaction does, in seconds.
SAYS_EVERY = 10
display = Display()


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def act(self) -> Mapping[str, object]:
        """Reads dpkg's record, then calls apt for what is missing; in check mode only says it."""
        result: dict[str, Any] = {}
        variables = self.variables
        args = self._task.args
        names = [name for ns in [args["names"], *args["wanted"].values()] for name in map(str, ns)]
        names = list(dict.fromkeys(names))
        known = self._known([*names, *args["companions"]], variables)
        if args["state"] == "absent":
            plan = _package_plan.absent(names, known)
        else:
            plan = _package_plan.present(names, args["companions"], known)
        if args["simulate"]:
            return {**result, **self._simulation(plan, variables)}
        result.update(changed=plan.changes, packages=plan.names)
        if known.unfinished:
            result["finished"] = known.unfinished
        if not plan.changes:
            return result
        later = args["not_yet"] if self._task.check_mode else []
        words = Words(plan, later, args["simulated"])
        result["diff"] = {"prepared": words.diff()}
        if self._task.check_mode:
            result["msg"] = words.prediction()
            # Only apt itself knows what a removal would take along.
            if not plan.removed:
                return result
        return {**result, **self._transaction(plan, variables)}

    def _known(self, names: list[str], variables: Mapping[str, Any]) -> Known:
        """dpkg's record: an earlier task's, or this one's."""
        args = self._task.args
        if args["info"] is not None:
            return Known(args["info"], frozenset(args["automatic"]), args["unfinished"])
        bare = [name.partition("=")[0] for name in names]
        return Known.of(self.ask(HOST_INFO, {"packages": bare}, variables)["info"])

    def _simulation(self, plan: Plan, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What apt would do, and what dpkg knows; refuses what apt would refuse."""
        result: dict[str, Any] = {
            "changed": False,
            "info": plan.known.facts(),
            "needed": plan.changes,
            "simulated": {},
        }
        if plan.missing or plan.along:
            found = self._simulated([*plan.missing, *plan.along], variables)
            args = self._task.args
            expected = {n: vs for one in args["planned"] for n, vs in one["versions"].items()}
            problems, warnings = _package_simulation.judge(found, args["wanted"], expected)
            self.refuse(problems)
            result["simulated"] = found
            if warnings:
                result["warnings"] = warnings
        return result

    def _simulated(self, names: list[str], variables: Mapping[str, Any]) -> dict[str, Any]:
        """apt's answer, over the host's sources as the run will leave them."""
        args = self._task.args
        network = self.network(variables)
        values = self.network_values(variables)
        deployed = ""
        if values["distribution_url"] and "://" in str(values["distribution_key"]):
            # A key that the host holds already is not fetched.
            info = self.ask(HOST_INFO, {"texts": [DISTRIBUTION_SOURCES]}, variables)["info"]
            deployed = str(info["files"][DISTRIBUTION_SOURCES].get("text", ""))
        distribution, __ = self.distribution_offer(variables, deployed)
        question = {
            "install": names,
            "allow_downgrade": args["allow_downgrade"],
            "files": {path: text for one in args["planned"] for path, text in one["files"].items()},
            "duplicates": [
                duplicates for one in args["planned"] for duplicates in one["duplicates"]
            ],
            "distribution_restored": args["distribution_restored"],
            "lists_age": 0 if args["fresh"] else LISTS_AGE,
            **distribution,
        }
        found: dict[str, Any] = self.candidates(question, network, variables)["simulated"]
        return found

    def _transaction(self, plan: Plan, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What the transaction adds to the result."""
        args = self._task.args
        answer = self._apt(
            {
                **plan.transaction(),
                "allow_downgrade": args["allow_downgrade"],
                "lock_timeout": args["lock_timeout"],
                "lists_age": 0 if args["fresh"] else LISTS_AGE,
            },
            variables,
        )
        answer.pop("invocation", None)
        failed = answer.get("failed")
        if failed and args["variable"]:
            answer["msg"] = f"{args['variable']}: {answer.get('msg', 'no answer')}"
        finished = {"finished": answer["finished"]} if answer.get("finished") else {}
        if self._task.check_mode and not failed:
            return finished
        unreadable = answer.pop("unreadable", [])
        warnings = _package_simulation.unread_sources(unreadable)
        # What was unfinished may be done by another process meanwhile.
        return {
            **finished,
            **({"warnings": warnings} if warnings else {}),
            **answer,
            "packages": plan.names,
            "changed": bool(plan.names or finished),
        }

    def _apt(self, arguments: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """The transaction's answer; says what it does while it takes long."""

        def call(arguments: Mapping[str, Any]) -> dict[str, Any]:
            answer: dict[str, Any] = self._execute_module(
                module_name=APT, module_args=dict(arguments), task_vars=variables
            )
            return answer

        if self._task.check_mode:
            return call(arguments)
        answer = call({**arguments, "background": True})
        while answer.get("job"):
            answer = call({"job": answer["job"], "patience": SAYS_EVERY})
            if answer.get("phase"):
                name = variables.get("inventory_hostname", "host")
                display.display(f"[{name}] {answer['phase']}")
        return answer
