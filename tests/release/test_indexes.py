# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads by PyPI's rules and by those of GitLab's registry: whole, half done, refused."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from release import release
from standins.index import gitlab, oidc, tokens
from standins.index.server import Index
from tests.release.conftest import Desk
from tests.release.door import Door
from tests.release.projects import Project

JOB_TOKEN = "glcbt-planted-Zq7-f4kT9"
NAMES = ["pure_demo-1.2.3-py3-none-any.whl", "pure_demo-1.2.3.tar.gz"]


@dataclass
class Target:
    """An index behind a door that can fail, and how a user reaches it."""

    index: Index
    door: Door | None
    words: tuple[str, ...]
    environment: dict[str, str]

    @property
    def token(self) -> str:
        """The password of uploads."""
        return next(value for name, value in self.environment.items() if name in _PASSWORDS)

    def read_only_after_one(self) -> None:
        """The index takes one more file, then none."""
        rules: Any = self.index.pypi if self.words[-1] == "company" else self.index.gitlab
        upload = rules.upload

        def once(*given: Any) -> Any:
            done = upload(*given)
            rules.read_only = True
            return done

        rules.upload = once


_PASSWORDS = ("TWINE_PASSWORD", "CI_JOB_TOKEN")


@pytest.fixture
def project(pure: Project, tmp_path: Path) -> Project:
    """The pure project, built and checked."""
    copied = Project(tmp_path / "project")
    shutil.copytree(pure.folder, copied.folder)
    return copied


def account_token(index: Index, *projects: str) -> str:
    """A token of the index for these projects, or for all of its user's."""
    made = tokens.make("index.test", "ada", projects)
    index.pypi.tokens[made.text] = made
    return made.text


@pytest.fixture
def company(project: Project) -> Iterator[Target]:
    """An index with PyPI's rules, named in the project's settings."""
    with Index() as index, Door(index.port) as door:
        project.write(
            "release.ini",
            f"""
            [index company]
            upload-url = {door.url}/legacy/
            simple-url = {door.url}/simple/
            """,
        )
        environment = {"TWINE_PASSWORD": account_token(index)}
        yield Target(index, door, ("--index", "company"), environment)


@pytest.fixture
def registry(project: Project) -> Iterator[Target]:
    """The registry of a job's own project on GitLab, which forwards what it does not have."""
    with Index() as index, Door(index.port) as door:
        index.gitlab.registries["7"] = gitlab.Registry(
            "group/demo", forward_to="https://index.invalid/simple"
        )
        index.gitlab.tokens[JOB_TOKEN] = gitlab.Access("job", "group/demo")
        environment = {
            "CI_API_V4_URL": f"{door.url}/api/v4",
            "CI_PROJECT_ID": "7",
            "CI_JOB_TOKEN": JOB_TOKEN,
        }
        yield Target(index, door, ("--index", "gitlab"), environment)


@pytest.fixture(params=["company", "registry"])
def target(request: pytest.FixtureRequest) -> Target:
    """Each of the two."""
    found: Target = request.getfixturevalue(request.param)
    return found


def test_a_release_is_uploaded_once_and_installed(
    desk: Desk, target: Target, project: Project, pythons: dict[str, Path]
) -> None:
    version = next(iter(pythons))
    words = ("publish", "wait", "verify", "--python", version, "--json", "report.json")
    done = desk.run(project.folder, *words, *target.words, **target.environment)
    assert done.returncode == 0, done.stdout
    assert target.index.uploads == NAMES
    said = json.loads((project.folder / "report.json").read_text())
    assert said["uploaded"] == NAMES
    assert said["installed"] == {version: NAMES[0]}
    assert target.token not in done.stdout
    again = desk.run(project.folder, "publish", *target.words, **target.environment)
    assert again.returncode == 0, again.stdout
    assert "2 of 2 files are there" in again.stdout
    assert target.index.uploads == NAMES


