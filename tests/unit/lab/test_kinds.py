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

    assert KINDS["noble"].pythons == ("3.9", "3.11", "3.13")


def test_image_variable() -> None:
    assert KINDS["jammy"].image_variable == "LAB_IMAGE_JAMMY"
    assert KINDS["noble"].image_variable == "LAB_IMAGE_NOBLE"


@pytest.mark.parametrize("names", ["jammy", "jammy jammy", "jammy,jammy"])
def test_chosen_once_each(names: str) -> None:
    assert [kind.name for kind in chosen_kinds(names)] == ["jammy"]


def test_chosen_in_the_order_asked_for() -> None:
    assert [kind.name for kind in chosen_kinds("noble jammy")] == ["noble", "jammy"]


def test_jammy_alone_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTS", raising=False)
    assert [kind.name for kind in chosen_kinds()] == ["jammy"]


def test_chosen_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTS", "warty")
    with pytest.raises(LabError, match="no such kind of host: warty"):
        chosen_kinds()
