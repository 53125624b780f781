# SPDX-License-Identifier: GPL-3.0-or-later
"""From tokens to trusted publishing: a release before, between and after, none of which fails.

twine takes ID tokens to the public indexes alone. On this host, the test index's name leads to the
lab: an index with PyPI's rules, a certificate of the lab's CA, and GitLab's keys from its discovery
document, as the real one reads them.
"""

from __future__ import annotations

import base64
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from lab.checkout import Checkout
from lab.inventory import read_pythons
from lab.jobs import project_at
from lab.pipelines import follow
from lab.pki import ensure_ca
from lab.places import GITLAB_PORT
from lab.run import LabError
from lab.services import bind
from lab.world import status
from standins.gitlab.client import LabGitLab, ProjectInfo
from standins.index import oidc, tokens
from standins.index.server import Index
from tests.lab.leaks import leaks
from tests.lab.site import Run, Site
from tests.lab.test_release import push_tag, version
from tests.release.projects import Project

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PATH = "demo/trusted"
NAME = "trusted-demo"
FORM = re.compile(
    r"(Namespace|Project name|Top-level pipeline file path|Environment name): ([^\s'\"]+)"
)


def gateway(site: Site) -> str:
    """The controller, as the lab's hosts reach it."""
    network = status(site.lab).network
    assert network
    return str(network.gateway)


def issuer_and_key(site: Site) -> tuple[str, RSAPublicKey]:
    """What an index learns of a GitLab: its name, and the key of its ID tokens."""

    def get(path: str) -> dict[str, Any]:
        url = f"https://{gateway(site)}:{GITLAB_PORT}{path}"
        answer = requests.get(url, verify=str(site.lab.ca_file), timeout=30)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    discovery = get("/.well-known/openid-configuration")
    (key,) = get(urlsplit(discovery["jwks_uri"]).path)["keys"]
    n, e = (
        int.from_bytes(base64.urlsafe_b64decode(key[name] + "=" * (-len(key[name]) % 4)), "big")
        for name in ("n", "e")
    )
    return str(discovery["issuer"]), RSAPublicNumbers(e, n).public_key()


@pytest.fixture(scope="module")
def index(site: Site, gitlab: LabGitLab) -> Iterator[Index]:
    """An index in the place of the test index, with a project of an account."""
    print_address = "import twine.utils; print(twine.utils.TEST_REPOSITORY)"
    name = site.sh(
        f'"$(dirname "$(readlink -f "$(command -v twine)")")/python3" -I -c "{print_address}"'
    ).strip()
    name = urlsplit(name).netloc
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ensure_ca(site.lab).issue_cert(name).configure_cert(context)
    site.sh(f"echo {gateway(site)} {name} >> /etc/hosts")
    with Index(bind(gateway(site), 443), context, name) as made:
        made.oidc = oidc.Exchange(made.pypi, "testpypi", name)
        issuer, key = issuer_and_key(site)
        made.oidc.issuers[issuer] = key
        yield made


@pytest.fixture(scope="module")
def token(index: Index) -> str:
    """An account's token."""
    made = tokens.make(index.oidc.location, "ada")
    index.pypi.tokens[made.text] = made
    return made.text


@pytest.fixture(scope="module")
def project(site: Site, gitlab: LabGitLab) -> ProjectInfo:
    """A pure project, without a pipeline."""
    project = project_at(gitlab, PATH)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        Project(source).pure("trusted_demo", "1.0.0")
        checkout = Checkout.copy_of(source, Path(folder) / "checkout")
        checkout.commit("A project")
        gitlab.push(project, checkout.folder, "HEAD:refs/heads/main")
    return project


class Journey:
    """The playbooks with what the inventory says at the time."""

    def __init__(self, site: Site, token: str) -> None:
        self.site, self.token = site, token
        self.auth = "token"
        self.has_variable = True

    def extra(self) -> dict[str, Any]:
        variables = [{"key": "TWINE_PASSWORD", "environment": "testpypi", "value": self.token}]
        inputs = {
            "build_tags": ["jammy"], "pythons": [read_pythons(self.site.lab)["jammy"][-1]],
            "wheels": "one_job", "index": "", "test_index": "testpypi", "test_upload_url": "",
            "test_simple_url": "", "test_environment": "testpypi", "auth": self.auth,
            "test_command": "python -m unittest discover -s tests",
        }  # fmt: skip
        return {
            "gitlab_project_projects": [{
                "project": PATH, "protected_tags": [{"name": "v*"}],
                "variables": variables if self.has_variable else [],
            }],
            "gitlab_project_purge": True,
            "release_pipeline_inputs": inputs,
            "release_pipeline_projects": [{"project": PATH}],
            "release_pipeline_issuer_onboarded": True,
        }  # fmt: skip

    def play(self, name: str, *words: str, changed: int) -> Run:
        run = self.site.playbook(name, *words, extra=self.extra())
        assert (run.code, run.counts("localhost")["changed"]) == (0, changed), run.output
        return run

    def changes(self, name: str) -> None:
        """Predicted, done, and then nothing."""
        self.play(name, "--check", "--diff", changed=1)
        self.play(name, "--diff", changed=1)
        self.play(name, "--diff", changed=0)


