# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's GitLab and a real one, for the contract tests of GitLab's API.

``LAB_GITLAB_URL`` and ``LAB_GITLAB_TOKEN`` (scope ``api``) name a real one, ``LAB_GITLAB_CA`` its
CA, ``LAB_GITLAB_GROUP`` the path of a group in which the token may create projects. What a test
makes there it deletes.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_projects import (
    Project,
    Projects,
)
from standins.gitlab.client import LabGitLab


@dataclass
class Server:
    """A GitLab, the toolkit's client of it, and the group for its projects."""

    url: str
    token: str
    authority: str
    group: str
    real: bool
    made: list[int] = field(default_factory=list)

    @property
    def client(self) -> Projects:
        """The toolkit's client."""
        return Projects(self.url, self.token, self.authority)

    def call(self, method: str, path: str, **body: Any) -> requests.Response:
        """A call that the client makes otherwise."""
        return requests.request(
            method, f"{self.url}/api/v4{path}", headers={"PRIVATE-TOKEN": self.token},
            json=body or None, verify=self.authority or True, timeout=30,
        )  # fmt: skip

    def project(self) -> Project:
        """An empty project, which is deleted in the end."""
        name = f"{self.group}/contract-{secrets.token_hex(6)}"
        made = self.client.create_project(name, "private")
        self.made.append(made.id)
        return made


@pytest.fixture(params=["stand-in", "real"])
def server(request: pytest.FixtureRequest, gitlab: LabGitLab, project: str) -> Iterator[Server]:
    """Each GitLab in turn."""
    if request.param == "real":
        names = ("URL", "TOKEN", "GROUP")
        url, token, group = (os.environ.get(f"LAB_GITLAB_{name}", "") for name in names)
        if not url or not token or not group:
            pytest.skip(
                "skipped: LAB_GITLAB_URL, LAB_GITLAB_TOKEN and LAB_GITLAB_GROUP are not set"
            )
        made = Server(url.rstrip("/"), token, os.environ.get("LAB_GITLAB_CA", ""), group, True)
    else:
        group = project.rpartition("/")[0]
        token, authority = "glpat-ContractTestsAdmin", str(gitlab.ca_file)
        made = Server(gitlab.base_url, token, authority, group, False)
    yield made
    for number in made.made if made.real else ():
        made.call("DELETE", f"/projects/{number}")
