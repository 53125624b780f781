# SPDX-License-Identifier: GPL-3.0-or-later
"""One host taken off a runner, asked of the lab's GitLab over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import trustme

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_managers
from standins.gitlab import Settings
from standins.gitlab.client import LabGitLab
from standins.gitlab.thread import bound_socket, serving

ME, OTHER = "s_0123456789ab", "s_abcdef012345"


@pytest.fixture
def gitlab(tmp_path: Path) -> Iterator[LabGitLab]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("127.0.0.1")
    server.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    with bound_socket() as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        settings = Settings(tmp_path / "gitlab", url, "the-lab-secret", "glpat-Administrators00000")
        server_pem = tmp_path / "server.pem"
        with (
            serving(settings, listener, server_pem, server_pem),
            LabGitLab(url, settings.lab_secret, settings.admin_token, tmp_path / "ca.pem") as lab,
        ):
            yield lab


def shared(gitlab: LabGitLab, prefix: str) -> tuple[int, str]:
    """A runner of two hosts, and its token."""
    made = gitlab.create_runner()
    token = prefix + made.token
    gitlab.set_runner(made.id, token=token)
    for system_id in (ME, OTHER):
        requests.post(
            f"{gitlab.base_url}/api/v4/runners/verify",
            json={"token": token, "system_id": system_id},
            verify=str(gitlab.ca_file),
            timeout=10,
        ).raise_for_status()
    return made.id, token


@pytest.mark.parametrize("prefix", ["", "acme-", "acme"])
def test_this_host_alone_leaves_the_runner(gitlab: LabGitLab, tmp_path: Path, prefix: str) -> None:
    number, token = shared(gitlab, prefix)
    tls = {"tls-ca-file": str(gitlab.ca_file)}
    url = gitlab.base_url + "/"
    assert _runner_managers.remove(url, token, ME, tls, str(tmp_path)) == (204, "")
    assert [one["system_id"] for one in gitlab.managers(number)] == [OTHER]
    assert _runner_managers.remove(url, token, ME, tls, str(tmp_path)) == (404, "")
    assert [one["system_id"] for one in gitlab.managers(number)] == [OTHER]
    elsewhere = _runner_managers.remove(f"{url}elsewhere", token, ME, tls, str(tmp_path))
    assert elsewhere == (302, "302 Found"), "no GitLab has said that"
    gitlab.delete_runner(number)
    assert _runner_managers.remove(url, token, ME, tls, str(tmp_path)) == (403, "403 Forbidden")


def test_authority_is_found_where_gitlab_runner_finds_it(gitlab: LabGitLab, tmp_path: Path) -> None:
    _, token = shared(gitlab, "acme-")
    status, said = _runner_managers.remove(gitlab.base_url, token, ME, {}, str(tmp_path))
    assert status == 0
    assert "CERTIFICATE_VERIFY_FAILED" in said
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs/127.0.0.1.crt").write_text((tmp_path / "ca.pem").read_text())
    assert _runner_managers.remove(gitlab.base_url, token, ME, {}, str(tmp_path)) == (204, "")


@pytest.mark.parametrize("url", ["https://127.0.0.1:9", "ftp://x", "https://[x", "nothing"])
def test_no_answer_is_said_without_the_token(tmp_path: Path, url: str) -> None:
    status, said = _runner_managers.remove(url, "acme-glrt-" + "a" * 20, ME, {}, str(tmp_path))
    assert status == 0
    assert said
    assert "glrt-" not in said
