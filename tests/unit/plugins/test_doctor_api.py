# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor and the lab's GitLab: a large project, a token that only reads, planted secrets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action.release_doctor import ActionModule
from standins.gitlab import Settings
from standins.gitlab.client import LabGitLab, ProjectInfo
from standins.gitlab.records import FAILED, PENDING, SKIPPED, SUCCESS, Plan
from standins.gitlab.store import Store
from standins.gitlab.thread import bound_socket, serving

pytestmark = pytest.mark.long

ADMIN = "glpat-AdministratorsOwn00"
SECRET = "pypi-" + "AgEIplantedZq7" * 9
MANY = 500
LOG = f"TWINE_PASSWORD={SECRET} twine\nrelease: variable TWINE_PASSWORD: empty; set it in GitLab\n"


@dataclass
class Shop:
    """A project with a tag, and what the store needs to make its pipelines."""

    gitlab: LabGitLab
    store: Store
    project: ProjectInfo
    commit: str

    def pipeline(self, ref: str, **jobs: str) -> int:
        """A pipeline with jobs in these states; its number."""
        made = self.store.pipelines.add(
            id=self.store.next_pipeline_id(), project_id=self.project.id, iid=1, ref=ref,
            tag=ref.startswith("v"), sha=self.commit, before_sha="0" * 40, source="push",
            protected=True,
        )  # fmt: skip
        for name, state in jobs.items():
            self.store.add_job(
                state, project_id=self.project.id, name=f"release-{name}", stage="deploy", ref=ref,
                ref_type="tag", sha=self.commit, pipeline_id=made.id, tags=["publish"],
                failure_reason="script_failure" if state == FAILED else None,
                plan=Plan(group=f"release-{name}", stage_index=0),
            )  # fmt: skip
        return int(made.id)

    def reader(self, level: int) -> str:
        """A token that reads, of a member with this role."""
        body = {"name": "reader", "scopes": ["read_api"], "access_level": level,
                "expires_at": "2999-01-01"}  # fmt: skip
        address = f"/projects/{self.project.id}/access_tokens"
        return str(self.gitlab.api("POST", address, json=body)["token"])

    def ask(self, token: str, **args: Any) -> dict[str, Any]:
        """The action; no secret is in what it says."""
        action = object.__new__(ActionModule)
        nothing = {"log": "", "tag": "", "job": 0, "report": "", "inputs": {}, "projects": [],
                   "api_ca_certificate": "", "api_proxy": ""}  # fmt: skip
        given = {"url": self.gitlab.base_url, "api_token": token, "project": self.project.path}
        action._task = SimpleNamespace(
            args={**nothing, **given, **args}, check_mode=False, async_val=0,
            action="release_doctor",
        )  # fmt: skip
        action._connection = SimpleNamespace(
            _shell=SimpleNamespace(tmpdir="/tmp"), is_pipelining_enabled=lambda: True
        )
        result: dict[str, Any] = action.run(None, {})
        assert "Zq7" not in json.dumps(result)
        return result


