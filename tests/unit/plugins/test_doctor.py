# SPDX-License-Identifier: GPL-3.0-or-later
"""Why there is no release, by what GitLab's API shows: each symptom alone, several, none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _symptoms
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._doctor import LOGS, Doctor
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._doctor_api import DoctorApi
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_settings import Owner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._project_pipelines import (
    pipelines_of,
)
from standins.index import tokens

COMMIT = "0123456789abcdef0123456789abcdef01234567"
EMPTY = "release: variable TWINE_PASSWORD: empty; set it in GitLab\nERROR: Job failed: exit\n"
REFUSED = "403 Invalid or non-existent authentication information.\nERROR: Job failed: exit\n"
TEST_TOKEN = tokens.make(".".join(("test", "pypi", "org")), "ada").text


def job(number: int, name: str, status: str = "success", **more: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    return {"id": number, "name": f"release-{name}", "status": status, "allow_failure": False,
            "tag_list": ["publish"] if "publish" in name else ["build"], "ref": "v1.2.3",
            "tag": True, "web_url": f"https://gitlab.test/-/jobs/{number}", **more}  # fmt: skip


def runner(**more: Any) -> dict[str, Any]:
    return {"id": 5, "description": "jammy publish", "tag_list": ["publish"], "paused": False,
            "access_level": "ref_protected", "status": "online",
            "contacted_at": "2026-11-29T18:00:00Z", **more}  # fmt: skip


def variable(**more: Any) -> dict[str, Any]:
    return {"key": "TWINE_PASSWORD", "environment_scope": "pypi", "protected": True, "raw": True,
            "value": "pypi-x", **more}  # fmt: skip


@dataclass
class FakeGitLab:
    """GitLab's answers about a release that went well."""

    tag: dict[str, Any] | None = field(
        default_factory=lambda: {"commit": {"id": COMMIT}, "protected": True}
    )
    shown: dict[str, Any] | None = field(
        default_factory=lambda: {"id": 9, "sha": COMMIT, "tag": True, "status": "success",
                                 "yaml_errors": None}
    )  # fmt: skip
    jobs: list[dict[str, Any]] = field(
        default_factory=lambda: [job(1, "sdist"), job(2, "publish"), job(3, "verify")]
    )
    logs: dict[int, str] = field(default_factory=dict)
    runners: list[dict[str, Any]] = field(default_factory=lambda: [runner()])
    held: list[dict[str, Any]] = field(default_factory=lambda: [variable()])
    of_groups: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    has_file: bool = True
    hidden: tuple[str, ...] = ()
    unseen: list[str] = field(default_factory=list)
    read: list[int] = field(default_factory=list)

    may = DoctorApi.may

    def _refuse(self, what: str) -> None:
        if what in self.hidden:
            raise ApiProblem("not this token", 403)

    def ref(self, owner: Owner, name: str, *, tag: bool) -> dict[str, Any] | None:
        return self.tag

    def newest_tags(self, owner: Owner) -> list[str]:
        return ["v1.2.2", "v1.2.1"]

    def configuration(self, owner: Owner, path: str, ref: str) -> bool:
        assert (path, ref) == (".gitlab-ci.yml", COMMIT)
        return self.has_file

    def pipelines_of(self, owner: Owner, tag: str) -> list[dict[str, Any]]:
        return [{"id": 9}] if self.shown else []

    def pipeline(self, owner: Owner, number: int) -> dict[str, Any]:
        assert self.shown is not None
        return self.shown

    def pipeline_jobs(self, owner: Owner, number: int) -> list[dict[str, Any]]:
        return self.jobs

    def job(self, owner: Owner, number: int) -> dict[str, Any] | None:
        return next((one for one in self.jobs if one["id"] == number), None)

    def trace(self, owner: Owner, number: int) -> str:
        self._refuse("trace")
        self.read.append(number)
        return self.logs.get(number, "nothing that is known\nERROR: Job failed: exit status 1\n")

    def runners_with(self, owner: Owner, tags: list[str]) -> list[dict[str, Any]]:
        self._refuse("runners")
        return [one for one in self.runners if set(tags) <= set(one["tag_list"])]

    def variables(self, owner: Owner) -> list[dict[str, Any]]:
        self._refuse("variables")
        return self.held

    def group_variables(self, path: str) -> list[dict[str, Any]]:
        return self.of_groups.get(path, [])


