# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's pipelines: made by a push or by the API, run by a runner.

One suite for the lab's GitLab and for a real one, see servers.py. The runner is the test itself.
"""

from __future__ import annotations

import base64
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from gitlab.exceptions import GitlabCreateError, GitlabJobPlayError, GitlabJobRetryError

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._preflight_run import (
    PreflightApi,
)
from tests.contract.pipelines import Shop, checksum, eventually, unpacked, variables
from tests.contract.servers import Server, server

__all__ = ["server"]
pytestmark = pytest.mark.usefixtures("compiler")


@pytest.fixture
def shop(server: Server) -> Shop:
    """An empty project with a runner of its own."""
    return Shop(server, server.project())


STAGES = """\
stages: [build, test, deploy]
one: {stage: build, script: [make one], artifacts: {paths: [dist/], expire_in: 1 week}}
two: {stage: build, script: [make two], artifacts: {paths: [two/]}}
three: {stage: test, needs: [one], script: [test one]}
four: {stage: test, script: [test all]}
five: {stage: deploy, script: [deploy], dependencies: [two]}
six: {stage: deploy, script: [look], needs: [{job: one, artifacts: false}, three]}
"""


def test_stages_needs_and_artifacts(shop: Shop) -> None:
    pipeline = shop.pipeline(STAGES)
    assert (pipeline.source, pipeline.ref) == ("push", shop.project.default_branch)
    assert not pipeline.tag
    assert not pipeline.yaml_errors
    shop.await_states(pipeline, one="pending", two="pending", three="created", four="created")
    one = shop.runner.take("one")
    assert [step["name"] for step in one["steps"]] == ["script"]
    assert one["steps"][0]["script"] == ["make one"]
    (archive,) = one["artifacts"]
    assert archive["paths"] == ["dist/"]
    assert (archive["artifact_type"], archive["artifact_format"]) == ("archive", "zip")
    assert archive["expire_in"] == "1 week"
    shop.await_states(pipeline, one="running")
    shop.await_status(pipeline, "running")
    shop.runner.upload(one, **{"dist/a.txt": "a"})
    shop.runner.end(one)
    # It needs one alone, so it does not wait for two.
    shop.await_states(pipeline, one="success", two="pending", three="pending", four="created")
    two = shop.runner.take("two")
    shop.runner.upload(two, **{"two/b.txt": "b"})
    three = shop.runner.take("three")
    assert [one["name"] for one in three["dependencies"]] == ["one"]
    assert shop.runner.download(three["dependencies"][0]) == {"dist/a.txt": "a"}
    shop.runner.end(three)
    shop.await_states(pipeline, six="pending", four="created", five="created")
    shop.runner.end(two)
    jobs = [shop.runner.take() for _ in range(2)]
    by_name = {job["job_info"]["name"]: job for job in jobs}
    assert set(by_name) == {"four", "six"}
    assert by_name["six"]["dependencies"] == []
    assert {one["name"] for one in by_name["four"]["dependencies"]} == {"one", "two"}
    for job in jobs:
        shop.runner.end(job)
    five = shop.runner.take("five")
    assert [one["name"] for one in five["dependencies"]] == ["two"]
    shop.runner.end(five)
    shop.await_status(pipeline, "success")
    assert pipeline.finished_at


def test_a_job_its_trace_and_its_archive(shop: Shop) -> None:
    pipeline = shop.pipeline("say:\n  script: [echo hello]\n  artifacts: {paths: [x]}\n")
    job = shop.runner.take("say")
    text = b"hello\n"
    assert shop.runner.log(job, text).status_code == 202
    shop.runner.upload(job, x="y")
    shop.runner.end(job, output=checksum(text))
    shop.await_status(pipeline, "success")
    shown = shop.job(pipeline, "say")
    assert (shown.status, shown.stage, shown.allow_failure) == ("success", "test", False)
    assert shown.ref == shop.project.default_branch
    assert shown.pipeline["id"] == pipeline.id
    assert shown.trace().endswith(text)
    assert unpacked(shown.artifacts()) == {"x": "y"}
    (found,) = shop.api.pipelines.list(ref=pipeline.ref)
    assert found.id == pipeline.id
    assert shop.api.pipelines.list(ref=f"no-{secrets.token_hex(4)}") == []
    assert [one.id for one in pipeline.jobs.list(scope="success")] == [shown.id]
    assert pipeline.jobs.list(scope=["failed", "running"]) == []


def test_what_a_preflight_asks(shop: Shop) -> None:
    """Details of a project, its latest jobs, a manual job started, its log."""
    text = "show:\n  script: [claims]\n  when: manual\n"
    pipeline = shop.pipeline(text)
    shop.await_states(pipeline, show="manual")
    api = PreflightApi(shop.server.url, shop.server.token, shop.server.authority)
    found = api.details(shop.project.path)
    assert found is not None
    project, seen = found
    assert (project.id, seen.path) == (shop.project.id, shop.project.path)
    assert seen.issuer.startswith("http")
    assert not seen.issuer.endswith(("/", shop.project.path))
    assert (seen.config, seen.sub[:1]) == ("", ("project_path",))
    (job,) = api.jobs(project)
    assert (job["name"], job["status"]) == ("show", "manual")
    with ThreadPoolExecutor(1) as runner:
        played = runner.submit(api.play, project, int(job["id"]))
        taken = shop.runner.take("show")
        shop.runner.log(taken, b"claims\n")
        shop.runner.end(taken, output=checksum(b"claims\n"))
        assert played.result(60) == "success"
    assert api.trace(project, int(job["id"])).endswith("claims\n")
    assert api.details(f"{shop.project.path}-{secrets.token_hex(4)}") is None


FAILURES = """\
stages: [build, test, after]
bad: {stage: build, script: ["false"]}
may: {stage: build, script: ["false"], allow_failure: true}
code: {stage: build, script: [exit 7], allow_failure: {exit_codes: [7]}}
next: {stage: test, script: [x]}
needs bad: {stage: test, needs: [bad], script: [x]}
rescue: {stage: test, when: on_failure, script: [x]}
always: {stage: after, when: always, script: [x]}
"""


def test_failures(shop: Shop) -> None:
    pipeline = shop.pipeline(FAILURES)
    for _ in range(3):
        job = shop.runner.take()
        shop.runner.end(job, "failed", exit_code=7 if job["job_info"]["name"] == "code" else 1)
    shop.await_states(
        pipeline, bad="failed", may="failed", code="failed", next="skipped",
        needs_bad="skipped", rescue="pending", always="created",
    )  # fmt: skip
    assert shop.job(pipeline, "bad").failure_reason == "script_failure"
    assert not shop.job(pipeline, "bad").allow_failure
    assert shop.job(pipeline, "may").allow_failure
    assert shop.job(pipeline, "code").allow_failure
    shop.runner.do("rescue")
    shop.runner.do("always")
    shop.await_status(pipeline, "failed")


def test_failures_that_are_allowed(shop: Shop) -> None:
    text = """\
