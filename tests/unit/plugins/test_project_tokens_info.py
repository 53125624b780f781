# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens over time: when one was set, what it may do, what is due, and how it is replaced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action.project_tokens_info import ActionModule
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _project_pipelines,
    _token_report,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_settings import Place
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_steps import today
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_variables import Variable
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._token_report import Token
from standins.gitlab.client import LabGitLab
from standins.index import tokens
from tests.unit.plugins.test_gitlab_project import ADMIN, DEMO, lab, listed, run

pytestmark = pytest.mark.long

__all__ = ["lab"]

HOST = ".".join(("pypi", "org"))
ACCOUNT, OTHER = (tokens.make(HOST, "ada").text for _ in range(2))
PROJECT = tokens.make(HOST, projects=["lab-demo"]).text
DAY = date(2026, 11, 29)


def variable(value: str, **more: Any) -> dict[str, Any]:
    return {"key": "TWINE_PASSWORD", "environment": "pypi", "value": value, **more}


def report(lab: LabGitLab, *variables: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """One run of the report; no token is in what it says."""
    action = object.__new__(ActionModule)
    args = {"url": lab.base_url, "api_token": ADMIN,
            "projects": [{"project": DEMO, "variables": list(variables)}], **more}  # fmt: skip
    action._task = SimpleNamespace(
        args=args, check_mode=False, async_val=0, action="project_tokens_info"
    )
    action._connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir="/tmp"), is_pipelining_enabled=lambda: True
    )
    result: dict[str, Any] = action.run(None, {})
    for text in (ACCOUNT, OTHER, PROJECT, ADMIN):
        assert text not in json.dumps(result)
    return result


def aged(lab: LabGitLab, days: int) -> None:
    """As if the toolkit had set the token some days ago."""
    (found,) = listed(lab).values()
    then = today() - timedelta(days=days)
    lab.api(
        "PUT", "/projects/group%2Fdemo/variables/TWINE_PASSWORD",
        json={"description": found["description"].replace(str(today()), str(then))},
    )  # fmt: skip


@pytest.mark.parametrize("hidden", [False, True])
def test_the_day_is_kept_until_the_token_is_another(lab: LabGitLab, hidden: bool) -> None:
    run(lab, variable(ACCOUNT, hidden=hidden))
    aged(lab, 10)
    then = str(today() - timedelta(days=10))
    assert not run(lab, variable(ACCOUNT, hidden=hidden))["changed"]
    # An attribute, and the words, are not the token.
    run(lab, variable(ACCOUNT, hidden=hidden, raw=False, description="main index"))
    (found,) = listed(lab).values()
    assert found["description"].startswith(f"main index [runnerhost {then}")
    assert not run(lab, variable(ACCOUNT, hidden=hidden, raw=False, description="main index"))[
        "changed"
    ]
    done = run(lab, variable(OTHER, hidden=hidden, raw=False, description="main index"))
    (found,) = listed(lab).values()
    assert found["description"].startswith(f"main index [runnerhost {today()}")
    (line,) = (one for one in done["msg"] if "revoke" in one)
    assert "TWINE_PASSWORD (pypi) had before (" in line
    assert f"set {then}) is still valid: revoke it at the index" in line
    assert ("all projects of its account" in line) is not hidden


def test_a_token_that_is_set_first_is_not_to_be_revoked(lab: LabGitLab) -> None:
    run(lab, {**variable("plain-value-1"), "key": "OTHER"})
    done = run(lab, variable(ACCOUNT), {**variable("plain-value-2"), "key": "OTHER"})
    assert not [line for line in done["msg"] if "revoke" in line]


def test_the_report(lab: LabGitLab) -> None:
    assert report(lab, variable(ACCOUNT))["msg"][1:] == [
        f"{DEMO}: TWINE_PASSWORD (pypi), not in GitLab yet: token of PyPI, all projects of its "
        "account; not known since when; not used by a release"
    ]
    run(lab, variable(ACCOUNT), {**variable("no-token-at-all"), "key": "OTHER"})
    result = report(lab, variable(ACCOUNT))
    assert result["findings"] == []
    assert result["msg"][0].startswith("gitlab_project_api_token: access token of GitLab, ")
    assert result["msg"][1:] == [
        f"{DEMO}: TWINE_PASSWORD (pypi): token of PyPI, all projects of its account; set "
        f"{today()}, 0 days ago; not used by a release"
    ]


def test_an_old_token_is_a_finding(lab: LabGitLab) -> None:
    run(lab, variable(PROJECT))
    aged(lab, 366)
    (finding,) = report(lab, variable(PROJECT))["findings"]
    assert finding == (
        f"{DEMO}: TWINE_PASSWORD (pypi): set 366 days ago, more than "
        "gitlab_project_index_token_days (365); make a new token at the index, put it into the "
        "inventory, and run make rotate"
    )
    assert report(lab, variable(PROJECT), index_token_days=0)["findings"] == []
    assert report(lab, variable(PROJECT), index_token_days=400)["findings"] == []


