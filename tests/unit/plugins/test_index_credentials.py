# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials of package indexes: what is refused, what the files say, and whose files stay."""

from __future__ import annotations

import configparser
import importlib.util
import netrc
import os
import pwd
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import tomllib
from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.action import host_tests, index_credentials
from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _credential_files,
    _file_items,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._credential_files import MARK
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _index_plan,
    _index_settings,
    _publish_lock,
    _service_files,
    _services,
)

ROOT = Path(__file__).resolve().parents[3]
REST = "A" * 80
PYPI, TEST = f"pypi-AgEIcHlwaS5vcmc{REST}", f"pypi-AgENdGVzdC5weXBpLm9yZw{REST}"
HOST = "https://gitlab.example.com"
REGISTRY = f"{HOST}/api/v4/projects/7/packages/pypi"
GROUP = f"{HOST}/api/v4/groups/42/-/packages/pypi"
DEPLOY = "gldt-0123456789abcdef"
COMPANY: dict[str, Any] = {
    "name": "company", "kind": "gitlab", "url": REGISTRY, "login": "gitlab+deploy-token-7",
    "password": DEPLOY,
}  # fmt: skip
OWN: dict[str, Any] = {
    "name": "own", "kind": "other", "url": "https://index.example.com/simple", "login": "reader",
    "password": "hunter2hunter2",
}  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"kind": "pypi", "password": PYPI}, ""),
        (COMPANY, ""),
        ({**COMPANY, "url": f"{GROUP}/simple/", "install": True, "forwarding": True}, ""),
        (OWN, ""),
        # An Artifactory's access token.
        ({**OWN, "password": "eyJ2ZXIiOiIyIn0.e30.c2ln"}, ""),
        ({**COMPANY, "password": "eyJ2ZXIiOiIyIn0.e30.c2ln"}, "a job token, which ends with"),
        ({"kind": "pypi", "password": TEST}, "a token of TestPyPI for PyPI"),
        ({"kind": "testpypi", "password": PYPI}, "a token of PyPI for the test index"),
        ({"kind": "pypi", "password": "hunter2hunter2"}, "expected an API token of pypi"),
        ({"kind": "pypi", "password": f"{PYPI}\n"}, "with a line break"),
        ({"kind": "pypi", "password": PYPI[:40]}, "cut short"),
        ({"kind": "pypi"}, "(pypi).password: missing"),
        ({"kind": "pypi", "password": PYPI, "name": "main"}, "are the names of the kinds"),
        ({"kind": "pypi", "password": PYPI, "install": True}, "not for the kind pypi"),
        ({"kind": "pypi", "password": PYPI, "url": HOST}, "whose address twine knows"),
        ({**COMPANY, "name": "pypi"}, "are the names of the kinds"),
        ({**COMPANY, "password": PYPI}, "a token of PyPI, in an entry of kind gitlab"),
        ({**COMPANY, "password": "glrt-0123456789abcdefghij"}, "a runner's token"),
        ({**COMPANY, "password": "glcbt-64_0123456789abcdef"}, "a job token, which ends with"),
        ({**COMPANY, "password": "$ANSIBLE_VAULT;1.1"}, "still encrypted"),
        ({**COMPANY, "password": "two words"}, "without blanks"),
        ({**COMPANY, "password": 12345}, "invalid value of type number (hidden)"),
        ({**COMPANY, "login": ""}, "(company).login: missing"),
        ({**COMPANY, "url": "http://gitlab.example.com/x"}, "expected an https address"),
        ({**COMPANY, "url": f"https://me:{DEPLOY}@gitlab.example.com/x"}, "without a login"),
        ({**COMPANY, "url": f"http://me:{DEPLOY}@gitlab.example.com/x"}, "without a login"),
        ({**COMPANY, "url": HOST}, "expected https://HOST/api/v4/projects/ID/packages/pypi"),
        ({**COMPANY, "url": None}, "(company).url: missing"),
        ({**COMPANY, "kind": "gitlba"}, "expected pypi, testpypi, gitlab, other"),
        ({**COMPANY, "pasword": "x"}, "did you mean 'password'?"),
        ({**COMPANY, "name": "Com pany"}, "invalid value 'Com pany'"),
        ({**COMPANY, "name": "distutils"}, "invalid value 'distutils'"),
        ({**COMPANY, "forwarding": True}, "only for the kind gitlab with install: true"),
        ({**OWN, "forwarding": True, "install": True}, "only for the kind gitlab"),
        ({**COMPANY, "install": "yes"}, "expected true or false"),
        ({**COMPANY, "users": "gitlab-runner"}, "expected a list of Unix users"),
        ({**COMPANY, "upload_url": HOST}, "not for the kind gitlab"),
        ({**OWN, "url": ""}, "expected at least one https address"),
        ({**OWN, "url": f"{HOST}/legacy/", "install": True}, "an address for uploads"),
        ({**OWN, "url": "", "upload_url": HOST, "install": True}, "there is no url"),
        ({**OWN, "url": "https://index.example.com:0/simple"}, "expected an https address"),
        ("pypi", "expected a mapping"),
    ],
)
def test_an_entry_is_checked_and_no_token_shown(entry: Any, says: str) -> None:
    found = _index_settings.problems([entry])
    assert says in " ".join(found)
    assert bool(found) == bool(says)
    for secret in (DEPLOY, PYPI[:40], TEST, "hunter2", "glcbt-64_0", "two words", "12345"):
        assert secret not in " ".join(found)


