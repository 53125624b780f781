# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in and out are those of the inventory, each where its reader looks."""

from __future__ import annotations

import re
from typing import Any

APT_CONF = "/etc/apt/apt.conf.d/51runnerhost-network"
APT_AUTH = "/etc/apt/auth.conf.d/runnerhost.conf"
APT_DIRECT = "/usr/local/lib/runnerhost/apt-direct"
DISTRIBUTION = "/etc/apt/sources.list.d/runnerhost-distribution.sources"


def proxies(wanted: dict[str, Any]) -> dict[str, str]:
    """The proxies that the inventory names, by scheme."""
    named = {scheme: wanted[f"network_access_{scheme}_proxy"] for scheme in ("http", "https")}
    return {scheme: proxy for scheme, proxy in named.items() if proxy}


def test_apt_takes_the_proxies(host: Any, wanted: dict[str, Any]) -> None:
    if not proxies(wanted):
        for path in (APT_CONF, APT_DIRECT):
            assert not host.file(path).exists, f"{path}: expected no such file, found one"
        return
    text = host.check_output("apt-config dump --format '%f=%v%n' Acquire")
    for scheme in ("http", "https"):
        # Not Acquire::…::Proxy: another file of the host may set that, and apt asks the program.
        assert f"Acquire::{scheme}::Proxy-Auto-Detect={APT_DIRECT}\n" in text


def test_apt_asks_the_proxies_or_directly(host: Any, wanted: dict[str, Any]) -> None:
    if not proxies(wanted):
        return
    # As apt's own user, whom a folder may shut out.
    ask = f"runuser -u _apt -- {APT_DIRECT}"
    for name in ("localhost", *wanted["network_access_no_proxy"]):
        plain = str(name).lstrip("*.").partition("/")[0]
        shown = f"[{plain}]" if ":" in plain else plain
        assert host.check_output(f"{ask} http://{shown}:8080/x") == "DIRECT"
    for scheme in ("http", "https"):
        proxy = proxies(wanted).get(scheme, "DIRECT").rstrip("/").lower()
        assert host.check_output(f"{ask} {scheme}://elsewhere.invalid/") == proxy


def test_credentials_are_roots_alone(host: Any, wanted: dict[str, Any]) -> None:
    file = host.file(APT_AUTH)
    asked = wanted["network_access_repository_credentials"] or wanted["network_access_proxy_login"]
    assert file.exists == bool(asked)
    if asked:
        assert (file.user, file.group, file.mode) == ("root", "root", 0o600)


def test_the_host_trusts_the_private_cas(host: Any, wanted: dict[str, Any]) -> None:
    trusted = "/etc/ssl/certs/ca-certificates.crt"
    bundle = host.file(trusted).content_string
    files = host.check_output(
        "cat /usr/local/share/ca-certificates/runnerhost-*.crt 2>/dev/null || true"
    )
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", files, re.S)
    assert len(blocks) == len(wanted["network_access_ca_certificates"])
    missing = [block for block in blocks if block not in bundle]
    assert not missing, (
        f"{trusted}: expected all private CAs, found {len(missing)} of {len(blocks)} missing"
    )


def test_the_distribution_comes_from_its_mirror(host: Any, wanted: dict[str, Any]) -> None:
    url = wanted["network_access_distribution_url"]
    assert host.file(DISTRIBUTION).exists == bool(url)
    if not url:
        return
    listed = host.check_output(
        "apt-get indextargets --format '$(SOURCESENTRY) $(SITE)$(REPO_URI)' 'Created-By: Packages'"
    )
    own = ("/etc/apt/sources.list:", "/etc/apt/sources.list.d/ubuntu.sources:")
    active = [line for line in listed.splitlines() if line.startswith(own)]
    assert not active, f"the distribution's own sources: expected none, found {active[0]}"
    assert f"{DISTRIBUTION}:" in listed
