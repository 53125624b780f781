# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make verify` reads in the words of ``apt-cache policy`` (apt 2.6 and 2.8)."""

from __future__ import annotations

import pytest

# tests/host, as pytest finds it there.
from test_python_versions import origins, pending, version

OURS = "LP-PPA-deadsnakes"
REPOSITORIES = """\
Package files:
 100 /var/lib/dpkg/status
     release a=now
   1 https://ppa.example/ubuntu jammy/main amd64 Packages
     release o=LP-PPA-deadsnakes,a=jammy,n=jammy,l=deadsnakes,c=main,b=amd64
     origin ppa.example
 500 https://archive.example/ubuntu jammy/main amd64 Packages
     release v=22.04,o=Ubuntu,a=jammy,n=jammy,l=Ubuntu,c=main,b=amd64
     origin archive.example
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
