# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does in GitLab for the runners of one host: find, create, reset, compare, update."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible.errors import AnsibleError

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _gitlab_api
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import unreadable
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import RUNNER_TYPES
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_lists import WantedRunner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data

# A host that polls shows up far more often than that (gitlab-runner: every 3 s; GitLab's long
# polling: 50 s).
ALIVE_SECONDS = 90.0


@dataclass
class GitLabSync:
    """What GitLab holds of the wanted runners that have a ``gitlab``.

    Attributes:
        api: GitLab, None if no runner has a ``gitlab``.
        host: the host's name in the inventory.
        runners: the wanted runners.
        recreate: whether a runner that was deleted in GitLab is created again.
        done: what was done in GitLab, in words.
        warnings: what the user should know.
    """

    api: _gitlab_api.Api | None
    host: str
    runners: Sequence[WantedRunner]
    recreate: bool = False
    done: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _details: dict[int, Data | None] = field(default_factory=dict)
    _scopes: set[str] = field(default_factory=set)

    @property
    def managed(self) -> list[int]:
        """The runners that have a ``gitlab``."""
        return [index for index, one in enumerate(self.runners) if one.gitlab is not None]

    @property
    def created(self) -> set[int]:
        """The runners without a token, which the toolkit creates."""
        return {index for index, one in enumerate(self.runners) if one.created}

    def ids(self) -> dict[int, int]:
        """Runner -> its id, of those without a token that state it."""
        return {
            index: int(self._wanted(index)["id"])
            for index in sorted(self.created)
            if "id" in self._wanted(index)
        }

    def _wanted(self, index: int) -> Data:
        return self.runners[index].gitlab or {}

    def scopes(self) -> set[str]:
        """The token's scopes, asked once."""
        if self.api is not None and not self._scopes:
            self._scopes, warning = self.api.scopes()
            if warning:
                self.warnings.append(warning)
            if self.managed and _gitlab_api.MANAGE not in self._scopes:
                self.warnings.append(
                    "gitlab_runner_api_token has no scope manage_runner: what GitLab holds of the "
                    "runners is not compared, and a rebuilt host cannot have its runner back"
                )
        return self._scopes

    def lacking(self) -> list[str]:
        """Which wanted runners belong to a project or group that GitLab does not have."""
        if self.api is None or not {"api", "read_api", _gitlab_api.MANAGE} & self.scopes():
            return []
        # A token for runners alone may not see what they belong to.
        behind = "" if {"api", "read_api"} & self.scopes() else "/runners"
        asked: dict[str, bool] = {}
        found = []
        for index in sorted(self.created):
            wanted = self._wanted(index)
            for key, kind in (("project_id", "projects"), ("group_id", "groups")):
                if key in wanted:
                    place = f"{kind}/{wanted[key]}"
                    if place not in asked:
                        asked[place] = self.api.has(f"{place}{behind}")
                    if not asked[place]:
                        found.append(
                            f"runner {self.runners[index].name!r}: gitlab.{key}: GitLab has no "
                            f"{kind[:-1]} {wanted[key]} that gitlab_runner_api_token may see"
                        )
        return found

    def _manager(self) -> _gitlab_api.Api | None:
        """GitLab's API, if the token may manage runners."""
        return self.api if _gitlab_api.MANAGE in self.scopes() else None

    def _mark(self, index: int) -> str:
        return _gitlab_api.mark(self.host, self.runners[index].name)

    def details(self, runner: int) -> Data | None:
        """What GitLab says of a runner; None if it is gone. Asked once a run."""
        api = self._manager()
        if api is None:
            return {}
        if runner not in self._details:
            self._details[runner] = api.get(runner)
        return self._details[runner]

    def is_gone(self, index: int, runner: int) -> bool:
        """True if a runner that has a ``gitlab`` was deleted there."""
        return self.runners[index].gitlab is not None and self.details(runner) is None

    def creates(self, index: int) -> bool:
        """Whether GitLab has no runner yet for an entry that the host does not hold."""
        return self._find(index, None) is None

    def intent(self, index: int, runner: int | None) -> str:
        """What `token` would do, in words; asks, and changes nothing."""
        found = self._find(index, runner)
        if found is not None:
            return f"the token of runner {found['id']} would be reset"
        return "a runner would be created in GitLab"

    def token(self, index: int, runner: int | None, system_id: str) -> str:
        """A token for a runner without one: of the one that it had before, where there is one.

        Args:
            index: the wanted runner.
            runner: the id in the host's state file, None if there is none or it is gone.
            system_id: of this host, which may go on using a runner that it has lost.

        Raises:
            gitlab_api.ApiProblem: if GitLab refuses, or another host uses that runner.
        """
        if self.api is None:
            raise ValueError("no access to GitLab")
        found = self._find(index, runner)
        if found is None:
            created, token = self.api.create(self._wanted(index), self._mark(index))
            self.done.append(f"created runner {created} ({self.runners[index].name})")
            return token
        number = int(found["id"])
        others = self._silent_others(number, system_id)
        token = self.api.reset(number)
        self.done.append(f"reset the token of runner {number} ({self.runners[index].name})")
        for other in others:
            self.api.forget_manager(token, other)
            self.done.append(f"removed the dead host {other} from runner {number}")
        return token

    def _find(self, index: int, runner: int | None) -> Data | None:
        wanted = self._wanted(index)
        runner = wanted.get("id", runner)
        if runner is not None and self._manager() is None:
            raise _gitlab_api.ApiProblem(
                f"{self.runners[index].name} is runner {runner}, whose token the host does not "
                "hold; gitlab_runner_api_token needs the scope manage_runner to reset it"
            )
        if runner is not None:
            details = self.details(int(runner))
            if details:
                return details
            if details is None and "id" in wanted:
                raise _gitlab_api.ApiProblem(
                    f"{self.runners[index].at}.gitlab.id: invalid value {runner}; expected the id "
                    "of a runner that GitLab has",
                    404,
                )
        api = self._manager()
        if api is None or wanted.get("runner_type") not in RUNNER_TYPES:
            return None
        return api.find(wanted, self._mark(index))

    def _silent_others(self, runner: int, system_id: str) -> list[str]:
        """Hosts that had the runner before; refuses while one of them still calls GitLab."""
        if self.api is None:
            raise ValueError("no access to GitLab")
        end = time.monotonic() + ALIVE_SECONDS
        first: dict[str, str] = {}
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
        """What differs in GitLab, by wanted runner.

        Args:
            runners: wanted runner -> its id.
        """
        found = {}
        for index, runner in runners.items():
            if self.runners[index].gitlab is None:
                continue
            details = self.details(runner)
            if not details:
                continue
            self._warn_of_place(index, runner, details)
            line = self._mark(index) if self.runners[index].created else ""
            changes = _gitlab_api.differences(self._wanted(index), details, line)
            if changes:
                found[index] = changes
        return found

    def _warn_of_place(self, index: int, runner: int, details: Data) -> None:
        """GitLab moves no runner to another group or kind (GitLab docs, Runners API)."""
        wanted = self._wanted(index)
        moved = []
        if "runner_type" in wanted and details.get("runner_type") not in (
            None,
            wanted["runner_type"],
        ):
            moved.append(f"runner_type {wanted['runner_type']}, GitLab {details['runner_type']}")
        for key, kind in (("group_id", "groups"), ("project_id", "projects")):
            there = [one.get("id") for one in details.get(kind) or ()]
            if key in wanted and there and wanted[key] not in there:
                moved.append(f"{key} {wanted[key]}, GitLab {', '.join(map(str, there))}")
        if moved:
            self.warnings.append(
                f"{self.runners[index].at}.gitlab: the inventory says {' and '.join(moved)} of "
                f"runner {runner}, and GitLab moves no runner: it stays as it is. For another "
                "place give a new entry another name, and this one state: absent"
            )

    def apply(
        self, runners: Mapping[int, int], updates: Mapping[int, Mapping[str, tuple[Any, Any]]]
    ) -> None:
        """Sets in GitLab what differs."""
        for index, changes in updates.items():
            if self.api is None:
                raise ValueError("no access to GitLab")
            number = runners[index]
            self.api.update(number, {key: after for key, (__, after) in changes.items()})
            self._details.pop(number, None)
            self.done.append(f"set {', '.join(changes)} of runner {number}")


