# SPDX-License-Identifier: GPL-3.0-or-later
"""What GitLab's API alone tells of a host's runners: paused, last contact, GitLab's version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import Api, ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import same_url


@dataclass
class GitLabInfo:
    """What it tells.

    Attributes:
        by_runner: what is said of each runner, by name.
        warnings: what the user should know.
    """

    by_runner: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def gitlab_info(
    api: Api, runners: Sequence[Mapping[str, Any]], system_id: str, version: str
) -> GitLabInfo:
    """Asks about each runner of that GitLab; one that GitLab does not have is left out.

    Args:
        api: the GitLab.
        runners: of config.toml.
        system_id: of the host.
        version: of the host's gitlab-runner.
    """
    info = GitLabInfo()
    try:
        info.warnings += _version_warnings(api, version)
        for runner in runners:
            if same_url(str(runner.get("url")), api.url) and runner.get("id"):
                _add_runner(info, api, str(runner["name"]), int(runner["id"]), system_id)
    except ApiProblem as problem:
        info.warnings.append(f"GitLab's API: {problem}")
    return info


def _add_runner(info: GitLabInfo, api: Api, name: str, number: int, system_id: str) -> None:
    details = api.get(number)
    if details is None:
        return
    said = info.by_runner[name] = []
    if details.get("paused"):
        said.append("PAUSED in GitLab")
        info.warnings.append(f"{name} is paused in GitLab: it gets no job")
    contact = None
    for manager in api.managers(number):
        if str(manager["system_id"]) == system_id:
            contact = manager.get("contacted_at")
            break
    said.append(f"last contact {contact or 'never'}")


def _version_warnings(api: Api, version: str) -> list[str]:
    """A warning of a runner whose minor version is not GitLab's, as GitLab's docs ask for."""
    try:
        theirs = api.version()
    except ApiProblem as problem:
        if problem.status != 403:
            raise
        return []
    ours = re.match(r"(\d+)\.(\d+)", version)
    other = re.match(r"(\d+)\.(\d+)", theirs)
    if not ours or not other or ours.groups() == other.groups():
        return []
    older = tuple(map(int, ours.groups())) < tuple(map(int, other.groups()))
    hint = "make upgrade" if older else "GitLab's docs ask for the same minor version"
    return [f"the runner is {version}, GitLab is {theirs}: {hint}"]
