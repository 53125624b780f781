# SPDX-License-Identifier: GPL-3.0-or-later
"""Runners that the toolkit creates by GitLab's API, on a lab host with a real daemon's life."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.gitlab_proxy import by_api
from tests.lab.site import Site, queue
from tests.lab.test_drain import config, succeeds

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def variables(site: Site) -> Iterator[dict[str, Any]]:
    """Of a host whose runner has no token in the inventory."""
    with by_api(site) as (api, asked):
        yield {
            **api,
            "gitlab_runner_runners": [
                {
                    "name": "made",
                    "gitlab": {"runner_type": "instance_type", "tag_list": ["made"]},
                }
            ],
        }
    assert asked, "the controller did not go by its proxy"


def ids(site: Site) -> list[int]:
    with site.gitlab() as gitlab:
        return [int(r["id"]) for r in gitlab.control("GET", "/runners")]


def provision(site: Site, variables: dict[str, Any], *arguments: str) -> Any:
    run = site.playbook("site.yml", *arguments, extra=variables)
    assert run.code == 0, run.output
    assert variables["gitlab_runner_api_token"] not in run.output
    return run


def test_created_runner_runs_a_job(site: Site, variables: dict[str, Any]) -> None:
    before = ids(site)
    provision(site, variables, "--check", "--diff")
    assert ids(site) == before
    provision(site, variables, "-vvv", "--diff")
    (made,) = set(ids(site)) - set(before)
    assert f"id = {made}" in config(site)
    succeeds(site, queue(site, "echo by the created runner"))
    assert provision(site, variables).counts()["changed"] == 0


def test_emptied_config_gets_the_same_runner_back(site: Site, variables: dict[str, Any]) -> None:
    before = ids(site)
    site.sh(
        "truncate -s 0 /etc/gitlab-runner/config.toml; rm -f /etc/gitlab-runner/runnerhost.json"
    )
    provision(site, variables)
    assert ids(site) == before
    succeeds(site, queue(site, "echo back"))
    assert provision(site, variables).counts()["changed"] == 0


def test_no_token_of_the_api_on_the_host(site: Site, variables: dict[str, Any]) -> None:
    token = variables["gitlab_runner_api_token"]
    found = site.sh(
        f"grep -rlF {token} /etc /var /tmp /root /home /run/user 2>/dev/null || true", check=False
    )
    assert found == ""
    journal = site.sh(f"journalctl --no-pager | grep -cF {token} || true", check=False)
    assert journal.strip() == "0"