stages: [build, test]
may: {stage: build, script: ["false"], allow_failure: true}
next: {stage: test, script: [x]}
needs may: {stage: test, needs: [may], script: [x]}
rescue: {stage: test, when: on_failure, script: [x]}
"""
    pipeline = shop.pipeline(text)
    shop.runner.do("may", "failed")
    shop.await_states(pipeline, rescue="skipped", next="pending")
    for _ in range(2):
        shop.runner.end(shop.runner.take())
    shop.await_status(pipeline, "success")


def test_a_job_runs_again(shop: Shop) -> None:
    text = """\
stages: [build, test]
bad: {stage: build, script: [x]}
next: {stage: test, script: [x]}
"""
    pipeline = shop.pipeline(text)
    shop.runner.do("bad", "failed")
    shop.await_states(pipeline, bad="failed", next="skipped")
    first = shop.job(pipeline, "bad")
    first.retry()
    shop.await_states(pipeline, bad="pending", next="created")
    assert shop.job(pipeline, "bad").id != first.id
    with pytest.raises(GitlabJobRetryError, match="not retryable") as no:
        first.retry()
    assert no.value.response_code == 403
    shop.runner.do("bad")
    shop.runner.do("next")
    shop.await_status(pipeline, "success")
    assert len(pipeline.jobs.list(include_retried=True)) == 3


def test_a_job_that_runs_again_by_itself(shop: Shop) -> None:
    pipeline = shop.pipeline("bad: {script: [x], retry: 1}\n")
    shop.runner.do("bad", "failed")
    shop.runner.do("bad", "failed")
    shop.await_status(pipeline, "failed")
    assert shop.runner.ask() is None


def test_manual_jobs(shop: Shop) -> None:
    text = """\
