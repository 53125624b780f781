# SPDX-License-Identifier: GPL-3.0-or-later
"""A host from a snapshot of one's own mirror alone, and on to the next snapshot."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.engine import Engine
from lab.images import debian_mirror
from lab.keys import Key, ensure_key, parse_key
from lab.mirror import PYTHON_LABEL, PYTHON_ORIGIN, PYTHON_PATH, RUNNER_PATH, publish
from lab.packages import architecture, pack
from lab.places import GITLAB_NAME
from lab.platforms import PLATFORMS
from lab.run import run
from lab.world import reset
from tests.lab.company import cut_off
from tests.lab.site import ROOT, Site

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PLATFORM = PLATFORMS["jammy"]
FIRST, SECOND = "2026-01-15", "2026-02-15"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PASSPHRASE = "a pass phrase of this test"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """No log."""

    def log_message(self, *_: object) -> None:
        pass


class Server:
    """A folder over HTTP, which can be switched off."""

    def __init__(self, folder: Path, address: str) -> None:
        handler = partial(Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer((address, 0), handler)
        self.url = f"http://{address}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def off(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Company:
    """A mirror of one's own, its upstreams (copies of the lab's), and who serves it."""

    site: Site
    folder: Path
    served: Server

    @property
    def upstreams(self) -> Path:
        return self.folder / "upstreams"

    def snapshot(self, name: str, runner: str) -> dict[str, Any]:
        """`make mirror`, while the upstreams answer. Returns the variables that it prints."""
        upstreams = Server(self.upstreams, "127.0.0.1")
        try:
            self._write_settings(upstreams.url, runner)
            done = self.mirror("--name", name)
        finally:
            upstreams.off()
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = yaml.safe_load(done.stdout)
        return found

    def mirror(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The program, as the Makefile calls it."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "ansible_collections.runnerhost.toolkit.mirror"),
                *(str(self.folder / "mirror.yml"), *words),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": ".ansible/collections",
                "GNUPGHOME": str(self.folder / "gpg"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        self.site.outputs += [done.stdout, done.stderr]
        return done

    def _write_settings(self, upstream: str, runner: str) -> None:
        keys = {
            "deadsnakes": "lab_python_key",
            "gitlab_runner": "lab_runner_key",
        }
        variables = self.site.variables
        trust = {
            name: {
                "key": variables[f"{start}_file"],
                "key_fingerprint": variables[f"{start}_fingerprint"],
            }
            for name, start in keys.items()
        }
        debian = debian_mirror(Engine(), PLATFORM)
        archives = [{"url": debian.main, "suites": [PLATFORM.debian, f"{PLATFORM.debian}-updates"]}]
        if debian.security:
            archives.append({"url": debian.security, "suites": [f"{PLATFORM.debian}-security"]})
        listing = run(["gpg", "--homedir", str(self.folder / "gpg"), "--with-colons", "-k"]).stdout
        data = {
            "folder": "store",
            "url": self.served.url,
            "signing_key": parse_key(listing)[0],
            "passphrase_file": "passphrase",
            "suites": ["jammy"],
            "architectures": [architecture()],
            "deadsnakes": {
                "url": f"{upstream}/deadsnakes",
                "pythons": list(PLATFORM.pythons),
                **trust["deadsnakes"],
            },
            "gitlab_runner": {
                "url": f"{upstream}/gitlab-runner",
                "versions": [runner],
                **trust["gitlab_runner"],
            },
            "distribution": {"archives": archives, "components": ["main"], "keyring": KEYRING},
        }
        (self.folder / "mirror.yml").write_text(yaml.safe_dump(data), encoding="utf-8")

    def rebuild_pythons(self) -> None:
        """Upstream's next build of every Python: the earlier one is gone there."""
        root = self.upstreams / "deadsnakes"
        pool = root / "pool" / PLATFORM.name
        for deb in sorted(pool.glob("*+jammy1_*.deb")):
            tree = pool / "tree"
            run(["dpkg-deb", "-R", str(deb), str(tree)], timeout=120)
            control = tree / "DEBIAN" / "control"
            control.write_text(control.read_text().replace("+jammy1", "+jammy2"))
            deb.unlink()
            pack(tree, pool / deb.name.replace("+jammy1", "+jammy2"))
        shutil.rmtree(root / "dists")
        key = ensure_key("deadsnakes", "Runnerhost lab PPA for deadsnakes", "never")
        publish(root, PLATFORM.name, "main", PYTHON_ORIGIN, PYTHON_LABEL, key)


def make_key(home: Path, passphrase: Path) -> None:
    """The company's key, in a home of its own."""
    home.mkdir(mode=0o700)
    passphrase.touch(mode=0o600)
    passphrase.write_text(PASSPHRASE, encoding="utf-8")
    gpg = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback"]
    words = ["--passphrase-file", str(passphrase), "--quick-generate-key", "Company mirror"]
    run([*gpg, *words, "rsa3072", "sign", "never"], timeout=120)


