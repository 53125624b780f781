# SPDX-License-Identifier: GPL-3.0-or-later
"""One set of proxies, CAs and credentials, in the form that each reader takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _apt_sources, _system
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _network, _network_settings

PASSWORD = "p@ss/w0rd:1"
GOOD: dict[str, Any] = {
    "http_proxy": "http://proxy.example.com:3128",
    "https_proxy": "http://proxy.example.com:3128/",
    "no_proxy": [".example.com", "*.corp.test", "10.0.0.0/8", "fd00::/8"],
    "proxy_login": "build",
    "proxy_password": PASSWORD,
    "repository_credentials": [
        {"url": "https://apt.example.com/private", "login": "host", "password": "s3cret"}
    ],
    "package_index_url": "https://index.example.com/simple",
    "distribution_url": "",
    "distribution_suites": ["jammy", "jammy-updates"],
    "distribution_components": ["main"],
    "distribution_key": "",
    "distribution_key_fingerprint": "",
    "distribution_keyring": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    "ca_certificates": [],
}
NONE: dict[str, Any] = {
    **GOOD,
    "http_proxy": "",
    "https_proxy": "",
    "no_proxy": [],
    "proxy_login": "",
    "proxy_password": "",
    "repository_credentials": [],
    "package_index_url": "",
}


def network(**change: Any) -> _network.Network:
    return _network.from_values({**GOOD, **change}, [])


@pytest.mark.parametrize(
    "values",
    [
        GOOD,
        NONE,
        {**GOOD, "http_proxy": "http://[fd00::1]:3128"},
        {**GOOD, "package_index_url": "http://127.0.0.1:8080/simple"},
    ],
)
def test_good(values: dict[str, Any]) -> None:
    assert _network_settings.problems(values) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"http_proxy": "proxy:3128"}, "http_proxy: invalid value 'proxy:3128'"),
        ({"https_proxy": "socks5://proxy:1080"}, "https_proxy: invalid value 'socks5"),
        ({"http_proxy": f"http://u:{PASSWORD}@proxy:3128"}, "http_proxy: invalid value (hid"),
        ({"http_proxy": 3128}, "network_access_http_proxy: invalid value of type number"),
        (
            {"no_proxy": "localhost"},
            "network_access_no_proxy: invalid value of type string; expected a list",
        ),
        ({"no_proxy": ["*"]}, "no_proxy: invalid value '*'"),
        ({"no_proxy": ["10.0.0.0/33"]}, "no_proxy: invalid value '10.0.0.0/33'"),
        ({"no_proxy": ["10.0.0.256"]}, "no_proxy: invalid value '10.0.0.256'"),
        ({"no_proxy": ["host:8080"]}, "no_proxy: invalid value 'host:8080'"),
        ({"no_proxy": ['a"b']}, "no_proxy: invalid value"),
        ({"proxy_password": ""}, "set together"),
        ({"http_proxy": "", "https_proxy": ""}, "network_access_proxy_login is set, but no"),
        ({"proxy_password": "two words"}, "proxy_password: invalid value (hidden)"),
        (
            {"proxy_password": 12345678},
            "network_access_proxy_password: invalid value of type number",
        ),
        ({"proxy_password": "$ANSIBLE_VAULT;1.1;AES256\n61"}, "is still encrypted"),
        (
            {"repository_credentials": {}},
            "network_access_repository_credentials: invalid value of type mapping",
        ),
        ({"repository_credentials": ["x"]}, "credentials[0]: invalid value of type string"),
        (
            {"repository_credentials": [{"url": "https://x.test"}]},
            "credentials[0]: found the keys url",
        ),
        (
            {"repository_credentials": [{"url": "x.test", "login": "a", "password": "b"}]},
            "credentials[0].url: invalid value 'x.test'",
        ),
        (
            {
                "repository_credentials": [
                    {"url": "https://a:hunter2@x.test", "login": "a", "password": "b"}
                ]
            },
            "credentials[0].url: invalid value (hidden)",
        ),
        (
            {
                "repository_credentials": [
                    {"url": "https://x.test", "login": "a", "password": "# b"}
                ]
            },
            "credentials[0].password: invalid value (hidden)",
        ),
        ({"repository_credentials": GOOD["repository_credentials"] * 2}, "is listed twice"),
        ({"package_index_url": "ftp://x"}, "package_index_url: invalid value 'ftp://x'"),
        (
            {"package_index_url": "https://a:hunter2@x.test"},
            "package_index_url: invalid value (hidden)",
        ),
        ({"distribution_url": "mirror"}, "distribution_url: invalid value 'mirror'"),
        (
            {"distribution_url": "https://m.test", "distribution_suites": []},
            "suites: invalid value []",
        ),
        ({"distribution_suites": ["jammy main"]}, "distribution_suites: invalid value"),
        ({"distribution_components": [""]}, "distribution_components: invalid value"),
        ({"distribution_key": "mirror.asc"}, "set together"),
        (
            {"http_proxy": "http://proxy:99999"},
            "http_proxy: invalid value 'http://proxy:99999'",
        ),
        ({"http_proxy": "http://[fd00::g]:1"}, "http_proxy: invalid value"),
        ({"http_proxy": "http://[1:2:3]:1"}, "http_proxy: invalid value"),
        ({"distribution_url": "https://m.test:0/u"}, "distribution_url: invalid value"),
        ({"package_index_url": "http://x.test/simple"}, "expected an https address: pip ignores"),
        # What YAML makes of `name: false`, and of a list's name with a text behind it.
        *(
            ({name: False}, f"network_access_{name}: invalid value of type boolean")
            for name in (
                *("http_proxy", "https_proxy", "proxy_login", "proxy_password"),
                *("package_index_url", "distribution_url", "distribution_key"),
            )
        ),
        (
            {"proxy_login": False, "proxy_password": False},
            "network_access_proxy_login: invalid value of type boolean",
        ),
        (
            {"ca_certificates": "/x/ca.pem"},
            "network_access_ca_certificates: invalid value of type string",
        ),
        ({"ca_certificates": [None]}, "network_access_ca_certificates: invalid value of type null"),
        (
            {"distribution_suites": "jammy"},
            "network_access_distribution_suites: invalid value of type string",
        ),
        (
            {"distribution_components": "main"},
            "network_access_distribution_components: invalid value of type string",
        ),
    ],
)
def test_refused(change: dict[str, Any], says: str) -> None:
    found = _network_settings.problems({**GOOD, **change})
    assert any(says in text for text in found), found
    assert not any(s in text for s in (PASSWORD, "hunter2", "12345678", "# b") for text in found)


def test_runner_git_and_pip_find_the_proxies() -> None:
    found = network().environment()
    with_login = "http://build:p%40ss%2Fw0rd%3A1@proxy.example.com:3128"
    assert found["http_proxy"] == found["HTTP_PROXY"] == with_login
    assert found["https_proxy"] == found["HTTPS_PROXY"] == with_login + "/"
    listed = "localhost,127.0.0.1,::1,example.com,corp.test,10.0.0.0/8,fd00::/8"
    assert found["no_proxy"] == found["NO_PROXY"] == listed
    assert found["PIP_INDEX_URL"] == found["UV_DEFAULT_INDEX"] == GOOD["package_index_url"]
    assert "PIP_CERT" not in found


def test_nothing_named_is_nothing_written() -> None:
    none = _network.from_values(NONE, [])
    assert none.environment() == {}
    assert none.apt_conf() + none.apt_auth() + none.apt_direct() == ""
    assert none.secrets() == frozenset()


def test_apt_gets_each_proxy_without_its_password() -> None:
    text = network(https_proxy="").apt_conf()
    assert 'Acquire::http::Proxy "http://proxy.example.com:3128";' in text
    # Else apt would take the http one for https too.
    assert 'Acquire::https::Proxy "DIRECT";' in text
    assert PASSWORD not in text


def test_apt_gets_the_passwords_with_their_scheme() -> None:
    assert network().apt_auth().splitlines()[1:] == [
        f"machine http://proxy.example.com:3128 login build password {PASSWORD}",
        "machine https://apt.example.com/private login host password s3cret",
    ]


def test_the_narrowest_credential_stands_first() -> None:
    """apt takes the first that fits: http://a fits http://a:81/x too, and http://a/x http://a/x/y."""
    order = ["http://a:81/x/y", "http://a:81/x", "http://a:81", "http://a/x/y", "http://a/x"]
    given = [{"url": url, "login": "l", "password": "p"} for url in [*order[::-1], "http://a"]]
    lines = network(http_proxy="http://a", repository_credentials=given).apt_auth().splitlines()[2:]
    assert [line.split()[1] for line in lines[1:]] == [*order, "http://a"]