stages: [build, gate, deploy]
optional: {stage: build, when: manual, script: [x]}
needs optional: {stage: build, needs: [optional], script: [x]}
gate:
  stage: gate
  script: [x]
  rules: [{if: $CI_COMMIT_BRANCH, when: manual}]
deploy: {stage: deploy, script: [x]}
"""
    pipeline = shop.pipeline(text)
    shop.await_states(
        pipeline, optional="manual", needs_optional="skipped", gate="manual", deploy="created"
    )
    shop.await_status(pipeline, "manual")
    assert shop.job(pipeline, "optional").allow_failure
    assert not shop.job(pipeline, "gate").allow_failure
    assert shop.runner.ask() is None
    path = f"/projects/{shop.project.id}/jobs/{shop.job(pipeline, 'gate').id}/play"
    shop.server.call("POST", path, job_variables_attributes=[{"key": "WHO", "value": "me"}])
    gate = shop.runner.take("gate")
    assert variables(gate)["WHO"] == "me"
    assert variables(gate)["CI_JOB_MANUAL"] == "true"
    with pytest.raises(GitlabJobPlayError, match="Unplayable Job"):
        shop.job(pipeline, "gate").play()
    shop.runner.end(gate)
    shop.runner.do("deploy")
    shop.await_status(pipeline, "success")
    shop.job(pipeline, "optional").play()
    shop.runner.do("optional")
    shop.runner.do("needs optional")
    shop.await_status(pipeline, "success")


def test_cancel(shop: Shop) -> None:
    text = """\
stages: [build, test]
one: {stage: build, script: [x]}
two: {stage: build, script: [x]}
next: {stage: test, script: [x]}
always: {stage: test, when: always, script: [x]}
"""
    pipeline = shop.pipeline(text)
    one = shop.runner.take("one")
    pipeline.cancel()
    shop.await_states(pipeline, two="canceled", next="canceled", always="canceled")
    assert shop.job(pipeline, "one").status in ("canceling", "canceled")
    answer = shop.runner.log(one, b"x")
    assert answer.headers["Job-Status"] in ("canceling", "canceled")
    if answer.headers["Job-Status"] == "canceling":
        shop.runner.end(one, "failed")
    shop.await_states(pipeline, one="canceled")
    shop.await_status(pipeline, "canceled")
    shop.job(pipeline, "two").retry()
    shop.runner.do("two")


def test_a_newer_commit_cancels_what_is_redundant(shop: Shop) -> None:
    text = """\
