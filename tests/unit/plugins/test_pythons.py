# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of Python and where they come from."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _pythons
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _python_settings

PATTERNS = ["python{version}", "python{version}-venv", "python{version}-dev"]
WHERE = {"url": "https://ppa.example.com", "suite": "jammy", "origin": "LP-PPA-deadsnakes"}


def parse(*texts: str) -> list[_pythons.Version]:
    found = [_pythons.parse(text) for text in texts]
    assert all(found)
    return [version for version in found if version]


@pytest.mark.parametrize(
    "value", [3.1, "3", "2.7", "3.5", "3.11.4", "3.12 ", "v3.12", "3.14-", 311]
)
def test_refused(value: Any) -> None:
    assert len(_pythons.problems("python_versions_wanted", [value])) == 1


def test_a_number_is_explained() -> None:
    assert "loses its last zero" in _pythons.problems("v", [3.10])[0]


def test_twice_is_refused() -> None:
    assert "twice" in _pythons.problems("v", ["3.9", "3.9"])[0]


def test_a_version_that_does_not_exist_yet_needs_no_code() -> None:
    (version,) = parse("3.15")
    assert version.packages(PATTERNS) == ["python3.15", "python3.15-venv", "python3.15-dev"]


def test_free_threaded_build() -> None:
    (version,) = parse("3.14-nogil")
    assert version.packages(PATTERNS)[0] == "python3.14-nogil"
    assert version.executable == "/usr/bin/python3.14-nogil"


def test_the_systems_own_comes_from_the_distribution() -> None:
    split = _pythons.by_origin(parse("3.9", "3.10", "3.14", "3.14-nogil"), "3.10")
    assert [str(v) for v in split.distribution] == ["3.10"]
    assert [str(v) for v in split.repository] == ["3.9", "3.14", "3.14-nogil"]


def test_pin_names_one_version_and_not_its_longer_namesakes() -> None:
    """python3.1* would take in python3.10."""
    patterns = _pythons.pinned(parse("3.9"))
    assert patterns == [
        "python3.9",
        "python3.9-*",
        "libpython3.9",
        "libpython3.9-*",
        "idle-python3.9",
    ]


def answer(**more: Any) -> dict[str, Any]:
    names = [n for v in parse("3.9", "3.12") for n in v.packages(PATTERNS)]
    base = {
        "error": "",
        "offer": {n: ["1"] for n in names},
        "origins": ["LP-PPA-deadsnakes"],
        "names": ["python3.12", "python3.9"],
    }
    return base | more


def test_all_there() -> None:
    assert _pythons.refusals(parse("3.9", "3.12"), "3.10", PATTERNS, answer(), WHERE) == []


@pytest.mark.parametrize(
    ("suite", "release", "warned"),
    [
        ("noble", "jammy", True), ("jammy", "noble", True), ("jammy", "jammy", False),
        # A mirror's own names, and systems of which nothing is known.
        ("stable", "jammy", False), ("jammy", "bookworm", False), ("noble", "", False),
    ],
)  # fmt: skip
def test_a_suite_of_another_release_is_warned_of(suite: str, release: str, warned: bool) -> None:
    found = _python_settings.suite_warnings(suite, release)
    assert len(found) == warned
    assert all(f"{suite}, but the host is {release}" in one for one in found)


def test_missing_version_names_suite_and_offer() -> None:
    (text,) = _pythons.refusals(parse("3.8"), "3.10", PATTERNS, answer(), WHERE)
    assert "3.8 is not available from https://ppa.example.com (suite jammy)" in text
    assert "on offer there: 3.9, 3.12" in text


def test_half_a_version_names_the_missing_half() -> None:
    offer = {"python3.9": ["1"], "python3.9-dev": ["1"]}
    (text,) = _pythons.refusals(parse("3.9"), "3.10", PATTERNS, answer(offer=offer), WHERE)
    assert "python3.9-venv missing" in text


