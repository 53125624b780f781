# SPDX-License-Identifier: GPL-3.0-or-later
"""A company's network round a lab host: no route out, but a proxy and mirrors in between.

Both are real programs (tinyproxy, nginx) in a container of the lab's network, which alone has a
route to the outside. The mirrors speak https with the lab's private CA and ask for a password;
the index of jobs, as most companies' do, does not.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lab.apt_sources import Mirror
from lab.engine import LABEL, Engine, PutFile
from lab.images import debian_mirror, ensure_image
from lab.pki import ensure_ca
from lab.places import GITLAB_NAME, MIRROR_NAME, MIRROR_PORT, Lab
from lab.platforms import PLATFORMS, Platform
from lab.run import until
from tests.lab.site import ROOT, Site

NAME = "company.runnerhost.test"
PROXY = f"http://{NAME}:3128"
MIRROR = f"https://{NAME}"
LOGIN, PASSWORD = "runner-hosts", "pr0xy-Secret.1"
INDEXED = (
    "scikit-build-core>=0.10",
    *("exceptiongroup", "importlib-metadata", "importlib-resources", "tomli", "typing-extensions"),
)
"""What the demo's project builds with. The second line is what older Pythons need for it: pip looks
at such conditions with the Python that it runs on, whatever it downloads for."""

_NGINX = """\
worker_processes 2;
events {{ }}
http {{
  access_log /var/log/nginx/access.log;
  server {{
    listen 443 ssl;
    server_name {name};
    ssl_certificate /etc/nginx/server.pem;
    ssl_certificate_key /etc/nginx/server.pem;
    auth_basic company;
    auth_basic_user_file /etc/nginx/users;
    proxy_set_header Authorization "";
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_ssl_server_name on;
    location /simple/ {{ auth_basic off; alias /srv/simple/; autoindex on; }}
    location /apt/deadsnakes/ {{ proxy_pass {lab}/company/deadsnakes/; }}
    location /apt/gitlab-runner/ {{ proxy_pass {lab}/company/gitlab-runner/; }}
    location /distribution/ {{ proxy_pass {main}/; }}
{security}
  }}
}}
"""
_SECURITY = """\
    location /distribution/dists/{suite}-security/ {{
      proxy_pass {security}/dists/{suite}-security/;
    }}
    location /distribution/pool/updates/ {{ proxy_pass {security}/pool/updates/; }}
"""
_TINYPROXY = f"""\
User tinyproxy
Group tinyproxy
Port 3128
LogFile "/var/log/tinyproxy/tinyproxy.log"
LogLevel Connect
BasicAuth {LOGIN} {PASSWORD}
"""


@dataclass(frozen=True)
class Company:
    """The container with proxy and mirrors."""

    site: Site
    engine: Engine
    container: str
    address: str
    platform: Platform

    def sh(self, script: str) -> str:
        """A script's output in the container."""
        return self.engine.exec(self.container, "bash", "-ec", script, timeout=300).stdout

    def proxied(self) -> set[str]:
        """The hosts that were asked for through the proxy."""
        log = self.sh("cat /var/log/tinyproxy/tinyproxy.log")
        hosts = set()
        for method, target in re.findall(r"Request \(.*?\): (\S+) (\S+) HTTP", log):
            named = urlsplit(target if method != "CONNECT" else f"//{target}").hostname
            hosts.add(named or "")
        return hosts

    def mirrored(self) -> set[str]:
        """The first parts of the paths that the mirrors served."""
        log = self.sh("cat /var/log/nginx/access.log")
        served = re.findall(r'"GET (/\S*) HTTP[^"]*" 200 ', log)
        return {"/".join(path.split("/")[:3]) if "/apt/" in path else f"/{path.split('/')[1]}"
                for path in served}  # fmt: skip

    def cut_off(self, known: dict[str, str]) -> None:
        """Takes the host's way out away, and all names but these (name to address)."""
        host = self.site.lab.container(self.platform.name)
        cut_off(self.engine, host, {**known, NAME: self.address})


