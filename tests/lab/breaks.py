# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to break a lab's world, each a context that mends it at its end."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab import services
from lab.keys import clearsign, ensure_key
from lab.mirror import RUNNER_ORIGIN, publish, set_fields
from lab.packages import pack
from lab.pki import ensure_ca
from lab.places import GITLAB_NAME, Lab
from lab.run import run
from tests.lab.site import Site

IMAGES = "gitlab-runner-helper-images"
PENDING_UPGRADE = r"""
mkdir -p /root/pending && cd /root/pending
for version in 1.0 2.0; do
    mkdir -p $version/DEBIAN
    printf '%s\n' 'Package: lab-pending' "Version: $version" 'Architecture: all' \
        'Maintainer: Lab <lab@example.com>' 'Description: -' > $version/DEBIAN/control
    dpkg-deb --build $version $version.deb
done
dpkg --install 1.0.deb
rm 1.0.deb
dpkg-scanpackages . > Packages
printf '%s\n' 'Origin: LP-PPA-deadsnakes' 'Label: New Python Versions' "Date: $(date -Ru)" \
    SHA256: " $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages" > Release
echo 'deb [trusted=yes] file:/root/pending ./' > /etc/apt/sources.list.d/pending.list
rm /etc/apt/preferences.d/runnerhost-deadsnakes
apt-get update -qq
"""
"""Without the pin apt would replace an installed package by one of the PPA's origin."""


class Mirror:
    """A copy of GitLab's repository of packages, which can be broken."""

    def __init__(self, address: str, upstream: Path, scratch: Path) -> None:
        self._address = address
        self._upstream = upstream
        self._scratch = scratch
        self._key = ensure_key(
            "gitlab", "Runnerhost lab GitLab package repository signing key", "2y"
        )
        self._root = upstream
        self._status = 0
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        """The repository's address."""
        return f"http://{self._address}:{self._port}/"

    def start(self) -> None:
        """Serves, at the same port as before."""
        mirror = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if mirror._status:
                    self.send_error(mirror._status)
                    return
                self.directory = str(mirror._root)
                super().do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(
            (self._address, self._port), partial(Handler, directory=str(self._root))
        )
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Nothing answers any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nothing answers at the address."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def answering(self, status: int) -> Iterator[None]:
        """Every request gets this status."""
        self._status = status
        try:
            yield
        finally:
            self._status = 0

    @contextmanager
    def published(self, alone: str = "", **release: str) -> Iterator[None]:
        """Indexed and signed anew.

        Args:
            alone: a version of the runner that has no helper images beside it.
            release: other fields in Release.
        """
        root = Path(tempfile.mkdtemp(dir=self._scratch))
        pool = root / "pool" / "main"
        shutil.copytree(self._upstream / "pool" / "main", pool, copy_function=os.link)
        if alone:
            tree = root / "tree"
            deb = next(pool.glob("gitlab-runner_*.deb"))
            run(["dpkg-deb", "-R", str(deb), str(tree)], timeout=120)
            control = tree / "DEBIAN" / "control"
            control.write_text(set_fields(control.read_text(), {"Version": alone}))
            pack(tree, pool / f"gitlab-runner_{alone}_half.deb")
        publish(root, "jammy", "main", RUNNER_ORIGIN, "gitlab-runner", self._key, pool)
        dist = root / "dists" / "jammy"
        lines = (dist / "Release").read_text().splitlines(keepends=True)
        named = tuple(f"{name.replace('_', '-')}:" for name in release)
        head = [f"{name.replace('_', '-')}: {value}\n" for name, value in release.items()]
        kept = [line for line in lines if not line.startswith(named or "\n")]
        (dist / "Release").write_text("".join([*head, *kept]))
        (dist / "InRelease").unlink()
        clearsign(self._key, dist / "Release", dist / "InRelease")
        self._root = root
        try:
            yield
        finally:
            self._root = self._upstream


def http_date(**shift: float) -> str:
    """A moment as a Release file writes it, so far from now."""
    moment = datetime.now(UTC) + timedelta(**shift)
    return moment.strftime("%a, %d %b %Y %H:%M:%S UTC")


