# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's lists of runners: what may stand in them, and their entries with defaults."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import unfit
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _env_file,
    _runner_keys,
    _runner_validation,
    _tokens,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data

_PLACEHOLDER = "api:"
_OWN_NAME = "expected another name for each runner"


def is_absent(runner: Mapping[str, Any]) -> bool:
    """True for an entry whose runner is to leave the host."""
    return bool(runner.get("state", "present") == "absent")


@dataclass(frozen=True)
class WantedRunner:
    """A runner that a service is to have.

    Attributes:
        at: what messages call its entry in the inventory.
        table: its table in config.toml with the toolkit's defaults. A runner that the toolkit
            creates has a placeholder for its token, which is never written and never sent.
        gitlab: what GitLab itself is to hold of it; None where the inventory says nothing of it.
        created: whether the toolkit creates it in GitLab: its entry has no token.
    """

    at: str
    table: Data = field(repr=False)
    gitlab: Data | None = None
    created: bool = False

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.table["name"])

    @property
    def url(self) -> str:
        """Its GitLab."""
        return str(self.table["url"])

    @property
    def token(self) -> str:
        """The token that the inventory gives, or the placeholder."""
        return str(self.table.get("token") or "")


def wanted_runners(
    variable: str, url: str, entries: Sequence[Mapping[str, Any]]
) -> list[WantedRunner]:
    """The runners of a list of entries, without those that are to be absent.

    Args:
        variable: the list's name, for messages.
        url: the GitLab of entries that name none.
        entries: the list, validated before.
    """
    return [
        _wanted_runner(f"{variable}[{index}] ({entry['name']})", url, entry)
        for index, entry in enumerate(entries)
        if not is_absent(entry)
    ]


def _wanted_runner(at: str, url: str, entry: Mapping[str, Any]) -> WantedRunner:
    own = {key: value for key, value in entry.items() if key not in ("state", "gitlab")}
    table: Data = {"url": url, "executor": "shell", **own}
    if table["executor"] == "shell":
        table.setdefault("shell", "bash")
    if "gitlab" not in entry:
        return WantedRunner(at, table)
    gitlab: Data = dict(entry["gitlab"])
    created = not entry.get("token")
    if created:
        gitlab.setdefault("description", str(entry["name"]))
        table["token"] = f"{_PLACEHOLDER}{entry['name']}"
    return WantedRunner(at, table, gitlab, created)


def legacy_refusal(at: str) -> str:
    """The message that a legacy token cannot create a runner."""
    return (
        f"{at}.token: its token has no glrt-, and the host has no runner with it: create a runner "
        "in GitLab (Settings > CI/CD > Runners > New runner) and give its token"
    )


def entries_problems(
    url: Any,
    lists: Mapping[str, Any],
    api_token: Any = "",
    allowed: Collection[str] | None = (),
) -> list[str]:
    """What is wrong with the runners of each list; never a token's value.

    A name and a token are a host's, in whichever list they stand.

    Args:
        url: the GitLab of entries that name none.
        lists: each list by the name of its variable.
        api_token: the access token of GitLab's API, if any.
        allowed: names that an environment may hold though they look like a secret's; None if the
            environments have been checked before.
    """
    names: list[str] = []
    given: dict[str, list[str]] = {}
    found = []
    for where, entries in lists.items():
        found += _list_problems(where, url, entries, api_token, names, given)
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if allowed is not None and isinstance(entry, dict) and not is_absent(entry):
                at = f"{where}[{index}] ({entry.get('name')})"
                found += _environment_list_problems(at, entry.get("environment"), allowed)
    where = " and ".join(lists)
    twice = sorted({name for name in names if names.count(name) > 1})
    found += [f"{where}: duplicate name {name!r}; {_OWN_NAME}" for name in twice]
    found += [
        f"{' and '.join(at)}: duplicate token; expected another token for each runner"
        for at in given.values()
        if len(at) > 1
    ]
    return found


