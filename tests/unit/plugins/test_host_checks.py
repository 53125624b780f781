# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory names on a host: accounts, folders and files, tried as whoever uses them."""

from __future__ import annotations

import grp
import os
import shutil
import socket
import stat
import subprocess
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _host_checks,
    _listeners,
    _system,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._file_items import Item, apply_item
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _job_user,
    _runner_validation,
    _service_files,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import (
    Service,
    services,
)

TODAY = date(2026, 11, 28)
AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="skipped: only root can act as another user")


def day(moment: date) -> int:
    return (moment - date(1970, 1, 1)).days


# --- the account


@pytest.mark.parametrize(
    ("changed", "most", "ends", "says"),
    [
        (day(date(2026, 1, 1)), 90, "", "password expired on 2026-04-01: chage -M -1 ci"),
        (0, "", "", "must be changed at the next login: chage -d 2026-11-28 ci"),
        (day(TODAY), "", day(date(2026, 2, 1)), "expired on 2026-02-01: chage -E -1 ci"),
        (day(TODAY), "", 0, "expired on 1970-01-01"),
        (day(date(2026, 1, 1)), 99999, "", ""),
        (day(date(2026, 1, 1)), "", "", ""),
        (day(date(2026, 1, 1)), -1, -1, ""),
        ("", 90, "", ""),
    ],
)
def test_shadow_says_why(changed: Any, most: Any, ends: Any, says: str) -> None:
    found = _host_checks.shadow_remedy("ci", f"ci:!hunter2:{changed}:0:{most}:7::{ends}:", TODAY)
    assert says in found
    assert bool(says) == bool(found)
    assert "hunter2" not in found


def test_an_account_that_su_refuses_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = tmp_path / "shadow"
    shadow.write_text("root:*:1::::::\nnobody:!:20000:0:90:7:::\n")
    said = subprocess.CompletedProcess([], 1, "", "su: Authentication token is no longer valid\n")
    asked: list[list[str]] = []

    def run(argv: list[str], *_: Any, **__: Any) -> Any:
        asked.append(argv)
        return said

    monkeypatch.setattr(_host_checks, "SHADOW", str(shadow))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(_system, "run", run)
    found = _host_checks.account("nobody")
    assert found is not None
    (nobody,) = services({"user": "nobody", "home": found["home"]})
    (text,) = _job_user.account_problems(nobody, found)
    assert text.startswith("gitlab_runner_user: jobs cannot run as 'nobody' on the host: `su -s")
    assert "no longer valid; its password expired on" in text
    assert asked[0] == ["su", "-s", "/bin/bash", "nobody", "-c", "true"]


@pytest.mark.parametrize(
    ("rules", "may"),
    [
        (["(ALL : ALL) ALL"], True),
        (["(ALL) /usr/bin/id", "(root) NOPASSWD: ALL"], True),
        (["(ALL : ALL) NOPASSWD: SETENV: ALL"], True),
        # A rule for one command is meant.
        (["(root) NOPASSWD: /usr/bin/systemctl restart app"], False),
        ([], False),
    ],
)
def test_who_may_become_root(monkeypatch: pytest.MonkeyPatch, rules: list[str], may: bool) -> None:
    """sudo's words (sudo 1.9.9 and 1.9.13)."""
    said = "\n".join([
        "Matching Defaults entries for ci on h:",
        "    env_reset, secure_path=/usr/bin\\:/bin",
        "",
        "User ci may run the following commands on h:",
        *(f"    {rule}" for rule in rules),
    ]) if rules else "User ci is not allowed to run sudo on h."  # fmt: skip
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/sudo")
    monkeypatch.setattr(
        _system, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, f"{said}\n", "")
    )
    assert _host_checks._may_be_root("ci") is may


def test_an_address_that_is_taken() -> None:
    def asked(path: str) -> str:
        return _host_checks.path_problem({"label": "x", "path": path, "kind": "listener"})

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        name = Path("/proc/self/comm").read_text().strip()
        assert asked(f"127.0.0.1:{port}") == f"is in use by {name}"
        assert asked(f":{port}") == f"is in use by {name}"
    assert asked(f"127.0.0.1:{port}") == ""
    assert asked(f"localhost:{port}") == ""
    assert asked("no.such.invalid:1") == "cannot be listened on: its host name is unknown"
    assert asked("192.0.2.1:9252") == "cannot be listened on: Cannot assign requested address"


