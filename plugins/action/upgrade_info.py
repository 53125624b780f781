# SPDX-License-Identifier: Apache-2.0
"""Judges what stands in the way of a release upgrade: from one look, and by asking repositories."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_sources,
    _pythons,
    _upgrades,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import PAIR
from ansible_collections.runnerhost.toolkit.plugins.module_utils._upgrades import Goal, Obstacle
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _network,
    _runner_settings,
    _runner_versions,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction

MODULE = "runnerhost.toolkit.upgrade_info"


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns what the module's documentation says; refuses variables that cannot be."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        args = self._task.args
        release, target, python = str(args["release"]), args["target"], args["target_python"]
        self.refuse(
            [
                *_upgrades.problems(
                    release, target, python, args["free_mb"], args["accept"], args["apply"]
                ),
                *_pythons.problems("python_versions_wanted", args["pythons"]["wanted"]),
            ]
        )
        target = str(target or _upgrades.next_release(release))
        python = str(python or _pythons.SYSTEMS[target])
        ways = self.ways(variables)
        look = self.ask(
            MODULE,
            {
                "python": python,
                "folders": sorted(args["free_mb"]),
                "venv_places": args["venv_places"],
            },
            variables,
        )["look"]
        goal = Goal(
            release=release,
            target=target,
            system=str(look["system"]),
            python=python,
            wanted=tuple(str(version) for version in args["pythons"]["wanted"]),
            free=args["free_mb"],
        )
        every = [
            *_upgrades.obstacles(look, goal),
            *self._pythons(args["pythons"], goal, ways, variables),
            *self._runner(args["runner"], goal, look, ways, variables),
        ]
        counting = [one for one in every if one.kind not in args["accept"]]
        held, _ = _upgrades.held(look, goal)
        conflicts = _upgrades.conflicts(look, goal)
        return {
            **result,
            "changed": False,
            "target": target,
            "obstacles": [asdict(one) for one in counting],
            "accepted": [asdict(one) for one in every if one not in counting],
            "lines": [one.line() for one in counting],
            "notes": [
                *(f"accepted: {one.line()}" for one in every if one not in counting),
                *_upgrades.notes(look, goal),
            ],
            # What has been accepted stays.
            "conflicts": conflicts if "conflict" not in args["accept"] else [],
            "held": held if "held" not in args["accept"] else [],
            "python_wanted": python in goal.wanted,
            "in_service": look["in_service"],
            "isolated": look["isolated"],
            "look": look["packages"],
        }

    def _pythons(
        self, given: dict[str, Any], goal: Goal, ways: _network.Network, variables: dict[str, Any]
    ) -> list[Obstacle]:
        """The wanted versions that the repository does not have for the target."""
        wanted = [v for v in map(_pythons.parse, goal.wanted) if v]
        theirs = _pythons.by_origin(wanted, goal.python).repository
        if not theirs:
            return []
        suite = of_target(str(given["suite"]), goal)
        patterns = [str(pattern) for pattern in given["patterns"]]
        key, _ = self.key(
            "python_versions_repository_key", str(given["key"]), str(given["fingerprint"])
        )
        text = _apt_sources.render_sources(
            str(given["url"]), suite, [str(c) for c in given["components"]], key, "Pythons"
        )
        answer = self.offer(
            {
                "sources": text,
                "packages": [name for v in theirs for name in v.packages(patterns)],
                "names": r"python3\.\d+(-nogil)?",
            },
            ways,
            variables,
        )
        where = {"url": str(given["url"]), "suite": suite, "origin": str(given["origin"])}
        return [
            Obstacle(
                "pythons",
                said,
                f"Provision would refuse the host once it has {goal.target}",
                "take the version off python_versions_wanted, or name a repository that has it for "
                f"{goal.target} ({goal.target}'s own is {goal.python})",
            )
            for said in _pythons.refusals(theirs, goal.python, patterns, answer, where)
        ]

    def _runner(
        self,
        given: dict[str, Any],
        goal: Goal,
        look: dict[str, Any],
        ways: _network.Network,
        variables: dict[str, Any],
    ) -> list[Obstacle]:
        """What the runner's repository lacks for the target."""
        suite = of_target(str(given["suite"]), goal)
        key, _ = self.key(
            "gitlab_runner_repository_key", str(given["key"]), str(given["fingerprint"])
        )
        wanted = _runner_settings.wanted_of({**given, "suite": suite})
        answer = self.offer(
            {
                "sources": _runner_versions.repository(wanted, key).sources,
                "packages": list(PAIR),
            },
            ways,
            variables,
        )
        offer = _runner_versions.Offer(answer["error"], answer["offer"])
        return [
            Obstacle(
                "runner",
                said,
                f"Provision would refuse the host once it has {goal.target}",
                f"name a repository or a version that there is for {goal.target}",
            )
            for said in _runner_versions.refusals(wanted, offer, look["packages"], [])
        ]


def of_target(suite: str, goal: Goal) -> str:
    """What a suite will be called on the upgraded host, if it names the release."""
    return suite.replace(goal.release, goal.target)
