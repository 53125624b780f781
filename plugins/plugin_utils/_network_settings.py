# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the variables of the role network_access."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_sources import lowered
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import (
    HIDDEN,
    kind_of,
    unfit,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._network import (
    LOCAL,
    host_of,
    plain,
)

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


def problems(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the variables ``network_access_*`` (given without that prefix).

    Never a password, and no address that may hold one.
    """
    found = _kind_problems(values)
    if found:
        # The other checks read strings and lists.
        return found
    for name in ("http_proxy", "https_proxy"):
        value = values[name]
        if value and not _fits(_PROXY, value):
            found.append(
                f"network_access_{name}: invalid value {_shown(value)}; expected http://HOST:PORT "
                "without a password (network_access_proxy_login and network_access_proxy_password)"
            )
    found += _bypass_problems(values["no_proxy"])
    found += [
        f"network_access_ca_certificates: {unfit(file)}; expected paths"
        for file in values["ca_certificates"]
        if not isinstance(file, str)
    ]
    found += _login_problems(values)
    found += _credential_problems(values["repository_credentials"])
    return [*found, *_address_problems(values), *_distribution_problems(values)]


def _login_problems(values: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    login, password = values["proxy_login"], values["proxy_password"]
    if bool(login) != bool(password):
        found.append(
            "network_access_proxy_login and network_access_proxy_password must be set together "
            "or not at all"
        )
    if login and not (values["http_proxy"] or values["https_proxy"]):
        found.append(
            "network_access_proxy_login is set, but no proxy; set network_access_http_proxy or "
            "network_access_https_proxy"
        )
    if login or password:
        found += _pair_problems("network_access_proxy_", login, password)
    return found


def _address_problems(values: Mapping[str, Any]) -> list[str]:
    found = []
    for name in ("package_index_url", "distribution_url"):
        value = values[name]
        if value and not _fits(_ADDRESS, value):
            found.append(
                f"network_access_{name}: invalid value {_shown(value)}; expected an http(s) "
                "address without a password"
            )
        elif name == "package_index_url" and value.startswith("http://") and not _is_local(value):
            found.append(
                f"network_access_{name}: invalid value {_shown(value)}; expected an https "
                "address: pip ignores an index over http"
            )
    return found


def _distribution_problems(values: Mapping[str, Any]) -> list[str]:
    found = []
    for name in ("distribution_suites", "distribution_components"):
        for item in values[name]:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", str(item)):
                found.append(
                    f"network_access_{name}: invalid value {item!r}; expected names such as "
                    f"{'jammy-updates' if name.endswith('suites') else 'main'}"
                )
    if values["distribution_url"] and not values["distribution_suites"]:
        found.append(
            "network_access_distribution_suites: invalid value []; expected at least one suite"
        )
    if bool(values["distribution_key"]) != bool(values["distribution_key_fingerprint"]):
        found.append(
            "network_access_distribution_key and network_access_distribution_key_fingerprint must "
            "be set together or not at all"
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
        text = plain(item) if isinstance(item, str) else ""
        try:
            ipaddress.ip_network(text, strict=False)
            continue
        except ValueError:
            pass
        # All digits and dots: an address gone wrong.
        if not _NAME.match(text) or ".." in text or re.fullmatch(r"[\d./]+", text):
            found.append(
                f"{where}: invalid value {_shown(item)}; expected names such as example.com (with "
                "everything below it), IP addresses and networks such as 10.0.0.0/8, each without "
                "a port"
            )
    return found


def _pair_problems(prefix: str, login: Any, password: Any) -> list[str]:
    found = []
    for name, value in (("login", login), ("password", password)):
        if isinstance(value, str) and value.startswith("$ANSIBLE_VAULT"):
            found.append(f"{prefix}{name}: the value is still encrypted; set it as a !vault value")
        elif not isinstance(value, str) or not _WORD.match(value):
            kind = f"a {kind_of(value)}" if not isinstance(value, str) else HIDDEN
            found.append(
                f"{prefix}{name}: invalid value {kind}; expected a string without blanks, quotes, "
                "# and backslashes (apt_auth.conf supports no quoting)"
            )
    return found


def _nearest_keys(item: Mapping[Any, Any]) -> str:
    known = ("url", "login", "password")
    found = []
    for key in sorted(map(str, set(item) - set(known))):
        near = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.6)
        found += [f"; {key}: did you mean {near[0]}?"] if near else []
    return "".join(found)


def security_warnings(values: Mapping[str, Any]) -> list[str]:
    """A warning if a mirror that takes the place of the distribution brings no security updates."""
    suites = [str(suite) for suite in values["distribution_suites"]]
    lacking = [
        f"{suite}-security"
        for suite in suites
        if "-" not in suite and "/" not in suite and f"{suite}-security" not in suites
    ]
    if not values["distribution_url"] or not lacking:
        return []
    return [
        f"network_access_distribution_suites: lacks {', '.join(lacking)}: the mirror takes the "
        "place of the host's own entries for that release, and it gets no security updates; add "
        "it, if the mirror has it"
    ]


def credential_warnings(items: Any, repositories: Mapping[str, str]) -> list[str]:
    """Credentials that look as if they were for a repository of the inventory, and fit none.

    Others may be for sources of the host's own.

    Args:
        items: network_access_repository_credentials, without a mistake.
        repositories: the addresses, by their variables.
    """
    found = []
    for index, item in enumerate(items):
        url = lowered(str(item["url"]))
        places = {name: lowered(place) for name, place in repositories.items() if place}
        if any(fits(url, place) for place in places.values()):
            continue
        others = [lowered(str(one["url"])) for one in items]
        without = [
            place for place in places.values() if not any(fits(one, place) for one in others)
        ]
        # Another source of the same server is none of ours.
        for place in difflib.get_close_matches(url, without, n=1, cutoff=0.8):
            name = next(name for name, one in places.items() if one == place)
            found.append(
                f"network_access_repository_credentials[{index}].url: {url} fits no repository of "
                f"the inventory, and apt sends no password; {name} is {place}"
            )
    return found


def fits(credential: str, url: str) -> bool:
    """Whether apt uses a credential for an address (apt_auth.conf(5))."""
    mine, other = urlsplit(credential), urlsplit(url)
    return (
        mine.scheme == other.scheme
        and mine.hostname == other.hostname
        and (mine.port is None or mine.port == other.port)
        and f"{other.path}/".startswith(mine.path)
    )


def _credential_problems(items: Any) -> list[str]:
    where = "network_access_repository_credentials"
    found = []
    urls = []
    for index, item in enumerate(items):
        at = f"{where}[{index}]"
        if not isinstance(item, Mapping) or set(item) != {"url", "login", "password"}:
            if isinstance(item, Mapping):
                wrong = f"found the keys {', '.join(sorted(map(str, item)))}"
                near = _nearest_keys(item)
            else:
                wrong, near = unfit(item), ""
            found.append(f"{at}: {wrong}; expected url, login and password{near}")
            continue
        if not _fits(_ADDRESS, item["url"]):
            found.append(
                f"{at}.url: invalid value {_shown(item['url'])}; expected an http(s) address "
                "without a password"
            )
        urls.append(str(item["url"]))
        found += _pair_problems(f"{at}.", item["login"], item["password"])
    return found + [
        f"{where}: the url {_shown(url)} is listed twice; name each once"
        for url in sorted({u for u in urls if urls.count(u) > 1})
    ]
