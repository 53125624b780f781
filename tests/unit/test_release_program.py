# SPDX-License-Identifier: GPL-3.0-or-later
"""The release program's pure parts, its settings, and what it asks of an index."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.environments import said
from release import release
from release.release import Index, Interpreter, Problem, Release, Unreachable

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "release" / "release.py"
SHA = "0123456789abcdef" * 4


def python(name: str) -> Interpreter:
    """An interpreter by name, such as 3.13t."""
    version = name.rstrip("t")
    return Interpreter(name, f"python{name}", (3, int(version[2:])), name != version)


def run_of(folder: Path, *words: str) -> Release:
    """A run with these words, without settings of this machine."""
    return release.parse([*words, "--package", str(folder)])


@pytest.fixture(autouse=True)
def no_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A desk, wherever these tests run."""
    for name in ("CI_COMMIT_TAG", "CI_API_V4_URL", "CI_PROJECT_ID", "CI_JOB_TOKEN", "CI_SERVER_URL",
                 "TWINE_PASSWORD", "PYPI_ID_TOKEN"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def test_it_runs_on_the_oldest_python_and_tells_its_exit_codes() -> None:
    prefix = said("pyenv", "prefix", "3.9")
    programs = [sys.executable, "python3.9", f"{prefix}/bin/python"]
    works = [one for one in programs if said(one, "-c", "print(1)")]
    for program in works:
        done = subprocess.run(
            [program, "-I", str(PROGRAM), "--help"], capture_output=True, text=True, check=True
        )
        assert "Exit codes: 0 all done" in done.stdout


def test_it_imports_the_standard_library_alone() -> None:
    code = "import sys, runpy; runpy.run_path(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(PROGRAM)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {name for name in loaded if not name.startswith("_")} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("tags", "yes", "no"),
    [
        ("cp311-cp311-linux_x86_64", ["3.11"], ["3.10", "3.12", "3.11t"]),
        ("cp39-abi3-manylinux_2_17_x86_64", ["3.9", "3.14"], ["3.8", "3.14t"]),
        ("py3-none-any", ["3.9", "3.14", "3.14t"], []),
        ("py2.py3-none-any", ["3.9"], []),
        ("py311-none-any", ["3.11"], ["3.12"]),
        ("cp313-cp313t-linux_x86_64", ["3.13t"], ["3.13"]),
        ("cp312-none-any", ["3.12"], ["3.11"]),
    ],
)
def test_which_python_takes_which_wheel(tags: str, yes: list[str], no: list[str]) -> None:
    wheel = release.wheel_of(Path(f"demo-1.0-{tags}.whl"))
    assert [name for name in (*yes, *no) if wheel.serves(python(name))] == yes


def test_a_python_takes_its_own_wheel_before_a_common_one(tmp_path: Path) -> None:
    run = run_of(tmp_path, "test")
    run.dist.mkdir()
    names = ["cp39-abi3-linux_x86_64", "cp312-cp312-linux_x86_64", "py3-none-any"]
    for tags in names:
        (run.dist / f"demo-1.0-{tags}.whl").touch()
    assert run.wheel_for(python("3.12")).abis == ("cp312",)
    assert run.wheel_for(python("3.11")).abis == ("abi3",)
    assert run.wheel_for(python("3.11t")).abis == ("none",)


@pytest.mark.parametrize("name", ["demo.whl", "demo-1.0.tar.gz", "demo-1.0-py3-any.whl"])
def test_what_is_not_a_wheel_is_told(name: str) -> None:
    with pytest.raises(Problem, match="not a wheel's file name"):
        release.wheel_of(Path(name))


@pytest.mark.parametrize(
    ("text", "version"),
    [("manylinux_2_35_x86_64", (2, 35)), ("2_35", (2, 35)), ("2.4", (2, 4))],
)
def test_glibc_versions_are_numbers(text: str, version: tuple[int, int]) -> None:
    assert release.glibc(text) == version
    assert release.glibc("2_5") < release.glibc("2_17")