def doctor(gitlab: FakeGitLab, **details: Any) -> Doctor:
    project = {"builds_access_level": "enabled",
               "namespace": {"kind": "group", "full_path": "group"}, **details}  # fmt: skip
    owner = Owner("projects", 7, "group/demo")
    return Doctor(cast(DoctorApi, gitlab), owner, project, pipelines_of([], {}))


def found(gitlab: FakeGitLab, **details: Any) -> list[_symptoms.Verdict]:
    """The verdicts about a tag, whose causes and cures are told."""
    verdicts = doctor(gitlab, **details).of_tag("v1.2.3")
    for one in verdicts:
        assert one.evidence
        assert one.cure or one.id == _symptoms.HEALTHY
    return verdicts


def unprotected(**more: Any) -> FakeGitLab:
    return FakeGitLab({"commit": {"id": COMMIT}, "protected": False}, **more)


def pipeline(**more: Any) -> dict[str, Any]:
    return {"id": 9, "sha": COMMIT, "tag": True, "status": "failed", "yaml_errors": None, **more}


def failed(reason: str = "script_failure", name: str = "publish", **more: Any) -> dict[str, Any]:
    return job(2, name, "failed", failure_reason=reason, **more)


def waiting(*runners: dict[str, Any], protected: bool = True) -> FakeGitLab:
    """A release whose upload waits for a runner."""
    tag = {"commit": {"id": COMMIT}, "protected": protected}
    jobs = [job(1, "sdist"), job(2, "publish", "pending"), job(3, "verify", "created")]
    return FakeGitLab(tag, pipeline(status="running"), jobs, runners=list(runners))


GUARD = job(4, "tag-not-protected", "failed", failure_reason="script_failure")
CASES: dict[str, tuple[FakeGitLab, str]] = {
    "no_tag": (FakeGitLab(None), "its newest tags: v1.2.2, v1.2.1"),
    "no_ci_file": (FakeGitLab(shown=None, has_file=False), "the commit has no .gitlab-ci.yml"),
    "no_pipeline": (FakeGitLab(shown=None), "tag v1.2.3 (01234567) has no pipeline"),
    "pipeline_skipped": (FakeGitLab(shown=pipeline(status="skipped"), jobs=[]), "skipped"),
    "configuration_invalid": (
        FakeGitLab(shown=pipeline(yaml_errors="jobs:x config should be a hash"), jobs=[]),
        "yaml_errors: jobs:x config",
    ),
    "tag_moved": (FakeGitLab(shown=pipeline(sha="f" * 40, status="success")), "commit ffffffff"),
    "tag_not_protected": (
        unprotected(jobs=[job(1, "sdist"), GUARD], logs={4: "tag v1.2.3: not protected, so it is "
                    "not published; protect v* under\nERROR: Job failed: exit status 1"}),
        "protected: false",
    ),
    "nothing_publishes": (FakeGitLab(jobs=[job(1, "sdist"), job(3, "test")]), "release-sdist"),
    "waits_for_person": (
        FakeGitLab(shown=pipeline(status="manual"), jobs=[job(2, "publish", "manual")]), "manual",
    ),
    "no_runner": (waiting(runner(tag_list=["other"])), "status: pending; tags: publish"),
    "runner_paused": (waiting(runner(paused=True)), "runner 5 (jammy publish): paused: true"),
    "runner_protected": (waiting(runner(), protected=False), "access_level: ref_protected"),
    "runner_offline": (waiting(runner(status="stale")), "status: stale; last contact: 2026"),
    "runner_busy": (waiting(runner(), runner(id=6, paused=True)), "runner 5"),
    "resource_taken": (
        FakeGitLab(shown=pipeline(status="running"),
                   jobs=[job(2, "publish", "waiting_for_resource")]),
        "waiting_for_resource",
    ),
    "not_taken_in_time": (
        FakeGitLab(jobs=[failed("stuck_or_timeout_failure")]), "stuck_or_timeout_failure",
    ),
    "runner_failed": (FakeGitLab(jobs=[failed("runner_system_failure")]), "runner_system_failure"),
    "outdated": (
        FakeGitLab(jobs=[failed("failed_outdated_deployment_job")]), "failed_outdated",
    ),
    "environment_protected": (
        FakeGitLab(jobs=[failed("protected_environment_failure")]), "protected_environment",
    ),
    "job_timeout": (FakeGitLab(jobs=[failed("job_execution_timeout")]), "job_execution_timeout"),
    "canceled": (FakeGitLab(jobs=[job(2, "publish", "canceled")]), "status: canceled"),
    "not_over": (
        FakeGitLab(shown=pipeline(status="running"),
                   jobs=[job(1, "sdist", "running"), job(2, "publish", "created")]),
        "status: running",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CASES))