stages: [build, deploy]
build: {stage: build, script: [x], interruptible: true}
deploy: {stage: deploy, script: [x]}
"""
    waits = shop.pipeline(text)
    topic = shop.pipeline(text + "# Topic.\n", "topic")
    begun = shop.pipeline(text + "# More.\n")
    shop.await_status(waits, "canceled")
    shop.await_status(topic, "pending")
    names = [shop.runner.take("build") for _ in range(2)]
    last = shop.pipeline(text + "# Even more.\n")
    shop.await_states(begun, deploy="canceled")
    assert shop.states(begun)["build"] in ("canceling", "canceled")
    shop.runner.end(shop.runner.take("build"))
    deploy = shop.runner.take("deploy")
    assert variables(deploy)["CI_PIPELINE_ID"] == str(last.id)
    # A job that must not be interrupted has begun.
    newest = shop.pipeline(text + "# Most.\n")
    shop.await_states(newest, build="pending")
    shop.runner.end(deploy)
    shop.await_status(last, "success")
    assert {variables(job)["CI_COMMIT_REF_NAME"] for job in names} == {
        "topic", shop.project.default_branch,
    }  # fmt: skip


def test_a_matrix(shop: Shop) -> None:
    text = """\
stages: [build, test]
build:
  stage: build
  script: [x]
  parallel: {matrix: [{PY: ["3.9", "3.12"], OS: [a]}]}
split: {stage: build, script: [x], parallel: 2}
all: {stage: test, needs: [build], script: [x]}
first:
  stage: test
  script: [x]
  needs: [{job: build, parallel: {matrix: [{PY: "3.9", OS: a}]}}]
"""
    pipeline = shop.pipeline(text)
    names = ["build: [3.9, a]", "build: [3.12, a]", "split 1/2", "split 2/2"]
    assert set(shop.states(pipeline)) == {*names, "all", "first"}
    jobs = {}
    for _ in names:
        job = shop.runner.take()
        jobs[job["job_info"]["name"]] = variables(job)
        if job["job_info"]["name"].startswith("build"):
            shop.runner.upload(job, **{job["job_info"]["name"]: "x"})
        shop.runner.end(job)
    nine, split = jobs["build: [3.9, a]"], jobs["split 2/2"]
    assert (nine["PY"], nine["OS"], nine["CI_NODE_TOTAL"]) == ("3.9", "a", "2")
    assert (split["CI_NODE_INDEX"], split["CI_NODE_TOTAL"]) == ("2", "2")
    needs = {}
    for _ in range(2):
        job = shop.runner.take()
        needs[job["job_info"]["name"]] = {one["name"] for one in job["dependencies"]}
        shop.runner.end(job)
    assert needs == {"all": set(names[:2]), "first": {names[0]}}
    shop.await_status(pipeline, "success")


RULES = """\
variables: {WHERE: nowhere}
workflow:
  rules:
    - if: $CI_COMMIT_MESSAGE =~ /nothing/
      when: never
    - if: $CI_COMMIT_TAG
      variables: {WHERE: workflow}
    - when: always
tag:
  script: [x]
  variables: {WHAT: job}
  rules:
    - if: $CI_COMMIT_TAG =~ /^v\\d/
      variables: {WHAT: "version $CI_COMMIT_TAG"}
    - if: $CI_COMMIT_TAG