@dataclass(frozen=True)
class Access:
    """How GitLab's API is reached from the controller.

    Attributes:
        url: the GitLab.
        token: an access token; empty where no runner needs GitLab's API.
        ca_certificate: the GitLab's CA, a file of the controller; empty for what it trusts.
        proxy: the controller's proxy; empty for what its environment says.
    """

    url: str
    token: str = field(default="", repr=False)
    ca_certificate: str = ""
    proxy: str = field(default="", repr=False)

    def api(self, find_file: Callable[[str], str]) -> _gitlab_api.Api:
        """GitLab's API. `find_file` finds a file of the controller.

        Raises:
            ApiProblem: if the CA's file is not there, or the client is missing.
        """
        try:
            authority = find_file(self.ca_certificate) if self.ca_certificate else ""
        except AnsibleError as error:
            variable = "gitlab_runner_api_ca_certificate"
            raise _gitlab_api.ApiProblem(unreadable(variable, self.ca_certificate, error)) from None
        return _gitlab_api.Api(self.url, self.token, authority, self.proxy)


def access(args: Mapping[str, Any], url: str) -> Access:
    """GitLab's API as a task's arguments name it: ``api_token`` and what goes with it."""
    return Access(
        url,
        str(args.get("api_token") or ""),
        str(args.get("api_ca_certificate") or ""),
        str(args.get("api_proxy") or ""),
    )


def gitlab_sync(
    runners: Sequence[WantedRunner],
    to: Access,
    host: str,
    find_file: Callable[[str], str],
    *,
    recreate: bool = False,
) -> GitLabSync:
    """GitLab for these runners; no client where none of them has a ``gitlab``.

    Args:
        runners: the wanted runners.
        to: GitLab's API.
        host: the host's name in the inventory.
        find_file: finds a file of the controller.
        recreate: whether a runner that was deleted in GitLab is created again.
    """
    managed = any(runner.gitlab is not None for runner in runners)
    return GitLabSync(to.api(find_file) if managed else None, host, runners, recreate)


def _age(moment: Any) -> float:
    """Seconds since one of GitLab's times; endless for none."""
    if not moment:
        return float("inf")
    return time.time() - datetime.fromisoformat(str(moment).replace("Z", "+00:00")).timestamp()
