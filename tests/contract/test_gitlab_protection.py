# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's protected branches and tags: the API, pushes, pipelines, and runners for them alone.

One suite for the lab's GitLab and for a real one, see servers.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from gitlab.exceptions import (
    GitlabAuthenticationError,
    GitlabCreateError,
    GitlabGetError,
    GitlabJobRetryError,
    GitlabListError,
)

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import Projects
from tests.contract.pipelines import Shop, eventually, git, variables
from tests.contract.servers import Server, server

__all__ = ["server"]
pytestmark = pytest.mark.usefixtures("compiler")
DEVELOPER, MAINTAINER = 30, 40
CONFIG = "job: {script: [x]}\n"
MAY_NOT_TAG = "You are not allowed to create this tag as it is protected."


@pytest.fixture
def shop(server: Server) -> Shop:
    """An empty project with a runner of its own."""
    return Shop(server, server.project())


@pytest.fixture
def folder(shop: Shop, tmp_path: Path) -> Path:
    """A working tree with what the project's default branch has."""
    main = shop.project.default_branch
    git(tmp_path, "init", "--quiet", f"--initial-branch={main}")
    text = f"default:\n  tags: [{shop.tag}]\n{CONFIG}"
    (tmp_path / ".gitlab-ci.yml").write_text(text)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "First")
    done = shop.push(tmp_path, shop.server.token, f"HEAD:{main}")
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_the_api_of_protected_tags(shop: Shop) -> None:
    tags = shop.api.protectedtags
    assert tags.list() == []
    made = tags.create({"name": "v*", "create_access_level": DEVELOPER})
    (level,) = made.create_access_levels
    assert level["access_level"] == DEVELOPER
    assert level["access_level_description"] == "Developers + Maintainers"
    (level,) = tags.create({"name": "release"}).create_access_levels
    assert level["access_level"] == MAINTAINER
    assert {one.name for one in tags.list()} == {"v*", "release"}
    assert tags.get("v*").name == "v*"
    with pytest.raises(GitlabCreateError, match="already been taken") as no:
        tags.create({"name": "v*"})
    assert no.value.response_code == 422
    with pytest.raises(GitlabCreateError, match="does not have a valid value"):
        tags.create({"name": "w*", "create_access_level": 7})
    tags.delete("v*")
    with pytest.raises(GitlabGetError):
        tags.get("v*")


def test_the_api_of_protected_branches(shop: Shop, folder: Path) -> None:
    branches = shop.api.protectedbranches
    # The first push of the default branch protects it.
    (first,) = branches.list()
    assert first.name == shop.project.default_branch
    assert first.push_access_levels[0]["access_level"] == MAINTAINER
    made = branches.create({"name": "stable/*", "push_access_level": 0, "merge_access_level": 30})
    assert made.push_access_levels[0]["access_level_description"] == "No one"
    assert made.merge_access_levels[0]["access_level"] == DEVELOPER
    assert not made.allow_force_push
    with pytest.raises(GitlabCreateError, match="already exists") as no:
        branches.create({"name": "stable/*"})
    assert no.value.response_code == 409
    branches.delete("stable/*")
    assert [one.name for one in branches.list()] == [first.name]


def test_who_may_push_a_protected_tag(shop: Shop, folder: Path) -> None:
    shop.api.protectedtags.create({"name": "v*", "create_access_level": MAINTAINER})
    developer, maintainer = shop.token(DEVELOPER), shop.token(MAINTAINER)
    for name in ("v1", "v2", "free"):
        git(folder, "tag", name)
    refused = shop.push(folder, developer, "v1", "free")
    assert refused.returncode != 0
    assert f"GitLab: {MAY_NOT_TAG}" in refused.stderr
    assert "pre-receive hook declined" in refused.stderr
    assert {tag.name for tag in shop.api.tags.list()} == set()
    assert shop.push(folder, developer, "free").returncode == 0
    # Who may not push it may not make it by the API either.
    others = Projects(shop.server.url, developer, shop.server.authority)
    with pytest.raises(ApiProblem, match="protected"):
        others.create_tag(shop.project, "v3", git(folder, "rev-parse", "HEAD"))
    assert shop.push(folder, maintainer, "v1").returncode == 0
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "Second")
    moved = shop.push(folder, maintainer, "--force", "HEAD:refs/tags/v1")
    assert "Protected tags cannot be updated." in moved.stderr
    gone = shop.push(folder, maintainer, ":refs/tags/v1")
    assert "You can only delete protected tags using the web interface." in gone.stderr
    assert {tag.name for tag in shop.api.tags.list()} == {"v1", "free"}


