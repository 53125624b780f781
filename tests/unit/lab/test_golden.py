# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of a golden image: hosts of their own beside the lab's."""

from __future__ import annotations

from lab.golden import BUILDER, Golden
from lab.places import Lab
from lab.platforms import PLATFORMS

GOLDEN = Golden(Lab("x"), PLATFORMS["jammy"], ("a", "b"))


def test_machines_are_hosts_of_their_own() -> None:
    assert list(GOLDEN.machines) == [BUILDER, "a", "b"]
    assert [machine.name for machine in GOLDEN.machines.values()] == [BUILDER, "a", "b"]
    numbers = [one.number for one in (*PLATFORMS.values(), *GOLDEN.machines.values())]
    assert len(set(numbers)) == len(numbers)
    # tests/lab/company.py has 100.
    assert max(numbers) < 100
    # In all else they are what they are made from.
    assert {machine.pythons for machine in GOLDEN.machines.values()} == {PLATFORMS["jammy"].pythons}


def test_each_lab_has_an_image_of_its_own() -> None:
    assert GOLDEN.image != Golden(Lab("y"), PLATFORMS["jammy"], ()).image
