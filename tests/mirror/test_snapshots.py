# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots with the real aptly and gpg, from a small upstream of the test's own."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml

from ansible_collections.runnerhost.toolkit.mirror import cli, config
from ansible_collections.runnerhost.toolkit.mirror.snapshots import Mirror
from lab.keys import Key, parse_key
from lab.mirror import publish
from lab.packages import architecture, pack
from lab.run import run

TOOLS = ("aptly", "apt-ftparchive", "dpkg-deb", "gpg")
missing = [name for name in TOOLS if not shutil.which(name)]
needs_aptly = pytest.mark.skipif(
    bool(missing), reason=f"skipped: {', '.join(missing)} not installed"
)
SECRET = "a pass phrase of the test"


def gpg(home: Path, *words: str) -> str:
    return run(["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", *words],
               timeout=60).stdout  # fmt: skip


def make_key(home: Path, name: str, passphrase: str) -> Key:
    """A key in a home of its own."""
    home.mkdir(mode=0o700)
    gpg(home, "--passphrase", passphrase, "--quick-generate-key", name, "ed25519", "sign", "never")
    public = home / "key.asc"
    public.write_text(gpg(home, "--armor", "--export"))
    secret = home / "key.secret.asc"
    secret.write_text(gpg(home, "--passphrase", passphrase, "--armor", "--export-secret-keys"))
    return Key(secret, public, parse_key(gpg(home, "--with-colons", "--show-keys", str(public)))[0])


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Key, Key, Path]]:
    """The upstreams' key, the user's, and the user's gpg home."""
    # Short: an agent's socket lies there.
    folder = tmp_path_factory.mktemp("g")
    try:
        yield (
            make_key(folder / "up", "Upstream", ""),
            make_key(folder / "me", "Mirror", SECRET),
            folder / "me",
        )
    finally:
        for name in ("up", "me"):
            run(["gpgconf", "--homedir", str(folder / name), "--kill", "all"], check=False)


def deb(pool: Path, name: str, version: str, depends: str = "") -> None:
    """A package without files."""
    tree = pool / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    fields = {"Package": name, "Version": version, "Architecture": architecture(),
              "Maintainer": "Nobody <nobody@example.com>", "Description": "test",
              "Depends": depends}  # fmt: skip
    text = "".join(f"{key}: {value}\n" for key, value in fields.items() if value)
    (tree / "DEBIAN" / "control").write_text(text)
    pack(tree, pool / f"{name}_{version}.deb")


