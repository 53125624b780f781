# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of project_revoke: pauses, takes out, cancels, reports; what fails keeps nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _revoke_advice,
    _revoke_files,
    _revoke_jobs,
    _revoke_plan,
    _revoke_runners,
    _revoke_variables,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import (
    ProtectedRef,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import ALL
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_api import (
    MANUAL,
    NOT_OVER,
    PAGES,
    RevokeApi,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_incident import Incident
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_note import Cancelled
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_plan import Reach
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_variables import (
    Credentials,
)

_SHOWN = 50
"""Jobs in the output; the note has all of them."""


def read_only(api: RevokeApi) -> list[str]:
    """The refusal if the access token may change nothing."""
    try:
        granted, __ = api.scopes()
    except ApiProblem as problem:
        # A token that may not ask about itself shows later what it may do.
        if problem.status in (403, 404):
            return []
        raise
    if "api" in granted:
        return []
    return [
        f"gitlab_project_api_token: may change nothing (its scopes are "
        f"{', '.join(sorted(granted)) or 'none'}); expected one with the scope api"
    ]


def run(incident: Incident, credentials: Credentials, args: Mapping[str, Any]) -> None:
    """Does everything; ``args`` are the action's.

    Raises:
        ApiProblem: if GitLab shows no project at all; nothing was changed.
        NoteProblem: if the note cannot be made; nothing was changed.
    """
    _find(incident)
    _revoke_variables.know(incident)
    incident.begin()
    _revoke_runners.pause(incident)
    if incident.wanted.keys:
        _revoke_variables.take_out(incident, credentials)
    _cancel(incident)
    if incident.wanted.keys:
        _report(incident)
        # What was done and is left to do is on disk before indexes are asked.
        _advise(incident)
        _revoke_files.report(incident, args)
    _advise(incident)


def _advise(incident: Incident) -> None:
    incident.advice = _revoke_advice.advice(
        incident.values.known,
        incident.note.data.variables,
        leaked=bool(incident.wanted.keys or incident.note.data.variables),
        note=str(incident.note.path) if incident.note.there else "NOTE.md",
        todo=incident.outcome.todo,
    )
    incident.save()


def lines(incident: Incident) -> list[str]:
    """The report."""
    told, jobs = incident.outcome, incident.outcome.jobs
    more = [f"… and {len(jobs) - _SHOWN} more, in the note"] if len(jobs) > _SHOWN else []
    return [
        *([words for __, words in told.done] or ["Nothing to change in GitLab"]),
        *_part("Places that had the token:", told.places),
        *_part("Jobs that could have had the token:", [*jobs[:_SHOWN], *more]),
        *_part("Files on indexes that no pipeline has uploaded:", told.files),
        *_part("Left to do, by a person:", incident.advice),
    ]


def _part(title: str, found: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}" for line in found)] if found else []


def _find(incident: Incident) -> None:
    settings, outcome = incident.settings, incident.outcome
    for place in settings.places:
        with outcome.told(place.where):
            owner = incident.api.owner(place.path, place.group)
            if owner is None:
                raise ApiProblem(
                    f"{settings.url} has no {place.kind} {place.path} that this token may see"
                )
            incident.owners.append((place, owner))
    if not incident.owners:
        raise ApiProblem("nothing was changed: " + "; ".join(outcome.failed))


def _cancel(incident: Incident) -> None:
    api, outcome, records = incident.api, incident.outcome, incident.note.data.pipelines
    known = {one.id for one in records}
    found: dict[int, tuple[Owner, dict[str, Any]]] = {}
    for owner in incident.projects:
        with outcome.told(owner.path, f"{owner.path}: cancel what runs under Build > Pipelines."):
            for status in NOT_OVER:
                # One may have gone from one status to another meanwhile.
                found |= {int(one["id"]): (owner, one) for one in api.pipelines(owner, status)}
            for one in api.pipelines(owner, MANUAL):
                outcome.todo.append(
                    f"{owner.path}: pipeline {one['id']} of {one['ref']} waits for a person, which "
                    f"GitLab cannot cancel: start none of its jobs: {one['web_url']}"
                )
    records += [
        Cancelled(owner.path, int(one["id"]), str(one["ref"]), str(one["web_url"]))
        for owner, one in found.values()
        if int(one["id"]) not in known
    ]
    incident.save()
    for owner, one in found.values():
        name = f"pipeline {one['id']}"
        with outcome.told(owner.path, f"{owner.path}: cancel {name}: {one['web_url']}"):
            incident.change(
                f"Cancelled {name} of {one['ref']} in {owner.path}",
                partial(api.cancel, owner, int(one["id"])),
                owner.path, f"{name}: {one['status']}", f"{name}: canceled",
            )  # fmt: skip
    incident.save()


def _report(incident: Incident) -> None:
    for owner, reaches in _reaches(incident).items():
        with incident.outcome.told(owner.path, f"{owner.path}: check Build > Jobs."):
            _report_project(incident, owner, reaches)
    incident.save()


def _reaches(incident: Incident) -> dict[Owner, list[Reach]]:
    """Who got the variables, by project; those of a group go to all of its projects."""

    def key(owner: Owner) -> tuple[str, str]:
        return owner.kind, owner.path.lower()

    owners = {key(owner): owner for __, owner in incident.owners}
    found: dict[Owner, list[Reach]] = {}
    below: dict[Owner, list[Owner]] = {}
    for one in incident.note.data.variables:
        kind = "groups" if one.kind == "groups" else "projects"
        owner = owners.get((kind, one.path.lower()))
        if owner is None:
            continue
        if kind == "groups" and owner not in below:
            below[owner] = []
            with incident.outcome.told(owner.path):
                below[owner] = incident.api.group_projects(owner)
                _undeclared(incident, owner, [p for p in below[owner] if key(p) not in owners])
        for project in below.get(owner, [owner]):
            same = owners.get(("projects", project.path.lower()), project)
            found.setdefault(same, []).append(_revoke_plan.reach(one))
    return found


def _undeclared(incident: Incident, group: Owner, projects: Sequence[Owner]) -> None:
    """Projects that got a group's variable, and that the inventory does not name."""
    if projects:
        shown = ", ".join(one.path for one in projects[:_SHOWN])
        more = f" and {len(projects) - _SHOWN} more" if len(projects) > _SHOWN else ""
        incident.outcome.todo.append(
            f"{group.path}: its variable reached projects that gitlab_project_projects does not "
            f"name: {shown}{more}. Their own variables, schedules and runners were not searched, "
            "and their pipelines not cancelled: cancel what runs under Build > Pipelines."
        )


def _report_project(incident: Incident, owner: Owner, reaches: Sequence[Reach]) -> None:
    api, since = incident.api, incident.wanted.since
    jobs, complete = api.jobs(owner, since)
    deployments, refs = list[dict[str, Any]](), list[ProtectedRef]()
    if any(one.environment != ALL for one in reaches):
        deployments, told = api.deployments(owner, since)
        complete = complete and told
    if any(one.protected for one in reaches):
        refs = [one for tags in (True, False) for one in api.protected(owner, tags=tags)]
    pipeline = incident.settings.pipelines.of(owner.path)
    found = _revoke_jobs.reached(owner.path, reaches, jobs, deployments, refs, pipeline, since)
    incident.outcome.jobs += found.lines()
    if not complete:
        incident.outcome.todo.append(
            f"{owner.path} has had more than {PAGES * 100} jobs since {since:%Y-%m-%d}: older ones "
            "are not in the list. Check them under Build > Jobs."
        )
