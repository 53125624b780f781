# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs' world: SSH keys, known hosts, groups; what cannot be is refused, no key is shown."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _host_checks
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _job_user,
    _service_files,
    _ssh_access,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import (
    Service,
    services,
)


def made(folder: Path, *options: str) -> str:
    """A private key as ssh-keygen makes it."""
    path = folder / "key"
    path.unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-f", str(path), "-C", "", *options],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path.read_text(encoding="utf-8")


PLAIN = ("-N", "")


@pytest.mark.parametrize(
    "options",
    [
        ("-t", "ed25519"),
        ("-t", "rsa", "-b", "2048"),
        ("-t", "rsa", "-b", "2048", "-m", "PEM"),
        ("-t", "ecdsa", "-m", "PKCS8"),
    ],
)
def test_keys_of_every_format(tmp_path: Path, options: tuple[str, ...]) -> None:
    text = made(tmp_path, *options, *PLAIN)
    assert _ssh_access.key_problem(text) == ""
    # A file lookup takes the last line break away, Windows adds its own.
    assert _ssh_access.key_problem(text.rstrip("\n")) == ""
    windows = text.replace("\n", "\r\n")
    assert _ssh_access.key_problem(windows) == ""
    assert _ssh_access.whole_lines(windows) == text
    assert "(hidden)" in _ssh_access.key_problem(text.replace("\n", " "))
    lines = text.splitlines()
    for cut in ("\n".join([*lines[:-3], lines[-1]]), "\n".join(lines[:-1]), lines[1]):
        problem = _ssh_access.key_problem(cut)
        assert "(hidden)" in problem
        assert lines[1] not in problem


@pytest.mark.parametrize(
    "options", [("-t", "ed25519"), ("-t", "rsa", "-m", "PEM"), ("-t", "ecdsa", "-m", "PKCS8")]
)
def test_a_passphrase_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    text = made(tmp_path, *options, "-N", "hunter2")
    assert "passphrase (hidden), which no job can enter" in _ssh_access.key_problem(text)
    public = (tmp_path / "key.pub").read_text(encoding="utf-8")
    assert "is a public key" in _ssh_access.key_problem(public)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "is empty"),
        (None, "expected the text"),
        (["x"], "expected the text"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "puttygen"),
        ("$ANSIBLE_VAULT;1.1;AES256\n", "still encrypted"),
        ("hunter2", "no whole private key"),
        ("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "no whole private key"),
    ],
)
def test_what_is_no_key(value: Any, says: str) -> None:
    assert says in _ssh_access.key_problem(value)
    assert "hunter2" not in _ssh_access.key_problem(value)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("public")
    made(folder, "-t", "ed25519", *PLAIN)
    return " ".join((folder / "key.pub").read_text(encoding="utf-8").split()[:2])


def test_known_hosts(public: str) -> None:
    good = [
        f"# git.example.com:22 SSH-2.0-OpenSSH\ngit.example.com {public}\n",
        f"[git.example.com]:2222,192.0.2.1 {public} a comment",
        f"2001:db8::1,fe80::1 {public}",
        f"|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= {public}",
        f"@cert-authority *.example.com {public}",
    ]
    good.append(f"ssh-git.example.com {public}")
    assert _ssh_access.known_hosts_problems("v", good) == []
    assert len(_ssh_access.host_lines([*good, good[0]])) == 6


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{key}", "expected the host's name before the key"),
        ("@revoked {key}", "expected the host's name before the key"),
        ("git.example.com:2222 {key}", "expected the host of a port in brackets: [HOST]:PORT"),
        ("git@git.example.com {key}", "expected the host's name alone"),
        ("https://git.example.com {key}", "expected the host's name alone"),
        ("a,git.example.com:22 {key}", "expected the host of a port in brackets"),
        ("git.example.com", "expected HOST TYPE KEY"),
        ("git.example.com ssh-ed25519 none", "expected HOST TYPE KEY"),
        ("git.example.com ssh-rsa AAAAC3NzaC1lZDI1NTE5", "expected HOST TYPE KEY"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "does not belong here"),
    ],
)
def test_known_hosts_that_are_none(public: str, line: str, says: str) -> None:
    (text,) = _ssh_access.known_hosts_problems("v", [line.format(key=public)])
    assert says in text


def test_entries(tmp_path: Path) -> None:
    key = made(tmp_path, "-t", "ed25519", *PLAIN)
    good = {"name": "deploy", "key": key, "hosts": ["git.example.com", "*.example.org"]}
    assert _ssh_access.keys_problems("v", [good]) == []
    for change, says in (
        ({"hosts": []}, ".hosts: expected a list"),
        ({"hosts": ["a b"]}, ".hosts: invalid value"),
        ({"hosts": ["git.example.com:2222"]}, "without a user or port"),
        ({"hosts": ["a\nb"]}, ".hosts: invalid value"),
        ({"name": "../x"}, ".name: invalid"),
        ({"name": "known_hosts"}, ".name: invalid"),
        ({"host": "x"}, "unknown key 'host'"),
        ({"key": key[:99]}, ".key is no whole"),
    ):
        (text,) = _ssh_access.keys_problems("v", [{**good, **change}])
        assert says in text
        assert key.splitlines()[1] not in text
    assert "names 'deploy' twice" in _ssh_access.keys_problems("v", [good, good])[0]
    assert "expected a list" in _ssh_access.keys_problems("v", good)[0]