@pytest.mark.parametrize("text", ["", "jammy", "manylinux2014_x86_64", "2", "2_35_x"])
def test_a_ceiling_is_a_version(text: str) -> None:
    with pytest.raises(Problem, match=r"--ceiling: invalid value .*; expected one such as 2_35"):
        release.glibc(text)


def test_credentials_are_hidden_in_every_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPANY_TOKEN", "a+secret/of mine\n")
    monkeypatch.setenv("PASSWORD_FILE", "x")
    text = "a+secret/of mine, a%2Bsecret%2Fof%20mine, pypi-AgEIcHlwaS5vcmcCJDk, glpat-" + "a" * 20
    hidden = "(hidden), (hidden), pypi-(hidden), glpat-(hidden)"
    assert release.redact(text) == hidden
    assert release.redact("named otherwise", ["named otherwise"]) == "(hidden)"


def test_words_of_tools_have_a_cure() -> None:
    refusal = "400 File already exists ('demo-1.0.tar.gz', with blake2 hash). See file-name-reuse"
    assert "release a new version" in release.cure_of(refusal)
    assert release.cure_of("all is well") == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{SHA}  demo-1.0.tar.gz\n", {"demo-1.0.tar.gz": SHA}),
        ("", {}),
    ],
)
def test_sums_are_read(text: str, found: dict[str, str]) -> None:
    assert release.sums_of(text, "SHA256SUMS") == found


@pytest.mark.parametrize("line", [f"{SHA}  ../demo", f"{SHA}  a/b", "demo", f"{SHA[1:]}  demo"])
def test_sums_name_files_of_their_folder_alone(line: str) -> None:
    with pytest.raises(Problem, match="SHA256SUMS: line 1 is not a digest and a name") as caught:
        release.sums_of(line + "\n", "SHA256SUMS")
    assert line not in str(caught.value)


@pytest.mark.parametrize("name", ["SHA256SUMS", "demo-1.0-py3-none-any.whl"])
def test_a_link_among_the_files_is_not_followed(tmp_path: Path, name: str) -> None:
    """Artifacts of another job may hold one that leads to this job's secrets."""
    run = run_of(tmp_path, "publish", "--index", "company")
    run.dist.mkdir()
    (run.dist / "SHA256SUMS").write_text("")
    (run.dist / name).unlink(missing_ok=True)
    (tmp_path / "secret").write_text("planted-Zq7")
    (run.dist / name).symlink_to(tmp_path / "secret")
    with pytest.raises(Problem, match=f"{name}: not a regular file") as caught:
        run.publish()
    assert "Zq7" not in str(caught.value)


