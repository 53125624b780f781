# SPDX-License-Identifier: GPL-3.0-or-later
"""A host without a way out: by a proxy that asks for a login, and by mirrors of every upstream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.demo import PROJECT, job_script
from lab.jobs import push_folder
from lab.places import GITLAB_NAME, MIRROR_NAME
from lab.world import reset
from standins.gitlab.client import JobInfo
from tests.lab import company as net
from tests.lab.site import Site

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.fixture(scope="module")
def company(site: Site) -> Iterator[net.Company]:
    """The company's proxy and mirrors beside the lab's host."""
    made = net.start(site)
    try:
        yield made
    finally:
        made.engine.remove(made.container)


def gateway(company: net.Company) -> str:
    """Where the lab's GitLab and package mirror answer."""
    network = company.engine.network(company.site.lab.network)
    assert network is not None
    return str(network.gateway)


def fresh(company: net.Company, *known: str) -> None:
    """A fresh host without a way out, which knows only these names."""
    reset(company.site.lab, company.platform)
    company.cut_off({name: gateway(company) for name in known})
    for word in ("$(apt-get indextargets --format '$(SITE)' | head -n 1)", "http://192.0.2.1/"):
        assert company.site.sh(f"curl -s -m 5 {word} || echo unreachable").endswith("unreachable\n")


def builds_wheels(site: Site, pythons: list[str]) -> JobInfo:
    """A build job with isolated builds, which fetch from the index."""
    with site.gitlab() as gitlab:
        project, sha = push_folder(gitlab, PROJECT)
        job = gitlab.queue_job(
            project.path, job_script(pythons), ref="main", sha=sha, timeout=300
        )  # fmt: skip
        done = gitlab.wait_job(job, 360)
        assert done.state == "success", gitlab.trace(job)
    return done


def provisions(site: Site, extra: dict[str, Any]) -> None:
    """Check mode on the fresh host, the real run, and one that changes nothing; no secret shown."""
    first = site.playbook("site.yml", "--check", extra=extra)
    assert first.code == 0, first.output
    run = site.playbook("site.yml", "-vvv", "--diff", extra=extra)
    assert run.code == 0, run.output
    assert run.counts()["changed"] == first.counts()["changed"] > 0
    again = site.playbook("site.yml", "-vvv", "--diff", extra=extra)
    assert again.counts()["changed"] == 0, again.output
    check = site.playbook("verify.yml", extra=extra)
    assert check.code == 0, check.output
    assert not any(net.PASSWORD in output for output in site.outputs)
    found = site.sh(
        f"grep -rlF -e '{net.PASSWORD}' /etc /var/lib /run /tmp /usr/local "
        "2>/dev/null | xargs -r stat -c '%a %U %n'; true"
    ).splitlines()
    assert sorted(found) == sorted(
        line for line in found if line.startswith("600 root ") and line.split()[2] in HOLDERS
    )
    assert found


HOLDERS = ("/etc/apt/auth.conf.d/runnerhost.conf", "/etc/gitlab-runner/env-file")

BEHIND_PROXY: dict[str, Any] = {
    "network_access_http_proxy": net.PROXY,
    "network_access_https_proxy": net.PROXY,
    "network_access_no_proxy": [MIRROR_NAME],
    "network_access_proxy_login": net.LOGIN,
    "network_access_proxy_password": net.PASSWORD,
}