@pytest.mark.parametrize("fault", ["500", "lost", "lost-answer", "read-only"])
def test_a_half_done_upload_is_resumed(
    desk: Desk, target: Target, project: Project, fault: str
) -> None:
    if fault == "read-only":
        target.read_only_after_one()
    else:
        assert target.door
        target.door.fault = fault
    done = desk.run(project.folder, "publish", *target.words, **target.environment)
    assert done.returncode == 1, done.stdout
    arrived = 2 if fault == "lost-answer" else 1
    assert f"has {arrived} of these 2 files now" in done.stdout
    assert target.index.uploads == NAMES[:arrived]
    if fault == "read-only" and "company" in target.words:
        assert "exit code 1; run publish again later" in done.stdout
    if target.door:
        target.door.fault = ""
    target.index.pypi.read_only = target.index.gitlab.read_only = False
    done = desk.run(project.folder, "publish", *target.words, **target.environment)
    assert done.returncode == 0, done.stdout
    assert f"{arrived} of 2 files are there" in done.stdout
    assert target.index.uploads == NAMES
    assert target.token not in done.stdout


def refusals() -> dict[str, tuple[Callable[[Target], dict[str, str]], str, str]]:
    """What is wrong with PyPI's index, its words, and what the program says to do."""

    def aged(target: Target) -> dict[str, str]:
        # An upload of long ago.
        made = target.index.pypi.projects.make("pure-demo", "ada")
        made.created["1.2.3"] = 0.0
        return {}

    def others(target: Target) -> dict[str, str]:
        target.index.pypi.projects.make("pure-demo", "eve")
        return {}

    return {
        "unknown token": (
            lambda target: {"TWINE_PASSWORD": "pypi-Zq7-never-given-out"},
            "Invalid or non-existent authentication information",
            "the index does not accept this token",
        ),
        "first release with a token for other projects": (
            lambda target: {"TWINE_PASSWORD": account_token(target.index, "other")},
            "project-scoped token is not valid for project: 'pure-demo'",
            "the token is of another project: make one for this project",
        ),
        "a project of somebody else's": (
            others,
            "The user 'ada' isn't allowed to upload to project 'pure-demo'",
            "the token is of another project",
        ),
        "a release of long ago": (
            aged,
            "Uploading new files to releases older than 14 days is not allowed",
            "release a new version",
        ),
    }


def unwrapped(output: str) -> str:
    """An output without the line ends that twine puts between words."""
    return " ".join(output.replace("  | ", " ").split())


@pytest.mark.parametrize("case", refusals())
def test_an_indexs_words_are_shown_with_what_to_do(
    desk: Desk, company: Target, project: Project, case: str
) -> None:
    change, words, cure = refusals()[case]
    environment = {**company.environment, **change(company)}
    done = desk.run(project.folder, "publish", *company.words, **environment)
    assert done.returncode == 1, done.stdout
    assert words in unwrapped(done.stdout), done.stdout
    last = done.stdout.strip().splitlines()[-2]
    assert cure in last, done.stdout
    assert environment["TWINE_PASSWORD"] not in done.stdout
    assert company.index.uploads == []


def test_a_central_registry_says_which_permission_it_wants(
    desk: Desk, registry: Target, project: Project
) -> None:
    central = gitlab.Registry("group/packages", allowlist={"group/demo"})
    central.granular = frozenset({"read_packages"})
    registry.index.gitlab.registries["9"] = central
    words = ("publish", "--index", "gitlab:9")
    done = desk.run(project.folder, *words, **registry.environment)
    assert done.returncode == 1, done.stdout
    said = unwrapped(done.stdout)
    assert "The following token permission is required: admin_packages." in said
    assert "grant the job token `admin_packages` in the target project" in done.stdout
    central.granular = None
    done = desk.run(project.folder, *words, **registry.environment)
    assert done.returncode == 0, done.stdout
    assert registry.index.uploads == NAMES
    assert JOB_TOKEN not in done.stdout


def test_tokens_of_the_stand_in_are_no_public_ones() -> None:
    made = tokens.make("index.test", "ada")
    assert not made.text.startswith(tuple(release._TOKEN_BEGINS.values()))


# --- trusted publishing