def _list_problems(
    where: str,
    url: Any,
    entries: Any,
    api_token: Any,
    names: list[str],
    given: dict[str, list[str]],
) -> list[str]:
    """One list's; adds its names and tokens to those of the others."""
    if not isinstance(entries, list):
        return [f"{where}: {unfit(entries)}; expected a list of runners"]
    found: list[str] = []
    own: list[str] = []
    for index, entry in enumerate(entries):
        at = f"{where}[{index}]"
        if not isinstance(entry, dict):
            found.append(f"{at}: {unfit(entry)}; expected a mapping with name and token")
            continue
        name = entry.get("name")
        if name is None or (isinstance(name, str) and not name.strip()):
            found.append(f"{at}.name: missing; expected the name of the runner")
        elif isinstance(name, str):
            at = f"{where}[{index}] ({name})" if name.isprintable() else at
            own.append(name)
            if entry.get("state", "present") != "absent":
                # One that leaves here may come in another list.
                names.append(name)
        state = entry.get("state", "present")
        if state not in ("present", "absent"):
            found.append(f"{at}.state: invalid value {state!r}; expected present or absent")
        if state == "absent":
            # Its other keys do not matter.
            continue
        config = {k: v for k, v in entry.items() if k not in ("token", "gitlab", "state")}
        found += _runner_validation.runner_problems(at, config)
        if "gitlab" in entry:
            found += _gitlab_entry_problems(at, url, entry, api_token)
        if "gitlab" not in entry or entry.get("token"):
            wrong = _tokens.problem(f"{at}.token", entry.get("token"))
            if wrong:
                found.append(wrong)
            else:
                given.setdefault(entry["token"], []).append(at)
        if "url" in entry:
            found += url_problems(f"{at}.url", entry["url"])
        found += _runner_validation.path_problems(at, entry)
    found += [
        f"{where}: duplicate name {name!r}; {_OWN_NAME}"
        for name in sorted({name for name in own if own.count(name) > 1})
        if names.count(name) < 2
    ]
    return found


def _gitlab_entry_problems(at: str, url: Any, entry: dict[str, Any], api_token: Any) -> list[str]:
    wanted = entry["gitlab"]
    found = _runner_validation.gitlab_problems(f"{at}.gitlab", wanted)
    if not api_token:
        found.append(f"gitlab_runner_api_token: missing; {at}.gitlab needs it")
    if "url" in entry and not _runner_keys.same_url(entry["url"], url):
        # A token of one GitLab must never be sent to another.
        found.append(
            f"{at}.gitlab: not possible with a url other than gitlab_runner_url, whose GitLab "
            "gitlab_runner_api_token belongs to; give the entry a token instead"
        )
    made_here = isinstance(wanted, dict) and not entry.get("token")
    if made_here and not {"runner_type", "id"} & {*wanted}:
        found.append(
            f"{at}.gitlab.runner_type: missing; expected one of "
            f"{', '.join(_runner_keys.RUNNER_TYPES)} where an entry has no token, or the id of an "
            "existing runner"
        )
    return found


# What may follow a GitLab's own address: its API, a page of it, a repository.
_BEHIND_GITLAB = re.compile(
    r"/api(?:/.*)?$|(?:/groups/.*?)?/-/.*$|\.git/?$|/(?:admin/)?runners/?$|[?#].*$"
)


def url_problems(variable: str, url: Any) -> list[str]:
    """What is wrong with a GitLab's address."""
    text = url if isinstance(url, str) else ""
    if "@" in text:
        return [
            f"{variable}: invalid value (hidden); expected the address of GitLab such as "
            "https://gitlab.example.com, without a user or password"
        ]
    more = _BEHIND_GITLAB.search(text)
    if more is None and re.fullmatch(r"https?://[^\s/@$?#]+(?:/[^\s$?#]*)?", text):
        return []
    wanted = []
    if re.fullmatch(r"[\w-]+(?:\.[\w-]+)+(?::\d+)?(?:[/?#]\S*)?", text):
        wanted.append("https:// in front")
    if more:
        # In front of /-/ stands the path of a project or group.
        tail = re.sub(r"^(?:https?://)?[^/]*", "", text) if "/-/" in more[0] else more[0]
        wanted.append(f"the address of GitLab itself, without {tail!r}")
    if not wanted:
        wanted.append("the address of GitLab such as https://gitlab.example.com")
    got = repr(url) if isinstance(url, str) else f"of type {unfit(url).rpartition(' ')[2]}"
    return [f"{variable}: invalid value {got}; expected {' and '.join(wanted)}"]


def _environment_list_problems(at: str, value: Any, allowed: Collection[str]) -> list[str]:
    if not isinstance(value, list):
        return []
    found = []
    for index, item in enumerate(value):
        if not isinstance(item, str):
            # Told by its type.
            continue
        name, mark, text = item.partition("=")
        slip = re.match(r"([A-Za-z_][A-Za-z0-9_]*)\s*:", name)
        if not mark or slip or not re.fullmatch(r"(?:export )?\w+", name):
            # The whole of it may be a secret.
            wrong = "with a colon" if slip else "without =" if not mark else "with no name before ="
            found.append(
                f"{at}.environment[{index}]: invalid value (hidden) {wrong}; "
                f"expected NAME=value{f', with = after {slip[1]}' if slip else ''}"
            )
        elif name == "PATH":
            found.append(
                f"{at}.environment: PATH does not belong here; the runner would not expand $PATH: "
                "list the directories in gitlab_runner_path"
            )
        else:
            found += _env_file.entry_problems(f"{at}.environment", name, text, allowed)
    return found