def test_each_symptom_that_the_api_shows(name: str) -> None:
    gitlab, evidence = CASES[name]
    first, *_ = found(gitlab)
    assert first.id == name
    assert evidence in "\n".join(first.evidence)


def test_every_sign_of_the_data_has_a_case() -> None:
    signs = {one.id for one in _symptoms.symptoms() if one.sign}
    assert signs - set(CASES) == {"ci_disabled"}
    assert all(one.sign or one.words for one in _symptoms.symptoms())


def test_a_project_without_ci() -> None:
    (only,) = found(FakeGitLab(shown=None), builds_access_level="disabled")
    assert only.id == "ci_disabled"


def test_a_fork_is_named() -> None:
    origin = {"path_with_namespace": "group/origin"}
    (only,) = found(FakeGitLab(None), forked_from_project=origin)
    assert "GitLab: it is a fork of group/origin" in only.evidence


def test_a_release_that_went_well() -> None:
    (only,) = found(FakeGitLab())
    assert only.id == _symptoms.HEALTHY
    assert only.evidence == ("GitLab: job 2 (release-publish): success",)


def test_a_failure_that_is_allowed_is_none() -> None:
    jobs = [*FakeGitLab().jobs, job(8, "lint", "failed", allow_failure=True)]
    (only,) = found(FakeGitLab(jobs=jobs))
    assert only.id == _symptoms.HEALTHY


def test_an_upload_that_may_fail_has_failed_all_the_same() -> None:
    gitlab = FakeGitLab(jobs=[failed(allow_failure=True)], logs={2: EMPTY}, held=[])
    (only,) = found(gitlab)
    assert only.id == "variable_empty"


def test_a_log_counts_more_than_the_reason() -> None:
    """A full disk is why the runner could not run the job."""
    log = "OSError: [Errno 28] No space left on device\nERROR: Job failed (system failure)\n"
    (only,) = found(FakeGitLab(jobs=[failed("runner_system_failure")], logs={2: log}))
    assert only.id == "disk_full"
    assert only.evidence[0].startswith("job 2 (release-publish), line 1: ")


def test_two_faults_at_once_are_both_told() -> None:
    log = "`long_description` has syntax errors in markup and would not be rendered\n"
    gitlab = unprotected(jobs=[failed(name="check"), GUARD], logs={2: log})
    gitlab.jobs.append(job(5, "test", "skipped"))
    assert [one.id for one in found(gitlab)] == ["tag_not_protected", "readme"]


def test_a_general_verdict_counts_only_alone() -> None:
    jobs = [failed(name="test"), job(3, "check", "failed", failure_reason="script_failure"),
            job(5, "publish", "skipped")]  # fmt: skip
    logs = {2: "release: test on 3.12: exit code 1\n", 3: "a: No space left on device\n"}
    assert [one.id for one in found(FakeGitLab(jobs=jobs, logs=logs))] == ["disk_full"]


