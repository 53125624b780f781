# SPDX-License-Identifier: GPL-3.0-or-later
"""The first step of project_revoke: pauses the runners that publish."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_incident import Incident
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_note import PausedRunner

_BY_HAND = "ask an administrator, or pause it under Settings > CI/CD > Runners of its owner."


def pause(incident: Incident) -> None:
    """Pauses the runners with the tags of publishing jobs that take protected refs alone."""
    outcome, data = incident.outcome, incident.note.data
    found: dict[int, Mapping[str, Any]] = {}
    for place, owner in incident.owners:
        with outcome.told(place.path):
            for one in incident.api.tagged_runners(owner, incident.wanted.tags):
                found.setdefault(int(one["id"]), one)
    asked = [_publishing(incident, found[number]) for number in sorted(found)]
    chosen = [details for details in asked if details]
    ours = {one.id for one in data.runners}
    for details in chosen:
        number = int(details["id"])
        if number not in ours and details["paused"]:
            outcome.todo.append(f"{title(details)} was paused before: the undo leaves it paused.")
        elif number not in ours:
            data.runners.append(PausedRunner(number, str(details.get("description") or "")))
    # First, so that a killed run leaves what the undo needs.
    incident.save()
    for details in chosen:
        if not details["paused"]:
            with _told(incident, details), _not_ours(incident, int(details["id"])):
                incident.change(
                    f"Paused {title(details)}",
                    partial(incident.api.pause, int(details["id"]), paused=True),
                    title(details), "paused: false", "paused: true",
                )  # fmt: skip
    incident.save()
    for details in chosen if incident.wanted.keys else ():
        try:
            hosts = [str(host["system_id"]) for host in incident.api.managers(int(details["id"]))]
        except ApiProblem as problem:
            if not _others(details, problem):
                outcome.failed.append(f"{title(details)}: {problem}")
            continue
        outcome.places.append(f"{title(details)}: hosts {', '.join(hosts) or 'none'}")


@contextmanager
def _not_ours(incident: Incident, number: int) -> Iterator[None]:
    """Takes a runner that GitLab did not let us pause out of the note: the undo leaves it alone."""
    try:
        yield
    except ApiProblem as problem:
        if problem.status == 403:
            data = incident.note.data
            data.runners = [one for one in data.runners if one.id != number]
        raise


@contextmanager
def _told(incident: Incident, one: Mapping[str, Any]) -> Iterator[None]:
    """What GitLab refuses about a runner is left to a person."""
    try:
        yield
    except ApiProblem as problem:
        if not _others(one, problem):
            incident.outcome.failed.append(f"{title(one)}: {problem}")
        incident.outcome.todo.append(
            f"{title(one)} has the tags {', '.join(incident.wanted.tags)}, and was not paused: "
            f"{_BY_HAND}"
        )


def _others(one: Mapping[str, Any], problem: ApiProblem) -> bool:
    """Whether it is a runner of the instance, which is an administrator's: no failure of a run."""
    return bool(one["runner_type"] == "instance_type" and problem.status == 403)


def _publishing(incident: Incident, listed: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A runner's details, if it takes jobs of protected branches and tags alone."""
    details = None
    with _told(incident, listed):
        details = incident.api.get(int(listed["id"]))
    if details is not None and details.get("access_level") != "ref_protected":
        tags = ", ".join(incident.wanted.tags)
        incident.outcome.todo.append(
            f"{title(listed)} has the tags {tags}, but takes jobs of any branch, and so was not "
            "paused: if it publishes, pause it, and set Protected."
        )
        return None
    return details


def title(one: Mapping[str, Any]) -> str:
    """A runner, for people."""
    return f"runner {one['id']} ({one.get('description') or 'no description'})"
