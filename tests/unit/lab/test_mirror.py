# SPDX-License-Identifier: GPL-3.0-or-later
"""Repacking, repositories and where their parts come from."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.apt_sources import Mirror, parse_indextargets, parse_sources_list
from lab.keys import clearsign, dearmor, ensure_key, parse_key
from lab.mirror import (
    RUNNER_PATH,
    Repository,
    field,
    join_suites,
    mirror_repository,
    point_at_wheels,
    publish,
    set_fields,
    suffixed,
)
from lab.packages import find_runner
from lab.platforms import PLATFORMS
from lab.run import LabError, run
from lab.trust import certificates, extra_certificates
from lab.vendor import KEYRING, LIST, vendor_files

CONTROL = """\
Package: python3.9
Version: 3.9.2-1+deb11u7
Depends: python3.9-minimal (= 3.9.2-1+deb11u7), libpython3.9-stdlib (= 3.9.2-1+deb11u7),
 media-types | mime-support, libc6 (>= 2.17)
Breaks: python3-all (<< 3.6.5~rc1-1)
Description: Interactive language
 More words.
"""


def test_field() -> None:
    assert field(CONTROL, "Version") == "3.9.2-1+deb11u7"
    assert field(CONTROL, "Recommends") == ""


def test_suffix_is_on_the_version_and_every_exact_dependency() -> None:
    text = suffixed(CONTROL, {"3.9.2-1+deb11u7"}, "+jammy1")
    assert field(text, "Version") == "3.9.2-1+deb11u7+jammy1"
    assert text.count("(= 3.9.2-1+deb11u7+jammy1)") == 2
    assert "libc6 (>= 2.17)" in text


def test_a_field_is_replaced_with_its_further_lines() -> None:
    text = set_fields(CONTROL, {"Depends": "python3.9", "Breaks": "", "Package": "other"})
    assert text.startswith("Package: other\n")
    assert "media-types" not in text
    assert "Breaks" not in text
    assert field(text, "Depends") == "python3.9"
    assert " More words.\n" in text


def test_ensurepip_gets_its_wheels() -> None:
    source = "a = 1\n_WHEEL_PKG_DIR = sysconfig.get_config_var('WHEEL_PKG_DIR')\n"
    assert point_at_wheels(source) == "a = 1\n_WHEEL_PKG_DIR = '/usr/share/python-wheels'\n"
    with pytest.raises(ValueError, match="no line"):
        point_at_wheels("a = 1\n")


def test_mirror_is_the_one_that_apt_uses() -> None:
    text = (
        "Other|http://other.example/\nDebian|http://one.example/debian/\n"
        "Debian|http://two.example/debian/\nDebian-Security|http://one.example/security/\n"
    )
    assert parse_indextargets(text) == Mirror(
        "http://one.example/debian/", "http://one.example/security/"
    )


def test_a_controller_without_debian_has_no_mirror() -> None:
    assert parse_indextargets("Ubuntu|http://one.example/ubuntu/\n") is None


def test_mirror_of_a_base_image() -> None:
    lines = [
        "deb [signed-by=/k arch=amd64] http://a.example/debian bookworm main",
        "",
        "deb http://a.example/debian bookworm-updates main",
        "deb http://a.example/debian-security bookworm-security main",
    ]
    mirror = Mirror("http://a.example/debian", "http://a.example/debian-security")
    assert parse_sources_list(lines) == mirror
    assert (
        mirror.lines("bookworm")[2] == "deb http://a.example/debian-security bookworm-security main"
    )


def test_key_with_and_without_expiry() -> None:
    colons = "pub:u:3072:1:AA:1700000000:{}::u:::scESC:\nfpr:::::::::F00D:\nuid:u::::\n"
    assert parse_key(colons.format("")) == ("F00D", 0)
    assert parse_key(colons.format("1800000000")) == ("F00D", 1800000000)
    with pytest.raises(LabError):
        parse_key("")


def test_extra_certificates_are_what_the_image_lacks() -> None:
    trustme = pytest.importorskip("trustme", reason="skipped: trustme is not installed")
    known, company = (trustme.CA().cert_pem.bytes().decode() for _ in range(2))
    broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"
    extra = extra_certificates(f"# text\n{known}{broken}{company}", known)
    assert list(certificates("".join(extra.values()))) == list(certificates(company))
    assert all(name.endswith(".crt") for name in extra)


missing = [name for name in ("gpg", "apt-ftparchive") if not shutil.which(name)]
needs_tools = pytest.mark.skipif(
    bool(missing), reason=f"skipped: {', '.join(missing)} not installed"
)


@needs_tools
def test_two_labs_at_once_have_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find none, in an empty cache."""
    monkeypatch.setenv("RUNNERHOST_CACHE", str(tmp_path / "cache"))
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: ensure_key("test", "Lab test", "never"), range(2))
    assert one == two
    (tmp_path / "Release").write_text("Suite: x\n")
    clearsign(one, tmp_path / "Release", tmp_path / "InRelease")