branch: {script: [x], rules: [{if: $CI_COMMIT_BRANCH && $CI_COMMIT_BRANCH != $CI_DEFAULT_BRANCH}]}
main: {script: [x], rules: [{if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH}]}
asked: {script: [x], rules: [{if: $CI_PIPELINE_SOURCE == "api" && $ASKED == "yes"}]}
"""


def test_rules_for_branches_tags_and_the_api(shop: Shop) -> None:
    pipeline = shop.pipeline(RULES)
    assert set(shop.states(pipeline)) == {"main"}
    job = variables(shop.runner.do("main"))
    main = shop.project.default_branch
    assert (job["CI_COMMIT_BRANCH"], job["CI_COMMIT_REF_NAME"]) == (main, main)
    assert job["CI_COMMIT_REF_PROTECTED"] == "true"
    assert job["CI_PROJECT_PATH"] == shop.project.path
    assert job["CI_PIPELINE_ID"] == str(pipeline.id)
    assert job["CI_JOB_NAME"] == "main"
    assert job["WHERE"] == "nowhere"
    assert "CI_COMMIT_TAG" not in job
    topic = shop.pipeline(RULES + "# More.\n", "topic")
    assert set(shop.states(topic)) == {"branch"}
    assert variables(shop.runner.do("branch"))["CI_COMMIT_REF_PROTECTED"] == "false"
    shop.server.client.create_tag(shop.project, "v1", pipeline.sha)
    tagged = eventually(lambda: shop.api.pipelines.list(ref="v1"), "a tag's pipeline")[0]
    tagged = shop.api.pipelines.get(tagged.id)
    assert tagged.tag
    assert set(shop.states(tagged)) == {"tag"}
    taken = shop.runner.do("tag")
    assert (taken["git_info"]["ref_type"], taken["git_info"]["sha"]) == ("tag", pipeline.sha)
    job = variables(taken)
    assert (job["CI_COMMIT_TAG"], job["WHERE"], job["WHAT"]) == ("v1", "workflow", "version v1")
    assert "CI_COMMIT_BRANCH" not in job
    asked = shop.api.pipelines.create(
        {"ref": "topic", "variables": [{"key": "ASKED", "value": "yes"}]}
    )
    assert asked.source == "api"
    assert set(shop.states(asked)) == {"branch", "asked"}
    for _ in range(2):
        assert variables(shop.runner.do(""))["ASKED"] == "yes"
    shop.await_status(asked, "success")


def test_changes_are_those_of_the_push(shop: Shop) -> None:
    text = """\
ci: {script: [x], rules: [{changes: [.gitlab-ci.yml]}]}
docs: {script: [x], rules: [{changes: ["docs/**/*"]}]}
yaml: {script: [x], rules: [{changes: ["**/*.yml"]}]}
all: {script: [x]}
"""
    shop.commit("all: {script: [x]}\n")
    pipeline = shop.pipeline(text)
    assert set(shop.states(pipeline)) == {"ci", "yaml", "all"}
    main = shop.project.default_branch
    action = {"action": "create", "file_path": "docs/a.md", "content": "a"}
    sha = shop.server.client.commit(shop.project, main, "", "Docs", [action])
    found = eventually(lambda: shop.api.pipelines.list(sha=sha), "a pipeline")[0]
    assert set(shop.states(shop.api.pipelines.get(found.id))) == {"docs", "all"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one: {stage: none, script: [x]}\n", "none"),
        ("one: {needs: [nothing], script: [x]}\n", "nothing"),
        ("one: {script: [x], needs: [two]}\ntwo: {script: [x], rules: [{if: $NO}]}\n", "'two'"),
        ("include: {component: $CI_SERVER_FQDN/no/such/one@main}\n", "content not found"),
        ("one: [\n", ""),
    ],
    ids=["stage", "need", "need-not-there", "component", "yaml"],
)
def test_a_bad_configuration_is_a_failed_pipeline(shop: Shop, text: str, words: str) -> None:
    pipeline = shop.pipeline(text)
    assert pipeline.status == "failed"
    assert words in pipeline.yaml_errors
    assert pipeline.jobs.list() == []
    with pytest.raises(GitlabCreateError) as no:
        shop.api.pipelines.create({"ref": pipeline.ref})
    assert no.value.response_code == 400


def test_when_there_is_no_pipeline(shop: Shop) -> None:
    main = shop.project.default_branch
    action = {"action": "create", "file_path": "a.txt", "content": "a"}
    shop.server.client.commit(shop.project, main, "", "First", [action])
    for words, ref in (("Missing CI config file", main), ("Reference not found", "none")):
        with pytest.raises(GitlabCreateError, match=words):
            shop.api.pipelines.create({"ref": ref})
    shop.commit(RULES, message="nothing of note")
    with pytest.raises(GitlabCreateError, match="filtered out by workflow rules"):
        shop.api.pipelines.create({"ref": main})
    shop.commit("tag: {script: [x], rules: [{if: $CI_COMMIT_TAG}]}\n")
    with pytest.raises(GitlabCreateError, match="rules configuration prevented any jobs"):
        shop.api.pipelines.create({"ref": main})
    sha = shop.commit("all: {script: [x]}\n", message="Done [skip ci]")
    (skipped,) = eventually(lambda: shop.api.pipelines.list(sha=sha), "a pipeline")
    assert skipped.status == "skipped"


def test_one_job_at_a_time_in_a_resource_group(shop: Shop) -> None:
    shop.api.variables.create({"key": "OF_PROJECT", "value": "3"})
    text = """\