@contextmanager
def shop(folder: Path) -> Iterator[Shop]:
    listener = bound_socket()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    state = folder / "gitlab"
    with (
        serving(Settings(state, url, "the-lab-secret", ADMIN), listener),
        LabGitLab(url, "the-lab-secret", ADMIN) as gitlab,
    ):
        source = folder / "source"
        source.mkdir()
        (source / "README.md").write_text("demo\n")
        git = ["git", "-C", str(source), "-c", "user.name=A", "-c", "user.email=a@example.com"]
        for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "One"],
                      ["tag", "v1.2.3"], ["tag", "v1.2.4"]):  # fmt: skip
            subprocess.run([*git, *words], check=True, timeout=30)
        project = gitlab.create_project("group/demo", source)
        commit = gitlab.push(project, source, "v1.2.3", "v1.2.4")
        body = {"name": "v*"}
        gitlab.api("POST", f"/projects/{project.id}/protected_tags", json=body)
        variable = {"key": "TWINE_PASSWORD", "value": SECRET, "environment_scope": "testpypi"}
        gitlab.api("POST", f"/projects/{project.id}/variables", json=variable)
        store = Store(state)
        try:
            yield Shop(gitlab, store, project, commit)
        finally:
            store.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A project with 500 pipelines, one of which is of the tag and has failed."""
    with shop(tmp_path_factory.mktemp("large")) as made:
        with made.store.transaction():
            for number in range(MANY):
                if number == MANY // 2:
                    made.pipeline("v1.2.3", sdist=SUCCESS, publish=FAILED, verify=SKIPPED)
                made.pipeline("main", sdist=SUCCESS, test=SUCCESS)
        (failed,) = made.store.jobs(FAILED)
        made.store.append_trace(failed.id, LOG.encode())
        yield made


def test_a_large_project_takes_few_calls(large: Shop) -> None:
    since = large.gitlab.last_request()
    result = large.ask(large.gitlab.create_token("read_api"), tag="v1.2.3")
    (verdict,) = result["verdicts"]
    assert verdict["id"] == "variable_empty"
    assert verdict["causes"] == [
        "TWINE_PASSWORD is set for other environments than the job's, which is pypi."
    ]
    assert result["unseen"] == []
    asked = [one for one in large.gitlab.requests(since) if one["path"].startswith("/api/v4/")]
    assert len(asked) == result["calls"]
    assert {one["method"] for one in asked} == {"GET"}
    assert result["calls"] <= 12
    assert f"asked GitLab {result['calls']} times" in result["msg"]


def test_a_projects_own_token_does_not_see_its_groups(large: Shop) -> None:
    result = large.ask(large.reader(40), tag="v1.2.3")
    (verdict,) = result["verdicts"]
    assert (
        "GitLab: variable TWINE_PASSWORD of group/demo: environment testpypi, not protected"
        in (verdict["evidence"])
    )
    assert len(verdict["causes"]) > 1
    assert result["unseen"] == ["variables of group"]


def test_a_reporter_sees_less_and_is_told_so(large: Shop) -> None:
    result = large.ask(large.reader(20), tag="v1.2.3")
    (verdict,) = result["verdicts"]
    assert verdict["id"] == "variable_empty"
    assert len(verdict["causes"]) > 1
    assert result["unseen"] == ["variables of group/demo", "variables of group"]
    assert any("for lack of a right of the access token" in line for line in result["msg"])


def test_a_job_by_its_number(large: Shop) -> None:
    (failed,) = large.store.jobs(FAILED)
    assert large.ask(ADMIN, job=failed.id)["verdicts"][0]["id"] == "variable_empty"


def test_tags_without_a_pipeline(large: Shop) -> None:
    assert large.ask(ADMIN, tag="v1.2.4")["verdicts"][0]["id"] == "no_ci_file"
    (verdict,) = large.ask(ADMIN, tag="v9.9.9")["verdicts"]
    assert verdict["id"] == "no_tag"
    assert "GitLab: its newest tags: v1.2.3, v1.2.4" in verdict["evidence"]


def test_runners_of_a_job_that_waits(tmp_path: Path) -> None:
    with shop(tmp_path) as small:
        small.pipeline("v1.2.3", sdist=SUCCESS, publish=PENDING)
        reader = small.reader(40)

        def found() -> list[str]:
            return [one["id"] for one in small.ask(reader, tag="v1.2.3")["verdicts"]]

        assert found() == ["no_runner"]
        small.gitlab.create_runner(runner_type="instance_type", tag_list="other")
        assert found() == ["no_runner"]
        made = small.gitlab.create_runner(runner_type="instance_type", tag_list="publish,other")
        assert found() == ["runner_offline"]
        small.gitlab.pause(made.id)
        assert found() == ["runner_paused"]
        result = small.ask(small.reader(20), tag="v1.2.3")
        assert result["unseen"] == ["runners of the project"]


@pytest.mark.parametrize(
    ("args", "words"),
    [({"project": "group/none", "tag": "v1"}, "release_pipeline_doctor_project: .* has no project"),
     ({"api_token": "glpat-WrongWrongWrongWrong", "tag": "v1"},
      "it does not know release_pipeline_api_token")],
)  # fmt: skip
def test_what_cannot_be_asked_is_said(large: Shop, args: dict[str, Any], words: str) -> None:
    with pytest.raises(AnsibleActionFail, match=words):
        large.ask(ADMIN, **args)
