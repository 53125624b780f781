# SPDX-License-Identifier: GPL-3.0-or-later
"""apt's source files and the duplicates of a repository."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _apt_sources, _system

URL = "https://packages.example.com/runner/ubuntu"
LIST = f"""# vendor
deb [signed-by=/usr/share/keyrings/x.gpg] {URL}/ jammy main
deb-src [signed-by=/usr/share/keyrings/x.gpg] {URL}/ jammy main
deb http://archive.example.com/ubuntu jammy main
"""
SOURCES = f"""Types: deb
URIs: {URL}
Suites: jammy
Components: main
Signed-By: /etc/apt/keyrings/x.asc

Types: deb
URIs: http://archive.example.com/ubuntu
Suites: jammy
Components: main
"""
DUPLICATES = _apt_sources.Duplicates(uris=(URL,))
JAMMY = _apt_sources.Duplicates(releases=("jammy",), note=_apt_sources.NOTE_DISTRIBUTION)


def test_lines_of_the_repository_are_commented_out() -> None:
    text, found = _apt_sources.without_list(LIST, DUPLICATES)
    assert found == 2
    assert f"# deb [signed-by=/usr/share/keyrings/x.gpg] {URL}/ jammy main" in text
    assert "\ndeb http://archive.example.com/ubuntu jammy main" in text
    assert _apt_sources.has_entries(text, deb822=False)
    assert _apt_sources.without_list(text, DUPLICATES) == (text, 0)


def test_a_vendors_own_file_is_empty_afterwards() -> None:
    text, _ = _apt_sources.without_list("".join(LIST.splitlines(True)[:3]), DUPLICATES)
    assert not _apt_sources.has_entries(text, deb822=False)


def test_stanza_of_the_repository_is_disabled() -> None:
    text, found = _apt_sources.without_deb822(
        SOURCES, _apt_sources.Duplicates(uris=("http://packages.example.com/runner/ubuntu/",))
    )
    assert found == 1
    assert text.count("Enabled: no") == 1
    assert _apt_sources.has_entries(text, deb822=True)
    assert _apt_sources.without_deb822(text, DUPLICATES) == (text, 0)


def test_longer_address_is_another_repository() -> None:
    assert _apt_sources.without_list(LIST, _apt_sources.Duplicates((URL + "-beta",)))[1] == 0


def test_sources_carry_their_key() -> None:
    text = _apt_sources.render_sources(URL, "jammy", ["main"], "-----BEGIN-----\n\nabc\n", "About")
    fields = _apt_sources.stanza_fields(text)
    assert fields["uris"] == URL
    assert fields["components"] == "main"
    assert text.endswith("Signed-By:\n -----BEGIN-----\n .\n abc\n")


def test_flat_repository_has_no_components() -> None:
    text = _apt_sources.render_sources(URL, "./", ["main"], "k", "About")
    assert "Components" not in text


def test_distributions_own_entries_are_disabled_and_put_back() -> None:
    listed = """deb http://archive.example.com/ubuntu jammy main universe
