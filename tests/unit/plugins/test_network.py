"""One set of proxies, CAs and credentials, in the form that each reader takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import network

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


def ways(**change: Any) -> network.Network:
    return network.from_values({**GOOD, **change}, [])


@pytest.mark.parametrize("values", [GOOD, NONE])
def test_good(values: dict[str, Any]) -> None:
    assert network.problems(values) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"http_proxy": "proxy:3128"}, "network_access_http_proxy got 'proxy:3128'"),
        ({"https_proxy": "socks5://proxy:1080"}, "network_access_https_proxy got 'socks5"),
        ({"http_proxy": f"http://u:{PASSWORD}@proxy:3128"}, "network_access_http_proxy got (hid"),
        ({"http_proxy": 3128}, "network_access_http_proxy got a int"),
        ({"no_proxy": "localhost"}, "network_access_no_proxy is a str"),
        ({"no_proxy": ["*"]}, "network_access_no_proxy got '*'"),
        ({"no_proxy": ["10.0.0.0/33"]}, "network_access_no_proxy got '10.0.0.0/33'"),
        ({"no_proxy": ["10.0.0.256"]}, "network_access_no_proxy got '10.0.0.256'"),
        ({"no_proxy": ["host:8080"]}, "network_access_no_proxy got 'host:8080'"),
        ({"no_proxy": ['a"b']}, "network_access_no_proxy got"),
        ({"proxy_password": ""}, "given together"),
        ({"http_proxy": "", "https_proxy": ""}, "network_access_proxy_login is given, but no"),
        ({"proxy_password": "two words"}, "network_access_proxy_password got (hidden)"),
        ({"proxy_password": 12345678}, "network_access_proxy_password got a int"),
        ({"proxy_password": "$ANSIBLE_VAULT;1.1;AES256\n61"}, "is still encrypted"),
        ({"repository_credentials": {}}, "network_access_repository_credentials is a dict"),
        ({"repository_credentials": ["x"]}, "credentials[0] is a str"),
        ({"repository_credentials": [{"url": "https://x.test"}]}, "credentials[0] has url"),
        (
            {"repository_credentials": [{"url": "x.test", "login": "a", "password": "b"}]},
            "credentials[0].url got 'x.test'",
        ),
        (
            {
                "repository_credentials": [
                    {"url": "https://a:hunter2@x.test", "login": "a", "password": "b"}
                ]
            },
            "credentials[0].url got (hidden)",
        ),
        (
            {
                "repository_credentials": [
                    {"url": "https://x.test", "login": "a", "password": "# b"}
                ]
            },
            "credentials[0].password got (hidden)",
        ),
        ({"repository_credentials": GOOD["repository_credentials"] * 2}, "names one url twice"),
        ({"package_index_url": "ftp://x"}, "network_access_package_index_url got 'ftp://x'"),
        ({"package_index_url": "https://a:hunter2@x.test"}, "package_index_url got (hidden)"),
        ({"distribution_url": "mirror"}, "network_access_distribution_url got 'mirror'"),
        ({"distribution_url": "https://m.test", "distribution_suites": []}, "suites is empty"),
        ({"distribution_suites": ["jammy main"]}, "network_access_distribution_suites got"),
        ({"distribution_components": [""]}, "network_access_distribution_components got"),
        ({"distribution_key": "mirror.asc"}, "given together"),
    ],
)
def test_refused(change: dict[str, Any], says: str) -> None:
    found = network.problems({**GOOD, **change})
    assert any(says in text for text in found), found
    assert not any(s in text for s in (PASSWORD, "hunter2", "12345678", "# b") for text in found)


def test_runner_git_and_pip_find_the_proxies() -> None:
    found = ways().environment()
    with_login = "http://build:p%40ss%2Fw0rd%3A1@proxy.example.com:3128"
    assert found["http_proxy"] == found["HTTP_PROXY"] == with_login
    assert found["https_proxy"] == found["HTTPS_PROXY"] == with_login + "/"
    listed = "localhost,127.0.0.1,::1,example.com,corp.test,10.0.0.0/8,fd00::/8"
    assert found["no_proxy"] == found["NO_PROXY"] == listed
    assert found["PIP_INDEX_URL"] == found["UV_DEFAULT_INDEX"] == GOOD["package_index_url"]
    assert "PIP_CERT" not in found


def test_nothing_named_is_nothing_written() -> None:
    none = network.from_values(NONE, [])
    assert none.environment() == {}
    assert none.apt_conf() + none.apt_auth() + none.apt_direct() == ""
    assert none.secrets() == frozenset()


def test_apt_gets_each_proxy_without_its_password() -> None:
    text = ways(https_proxy="").apt_conf()
    assert 'Acquire::http::Proxy "http://proxy.example.com:3128";' in text
    # Else apt would take the http one for https too.
    assert 'Acquire::https::Proxy "DIRECT";' in text
    assert PASSWORD not in text


def test_apt_gets_the_passwords_with_their_scheme() -> None:
    assert ways().apt_auth().splitlines()[1:] == [
        "machine https://apt.example.com/private login host password s3cret",
        f"machine http://proxy.example.com:3128 login build password {PASSWORD}",
    ]


def test_passwords_are_in_no_representation() -> None:
    one = ways()
    assert {PASSWORD, "s3cret", "p%40ss%2Fw0rd%3A1"} == one.secrets()
    assert not any(secret in repr(one) for secret in one.secrets())


@pytest.mark.parametrize(
    ("address", "direct"),
    [
        ("http://example.com/x", True),
        ("https://a.b.Example.com./", True),
        ("http://badexample.com/", False),
        ("http://corp.test:8080/", True),
        ("http://10.20.30.40/", True),
        ("http://11.20.30.40/", False),
        ("http://[fd00::7]:80/", True),
        ("http://[fe80::7]/", False),
        ("http://localhost/", True),
        ("http://127.0.0.1/", True),
        ("not an address", False),
    ],
)
def test_apt_is_told_what_to_ask_directly(tmp_path: Path, address: str, direct: bool) -> None:
    program = tmp_path / "apt-direct"
    program.write_text(ways().apt_direct(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program), address], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ("DIRECT" if direct else "")


def test_private_cas_reach_pip_requests_and_uv() -> None:
    found = network.from_values(NONE, [("/x/a.crt", "PEM\n")]).environment()
    assert found == {
        "PIP_CERT": network.TRUST_BUNDLE,
        "REQUESTS_CA_BUNDLE": network.TRUST_BUNDLE,
        "SSL_CERT_FILE": network.TRUST_BUNDLE,
    }


def test_releases_of_suites() -> None:
    assert network.bare_suites(["jammy", "jammy-updates", "noble-security"]) == ["jammy", "noble"]
