# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipelines of the lab's GitLab, as far as no compiler is needed; the rest is in tests/contract."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from standins.gitlab import Settings, create_app
from standins.gitlab.ci_variables import expand, expanded, variable
from standins.gitlab.compiler import instances
from standins.gitlab.components import ConfigError, Template, filled
from standins.gitlab.definition import seconds
from standins.gitlab.includes import MAIN, Includes
from standins.gitlab.protection import covering, may_push
from standins.gitlab.push_checks import environment
from standins.gitlab.records import Job, Plan, Project
from standins.gitlab.repository import Repository
from standins.gitlab.scheduler import composite
from standins.gitlab.store import Store

ADMIN, SECRET = "glpat-AdministratorsOwn00", "the-lab-secret"


def job(status: str) -> Job:
    """A job in a state; with a question mark behind it, one that may fail."""
    plan = Plan("x", 0, allow_failure=status.endswith("?"))
    state = status.removesuffix("?")
    return Job(1, 1, "x", "test", "main", "branch", "0" * 40, "t", 1, state=state, plan=plan)


@pytest.mark.parametrize(
    ("jobs", "status"),
    [
        ("success success", "success"),
        ("success failed?", "success"),
        ("success manual?", "success"),
        ("manual? skipped", "skipped"),
        ("created created", "created"),
        ("created failed?", "created"),
        ("success canceled", "canceled"),
        ("failed canceled", "failed"),
        ("pending created", "pending"),
        ("success created", "running"),
        ("success pending", "running"),
        ("failed running", "running"),
        ("failed waiting_for_resource", "waiting_for_resource"),
        ("success manual", "manual"),
        ("manual created", "manual"),
        ("canceling running", "canceling"),
        ("success failed", "failed"),
    ],
)
def test_status_of_several_jobs(jobs: str, status: str) -> None:
    assert composite(map(job, jobs.split())) == status


@pytest.mark.parametrize(
    ("jobs", "status"),
    [
        ("success failed?", "success"),
        ("success skipped", "skipped"),
        ("success manual?", "skipped"),
        ("success running", "pending"),
        ("success manual", "pending"),
        ("success failed", "failed"),
        ("success canceled", "canceled"),
    ],
)
def test_status_of_jobs_that_another_needs(jobs: str, status: str) -> None:
    assert composite(map(job, jobs.split()), needed=True) == status


@pytest.mark.parametrize(
    ("text", "number"),
    [("1h 30m", 5400), ("90 seconds", 90), ("3 hours 30 minutes", 12600), ("1 week", 604800),
     ("45", 45), (600, 600), ("1h30m", 5400)],
)  # fmt: skip
def test_durations(text: object, number: int) -> None:
    assert seconds(text) == number


@pytest.mark.parametrize("text", ["soon", "2 months", ""])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError):
        seconds(text)


def test_expansion() -> None:
    items = [
        variable("A", "a"),
        variable("B", "$A/${A}/$$A"),
        variable("C", "$B $UNKNOWN $RAW $FILE"),
        variable("RAW", "$A", raw=True),
        variable("FILE", "content", file=True),
    ]
    assert {one["key"]: one["value"] for one in expanded(items)} == {
        "A": "a", "B": "a/a/$$A", "C": "a/a/$$A $UNKNOWN $RAW $FILE", "RAW": "$A",
        "FILE": "content",
    }  # fmt: skip
    circle = [variable("A", "$B"), variable("B", "$A"), variable("C", "$D"), variable("D", "d")]
    assert expanded(circle) == circle
    assert expand("x-$A-${B}-$C", {"A": "1", "B": "2"}) == "x-1-2-"


def test_instances() -> None:
    assert list(instances("a", {})) == [("a", "", {})]
    found = list(instances("a", {"parallel": {"matrix": [{"X": [1, "b c"], "Y": "z"}, {"X": 2}]}}))
    assert found == [
        ("a: [1, z]", ": [1,z]", {"X": "1", "Y": "z"}),
        ("a: [b c, z]", ": [b c,z]", {"X": "b c", "Y": "z"}),
        ("a: [2]", ": [2]", {"X": "2"}),
    ]