def expired_key(folder: Path) -> tuple[Path, str]:
    """An OpenPGP key whose time is over, and its fingerprint."""
    home = folder / "gpg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-tty",
           "--pinentry-mode", "loopback", "--passphrase", ""]  # fmt: skip

    def asked(*words: str) -> str:
        return run([*gpg, *words], timeout=120).stdout

    try:
        past = ("--faked-system-time", "20240101T000000")
        asked(*past, "--quick-generate-key", "Long gone", "ed25519", "sign", "1y")
        path = folder / "expired.asc"
        path.write_text(asked("--armor", "--export"))
        listed = asked("--with-colons", "--list-keys").splitlines()
        return path, next(line.split(":")[9] for line in listed if line.startswith("fpr"))
    finally:
        run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)


def expired_authority(path: Path) -> Path:
    """A CA's certificate whose time is over."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Long gone CA")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=800))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def certificate(lab: Lab, address: str, begins: float, ends: float) -> Iterator[None]:
    """GitLab with a certificate of this validity, in days from now; it starts anew for it."""
    path = lab.state / "pki" / "server.pem"
    good = path.read_bytes()
    now = datetime.now(UTC)
    authority: trustme.CA = ensure_ca(lab)
    leaf = authority.issue_cert(
        GITLAB_NAME,
        address,
        not_before=now + timedelta(days=begins),
        not_after=now + timedelta(days=ends),
    )
    path.write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    try:
        services.restart(lab)
        yield
    finally:
        path.write_bytes(good)
        services.restart(lab)


@contextmanager
def full(site: Site, folder: str) -> Iterator[None]:
    """A full disk under one folder: a small tmpfs with what was there, and the rest filled."""
    site.sh(
        "install -d -m 0700 /run/kept && trap 'rm -rf /run/kept' EXIT\n"
        f"cp -a {folder}/. /run/kept/\n"
        f"mount -t tmpfs -o size=128k,mode=$(stat -c %a {folder}) tmpfs {folder}\n"
        f"cp -a /run/kept/. {folder}/\n"
        f"dd if=/dev/zero of={folder}/.filler bs=1k 2>/dev/null || true\n"
        f"test $(df --output=avail {folder} | tail -1) = 0"
    )
    try:
        yield
    finally:
        site.sh(f"umount {folder}")


@contextmanager
def held(site: Site, folder: str = "/etc/gitlab-runner") -> Iterator[None]:
    """No controller gets further than to its write; the daemon, which knows no lock, does."""
    site.sh(
        f"systemd-run --quiet --unit=held.service flock {folder} sleep infinity\n"
        f"until ! flock -n {folder} true; do sleep 0.1; done"
    )
    try:
        yield
    finally:
        site.sh("systemctl stop held.service")


def waiting(site: Site) -> int:
    """How many controllers stand before that lock; the code that hosts keep takes it too."""
    script = (
        "sed -nE 's/.*-> FLOCK +ADVISORY +WRITE +([0-9]+) .*/\\1/p' /proc/locks | "
        "while read -r pid; do grep -q module_utils /proc/$pid/cmdline || echo $pid; done"
    )
    return len(site.sh(script).split())


def make_due(site: Site, number: int) -> None:
    """Three quarters of a runner's token are over: the daemon rotates it at its next look."""
    site.sh(
        "python3 - <<'X'\n"
        "import re, datetime\n"
        "p = '/etc/gitlab-runner/config.toml'\n"
        "s = open(p).read()\n"
        f"head, mark, tail = s.partition('id = {number}\\n')\n"
        "now = datetime.datetime.now(datetime.timezone.utc)\n"
        "f = lambda d: (now + datetime.timedelta(seconds=d)).strftime('%Y-%m-%dT%H:%M:%SZ')\n"
        "for key, age in (('token_obtained_at', -900), ('token_expires_at', 100)):\n"
        "    tail = re.sub(key + r' = .*', key + ' = ' + f(age), tail, count=1)\n"
        "open(p, 'w').write(head + mark + tail)\n"
        "X\n"
        "systemctl kill -s HUP --kill-who=main gitlab-runner"
    )