@contextmanager
def released(gitlab: LabGitLab, project: ProjectInfo, index: Index, number: str) -> Iterator[str]:
    """A pre-release, from its tag to the index; the log of its upload."""
    pipeline = push_tag(gitlab, project, f"v{number}", version(number))
    jobs = {job.name: job for job in follow(pipeline, f"v{number}", 600)}
    assert "release-verify-test" in jobs
    assert f"trusted_demo-{number}.tar.gz" in index.uploads
    assert f"trusted_demo-{number}-py3-none-any.whl" in index.uploads
    yield pipeline.trace(jobs["release-publish-test"])


def test_from_tokens_to_trusted_publishing(
    site: Site, gitlab: LabGitLab, project: ProjectInfo, index: Index, token: str
) -> None:
    journey = Journey(site, token)
    journey.changes("project.yml")
    journey.changes("pipeline.yml")
    said = journey.play("preflight.yml", changed=0).output
    assert f"{PATH}: publishes with a token; nothing to compare" in said
    with released(gitlab, project, index, "1.0.0rc1") as log:
        assert "ID_TOKEN" not in log
    assert index.oidc.used == set()

    # The index is told what the preflight says, while the token still works.
    journey.auth = "trusted"
    journey.changes("pipeline.yml")
    run = journey.play("preflight.yml", "-e", "release_pipeline_preflight_start=true", changed=0)
    assert "The claims of job" in run.output, run.output
    form = dict(FORM.findall(run.output))
    assert form["Environment name"] == "testpypi", run.output
    (issuer,) = index.oidc.issuers
    index.oidc.publishers.append(
        oidc.Publisher(
            issuer, f"{form['Namespace']}/{form['Project name']}",
            form["Top-level pipeline file path"], NAME, form["Environment name"],
        )
    )  # fmt: skip
    with released(gitlab, project, index, "1.0.0rc2") as log:
        assert f'TESTPYPI_ID_TOKEN: {{"iss": "{issuer}", "aud": "testpypi"' in log
    assert len(index.oidc.used) == 1
    said = journey.play("preflight.yml", changed=0).output
    assert "the variable TWINE_PASSWORD (testpypi) is not needed any more" in said

    # The token goes, and nothing misses it.
    journey.has_variable = False
    journey.changes("project.yml")
    assert gitlab.api("GET", f"/projects/{project.id}/variables") == []
    del index.pypi.tokens[token]
    with released(gitlab, project, index, "1.0.0rc3"):
        pass
    assert len(index.oidc.used) == 2
    said = journey.play("preflight.yml", changed=0).output
    assert "TWINE_PASSWORD" not in said
    assert "agree" in said
    secrets = {token, *index.pypi.tokens}
    assert len(secrets) == 3
    assert leaks(site, secrets) == set()


def test_a_publisher_of_another_environment_is_refused_and_named(
    site: Site, gitlab: LabGitLab, project: ProjectInfo, index: Index, token: str
) -> None:
    """What the index was told differs in one field; the log says which claims the job has."""
    (publisher,) = index.oidc.publishers
    index.oidc.publishers[:] = [oidc.Publisher(publisher.issuer, PATH, publisher.config, NAME, "x")]
    pipeline = push_tag(gitlab, project, "v1.0.0rc4", version("1.0.0rc4"))
    with pytest.raises(LabError, match="release-publish-test") as caught:
        follow(pipeline, "v1.0.0rc4", 600)
    assert "invalid-publisher" in str(caught.value)
    assert '"environment": "testpypi"' in str(caught.value)
    assert not [name for name in index.uploads if "rc4" in name]


def test_a_token_is_replaced_while_a_release_runs(
    site: Site, gitlab: LabGitLab, project: ProjectInfo, index: Index
) -> None:
    """The running release ends well with either token, and the next one has the new one alone."""
    old, new = (tokens.make(index.oidc.location, "ada") for _ in range(2))
    index.pypi.tokens |= {old.text: old, new.text: new}
    journey = Journey(site, old.text)
    for name in ("project.yml", "pipeline.yml"):
        run = site.playbook(name, extra=journey.extra())
        assert run.code == 0, run.output
    pipeline = push_tag(gitlab, project, "v1.0.0rc5", version("1.0.0rc5"))
    journey.token = new.text
    journey.changes("project.yml")
    follow(pipeline, "v1.0.0rc5", 600)
    assert "trusted_demo-1.0.0rc5.tar.gz" in index.uploads
    del index.pypi.tokens[old.text]
    with released(gitlab, project, index, "1.0.0rc6"):
        pass
    assert leaks(site, {old.text, new.text}) == set()