def by_mirrors(site: Site, company: net.Company) -> dict[str, Any]:
    """Every upstream replaced: distribution, Pythons, runner, index (GitLab is one's own)."""
    key = {
        "key": site.variables["lab_company_key_file"],
        "key_fingerprint": site.variables["lab_company_key_fingerprint"],
    }
    suite = company.platform.debian
    return {
        "network_access_distribution_url": f"{net.MIRROR}/distribution",
        "network_access_distribution_suites": [suite, f"{suite}-updates", f"{suite}-security"],
        "network_access_distribution_components": ["main"],
        "network_access_distribution_keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
        "network_access_repository_credentials": [
            {"url": f"{net.MIRROR}/", "login": net.LOGIN, "password": net.PASSWORD}
        ],
        "network_access_package_index_url": f"{net.MIRROR}/simple/",
        "python_versions_repository_url": f"{net.MIRROR}/apt/deadsnakes",
        "python_versions_repository_origin": site.variables["lab_company_origin"],
        **{f"python_versions_repository_{name}": value for name, value in key.items()},
        "gitlab_runner_repository_url": f"{net.MIRROR}/apt/gitlab-runner/",
        **{f"gitlab_runner_repository_{name}": value for name, value in key.items()},
        # The lab's hosts are told the controller's own index: here the company's counts.
        "gitlab_runner_environment": {},
    }


def test_proxy_is_the_only_way_out(site: Site, company: net.Company) -> None:
    fresh(company, MIRROR_NAME)
    provisions(site, BEHIND_PROXY)
    builds_wheels(site, list(company.platform.pythons))
    asked = company.proxied()
    assert GITLAB_NAME in asked
    # The excepted one was asked directly, by apt too.
    assert MIRROR_NAME not in asked
    # The distribution, and the index of the job.
    assert len(asked) >= 3, asked


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"network_access_proxy_login": "", "network_access_proxy_password": ""},
            "the proxy asks for a login",
        ),
        # Told another password, tinyproxy answers as an origin would.
        ({"network_access_proxy_password": "another"}, "it asks for a password"),
        ({"network_access_http_proxy": f"http://{net.NAME}:3129"}, "nothing answers"),
    ],
)
def test_proxy_that_does_not_let_through_is_refused(
    site: Site, company: net.Company, change: dict[str, Any], says: str
) -> None:
    fresh(company)
    before = site.sh("find /etc /var/lib/runnerhost -newer /proc/1 -type f 2>/dev/null | sort")
    run = site.playbook("site.yml", extra={**BEHIND_PROXY, "network_access_no_proxy": [], **change})
    assert run.code != 0
    assert "refused, nothing was changed" in run.output
    assert says in run.output, run.output
    assert run.counts()["changed"] == 0
    after = site.sh("find /etc /var/lib/runnerhost -newer /proc/1 -type f 2>/dev/null | sort")
    assert after == before


def test_every_upstream_is_a_mirror(site: Site, company: net.Company) -> None:
    fresh(company, GITLAB_NAME)
    original = site.sh("cat /etc/apt/sources.list")
    wrong = by_mirrors(site, company)
    wrong["network_access_repository_credentials"] = []
    run = site.playbook("site.yml", extra=wrong)
    assert run.code != 0
    assert "network_access_distribution_url" in run.output
    assert "it asks for a password" in run.output, run.output
    untrusted = {**by_mirrors(site, company), "network_access_ca_certificates": []}
    run = site.playbook("site.yml", extra=untrusted)
    assert "its certificate is not trusted" in run.output, run.output
    assert site.sh("cat /etc/apt/sources.list") == original

    provisions(site, by_mirrors(site, company))
    builds_wheels(site, list(company.platform.pythons))
    served = company.mirrored()
    assert {"/distribution", "/apt/deadsnakes", "/apt/gitlab-runner", "/simple"} <= served


def test_the_distributions_own_sources_come_back(site: Site, company: net.Company) -> None:
    """After the host above: without the mirror, its files are as they were."""
    extra = by_mirrors(site, company)
    del extra["network_access_distribution_url"]
    assert "disabled by runnerhost" in site.sh("cat /etc/apt/sources.list")
    run = site.playbook("site.yml", extra=extra)
    assert run.code == 0, run.output
    text = site.sh("cat /etc/apt/sources.list")
    assert "disabled" not in text
    assert Path("/etc/apt/sources.list.d/runnerhost-distribution.sources").name not in site.sh(
        "ls /etc/apt/sources.list.d"
    )