def cut_off(engine: Engine, host: str, known: dict[str, str]) -> None:
    """Takes a container's way out away, and all of the lab's names but these (name to address)."""
    engine.exec(host, "sh", "-c", "grep -v runnerhost.test /etc/hosts > /tmp/h; "
                "cat /tmp/h > /etc/hosts; rm /tmp/h")  # fmt: skip
    for name, address in known.items():
        engine.exec(host, "sh", "-c", f"echo {address} {name} >> /etc/hosts")
    # The container itself may not: the engine lends the right for this command.
    engine("exec", "--privileged", host, "ip", "route", "del", "default")


def start(site: Site) -> Company:
    """Proxy and mirrors, made and answering; `lab down` removes them with the lab."""
    engine, lab, platform = Engine(), site.lab, PLATFORMS["jammy"]
    network = engine.network(lab.network)
    assert network is not None
    name, address = lab.container("company"), network.address(100)
    gateway = str(network.gateway)
    engine.remove(name)
    engine(
        "create", "--name", name, "--label", f"{LABEL}={lab.id}", *network.options(100),
        "--add-host", f"{GITLAB_NAME}:{gateway}",
        "--add-host", f"{MIRROR_NAME}:{gateway}", ensure_image(engine, platform),
        "sleep", "infinity",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="runnerhost-index-") as folder:
        engine.put(name, [*_configuration(lab, debian_mirror(engine, platform), platform),
                          *_index(Path(folder), platform)])  # fmt: skip
    engine("start", name)
    company = Company(site, engine, name, address, platform)
    company.sh(
        "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; "
        "apt-get -qq -y --no-install-recommends -o Dpkg::Options::=--force-confold "
        "install nginx-light tinyproxy >/dev/null 2>&1; "
        "install -d -o tinyproxy /run/tinyproxy /var/log/tinyproxy; "
        "tinyproxy -c /etc/tinyproxy/tinyproxy.conf; nginx"
    )
    until(
        lambda: (
            company.sh("curl -sk -o /dev/null -w '%{http_code}' https://127.0.0.1/simple/") == "200"
        ),
        timeout=30,
        what="the company's mirrors",
    )
    return company


def _configuration(lab: Lab, debian: Mirror, platform: Platform) -> list[PutFile]:
    security = _SECURITY.format(suite=platform.debian, security=debian.security.rstrip("/"))
    nginx = _NGINX.format(
        name=NAME,
        lab=f"http://{MIRROR_NAME}:{MIRROR_PORT}",
        main=debian.main.rstrip("/"),
        security=security if debian.security else "",
    )
    leaf = ensure_ca(lab).issue_cert(NAME).private_key_and_cert_chain_pem.bytes()
    return [
        PutFile("/etc/nginx/nginx.conf", nginx),
        PutFile("/etc/nginx/server.pem", leaf, 0o600),
        PutFile("/etc/nginx/users", f"{LOGIN}:{{PLAIN}}{PASSWORD}\n"),
        PutFile("/etc/tinyproxy/tinyproxy.conf", _TINYPROXY),
    ]


def _index(folder: Path, platform: Platform) -> list[PutFile]:
    """What builds and the tools for publishing need: the simplest index, a folder a project."""
    download = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check",
                "--only-binary=:all:", "-d", str(folder)]  # fmt: skip
    for version in platform.pythons:
        subprocess.run([*download, "--python-version", version, *INDEXED], check=True, timeout=300)
    tools = ["--no-deps", "--require-hashes", "-r", str(ROOT / "requirements-release.txt")]
    subprocess.run([*download, "--python-version", platform.system_python, *tools], check=True,
                   timeout=300)  # fmt: skip
    return [
        PutFile(f"/srv/simple/{re.sub('[_.]+', '-', file.name.split('-')[0]).lower()}/{file.name}",
                file.read_bytes())
        for file in sorted(folder.glob("*.whl"))
    ]  # fmt: skip