variables: {NUMBER: 3, NAME: "to-$NUMBER"}
one: {script: [x], resource_group: "$NAME", environment: {name: production}}
two: {script: [x], resource_group: "to-$OF_PROJECT"}
other: {script: [x], resource_group: other}
"""
    pipeline = shop.pipeline(text)
    taken = [shop.runner.take() for _ in range(2)]
    assert "other" in {job["job_info"]["name"] for job in taken}
    assert shop.runner.ask() is None
    assert "waiting_for_resource" in shop.states(pipeline).values()
    for job in taken:
        shop.runner.end(job)
    last = shop.runner.take()
    names = {job["job_info"]["name"]: variables(job) for job in (*taken, last)}
    assert set(names) == {"one", "two", "other"}
    assert names["one"]["CI_ENVIRONMENT_NAME"] == "production"
    shop.runner.end(last)
    shop.await_status(pipeline, "success")


def test_files_for_developers_own_tools_are_no_configuration(shop: Shop) -> None:
    """The lab's GitLab compiles with a program that would read them."""
    main = shop.project.default_branch
    actions = [
        {"action": "create", "file_path": f".gitlab-ci-local-{name}", "content": text}
        for name, text in {"env": 'VARIABLE="A=b"\n', "variables.yml": "A: b\n"}.items()
    ]
    shop.server.client.commit(shop.project, main, "", "Tools", actions)
    pipeline = shop.pipeline("one: {script: [x], rules: [{if: $A == null}]}\n")
    assert "A" not in variables(shop.runner.do("one"))
    shop.await_status(pipeline, "success")


def test_a_runner_takes_what_its_tags_fit(shop: Shop) -> None:
    text = f"""\
mine: {{script: [x]}}
both: {{script: [x], tags: [{shop.tag}, "$CI_PROJECT_NAME"]}}
"""
    pipeline = shop.pipeline(text)
    shop.runner.do("mine")
    assert shop.runner.ask() is None
    name = shop.project.path.rpartition("/")[2]
    shop.new_runner(tag_list=f"{shop.tag},{name},more").do("both")
    shop.await_status(pipeline, "success")


