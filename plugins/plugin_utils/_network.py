# SPDX-License-Identifier: Apache-2.0
"""A company's ways in and out: proxies, private CAs and credentials, each in its readers' form.

One set of values, several readers: apt (apt.conf(5), apt_auth.conf(5)), the runner (Go's
``net/http``), git (libcurl), pip (requests) and uv. Used on the controller; its texts go to the
hosts.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_sources import lowered
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import (
    HIDDEN,
    kind_of,
    unfit,
)

APT_CONF = "/etc/apt/apt.conf.d/51runnerhost-network"
APT_AUTH = "/etc/apt/auth.conf.d/runnerhost.conf"
APT_DIRECT = "/usr/local/lib/runnerhost/apt-direct"
TRUST_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# What names the bundle to programs that do not look there by themselves.
CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
# Never through a proxy: what runs on the host itself.
LOCAL = ("localhost", "127.0.0.1", "::1")

_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\Z")
_PROXY = re.compile(r"http://(?:\[[0-9A-Fa-f:.]+\]|[^\s/@:?#\"'\[\]]+)(?::\d{1,5})?/?\Z")
_ADDRESS = re.compile(r"https?://[^\s/@\"'\\?#]+(?:/[^\s\"'\\@?#]*)?\Z")
# Which of the variables are texts, and what the others are lists of.
_TEXTS = (
    *("http_proxy", "https_proxy", "proxy_login", "proxy_password", "package_index_url"),
    *("distribution_url", "distribution_key", "distribution_key_fingerprint"),
    "distribution_keyring",
)
_LISTS = {
    "no_proxy": "names, addresses and networks",
    "ca_certificates": "PEM files on the controller",
    "repository_credentials": "url, login and password",
    "distribution_suites": "names such as jammy-updates",
    "distribution_components": "names such as main",
}
# apt_auth.conf(5) is read word by word, without quotes.
_WORD = re.compile(r"[^\s\"'\\#]+\Z")


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
        return list(dict.fromkeys([*LOCAL, *(_plain(item) for item in self.no_proxy)]))

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


def _plain(item: str) -> str:
    """One entry as all readers take it: Go reads a leading dot otherwise than curl does."""
    return item.strip().lower().removeprefix("*").lstrip(".")


def problems(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the variables ``network_access_*`` (given without that prefix).

    Never a password, and no address that may hold one.
    """
    found = _kind_problems(values)
    if found:
        # The rest reads texts and lists.
        return found
    for name in ("http_proxy", "https_proxy"):
        value = values[name]
        if value and not _fits(_PROXY, value):
            found.append(
                f"network_access_{name} got {_shown(value)}, it takes http://HOST:PORT, without a "
                "password (network_access_proxy_login and network_access_proxy_password)"
            )
    found += _bypass_problems(values["no_proxy"])
    found += [
        f"network_access_ca_certificates: {unfit(file)}; expected paths"
        for file in values["ca_certificates"]
        if not isinstance(file, str)
    ]
    login, password = values["proxy_login"], values["proxy_password"]
    if bool(login) != bool(password):
        found.append(
            "network_access_proxy_login and network_access_proxy_password are given together or "
            "not at all"
        )
    if login and not (values["http_proxy"] or values["https_proxy"]):
        found.append(
            "network_access_proxy_login is given, but no proxy: set network_access_http_proxy or "
            "network_access_https_proxy"
        )
    if login or password:
        found += _pair_problems("network_access_proxy_", login, password)
    found += _credential_problems(values["repository_credentials"])
    for name in ("package_index_url", "distribution_url"):
        value = values[name]
        if value and not _fits(_ADDRESS, value):
            found.append(
                f"network_access_{name} got {_shown(value)}, it takes an http(s) address without "
                "a password"
            )
        elif name == "package_index_url" and value.startswith("http://") and not _is_local(value):
            found.append(
                f"network_access_{name} got {_shown(value)}, it takes an https address: pip "
                "ignores an index that is asked by http"
            )
    for name in ("distribution_suites", "distribution_components"):
        for item in values[name]:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", str(item)):
                found.append(
                    f"network_access_{name} got {item!r}, it takes names such as "
                    f"{'jammy-updates' if name.endswith('suites') else 'main'}"
                )
    if values["distribution_url"] and not values["distribution_suites"]:
        found.append("network_access_distribution_suites is empty: name at least one suite")
    if bool(values["distribution_key"]) != bool(values["distribution_key_fingerprint"]):
        found.append(
            "network_access_distribution_key and network_access_distribution_key_fingerprint are "
            "given together or not at all"
        )
    return found