class Upstreams:
    """Three repositories over HTTP, which can be made anew and switched off."""

    def __init__(self, folder: Path, key: Key) -> None:
        self.folder = folder
        self.key = key
        handler = partial(Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def fill(
        self, name: str, *packages: tuple[str, ...], suites: Sequence[str] = ("jammy",)
    ) -> None:
        """One repository, with these packages and no others in every suite."""
        root = self.folder / name
        shutil.rmtree(root, ignore_errors=True)
        pool = root / "pool" / "jammy"
        pool.mkdir(parents=True)
        for package in packages:
            deb(pool, *package)
        for suite in suites:
            publish(root, suite, "main", "Upstream", "Upstream", self.key, pool)

    def off(self) -> None:
        """Nobody answers any more."""
        self.server.shutdown()
        self.server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """No log."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstreams(
    homes: tuple[Key, Key, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Upstreams]:
    monkeypatch.setenv("GNUPGHOME", str(homes[2]))
    monkeypatch.setattr(os, "umask", lambda mask: mask)
    (tmp_path / "up").mkdir()
    one = Upstreams(tmp_path / "up", homes[0])
    python = "python3.9 (= 1), libc6"
    one.fill("deadsnakes", ("python3.9", "1", "libc6, lib-a | lib-b"), ("python3.8", "1"),
             ("python3.9-venv", "1", python), ("python3.9-dev", "1", python))  # fmt: skip
    one.fill("gitlab-runner", *runners("1.0.0-1"), *runners("2.0.0-1"))
    one.fill("distribution", ("libc6", "1"), ("lib-b", "1"), ("cmake", "1", "libc6"), ("vim", "1"))
    yield one
    one.off()


def runners(version: str) -> list[tuple[str, ...]]:
    images = "gitlab-runner-helper-images"
    return [("gitlab-runner", version, f"{images} (= {version}), libc6"), (images, version)]


@pytest.fixture
def settings(upstreams: Upstreams, homes: tuple[Key, Key, Path], tmp_path: Path) -> Path:
    """A settings file for them."""
    secret = tmp_path / "passphrase"
    secret.touch(mode=0o600)
    secret.write_text(SECRET)
    trust = {"key": str(homes[0].public), "key_fingerprint": homes[0].fingerprint}
    data = {
        "folder": "store",
        "url": "https://mirror.example.com",
        "signing_key": homes[1].fingerprint,
        "passphrase_file": "passphrase",
        "suites": ["jammy"],
        "architectures": [architecture()],
        "deadsnakes": {"pythons": ["3.9"], "url": f"{upstreams.url}/deadsnakes", **trust},
        "gitlab_runner": {
            "versions": ["2.0.0"],
            "url": f"{upstreams.url}/gitlab-runner",
            **trust,
        },
        "distribution": {
            "archives": [{"url": f"{upstreams.url}/distribution", "suites": ["{suite}"]}],
            "packages": ["cmake"],
            "components": ["main"],
            **trust,
        },
    }
    path = tmp_path / "mirror.yml"
    path.write_text(yaml.safe_dump(data))
    return path


def make(settings: Path, name: str) -> dict[str, object]:
    mirror = Mirror(config.load(settings), lambda _: None)
    text = mirror.make(name)
    assert (mirror.public / name / "variables.yml").read_text() == text
    found: dict[str, object] = yaml.safe_load(text)
    return found


def offered(settings: Path, name: str, part: str, suite: str = "jammy") -> dict[str, str]:
    """Packages and versions in a snapshot's index, whose files are all there."""
    root = settings.parent / "store" / "public" / name / part
    index = (root / f"dists/{suite}/main/binary-{architecture()}/Packages").read_text()
    found = {}
    for block in index.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if fields:
            assert (root / fields["Filename"]).is_file()
            found[fields["Package"]] = fields["Version"]
    return found


@needs_aptly
def test_snapshot_holds_what_is_wanted_and_all_that_it_needs(
    settings: Path, upstreams: Upstreams, homes: tuple[Key, Key, Path]
) -> None:
    variables = make(settings, "2026-11-21")
    assert set(offered(settings, "2026-11-21", "deadsnakes")) == {
        *("python3.9", "python3.9-venv", "python3.9-dev")
    }
    assert set(offered(settings, "2026-11-21", "gitlab-runner").values()) == {"2.0.0-1"}
    # What the others depend on, the alternative that there is; and nothing else.
    assert set(offered(settings, "2026-11-21", "distribution")) == {"libc6", "lib-b", "cmake"}
    address = "https://mirror.example.com/2026-11-21"
    assert variables["python_versions_repository_url"] == f"{address}/deadsnakes"
    assert variables["gitlab_runner_repository_key"] == f"{address}/key.asc"
    # Every variable is one that a role has.
    known: set[str] = set()
    for role in ("python_versions", "gitlab_runner", "network_access"):
        known |= set(config.role_defaults(role))
    assert set(variables) <= known
    # The distribution keeps its own origin, by which unattended-upgrades knows it.
    release = settings.parent / "store/public/2026-11-21"
    assert "Origin: Upstream\n" in (release / "distribution/dists/jammy/Release").read_text()
    text = (release / "deadsnakes/dists/jammy/Release").read_text()
    assert f"Origin: {variables['python_versions_repository_origin']}\n" in text
    keyring = settings.parent / "user.gpg"
    run(["gpg", "--batch", "--output", str(keyring), "--dearmor", str(homes[1].public)])
    for part in ("deadsnakes", "gitlab-runner", "distribution"):
        signed = release / part / "dists/jammy/InRelease"
        run(["gpgv", "--keyring", str(keyring), str(signed)])


@needs_aptly
def test_a_later_snapshot_leaves_the_earlier_as_it_was(
    settings: Path, upstreams: Upstreams
) -> None:
    make(settings, "2026-11-21")
    before = offered(settings, "2026-11-21", "deadsnakes")
    # deadsnakes keeps one version: the old one is gone upstream.
    python = "python3.9 (= 2), libc6"
    upstreams.fill("deadsnakes", ("python3.9", "2", "libc6"), ("python3.9-venv", "2", python),
                   ("python3.9-dev", "2", python))  # fmt: skip
    make(settings, "2026-11-22")
    assert offered(settings, "2026-11-22", "deadsnakes") == dict.fromkeys(before, "2")
    assert offered(settings, "2026-11-21", "deadsnakes") == before == dict.fromkeys(before, "1")
    mirror = Mirror(config.load(settings), lambda _: None)
    assert mirror.finished() == ["2026-11-21", "2026-11-22"]
    mirror.drop("2026-11-21")
    assert mirror.finished() == ["2026-11-22"]
    assert offered(settings, "2026-11-22", "deadsnakes") == dict.fromkeys(before, "2")
    assert not (mirror.public / "2026-11-21").exists()


@needs_aptly
def test_the_next_release_is_a_word_in_the_settings(settings: Path, upstreams: Upstreams) -> None:
    """There, 3.9 is the release's own and not deadsnakes'."""
    make(settings, "2026-11-21")
    both = ("jammy", "resolute")
    own = [("libc6", "3"), ("lib-b", "3"), ("cmake", "3", "libc6")]
    names = ("python3.9", "python3.9-venv", "python3.9-dev")
    upstreams.fill("deadsnakes", *((name, "2", "libc6") for name in names))
    upstreams.fill("gitlab-runner", *runners("2.0.0-1"), suites=both)
    upstreams.fill("distribution", *own, *((name, "3", "libc6") for name in names), suites=both)
    root = upstreams.folder / "deadsnakes"
    (root / "pool" / "empty").mkdir()
    publish(root, "resolute", "main", "Upstream", "Upstream", upstreams.key, root / "pool/empty")
    data = yaml.safe_load(settings.read_text())
    data["suites"] = list(both)
    settings.write_text(yaml.safe_dump(data))
    make(settings, "2026-11-22")
    found = offered(settings, "2026-11-22", "distribution", "resolute")
    assert {name: found.get(name) for name in names} == dict.fromkeys(names, "3")
    assert offered(settings, "2026-11-22", "deadsnakes", "resolute") == {}
    assert set(offered(settings, "2026-11-22", "deadsnakes")) == set(names)
    assert set(offered(settings, "2026-11-22", "gitlab-runner", "resolute").values()) == {"2.0.0-1"}


@needs_aptly
def test_a_run_that_was_cut_off_is_begun_anew(
    settings: Path, upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> str:
        raise KeyboardInterrupt

    mirror = Mirror(config.load(settings), lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(mirror, "_variables", cut_off)
        with pytest.raises(KeyboardInterrupt):
            mirror.make("2026-11-21")
    assert mirror.finished() == []
    make(settings, "2026-11-21")
    assert set(offered(settings, "2026-11-21", "gitlab-runner").values()) == {"2.0.0-1"}


@needs_aptly
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gitlab_runner": {"versions": ["2.0.0", "3.0.0"]}}, "3.0.0 is not available for jammy"),
        ({"deadsnakes": {"pythons": ["3.9", "3.7"]}}, "no upstream offers python3.7"),
        ({"suites": ["noble"]}, "noble"),
        ({"deadsnakes": {"key_fingerprint": "0" * 40}}, "deadsnakes.key"),
        ({"signing_key": "0" * 40}, "signing_key"),
        ({"distribution": {"extra_packages": ["nothing"]}}, "no upstream offers nothing"),
    ],
)
def test_what_is_not_on_offer_makes_no_snapshot(
    settings: Path,
    upstreams: Upstreams,
    change: dict[str, object],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = yaml.safe_load(settings.read_text())
    for key, value in change.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) else value
    settings.write_text(yaml.safe_dump(data))
    assert cli.main([str(settings), "--name", "2026-11-21"]) == 1
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""
    assert SECRET not in said.err
    assert Mirror(config.load(settings), lambda _: None).finished() == []


@needs_aptly
def test_a_dependency_that_nobody_has_is_named(
    settings: Path, upstreams: Upstreams, capsys: pytest.CaptureFixture[str]
) -> None:
    upstreams.fill("distribution", ("libc6", "1"), ("cmake", "1", "libc6"))
    assert cli.main([str(settings), "--name", "2026-11-21"]) == 1
    assert "lib-a" in capsys.readouterr().err


@needs_aptly
def test_an_index_signed_by_another_key_is_refused(
    settings: Path,
    upstreams: Upstreams,
    homes: tuple[Key, Key, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stranger = make_key(tmp_path / "st", "Stranger", "")
    run(["gpgconf", "--homedir", str(tmp_path / "st"), "--kill", "all"], check=False)
    upstreams.key = replace(stranger)
    upstreams.fill("gitlab-runner", *runners("2.0.0-1"))
    assert cli.main([str(settings), "--name", "2026-11-21"]) == 1
    said = capsys.readouterr().err
    assert "aptly mirror create: exit 1" in said
    assert "No public key" in said


@needs_aptly
def test_no_passphrase_in_arguments_or_left_over_files(
    settings: Path, upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = subprocess.run

    def watched(argv: list[str], **more: object) -> object:
        seen.extend(argv)
        return real(argv, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", watched)
    make(settings, "2026-11-21")
    assert len(seen) > 50
    assert not any(SECRET in word for word in seen)
    store = settings.parent / "store"
    for path in store.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert SECRET.encode() not in data, path
            assert b"PRIVATE KEY" not in data, path


@needs_aptly
@pytest.mark.parametrize("name", ["latest", "2026-11", "2026-11-21_x", "../2026-11-21"])
def test_names_are_dates(settings: Path, upstreams: Upstreams, name: str) -> None:
    with pytest.raises(config.Refused, match="expected a date such as"):
        make(settings, name)


@needs_aptly
def test_a_snapshot_is_listed_shown_and_never_changed(
    settings: Path, upstreams: Upstreams, capsys: pytest.CaptureFixture[str]
) -> None:
    make(settings, "2026-11-21")
    assert cli.main([str(settings), "--name", "2026-11-21"]) == 1
    assert "already exists" in capsys.readouterr().err
    assert cli.main([str(settings), "--list"]) == 0
    assert capsys.readouterr().out == "2026-11-21\n"
    assert cli.main([str(settings), "--show", "2026-11-21"]) == 0
    assert "gitlab_runner_repository_url" in capsys.readouterr().out
    assert cli.main([str(settings), "--drop", "2026-11-20"]) == 1
    assert "existing snapshots: 2026-11-21" in capsys.readouterr().err
