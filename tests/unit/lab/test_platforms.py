# SPDX-License-Identifier: GPL-3.0-or-later
"""The data of the platforms, and choosing among them."""

from __future__ import annotations

import pytest

from lab.platforms import PLATFORMS, chosen_platforms
from lab.run import LabError


def test_platforms_are_named_as_they_are_listed() -> None:
    assert all(name == platform.name for name, platform in PLATFORMS.items())


def test_hosts_have_different_addresses() -> None:
    numbers = [platform.number for platform in PLATFORMS.values()]
    assert len(set(numbers)) == len(numbers)


def test_pythons_are_sorted_as_versions() -> None:
    assert PLATFORMS["jammy"].pythons == ("3.9", "3.11")

    assert PLATFORMS["noble"].pythons == ("3.9", "3.11", "3.13")


def test_image_variable() -> None:
    assert PLATFORMS["jammy"].image_variable == "LAB_IMAGE_JAMMY"
    assert PLATFORMS["noble"].image_variable == "LAB_IMAGE_NOBLE"


@pytest.mark.parametrize("names", ["jammy", "jammy jammy", "jammy,jammy"])
def test_chosen_once_each(names: str) -> None:
    assert [platform.name for platform in chosen_platforms(names)] == ["jammy"]


def test_chosen_in_the_order_asked_for() -> None:
    assert [platform.name for platform in chosen_platforms("noble jammy")] == ["noble", "jammy"]


def test_jammy_alone_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTS", raising=False)
    assert [platform.name for platform in chosen_platforms()] == ["jammy"]


def test_chosen_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTS", "warty")
    with pytest.raises(LabError, match="no such platform: warty"):
        chosen_platforms()