def test_the_list_is_checked() -> None:
    assert "expected a list" in _index_settings.problems({"a": 1})[0]
    assert "'company' is listed twice" in _index_settings.problems([COMPANY, COMPANY])[0]


def services(**more: Any) -> list[_services.Service]:
    return _services.services({"user": None, "isolated": [{"name": "publish"}], **more})


def planned(*entries: dict[str, Any], **more: Any) -> list[_index_plan.User]:
    """The users with these indexes."""
    return _index_plan.users(services(**more), [_index_settings.index_of(one) for one in entries])


def texts(*entries: dict[str, Any]) -> dict[str, str]:
    return _index_plan.contents([_index_settings.index_of(one) for one in entries])


def test_their_readers_find_what_is_listed(tmp_path: Path) -> None:
    found = texts({"kind": "testpypi", "password": TEST}, {**COMPANY, "install": True}, OWN)
    for name, text in found.items():
        assert text.startswith(MARK)
        (tmp_path / Path(name).name).write_text(text, encoding="utf-8")
    logins = netrc.netrc(tmp_path / ".netrc")
    assert set(logins.hosts) == {"gitlab.example.com", "index.example.com"}
    assert (logins.authenticators("gitlab.example.com") or ())[::2] == (COMPANY["login"], DEPLOY)
    twine = configparser.RawConfigParser()
    twine.read(tmp_path / ".pypirc")
    assert twine["distutils"]["index-servers"].split() == ["testpypi", "company"]
    assert dict(twine["testpypi"]) == {"username": "__token__", "password": TEST}
    assert dict(twine["company"]) == {
        "repository": REGISTRY, "username": COMPANY["login"], "password": DEPLOY,
    }  # fmt: skip
    pip = configparser.RawConfigParser()
    pip.read(tmp_path / "pip.conf")
    assert dict(pip["global"]) == {"index-url": f"{REGISTRY}/simple"}
    company, own = tomllib.loads((tmp_path / "uv.toml").read_text(encoding="utf-8"))["index"]
    assert company == {
        "name": "company", "url": f"{REGISTRY}/simple", "default": True, "authenticate": "always",
        "publish-url": REGISTRY,
    }  # fmt: skip
    assert own["explicit"] is True
    assert "publish-url" not in own


def test_no_password_is_where_it_need_not_be() -> None:
    found = texts({**COMPANY, "install": True}, OWN)
    for name in (".config/pip/pip.conf", ".config/uv/uv.toml"):
        assert not any(one["password"] in found[name] for one in (COMPANY, OWN))


def test_a_groups_registry_takes_no_uploads() -> None:
    found = texts({**COMPANY, "url": GROUP})
    assert ".pypirc" not in found
    assert "publish-url" not in found[".config/uv/uv.toml"]


def test_an_index_is_its_users_alone_and_what_is_not_listed_goes() -> None:
    main, publish = planned(
        COMPANY, {"kind": "pypi", "password": PYPI, "users": ["gitlab-runner-publish"]}
    )
    assert [one.name for one in main.indexes] == ["company"]
    files = {item["path"]: item for item in _index_plan.files(publish)}
    pypirc = files["/home/gitlab-runner-publish/.pypirc"]
    assert (pypirc["owner"], pypirc["mode"], pypirc["secret"]) == (
        "gitlab-runner-publish",
        "0600",
        True,
    )
    rest = [item for path, item in files.items() if not path.endswith(".pypirc")]
    assert {item["state"] for item in rest} == {"absent"}
    assert all(item["own"] for item in files.values())
    (unused,) = planned(isolated=[])
    assert {item["state"] for item in _index_plan.files(unused)} == {"absent"}


