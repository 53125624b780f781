# SPDX-License-Identifier: GPL-3.0-or-later
"""The package index: what it refuses, in which words, and what it lists."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import socket
import ssl
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from release import release
from standins.index import gitlab, oidc, tokens
from standins.index.refusals import RULES, Refusal
from standins.index.server import SIMPLE_JSON, Index
from standins.index.store import File, normal

pytestmark = pytest.mark.long

LOCATION = base64.urlsafe_b64decode(release._TOKEN_BEGINS["testpypi"].removeprefix("pypi-") + "==")[
    3:
].decode()
JOB, CONFIG = "glcbt-job", ".gitlab-ci.yml"


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as running:
        running.gitlab.registries["7"] = gitlab.Registry("group/demo")
        running.gitlab.tokens[JOB] = gitlab.Access("job", "group/demo")
        yield running


def wheel(
    name: str = "demo", version: str = "1.0", tag: str = "py3-none-any", lost: str = ""
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in ("WHEEL", "METADATA", "RECORD"):
            if file != lost:
                archive.writestr(f"{name}-{version}.dist-info/{file}", f"{tag}\n")
    return buffer.getvalue()


def sdist(top: str = "demo-1.0", file: str = "PKG-INFO") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(f"{top}/{file}"), io.BytesIO())
    return buffer.getvalue()


def token(index: Index, user: str = "ada", **more: Any) -> str:
    made = tokens.make(LOCATION, user, **more)
    index.pypi.tokens[made.text] = made
    return made.text


def ask(
    index: Index, method: str, path: str, data: bytes = b"", **headers: Any
) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", index.port, timeout=10)
    connection.request(method, path, data, {k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    return answer, answer.read().decode(errors="replace")


def upload(
    index: Index, filename: str, content: bytes, password: str = "", *, path: str = "/legacy/",
    user: str = "__token__", **form: str,
) -> http.client.HTTPResponse:  # fmt: skip
    sdist_given = filename.endswith(".gz")
    fields = {
        "name": "demo", "version": "1.0", "metadata_version": "2.4", "protocol_version": "1",
        "filetype": "sdist" if sdist_given else "bdist_wheel",
        "sha256_digest": hashlib.sha256(content).hexdigest(), **form,
    }  # fmt: skip
    parts = [f'--X\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
             for key, value in fields.items()]  # fmt: skip
    head = f'--X\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n'
    parts += [f"{head}Content-Type: application/octet-stream\r\n\r\n".encode(), content,
              b"\r\n--X--\r\n"]  # fmt: skip
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    answer, body = ask(
        index, "POST", path, b"".join(parts),
        Content_Type="multipart/form-data; boundary=X", Authorization=f"Basic {pair}",
    )  # fmt: skip
    answer.msg["body"] = body.replace("\n", " ")
    return answer


def test_each_refusal_has_a_source() -> None:
    for rules in RULES.values():
        for name, entry in rules.items():
            assert entry["words"], name
            assert entry["source"].startswith(("source", "facts")), name


def test_a_token_tells_its_index_and_its_scope(index: Index) -> None:
    text = token(index, projects=["demo"])
    assert text.startswith(release._TOKEN_BEGINS["testpypi"])
    packet = base64.urlsafe_b64decode(text.removeprefix("pypi-") + "==")
    assert b'[1,["demo"]]' in packet
    assert len(text) > 150


REFUSED: dict[str, tuple[str, bytes, dict[str, str], str]] = {
    "linux": ("demo-1.0-cp311-cp311-linux_x86_64.whl", wheel(), {},
              "400 Binary wheel 'demo-1.0-cp311-cp311-linux_x86_64.whl' has an unsupported platform"
              " tag 'linux_x86_64'."),
    "metadata": ("demo-1.0-py3-none-any.whl", wheel(), {"metadata_version": "2.6"},
                 "400 '2.6' is not a valid metadata version. See https://packaging.python.org/"
                 "specifications/core-metadata for more information."),
    "version": ("demo-1.0-py3-none-any.whl", wheel(), {"version": "one"},
                "400 'one' is invalid for 'version'. See https://packaging.python.org/"),
    "local": ("demo-1.0+x-py3-none-any.whl", wheel(version="1.0+x"), {"version": "1.0+x"},
              "400 The use of local versions in '1.0+x' is not allowed. See"),
    "other version": ("demo-1.0-py3-none-any.whl", wheel(), {"version": "1.1"},
                      "400 Version in filename should be '1.1' not '1.0'."),
    "sdist name": ("Demo-1.0.tar.gz", sdist("Demo-1.0"), {},
                   "400 Filename 'Demo-1.0.tar.gz' is invalid, should be 'demo-1.0.tar.gz'."),
    "wheel name": ("De.mo-1.0-py3-none-any.whl", wheel("De.mo"), {"name": "De.mo"},
                   "400 Filename 'De.mo-1.0-py3-none-any.whl' should contain the normalized project"
                   " name 'de_mo', not 'De.mo'."),
    "other name": ("other-1.0-py3-none-any.whl", wheel("other"), {},
                   "400 Start filename for 'demo' with 'demo'."),
    "no pkg-info": ("demo-1.0.tar.gz", sdist(file="setup.py"), {},
                    "400 Invalid distribution file. PKG-INFO not found at demo-1.0/PKG-INFO"),
    "no tar": ("demo-1.0.tar.gz", b"x", {}, "400 Invalid distribution file. File is not a tarfile"),
    "no zip": ("demo-1.0-py3-none-any.whl", b"x", {}, "400 Invalid distribution file. File is not"),
    "no wheel": ("demo-1.0-py3-none-any.whl", wheel(lost="WHEEL"), {},
                 "400 Invalid distribution file. WHEEL not found at demo-1.0.dist-info/WHEEL"),
    "no record": ("demo-1.0-py3-none-any.whl", wheel(lost="RECORD"), {},
                  "400 Wheel 'demo-1.0-py3-none-any.whl' does not contain the required RECORD"),
    "digest": ("demo-1.0-py3-none-any.whl", wheel(), {"sha256_digest": "0" * 64},
               "400 The digest supplied does not match a digest calculated from the uploaded"),
    "filetype": ("demo-1.0.egg", wheel(), {"filetype": "bdist_egg"}, "400 Invalid value for filet"),
    "extension": ("demo-1.0.tar.bz2", sdist(), {}, "400 Invalid file extension: Use .tar.gz,"),
    "attestations": ("demo-1.0-py3-none-any.whl", wheel(), {"attestations": "[]"},
                     "400 Invalid attestations supplied during upload: Attestations are only"),
    "protocol": ("demo-1.0-py3-none-any.whl", wheel(), {"protocol_version": "2"},
                 "400 Unknown protocol version."),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_pypi_refuses_it_refuses_in_its_words(index: Index, case: str) -> None:
    filename, content, form, says = REFUSED[case]
    answer = upload(index, filename, content, token(index), **form)
    assert f"{answer.status} {answer.reason}".startswith(says)
    assert index.pypi.projects.named == {}


def said(answer: http.client.HTTPResponse) -> str:
    return f"{answer.status} {answer.reason}"


def test_tokens_and_their_scopes(index: Index) -> None:
    name, content = "demo-1.0-py3-none-any.whl", wheel()
    unknown = "403 Invalid or non-existent authentication information. See"
    assert said(upload(index, name, content, "pypi-nonsense")).startswith(unknown)
    assert said(upload(index, name, content, token(index), user="ada")).startswith(unknown)
    expired = token(index, seconds=0.001)
    time.sleep(0.01)
    assert said(upload(index, name, content, expired)) == "403 Invalid API Token: token is expired"
    # A new project wants a token of the whole account.
    for scoped in (token(index, projects=["other"]), token(index, "", projects=["demo"])):
        assert upload(index, name, content, scoped).status in (400, 403)
    assert said(upload(index, name, content, token(index, projects=["other"]))) == (
        "403 Invalid API Token: project-scoped token is not valid for project: 'demo'"
    )
    assert said(upload(index, name, content, token(index, ""))).startswith(
        "400 Non-user identities cannot create new projects."
    )
    assert upload(index, name, content, token(index)).status == 200
    assert upload(index, "demo-1.0.tar.gz", sdist(), token(index, projects=["demo"])).status == 200
    assert said(upload(index, name, wheel(), token(index, "eve"))).startswith(
        "403 The user 'eve' isn't allowed to upload to project 'demo'. See"
    )
    assert index.uploads == [name, "demo-1.0.tar.gz"]


def test_a_file_name_serves_once_and_a_release_for_14_days(index: Index) -> None:
    mine = token(index)
    name, content = "demo-1.0-py3-none-any.whl", wheel()
    assert upload(index, name, content, mine).status == 200
    # The same again does nothing and is no error.
    assert upload(index, name, content, mine).status == 200
    assert index.uploads == [name]
    other = wheel(tag="other")
    assert said(upload(index, name, other, mine)).startswith(f"400 File already exists ('{name}',")
    copied = "demo-1.0-py2-none-any.whl"
    assert said(upload(index, copied, content, mine)).startswith("400 File already exists")
    index.pypi.delete("demo", name)
    assert said(upload(index, name, other, mine)).startswith("400 This filename was previously")
    index.pypi.projects.named["demo"].age("1.0", 15)
    assert said(upload(index, "demo-1.0.tar.gz", sdist(), mine)) == (
        "400 Uploading new files to releases older than 14 days is not allowed."
    )
    new = upload(index, "demo-1.1-py3-none-any.whl", wheel(version="1.1"), mine, version="1.1")
    assert new.status == 200
    index.pypi.read_only = True
    assert said(upload(index, name, content, mine)) == (
        "403 Read-only mode: Uploads are temporarily disabled."
    )


def test_what_it_has_outlives_a_restart(tmp_path: Path) -> None:
    name, folder = "demo-1.0-py3-none-any.whl", tmp_path / "kept"
    with Index(folder=folder) as index:
        assert upload(index, name, wheel(), token(index)).status == 200
    assert folder.stat().st_mode & 0o777 == 0o700
    with Index(folder=folder) as index:
        _, body = ask(index, "GET", "/simple/demo/", Accept=SIMPLE_JSON)
        assert [file["filename"] for file in json.loads(body)["files"]] == [name]
        refused = upload(index, name, wheel(tag="other"), token(index))
        assert said(refused).startswith("400 File already exists")
        other = token(index, "eve")
        assert "The user 'eve' isn't allowed" in said(upload(index, name, wheel(), other))


def test_it_serves_https_and_names_itself_so(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    # Who connects and says nothing keeps nobody waiting.
    with Index(tls=context) as index, socket.create_connection(("127.0.0.1", index.port)):
        project = index.pypi.projects.make("demo", "ada")
        project.add(File("demo-1.0.tar.gz", "sdist", "1.0", sdist()))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", index.port, timeout=10, context=trusting
        )
        connection.request("GET", "/simple/demo/", headers={"Accept": SIMPLE_JSON})
        (file,) = json.loads(connection.getresponse().read())["files"]
    assert file["url"].startswith(f"{index.url}/packages/")
    assert index.url.startswith("https://")


def test_it_lists_what_it_has(index: Index) -> None:
    content = wheel("De_mo")
    assert ask(index, "GET", "/simple/de-mo/")[0].status == 404
    name = "de_mo-1.0-py3-none-any.whl"
    done = upload(index, name, wheel("de_mo"), token(index), name="De_mo", requires_python=">=3.9")
    assert done.status == 200, said(done)
    answer, text = ask(index, "GET", "/simple/de-mo/", Accept=f"{SIMPLE_JSON}, text/html;q=0.5")
    assert answer.headers["Content-Type"] == SIMPLE_JSON
    (file,) = json.loads(text)["files"]
    assert (file["filename"], file["requires-python"]) == (name, ">=3.9")
    answer, text = ask(index, "GET", "/simple/de-mo/")
    assert answer.headers["Content-Type"].startswith("text/html")
    links = release.Links()
    links.feed(text)
    assert links.files == {name: file["hashes"]["sha256"]}
    assert ask(index, "GET", "/simple/De_mo/")[0].headers["Location"] == "/simple/de-mo/"
    told = json.loads(ask(index, "GET", "/pypi/De_mo/1.0/json")[1])
    assert told["urls"][0]["digests"]["sha256"] == file["hashes"]["sha256"]
    assert ask(index, "GET", "/pypi/de-mo/2.0/json")[0].status == 404
    path = file["url"].removeprefix(index.url)
    assert ask(index, "GET", path)[0].status == 200
    assert len(content) > 0


GITLAB = "/api/v4/projects/7/packages/pypi"


def gitlab_upload(index: Index, name: str, content: bytes, password: str = JOB, **more: str) -> str:
    given = {"path": GITLAB, "user": "gitlab-ci-token", **more}
    answer = upload(index, name, content, password, **given)
    told = json.loads(answer.headers["body"])
    return f"{answer.status} {answer.reason}: {told.get('message') or told['error']}"


def test_gitlab_takes_what_pypi_does_not_and_refuses_in_its_words(index: Index) -> None:
    linux, content = "demo-1.0-cp311-cp311-linux_x86_64.whl", wheel()
    assert gitlab_upload(index, linux, content) == "201 Created: 201 Created"
    assert gitlab_upload(index, linux, content) == (
        "400 Bad Request: 400 Bad request - Validation failed: File name has already been taken"
    )
    assert gitlab_upload(index, "demo-1.0.tar.gz", b"x", "wrong") == (
        "401 Unauthorized: 401 Unauthorized"
    )
    assert gitlab_upload(index, "demo-1.0.tar.gz", b"x", user="__token__").startswith("401")
    assert gitlab_upload(index, "demo-1.0.tar.gz", b"x", version="") == (
        "400 Bad Request: version is missing"
    )
    index.gitlab.tokens["reader"] = gitlab.Access("deploy", user="r", rights=frozenset({"read"}))
    assert gitlab_upload(index, "demo-1.0.tar.gz", b"x", "reader", user="r") == (
        "403 Forbidden: 403 Forbidden"
    )
    index.gitlab.registries["7"].protected.add("demo")
    assert gitlab_upload(index, "demo-1.0.tar.gz", b"x").endswith(
        "403 Forbidden - Package protected."
    )
    assert index.uploads == [linux]


def test_a_job_of_another_project_needs_the_allowlist_and_a_permission(index: Index) -> None:
    index.gitlab.tokens["other"] = gitlab.Access("job", "group/other")
    registry = index.gitlab.registries["7"]
    name = "demo-1.0.tar.gz"
    assert gitlab_upload(index, name, b"x", "other").endswith(
        "403 Forbidden - Authentication by CI/CD job token not allowed from other to demo."
    )
    registry.allowlist.add("group/other")
    registry.granular = frozenset({"read_packages"})
    said_then = gitlab_upload(index, name, b"x", "other")
    assert said_then.endswith("The following token permission is required: admin_packages.")
    assert release.cure_of(said_then).startswith("grant the job token")
    registry.granular = frozenset({"admin_packages"})
    assert gitlab_upload(index, name, b"x", "other").startswith("201")


def test_gitlab_lists_in_html_and_forwards_what_it_does_not_have(index: Index) -> None:
    pair = base64.b64encode(f"gitlab-ci-token:{JOB}".encode()).decode()
    login: dict[str, Any] = {"Authorization": f"Basic {pair}", "Accept": SIMPLE_JSON}
    assert ask(index, "GET", f"{GITLAB}/simple/demo/")[0].status == 401
    answer, text = ask(index, "GET", f"{GITLAB}/simple/demo/", **login)
    assert (answer.status, json.loads(text)) == (404, {"message": "404 Package Not Found"})
    index.gitlab.registries["7"].forward_to = "https://index.example/simple"
    answer, _ = ask(index, "GET", f"{GITLAB}/simple/demo/", **login)
    assert (answer.status, answer.headers["Location"]) == (
        302,
        "https://index.example/simple/demo/",
    )
    gitlab_upload(index, "demo-1.0.tar.gz", b"x")
    answer, text = ask(index, "GET", f"{GITLAB}/simple/demo/", **login)
    assert answer.headers["Content-Type"].startswith("text/html")
    index.gitlab.registries["7"].json = True
    (file,) = json.loads(ask(index, "GET", f"{GITLAB}/simple/demo/", **login)[1])["files"]
    path = file["url"].removeprefix(index.url)
    assert ask(index, "GET", path, **login)[1] == "x"
    assert ask(index, "GET", path)[0].status == 401


def id_token(key: rsa.RSAPrivateKey, **claims: Any) -> str:
    given = {
        "iss": "https://gitlab.test", "aud": "pypi", "jti": "1", "exp": time.time() + 300,
        "project_path": "group/demo", "sub": "project_path:group/demo:ref_type:tag:ref:v1",
        "ci_config_ref_uri": f"gitlab.test/group/demo//{CONFIG}@refs/tags/v1", **claims,
    }  # fmt: skip

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "RS256"}, given)]
    signed = ".".join(parts)
    signature = key.sign(signed.encode(), padding.PKCS1v15(), SHA256())
    return f"{signed}.{encoded(signature)}"


def test_an_id_token_is_exchanged_once(index: Index) -> None:
    key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    index.oidc.issuers["https://gitlab.test"] = key.public_key()
    publisher = oidc.Publisher("https://gitlab.test", "Group/Demo", CONFIG, "demo", "pypi")
    index.oidc.publishers.append(publisher)

    def mint(text: str) -> tuple[int, Any]:
        answer, body = ask(
            index, "POST", "/_/oidc/mint-token", json.dumps({"token": text}).encode()
        )
        told = json.loads(body)
        return answer.status, told.get("token") or told["errors"][0]

    assert mint("nonsense")[1]["code"] == "invalid-token"
    elsewhere = id_token(key, iss="https://gitlab.example")
    assert mint(elsewhere)[1]["description"] == "unknown trusted publishing issuer"
    for wrong in (
        id_token(other), id_token(key, aud="testpypi"), id_token(key, exp=time.time() - 60)
    ):  # fmt: skip
        assert mint(wrong)[1]["code"] == "invalid-token"
    assert mint(id_token(key))[1]["code"] == "invalid-publisher"
    good = id_token(key, environment="pypi")
    status, text = mint(good)
    assert status == 200
    assert mint(good) == (422, {"code": "invalid-reuse-token",
                                "description": "invalid token: already used"})  # fmt: skip
    name = "demo-1.0-py3-none-any.whl"
    # A project is made by its first upload, or by a pending publisher.
    assert upload(index, name, wheel(), text).status == 400
    index.pypi.projects.make("demo", "ada")
    assert upload(index, name, wheel(), text).status == 200
    assert (
        upload(index, "other-1.0-py3-none-any.whl", wheel("other"), text, name="other").status
        == 400
    )


def test_names_are_normalized() -> None:
    assert normal("De__mo.X") == "de-mo-x"
    with pytest.raises(KeyError):
        Refusal("pypi", "nonsense")
