# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release upgrade makes of apt's source files and of the host's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.inventory import inventory
from lab.os_upgrade import MOVED, OTHERS, OWN, PARTS, SOURCES, Releases, next_platform, renamed
from lab.os_upgrade import upgraded_sources as upgraded
from lab.packages import find_runner
from lab.places import Lab
from lab.platforms import PLATFORMS
from lab.run import LabError
from lab.world import note_release, release_of
from tests.unit.lab.test_cli import NETWORK

MAIN, SECURITY = "http://mirror.test/debian", "http://mirror.test/debian-security"
RELEASES = Releases("bookworm", "trixie", (f"{MAIN}/", SECURITY))
KEY = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n"


def test_the_distributions_lines_become_deb822_of_the_new_release() -> None:
    text = (
        f"deb {MAIN} bookworm main\ndeb {MAIN} bookworm-updates main\n"
        f"deb {SECURITY} bookworm-security main\n# deb-src {MAIN} bookworm main\n"
    )
    after = upgraded({SOURCES: text}, RELEASES)
    assert after.keys() == {SOURCES, OWN}
    assert after[SOURCES] == MOVED
    own = after[OWN] or ""
    assert "bookworm" not in own
    assert own.count("Types: deb\n") == 3
    assert f"URIs: {SECURITY}\nSuites: trixie-security\nComponents: main\n" in own
    assert "Enabled" not in own


def test_what_is_of_no_known_mirror_is_disabled_and_keeps_its_suite() -> None:
    ours = (
        f"# About it.\nTypes: deb\nURIs: http://ppa.test/x\nSuites: jammy\nComponents: main\n{KEY}"
    )
    line = f"deb http://ppa.test/x jammy main\ndeb {MAIN} bookworm main\n"
    after = upgraded({f"{PARTS}/a.sources": ours, SOURCES: line}, RELEASES)
    assert after[f"{PARTS}/a.sources"] == ours + "Enabled: no\n"
    other = "Types: deb\nURIs: http://ppa.test/x\nSuites: jammy\nComponents: main\nEnabled: no\n"
    assert after[OTHERS] == other


def test_a_suite_of_neither_release_is_disabled_at_a_known_mirror_too() -> None:
    text = f"Types: deb\nURIs: {MAIN}\nSuites: sid\nComponents: main\n"
    assert upgraded({OWN: text}, RELEASES)[OWN] == text + "Enabled: no\n"


def test_a_list_becomes_sources_and_what_cannot_be_parsed_a_disabled_list() -> None:
    plain, signed = f"{PARTS}/plain.list", f"{PARTS}/signed.list"
    after = upgraded(
        {
            plain: "deb [arch=amd64] http://ppa.test/x jammy main # mine\n",
            signed: "deb [signed-by=/k.gpg] http://ppa.test/y jammy main\n# deb x\n",
        },
        RELEASES,
    )
    assert after[plain] is None
    assert after[signed] is None
    text = after[f"{PARTS}/plain.sources"] or ""
    # The options are not carried over.
    assert "amd64" not in text
    assert text.endswith("Suites: jammy\nComponents: main\nEnabled: no\n")
    left = after[f"{signed}.disabled"] or ""
    assert "# deb [signed-by=/k.gpg] http://ppa.test/y jammy main\n" in left
    assert all(line.startswith("#") for line in left.splitlines())
    assert f"{PARTS}/signed.sources" not in after


def test_disabled_stays_disabled() -> None:
    text = "Enabled: no\nTypes: deb\nURIs: http://ppa.test/x\nSuites: jammy\nComponents: main\n"
    assert upgraded({f"{PARTS}/a.sources": text}, RELEASES)[f"{PARTS}/a.sources"] == text


def test_the_name_is_the_new_releases() -> None:
    jammy, noble = PLATFORMS["jammy"], PLATFORMS["noble"]
    text = (
        f'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nVERSION_ID="22.04"\nVERSION="{jammy.ubuntu_name}"\n'
        "VERSION_CODENAME=jammy\nID=ubuntu\n"
    )
    assert renamed(text, jammy, noble) == (
        f'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nVERSION_ID="24.04"\nVERSION="{noble.ubuntu_name}"\n'
        "VERSION_CODENAME=noble\nID=ubuntu\n"
    )


def test_the_last_release_has_none_after_it() -> None:
    assert next_platform(PLATFORMS["jammy"]).name == "noble"
    with pytest.raises(LabError, match="no release after noble"):
        next_platform(PLATFORMS["noble"])


def test_a_host_has_the_pythons_of_its_release_until_it_is_made_anew(tmp_path: Path) -> None:
    lab, jammy = Lab("one", tmp_path), PLATFORMS["jammy"]
    lab.make_state()
    assert release_of(lab, jammy) is jammy
    note_release(lab, jammy, PLATFORMS["noble"])
    now = {"jammy": release_of(lab, jammy)}
    data = inventory(lab, NETWORK, [jammy], find_runner(), {}, {"jammy": []}, {}, now, {})
    assert data["all"]["vars"]["lab_pythons"] == {"jammy": ["3.9", "3.11", "3.13"]}
    note_release(lab, jammy, jammy)
    assert release_of(lab, jammy) is jammy