def _kind_problems(values: Mapping[str, Any]) -> list[str]:
    """What is no text, or no list, where one is wanted; a text would be read letter by letter."""
    return [
        f"network_access_{name}: {unfit(values[name])}; expected a string (quote it)"
        for name in _TEXTS
        if not isinstance(values[name], str)
    ] + [
        f"network_access_{name}: {unfit(values[name])}; expected a list of {of}"
        for name, of in _LISTS.items()
        if not isinstance(values[name], list)
    ]


def _fits(pattern: re.Pattern[str], value: Any) -> bool:
    """True if it is an address of that form with a port and an IPv6 address that can be."""
    if not isinstance(value, str) or not pattern.match(value):
        return False
    try:
        return urlsplit(value).port != 0
    except ValueError:
        return False


def _is_local(url: str) -> bool:
    host = host_of(url)
    return host in LOCAL or host.startswith("127.")


def _shown(value: Any) -> str:
    if not isinstance(value, str):
        return f"a {kind_of(value)}"
    return HIDDEN if "@" in value else repr(value)


def _bypass_problems(items: Any) -> list[str]:
    where = "network_access_no_proxy"
    found = []
    for item in items:
        text = _plain(item) if isinstance(item, str) else ""
        try:
            ipaddress.ip_network(text, strict=False)
            continue
        except ValueError:
            pass
        # All digits and dots: an address gone wrong.
        if not _NAME.match(text) or ".." in text or re.fullmatch(r"[\d./]+", text):
            found.append(
                f"{where} got {_shown(item)}, it takes names such as example.com (with everything "
                "below it), IP addresses and networks such as 10.0.0.0/8, each without a port"
            )
    return found


def _pair_problems(prefix: str, login: Any, password: Any) -> list[str]:
    found = []
    for name, value in (("login", login), ("password", password)):
        if isinstance(value, str) and value.startswith("$ANSIBLE_VAULT"):
            found.append(f"{prefix}{name} is still encrypted: give it as a !vault value")
        elif not isinstance(value, str) or not _WORD.match(value):
            kind = f"a {kind_of(value)}" if not isinstance(value, str) else HIDDEN
            found.append(
                f"{prefix}{name} got {kind}, it takes a text without blanks, quotes, # and "
                "backslashes (apt_auth.conf knows no quoting)"
            )
    return found


def _nearest_keys(item: Mapping[Any, Any]) -> str:
    known = ("url", "login", "password")
    found = []
    for key in sorted(map(str, set(item) - set(known))):
        near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
        found += [f"; {key}: did you mean {near[0]}?"] if near else []
    return "".join(found)


def _credential_problems(items: Any) -> list[str]:
    where = "network_access_repository_credentials"
    found = []
    urls = []
    for index, item in enumerate(items):
        at = f"{where}[{index}]"
        if not isinstance(item, Mapping) or set(item) != {"url", "login", "password"}:
            keys = f"has {', '.join(sorted(map(str, item)))}" if isinstance(item, Mapping) else (
                f"is a {kind_of(item)}"
            )  # fmt: skip
            near = _nearest_keys(item) if isinstance(item, Mapping) else ""
            found.append(f"{at} {keys}, it takes url, login and password{near}")
            continue
        if not _fits(_ADDRESS, item["url"]):
            found.append(
                f"{at}.url got {_shown(item['url'])}, it takes an http(s) address without a "
                "password"
            )
        urls.append(str(item["url"]))
        found += _pair_problems(f"{at}.", item["login"], item["password"])
    return found + [
        f"{where} names one url twice: {_shown(url)}"
        for url in sorted({u for u in urls if urls.count(u) > 1})
    ]


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