def problems(user: _index_plan.User, url: str = "") -> str:
    return " ".join([*_index_plan.order_problems(user, url), *_index_plan.login_problems(user)])


@pytest.mark.parametrize(
    ("entries", "more", "url", "says"),
    [
        ([{**COMPANY, "install": True}], {}, "", ""),
        ([{**COMPANY, "install": True}], {}, f"{REGISTRY}/simple/", ""),
        ([COMPANY], {"environment": {"PIP_EXTRA_INDEX_URL": HOST}}, HOST, ""),
        ([{**COMPANY, "install": True}, {**OWN, "install": True}], {}, "", "pip has no order"),
        ([{**COMPANY, "install": True}], {}, HOST, "network_access_package_index_url names"),
        ([{**COMPANY, "install": True}], {"environment": {"PIP_EXTRA_INDEX_URL": HOST}}, "",
         "gitlab_runner_environment has PIP_EXTRA_INDEX_URL"),
        ([{**COMPANY, "install": True}], {"environment": {"UV_DEFAULT_INDEX": HOST}}, "",
         "beats every file"),
        ([{**COMPANY, "install": True}],
         {"environment": {"UV_INDEX_STRATEGY": "unsafe-best-match"}}, "", "mixes indexes"),
        ([{**COMPANY, "install": True}],
         {"runners": [{"name": "a", "environment": [f"UV_INDEX={HOST}"]}]}, "",
         "gitlab_runner_runners (a).environment has UV_INDEX"),
        ([COMPANY, {**COMPANY, "name": "two", "login": "x"}], {}, "", "different logins at gitlab"),
        ([COMPANY, {**COMPANY, "name": "two", "url": GROUP}], {}, "", ""),
    ],
)  # fmt: skip
def test_the_origin_of_a_package_is_not_left_to_chance(
    entries: list[dict[str, Any]], more: dict[str, Any], url: str, says: str
) -> None:
    found = problems(planned(*entries, **more)[0], url)
    assert says in found
    assert bool(found) == bool(says)
    assert DEPLOY not in found


def test_a_token_that_uploads_for_jobs_of_merge_requests_is_warned_of() -> None:
    indexes = [_index_settings.index_of({"name": "pypi", "kind": "pypi", "password": "x"})]
    isolated = [{"name": "publish", "runners": []}]
    (said,) = _index_plan.open_tokens(services(isolated=isolated), indexes)
    assert said.startswith("index_credentials_indexes (pypi): has no users, so that the jobs of ")
    assert said.endswith("users: [gitlab-runner-publish] gives it to the isolated runner alone")
    # Where there is no other runner, or only packages are read.
    assert _index_plan.open_tokens(services(isolated=[]), indexes) == []
    own = {"users": ["gitlab-runner-publish"]}
    (given,) = [_index_settings.index_of({"name": "a", "kind": "pypi", "password": "x", **own})]
    assert _index_plan.open_tokens(services(isolated=isolated), [given]) == []


def test_a_companys_index_with_a_public_address_is_refused() -> None:
    """A company's packages would be uploaded there."""
    public = _publish_lock.pips_index()
    for url in (public, public.replace("https://", "https://upload.")):
        (said,) = _index_settings.problems([{**OWN, "upload_url": url}])
        assert "(own).upload_url: invalid value" in said
        assert said.endswith("which is pypi's or testpypi's: give a kind")
    assert _index_settings.problems([OWN]) == []


def test_a_user_without_jobs_is_refused() -> None:
    index = _index_settings.index_of({**COMPANY, "users": ["root"]})
    (said,) = _index_plan.user_problems(services(), [index])
    assert "root runs no jobs on this host; expected one or more of: " in said
    assert "gitlab-runner, gitlab-runner-publish" in said


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Path:
    (tmp_path / ".netrc").write_text(f"machine example.com login me password {DEPLOY}\n")
    (tmp_path / ".pypirc").write_text(f"{MARK}[pypi]\npassword = {PYPI}\n")
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text(f"[global]\nextra-index-url = {HOST}\n")
    return tmp_path


def test_the_host_tells_whose_its_files_are_and_no_content(home: Path) -> None:
    found = _credential_files.found([str(home)])
    mine = {
        path.removeprefix(f"{home}/"): file for path, file in found.items() if str(home) in path
    }
    assert mine == {
        ".netrc": {"writer": "other", "secret": True, "second_index": ""},
        ".pypirc": {"writer": "toolkit", "secret": True, "second_index": ""},
        ".config/pip/pip.conf": {
            "writer": "other", "secret": False, "second_index": "extra-index-url",
        },
    }  # fmt: skip