def test_a_runner_that_listens_already_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_listeners, "listening", lambda _: ["gitlab-runner"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = f"127.0.0.1:{taken.getsockname()[1]}"
        assert not _host_checks.path_problem({"path": path, "kind": "listener"})


def test_root_by_another_name_runs_no_jobs() -> None:
    assert "root by another name" in _host_checks.account("root")["problem"]  # type: ignore[index]


def test_no_account_is_no_problem() -> None:
    assert _host_checks.account("no-such-user") is None
    assert _job_user.account_problems(SERVICE, None) == []


def test_an_account_keeps_its_home() -> None:
    found = {"home": "/srv/ci", "problem": ""}
    (text,) = _job_user.account_problems(SERVICE, found)
    assert text.startswith("gitlab_runner_home: invalid value '/home/ci'; the user ci exists with")


# --- folders


def folder(path: Path, user: str = "nobody", **more: Any) -> str:
    return check("folder", path, user=user, **more)


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """A folder that everybody can enter, as pytest's are not."""
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == os.getuid() and not above.stat().st_mode & 0o001:
            above.chmod(0o711)
    return tmp_path


def test_a_folder_that_is_to_be_made(open_path: Path) -> None:
    assert folder(open_path / "data" / "builds", execute=True) == ""
    assert folder(open_path / "data" / "builds", user="not-yet-there", execute=True) == ""


def test_a_file_where_a_folder_should_be(open_path: Path) -> None:
    (open_path / "data").write_text("")
    assert "data is no folder" in folder(open_path / "data")
    assert "data is no folder" in folder(open_path / "data" / "builds")


def test_a_link_on_the_way_is_named_with_where_it_leads(open_path: Path) -> None:
    (open_path / "real").mkdir()
    (open_path / "link").symlink_to(open_path / "real")
    found = folder(open_path / "link" / "builds")
    assert found == f"leads through a symbolic link to {open_path}/real/builds: name that folder"
    # A home may be a link.
    assert folder(open_path / "link", link=True) == ""
    assert folder(open_path / "link" / "builds", home=str(open_path / "link")) == ""


@AS_ROOT
@pytest.mark.parametrize("user", ["nobody", "not-yet-there"])
def test_a_folder_in_anothers_home_cannot_be_entered(open_path: Path, user: str) -> None:
    (open_path / "closed").mkdir(mode=0o700)
    found = folder(open_path / "closed" / "data" / "builds", user)
    assert f"cannot enter {open_path}/closed (mode 0700, of root)" in found
    # The own home is mended by what makes it.
    assert folder(open_path / "closed" / "builds", user, home=str(open_path / "closed")) == ""


@AS_ROOT
def test_what_belongs_to_others_is_not_taken(open_path: Path) -> None:
    theirs = open_path / "theirs"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, 12345, 12345)
    assert "belongs to the number 12345" in folder(theirs)
    assert "where others than root may write" in folder(theirs / "builds")
    theirs.joinpath("file").write_text("")
    os.chown(theirs, 0, 0)
    assert "belongs to root and is not empty" in folder(theirs)


@AS_ROOT
def test_anothers_home_is_refused_and_a_fresh_disk_is_a_home(open_path: Path) -> None:
    home = open_path / "home"
    home.mkdir(mode=0o755)
    # Before it is mounted over, and as mkfs leaves it.
    (home / "lost+found").mkdir()
    for user in ("nobody", "not-yet-there"):
        assert folder(home, user, link=True) == ""
    (home / "file").write_text("")
    cure = f"belongs to root and is not empty; if the jobs may have it: chown -R nobody: {home}, "
    assert folder(home, link=True).startswith(cure)
    os.chown(home, 12345, 12345)
    assert "belongs to the number 12345" in folder(home, link=True)
    # The user is to be made first, and one message is enough.
    made = f"useradd --system --shell /bin/bash --home {home} new; chown -R new: {home}"
    assert made in folder(home, "new", link=True)
    (home / "builds").mkdir()
    assert folder(home / "builds", home=str(home)) == ""


@AS_ROOT
def test_anothers_folder_in_the_own_home_is_refused(open_path: Path) -> None:
    home = open_path / "home"
    (home / ".cache" / "pip" / "http").mkdir(parents=True)
    os.chown(home, 65534, 65534)
    found = folder(home / ".cache" / "pip", home=str(home))
    assert found.startswith("belongs to root and is not empty"), found
    assert f"chown -R nobody: {home}/.cache/pip" in found


@pytest.mark.parametrize(
    ("flags", "execute", "says"),
    [
        (os.ST_RDONLY, False, "mounted read-only"),
        (os.ST_NOEXEC, True, "mounted noexec"),
        (os.ST_NOEXEC, False, ""),
    ],
)
def test_a_mount_that_does_not_do(
    open_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int, execute: bool, says: str
) -> None:
    mount = type("mount", (), {"f_flag": flags})
    monkeypatch.setattr(os, "statvfs", lambda path: mount)
    found = folder(open_path / "builds", execute=execute)
    assert says in found
    assert bool(says) == bool(found)