def test_a_link_into_a_closed_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may not enter the folder cannot tell whether the file exists."""
    run = run_of(tmp_path, "publish", "--index", "company")
    run.dist.mkdir()
    (run.dist / "SHA256SUMS").symlink_to("/closed/SHA256SUMS")

    def closed(path: Path, **_: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", closed)
    with pytest.raises(Problem, match="SHA256SUMS: not a regular file"):
        run.publish()


def test_a_report_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("as it was")
    (tmp_path / "report.json").symlink_to(tmp_path / "kept")
    words = ["clean", "--package", str(tmp_path), "--json", str(tmp_path / "report.json")]
    subprocess.run([sys.executable, str(PROGRAM), *words], check=True, capture_output=True)
    assert (tmp_path / "kept").read_text() == "as it was"
    assert json.loads((tmp_path / "report.json").read_text())["ok"] is True


def test_options_win_over_settings_and_these_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "release.ini").write_text(
        "[release]\npython = 3.9\n 3.12\ntag-prefix = one-v\ntimeout = 5\nindex = company\n"
        "test-requires =\n  pytest\n  numpy >= 2\ntest-command = echo 100%\n"
        "[index company]\nupload-url = https://a.example/\nsimple-url = https://a.example/simple\n"
    )
    options = run_of(tmp_path, "all", "--tag-prefix", "two-v").options
    assert options.python == ["3.9", "3.12"]
    assert options.tag_prefix == "two-v"
    assert options.timeout == 5
    assert options.test_requires == ["pytest", "numpy >= 2"]
    assert options.test_command == "echo 100%"
    assert options.ceiling == "2_35"
    assert run_of(tmp_path, "publish").index().upload == "https://a.example/"
    # No file of the project decides where a token goes.
    with pytest.raises(Problem, match="--index company: unknown address"):
        run_of(tmp_path, "publish", "--settings", "-", "--index", "company").index()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[release]\npythons = 3.9\n", r"\[release\] pythons: unknown setting; expected one of"),
        ("[relase]\npython = 3.9\n", r"\[relase\] python: unknown setting; expected \[release\]"),
        ("[index a]\nurl = x\n", r"\[index a\] url: unknown setting; expected one of simple-url"),
        ("[index a]\npassword = x\n", r"password: unknown setting"),
        ("[release]\ntimeout = soon\n", "timeout: invalid value 'soon'; expected a number"),
        ("[release]\nauth = oidc\n", "auth: invalid value 'oidc'; expected token or trusted"),
        ("[release]\nceiling = jammy\n", "--ceiling: invalid value 'jammy'"),
        ("python = 3.9\n", "release.ini: File contains no section headers"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "release.ini").write_text(text)
    with pytest.raises(Problem, match=message) as caught:
        run_of(tmp_path, "build")
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("words", "verbs"),
    [
        (["all"], ["prepare", "build", "repair", "check", "test"]),
        (["check", "build"], ["build", "check"]),
        (["all", "--index", "pypi"],
         ["prepare", "build", "repair", "check", "test", "publish", "wait", "verify"]),
        (["publish", "wait", "verify", "--dry-run"], ["publish"]),
    ],
)  # fmt: skip
def test_verbs_run_in_their_order(tmp_path: Path, words: list[str], verbs: list[str]) -> None:
    assert run_of(tmp_path, *words).verbs() == verbs


def test_an_index_of_the_settings_is_no_reason_to_upload(tmp_path: Path) -> None:
    (tmp_path / "release.ini").write_text("[release]\nindex = pypi\n")
    assert "publish" not in run_of(tmp_path, "all").verbs()


@pytest.mark.parametrize(
    ("name", "upload"),
    [
        ("gitlab", "https://gitlab.example/api/v4/projects/7/packages/pypi"),
        ("gitlab:9", "https://gitlab.example/api/v4/projects/9/packages/pypi"),
        ("gitlab:group/all", "https://gitlab.example/api/v4/projects/group%2Fall/packages/pypi"),
    ],
)
def test_gitlabs_registry_in_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, upload: str
) -> None:
    monkeypatch.setenv("CI_API_V4_URL", "https://gitlab.example/api/v4")
    monkeypatch.setenv("CI_PROJECT_ID", "7")
    index = run_of(tmp_path, "publish", "--index", name).index()
    assert index == Index(name, upload, f"{upload}/simple", "gitlab-ci-token", "CI_JOB_TOKEN")
    words = ("--token-variable", "DEPLOY_TOKEN", "--username", "publisher")
    index = run_of(tmp_path, "publish", "--index", name, *words).index()
    assert (index.username, index.token_variable) == ("publisher", "DEPLOY_TOKEN")


@pytest.mark.parametrize(
    ("index", "token", "message"),
    [
        ("pypi", "", "variable TWINE_PASSWORD: empty; set it in GitLab"),
        ("pypi", "pypi-AgENdGVzdC5weXBpLm9yZwIk", "a token of testpypi; make one at pypi"),
        ("testpypi", "pypi-AgEIcHlwaS5vcmcCJDk", "a token of pypi; make one at testpypi"),
        ("pypi", "hunter2hunter2", "not an API token"),
        ("pypi", "pypi-AgEIcHlwaS5vcmcCJDk\n", "has white space or a line end around it"),
    ],
)
def test_a_token_that_cannot_be_right_is_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str, token: str, message: str
) -> None:
    if token:
        monkeypatch.setenv("TWINE_PASSWORD", token)
    run = run_of(tmp_path, "publish", "--index", index)
    with pytest.raises(Problem, match=message) as caught:
        run.password(Index(index, "", "", "__token__", "TWINE_PASSWORD"))
    assert not token or token.strip() not in str(caught.value)


def test_reading_needs_no_token(tmp_path: Path) -> None:
    run = run_of(tmp_path, "verify", "--index", "pypi")
    assert run.password(Index("pypi", "", "", "__token__", "TWINE_PASSWORD"), upload=False) == ""


def checked_files(folder: Path, version: str) -> None:
    """An sdist and its SHA256SUMS, as `check` leaves them."""
    (folder / "dist").mkdir()
    sdist = folder / "dist" / f"demo-{version}.tar.gz"
    sdist.write_bytes(b"x")
    (folder / "dist" / "SHA256SUMS").write_text(f"{release.digest(sdist)}  {sdist.name}\n")


@pytest.mark.parametrize(
    ("words", "version", "message"),
    [
        (["--dev-only"], "1.2.3", r"version 1.2.3: not a development version, and --dev-only"),
        (["--dev-only"], "1.2.3rc1", r"version 1.2.3rc1: not a development version"),
        (["--dev-only"], "1.2.3.dev4", r"variable TWINE_PASSWORD: empty"),
        (["--tag", "v1.2.4"], "1.2.3", r"tag v1.2.4: the project's version is 1.2.3"),
        (["--tag", "v1.2.3"], "1.2.3", r"variable TWINE_PASSWORD: empty"),
        (["--tag", "one-v1.2.3", "--tag-prefix", "one-v"], "1.2.3", r"TWINE_PASSWORD: empty"),
    ],
)
def test_only_the_version_that_is_meant_is_published(
    tmp_path: Path, words: list[str], version: str, message: str
) -> None:
    checked_files(tmp_path, version)
    url = "https://index.invalid/"
    where = ["--index", "company", "--upload-url", url, "--simple-url", url]
    with pytest.raises(Problem, match=message):
        run_of(tmp_path, "publish", *where, *words).publish()


def test_trusted_publishing_wants_the_jobs_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path, "publish", "--index", "pypi", "--auth", "trusted")
    index = Index("pypi", "", "", "__token__", "TWINE_PASSWORD")
    with pytest.raises(Problem, match=r"PYPI_ID_TOKEN: empty; add `id_tokens: \{PYPI_ID_TOKEN"):
        run.password(index)
    monkeypatch.setenv("PYPI_ID_TOKEN", "ey.ey.ey")
    assert run.password(index) == ""
    # GitHub gives a job what to ask for a token with.
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(Problem, match=r"REQUEST_TOKEN: empty; give the job `permissions: \{id-"):
        run.password(index)
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ey.ey.ey")
    assert run.password(index) == ""


def id_token(claims: object) -> str:
    """What GitLab gives a job, as far as it is read here."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
             for part in ({"alg": "RS256"}, claims)]  # fmt: skip
    return ".".join([*parts, "c2lnbmF0dXJl"])


