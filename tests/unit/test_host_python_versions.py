# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make verify` reads in the words of ``apt-cache policy`` (apt 2.6 and 2.8)."""

from __future__ import annotations

import pytest

# tests/host, as pytest finds it there.
from test_python_versions import blocks, coming, origins, pending, version

OURS = "LP-PPA-deadsnakes"
REPOSITORIES = """\
Package files:
 100 /var/lib/dpkg/status
     release a=now
   1 https://ppa.example/ubuntu jammy/main amd64 Packages
     release o=LP-PPA-deadsnakes,a=jammy,n=jammy,l=New Python Versions,c=main,b=amd64
     origin ppa.example
 500 https://archive.example/ubuntu jammy/main amd64 Packages
     release v=22.04,o=Ubuntu,a=jammy,n=jammy,l=Ubuntu,c=main,b=amd64
     origin archive.example
1001 https://flat.example  Packages
     release o=Flat
     origin flat.example
 500 https://nameless.example ./ Packages
     release c=
"""
PPA, UBUNTU = (
    f"{number} https://{host}.example/ubuntu jammy/main amd64 Packages"
    for number, host in ((1, "ppa"), (500, "archive"))
)


def block(installed: str, candidate: str, *rows: str) -> str:
    table = "\n".join(rows)
    return f"x:\n  Installed: {installed}\n  Candidate: {candidate}\n  Version table:\n{table}\n"


HERE = (" *** 1.0 500", f"        {UBUNTU}", "        100 /var/lib/dpkg/status")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (block("1.0", "1.0", *HERE), []),
        (block("1.0", "2.0", "     2.0 600", f"        {PPA}", *HERE), ["x"]),
        (block("1.0", "2.0", "     2.0 500", f"        {UBUNTU}", *HERE), ["x"]),
        (block("1.0", "2.0", "     2.0 600 (phased 10%)", f"        {PPA}", *HERE), ["x"]),
        # Kept back by the pin.
        (block("1.0", "1.0", "     2.0 1", f"        {PPA}", *HERE), []),
        # Not installed: not replaced.
        (block("(none)", "2.0", "     2.0 600", f"        {PPA}"), []),
        # Held, or no candidate at all.
        (block("1.0", "(none)", *HERE), []),
    ],
)  # fmt: skip
def test_of_which_packages_apt_prefers_another_version(text: str, found: list[str]) -> None:
    assert pending({"x": text, "*": REPOSITORIES}) == found


def test_the_origins_of_a_version_are_its_own_alone() -> None:
    text = block("1.0", "2.0", "     2.0 600", f"        {PPA}", *HERE)
    assert origins(text, "1.0", REPOSITORIES) == {"Ubuntu"}
    assert origins(text, "2.0", REPOSITORIES) == {OURS}
    # A dot is a dot, and nothing is installed from nowhere.
    assert origins(text, "1x0", REPOSITORIES) == set()
    assert origins(text, version(block("(none)", "2.0"), "Installed"), REPOSITORIES) == set()


def test_origins_of_flat_and_nameless_repositories_and_of_several() -> None:
    rows = (
        "     2.0 1001", "       1001 https://flat.example  Packages",
        "        500 https://nameless.example ./ Packages", f"        {PPA}",
    )  # fmt: skip
    found = blocks(block("1.0", "2.0", *rows, *HERE) + block("1.0", "1.0").replace("x:", "x:i386:"))
    assert set(found) == {"x", "x:i386"}
    assert origins(found["x"], "2.0", REPOSITORIES) == {"Flat", "?", OURS}
    assert origins(found["x"], "1.0", REPOSITORIES) == {"Ubuntu"}


def test_what_an_upgrade_would_bring_is_read_without_its_sources_label() -> None:
    simulated = """\
Inst x [1.0] (2.0 New Python Versions:22.04/jammy [amd64])
Inst new:i386 (3.0 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [i386])
Remv old [1]
Conf x (2.0 New Python Versions:22.04/jammy [amd64])
"""
    assert coming(simulated) == {"x": "2.0", "new:i386": "3.0"}