def test_ssh_itself_takes_what_is_written(tmp_path: Path, public: str) -> None:
    """Not for another user, and another host's key stays with that host."""
    me = __import__("pwd").getpwuid(os.getuid()).pw_name
    keys = [{"name": "deploy", "key": "x", "hosts": ["git.example.com", "*.example.org"]}]
    lines = [f"git.example.com {public}"]
    for user, found in ((me, True), ("somebody-else", False)):
        files = {f["path"]: f for f in _ssh_access.files("gitlab-runner", user, lines, keys)}
        config = tmp_path / "config"
        text = files["/etc/ssh/ssh_config.d/runnerhost-gitlab-runner.conf"]["content"]
        config.write_text(text, encoding="utf-8")
        for host, named in (("git.example.com", True), ("a.example.org", True), ("b.net", False)):
            done = subprocess.run(
                ["ssh", "-G", "-F", str(config), host], capture_output=True, text=True, check=True
            )
            key = "identityfile /var/lib/runnerhost/ssh/gitlab-runner/deploy" in done.stdout
            assert key is (found and named)
            known = "/var/lib/runnerhost/ssh/gitlab-runner/known_hosts" in done.stdout
            assert known is found


def test_files_are_the_users_alone_and_go_again() -> None:
    keys = [{"name": "deploy", "key": "text\r\n", "hosts": ["a"]}]
    files = _ssh_access.files("gitlab-runner", "ci", [], keys)
    (key,) = [f for f in files if f.get("secret")]
    assert (key["mode"], key["owner"], key["content"]) == ("0600", "ci", "text\n")
    (gone,) = [f for f in files if f.get("state") == "absent"]
    assert gone["keep"] == [key["path"]]
    assert "GlobalKnownHostsFile" not in files[-1]["content"]
    assert {f["state"] for f in _ssh_access.files("gitlab-runner", "ci", [], [])} == {"absent"}


def test_an_image_has_no_keys_and_what_goes_is_all_of_it() -> None:
    keys = [{"name": "deploy", "key": "text", "hosts": ["a"]}]
    service = main_service(ssh_keys=keys, known_hosts=["a ssh-ed25519 AAAA"])
    image = _service_files.written(service, "", "", _service_files.HostChoices(image=True))
    ssh = [item for item in image if "ssh" in item["path"]]
    assert [item["state"] for item in ssh] == ["absent", "absent"]
    gone = [item["path"] for item in _service_files.files_to_remove(service)]
    assert {item["path"] for item in ssh} <= {*gone}


# --- groups and shell

SERVICE = {**_job_user.DEFAULTS, "user": "ci", "home": "/home/ci"}


def main_service(**more: Any) -> Service:
    """The package's own service, with these variables."""
    return services({**SERVICE, **more})[0]


FOUND = {"groups": ["adm", "docker"], "shell": "/bin/bash"}


def test_a_new_account() -> None:
    made = _job_user.account(main_service(groups=["docker"]), None, {})
    assert made == _job_user.Account(
        user="ci",
        home="/home/ci",
        shell="/bin/bash",
        groups=["docker"],
        missing=True,
        changed=True,
    )


@pytest.mark.parametrize(
    ("change", "before", "groups", "changed"),
    [
        ({}, {}, ["adm", "docker"], False),
        ({"groups": ["docker"]}, {}, ["adm", "docker"], False),
        ({"groups": ["kvm"]}, {}, ["adm", "docker", "kvm"], True),
        # What the inventory gave it takes away again; the others stay.
        ({}, {"ci": ["docker"]}, ["adm"], True),
        ({"groups": ["docker"]}, {"ci": ["docker", "kvm"]}, ["adm", "docker"], False),
        ({"shell": "/usr/sbin/nologin"}, {}, ["adm", "docker"], True),
        ({"shell": "/bin/bash"}, {}, ["adm", "docker"], False),
    ],
)
def test_an_account_that_is_there(
    change: dict[str, Any], before: dict[str, list[str]], groups: list[str], changed: bool
) -> None:
    found = _job_user.account(main_service(**change), FOUND, before)
    assert (found.groups, found.changed) == (groups, changed)


def test_the_note_of_groups() -> None:
    text = _job_user.note([main_service(), main_service(user="b", groups=["docker"])])
    assert _job_user.noted(text) == {"b": ["docker"]}
    assert _job_user.note([main_service()]) == ""
    assert _job_user.noted("broken") == {}
    assert _job_user.noted("[]") == {}


def test_a_group_that_nothing_brings_is_refused() -> None:
    assert _host_checks.missing_groups(["root", "no-such-group"]) == ["no-such-group"]
    assert _job_user.new_groups("v", ["docker"], ["docker-ce"]) == (["docker"], [])
    brought, (text,) = _job_user.new_groups("v", ["docker"], ["cmake"])
    assert brought == []
    assert "v: the host has no group 'docker'; add the package that brings it" in text
    _, (text,) = _job_user.new_groups("v", ["dokcer"], ["docker-ce"])
    assert "groupadd --system dokcer" in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"groups": "docker"}, "gitlab_runner_user_groups: expected a list"),
        ({"groups": ["Docker Users"]}, "gitlab_runner_user_groups: invalid value"),
        ({"groups": ["root"]}, "gitlab_runner_user_groups: invalid value 'root'"),
        ({"shell": "bash"}, "gitlab_runner_user_shell: invalid value 'bash'"),
        ({"known_hosts": "a"}, "gitlab_runner_known_hosts: expected a list"),
        ({"ssh_keys": {}}, "gitlab_runner_ssh_keys: expected a list"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], says: str) -> None:
    (text,) = _job_user.problems("", {**SERVICE, **change})
    assert says in text
    (text,) = _job_user.problems("gitlab_runner_isolated[0] (publish)", {**SERVICE, **change})
    assert text.startswith("gitlab_runner_isolated[0] (publish).")
