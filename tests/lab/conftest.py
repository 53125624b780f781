# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs for tests; where containers are impossible the tests are skipped and say why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from lab.pipeline_tools import ensure_pipeline_tools
from lab.places import Lab
from lab.platforms import all_platforms
from lab.world import up
from standins.gitlab.client import LabGitLab
from tests.__main__ import containers_problem
from tests.lab.site import Site

WITH_TOOLS = {
    "company-network", "doctor", "hostile-release", "image", "killed-controller", "os-upgrade",
    "release", "revoke", "secrets", "site", "trusted-publishing",
}  # fmt: skip
"""Test files whose hosts have the tools for publishing, as by default."""


@pytest.fixture(scope="session", autouse=True)
def containers() -> None:
    """Skips, or on a CI machine fails, where no lab can run."""
    problem = containers_problem()
    if problem and os.environ.get("CI") == "true":
        pytest.fail(f"no containers here: {problem}")
    if problem:
        pytest.skip(f"skipped: no containers here: {problem}")


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A lab named as the test file, with a fresh host; taken down at the end."""
    name = request.path.stem.removeprefix("test_").replace("_", "-")
    one = Site(Lab(f"test-{name}"), tools=name in WITH_TOOLS)
    one.verb("down")
    one.verb("up")
    try:
        yield one
    finally:
        one.verb("down")
        shutil.rmtree(one.temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def gitlab(site: Site) -> Iterator[LabGitLab]:
    """The lab's GitLab, once the host can publish; test files with a demo have their own."""
    ensure_pipeline_tools()
    up(site.lab, [all_platforms()["jammy"]], publishing=True)
    run = site.playbook("site.yml")
    assert run.code == 0, run.output
    with site.gitlab() as client:
        yield client