@pytest.fixture
def public(
    project: Project, tools: Path, tmp_path: Path, desk: Desk
) -> Iterator[tuple[Index, Path, rsa.RSAPrivateKey]]:
    """An index in the place of the public test index, for a twine that takes it for that one.

    The index, the folder of this twine, and the key of the GitLab that the index trusts.
    """
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    desk.environment.update(dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(ca)))
    key = rsa.generate_private_key(65537, 2048)
    with Index(tls=context) as index:
        index.oidc = oidc.Exchange(index.pypi, "testpypi")
        index.oidc.issuers[ISSUER] = key.public_key()
        index.oidc.publishers.append(
            oidc.Publisher(ISSUER, "group/demo", ".gitlab-ci.yml", "pure-demo", "testpypi")
        )
        # What a pending publisher does at its first use.
        index.pypi.projects.make("pure-demo", "ada")
        folder = tmp_path / "twine"
        folder.mkdir()
        patched = (
            "import twine.repository, twine.utils\n"
            f"twine.utils.TEST_REPOSITORY = '{index.url}/legacy/'\n"
            f"twine.repository.TEST_WAREHOUSE = '{index.url}/'"
        )
        for name, code in (
            ("twine", f"{patched}\nfrom twine.__main__ import main; sys.exit(main())"),
            ("python3", f"print('{index.url}/legacy/')"),
        ):
            path = folder / name
            path.write_text(f"#!{tools}/python\nimport sys\n{code}\n")
            path.chmod(0o755)
        desk.environment["PATH"] = f"{folder}:{desk.environment['PATH']}"
        yield index, folder, key


ISSUER = "https://gitlab.test"


def test_a_job_publishes_by_its_id_token_once(
    desk: Desk, project: Project, public: tuple[Index, Path, rsa.RSAPrivateKey]
) -> None:
    index, _, key = public
    words = ("publish", "--index", "testpypi", "--auth", "trusted")
    job = {"GITLAB_CI": "true", "TESTPYPI_ID_TOKEN": id_token(key, "1")}
    # The index takes one file and then no more.
    Target(index, None, ("company",), {}).read_only_after_one()
    done = desk.run(project.folder, *words, **job)
    assert done.returncode == 1, done.stdout
    assert index.uploads == NAMES[:1]
    index.pypi.read_only = False
    # The same job again: its ID token has served.
    done = desk.run(project.folder, *words, **job)
    assert done.returncode == 1, done.stdout
    assert "a job's ID token serves once: start a new job, which resumes" in unwrapped(done.stdout)
    index.pypi.read_only = False
    done = desk.run(project.folder, *words, **{**job, "TESTPYPI_ID_TOKEN": id_token(key, "2")})
    assert done.returncode == 0, done.stdout
    assert index.uploads == NAMES
    for token in [*index.pypi.tokens, job["TESTPYPI_ID_TOKEN"]]:
        assert token not in done.stdout


def test_a_job_of_github_publishes_by_a_token_that_twine_asks_for(
    desk: Desk, project: Project, public: tuple[Index, Path, rsa.RSAPrivateKey]
) -> None:
    """The claims are GitLab's, as the index in the test knows no others."""
    index, _, key = public
    asked = []

    class GitHub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            body = json.dumps({"value": id_token(key, "3")}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *given: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), GitHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        job = {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{server.server_port}/?a=b",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "planted-of-the-job",
        }
        words = ("publish", "--index", "testpypi", "--auth", "trusted")
        done = desk.run(project.folder, *words, **job)
        server.shutdown()
    assert done.returncode == 0, done.stdout
    assert index.uploads == NAMES
    assert asked == [("/?a=b&audience=testpypi", "bearer planted-of-the-job")]
    assert "planted-of-the-job" not in done.stdout


def test_a_gitlab_that_the_index_does_not_know_is_told_to_use_a_token(
    desk: Desk, project: Project, public: tuple[Index, Path, rsa.RSAPrivateKey]
) -> None:
    index, _, key = public
    words = ("publish", "--index", "testpypi", "--auth", "trusted")
    token = id_token(key, "1", iss="https://gitlab.example")
    done = desk.run(project.folder, *words, GITLAB_CI="true", TESTPYPI_ID_TOKEN=token)
    assert done.returncode == 1, done.stdout
    assert "the index does not trust this GitLab: use a token" in unwrapped(done.stdout)
    assert index.uploads == []


def id_token(key: rsa.RSAPrivateKey, number: str, **claims: Any) -> str:
    """What GitLab gives a job (RS256)."""
    given = {
        "iss": ISSUER, "aud": "testpypi", "jti": number, "exp": time.time() + 300,
        "project_path": "group/demo", "sub": "project_path:group/demo:ref_type:tag:ref:v1.2.3",
        "ci_config_ref_uri": "gitlab.test/group/demo//.gitlab-ci.yml@refs/tags/v1.2.3",
        "environment": "testpypi", **claims,
    }  # fmt: skip

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "RS256"}, given))
    signature = key.sign(signed.encode(), padding.PKCS1v15(), SHA256())
    return f"{signed}.{encoded(signature)}"