deb [arch=amd64] http://archive.example.com/ubuntu jammy-security main
deb http://other.example.com/ubuntu noble main
"""
    text, found = _apt_sources.without_list(listed, JAMMY)
    assert found == 2
    assert "\ndeb http://other.example.com" in text
    assert _apt_sources.with_distribution(text) == listed
    named = (
        "Types: deb\nURIs: http://a.example.com/\nSuites: jammy jammy-updates\nComponents: main\n"
    )
    text, found = _apt_sources.without_deb822(named, JAMMY)
    assert found == 1
    assert not _apt_sources.has_entries(text, deb822=True)
    assert _apt_sources.with_distribution(text) == named


def test_putting_the_distribution_back_leaves_other_duplicates_disabled() -> None:
    text, _ = _apt_sources.without_list(LIST, DUPLICATES)
    assert _apt_sources.with_distribution(text) == text


def test_keyring_of_the_host_is_named_by_its_path() -> None:
    text = _apt_sources.render_sources(URL, ["jammy", "jammy-updates"], ["main"], "/k.gpg", "About")
    fields = _apt_sources.stanza_fields(text)
    assert (fields["suites"], fields["signed-by"]) == ("jammy jammy-updates", "/k.gpg")


def test_other_suites_at_one_address_are_other_repositories() -> None:
    ours = _apt_sources.Duplicates((URL,), ("deadsnakes-jammy",))
    assert _apt_sources.without_list(LIST, ours) == (LIST, 0)
    assert _apt_sources.without_deb822(SOURCES, ours) == (SOURCES, 0)
    more = SOURCES.replace("Suites: jammy\n", "Suites: jammy deadsnakes-jammy\n", 1)
    assert _apt_sources.without_deb822(more, ours)[1] == 1


@pytest.mark.parametrize(
    ("entry", "own"),
    [
        ("http://archive.example.com/ubuntu jammy-backports main universe", True),
        ("http://archive.example.com/debian jammy contrib non-free-firmware # installer", True),
        ("https://docker.example.com/linux/ubuntu jammy stable", False),
        ("https://pgdg.example.com/apt jammy-pgdg main", False),
        ("https://esm.example.com/apps/ubuntu jammy-apps-security main", False),
        ("http://archive.example.com/ubuntu noble main", False),
    ],
)
def test_what_is_the_distributions_own(entry: str, own: bool) -> None:
    assert _apt_sources.without_list(f"deb {entry}\n", JAMMY)[1] == own
    uri, suite, *components = entry.partition(" #")[0].split()
    stanza = f"Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {' '.join(components)}\n"
    assert _apt_sources.without_deb822(stanza, JAMMY)[1] == own


STANZA = "Types: deb\nURIs: http://a.example.com/\nSuites: jammy\nComponents: main\n"


@pytest.mark.parametrize(
    "text",
    [
        f"\n{STANZA}",
        f"\n\n# own\n{STANZA}\n  \n\n{STANZA}",
        f"  \n{STANZA}",
        f"# head\n\n\n{STANZA}Enabled: Yes\n",
        STANZA.replace("Types", "enabled:true\nTypes"),
        STANZA.rstrip("\n"),
        f"{STANZA}\n{STANZA}".replace("\n", "\r\n"),
    ],
)
def test_disabled_once_and_put_back_as_it_was(text: str) -> None:
    disabled, found = _apt_sources.without_deb822(text, JAMMY)
    assert found == text.count("Types:")
    assert _apt_sources.without_deb822(disabled, JAMMY) == (disabled, 0)
    # apt: "Malformed stanza (type)" where an empty line follows what was put in.
    assert "Enabled: no\n\n" not in disabled
    assert _apt_sources.with_distribution(disabled) == text


@pytest.mark.parametrize("word", ["no", "False", "without", "OFF", "disable", "0"])
def test_what_was_disabled_before_is_not_ours_to_enable(word: str) -> None:
    text = f"Enabled: {word}\n{STANZA}"
    assert _apt_sources.without_deb822(text, JAMMY) == (text, 0)
    assert not _apt_sources.has_entries(text, deb822=True)


@pytest.mark.skipif(not shutil.which("apt-get"), reason="skipped: apt-get is not installed")
def test_apt_reads_what_is_left(tmp_path: Path) -> None:
    other = STANZA.replace("a.example", "b.example").replace("jammy", "noble")
    # apt reads on over a line of blanks, and the last of two fields counts.
    joined = f"{STANZA}   \n{other}".replace("noble", "jammy")
    text = f"\n\n{STANZA}Enabled: yes\n\n{other}\n  \n# own\n{STANZA}\n{joined}"
    disabled, found = _apt_sources.without_deb822(text, JAMMY)
    assert found == 3
    (tmp_path / "a.sources").write_text(disabled)
    options = {"sourcelist": "/dev/null", "sourceparts": str(tmp_path)}
    done = subprocess.run(
        ["apt-get", *(f"-oDir::Etc::{name}={value}" for name, value in options.items()),
         "--print-uris", "update"], capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert "E:" not in done.stderr
    assert re.findall(r"'(\S+)InRelease'", done.stdout) == ["http://b.example.com/dists/noble/"]


def test_a_suite_stands_for_those_of_all_releases() -> None:
    assert _apt_sources.of_any_release(["noble"])[0] == "noble"
    assert set(_apt_sources.of_any_release(["noble"])) == set(_apt_sources.RELEASES)
    assert "deadsnakes-jammy" in _apt_sources.of_any_release(["deadsnakes-noble"])
    # No code name in it: other repositories may lie at the same address.
    assert _apt_sources.of_any_release(["stable", "ignoble"]) == ["stable", "ignoble"]


def test_an_old_releases_entry_is_a_duplicate() -> None:
    ours = _apt_sources.duplicates_of("Types: deb\nURIs: http://m.test/x\nSuites: noble\n")
    text = "deb http://m.test/x jammy main\ndeb http://m.test/x stable main\n"
    without, found = _apt_sources.without_list(text, ours)
    assert found == 1
    assert "# deb http://m.test/x jammy main" in without
    assert "\ndeb http://m.test/x stable main" in without


OWN_JAMMY = (
    "Types: deb\nURIs: http://archive.test/ubuntu\nSuites: jammy jammy-updates\nEnabled: yes\n"
    "Components: main\n\nTypes: deb\nURIs: http://esm.test/jammy/x\nSuites: jammy-apps\n"
    "Components: main\n"
)


def test_what_a_mirror_replaced_comes_back_for_the_release_that_the_host_has_by_then() -> None:
    mirror = _apt_sources.Duplicates(releases=("jammy",), note=_apt_sources.NOTE_DISTRIBUTION)
    disabled, found = _apt_sources.without_deb822(OWN_JAMMY, mirror)
    assert found == 1
    assert _apt_sources.with_distribution(disabled, "jammy") == OWN_JAMMY
    assert _apt_sources.with_distribution(disabled) == OWN_JAMMY
    noble = OWN_JAMMY.replace("jammy jammy-updates", "noble noble-updates")
    # What was never disabled is not ours to change.
    assert _apt_sources.with_distribution(disabled, "noble") == noble
    lines = "deb http://archive.test/jammy jammy-security main\ndeb http://x.test/ jammy x\n"
    disabled, found = _apt_sources.without_list(lines, mirror)
    assert found == 1
    assert _apt_sources.with_distribution(disabled, "jammy") == lines
    assert _apt_sources.with_distribution(disabled, "noble") == lines.replace(
        " jammy-s", " noble-s"
    )


@pytest.mark.parametrize("version", ["3.12.13-1+jammy1", "3.9.2-1+deb11u7+noble1", "1+focal2.1"])
def test_a_ppas_version(version: str) -> None:
    assert _apt_sources.is_ppas(version)


@pytest.mark.parametrize(
    "version", ["3.12.3-1ubuntu0.8", "3.10.12-1~22.04.11", "3.13.5-2+deb13u5", "1+dfsg-1", ""]
)
def test_no_ppas_version(version: str) -> None:
    assert not _apt_sources.is_ppas(version)


THIRD = "deb [arch=amd64] https://u:sesame@apt.third.test/x/ jammy main\n"
PPA = "deb https://ppa.launchpadcontent.net/somebody/tool/ubuntu jammy main\n"
MIXED = """deb http://d.test/ubuntu jammy main universe
deb http://d.test/ubuntu jammy-updates main
"""


def knows(monkeypatch: pytest.MonkeyPatch, *lines: str, policy: str = "") -> None:
    """apt's answers: its indexes, and where it has dpkg from."""
    answers = {"indextargets": "\n".join(lines), "policy": policy}
    monkeypatch.setattr(_system, "run", lambda argv: SimpleNamespace(stdout=answers[argv[1]]))