def test_hosts_are_written_in_lower_case() -> None:
    """apt compares a credential's host with a source's letter by letter."""
    given = [{"url": "https://APT.Example.com/Private", "login": "l", "password": "p"}]
    one = network(http_proxy="http://PROXY:3128", repository_credentials=given)
    assert "machine https://apt.example.com/Private " in one.apt_auth()
    assert "machine http://proxy:3128 " in one.apt_auth()
    assert '"http://proxy:3128"' in one.apt_direct()
    text = _apt_sources.render_sources("https://APT.Example.com/Private", "x", ["main"], "/k", "")
    assert "\nURIs: https://apt.example.com/Private\n" in text


def test_ipv6_proxy_in_each_readers_form() -> None:
    one = network(http_proxy="http://[fd00::1]:3128")
    assert 'Acquire::http::Proxy "http://[fd00::1]:3128";' in one.apt_conf()
    # Without the brackets apt 2.6 finds it, with them it does not (tried).
    assert "machine http://fd00::1:3128 " in one.apt_auth()


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY"])
def test_what_the_user_names_displaces_ours_in_both_cases(name: str) -> None:
    ours = {"https_proxy": "ours", "HTTPS_PROXY": "ours", "no_proxy": "ours"}
    assert _network.with_given(ours, {name: "own", "X": 1}) == {
        name: "own",
        "no_proxy": "ours",
        "X": 1,
    }