@needs_tools
def test_repository_is_signed_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNERHOST_CACHE", str(tmp_path / "cache"))
    key = ensure_key("test", "Lab test", "2y")
    assert ensure_key("test", "Lab test", "2y") == key
    assert key.secret.stat().st_mode & 0o777 == 0o600
    root = tmp_path / "repository"
    (root / "pool" / "jammy").mkdir(parents=True)
    publish(root, "jammy", "main", "Some-Origin", "Some-Label", key)
    inrelease = root / "dists/jammy/InRelease"
    assert "Origin: Some-Origin\n" in inrelease.read_text()
    ring = tmp_path / "ring.gpg"
    run(["gpg", "--homedir", str(tmp_path), "--dearmor", "-o", str(ring), str(key.public)])
    run(["gpgv", "--keyring", str(ring), str(inrelease)])
    with pytest.raises(LabError):
        clearsign(key, tmp_path / "missing", tmp_path / "out")
    # Vendors' scripts write a deb-src line.
    assert " main/source/Sources\n" in inrelease.read_text()


@needs_tools
def test_company_mirror_has_its_own_key_and_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNERHOST_CACHE", str(tmp_path / "cache"))
    theirs = ensure_key("theirs", "Upstream", "never")
    ours = ensure_key("ours", "Company", "never")
    upstream, company = tmp_path / "upstream", tmp_path / "company"
    (upstream / "pool" / "main").mkdir(parents=True)
    (upstream / "pool" / "main" / "a.txt").write_text("package")
    for suite in ("jammy", "noble"):
        publish(upstream, suite, "main", "Up", "Up", theirs, upstream / "pool" / "main")
    mirror_repository(upstream, company, ours)
    assert (company / "pool/main/a.txt").read_text() == "package"
    ring = tmp_path / "ring.gpg"
    ring.write_bytes(dearmor(ours.public.read_text()))
    for suite in ("jammy", "noble"):
        inrelease = company / f"dists/{suite}/InRelease"
        assert "Origin: Company Mirror\n" in inrelease.read_text()
        run(["gpgv", "--keyring", str(ring), str(inrelease)])
        with pytest.raises(LabError, match="No public key"):
            run(["gpgv", "--keyring", str(ring), str(upstream / f"dists/{suite}/InRelease")])


def test_suites_of_several_platforms_are_one_repository(tmp_path: Path) -> None:
    for name in ("jammy", "noble"):
        for file in (f"dists/{name}/InRelease", f"pool/{name}/a.deb"):
            path = tmp_path / name / file
            path.parent.mkdir(parents=True)
            path.write_text(name)
    joined = tmp_path / "joined"
    joined.mkdir()
    join_suites([tmp_path / "jammy", tmp_path / "noble"], joined)
    assert (joined / "dists/jammy/InRelease").read_text() == "jammy"
    assert (joined / "pool/noble/a.deb").samefile(tmp_path / "noble/pool/noble/a.deb")


@needs_tools
def test_vendors_script_was_run_on_noble_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNERHOST_CACHE", str(tmp_path / "cache"))
    key = ensure_key("test", "Lab test", "2y")
    repository = Repository(tmp_path, RUNNER_PATH, key)
    assert vendor_files(PLATFORMS["jammy"], repository) == []
    files = {file.path: file.content for file in vendor_files(PLATFORMS["noble"], repository)}
    assert set(files) == {LIST, KEYRING}
    ring = tmp_path / "ring.gpg"
    run(["gpg", "--homedir", str(tmp_path), "--dearmor", "-o", str(ring), str(key.public)])
    assert files[KEYRING] == ring.read_bytes()
    lines = [line for line in str(files[LIST]).splitlines() if line.startswith("deb")]
    assert [line.split()[0] for line in lines] == ["deb", "deb-src"]
    for line in lines:
        assert f"[signed-by={KEYRING}] " in line
        assert line.endswith(f"{RUNNER_PATH}/ noble main")


def test_stand_in_is_found_when_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_GITLAB_RUNNER", raising=False)
    assert find_runner().package_versions == ("19.3.0-1", "19.3.1-1")