def test_what_a_job_is_given(shop: Shop) -> None:
    text = """\
variables: {A: "a", B: "$A/b", SHALLOW: {value: x, description: y}, NUMBER: 3, YES: true}
job:
  before_script: [echo before]
  script: [[echo one, echo two], echo three]
  after_script: [echo after]
  timeout: 1h 30m
  variables: {C: "$B/c $UNKNOWN $$A", GIT_DEPTH: "0"}
  cache: {key: mine, paths: [.cache/]}
  artifacts:
    when: always
    exclude: [x/*.o]
    paths: [x/]
    reports: {dotenv: build.env}
none: {script: [x], inherit: {variables: false}}
some: {script: [x], inherit: {variables: [A]}}
"""
    pipeline = shop.pipeline(text)
    jobs = {}
    for _ in range(3):
        job = shop.runner.do("")
        jobs[job["job_info"]["name"]] = job
    job = jobs["job"]
    script, after = job["steps"]
    assert script["script"] == ["echo before", "echo one", "echo two", "echo three"]
    assert (after["name"], after["when"], after["script"]) == (
        "after_script", "always", ["echo after"],
    )  # fmt: skip
    assert job["runner_info"]["timeout"] == 5400
    given = variables(job)
    assert (given["A"], given["B"], given["SHALLOW"]) == ("a", "a/b", "x")
    assert given["C"] == "a/b/c $UNKNOWN $$A"
    assert (given["NUMBER"], given["YES"]) == ("3", "true")
    assert job["git_info"]["depth"] == 0
    assert "+refs/heads/*:refs/remotes/origin/*" in job["git_info"]["refspecs"]
    (cache,) = job["cache"]
    assert cache["key"] == "mine-protected"
    archive, dotenv = job["artifacts"]
    assert (archive["when"], archive["exclude"]) == ("always", ["x/*.o"])
    assert (dotenv["artifact_type"], dotenv["artifact_format"]) == ("dotenv", "gzip")
    assert dotenv["paths"] == ["build.env"]
    assert not {"A", "B"} & set(variables(jobs["none"]))
    assert "A" in variables(jobs["some"])
    assert "B" not in variables(jobs["some"])
    shop.await_status(pipeline, "success")


def test_id_tokens(shop: Shop) -> None:
    """Anybody can check by the discovery document who a job is."""
    text = """\
job:
  script: [x]
  environment: {name: pypi}
  id_tokens: {A_TOKEN: {aud: pypi}, OTHERS: {aud: [one, two]}}
plain: {script: [x]}
"""
    pipeline = shop.pipeline(text)
    jobs = {job["job_info"]["name"]: job for job in (shop.runner.do("") for _ in range(2))}
    assert not {"A_TOKEN", "OTHERS"} & set(variables(jobs["plain"]))
    (item,) = [one for one in jobs["job"]["variables"] if one["key"] == "A_TOKEN"]
    assert item["masked"]
    claims = checked(shop, item["value"])
    ref = shop.project.default_branch
    path, host = shop.project.path, shop.server.url.partition("://")[2]
    wanted = {
        "iss": shop.server.url, "aud": "pypi", "project_path": path, "ref": ref,
        "sub": f"project_path:{path}:ref_type:branch:ref:{ref}", "ref_type": "branch",
        "ref_protected": "true", "environment": "pypi", "pipeline_source": "push",
        "sha": pipeline.sha, "job_id": str(jobs["job"]["id"]),
        "runner_environment": "self-hosted",
        "ci_config_ref_uri": f"{host}/{path}//.gitlab-ci.yml@refs/heads/{ref}",
    }  # fmt: skip
    assert {name: claims.get(name) for name in wanted} == wanted
    assert claims["exp"] - claims["iat"] == 3600
    other = checked(shop, variables(jobs["job"])["OTHERS"])
    assert other["aud"] == ["one", "two"]
    assert other["jti"] != claims["jti"]


def checked(shop: Shop, token: str) -> dict[str, Any]:
    """The claims of a token whose signature is by a key of this GitLab."""
    verify = shop.server.authority or True
    url = f"{shop.server.url}/.well-known/openid-configuration"
    address = requests.get(url, verify=verify, timeout=30).json()["jwks_uri"]
    found = requests.get(address, verify=verify, timeout=30).json()["keys"]
    keys = {key["kid"]: key for key in found}
    header, claims, signature = token.split(".")
    key = keys[json.loads(decoded(header))["kid"]]
    e, n = (int.from_bytes(decoded(key[name])) for name in ("e", "n"))
    RSAPublicNumbers(e, n).public_key().verify(
        decoded(signature), f"{header}.{claims}".encode(), PKCS1v15(), SHA256()
    )
    return dict(json.loads(decoded(claims)))


def decoded(text: str) -> bytes:
    """Base64 as in JWT."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