OWN = "/etc/apt/sources.list:1|http://d.test/ubuntu/|jammy|Somebody's mirror"
THEIRS = "/etc/apt/sources.list:3|https://apt.third.test/x/|jammy|Third"
DPKG = "   500 http://d.test/ubuntu jammy/main amd64 Packages"


@pytest.mark.parametrize(
    ("lines", "policy", "stays"),
    [
        ([OWN, THEIRS], DPKG, True),
        # Before the mirror's own lists are read for the first time.
        ([OWN.rpartition("|")[0] + "|", THEIRS], "", True),
        ([THEIRS.replace("Third", "Ubuntu")], "", False),
        # Nobody knows whose it is: as if it were the distribution's.
        ([OWN, THEIRS.replace("Third", "")], DPKG, False),
        ([THEIRS.replace("|jammy|", "|stable|")], "", False),
        ([], "", False),
    ],
)
def test_a_third_partys_entry_is_not_the_distributions(
    lines: list[str], policy: str, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    knows(monkeypatch, *lines, policy=policy)
    duplicates = replace(JAMMY, theirs=_apt_sources.third_parties())
    text, found = _apt_sources.without_list(MIXED + THIRD + PPA, duplicates)
    assert found == (2 if stays else 3)
    assert (f"\n{THIRD}" in text) is stays
    assert f"\n{PPA}" in text
    assert _apt_sources.without_list(text, duplicates) == (text, 0)


def test_a_stanza_is_a_third_partys_if_all_its_addresses_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    knows(monkeypatch, OWN, THEIRS, policy=DPKG)
    duplicates = replace(JAMMY, theirs=_apt_sources.third_parties())
    stanza = "Types: deb\nURIs: {}\nSuites: jammy jammy-updates\nComponents: main\n"
    theirs, both = "https://apt.third.test/x", "https://apt.third.test/x http://d.test/ubuntu"
    assert _apt_sources.without_deb822(stanza.format(theirs), duplicates)[1] == 0
    assert _apt_sources.without_deb822(stanza.format(both), duplicates)[1] == 1