def test_what_is_in_the_way_is_refused_and_strays_are_named(home: Path) -> None:
    found = _credential_files.found([str(home)])
    (user,) = planned({**COMPANY, "install": True}, home=str(home), isolated=[])
    said = " ".join(_index_plan.host_problems(user, found))
    assert f"{home}/.netrc: exists on the host and was not written by the toolkit" in said
    assert f"{home}/.pypirc: exists" not in said
    assert "extra-index-url gives jobs a second index beside company" in said
    (user,) = planned({"kind": "pypi", "password": PYPI}, home=str(home), isolated=[])
    assert list(_index_plan.host_problems(user, found)) == []
    (stray,) = _index_plan.strays(user, found)
    assert stray.startswith(f"{home}/.netrc holds a secret")


def item(path: Path, **more: Any) -> _file_items.Item:
    me = pwd.getpwuid(os.getuid()).pw_name
    given = {"content": f"{MARK}a\n", "mode": "0600", "owner": me, "own": True, **more}
    return _file_items.Item(path=str(path), **given)


def test_only_what_the_toolkit_has_written_is_replaced_and_removed(tmp_path: Path) -> None:
    path = tmp_path / ".config" / "pip" / "pip.conf"
    assert _file_items.apply_item(item(path), check=True)
    assert not path.parent.exists()
    assert _file_items.apply_item(item(path), check=False)
    assert not _file_items.apply_item(item(path), check=False)
    assert path.stat().st_mode & 0o777 == 0o600
    assert _file_items.apply_item(item(path, content=f"{MARK}b\n"), check=False)
    assert path.read_text() == f"{MARK}b\n"
    assert _file_items.apply_item(item(path, state="absent"), check=True)
    assert path.exists()
    assert _file_items.apply_item(item(path, state="absent"), check=False)
    assert not path.exists()
    path.write_text("[global]\n")
    assert not _file_items.apply_item(item(path, state="absent"), check=False)
    with pytest.raises(ValueError, match="was not written by the toolkit"):
        _file_items.apply_item(item(path), check=True)
    assert path.read_text() == "[global]\n"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text(f"{MARK}x\n")
    (tmp_path / ".netrc").symlink_to(real)
    with pytest.raises(ValueError, match="was not written"):
        _file_items.apply_item(item(tmp_path / ".netrc"), check=False)
    assert not _file_items.apply_item(item(tmp_path / ".netrc", state="absent"), check=False)
    assert real.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="skipped: only root can act as another user")
