# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages of a list are to be installed, marked or removed: from dpkg's records alone."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._dpkg import is_installed
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _package_simulation


@dataclass(frozen=True)
class Known:
    """What dpkg knows of the packages, from this task's call or an earlier one."""

    records: Mapping[str, dict[str, str]]
    automatic: frozenset[str]
    unfinished: list[str]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Known:
        """From what host_info has returned."""
        records = {**facts["packages"], **facts.get("provided", {})}
        return cls(records, frozenset(facts["automatic"]), facts["unfinished"])

    def is_there(self, wanted: str) -> bool:
        """Whether ``name`` or ``name=version-pattern`` is fulfilled."""
        name, __, version = wanted.partition("=")
        record = self.records.get(name)
        if record is None or not is_installed(record):
            return False
        if record.get("provided_by"):
            # A version is one of a package of that name.
            return not version
        return not version or fnmatch.fnmatchcase(record["version"], version)

    def own(self, wanted: str) -> str:
        """The package that is there for a name: its own, or the one that provides it."""
        name = wanted.partition("=")[0]
        return str(self.records.get(name, {}).get("provided_by", name))

    def facts(self) -> dict[str, Any]:
        """The same for a later task: RV(info) of the module packages."""
        return {
            "packages": self.records,
            "automatic": sorted(self.automatic),
            "unfinished": self.unfinished,
        }


@dataclass(frozen=True)
class Plan:
    """What the one transaction has to do.

    Attributes:
        state: ``present`` or ``absent``, as the task wants it.
        missing: packages to install.
        marked: packages to mark as installed by hand.
        along: installed packages that take another version.
        removed: packages to remove.
        unfinished: what an earlier transaction has left.
    """

    known: Known
    state: str
    missing: Sequence[str] = ()
    marked: Sequence[str] = ()
    along: Sequence[str] = ()
    removed: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.missing, *self.marked, *self.along, *self.removed]

    @property
    def asked(self) -> list[str]:
        """What apt is asked to install or remove."""
        return [*self.missing, *self.along, *self.removed]

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.names or self.known.unfinished)

    def transaction(self) -> dict[str, Any]:
        """The arguments of apt_transaction that follow from it."""
        automatic = self.known.automatic
        return {
            "names": self.asked,
            "state": self.state,
            "manual": [self.known.own(name) for name in self.marked],
            # What was named only to go along, so that autoremove tidies up.
            "automatic": [n for one in self.along if (n := one.partition("=")[0]) in automatic],
        }


def present(names: Sequence[str], companions: Sequence[str], known: Known) -> Plan:
    """The plan for packages that should be there."""
    missing = [name for name in names if not known.is_there(name)]
    return Plan(
        known,
        "present",
        missing=missing,
        marked=[n for n in names if n not in missing and known.own(n) in known.automatic],
        along=[name for name in companions if not known.is_there(name)],
    )


def absent(names: Sequence[str], known: Known) -> Plan:
    """The plan for packages that should go."""
    # Not the provider of a name: nobody has asked for that.
    gone = [n for n in names if is_installed(known.records.get(n)) and known.own(n) == n]
    return Plan(known, "absent", removed=gone)


@dataclass(frozen=True)
class Words:
    """A plan for its reader.

    Args:
        plan: what is to be done.
        later: names from a repository that is not there yet.
        simulated: what apt has simulated; empty if nothing.
    """

    plan: Plan
    later: Sequence[str]
    simulated: Mapping[str, Any]

    def _lines(self) -> list[str]:
        notes = {
            **dict.fromkeys(self.later, " (from a repository not yet added)"),
            **dict.fromkeys(
                self.plan.marked, " (there already; autoremove may not take it any more)"
            ),
        }
        return [f"{name}{notes.get(name.partition('=')[0], '')}" for name in self.plan.names]

    def _besides(self) -> list[str]:
        if not (self.plan.missing or self.plan.along):
            return []
        return _package_simulation.further(self.simulated, self.plan.names)

    def diff(self) -> str:
        """For ``--diff``."""
        sign = "+" if self.plan.state == "present" else "-"
        cut = [f"{n} (left unfinished by another transaction)" for n in self.plan.known.unfinished]
        shown = [*(f"{sign} {line}" for line in [*cut, *self._lines()]), *self._besides()]
        return "".join(f"{line}\n" for line in shown)

    def prediction(self) -> str:
        """For check mode."""
        verb = "install" if self.plan.state == "present" else "remove"
        lines = self._lines()
        said = [f"would {verb}: {', '.join(lines)}"] if lines else []
        said += [f"also: {line}" for line in self._besides()]
        if self.plan.known.unfinished:
            said.append(f"would finish what dpkg has left: {', '.join(self.plan.known.unfinished)}")
        return "; ".join(said)