def test_wrong_origin() -> None:
    (text,) = _pythons.refusals(parse("3.9"), "3.10", PATTERNS, answer(origins=["Other"]), WHERE)
    assert text.startswith("python_versions_repository_origin")
    assert "'Other'" in text


def test_free_threaded_build_of_the_systems_own() -> None:
    (text,) = _pythons.refusals(parse("3.14-nogil"), "3.14", PATTERNS, answer(), WHERE)
    assert "system's own" in text


def test_distribution_without_its_own() -> None:
    missing = {"missing_from_distribution": ["python3.10-venv"]}
    (text,) = _pythons.refusals([], "3.10", PATTERNS, answer(**missing), WHERE)
    assert "do not offer python3.10-venv" in text


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("E: … The following signatures were invalid: EXPKEYSIG ABC", "has expired"),
        (
            "E: … couldn't be verified because the public key is not available: NO_PUBKEY",
            "another key",
        ),
        # apt 3.0.4 with sqv (Debian 13), as it said them for keys made like these.
        (
            "W: OpenPGP signature verification failed: … Sub-process /usr/bin/sqv returned an "
            "error code (1), error message is: Signing key on 6A2D is not bound: … because: SHA1 "
            "is not considered secure since 2026-02-01\nE: The repository '…' is not signed.",
            "with SHA-1, which this system's apt (sqv) rejects: use a mirror",
        ),
        (
            "W: … sqv returned an error code (1), error message is: Missing key B93F, which is "
            "needed to verify signature.\nE: The repository '…' is not signed.",
            "another key than the one given",
        ),
        (
            "W: … Verifying signature: Message has been manipulated\n"
            "E: The repository '…' is not signed.",
            "its signature is wrong",
        ),
        ("W: … BADSIG 46DA One\nE: The repository '…' is not signed.", "its signature is wrong"),
        ("E: The repository '…' is not signed.", "not signed by the key given"),
        ("E: The repository '…' does not have a Release file.", "no such suite at this address"),
        ("E: Failed to fetch … 404  Not Found", "no such suite at this address"),
        (
            "W: … Could not handshake: An unexpected TLS packet was received.\n"
            "E: The repository '…' is not signed.",
            "does not speak TLS: http:// in place of https://?",
        ),
        (
            "W: … OpenSSL error: … wrong version number\nE: The repository '…' is not signed.",
            "does not speak TLS",
        ),
        (
            "E: Could not connect to 127.0.0.1:1 - connect (111: Connection refused)",
            "nothing answers",
        ),
        ("apt-get: no answer in 180 s", "in time"),
        ("E: something new", "apt refuses it"),
    ],
)
def test_apts_errors_are_explained(error: str, says: str) -> None:
    (text,) = _pythons.refusals(parse("3.9"), "3.10", PATTERNS, answer(error=error), WHERE)
    assert says in text
    assert error in text


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "E: Release file for http://m/InRelease is not valid yet (invalid for another 2d 0h).",
            "its index is not valid yet: is the host's clock behind?",
        ),
        (
            "E: Release file for http://m/InRelease is expired (invalid since 2d 0h 0min 0s).",
            "its index has expired: the mirror is not renewed any more, or is the host's clock",
        ),
        (
            "Err: Certificate verification failed: The certificate is NOT trusted. The certificate "
            "chain uses expired certificate.",
            "its certificate has expired, or is the host's clock ahead?",
        ),
        (
            "The certificate is NOT trusted. The certificate chain uses not yet valid certificate.",
            "its certificate is not valid yet: is the host's clock behind?",
        ),
        ("The certificate issuer is unknown.", "its certificate is not trusted"),
        ("something else", "apt refuses it. apt says: something else"),
    ],
)
def test_apts_words_get_their_reason(said: str, reason: str) -> None:
    assert _pythons.explain(said).startswith(reason)


def test_a_versions_packages_are_told_from_those_of_a_longer_number() -> None:
    ours = ["idle-python3.1", "libpython3.1-stdlib", "libpython3.1t64", "python3.1-venv"]
    assert _pythons.family("3.1", [*ours, "python3.12", "python3-venv", "xpython3.1"]) == ours
