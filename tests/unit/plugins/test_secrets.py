# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a secret, and that none is shown."""

from __future__ import annotations

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secret_rules, _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _tokens

TOKEN = "glrt-" + "a1B2" * 6


@pytest.mark.parametrize(
    "text",
    [
        f"token = '{TOKEN}'",
        "https://user:hunter2@host/path",
        "glpat-abcdefgh12345678",
        "pypi-AgEIcHlwaS5vcmcabcdefghijkl",
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
        "GR1348941abcdefghijkl",
    ],
)
def test_redacted_by_look(text: str) -> None:
    shown = _secrets.redact_text(text)
    assert _secrets.HIDDEN in shown
    for secret in (TOKEN, "hunter2", "glpat-abc", "pypi-AgE", "GR1348941a"):
        assert secret not in shown


def test_redacted_by_key_and_value() -> None:
    data = {"token": "x", "cache": {"s3": {"SecretKey": "k", "BucketName": "b"}}, "l": ["mine!"]}
    assert _secrets.redact(data, {"mine!"}) == {
        "token": _secrets.HIDDEN,
        "cache": {"s3": {"SecretKey": _secrets.HIDDEN, "BucketName": "b"}},
        "l": [_secrets.HIDDEN],
    }


def test_plain_text_is_left_alone() -> None:
    text = "https://gitlab.example.com:8443/group/project @ 5 o'clock"
    assert _secrets.redact_text(text) == text


@pytest.mark.parametrize("name", ["TOKENIZER", "SECRETARY", "AUTHOR", "PASSWORDLESS", "KEYMAP"])
def test_innocent_names(name: str) -> None:
    assert not _secret_rules.looks_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["TWINE_PASSWORD", "CI_JOB_TOKEN", "token", "API_KEY", "secret-key", "AWS_SECRET_ACCESS_KEY",
     "MYPASSWORD", "AUTH", "MY_PRIVATE_KEY"],
)  # fmt: skip
def test_telling_names(name: str) -> None:
    assert _secret_rules.looks_secret_name(name)


def test_an_entry_of_a_list_is_hidden_by_its_name() -> None:
    entries = ["TWINE_PASSWORD=hunter2", "RELEASE=1", "LANG"]
    assert _secrets.redact({"environment": entries}) == {
        "environment": [f"TWINE_PASSWORD={_secrets.HIDDEN}", "RELEASE=1", "LANG"]
    }


def test_times_of_a_token_are_shown_and_empty_values_too() -> None:
    data = {"token_obtained_at": "2026-01-01T00:00:00Z", "password": "", "limit": 3, "secret": None}
    assert _secrets.redact(data) == data


@pytest.mark.parametrize(
    "value", [TOKEN, "https://u:hunter2@h/", "-----BEGIN RSA PRIVATE KEY-----\nx"]
)
def test_telling_values(value: str) -> None:
    assert _secret_rules.looks_secret_value(value)


@pytest.mark.parametrize("value", ["", "https://gitlab.example.com", "glrt-", "release"])
def test_innocent_values(value: str) -> None:
    assert not _secret_rules.looks_secret_value(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(True, "bool"), (1, "int"), (1.5, "float"), ("a", "str"), ({}, "dict"), ([], "list"),
     (None, "nothing"), ((), "tuple")],
)  # fmt: skip
def test_kinds_in_plain_words(value: object, kind: str) -> None:
    assert _secrets.kind_of(value) == kind


def test_short_values_are_not_looked_for() -> None:
    """They would cut a text to shreds."""
    assert _secrets.redact_text("abc and abcd", {"abc", "abcd"}) == f"abc and {_secrets.HIDDEN}"


def test_digest_is_sha256() -> None:
    """The note on the host holds it: another digest would make every token a new one."""
    assert _secrets.digest("abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "missing; expected a runner"),
        ("", "missing; expected"),
        (12345, "invalid value of type number"),
        (["glrt-" + "b" * 20], "invalid value of type list"),
        ("GR1348941" + "b" * 20, "410 Gone"),
        ("acme-GR1348941" + "b" * 20, "410 Gone"),
        ("acme-glpat-" + "b" * 20, "personal access token"),
        ("acme-glrt-short", "cut short"),
        ("gldt-" + "b" * 20, "25 characters"),
        ("b" * 17, "17 characters"),
        ("glpat-" + "b" * 20, "personal access token"),
        ("glrt-short", "cut short"),
        ("glrt-" + "b" * 20 + "\n", "line break"),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162", "not decrypted"),
        ("bbbbbbbbbbbbbbbb", "16 characters"),
    ],
)
def test_refused_token(value: object, says: str) -> None:
    found = _tokens.problem("gitlab_runner_runners[0].token", value)
    assert found is not None
    assert found.startswith("gitlab_runner_runners[0].token")
    assert says in found
    assert "bbbb" not in found
    assert "12345" not in found


@pytest.mark.parametrize(
    "value",
    [
        TOKEN,
        "glrt-t1_aBcDeFgHiJkLmNoPqRsT.01.1a2b3c4d5",
        # With an instance's own prefix.
        "acme-glrt-t1_aBcDeFgHiJkLmNoPqRsT",
        "acmeglrt-aBcDeFgHiJkLmNoPqRsT",
        "My.Company_1-glrt-aBcDeFgHiJkLmNoPqRsT",
    ],
)
def test_taken_token(value: str) -> None:
    assert _tokens.problem("x", value) is None
    assert not _tokens.is_legacy(value)
    assert _secret_rules.looks_secret_value(value)
    assert "aBcDeF" not in _secrets.redact_text(f"the token {value} is refused")
    assert _tokens.access_problems("x", value)


@pytest.mark.parametrize("value", ["aBcDeFgHiJkLmNoPqRsT", "glrtr-aBcDeFgHiJkLmNoPqRsT"])
def test_token_of_a_legacy_runner_is_left_to_what_the_host_has(value: str) -> None:
    assert _tokens.problem("x", value) is None
    assert _tokens.is_legacy(value)
