# SPDX-License-Identifier: GPL-3.0-or-later
"""The marks, what was measured against them, and the table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """How many times longer one thing may take than another, or how often something may happen."""

    name: str
    limit: float
    aim: float
    slack: float = 0.0
    """Seconds on top of the ratio: what is done once and grows with nothing."""
    counted: bool = False
    """A number, which is measured against nothing."""

    @property
    def allowed(self) -> str:
        """The limit as the table has it."""
        slack = f" + {self.slack:.0f} s" if self.slack else ""
        return f"{self.limit:g}{slack}"


NOOP = Mark("no-op of site.yml : facts-only play", 3.0, 2.8)
RUNNERS = Mark("no-op with 10 runners : with 1", 1.1, 1.1)
PYTHONS = Mark("no-op with 3 Pythons : with 1 (noble)", 1.1, 1.1)
VERIFY = Mark("verify.yml : no-op", 1.2, 1.2)
COLD = Mark("cold provision : bare apt and pip", 1.15, 1.15, slack=5.0)
CLONE = Mark("first run on a clone : cold provision", 0.4, 0.4)
# A distribution's mirror takes one more; the bench's hosts have none.
CALLS = Mark("remote module calls of the no-op", 7, 5, counted=True)
RELEASE = Mark("a release : what its tools take", 1.1, 1.1)
FOUR_PYTHONS = Mark("wheels and tests of 4 Pythons, 2 jobs at once : of 1", 2.5, 2.5)
MARKS = (NOOP, RUNNERS, PYTHONS, VERIFY, COLD, CLONE, CALLS, RELEASE, FOUR_PYTHONS)


@dataclass(frozen=True)
class Figure:
    """What one run of the bench has for one mark."""

    mark: Mark
    value: float
    """What is measured, in seconds or a number; of several runs the median or mean."""
    base: float = 1.0
    """What it is measured against."""

    @property
    def ratio(self) -> float:
        return self.value / self.base

    @property
    def met(self) -> bool:
        return self.value <= self.mark.limit * self.base + self.mark.slack

    @property
    def verdict(self) -> str:
        if not self.met:
            return "MISSED"
        aimed = self.mark.aim * self.base + self.mark.slack
        return "met" if self.value <= aimed else "met, aim missed"


def by_mark(runs: Sequence[Sequence[Figure]]) -> dict[Mark, list[Figure]]:
    """Each mark with its figure of every run, in the order of the runs."""
    found: dict[Mark, list[Figure]] = {}
    for run in runs:
        for figure in run:
            found.setdefault(figure.mark, []).append(figure)
    return found


def verdict(figures: Sequence[Figure]) -> str:
    """One word for all runs of one mark, and in how many of them it was met."""
    met = [figure for figure in figures if figure.met]
    count = f"{len(met)} of {len(figures)}"
    if len(met) < len(figures):
        return f"MISSED, met in {count}"
    aimed = all(figure.verdict == "met" for figure in figures)
    return f"met in {count}" + ("" if aimed else ", aim missed")


def table(runs: Sequence[Sequence[Figure]]) -> str:
    """A line for each mark: limit, aim, each run's ratio or number, median seconds, verdict."""
    marks = by_mark(runs)
    rows = [("mark", "limit", "aim", "ratio of each run", "median seconds", "verdict")]
    for mark, figures in marks.items():
        value = statistics.median(figure.value for figure in figures)
        base = statistics.median(figure.base for figure in figures)
        rows.append(
            (
                mark.name,
                mark.allowed,
                f"{mark.aim:g}",
                "  ".join(f"{figure.ratio:{'g' if mark.counted else '.2f'}}" for figure in figures),
                "" if mark.counted else f"{value:.2f} : {base:.2f}",
                verdict(figures),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
