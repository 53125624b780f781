# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of gitlab_project's entry point revoke, checked. Pure: no GitLab, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

ROLE = "gitlab_project_revoke"
DAYS = 30
"""How far jobs are looked back at if nothing is said."""
_KEY = re.compile(r"[A-Za-z0-9_]{1,255}")


@dataclass(frozen=True)
class Wanted:
    """What a run was told.

    Attributes:
        keys: names of the variables to take out; none to keep them all.
        tags: all of those that a runner needs for the jobs that publish.
        since: jobs that began before it are not reported.
    """

    keys: tuple[str, ...]
    tags: tuple[str, ...]
    since: datetime


def wanted_of(args: Mapping[str, Any], now: datetime) -> tuple[Wanted, list[str]]:
    """The settings, and what is wrong with them.

    Args:
        args: the action's.
        now: in UTC.
    """
    keys = tuple(str(one) for one in args["variables"])
    tags = tuple(str(one) for one in args["runner_tags"])
    problems = [*_key_problems(keys), *_tag_problems(tags)]
    since, wrong = _since(str(args["since"]), now)
    return Wanted(keys, tags, since), [*problems, *wrong]


def _key_problems(keys: Sequence[str]) -> Iterator[str]:
    for n, key in enumerate(keys):
        if not _KEY.fullmatch(key):
            yield f"{ROLE}_variables[{n}]: invalid value {key!r}; expected letters, digits and _"


def _tag_problems(tags: Sequence[str]) -> Iterator[str]:
    if not tags:
        yield (
            f"{ROLE}_runner_tags: empty; expected the tags of the jobs that publish, as all "
            "protected runners would be paused otherwise"
        )
    for n, tag in enumerate(tags):
        if not tag.strip() or "," in tag:
            yield f"{ROLE}_runner_tags[{n}]: invalid value {tag!r}; expected a tag such as publish"


def _since(text: str, now: datetime) -> tuple[datetime, list[str]]:
    if not text:
        return now - timedelta(days=DAYS), []
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            raise ValueError
        found = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
    except ValueError:
        return now, [f"{ROLE}_since: invalid value {text!r}; expected a day such as 2026-11-01"]
    if found > now:
        return now, [f"{ROLE}_since: {text} is in the future; expected a day in the past"]
    return found, []