@pytest.mark.parametrize(
    ("held", "groups", "protected", "cause"),
    [
        ([], {}, True, "GitLab has no variable TWINE_PASSWORD for this project."),
        ([variable(environment_scope="testpypi")], {}, True,
         "TWINE_PASSWORD is set for other environments than the job's, which is pypi."),
        ([variable(), variable(environment_scope="testpypi", protected=False)], {}, False,
         "TWINE_PASSWORD is protected, and the tag or branch is not."),
        ([], {"group": [variable(protected=True)]}, False,
         "TWINE_PASSWORD is protected, and the tag or branch is not."),
        ([variable(raw=False, value="$OTHER", environment_scope="*")], {}, True,
         "TWINE_PASSWORD (*) of group/demo is expanded, and what follows its $ is no variable; "
         "set raw: true."),
    ],
)  # fmt: skip
def test_why_a_variable_is_empty(
    held: list[dict[str, Any]], groups: dict[str, list[dict[str, Any]]], protected: bool, cause: str
) -> None:
    tag = {"commit": {"id": COMMIT}, "protected": protected}
    gitlab = FakeGitLab(tag, pipeline(), [failed()], logs={2: EMPTY}, held=held, of_groups=groups)
    (only,) = found(gitlab)
    assert only.id == "variable_empty"
    assert only.causes == (cause,)
    assert f"  cause: {cause}" in only.lines()


def test_a_token_that_is_refused_is_looked_at() -> None:
    held = [variable(value=TEST_TOKEN)]
    gitlab = FakeGitLab(shown=pipeline(), jobs=[failed()], logs={2: REFUSED}, held=held)
    (only,) = found(gitlab)
    assert only.id == "wrong_instance"
    assert only.certain
    assert TEST_TOKEN[-20:] not in str(only)
    held[0]["value"] = "glpat-x\n"
    assert found(gitlab)[0].id == "white_space_in_token"
    held[0]["value"] = "a company's own"
    assert found(gitlab)[0].id == "token_refused"


def test_what_the_token_may_not_see_is_told() -> None:
    gitlab = waiting(runner())
    gitlab.hidden = ("runners",)
    (only,) = found(gitlab)
    assert only.id == _symptoms.UNKNOWN
    assert gitlab.unseen == ["runners of the project"]
    gitlab = FakeGitLab(shown=pipeline(), jobs=[failed()], logs={2: EMPTY}, hidden=("variables",))
    (only,) = found(gitlab)
    assert only.id == "variable_empty"
    assert len(only.causes) > 1
    assert gitlab.unseen == ["variables of group/demo"]


def test_what_is_not_known_is_called_so() -> None:
    later = job(5, "publish", "skipped")
    (only,) = found(FakeGitLab(shown=pipeline(), jobs=[failed(name="mine"), later]))
    assert only.id == _symptoms.UNKNOWN
    assert "nothing that is known" in only.evidence[0]
    gitlab = FakeGitLab(shown=pipeline(), jobs=[failed("a_new_reason")], hidden=("trace",))
    (only,) = found(gitlab)
    assert only.id == _symptoms.UNKNOWN
    assert "a_new_reason" in only.evidence[0]
    (only,) = found(FakeGitLab(shown=pipeline(), jobs=[job(1, "sdist", "skipped"), later]))
    assert only.id == _symptoms.UNKNOWN


def test_no_more_logs_are_read_than_are_needed() -> None:
    jobs = [job(number, f"test-{number}", "failed", failure_reason="script_failure")
            for number in range(1, 40)]  # fmt: skip
    gitlab = FakeGitLab(shown=pipeline(), jobs=[*jobs, job(50, "publish", "skipped")])
    found(gitlab)
    assert len(gitlab.read) == LOGS


def test_a_job_by_its_number() -> None:
    gitlab = FakeGitLab(jobs=[failed(), job(3, "verify", "skipped")], logs={2: EMPTY}, held=[])
    first, *_ = doctor(gitlab).of_job(2)
    assert first.id == "variable_empty"
    (only,) = doctor(gitlab).of_job(99)
    assert only.id == _symptoms.UNKNOWN
    (only,) = doctor(FakeGitLab()).of_job(3)
    assert only.id == _symptoms.HEALTHY
