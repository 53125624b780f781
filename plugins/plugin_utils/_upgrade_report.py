# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of a release upgrade, from the host's facts and the repositories."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _pythons, _upgrades
from ansible_collections.runnerhost.toolkit.plugins.module_utils._upgrades import Goal, Obstacle
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _upgrade_settings


@dataclass(frozen=True)
class Report:
    """RETURN of the module upgrade_info."""

    target: str
    obstacles: list[dict[str, Any]]
    accepted: list[dict[str, Any]]
    lines: list[str]
    notes: list[str]
    conflicts: list[str]
    held: list[str]
    in_service: list[str]
    isolated: list[str]
    python_wanted: bool
    info: Mapping[str, Any]


def problems(args: Mapping[str, Any]) -> list[str]:
    """What is wrong with the arguments, by the names of the playbook's variables."""
    return [
        *_upgrade_settings.problems(
            args["release"],
            args["target"],
            args["target_python"],
            args["free_mb"],
            args["accept"],
            args["apply"],
        ),
        *_pythons.problems("python_versions_wanted", args["pythons"]["wanted"]),
    ]


def of_target(suite: str, release: str, target: str) -> str:
    """What a suite will be called on the upgraded host, if it names the release."""
    return suite.replace(release, target)


def missing_pythons(goal: Goal, refusals: Sequence[str]) -> list[Obstacle]:
    """The wanted versions that their repository does not have for the target."""
    return [
        Obstacle(
            "pythons",
            said,
            f"Provision would refuse the host once it has {goal.target}",
            "take the version off python_versions_wanted, or name a repository that has it for "
            f"{goal.target} ({goal.target}'s own is {goal.python})",
        )
        for said in refusals
    ]


def missing_runner(goal: Goal, refusals: Sequence[str]) -> list[Obstacle]:
    """What the runner's repository lacks for the target."""
    return [
        Obstacle(
            "runner",
            said,
            f"Provision would refuse the host once it has {goal.target}",
            f"name a repository or a version that there is for {goal.target}",
        )
        for said in refusals
    ]


def report(
    facts: Mapping[str, Any],
    goal: Goal,
    more: Sequence[Obstacle],
    accept: Collection[str],
) -> Report:
    """All of it.

    Args:
        facts: what upgrade_info_io has returned.
        goal: where the host is to go.
        more: obstacles that the repositories' answers show.
        accept: kinds of obstacles that do not count.
    """
    every = [*_upgrades.obstacles(facts, goal), *more]
    counting = [one for one in every if one.kind not in accept]
    accepted = [one for one in every if one.kind in accept]
    held, __ = _upgrades.held(facts, goal)
    return Report(
        target=goal.target,
        obstacles=[asdict(one) for one in counting],
        accepted=[asdict(one) for one in accepted],
        lines=[one.line() for one in counting],
        notes=[
            *(f"accepted: {one.line()}" for one in accepted),
            *_upgrades.notes(facts, goal),
        ],
        # What has been accepted stays.
        conflicts=_upgrades.conflicts(facts, goal) if "conflict" not in accept else [],
        held=held if "held" not in accept else [],
        in_service=facts["in_service"],
        isolated=facts["isolated"],
        python_wanted=goal.python in goal.wanted,
        info=facts["packages"],
    )