def test_root_writes_nowhere_but_where_the_user_may(tmp_path: Path) -> None:
    """A job has made a link of a folder in its home."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    nobody = pwd.getpwnam("nobody")
    home, secret = tmp_path / "home", tmp_path / "etc"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    secret.mkdir()
    (home / ".config").symlink_to(secret)
    with pytest.raises(ValueError, match="Permission denied"):
        _file_items.apply_item(item(home / ".config/pip/pip.conf", owner="nobody"), check=False)
    assert list(secret.iterdir()) == []
    assert _file_items.apply_item(item(home / ".netrc", owner="nobody"), check=False)
    assert (home / ".netrc").stat().st_uid == nobody.pw_uid


def test_a_user_who_is_not_there_has_nothing_to_remove(tmp_path: Path) -> None:
    given = item(tmp_path / "x", owner="no-such-user")
    assert _file_items.apply_item(given, check=True)
    with pytest.raises(ValueError, match="no-such-user"):
        _file_items.apply_item(given, check=False)
    given.state = "absent"
    assert not _file_items.apply_item(given, check=False)


def test_they_go_with_the_service() -> None:
    (service, *_) = services()
    gone = [one for one in _service_files.files_to_remove(service) if one.get("own")]
    assert [one["path"] for one in gone] == [
        f"/home/gitlab-runner/{name}" for name in _credential_files.WRITTEN
    ]
    assert {(one["state"], one["owner"]) for one in gone} == {("absent", "gitlab-runner")}


class Action(index_credentials.ActionModule):
    """The action without a host."""

    called: ClassVar[list[str]] = []
    there: ClassVar[dict[str, Any]] = {}

    def _execute_module(
        self, module_name: str, module_args: dict[str, Any], task_vars: Any = None
    ) -> dict[str, Any]:
        assert "password" not in str(module_args)
        self.called.append(module_name)
        return {"info": {"credential_files": self.there, "users": {"gitlab-runner": {"home": "x"}}}}

    def _pipeline(self) -> None:
        """There is no connection."""

    def no_file_on_host(self, what: str) -> list[str]:
        return []

    def network_values(self, task_vars: Any) -> dict[str, Any]:
        return {"package_index_url": ""}


def run(indexes: Any, **args: Any) -> dict[str, Any]:
    action = object.__new__(Action)
    Action.called.clear()
    action._task = SimpleNamespace(args=args, check_mode=False, async_val=0, action="x")
    action._connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/tmp"))
    action._templar = SimpleNamespace(template=lambda value: value)
    return dict(action.run(None, {"index_credentials_indexes": indexes}))


def test_a_host_without_the_role_pays_no_call() -> None:
    nothing: Any
    for nothing in ([], None):
        result = run(nothing)
        assert Action.called == []
        assert {one["state"] for one in result["plan"]["files"]} == {"absent"}
        assert "_ansible_no_log" not in result


def test_the_host_is_asked_once_and_the_result_hidden() -> None:
    result = run([COMPANY])
    assert len(Action.called) == 1
    assert result["_ansible_no_log"] is True
    assert not result["changed"]


def test_an_image_has_no_credentials() -> None:
    result = run([COMPANY], image=True)
    assert Action.called == []
    assert DEPLOY not in str(result)


@pytest.mark.parametrize(
    ("indexes", "says"),
    [
        ([{**COMPANY, "kind": "x"}], "index_credentials_indexes"),
        (
            [{**COMPANY, "users": ["bob"]}],
            "bob runs no jobs on this host; expected one or more of: ",
        ),
        ([{**COMPANY, "install": True}, {**OWN, "install": True}], "pip has no order"),
    ],
)
def test_what_is_wrong_is_refused_before_the_host_is_asked(indexes: Any, says: str) -> None:
    with pytest.raises(AnsibleActionFail, match="refused, nothing was changed") as caught:
        run(indexes)
    assert says in str(caught.value)
    assert Action.called == []


def test_a_file_in_the_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {"writer": "other", "secret": True, "second_index": ""}
    monkeypatch.setattr(Action, "there", {"/home/gitlab-runner/.netrc": foreign})
    with pytest.raises(AnsibleActionFail, match="was not written by the toolkit"):
        run([COMPANY])


@pytest.fixture(name="verify", scope="module")
def _verify() -> ModuleType:
    """tests/host/test_index_credentials.py as a module of its own."""
    path = ROOT / "tests/host/test_index_credentials.py"
    spec = importlib.util.spec_from_file_location("host_test_index_credentials", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_verify_expects_what_the_role_writes(verify: ModuleType, tmp_path: Path) -> None:
    """By the same commands that read it from a host."""
    entries = [
        {"kind": "testpypi", "password": TEST}, {**COMPANY, "install": True}, OWN,
        {**COMPANY, "name": "group", "url": f"{GROUP}/simple"},
        {**OWN, "name": "up", "url": "", "upload_url": "https://up.example.com:8443/x"},
    ]  # fmt: skip
    expected = verify.expected([{"name": one["kind"], **one} for one in entries])
    for name, text in texts(*entries).items():
        path = tmp_path / "file"
        path.write_text(text, encoding="utf-8")
        done = subprocess.run(["sed", "-n", verify._READ[name], path], check=True,
                              capture_output=True, text=True)  # fmt: skip
        assert set(done.stdout.splitlines()) == expected[name], name
    assert verify.FILES == _credential_files.WRITTEN
    assert f"{verify.MARK}\n" == MARK


@pytest.fixture(name="registry")
def _registry() -> Iterator[tuple[str, list[int]]]:
    """A registry's address, and what it answers."""
    answers = [404]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            logged_in = self.headers.get("Authorization") is not None
            self.send_response(answers[0] if logged_in else 401)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *given: Any) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple", answers
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("answer", [404, 302, 403])
def test_forwarding_is_seen_from_a_registrys_answer(
    verify: ModuleType, registry: tuple[str, list[int]], tmp_path: Path, answer: int
) -> None:
    url, answers = registry
    answers[0] = answer
    (tmp_path / ".netrc").write_text(f"{MARK}machine 127.0.0.1\n  login a\n  password b\n")
    (tmp_path / ".netrc").chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-I", "-c", verify._ASK, url], env={"HOME": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert done.stdout.strip() == str(answer)


def test_verify_is_told_the_list_without_its_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = {"index_credentials_indexes": [COMPANY], "gitlab_runner_user": "x"}
    monkeypatch.setattr(host_tests.ActionModule, "_resolved", lambda self, *roles: resolved)
    told = object.__new__(host_tests.ActionModule)._variables()
    (entry,) = told["index_credentials_indexes"]
    assert entry == {**COMPANY, "password": "(hidden)"}
    assert told["gitlab_runner_user"] == "x"