@AS_ROOT
def test_a_fresh_disk_is_made_the_jobs_own_and_the_folders_above_stay_open(open_path: Path) -> None:
    disk = open_path / "srv" / "data" / "builds"
    item = Item(str(disk), state="directory", mode="0700", owner="nobody")
    assert apply_item(item, check=False)
    nobody = __import__("pwd").getpwnam("nobody")
    assert (disk.stat().st_uid, stat.S_IMODE(disk.stat().st_mode)) == (nobody.pw_uid, 0o700)
    assert stat.S_IMODE(disk.parent.stat().st_mode) == 0o755
    assert disk.parent.stat().st_uid == 0
    os.chown(disk, 0, 0)
    (disk / "lost+found").mkdir()
    assert folder(disk) == ""
    assert apply_item(item, check=True)
    assert apply_item(item, check=False)
    assert not apply_item(item, check=False)
    assert disk.stat().st_uid == nobody.pw_uid


# --- files


def certificate(path: Path) -> ec.EllipticCurvePrivateKey:
    """A certificate at a path; its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    path.write_bytes("# Unternehmens-CA é\n".encode() + pem)
    return key


def pem(key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    how: Any = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, how
    )


def check(kind: str, path: Path | str, **more: Any) -> str:
    asked: Any = {"kind": kind, "path": str(path), **more}
    return _host_checks.path_problem(asked)


def test_what_programs_of_jobs_make_themselves(open_path: Path) -> None:
    place = open_path / "cache" / "of" / "uv"
    said = check("writable", place, user="nobody")
    assert said == f"cannot be written by nobody (see the rights of {open_path})"
    # A user that the host does not have yet.
    assert check("writable", place, user="comes-later").startswith("cannot be written by comes-")
    place.parent.mkdir(parents=True)
    place.parent.chmod(0o777)
    assert check("writable", place, user="nobody") == ""


@AS_ROOT
def test_a_group_that_this_run_gives(open_path: Path) -> None:
    shut = open_path / "ci"
    shut.mkdir()
    (group,) = [one for one in grp.getgrall() if one.gr_name == "mail"]
    os.chown(shut, 0, group.gr_gid)
    for name in ("nobody", "comes-later"):
        shut.chmod(0o750)
        assert "cannot enter" in folder(shut / "builds", name)
        assert folder(shut / "builds", name, groups=["mail", "not-there"]) == ""
        shut.chmod(0o770)
        assert check("writable", shut / "uv", user=name)
        assert check("writable", shut / "uv", user=name, groups=["mail"]) == ""


def test_certificates_and_keys(tmp_path: Path) -> None:
    authority, other, key = tmp_path / "ca.pem", tmp_path / "other.pem", tmp_path / "key.pem"
    key.write_bytes(pem(certificate(authority)))
    certificate(other)
    assert check("certificates", authority) == ""
    assert check("private_key", key, certificate=authority) == ""
    assert "does not go with" in check("private_key", key, certificate=other)
    assert "holds no private key" in check("private_key", authority, certificate=authority)
    assert "holds no certificate" in check("certificates", key)
    key.write_bytes(pem(certificate(authority), b"hunter2"))
    assert "passphrase" in check("private_key", key, certificate=authority)
    authority.write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    assert "holds no certificate" in check("certificates", authority)
    assert "does not exist on the host" in check("certificates", tmp_path / "nowhere.pem")
    assert "is no file" in check("certificates", tmp_path)


def test_programs_and_other_files(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("{}")
    file.chmod(0o644)
    assert check("program", "bash") == ""
    assert check("program", "/bin/bash") == ""
    assert check("program", "pwsh-that-is-not-there") == "is not installed on the host"
    assert check("program", file) == "is no executable file"
    assert check("program", tmp_path / "gone") == "does not exist on the host"
    assert check("json", file) == ""
    file.write_text("none")
    assert check("json", file) == "is no JSON file of a service account"
    assert check("file", file) == ""
    assert check("directory", tmp_path) == ""
    assert "does not exist" in check("directory", tmp_path / "gone")


# --- which settings name something on the host


RUNNER = {
    "name": "build",
    "builds_dir": "/data/builds/",
    "cache_dir": "/data/cache",
    "shell": "bash",
    "tls-ca-file": "/etc/ssl/company/ca.pem",
    "tls-cert-file": "/etc/ssl/company/me.pem",
    "tls-key-file": "/etc/ssl/company/me.key",
    "cache": {"gcs": {"CredentialsFile": "/etc/gcs.json"}},
    "custom": {"run_exec": "/opt/run"},
}
VARIABLES = {
    "user": "ci",
    "home": "/home/ci",
    "pip_cache_dir": "/home/ci/.cache/pip",
    **_job_user.DEFAULTS,
    "runners": [RUNNER, {"name": "gone", "state": "absent", "builds_dir": "/x"}],
}
(SERVICE,) = services(VARIABLES)


def with_runners(*runners: dict[str, Any]) -> Service:
    """The same with other runners."""
    return services({**VARIABLES, "runners": [*runners]})[0]


def test_all_that_an_entry_names_is_asked_about() -> None:
    found = {c["label"]: c for c in _job_user.checks(SERVICE, set())}
    assert {label: c["kind"] for label, c in found.items()} == {
        "gitlab_runner_home": "folder",
        "gitlab_runner_pip_cache_dir": "folder",
        "gitlab_runner_runners (build).builds_dir": "folder",
        "gitlab_runner_runners (build).cache_dir": "folder",
        "gitlab_runner_runners (build).shell": "program",
        "gitlab_runner_runners (build).tls-ca-file": "certificates",
        "gitlab_runner_runners (build).tls-cert-file": "certificates",
        "gitlab_runner_runners (build).tls-key-file": "private_key",
        "gitlab_runner_runners (build).cache.gcs.CredentialsFile": "json",
        "gitlab_runner_runners (build).custom.run_exec": "program",
    }
    assert found["gitlab_runner_runners (build).builds_dir"]["path"] == "/data/builds"
    # No job runs programs in the home's builds folder then.
    assert found["gitlab_runner_home"]["execute"] is False
    assert _job_user.checks(with_runners(), set())[0]["execute"]
    assert (
        found["gitlab_runner_runners (build).tls-key-file"]["certificate"]
        == "/etc/ssl/company/me.pem"
    )


def test_what_the_run_brings_and_what_an_image_lacks_is_not_asked_about() -> None:
    ours = _job_user.certificates([("/usr/local/share/ca-certificates/runnerhost-1.crt", "")])
    for path in (
        "/usr/local/share/ca-certificates/runnerhost-1.crt",
        "/etc/ssl/certs/runnerhost-1.pem",
        "/etc/ssl/certs/ca-certificates.crt",
    ):
        service = with_runners({"name": "a", "tls-ca-file": path})
        assert len(_job_user.checks(service, ours)) == 2
    kinds = {c["kind"] for c in _job_user.checks(SERVICE, None)}
    assert kinds == {"folder"}


def test_folders_are_made_for_the_job_user_alone() -> None:
    files = _service_files.written(SERVICE, "", "", _service_files.HostChoices())
    made = [item for item in files if item.get("owner") == "ci"]
    assert made == [
        {"path": path, "state": "directory", "mode": "0700", "owner": "ci"}
        for path in ("/home/ci", "/home/ci/.cache/pip", "/data/builds", "/data/cache")
    ]
    docker = {"name": "a", "executor": "docker", "builds_dir": "/builds", "shell": "pwsh"}
    assert _job_user.folders(with_runners(docker)) == []


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"builds_dir": "builds"}, "builds_dir: invalid value 'builds'"),
        ({"builds_dir": "~/builds"}, "absolute path"),
        ({"cache_dir": "/data/../etc"}, "absolute path"),
        ({"builds_dir": "/tmp/builds"}, "outlives a restart"),
        ({"cache_dir": "/var/tmp"}, "outlives a restart"),
        ({"builds_dir": "/run/builds"}, "outlives a restart"),
        ({"tls-ca-file": "ca.pem"}, "absolute path"),
        ({"cache": {"gcs": {"CredentialsFile": "gcs.json"}}}, "cache.gcs.CredentialsFile"),
        ({"custom": {"run_exec": "bin/run"}}, "custom.run_exec"),
        ({"tls-cert-file": "/a"}, "tls-key-file: missing; tls-cert-file needs it"),
        ({"tls-key-file": "/a"}, "tls-cert-file: missing; tls-key-file needs it"),
    ],
)
def test_paths_that_cannot_be(entry: dict[str, Any], says: str) -> None:
    (text,) = _runner_validation.path_problems("runners[0] (a)", entry)
    assert says in text


def test_paths_that_can_be() -> None:
    good = {"builds_dir": "/data/tmp/builds", "shell": "pwsh", "custom": {"run_exec": "run"}}
    assert _runner_validation.path_problems("runners[0] (a)", good) == []