TEMPLATE = Template(
    """\
# A component.
spec:
  inputs:
    word: {regex: "^[a-z]+$"}
    kind: {options: [one, two], default: one}
    names: {type: array, default: []}
    flag: {type: boolean, default: false}
    count: {type: number, default: 3}
---
job:
  script: ["echo $[[ inputs.word ]] $[[inputs.kind]]"]
  tags: $[[ inputs.names ]]
  allow_failure: $[[ inputs.flag ]]
  parallel: $[[ inputs.count ]]
""",
    "0" * 40,
)


def test_inputs_are_put_in_as_text() -> None:
    text = filled("here", TEMPLATE, {"word": "abc", "names": ["x", "y"], "flag": True})
    assert text == (
        'job:\n  script: ["echo abc one"]\n  tags: ["x", "y"]\n  allow_failure: true\n'
        "  parallel: 3\n"
    )


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "`here`: `word` input: required value has not been provided"),
        ({"word": "a", "none": 1}, "unknown input arguments: none"),
        ({"word": 7}, "provided value is not a string"),
        ({"word": "a", "flag": "true"}, "provided value is not a boolean"),
        ({"word": "a", "count": True}, "provided value is not a number"),
        ({"word": "a", "names": "x"}, "provided value is not an array"),
        ({"word": "A"}, "does not match required RegEx pattern"),
        ({"word": "a", "kind": "three"}, "`three` cannot be used"),
    ],
)
def test_inputs_that_are_refused(inputs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        filled("here", TEMPLATE, inputs)


@pytest.mark.parametrize("block", ["$[[ inputs.none ]]", "$[[ inputs.a | truncate(1,2) ]]"])
def test_blocks_that_are_refused(block: str) -> None:
    text = f"spec:\n  inputs:\n    a: {{default: x}}\n---\njob: {{script: ['{block}']}}\n"
    with pytest.raises(ConfigError):
        filled("here", Template(text, ""), {})


def test_a_file_without_a_header_is_taken_as_it_is() -> None:
    template = Template("job: {script: ['$[[ inputs.x ]]']}\n", "")
    assert filled("here", template, {}) == template.text
    with pytest.raises(ConfigError, match="Given inputs not defined"):
        filled("here", template, {"x": "y"})


class Repositories:
    """A store with projects that have files."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "store")
        self.folder = folder

    def project(self, path: str, **files: str) -> tuple[Project, str]:
        """A project and its commit; two underscores in a name are a slash, one a dot."""
        project = self.store.add_project(path, "main")
        tree = self.folder / path
        for name, text in files.items():
            file = tree / name.replace("__", "/").replace("_", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        bare = self.store.repository(project)
        person = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        for words in (
            ("init", "--quiet", "--initial-branch=main"),
            ("add", "."),
            (*person, "commit", "--quiet", "-m", "x"),
            ("clone", "--quiet", "--bare", ".", str(bare)),
        ):
            subprocess.run(["git", *words], cwd=tree, check=True)
        return project, Repository(bare).commit_of("main")

    def includes(self, text: str, **files: str) -> Includes:
        """What a configuration includes."""
        project, sha = self.project("group/demo", **{"_gitlab-ci_yml": text}, **files)
        known = {"CI_SERVER_FQDN": "gitlab.test:8443", "CI_PROJECT_PATH": "group/demo"}
        return Includes(self.store, project, sha, known)


@pytest.fixture
def repositories(tmp_path: Path) -> Iterator[Repositories]:
    """Projects of this GitLab."""
    made = Repositories(tmp_path)
    yield made
    made.store.close()


COMPONENT = (
    "spec:\n  inputs:\n    word:\n---\ndefault: {tags: [a]}\njob: {script: [$[[ inputs.word ]]]}\n"
)


def test_includes_are_put_beside_the_configuration(repositories: Repositories) -> None:
    _, sha = repositories.project("tools/one", templates__say_yml=COMPONENT)
    repositories.project("tools/two", ci__more_yml="more: {script: [more]}\n")
    text = f"""\
stages: [test]  # Kept as it is.
include:
  - component: $CI_SERVER_FQDN/tools/one/say@{sha}
    inputs: {{word: hello}}
  - local: /ci/mine.yml
    rules: [{{if: $X}}]
  - project: tools/two
    file: ci/more.yml
default:
  retry: 1
mine: {{script: [!reference [.x, script]]}}
"""
    found = repositories.includes(text, ci__mine_yml="include: ci/inner.yml\n",
                                  ci__inner_yml="inner: {script: [x]}\n")  # fmt: skip
    main = found.files.pop(MAIN)
    assert main.startswith("stages: [test]  # Kept as it is.\ninclude: [")
    assert "mine: {script: [!reference [.x, script]]}\n" in main
    assert '"rules": [{"if": "$X"}]' in main
    assert found.default == {"tags": ["a"], "retry": 1}
    texts = list(found.files.values())
    assert "default: {tags: [a]}\njob: {script: [hello]}\n" in texts
    assert "more: {script: [more]}\n" in texts
    assert "inner: {script: [x]}\n" in texts
    # Each is named where it was included.
    assert sum(f'"{name}"' in "".join([main, *texts]) for name in found.files) == len(found.files)


@pytest.mark.parametrize(
    ("include", "words"),
    [
        ("{component: other.example.com/tools/one/say@main}", "content not found"),
        ("{component: $CI_SERVER_FQDN/tools/one/none@main}", "content not found"),
        ("{component: $CI_SERVER_FQDN/tools/one/say@none}", "content not found"),
        ("{component: $CI_SERVER_FQDN/tools/one/say@main}", "required value has not been"),
        ("ci/none.yml", "Local file `ci/none.yml` does not exist!"),
        ("{project: tools/none, file: a.yml}", "not found or access denied"),
        ("{project: tools/one, file: a.yml}", "Project file `a.yml` does not exist!"),
        ("{project: tools/one, ref: none, file: a.yml}", "reference `none` does not exist"),
        ("{remote: 'https://example.com/a.yml'}", "includes no remote"),
        ("{template: Auto-DevOps.gitlab-ci.yml}", "includes no template"),
        (".gitlab-ci.yml", "Maximum of"),
        ("[7]", "must be a string or a hash"),
    ],
)
def test_includes_that_are_refused(repositories: Repositories, include: str, words: str) -> None:
    repositories.project("tools/one", templates__say_yml=COMPONENT)
    with pytest.raises(ConfigError, match=words):
        repositories.includes(f"include: {include}\n")


def test_rules_with_wildcards(tmp_path: Path) -> None:
    store, project = Store(tmp_path / "store"), Project(1, "group/project")
    for name, level in (("v*", 40), ("v1*", 30), ("*-stable", 0)):
        store.protected_refs.add(project_id=1, tag=True, name=name, push_level=level)
    names = ["v2", "v1.0", "2-stable", "xv", "stable", "V1"]
    found = {name: len(covering(store, project, name, tag=True)) for name in names}
    assert found == {"v2": 1, "v1.0": 2, "2-stable": 1, "xv": 0, "stable": 0, "V1": 0}
    assert not covering(store, project, "v2", tag=False)
    # The most that any rule allows.
    may = {(name, level) for name in names for level in (30, 40, 50)
           if may_push(store, project, name, level, tag=True)}  # fmt: skip
    assert may == {("v2", 40), ("v2", 50), *(("v1.0", level) for level in (30, 40, 50)),
                   *((name, level) for name in names[3:] for level in (30, 40, 50))}  # fmt: skip
    store.close()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[TestClient]:
    """A GitLab without a compiler."""
    settings = Settings(tmp_path / "gitlab", "https://gitlab.test:8443", SECRET, ADMIN)
    headers = {"PRIVATE-TOKEN": ADMIN, "Lab-Secret": SECRET}
    with TestClient(create_app(settings), headers=headers) as client:
        yield client


def test_without_its_compiler_a_pipeline_fails_and_says_so(web: TestClient) -> None:
    number = web.post("/lab/v1/projects", json={"path": "group/project"}).json()["id"]
    base = f"/api/v4/projects/{number}"
    action = {"action": "create", "file_path": ".gitlab-ci.yml", "content": "a: {script: [x]}\n"}
    commit = {"branch": "main", "commit_message": "First", "actions": [action]}
    assert web.post(f"{base}/repository/commits", json=commit).status_code == 201
    deadline = time.monotonic() + 10
    while not (found := web.get(f"{base}/pipelines").json()):
        assert time.monotonic() < deadline
    pipeline = web.get(f"{base}/pipelines/{found[0]['id']}").json()
    assert pipeline["status"] == "failed"
    assert "python -m lab.pipeline_tools" in pipeline["yaml_errors"]


def test_numbers_of_pipelines_are_no_job_s(web: TestClient) -> None:
    """Jobs that the lab queues by itself have pipelines, too, which no client sees."""
    number = web.post("/lab/v1/projects", json={"path": "group/project"}).json()["id"]
    base = f"/api/v4/projects/{number}"
    queued = {"project": "group/project", "script": ["x"],
              "variables": [{"key": "GIT_STRATEGY", "value": "none"}]}  # fmt: skip
    first = web.post("/lab/v1/jobs", json=queued).json()
    assert web.get(f"{base}/pipelines/{first['pipeline_id']}").status_code == 404
    action = {"action": "create", "file_path": ".gitlab-ci.yml", "content": "a: [\n"}
    commit = {"branch": "main", "commit_message": "First", "actions": [action]}
    web.post(f"{base}/repository/commits", json=commit)
    answer = web.post(f"{base}/pipeline", json={"ref": "main"})
    assert answer.status_code == 400
    newest = web.get(f"{base}/pipelines").json()[0]["id"]
    second = web.post("/lab/v1/jobs", json=queued).json()
    assert first["pipeline_id"] < newest < second["pipeline_id"]
    assert web.get(f"{base}/jobs/{first['id']}").json()["status"] == "pending"
    assert web.post(f"{base}/jobs/{first['id']}/cancel").json()["status"] == "canceled"
    assert web.post(f"{base}/jobs/{first['id']}/retry").status_code == 403


def test_a_job_is_known_by_its_token(web: TestClient) -> None:
    web.post("/lab/v1/projects", json={"path": "group/project"})
    queued = {"project": "group/project", "script": ["x"],
              "variables": [{"key": "GIT_STRATEGY", "value": "none"}]}  # fmt: skip
    number = web.post("/lab/v1/jobs", json=queued).json()["id"]
    runner = web.post("/api/v4/user/runners", json={"runner_type": "instance_type"}).json()
    taken = web.post("/api/v4/jobs/request", json={"token": runner["token"]}).json()
    shown = web.get("/api/v4/job", headers={"JOB-TOKEN": taken["token"]})
    assert (shown.status_code, shown.json()["id"]) == (200, number)
    end = {"token": taken["token"], "state": "success"}
    assert web.put(f"/api/v4/jobs/{number}", json=end).status_code == 200
    for token in (taken["token"], "", "unknown"):
        assert web.get("/api/v4/job", headers={"JOB-TOKEN": token}).status_code == 401


def test_the_refs_of_pipelines_cannot_be_pushed(tmp_path: Path, web: TestClient) -> None:
    """The hook and git's settings hold for any push; tests/contract pushes over the network."""
    web.post("/lab/v1/projects", json={"path": "group/project"})
    store = web.app.state.lab.store  # type: ignore[attr-defined]
    project = store.project_by_path("group/project")
    given = environment(store, project, [], 50)
    values = {given[f"GIT_CONFIG_KEY_{number}"]: given[f"GIT_CONFIG_VALUE_{number}"]
              for number in range(int(given["GIT_CONFIG_COUNT"]))}  # fmt: skip
    assert values["receive.hideRefs"] == "refs/pipelines"
    hook = Path(values["core.hooksPath"]) / "pre-receive"
    done = subprocess.run(
        [hook], env={"LAB_REFUSAL": "You may not."}, input="", capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "GitLab: You may not.\n")
