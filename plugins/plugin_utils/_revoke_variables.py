# SPDX-License-Identifier: GPL-3.0-or-later
"""The second step of project_revoke: takes the token out of variables, and tells where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import partial

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _revoke_plan
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import ALL
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_incident import Incident
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_note import Taken, stamp
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_plan import Found, Holder

_ADD = "or add it to gitlab_project_groups and run again."
Credentials = Mapping[str, Sequence[tuple[str, str]]]
"""Names of indexes and their passwords, by the host whose inventory holds them."""


def know(incident: Incident) -> None:
    """What the inventory holds in the variables to take out was leaked too."""
    for place in incident.settings.places:
        for one in place.filled:
            if one.key in incident.wanted.keys:
                incident.values.add(one.value)
    incident.api.learn(incident.values.known)


def take_out(incident: Incident, credentials: Credentials) -> None:
    """Deletes variables with a named key, or with the value of one."""
    outcome, data, values = incident.outcome, incident.note.data, incident.values
    holders = _holders(incident)
    found, doubts = _revoke_plan.search(holders, incident.wanted.keys, values, data.variables)
    outcome.todo += doubts
    data.digests += values.new_digests()
    there = {one.identity: one for one in data.variables}
    for one in found:
        if known := there.get(one.taken.identity):
            known.at, known.attributes = "", one.taken.attributes
        else:
            data.variables.append(one.taken)
            there[one.taken.identity] = one.taken
        how = "" if one.taken.named else f", {one.taken.why}"
        outcome.places.append(f"{one.taken.place}: {one.taken.name}{how}")
    # First, so that a killed run leaves what it was about to do.
    incident.save()
    # Last those for all environments: of a group, they are deleted by their key alone, of which
    # GitLab then expects a single one (lib/api/helpers/variables_helpers.rb).
    for one in sorted(found, key=lambda one: one.taken.environment == ALL):
        _delete(incident, one, there[one.taken.identity])
    now = {one.taken.identity for one in found}
    outcome.places += [
        f"{one.place}: {one.name}, until {one.at}"
        for one in data.variables
        if one.at and one.identity not in now
    ]
    if not data.variables:
        keys = ", ".join(incident.wanted.keys)
        outcome.places.append(f"no variable of GitLab is named {keys}, or has the value of one")
    incident.save()
    _groups_above(incident)
    _hosts(incident, credentials)
    incident.save()


def _holders(incident: Incident) -> list[Holder]:
    """The variables of all projects, groups and pipeline schedules."""
    api, outcome, holders = incident.api, incident.outcome, list[Holder]()
    for place, owner in incident.owners:
        by_hand = f"{place.path}: check Settings > CI/CD > Variables."
        with outcome.told(place.path, by_hand):
            holders.append(Holder(owner, api.variables(owner)))
    for owner in incident.projects:
        with outcome.told(owner.path, f"{owner.path}: check Build > Pipeline schedules."):
            for one in api.schedules(owner):
                if "variables" not in one:
                    outcome.todo.append(
                        f"{owner.path}: the variables of pipeline schedule {one['id']} cannot be "
                        "read: check them under Build > Pipeline schedules."
                    )
                variables, ref = one.get("variables") or (), str(one["ref"])
                holders.append(Holder(owner, variables, int(one["id"]), ref))
    return holders


def _delete(incident: Incident, one: Found, record: Taken) -> None:
    api, taken, owner = incident.api, one.taken, one.holder.owner
    words = [
        word for word in ("protected", "masked", "hidden", "raw") if taken.attributes.get(word)
    ]
    delete = partial(api.delete_variable, owner, taken.key, taken.environment)
    if one.holder.schedule:
        delete = partial(api.delete_schedule_variable, owner, one.holder.schedule, taken.key)
    with incident.outcome.told(taken.place, _cure(taken)):
        incident.change(
            f"Took {taken.name} out of {taken.place}",
            delete, taken.place, f"{taken.name}: {', '.join(words) or 'plain'}",
        )  # fmt: skip
        if not incident.check:
            record.at = stamp(datetime.now(timezone.utc))


def _cure(taken: Taken) -> str:
    if taken.kind == "schedules":
        # GitLab's lib/api/ci/pipeline_schedules.rb asks for set_pipeline_variables.
        return (
            f"{taken.place}: delete its variable {taken.key}, or the schedule, under Build > "
            "Pipeline schedules. GitLab refuses it to whoever may not set variables of pipelines."
        )
    return f"{taken.place}: delete {taken.name} under Settings > CI/CD > Variables."


def _groups_above(incident: Incident) -> None:
    """Groups that the inventory does not name, and whose variables its projects get."""
    named = {place.path.lower() for place in incident.settings.places if place.group}
    paths: dict[str, None] = {}
    for owner in incident.projects:
        parts = owner.path.split("/")[:-1]
        paths |= {"/".join(parts[: end + 1]): None for end in range(len(parts))}
    for path in paths:
        if path.lower() not in named:
            _group_above(incident, path)


def _group_above(incident: Incident, path: str) -> None:
    outcome = incident.outcome
    try:
        owner = incident.api.owner(path, group=True)
        listed = incident.api.variables(owner) if owner else None
    except ApiProblem:
        listed = None
    if listed is None:
        outcome.todo.append(
            f"{path}: this token may not read its variables, which its projects get if it is a "
            f"group: check its Settings > CI/CD > Variables, {_ADD}"
        )
        return
    for one in listed:
        if str(one["key"]) in incident.wanted.keys or incident.values.has(one.get("value")):
            outcome.places.append(f"group {path}: {one['key']}, still there")
            outcome.todo.append(
                f"group {path}: it has {one['key']}, and the inventory does not name it: delete "
                f"that under Settings > CI/CD > Variables, {_ADD}"
            )


def _hosts(incident: Incident, credentials: Credentials) -> None:
    for host, passwords in sorted(credentials.items()):
        for name, password in passwords:
            if incident.values.has(password):
                incident.outcome.places.append(f"host {host}: index_credentials_indexes, {name}")
                incident.outcome.todo.append(
                    f"Host {host} has the token in files of its job users: replace it in "
                    f"index_credentials_indexes ({name}), and run make provision."
                )