def test_claims_are_shown_and_the_id_token_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"iss": "https://gitlab.test", "aud": "pypi", "project_path": "group/demo",
            "jti": "planted-Zq7", "user_email": "someone@example.com"}  # fmt: skip
    token = id_token(told)
    for name, value in (("PYPI_ID_TOKEN", token), ("TESTPYPI_ID_TOKEN", "planted-Zq7.no.token")):
        monkeypatch.setenv(name, value)
    assert release.main(["claims", "--package", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    line = next(line for line in said.splitlines() if "PYPI_ID_TOKEN: " in line)
    assert json.loads(line.partition(": ")[2]) == {
        key: told[key] for key in ("iss", "aud", "project_path")
    }
    assert "Zq7" not in said
    assert "someone" not in said
    assert not any(part in said for part in token.split("."))


def test_claims_need_an_id_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("PYPI_ID_TOKEN", "TESTPYPI_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert release.main(["claims", "--package", str(tmp_path)]) == 1
    assert "add `id_tokens: {PYPI_ID_TOKEN: {aud: pypi}}` to the job" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--upload-url", "--simple-url"])
def test_an_address_with_a_password_is_refused(tmp_path: Path, option: str) -> None:
    urls = {"--upload-url": "https://a.example/", "--simple-url": "https://a.example/simple"}
    urls[option] = "https://user:planted@a.example/"
    words = [word for pair in urls.items() for word in pair]
    with pytest.raises(Problem, match="an address with a password") as caught:
        run_of(tmp_path, "publish", "--index", "a", *words).index()
    assert "planted" not in str(caught.value)


def test_git_gets_the_jobs_token_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_SERVER_URL", "https://gitlab.example")
    monkeypatch.setenv("CI_JOB_TOKEN", "planted-Zq7-token")
    run = run_of(tmp_path, "prepare")
    run.temporary = tmp_path
    env = run.git_env()
    asked = "protocol=https\nhost=gitlab.example\n\n"
    done = subprocess.run(
        ["git", "credential", "fill"], input=asked, env=env, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "username=gitlab-ci-token\npassword=planted-Zq7-token\n" in done.stdout
    assert not [value for name, value in env.items() if "Zq7" in value and name != "CI_JOB_TOKEN"]
    other = asked.replace("gitlab.example", "other.example")
    done = subprocess.run(
        ["git", "credential", "fill"], input=other, env=env, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "Zq7" not in done.stdout


class Answers(BaseHTTPRequestHandler):
    """An index, in what it may answer; the first part of the path says which."""

    asked: tuple[str, str | None]

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        type(self).asked = (self.path, self.headers.get("Authorization"))
        if kind == "json":
            files = [{"filename": "demo-1.0.tar.gz", "hashes": {"sha256": SHA}}]
            self.say(200, json.dumps({"files": files}), "application/vnd.pypi.simple.v1+json")
        elif kind == "other":
            self.say(200, '{"message": "hello"}', "application/json")
        elif kind == "html":
            links = f'<a href="../x/demo%2B1.0.tar.gz#sha256={SHA}">a</a><a href="b.whl">b</a>'
            self.say(200, links, "text/html")
        elif kind == "away":
            self.send_response(302)
            self.send_header("Location", "http://localhost:1/simple/demo/")
            self.end_headers()
        else:
            self.say(int(kind), "", "text/plain")

    def say(self, code: int, text: str, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def listing(tmp_path: Path, url: str) -> dict[str, str]:
    """What the release program reads there."""
    run = run_of(tmp_path, "wait", "--index", "company")
    run.report.name = "my_demo"
    return run.listing(Index("company", "https://a.example/", url, "me", "X"), "planted-Zq7")


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("json", {"demo-1.0.tar.gz": SHA}),
        ("html", {"demo+1.0.tar.gz": SHA, "b.whl": ""}),
        # A registry that forwards names that it does not have.
        ("away", {}),
        ("404", {}),
    ],
)
def test_what_an_index_lists(tmp_path: Path, server: str, kind: str, found: dict[str, str]) -> None:
    assert listing(tmp_path, f"{server}/{kind}") == found
    assert Answers.asked == (f"/{kind}/my-demo/", "Basic bWU6cGxhbnRlZC1acTc=")


@pytest.mark.parametrize("kind", ["500", "503", "429"])
def test_an_index_that_fails_is_asked_again(tmp_path: Path, server: str, kind: str) -> None:
    with pytest.raises(Unreachable, match=f"HTTP {kind}"):
        listing(tmp_path, f"{server}/{kind}")


def test_an_index_that_refuses_is_told(tmp_path: Path, server: str) -> None:
    with pytest.raises(Problem, match="HTTP 403; check the address") as caught:
        listing(tmp_path, f"{server}/403")
    assert not isinstance(caught.value, Unreachable)
    with pytest.raises(Problem, match="its JSON is not a simple index's; check the address"):
        listing(tmp_path, f"{server}/other")
    with pytest.raises(Unreachable, match="check the address and the CA"):
        listing(tmp_path, "http://127.0.0.1:1")


def wheel(folder: Path, name: str, about: str) -> None:
    """A wheel with this metadata."""
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("demo/__init__.py", "")
        archive.writestr("demo-1.0.dist-info/METADATA", f"Metadata-Version: 2.4\n{about}\n\n")


ABOUT = "Name: demo\nVersion: 1.0"


@pytest.mark.parametrize(
    ("name", "about", "message"),
    [
        ("Demo-1.0-py3-none-any.whl", ABOUT, "the name is not normalised"),
        ("demo-1.1-py3-none-any.whl", ABOUT, "not of demo 1.0; run clean, then build"),
        ("demo-1.0-py3-none-any.whl", "Name: demo\nVersion: 1.1", "its metadata says demo 1.1"),
        ("demo-1.0-cp312-cp312-linux_x86_64.whl", ABOUT, "a plain linux tag.*; run repair"),
        ("demo-1.0-cp312-cp312-manylinux_2_39_x86_64.whl", ABOUT, "newer than the ceiling 2_35"),
        ("demo-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", ABOUT, "for none of 3.12"),
    ],
)
def test_a_wheel_that_does_not_belong_is_refused(
    tmp_path: Path, name: str, about: str, message: str
) -> None:
    run = run_of(tmp_path, "check")
    run.pythons = [python("3.12")]
    wheel(tmp_path, name, about)
    with pytest.raises(Problem, match=message):
        run.check_wheel(release.wheel_of(tmp_path / name), "demo", "1.0")


def bytes_behind(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def bytes_before(path: Path) -> None:
    path.write_bytes(b"more" + path.read_bytes())


def a_comment(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"more"


def a_name_twice(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(archive.namelist()[0], b"more")


@pytest.mark.parametrize("change", [bytes_behind, bytes_before, a_comment, a_name_twice])
def test_a_wheel_that_programs_read_differently_is_refused(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    run = run_of(tmp_path, "check")
    run.pythons = [python("3.12")]
    path = tmp_path / "demo-1.0-py3-none-any.whl"
    wheel(tmp_path, path.name, ABOUT)
    run.check_wheel(release.wheel_of(path), "demo", "1.0")
    change(path)
    with pytest.raises(Problem, match="not a plain zip archive"):
        run.check_wheel(release.wheel_of(path), "demo", "1.0")


def test_the_smoke_command_imports_what_the_wheel_has(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        for name in ("demo/__init__.py", "demo/more.py", "one.py", "_c.cpython-312-x86_64.so",
                     "_d.abi3.so", "demo.libs/libx.so", "demo-1.0.dist-info/RECORD"):  # fmt: skip
            archive.writestr(name, "")
    assert release.modules(tmp_path / "a.whl") == ["_c", "_d", "demo", "one"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["build", "--python", "three"], 2, "--python: invalid value 'three'; expected one such"),
        (["build", "--json", "nowhere/x"], 2, "--json: no folder for nowhere/x; make it first"),
        (["publish"], 2, "--index: missing; name the index, such as testpypi"),
        (["build", "--package", "nowhere"], 2, "--package: nowhere is not a folder"),
        (["prepare", "--clone", "x"], 2, "--clone: invalid value 'x'; expected URL@TAG=FOLDER"),
        (["prepare", "--clone", "u@v1=../x"], 2, "--clone: ../x is not in this folder"),
        (["check"], 2, "tools: twine is not there"),
    ],
)
def test_a_wrong_command_is_refused_with_what_to_do(
    tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    (tmp_path / "bin").mkdir()
    if words[0] == "build":
        (tmp_path / "bin" / "uv").write_text("#!/bin/sh\n")
        (tmp_path / "bin" / "uv").chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--json", "-", *words], cwd=tmp_path, check=False,
        env={"PATH": str(tmp_path / "bin")}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert f"release: {message}" in done.stderr
    if done.stdout:
        assert json.loads(done.stdout)["ok"] is False


@pytest.mark.parametrize("words", [["help"], ["--help"], []])
def test_the_thin_face_shows_its_verbs(words: list[str]) -> None:
    script = ROOT / "release" / "local-ci.sh"
    done = subprocess.run([str(script), *words], capture_output=True, text=True, check=True)
    shown = done.stdout.split()
    assert {"prepare", "build", "test", "deploy", "clean", "all"} <= set(shown)
    done = subprocess.run([str(script), "depoly"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unknown verb 'depoly'; expected" in done.stderr
