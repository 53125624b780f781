# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user should know of release pipelines that are allowed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _slips
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._pipeline_settings import Wanted

INDEXES = ("pypi", "testpypi", "gitlab")
SYSTEMS_OWN = ("3.10", "3.12")
"""The Pythons of Ubuntu 22.04 and 24.04, which are there without being named."""


def warnings(wanted: Sequence[Wanted], on_hosts: Collection[str]) -> list[str]:
    """All of them.

    Args:
        wanted: the repositories.
        on_hosts: the Pythons of the hosts; empty if the inventory does not tell.
    """
    return [*_pythons(wanted, on_hosts), *_indexes(wanted)]


def _indexes(wanted: Iterable[Wanted]) -> Iterator[str]:
    """Names of indexes that are almost known ones, and have no address."""
    for one in wanted:
        for given in one.packages:
            for name, address in (("index", "upload_url"), ("test_index", "test_upload_url")):
                index = str(given.get(name) or "").partition(":")[0]
                near = "" if index in INDEXES else _slips.slip_of(index, INDEXES)
                if near and not given.get(address):
                    yield (
                        f"{one.variable}: {name} is {index}, which is not known, and {address} is "
                        f"not set; did you mean {near}?"
                    )


def _pythons(wanted: Sequence[Wanted], on_hosts: Collection[str]) -> Iterator[str]:
    """Pythons of pipelines that no host of the inventory has."""
    for one in wanted if on_hosts else ():
        asked = {str(item) for given in one.packages for item in given.get("pythons") or ()}
        missing = sorted(asked - {*on_hosts, *SYSTEMS_OWN})
        if missing and one.platform == "gitlab":
            yield (
                f"{one.variable}: pythons has {', '.join(missing)}, and no host of this inventory "
                f"does (python_versions_wanted: {', '.join(sorted(on_hosts))}): its jobs fail "
                "there; correct it, or add the version to the hosts"
            )