def test_who_may_push_a_protected_branch(shop: Shop, folder: Path) -> None:
    main = shop.project.default_branch
    developer, maintainer = shop.token(DEVELOPER), shop.token(MAINTAINER)
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "Second")
    refused = shop.push(folder, developer, f"HEAD:{main}")
    words = "You are not allowed to push code to protected branches on this project."
    assert words in refused.stderr
    others = Projects(shop.server.url, developer, shop.server.authority)
    action = {"action": "create", "file_path": "a.txt", "content": "a"}
    with pytest.raises(ApiProblem, match="not allowed to push into this branch"):
        others.commit(shop.project, main, "", "No", [action])
    assert shop.push(folder, developer, "HEAD:topic").returncode == 0
    assert shop.push(folder, maintainer, f"HEAD:{main}").returncode == 0
    git(folder, "commit", "--quiet", "--amend", "--allow-empty", "-m", "Other")
    forced = shop.push(folder, maintainer, "--force", f"HEAD:{main}")
    assert "not allowed to force push code to a protected branch" in forced.stderr
    assert shop.push(folder, maintainer, "--force", "HEAD:topic").returncode == 0
    assert "default branch of a project cannot" in shop.push(folder, maintainer, f":{main}").stderr
    assert shop.push(folder, developer, ":topic").returncode == 0


def test_a_push_may_ask_for_no_jobs(shop: Shop, folder: Path) -> None:
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "Second")
    done = shop.push(folder, shop.server.token, "--push-option=ci.skip", "HEAD:refs/heads/topic")
    assert done.returncode == 0, done.stderr
    (skipped,) = eventually(lambda: shop.api.pipelines.list(ref="topic"), "a pipeline")
    assert skipped.status == "skipped"
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "Third")
    done = shop.push(folder, shop.server.token, "--push-option=other", "HEAD:refs/heads/more")
    assert done.returncode == 0, done.stderr
    (made,) = eventually(lambda: shop.api.pipelines.list(ref="more"), "a pipeline")
    assert made.status != "skipped"


def test_roles(shop: Shop, folder: Path) -> None:
    reporter, developer = shop.token(20), shop.token(DEVELOPER)
    assert shop.push(folder, reporter, "HEAD:topic").returncode != 0
    assert shop.push(folder, shop.token(DEVELOPER, "read_api"), "HEAD:topic").returncode != 0
    mine = shop.as_user(developer)
    with pytest.raises(GitlabListError) as no:
        mine.variables.list()
    assert no.value.response_code == 403
    with pytest.raises(GitlabCreateError) as refused:
        mine.protectedtags.create({"name": "v*"})
    assert refused.value.response_code == 403
    with pytest.raises(GitlabCreateError) as refused:
        shop.as_user(reporter).pipelines.create({"ref": shop.project.default_branch})
    assert refused.value.response_code == 403
    other = Shop(shop.server, shop.server.project())
    with pytest.raises(GitlabGetError) as hidden:
        other.as_user(developer)
    assert hidden.value.response_code == 404
    (token,) = [one for one in shop.api.access_tokens.list() if one.access_level == 20]
    shop.api.access_tokens.delete(token.id)
    with pytest.raises((GitlabAuthenticationError, GitlabGetError)):
        shop.as_user(reporter)


def test_a_protected_runner_takes_jobs_of_protected_refs(shop: Shop, folder: Path) -> None:
    runner = shop.new_runner(access_level="ref_protected")
    main = shop.project.default_branch
    first = eventually(lambda: shop.api.pipelines.list(ref=main), "the pipeline of the push")[0]
    job = runner.do("job")
    assert variables(job)["CI_COMMIT_REF_PROTECTED"] == "true"
    assert job["git_info"]["protected"] is True
    shop.await_status(shop.api.pipelines.get(first.id), "success")
    git(folder, "tag", "v1")
    git(folder, "tag", "free")
    shop.api.protectedtags.create({"name": "v*"})
    assert shop.push(folder, shop.server.token, "free").returncode == 0
    free = eventually(lambda: shop.api.pipelines.list(ref="free"), "the tag's pipeline")[0]
    shop.await_states(shop.api.pipelines.get(free.id), job="pending")
    assert runner.ask() is None
    assert shop.push(folder, shop.server.token, "v1").returncode == 0
    eventually(lambda: shop.api.pipelines.list(ref="v1"), "the tag's pipeline")
    assert variables(runner.do("job"))["CI_COMMIT_TAG"] == "v1"
    assert runner.ask() is None
    assert variables(shop.runner.do("job"))["CI_COMMIT_REF_PROTECTED"] == "false"


def test_who_may_run_pipelines_of_protected_refs(shop: Shop, folder: Path) -> None:
    main = shop.project.default_branch
    first = eventually(lambda: shop.api.pipelines.list(ref=main), "the pipeline of the push")[0]
    shop.runner.do("job", "failed")
    shop.await_status(shop.api.pipelines.get(first.id), "failed")
    mine = shop.as_user(shop.token(DEVELOPER))
    with pytest.raises(GitlabCreateError, match="sufficient permission to run a pipeline"):
        mine.pipelines.create({"ref": main})
    (job,) = mine.pipelines.get(first.id).jobs.list()
    with pytest.raises(GitlabJobRetryError) as no:
        mine.jobs.get(job.id).retry()
    assert no.value.response_code == 403
    shop.as_user(shop.token(MAINTAINER)).jobs.get(job.id).retry()
    shop.runner.do("job")
    assert shop.push(folder, shop.token(DEVELOPER), "HEAD:topic").returncode == 0
    assert mine.pipelines.create({"ref": "topic"}).source == "api"
