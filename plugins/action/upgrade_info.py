# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports what stands in the way of a release upgrade: reads the host, asks the repositories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_sources,
    _pythons,
    _upgrades,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import PAIR
from ansible_collections.runnerhost.toolkit.plugins.module_utils._upgrades import Goal
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _network,
    _runner_settings,
    _runner_versions,
    _upgrade_report,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction

FACTS = "runnerhost.toolkit.upgrade_info_io"


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def act(self) -> Mapping[str, object]:
        """Returns what the module's documentation says; refuses invalid variables."""
        args = self._task.args
        self.refuse(_upgrade_report.problems(args))
        target = args["target"] or _upgrades.next_release(args["release"])
        python = args["target_python"] or _pythons.SYSTEMS[target]
        network = self.network(self.variables)
        question = {
            "python": python,
            "folders": sorted(args["free_mb"]),
            "venv_places": args["venv_places"],
        }
        facts = self.ask(FACTS, question, self.variables)["facts"]
        goal = Goal(
            release=args["release"],
            target=str(target),
            system=str(facts["system"]),
            python=str(python),
            wanted=tuple(args["pythons"]["wanted"]),
            free=args["free_mb"],
        )
        more = [
            *_upgrade_report.missing_pythons(goal, self._pythons(goal, network)),
            *_upgrade_report.missing_runner(goal, self._runner(goal, facts["packages"], network)),
        ]
        report = _upgrade_report.report(facts, goal, more, args["accept"])
        found = {field.name: getattr(report, field.name) for field in fields(report)}
        return {"changed": False, **found}

    def _pythons(self, goal: Goal, network: _network.Network) -> list[str]:
        """Which wanted versions the repository does not have for the target, in words."""
        given = self._task.args["pythons"]
        wanted = [v for v in map(_pythons.parse, goal.wanted) if v]
        theirs = _pythons.by_origin(wanted, goal.python).repository
        if not theirs:
            return []
        suite = _upgrade_report.of_target(given["suite"], goal.release, goal.target)
        key, __ = self.key("python_versions_repository_key", given["key"], given["fingerprint"])
        text = _apt_sources.render_sources(given["url"], suite, given["components"], key, "Pythons")
        question = {
            "sources": text,
            "packages": [name for v in theirs for name in v.packages(given["patterns"])],
            "names": r"python3\.\d+(-nogil)?",
        }
        answer = self.candidates(question, network, self.variables)
        where = {"url": given["url"], "suite": suite, "origin": given["origin"]}
        return _pythons.refusals(theirs, goal.python, given["patterns"], answer, where)

    def _runner(
        self,
        goal: Goal,
        records: Mapping[str, Any],
        network: _network.Network,
    ) -> list[str]:
        """What the runner's repository lacks for the target, in words."""
        given = self._task.args["runner"]
        suite = _upgrade_report.of_target(given["suite"], goal.release, goal.target)
        key, __ = self.key("gitlab_runner_repository_key", given["key"], given["fingerprint"])
        wanted = _runner_settings.wanted_of({**given, "suite": suite})
        question = {
            "sources": _runner_versions.repository(wanted, key).sources,
            "packages": list(PAIR),
        }
        answer = self.candidates(question, network, self.variables)
        offer = _runner_versions.Offer(answer["error"], answer["offer"])
        return _runner_versions.refusals(wanted, offer, dict(records), [])
