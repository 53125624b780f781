# SPDX-License-Identifier: Apache-2.0
"""What a run does in GitLab for the runners of one host: find, create, reset, compare, update."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _gitlab_api
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import RUNNER_TYPES

# A host that polls shows up far more often than that (gitlab-runner: every 3 s; GitLab's long
# polling: 50 s).
ALIVE_SECONDS = 90.0
_MINE = "api:"


def stand_in(name: str) -> str:
    """Takes the token's place in an entry that has none: never written, never sent."""
    return _MINE + name


@dataclass
class GitLabSide:
    """The entries of one host that have a ``gitlab``.

    Attributes:
        api: GitLab, None if no entry has a ``gitlab``.
        host: the host's name in the inventory.
        wanted: entry -> its ``gitlab``.
        made_here: entries without a token, whose runners the toolkit creates.
        done: what was done in GitLab, in words.
        warnings: what the user should know.
    """

    api: _gitlab_api.Api | None
    host: str
    recreate: bool = False
    wanted: dict[int, dict[str, Any]] = field(default_factory=dict)
    made_here: set[int] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _names: dict[int, str] = field(default_factory=dict)
    _details: dict[int, dict[str, Any] | None] = field(default_factory=dict)
    _scopes: set[str] = field(default_factory=set)

    def take(self, runners: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The entries as config.toml has them: without ``gitlab``, each with a token."""
        entries = []
        for index, runner in enumerate(runners):
            entry = {key: value for key, value in runner.items() if key != "gitlab"}
            if "gitlab" in runner:
                self.wanted[index] = dict(runner["gitlab"])
                self._names[index] = str(entry["name"])
                if not entry.get("token"):
                    self.made_here.add(index)
                    self.wanted[index].setdefault("description", str(entry["name"]))
                    entry["token"] = stand_in(str(entry["name"]))
            entries.append(entry)
        return entries

    def ids(self) -> dict[int, int]:
        """Entry -> its runner's id, of those without a token that state it."""
        return {
            index: int(self.wanted[index]["id"])
            for index in sorted(self.made_here)
            if "id" in self.wanted[index]
        }

    def allowed(self) -> set[str]:
        """The token's scopes, asked once."""
        if self.api is not None and not self._scopes:
            self._scopes, warning = self.api.scopes()
            if warning:
                self.warnings.append(warning)
            if self.wanted and _gitlab_api.MANAGE not in self._scopes:
                self.warnings.append(
                    "gitlab_runner_api_token has no scope manage_runner: what GitLab holds of the "
                    "runners is not compared, and a rebuilt host cannot have its runner back"
                )
        return self._scopes

    def _may(self) -> _gitlab_api.Api | None:
        return self.api if _gitlab_api.MANAGE in self.allowed() else None

    def _mark(self, index: int) -> str:
        return _gitlab_api.mark(self.host, self._names[index])

    def details(self, runner: int) -> dict[str, Any] | None:
        """GitLab's word about a runner; None if it is gone. Asked once a run."""
        api = self._may()
        if api is None:
            return {}
        if runner not in self._details:
            self._details[runner] = api.get(runner)
        return self._details[runner]

    def is_gone(self, index: int, runner: int) -> bool:
        """True if the runner of an entry that has a ``gitlab`` was deleted there."""
        return index in self.wanted and self.details(runner) is None

    def intent(self, index: int, runner: int | None) -> str:
        """What `token` would do, in words; asks, and changes nothing."""
        found = self._find(index, runner)
        if found is not None:
            return f"the token of runner {found['id']} would be reset"
        return "a runner would be created in GitLab"

    def token(self, index: int, runner: int | None, system_id: str) -> str:
        """A token for an entry that has none: of its own runner where there is one.

        Args:
            index: the entry.
            runner: the id that is noted on the host, None if there is none or it is gone.
            system_id: of this host, which may go on using a runner that it has lost.

        Raises:
            gitlab_api.ApiProblem: if GitLab refuses, or another host uses that runner.
        """
        assert self.api is not None
        found = self._find(index, runner)
        if found is None:
            created, token = self.api.create(self.wanted[index], self._mark(index))
            self.done.append(f"created runner {created} ({self._names[index]})")
            return token
        number = int(found["id"])
        others = self._silent_others(number, system_id)
        token = self.api.reset(number)
        self.done.append(f"reset the token of runner {number} ({self._names[index]})")
        for other in others:
            self.api.forget_manager(token, other)
            self.done.append(f"removed the dead host {other} from runner {number}")
        return token

    def _find(self, index: int, runner: int | None) -> dict[str, Any] | None:
        wanted = self.wanted[index]
        runner = wanted.get("id", runner)
        if runner is not None and self._may() is None:
            raise _gitlab_api.ApiProblem(
                f"{self._names[index]} is runner {runner}, whose token the host does not hold; "
                "gitlab_runner_api_token needs the scope manage_runner to reset it"
            )
        if runner is not None:
            details = self.details(int(runner))
            if details:
                return details
            if details is None and "id" in wanted:
                raise _gitlab_api.ApiProblem(
                    f"gitlab.id got {runner}, which GitLab does not have", 404
                )
        api = self._may()
        if api is None or wanted.get("runner_type") not in RUNNER_TYPES:
            return None
        return api.find(wanted, self._mark(index))

    def _silent_others(self, runner: int, system_id: str) -> list[str]:
        """Hosts that had the runner before; refuses while one of them still calls GitLab."""
        assert self.api is not None
        end = time.monotonic() + ALIVE_SECONDS
        first: dict[str, Any] = {}
        while True:
            others = [m for m in self.api.managers(runner) if str(m["system_id"]) != system_id]
            recent = [m for m in others if _age(m.get("contacted_at")) < ALIVE_SECONDS]
            for manager in recent:
                name = str(manager["system_id"])
                if manager["contacted_at"] != first.setdefault(name, manager["contacted_at"]):
                    raise _gitlab_api.ApiProblem(
                        f"runner {runner} is in use by another host (system id {name}), which "
                        "would lose it: is there a second host of this name, or does the old one "
                        "still run?"
                    )
            if not recent or time.monotonic() > end:
                return [str(m["system_id"]) for m in others]
            time.sleep(2)

    def updates(self, runners: Mapping[int, int]) -> dict[int, dict[str, tuple[Any, Any]]]:
        """What differs in GitLab, by entry.

        Args:
            runners: entry -> its runner's id.
        """
        found = {}
        for index, runner in runners.items():
            if index not in self.wanted:
                continue
            details = self.details(runner)
            if not details:
                continue
            line = self._mark(index) if index in self.made_here else ""
            changes = _gitlab_api.differences(self.wanted[index], details, line)
            if changes:
                found[index] = changes
        return found

    def apply(
        self, runners: Mapping[int, int], updates: Mapping[int, Mapping[str, tuple[Any, Any]]]
    ) -> None:
        """Sets in GitLab what differs."""
        for index, changes in updates.items():
            assert self.api is not None
            number = runners[index]
            self.api.update(number, {key: after for key, (_, after) in changes.items()})
            self._details.pop(number, None)
            self.done.append(f"set {', '.join(changes)} of runner {number}")


def side_of(
    args: Mapping[str, Any], url: str, host: str, find_file: Callable[[str], str]
) -> GitLabSide:
    """GitLab as a task's arguments name it.

    Args:
        args: ``runners``, and ``api_token``, ``api_ca_certificate``, ``api_proxy``, ``recreate``.
        url: the GitLab.
        host: the host's name in the inventory.
        find_file: finds a file of the controller.
    """
    api = None
    if any("gitlab" in runner for runner in args["runners"]):
        authority = str(args.get("api_ca_certificate") or "")
        api = _gitlab_api.Api(
            url,
            str(args["api_token"]),
            find_file(authority) if authority else "",
            str(args.get("api_proxy") or ""),
        )
    return GitLabSide(api, host, bool(args.get("recreate")))


def _age(moment: Any) -> float:
    """Seconds since one of GitLab's times; endless for none."""
    if not moment:
        return float("inf")
    return time.time() - datetime.fromisoformat(str(moment).replace("Z", "+00:00")).timestamp()
