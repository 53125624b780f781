# SPDX-License-Identifier: GPL-3.0-or-later
"""Network settings of a host: proxies, private CAs and credentials, each in its readers' form.

One set of values, several readers: apt (apt.conf(5), apt_auth.conf(5)), the runner (Go's
``net/http``), git (libcurl), pip (requests) and uv. Used on the controller; its texts go to the
hosts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_sources import lowered
from ansible_collections.runnerhost.toolkit.plugins.module_utils._system import TRUST_BUNDLE

APT_CONF = "/etc/apt/apt.conf.d/51runnerhost-network"
APT_AUTH = "/etc/apt/auth.conf.d/runnerhost.conf"
APT_DIRECT = "/usr/local/lib/runnerhost/apt-direct"
# What names the bundle to programs that do not look there by themselves.
CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
# Never through a proxy: what runs on the host itself.
LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Credential:
    """What one repository asks for."""

    url: str
    login: str
    password: str = field(repr=False)

    def line(self) -> str:
        """The line of apt_auth.conf(5). With its scheme: apt sends none over http otherwise."""
        # An IPv6 address stands there without its brackets (tried with apt 2.6).
        machine = re.sub(r"\[([^]]*)\]", r"\1", self.url)
        return f"machine {machine} login {self.login} password {self.password}\n"

    def breadth(self) -> tuple[bool, int]:
        """How much it counts for: a line without a port fits every port of its host."""
        parts = urlsplit(self.url)
        return parts.port is None, -len(parts.path)


@dataclass(frozen=True)
class Network:
    """One set of values for all readers.

    Attributes:
        http_proxy, https_proxy: ``http://host:port``, without a password; empty for none.
        no_proxy: names (each with everything below it), addresses, networks.
        login, password: what both proxies ask for; empty for none.
        credentials: what repositories ask for.
        index_url: the package index of jobs; empty for pip's default.
        authorities: private CAs, as path on the host and PEM text.
    """

    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: tuple[str, ...] = ()
    login: str = ""
    password: str = field(default="", repr=False)
    credentials: tuple[Credential, ...] = ()
    index_url: str = ""
    authorities: tuple[tuple[str, str], ...] = ()

    def secrets(self) -> frozenset[str]:
        """Every text that must not be shown."""
        own = [self.password, quote(self.password, safe="")]
        return frozenset({*own, *(one.password for one in self.credentials)} - {""})

    def bypassed(self) -> list[str]:
        """`no_proxy` with the host itself; empty where there is no proxy."""
        if not (self.http_proxy or self.https_proxy):
            return []
        return list(dict.fromkeys([*LOCAL, *(plain(item) for item in self.no_proxy)]))

    def environment(self) -> dict[str, str]:
        """Variables for the runner, git, pip and uv.

        In both cases: libcurl, and so git, reads ``http_proxy`` in lower case alone (curl(1)).
        """
        found = {}
        for name, value in (
            ("http_proxy", self._with_login(self.http_proxy)),
            ("https_proxy", self._with_login(self.https_proxy)),
            ("no_proxy", ",".join(self.bypassed())),
        ):
            if value:
                found[name] = found[name.upper()] = value
        if self.index_url:
            # uv reads no file and no variable of pip's (uv's docs, "Environment variables").
            found.update(PIP_INDEX_URL=self.index_url, UV_DEFAULT_INDEX=self.index_url)
        if self.authorities:
            # uv too has roots built in, and takes others from SSL_CERT_FILE (uv's docs, "TLS
            # certificates"), as Go and Python's ssl do.
            found.update(dict.fromkeys(CA_VARIABLES, TRUST_BUNDLE))
        return found

    def index_question(self) -> dict[str, str]:
        """Its environment as `host_info` takes it: the names, and the values of the proxies alone.

        What a module takes as no_log is masked in each message, and so would the index's address.
        """
        found = self.environment().items()
        return {name: value if "proxy" in name.lower() else "" for name, value in found}

    def apt_conf(self, direct: str = APT_DIRECT) -> str:
        """apt.conf(5); ``direct`` is the path of the program that `apt_direct` writes."""
        if not (self.http_proxy or self.https_proxy):
            return ""
        lines = ["// Written by runnerhost.toolkit: local changes are lost."]
        # Said for both: apt's https takes the http one's setting where it has none.
        for scheme, proxy in (("http", self.http_proxy), ("https", self.https_proxy)):
            lines.append(f'Acquire::{scheme}::Proxy "{proxy.rstrip("/") or "DIRECT"}";')
            lines.append(f'Acquire::{scheme}::Proxy-Auto-Detect "{direct}";')
        return "\n".join(lines) + "\n"

    def apt_direct(self) -> str:
        """The program that tells apt which hosts to ask directly: apt's own lists take no suffix.

        apt gives it an address and takes ``DIRECT`` or a proxy (apt.conf(5),
        ``Proxy-Auto-Detect``). The proxy is said here too: what another file of the host sets in
        general does not count then.
        """
        if not (self.http_proxy or self.https_proxy):
            return ""
        named = (("http", self.http_proxy), ("https", self.https_proxy))
        proxies = {scheme: proxy.rstrip("/") or "DIRECT" for scheme, proxy in named}
        text = _DIRECT.replace("@LIST@", json.dumps(self.bypassed()))
        return text.replace("@PROXIES@", json.dumps(proxies))

    def apt_auth(self) -> str:
        """apt_auth.conf(5): the proxies, which apt looks up there too, and repositories.

        The first line that fits counts (tried with apt 2.6): the narrowest stands first.
        """
        proxies = dict.fromkeys(p.rstrip("/") for p in (self.http_proxy, self.https_proxy) if p)
        lines = [
            Credential(proxy, self.login, self.password).line() for proxy in proxies if self.login
        ]
        lines += [one.line() for one in sorted(self.credentials, key=Credential.breadth)]
        note = "# Written by runnerhost.toolkit: local changes are lost.\n"
        return note + "".join(lines) if lines else ""

    def _with_login(self, proxy: str) -> str:
        if not proxy or not self.login:
            return proxy
        given = f"{quote(self.login, safe='')}:{quote(self.password, safe='')}@"
        return proxy.replace("://", f"://{given}", 1)


_DIRECT = '''\
#!/usr/bin/python3
# Written by runnerhost.toolkit: local changes are lost.
# apt asks how to get to an address: DIRECT, or the proxy for it.
import ipaddress
import sys
from urllib.parse import urlsplit

BYPASSED = @LIST@
PROXIES = @PROXIES@


def bypassed(host: str) -> bool:
    """True if a name is on the list or below one that is, or an address in one of its networks."""
    host = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return any(host == one or host.endswith("." + one) for one in BYPASSED)
    for one in BYPASSED:
        try:
            if address in ipaddress.ip_network(one, strict=False):
                return True
        except ValueError:
            continue
    return False


asked = urlsplit(sys.argv[1])
print("DIRECT" if bypassed(asked.hostname or "") else PROXIES.get(asked.scheme, "DIRECT"))
'''


def plain(item: str) -> str:
    """One entry as all readers take it: Go reads a leading dot otherwise than curl does."""
    return item.strip().lower().removeprefix("*").lstrip(".")


def from_values(values: Mapping[str, Any], authorities: Iterable[tuple[str, str]]) -> Network:
    """The set that checked variables (without their prefix) describe."""
    return Network(
        http_proxy=lowered(str(values["http_proxy"])),
        https_proxy=lowered(str(values["https_proxy"])),
        no_proxy=tuple(str(item) for item in values["no_proxy"]),
        login=str(values["proxy_login"]),
        password=str(values["proxy_password"]),
        credentials=tuple(
            Credential(lowered(str(one["url"])), str(one["login"]), str(one["password"]))
            for one in values["repository_credentials"]
        ),
        index_url=str(values["package_index_url"]),
        authorities=tuple(authorities),
    )


def with_given(ours: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Our variables and the user's: one that the user names displaces ours in both cases."""
    named = {str(name).lower() for name in given}
    return {**{name: ours[name] for name in ours if name.lower() not in named}, **given}


def bare_suites(suites: Sequence[str]) -> list[str]:
    """The releases that suites belong to: ``jammy`` for ``jammy`` and ``jammy-updates``."""
    return sorted({suite.partition("-")[0] for suite in suites})


def host_of(url: str) -> str:
    """The host name of an address."""
    return urlsplit(url).hostname or ""