def test_only_tokens_of_indexes_are_replaced_when_that_is_asked_for(lab: LabGitLab) -> None:
    other = {**variable("one-value-of-many"), "key": "OTHER"}
    run(lab, variable(ACCOUNT), other)
    more: dict[str, Any] = {
        "protected_tags": [{"name": "v*"}],
        "index_tokens_only": True,
        "purge": True,
    }
    done = run(lab, variable(PROJECT), **more)
    assert done["msg"][0] == f"{DEMO}: changed TWINE_PASSWORD (pypi)"
    assert listed(lab)["TWINE_PASSWORD", "pypi"]["value"] == PROJECT
    # Neither deleted nor protected.
    assert ("OTHER", "pypi") in listed(lab)
    assert lab.api("GET", "/projects/group%2Fdemo/protected_tags") == []
    assert not run(lab, variable(PROJECT), **more)["changed"]


PIPELINES = _project_pipelines.pipelines_of([{"project": DEMO}], {})


def of_jobs(value: str, since: str, *jobs: dict[str, Any]) -> Token:
    """The token of a variable that was set on a day, and the project's jobs."""
    declared = Variable("x", "TWINE_PASSWORD", "pypi", value)
    found = {"key": "TWINE_PASSWORD", "environment_scope": "pypi",
             "description": f"[runnerhost {since}]"}  # fmt: skip
    place = Place("x", DEMO, False, (declared,))
    (token,) = _token_report.of_place(place, [found], [], PIPELINES.of(DEMO), list(jobs))
    return token


def job(number: int, name: str, day: str) -> dict[str, Any]:
    return {"id": number, "name": name, "status": "success", "finished_at": f"{day}T10:00:00.000Z"}


def test_a_release_since_then_shows_that_it_works() -> None:
    jobs = (
        job(9, "release-publish-test", "2026-11-28"),
        job(8, "release-verify", "2026-11-28"),
        job(7, "release-publish", "2026-11-27"),
        job(6, "release-publish", "2026-11-20"),
    )
    assert of_jobs(PROJECT, "2026-11-27", *jobs).upload == "job 7 (release-publish)"
    assert of_jobs(PROJECT, "2026-11-28", *jobs).upload == ""
    assert "published by job 7 (release-publish)" in of_jobs(PROJECT, "2026-11-27", *jobs).line(DAY)


def test_a_token_of_the_whole_account_is_a_finding_once_the_project_is_released() -> None:
    before = of_jobs(ACCOUNT, "2026-11-27")
    assert list(before.findings(DAY, 365)) == []
    after = of_jobs(ACCOUNT, "2026-11-27", job(7, "release-publish", "2026-11-27"))
    (finding,) = after.findings(DAY, 365)
    assert "may upload to all projects of its account, which only a first release" in finding
    narrow = of_jobs(PROJECT, "2026-11-27", job(7, "release-publish", "2026-11-27"))
    assert list(narrow.findings(DAY, 365)) == []


@pytest.mark.parametrize(
    ("ends", "words"),
    [(None, ""), (31, ""), (30, ""), (29, "expires on 2026-12-28; make a new one before that day"),
     (0, "expires on 2026-11-29"), (-1, "expired on 2026-11-28; make a new one")],
)  # fmt: skip
def test_a_token_that_ends(ends: int | None, words: str) -> None:
    day = DAY + timedelta(days=ends) if ends is not None else None
    found = list(Token("x", "access token of GitLab", "api", day).findings(DAY, 365))
    assert len(found) == bool(words)
    assert words in "".join(found)


def test_an_access_token_tells_its_end() -> None:
    told = {"scopes": ["read_api", "api"], "expires_at": "2027-01-01"}
    assert _token_report.of_access("gitlab_project_api_token", told).line(DAY) == (
        "gitlab_project_api_token: access token of GitLab, api, read_api; until 2027-01-01"
    )


def test_the_other_roles_access_tokens_are_listed_once(lab: LabGitLab) -> None:
    project = lab.project(DEMO)
    made = lab.api(
        "POST", f"/projects/{project.id}/access_tokens",
        json={"name": "pipelines", "scopes": ["api"], "access_level": 40,
              "expires_at": str(today() + timedelta(days=60))},
    )  # fmt: skip
    others = [
        {"name": "release_pipeline_api_token", "url": lab.base_url, "token": made["token"]},
        {"name": "gitlab_runner_api_token", "url": lab.base_url, "token": ADMIN},
        {"name": "unset_api_token", "url": lab.base_url, "token": ""},
    ]
    found = report(lab, variable(PROJECT), access_tokens=others)
    assert made["token"] not in json.dumps(found)
    listed_here = [line.partition(":")[0] for line in found["msg"] if "access token" in line]
    assert listed_here == ["gitlab_project_api_token", "release_pipeline_api_token"]
    others[0]["token"] = "glpat-NobodysOwnToken00000"
    (finding,) = report(lab, variable(PROJECT), access_tokens=others)["findings"]
    assert finding.startswith("release_pipeline_api_token: ")
    assert "glpat-" not in finding


def test_wrong_settings_are_refused(lab: LabGitLab) -> None:
    with pytest.raises(AnsibleActionFail, match="gitlab_project_index_token_days: invalid value"):
        report(lab, variable(PROJECT), index_token_days=-1)
    gone = [{"project": "group/gone", "variables": [variable(PROJECT)]}]
    (finding,) = report(lab, projects=gone)["findings"]
    assert "has no project group/gone that this token may see" in finding
