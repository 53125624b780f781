"""The data of the kinds, and choosing among them."""

from __future__ import annotations

import pytest

from lab.kinds import KINDS, chosen_kinds
from lab.run import LabError


def test_kinds_are_named_as_they_are_listed() -> None:
    assert all(name == kind.name for name, kind in KINDS.items())


def test_hosts_have_different_addresses() -> None:
    numbers = [kind.number for kind in KINDS.values()]
    assert len(set(numbers)) == len(numbers)


def test_pythons_are_sorted_as_versions() -> None:
    assert KINDS["jammy"].pythons == ("3.9", "3.11")


def test_image_variable() -> None:
    assert KINDS["jammy"].image_variable == "LAB_IMAGE_JAMMY"


@pytest.mark.parametrize("names", ["jammy", "jammy jammy", "jammy,jammy"])
def test_chosen_once_each(names: str) -> None:
    assert [kind.name for kind in chosen_kinds(names)] == ["jammy"]


def test_chosen_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTS", "warty")
    with pytest.raises(LabError, match="no such kind of host: warty"):
        chosen_kinds()
