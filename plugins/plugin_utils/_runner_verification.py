# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a service's runners after GitLab was asked about them; no token.

Pure: no host, no GitLab, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _runner_cli,
    _runner_health,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import place
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_info import GitLabInfo
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_file import (
    HostFile,
    seconds,
)

WORDS = {
    "valid": "valid",
    "refused": "REFUSED by GitLab (403): its token is no longer valid",
    "unanswered": _runner_cli.unanswered(""),
}
"""What GitLab answers about a token, in words."""
_DAY = 86400.0


@dataclass(frozen=True)
class Verified:
    """What the runner's own `verify` said.

    Attributes:
        answers: of each runner: valid, refused or unanswered.
        reasons: why GitLab gave no answer, by name.
        version: of the host's gitlab-runner.
        system_id: of the host; asking creates it again if it was lost.
    """

    answers: Mapping[str, str]
    reasons: Mapping[str, str]
    version: str
    system_id: str

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> Verified:
        """The answer of `runner_registration_io`."""
        return cls(
            answer["answers"], answer["reasons"], str(answer["version"]), str(answer["system_id"])
        )

    def with_more(self, answer: Mapping[str, Any]) -> Verified:
        """These answers, and those about further runners."""
        more = Verified.from_answer(answer)
        return replace(
            more,
            answers={**self.answers, **more.answers},
            reasons={**self.reasons, **more.reasons},
        )

    def words(self, name: str) -> str:
        """What GitLab answered about a runner."""
        if self.reasons.get(name):
            return _runner_cli.unanswered(self.reasons[name])
        return WORDS[self.answers.get(name, "unanswered")]


@dataclass
class Report:
    """What `verify` says of a service.

    Attributes:
        lines: a line for each runner.
        problems: each runner that GitLab refuses or is silent about, with its words.
        warnings: what the user should know.
        failures: why the task fails.
    """

    lines: list[str] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def result(self) -> dict[str, Any]:
        """As Ansible takes it."""
        found: dict[str, Any] = {
            "changed": False,
            "runners": self.lines,
            "problems": self.problems,
            "warnings": self.warnings,
            "msg": self.lines,
            "_ansible_verbose_always": True,
        }
        if self.failures:
            found.update(failed=True, msg="; ".join(self.failures))
        return found


def report(
    runners: Sequence[Mapping[str, Any]],
    verified: Verified,
    file: HostFile,
    gitlab: GitLabInfo,
    *,
    warning_days: float,
    unit: str,
) -> Report:
    """What is said of these runners.

    Args:
        runners: of config.toml.
        verified: what the runner's own `verify` said.
        file: the host's file.
        gitlab: what GitLab's API tells.
        warning_days: a token that expires sooner is warned of.
        unit: the service.
    """
    found = Report()
    if runners and verified.system_id != file.system_id:
        found.warnings.append(
            ".runner_system_id was lost or damaged; the runner created a new one: "
            f"{verified.system_id}"
        )
    found.warnings += gitlab.warnings
    asleep = _runner_health.asleep(file.complaints, runners, file.now)
    causes = _runner_health.causes(file.complaints, runners, file.now)
    for runner in runners:
        name = str(runner["name"])
        words, valid = verified.words(name), verified.answers.get(name) == "valid"
        sleeps = _asleep(causes.get(name, ""), valid and name in asleep)
        expires, warning = _expiry(runner, file.now, warning_days)
        found.warnings += [f"{name}: {text}" for text in (*sleeps, *warning)]
        parts = [words, *sleeps, expires, *gitlab.by_runner.get(name, [])]
        found.lines.append(f"{name}: {', '.join(parts)}")
        if not valid:
            found.problems.append({"runner": name, "said": words})
            found.failures.append(f"{name}: {words}")
    if file.exists and not runners:
        found.warnings.append("config.toml has no runner")
    if not file.exists and unit != place().unit:
        found.failures.append(f"{unit} has no config.toml: make provision writes it")
    return found


def _asleep(cause: str, refused: bool) -> list[str]:
    """That the daemon leaves a runner alone, and why."""
    if cause:
        return [f"its daemon leaves it alone: {cause}"]
    if refused:
        return ["its daemon leaves it alone, after three refusals: provision wakes it"]
    return []


def _expiry(runner: Mapping[str, Any], now: float, warning_days: float) -> tuple[str, list[str]]:
    """When a token expires, and a warning if that is soon."""
    ends = seconds(runner.get("token_expires_at"))
    if ends is None:
        return "its token does not expire", []
    days = (ends - now) / _DAY
    said = f"its token expires in {days:.1f} days"
    if days >= warning_days:
        return said, []
    return said, [
        f"{said}; the runner renews it by itself once three quarters of its life are over: can the "
        "host reach GitLab?"
    ]
