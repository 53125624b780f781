# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run over a service's config.toml says; no token."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_cli
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_config_plan import (
    ConfigPlan,
)

_NOT_VALID = {"refused": "GitLab refuses its token", "unanswered": "GitLab gave no answer"}


@dataclass
class Outcome:
    """What a run did, or in check mode would do.

    Attributes:
        changed: whether anything changed.
        changed_keys: what changed, by name.
        foreign: the file's runners that the inventory does not name.
        leaving: those that are to leave.
        verified: what GitLab said of runners that were new, by name.
        gitlab: what was done in GitLab.
        warnings: what the user should know.
        message: the change in a line.
        diff: for ``--diff``.
    """

    changed: bool
    changed_keys: list[str]
    foreign: list[str]
    leaving: list[str]
    gitlab: list[str]
    warnings: list[str]
    verified: dict[str, str] = field(default_factory=dict)
    message: str = ""
    diff: dict[str, str] | None = None

    def result(self) -> dict[str, Any]:
        """As Ansible takes it."""
        found: dict[str, Any] = {
            "changed": self.changed,
            "changed_keys": self.changed_keys,
            "foreign": self.foreign,
            "leaving": self.leaving,
            "verified": self.verified,
            "gitlab": self.gitlab,
            "warnings": self.warnings,
        }
        if self.message:
            found["msg"] = self.message
        if self.diff is not None:
            found["diff"] = self.diff
        return found

    def with_written(self, before: Outcome | None) -> Outcome:
        """With what an earlier try has written: it was, though the file was written over since."""
        if before is None:
            return self
        return replace(
            self,
            changed=before.changed,
            changed_keys=before.changed_keys,
            verified=before.verified,
            diff=before.diff,
        )


def outcome_of(plan: ConfigPlan, warnings: list[str], gitlab: list[str], *, check: bool) -> Outcome:
    """What a run says that ends with this plan.

    Args:
        plan: what is written and set.
        warnings: what the user should know.
        gitlab: what was done in GitLab.
        check: whether nothing is changed.
    """
    outcome = Outcome(
        changed=plan.changed,
        changed_keys=plan.changed_keys,
        foreign=plan.foreign,
        leaving=plan.leaving,
        gitlab=gitlab,
        warnings=warnings,
    )
    if plan.changed:
        verb = "would change" if check else "changed"
        if plan.changed_keys:
            outcome.message = f"{verb}: {', '.join(plan.changed_keys)}"
        elif plan.writes_state:
            outcome.message = f"{verb}: the state file beside config.toml, not config.toml itself"
        outcome.diff = plan.diff
    return outcome


def awoken(name: str, answer: str, reason: str) -> str:
    """What came of a runner that the daemon leaves alone."""
    ends = {
        "valid": "it is valid now, and asks for jobs again",
        "refused": "it is still refused (403): give its new token",
    }
    return (
        f"{name}: GitLab refused its token three times, and the daemon has left it alone since; "
        f"{ends.get(answer) or _runner_cli.unanswered(reason)}"
    )


def require_valid(verified: dict[str, str]) -> None:
    """Fails if GitLab does not take a runner that was written."""
    wrong = {name: answer for name, answer in verified.items() if answer != "valid"}
    if wrong:
        raise AnsibleActionFail(
            "config.toml is written, but "
            + "; ".join(f"{name}: {_NOT_VALID[answer]}" for name, answer in sorted(wrong.items()))
        )