def test_passwords_are_in_no_representation() -> None:
    one = network()
    assert {PASSWORD, "s3cret", "p%40ss%2Fw0rd%3A1"} == one.secrets()
    assert not any(secret in repr(one) for secret in one.secrets())


@pytest.mark.parametrize(
    ("address", "way"),
    [
        ("http://example.com/x", "DIRECT"),
        ("https://a.b.Example.com./", "DIRECT"),
        # Said, and not left to apt.conf: other files of the host set proxies there too.
        ("http://badexample.com/", "http://proxy.example.com:3128"),
        ("https://badexample.com/", "http://secure.example.com:3129"),
        ("http://corp.test:8080/", "DIRECT"),
        ("http://10.20.30.40/", "DIRECT"),
        ("http://11.20.30.40/", "http://proxy.example.com:3128"),
        ("http://[fd00::7]:80/", "DIRECT"),
        ("http://[fe80::7]/", "http://proxy.example.com:3128"),
        ("http://localhost/", "DIRECT"),
        ("http://127.0.0.1/", "DIRECT"),
        ("not an address", "DIRECT"),
    ],
)
def test_apt_is_told_how_to_get_there(tmp_path: Path, address: str, way: str) -> None:
    program = tmp_path / "apt-direct"
    text = network(https_proxy="http://secure.example.com:3129/").apt_direct()
    program.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program), address], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{way}\n"


def test_without_a_proxy_for_https_apt_is_told_so(tmp_path: Path) -> None:
    program = tmp_path / "apt-direct"
    program.write_text(network(https_proxy="").apt_direct(), encoding="utf-8")
    argv = [sys.executable, str(program), "https://elsewhere.test/"]
    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"DIRECT\n"


def test_private_cas_reach_pip_requests_and_uv() -> None:
    found = _network.from_values(NONE, [("/x/a.crt", "PEM\n")]).environment()
    assert found == {
        "PIP_CERT": _system.TRUST_BUNDLE,
        "REQUESTS_CA_BUNDLE": _system.TRUST_BUNDLE,
        "SSL_CERT_FILE": _system.TRUST_BUNDLE,
    }


def test_releases_of_suites() -> None:
    assert _network.bare_suites(["jammy", "jammy-updates", "noble-security"]) == ["jammy", "noble"]
