# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's projects API as the role release_pipeline uses it: files, commits, tags, lint.

One suite for the lab's GitLab and for a real one, see servers.py.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import (
    Projects,
)
from tests.contract.servers import Server, server

__all__ = ["server"]

TEMPLATE = """\
spec:
  inputs:
    word:
    more: {default: x}
---
say:
  script: [echo '$[[ inputs.word ]] $[[ inputs.more ]]']
"""


def create(path: str, text: str) -> dict[str, str]:
    return {"action": "create", "file_path": path, "content": text}


def test_what_is_not_there_is_none(server: Server) -> None:
    client = server.client
    assert client.project(f"{server.group}/none-{secrets.token_hex(6)}") is None
    with pytest.raises(ApiProblem, match="has no group"):
        client.create_project(f"none-{secrets.token_hex(6)}/x", "private")
    empty = server.project()
    assert client.file(empty, "main", "a.txt") is None
    assert not client.has_branch(empty, "main")
    assert client.tag(empty, "v1") == ""


def test_first_commit_makes_the_branch_of_an_empty_project(server: Server) -> None:
    client, project = server.client, server.project()
    content = base64.b64encode(b"\x00\xff\n").decode()
    sha = client.commit(
        project, project.default_branch, "", "First\n\nof all",
        [create("a.txt", "a\n"), {**create("b/c.bin", content), "encoding": "base64"},
         create("run.sh", "#!/bin/sh\n"),
         {"action": "chmod", "file_path": "run.sh", "execute_filemode": True}],
    )  # fmt: skip
    assert len(sha) == 40
    found = client.file(project, project.default_branch, "b/c.bin")
    assert found is not None
    assert (found.content, found.commit, found.executable) == (b"\x00\xff\n", sha, False)
    program = client.file(project, project.default_branch, "run.sh")
    assert program is not None
    assert program.executable
    assert client.has_branch(project, project.default_branch)


def test_a_file_tells_the_last_commit_that_changed_it(server: Server) -> None:
    client, project = server.client, server.project()
    main = project.default_branch
    first = client.commit(project, main, "", "First", [create("a.txt", "a\n")])
    second = client.commit(project, main, "", "Second", [create("b.txt", "b\n")])
    update = {"action": "update", "file_path": "b.txt", "content": "c\n", "last_commit_id": second}
    third = client.commit(project, main, "", "Third", [update])
    a, b = (client.file(project, main, name) for name in ("a.txt", "b.txt"))
    assert a is not None
    assert b is not None
    assert (a.commit, b.commit, b.content) == (first, third, b"c\n")


def test_what_has_changed_since_it_was_read_is_refused(server: Server) -> None:
    client, project = server.client, server.project()
    main = project.default_branch
    first = client.commit(project, main, "", "First", [create("a.txt", "a\n")])
    update = {"action": "update", "file_path": "a.txt", "content": "b\n", "last_commit_id": first}
    client.commit(project, main, "", "Second", [update])
    both = [create("b.txt", "b\n"), {**update, "content": "c\n"}]
    with pytest.raises(ApiProblem, match="has changed since you started editing it") as no:
        client.commit(project, main, "", "Third", both)
    assert no.value.status == 400
    # All or nothing.
    assert client.file(project, main, "b.txt") is None


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (create("a.txt", "b\n"), "A file with this name already exists"),
        ({"action": "update", "file_path": "b.txt", "content": "x"}, "doesn't exist"),
        (create("../b.txt", "b\n"), "the file name"),
        ({"action": "rename", "file_path": "a.txt"}, "does not have a valid value"),
    ],
    ids=["exists", "missing", "outside", "unknown"],
)
def test_what_a_commit_refuses(server: Server, action: dict[str, Any], message: str) -> None:
    client, project = server.client, server.project()
    client.commit(project, project.default_branch, "", "First", [create("a.txt", "a\n")])
    with pytest.raises(ApiProblem, match=message) as no:
        client.commit(project, project.default_branch, "", "Second", [action])
    assert no.value.status == 400


def test_a_new_branch_begins_at_another(server: Server) -> None:
    client, project = server.client, server.project()
    main = project.default_branch
    client.commit(project, main, "", "First", [create("a.txt", "a\n")])
    with pytest.raises(ApiProblem, match="when you are on a branch"):
        client.commit(project, "topic", "", "No", [create("b.txt", "b\n")])
    client.commit(project, "topic", main, "Second", [create("b.txt", "b\n")])
    assert client.file(project, "topic", "a.txt") is not None
    assert client.file(project, main, "b.txt") is None
    with pytest.raises(ApiProblem, match="A branch called 'topic' already exists"):
        client.commit(project, "topic", main, "Third", [create("c.txt", "c\n")])


def test_a_tag_is_made_once(server: Server) -> None:
    client, project = server.client, server.project()
    main = project.default_branch
    sha = client.commit(project, main, "", "First", [create("a.txt", "a\n")])
    client.create_tag(project, "0.1.0", sha)
    assert client.tag(project, "0.1.0") == sha
    with pytest.raises(ApiProblem, match="already exists"):
        client.create_tag(project, "0.1.0", sha)
    with pytest.raises(ApiProblem):
        client.create_tag(project, "0.2.0", "none")


def test_lint_knows_components_and_their_inputs(server: Server) -> None:
    client, project = server.client, server.project()
    files = [create("templates/say/template.yml", TEMPLATE), create("README.md", "x\n")]
    sha = client.commit(project, project.default_branch, "", "First", files)

    def said(inputs: str, ref: str = sha) -> str:
        address = f"$CI_SERVER_FQDN/{project.path}/say@{ref}"
        text = f"include:\n  - component: {address}\n    inputs: {inputs}\n"
        return "\n".join(client.lint(project, text))

    assert said("{word: x}") == ""
    assert "required value has not been provided" in said("{more: x}")
    assert "unknown input arguments: none" in said("{word: x, none: x}")
    assert "content not found" in said("{word: x}", "0" * 40)
    assert client.lint(project, "say:\n  script: [x]\n") == []
    assert "script:" in "\n".join(client.lint(project, "say:\n  stage: test\n"))
    assert client.lint(project, "say: [\n") != []


def test_who_may_not(server: Server) -> None:
    unknown = Projects(
        server.url, f"glpat-{secrets.token_hex(10)}", server.authority, variable="the_token"
    )
    with pytest.raises(ApiProblem, match="does not know the_token") as no:
        unknown.project(f"{server.group}/x")
    assert no.value.status == 401
