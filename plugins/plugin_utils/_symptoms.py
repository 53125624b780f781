# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job's log says of a release that did not happen. Pure; no secret of the log is shown.

The words of tools, indexes and GitLab, and what its API shows, with causes and cures, are in
data/symptoms.yml.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets

DATA = Path(__file__).resolve().parents[2] / "data" / "symptoms.yml"
HEALTHY, UNKNOWN = "healthy", "unknown"
_LONGEST = 200
"""Characters of a line that are shown."""
_LAST = 5
"""Lines that are shown of a log that says nothing known."""
# GitLab's times, and marks of its sections (GitLab docs, "Job logs"); terminals' colours.
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z \d\d[OE][+ ]?")
_SECTION = re.compile(r"section_(start|end):\d+:\S*?\r?(?=\x1b|\s|$)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# What release.py says of a variable, which is none of its value.
_TOLD = re.compile(
    r"(\b\w+)(?=: (?:empty;|has white space or a line end|a token of |not an API token|set: it ))"
)
_SUCCEEDED = re.compile(r"^Job succeeded$")
# What follows a failure, and tells nothing of it.
_AFTERWARDS = re.compile(
    r"^(Cleaning up project directory|Uploading artifacts|\$ |ERROR: Job failed|release: failed)"
)


@dataclass(frozen=True)
class Symptom:
    """An entry of the data.

    Attributes:
        words: what a log says; none for what GitLab's API alone shows.
        sign: what GitLab's API shows; empty for what logs alone say.
        tell: how to tell several causes apart; empty for one.
    """

    id: str
    words: tuple[re.Pattern[str], ...]
    sign: str
    source: str
    what: str
    causes: tuple[str, ...]
    tell: str
    cure: str
    general: bool


@dataclass(frozen=True)
class Verdict:
    """What is said of a release.

    Attributes:
        id: a symptom's; or healthy, or unknown.
        evidence: lines of logs with their numbers, and what GitLab's API shows, without secrets.
        general: whether it counts only where nothing else is found.
        certain: whether the causes were found, and are not only possible.
    """

    id: str
    what: str
    evidence: tuple[str, ...]
    causes: tuple[str, ...] = ()
    cure: str = ""
    general: bool = False
    certain: bool = False
    tell: str = ""

    def lines(self) -> list[str]:
        """For people."""
        return [
            self.what,
            *(f"  {one}" for one in self.evidence),
            *(f"  {'' if self.certain else 'possible '}cause: {one}" for one in self.causes),
            *([f"  how to tell: {self.tell}"] if self.tell and not self.certain else []),
            *([f"  what to do: {self.cure}"] if self.cure else []),
        ]


@cache
def symptoms() -> tuple[Symptom, ...]:
    """All of the data, in its order."""
    return tuple(
        Symptom(
            one["id"],
            tuple(re.compile(text) for text in one.get("words", ())),
            one.get("sign", ""),
            one["source"],
            one["what"],
            tuple(one["causes"]),
            one.get("tell", ""),
            one["cure"],
            bool(one.get("general", False)),
        )
        for one in yaml.safe_load(DATA.read_text(encoding="utf-8"))
    )


def verdict(name: str, *evidence: str) -> Verdict:
    """What the data says of a symptom."""
    (one,) = (one for one in symptoms() if one.id == name)
    return Verdict(one.id, one.what, evidence, one.causes, one.cure, one.general, tell=one.tell)


class Log:
    """A job's log as one text, whose places lead back to its lines.

    Tools break their lines at a terminal's width, so that words are searched across line ends.
    """

    def __init__(self, text: str, where: str) -> None:
        self._where = where
        self.lines = [_plain(line) for line in re.split(r"\r\n|\n", text)]
        parts, self._begins, at = [], list[int](), 0
        for line in self.lines:
            words = " ".join(line.split())
            self._begins.append(at)
            parts.append(words)
            at += len(words) + 1
        self.text = " ".join(parts)

    def line_at(self, place: int) -> str:
        """The line of a place in the text, with its number."""
        number = bisect_right(self._begins, place)
        return self.shown(number)

    def shown(self, number: int) -> str:
        """A line by its number, from 1."""
        line = _TOLD.sub(r"\1\0", self.lines[number - 1])
        line = _secrets.redact_text(line).replace("\0", "").strip()
        return f"{self._where}, line {number}: {shortened(line)}"

    @property
    def succeeded(self) -> bool:
        """Whether it is the whole log of a job that has succeeded."""
        said = [line.strip() for line in self.lines if line.strip()]
        return bool(said) and bool(_SUCCEEDED.match(said[-1]))

    def last_words(self) -> Iterator[str]:
        """The last lines before the end was told."""
        numbers = [
            number
            for number, line in enumerate(self.lines, 1)
            if line.strip() and not _AFTERWARDS.match(line.strip())
        ]
        yield from map(self.shown, numbers[-_LAST:])


def shortened(line: str) -> str:
    """A line, or its begin."""
    return f"{line[:_LONGEST]}{'…' if len(line) > _LONGEST else ''}"


def _plain(line: str) -> str:
    """A line without what GitLab and terminals add; of what was written over, the last."""
    bare = _COLOUR.sub("", _SECTION.sub("", _STAMP.sub("", line)))
    return bare.rstrip("\r").rpartition("\r")[2]


def diagnose(text: str, where: str = "log") -> list[Verdict]:
    """What a log says: causes, the first of them first; or that all is well, or nothing known.

    Args:
        text: the log.
        where: whose it is, for the evidence.
    """
    log = Log(text, where)
    if log.succeeded:
        return [Verdict(HEALTHY, "The job has succeeded; its log has no failure.", ())]
    found = [(one, place) for one in symptoms() if (place := _place(one, log.text)) >= 0]
    verdicts = [verdict(one.id, log.line_at(place)) for one, place in found]
    return particular(verdicts) or [
        Verdict(
            UNKNOWN,
            "The log says nothing that is known here.",
            tuple(log.last_words()),
            (),
            "read the log from its end upwards, from the first line that names an error",
        )
    ]


def particular(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that are not general; all of them where there are none."""
    return [one for one in verdicts if not one.general] or list(verdicts)


def _place(one: Symptom, text: str) -> int:
    """Where a text has one of the words; -1 if it has none."""
    places = [found.start() for words in one.words if (found := words.search(text))]
    return min(places, default=-1)


def shown(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The same as plain data, for JSON."""
    return [
        {"id": one.id, "what": one.what, "evidence": list(one.evidence),
         "causes": list(one.causes), "tell": "" if one.certain else one.tell, "cure": one.cure}
        for one in verdicts
    ]  # fmt: skip
