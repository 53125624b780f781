# SPDX-License-Identifier: GPL-3.0-or-later
"""Protected branches and tags: which rule covers a ref, and who may change it.

Messages after GitLab's lib/gitlab/checks/branch_check.rb and tag_check.rb.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from standins.gitlab.records import Project, ProtectedRef
from standins.gitlab.store import Store

NO_ONE, DEVELOPER, MAINTAINER = 0, 30, 40
LEVELS = {NO_ONE: "No one", DEVELOPER: "Developers + Maintainers", MAINTAINER: "Maintainers"}
REWRITTEN = "You are not allowed to force push code to a protected branch on this project."
ZEROS = "0" * 40
_SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Change:
    """A change of a ref by a push: 40 zeros for a commit that is not there."""

    ref: str
    before: str
    after: str

    @property
    def tag(self) -> bool:
        """Whether it is a tag's."""
        return self.ref.startswith("refs/tags/")

    @property
    def name(self) -> str:
        """The name of the branch or tag."""
        return self.ref.split("/", 2)[2]


def covering(store: Store, project: Project, name: str, *, tag: bool) -> list[ProtectedRef]:
    """Return the rules that cover a branch or tag; ``*`` in a rule stands for anything."""
    return [
        rule
        for rule in store.protected_refs.of(project.id)
        if rule.tag == tag and _matches(rule.name, name)
    ]


def _matches(rule: str, name: str) -> bool:
    return bool(re.fullmatch(".*".join(map(re.escape, rule.split("*"))), name))


def is_protected(store: Store, project: Project, name: str, *, tag: bool) -> bool:
    """Whether a branch or tag is protected."""
    return bool(covering(store, project, name, tag=tag))


def may_push(store: Store, project: Project, name: str, level: int, *, tag: bool) -> bool:
    """Whether someone of this access level may create or change a branch or tag."""
    rules = covering(store, project, name, tag=tag)
    return not rules or _allowed(rules, level, lambda rule: rule.push_level)


def may_run(store: Store, project: Project, name: str, level: int, *, tag: bool) -> bool:
    """Whether someone may run pipelines for a ref: who may push or merge to it."""
    rules = covering(store, project, name, tag=tag)
    return (
        not rules
        or _allowed(rules, level, lambda rule: rule.push_level)
        or (not tag and _allowed(rules, level, lambda rule: rule.merge_level))
    )


def _allowed(
    rules: Iterable[ProtectedRef], level: int, asked: Callable[[ProtectedRef], int]
) -> bool:
    return any(asked(rule) != NO_ONE and level >= asked(rule) for rule in rules)


def refusals(
    store: Store, project: Project, changes: Iterable[Change], level: int
) -> Iterator[str]:
    """Say why a push is refused; GitLab says the first."""
    for change in changes:
        check = _tag_refusal if change.tag else _branch_refusal
        if change.ref.startswith(("refs/heads/", "refs/tags/")) and (
            said := check(store, project, change, level)
        ):
            yield said


def _tag_refusal(store: Store, project: Project, change: Change, level: int) -> str:
    name = change.name
    if change.before != ZEROS and level < MAINTAINER:
        return "You are not allowed to change existing tags on this project."
    if change.before == ZEROS and name == project.default_branch:
        return "You cannot use default branch name to create a tag"
    if change.after != ZEROS and _SHA.match(name):
        return "You cannot create a tag with a SHA-1 or SHA-256 tag name."
    if not is_protected(store, project, name, tag=True):
        return ""
    if ZEROS not in (change.before, change.after):
        return "Protected tags cannot be updated."
    if change.after == ZEROS:
        return "You can only delete protected tags using the web interface."
    if not may_push(store, project, name, level, tag=True):
        return "You are not allowed to create this tag as it is protected."
    return ""


def _branch_refusal(store: Store, project: Project, change: Change, level: int) -> str:
    name = change.name
    if change.after == ZEROS and name == project.default_branch:
        return "The default branch of a project cannot be deleted."
    if change.after != ZEROS and re.match(r"[0-9a-f]{40}(-/|/|$)", name):
        return "You cannot create a branch with a 40-character hexadecimal branch name."
    rules = covering(store, project, name, tag=False)
    if not rules:
        return ""
    if change.after == ZEROS:
        if level < MAINTAINER:
            return (
                "You are not allowed to delete protected branches from this project. Only a "
                "project maintainer or owner can delete a protected branch."
            )
        return "You can only delete protected branches using the web interface."
    if may_push(store, project, name, level, tag=False):
        return ""
    if change.before == ZEROS:
        return "You are not allowed to create protected branches on this project."
    return "You are not allowed to push code to protected branches on this project."


def keeps_commits(store: Store, project: Project, change: Change) -> bool:
    """Whether a change of a branch may not lose commits: what only the pushed commits tell."""
    if change.tag or ZEROS in (change.before, change.after):
        return False
    rules = covering(store, project, change.name, tag=False)
    return bool(rules) and not any(rule.allow_force_push for rule in rules)
