# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of project_revoke's report: files on indexes that no pipeline has uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _pipeline_settings
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._doctor_api import DoctorApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_incident import Incident
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._watch import Watch


def report(incident: Incident, args: Mapping[str, Any]) -> None:
    """Whoever has the token may have used it past all pipelines; last, since indexes are slow."""
    outcome, wanted = incident.outcome, incident.wanted
    if not args["pipelines"]:
        return
    inputs = _pipeline_settings.Template().inputs
    given = {"projects": args["pipelines"], "inputs": args["pipeline_inputs"]}
    projects, problems = _pipeline_settings.wanted_of(given, inputs)
    if problems:
        outcome.todo.append(
            "release_pipeline_projects is not valid, so no index was compared with pipelines: run "
            "make watch, which says why."
        )
        return
    now = datetime.now(timezone.utc)
    with outcome.told("the indexes", "Run make watch: it compares the indexes with pipelines."):
        api = DoctorApi(
            incident.settings.url, incident.settings.token, args["api_ca_certificate"],
            args["api_proxy"], variable="gitlab_project_api_token",
        )  # fmt: skip
        watch = Watch(
            api, projects, inputs, (now - wanted.since).days + 1, now,
            ("runnerhost", incident.settings.token), args["api_ca_certificate"] or True,
        )  # fmt: skip
        watch.run()
        outcome.files += watch.findings
        outcome.todo += [f"{one}: check the files on that index by hand" for one in watch.problems]