@pytest.fixture(scope="module")
def company(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """The mirror, empty, and upstreams that are the lab's own."""
    # Short: the socket of gpg's agent lies there.
    folder = tmp_path_factory.mktemp("m")
    made = json.loads((site.lab.state / "serve.json").read_text())["repositories"]
    for name, path in (("deadsnakes", PYTHON_PATH), ("gitlab-runner", RUNNER_PATH)):
        shutil.copytree(made[path], folder / "upstreams" / name)
    make_key(folder / "gpg", folder / "passphrase")
    (folder / "store" / "public").mkdir(parents=True)
    network = Engine().network(site.lab.network)
    assert network is not None
    served = Server(folder / "store" / "public", str(network.gateway))
    try:
        yield Company(site, folder, served)
    finally:
        served.off()
        run(["gpgconf", "--homedir", str(folder / "gpg"), "--kill", "all"], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def python_build(site: Site) -> str:
    return site.sh("dpkg-query -W -f '${Version}' python3.9")


def runner_build(site: Site) -> str:
    return site.sh("dpkg-query -W -f '${Version}' gitlab-runner")


def sources(site: Site) -> set[str]:
    """Every address that the host's apt reads."""
    return set(site.sh("apt-get indextargets --format '$(REPO_URI)'").split())


def test_host_is_provisioned_from_the_snapshot_alone(site: Site, company: Company) -> None:
    variables = company.snapshot(FIRST, str(site.variables["lab_runner_version"]))
    reset(site.lab, PLATFORM)
    network = Engine().network(site.lab.network)
    assert network is not None
    # No route out, and not even the names of the upstreams.
    cut_off(Engine(), site.lab.container(PLATFORM.name), {GITLAB_NAME: str(network.gateway)})
    # The lab's userland calls its release by Debian's name, where a real host has its own.
    site.sh(f"sed -i 's/{PLATFORM.debian}/{PLATFORM.name}/g' /etc/apt/sources.list")
    assert site.sh("apt-get -q update 2>&1 | grep -c '^Err:' || true").strip() != "0"
    check = site.playbook("site.yml", "--check", extra=variables)
    assert check.code == 0, check.output
    first = site.playbook("site.yml", extra=variables)
    assert first.code == 0, first.output
    assert first.counts()["changed"] == check.counts()["changed"] > 0
    parts = ("deadsnakes/", "gitlab-runner/", "distribution/")
    assert sources(site) == {f"{company.served.url}/{FIRST}/{part}" for part in parts}
    again = site.playbook("site.yml", extra=variables)
    assert again.counts()["changed"] == 0, again.output
    check = site.playbook("verify.yml", extra=variables)
    assert check.code == 0, check.output
    assert python_build(site).endswith("+jammy1")


def test_host_goes_on_to_the_next_snapshot(site: Site, company: Company) -> None:
    """After the host above."""
    company.rebuild_pythons()
    newest = str(site.variables["lab_runner_version_next"])
    before = runner_build(site)
    assert before != newest
    variables = {**company.snapshot(SECOND, newest), "gitlab_runner_version": "latest"}
    # The Pythons move with the snapshot; the runner waits for its own verb.
    run = site.playbook("site.yml", extra=variables)
    assert run.code == 0, run.output
    assert python_build(site).endswith("+jammy2")
    assert runner_build(site) == before
    upgrade = site.playbook("upgrade.yml", extra=variables)
    assert upgrade.code == 0, upgrade.output
    assert runner_build(site) == newest
    assert sources(site) == {
        f"{company.served.url}/{SECOND}/{part}/"
        for part in ("deadsnakes", "gitlab-runner", "distribution")
    }
    again = site.playbook("site.yml", extra=variables)
    assert again.counts()["changed"] == 0, again.output
    check = site.playbook("verify.yml", extra=variables)
    assert check.code == 0, check.output
    # The earlier one is beside it, whole, and can still be gone back to.
    assert company.mirror("--list").stdout.split() == [FIRST, SECOND]
    assert not any(PASSPHRASE in output for output in site.outputs)


def test_company_key_is_the_only_one_that_counts(site: Site, company: Company) -> None:
    """A snapshot that somebody else has signed is refused, and the host stays as it is."""
    variables = yaml.safe_load(company.mirror("--show", SECOND).stdout)
    other = ensure_key("company", "Runnerhost lab company mirror", "never")
    variables |= wrong_key(other)
    before = sources(site)
    run = site.playbook("site.yml", extra=variables)
    assert run.code != 0
    assert "it is signed by another key than the one given" in run.output, run.output
    assert run.counts()["changed"] == 0
    assert sources(site) == before


def wrong_key(key: Key) -> dict[str, str]:
    """Another key, for the distribution's part."""
    return {
        "network_access_distribution_key": str(key.public),
        "network_access_distribution_key_fingerprint": key.fingerprint,
    }
