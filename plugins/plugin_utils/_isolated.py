# SPDX-License-Identifier: GPL-3.0-or-later
"""Validation of ``gitlab_runner_isolated``: what an entry may say, and what two may not share."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import NAME
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import unfit
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _env_file,
    _job_user,
    _runner_validation,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import (
    VARIABLE,
    isolated_account,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._variables import misread

KEYS = (
    "name",
    "runners",
    "user",
    "home",
    "concurrent",
    "settings",
    "environment",
    *_job_user.DEFAULTS,
    "state",
)
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
FOLDER = re.compile(r"/[^\s:\"'$`\\]*\Z")
# Parts of the names of units that the toolkit itself has beside the package's service.
TAKEN = ("helper-images",)


def whole(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with its defaults."""
    user, home = isolated_account(entry)
    return {
        "concurrent": 1,
        "settings": {},
        "environment": {},
        **_job_user.DEFAULTS,
        **entry,
        "user": user,
        "home": home,
    }


def problems(args: Mapping[str, Any]) -> list[str]:
    """What is wrong with the list, but for its runners."""
    entries = args.get("isolated") or []
    if not isinstance(entries, list):
        return [f"{VARIABLE}: {unfit(entries)}; expected a list of mappings"]
    found: list[str] = []
    good: list[dict[str, Any]] = []
    for index, entry in enumerate(entries):
        at = f"{VARIABLE}[{index}]"
        wrong = _form_problems(at, entry)
        found += wrong
        if not isinstance(entry, Mapping) or not _is_name(entry.get("name")):
            continue
        # What an absent one once was makes no difference.
        if entry.get("state", "present") != "absent":
            good.append(whole(entry))
            allowed = args.get("environment_allowed") or []
            found += _entry_problems(f"{at} ({entry['name']})", good[-1], allowed)
    found += _shared(args, good)
    if good and not args["hide_processes"]:
        found.append(
            f"gitlab_runner_hide_processes got false, which {VARIABLE} does not go with: other "
            "jobs would see the isolated ones' processes, and a job token in them"
        )
    if good and args["user_manager"]:
        found.append(
            f"gitlab_runner_user_manager got true, which {VARIABLE} does not go with: by "
            "`systemd-run --user` a job would get out of what hides processes from it"
        )
    return found


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(NAME.match(name)) and name not in TAKEN


def _form_problems(at: str, entry: Any) -> list[str]:
    """What is wrong with an entry's keys, name and state."""
    if not isinstance(entry, Mapping):
        return [f"{at}: {unfit(entry)}; expected a mapping: {', '.join(KEYS)}"]
    found = [
        f"{at}: unknown key {key!r}; {_runner_validation.nearest(str(key), KEYS, {})}"
        for key in entry
        if key not in KEYS
    ]
    name = entry.get("name")
    if not _is_name(name):
        found.append(
            f"{at}.name: invalid value {name!r}; "
            "expected up to 16 lower case letters, digits and -, "
            "a letter first"
        )
        return found
    state = entry.get("state", "present")
    if state not in ("present", "absent"):
        found.append(f"{at} ({name}).state: invalid value {state!r}; expected present or absent")
    return found


def _entry_problems(at: str, one: Mapping[str, Any], allowed: list[str]) -> list[str]:
    """What is wrong with the settings of an entry that is to be there."""
    found = []
    concurrent = one["concurrent"]
    if not isinstance(concurrent, int) or isinstance(concurrent, bool) or concurrent < 1:
        found.append(
            f"{at}.concurrent: invalid value {concurrent!r}; expected a whole number of 1 or more"
        )
    if not USER.match(one["user"]) or one["user"] == "root":
        found.append(
            f"{at}.user: invalid value {one['user']!r}; "
            "expected a Unix user name other than root: lower "
            "case letters, digits, - and _"
        )
    if not FOLDER.match(one["home"]) or ".." in one["home"].split("/"):
        found.append(f"{at}.home: invalid value {one['home']!r}; expected an absolute path")
    found += _env_file.problems(f"{at}.environment", one["environment"], allowed)
    found += _job_user.problems(at, one)
    found += misread(f"{at}.environment", one["environment"])
    found += _runner_validation.settings_problems(f"{at}.settings", one["settings"])
    return found


def _shared(args: Mapping[str, Any], good: list[dict[str, Any]]) -> list[str]:
    """What two of the host's services would have in common."""
    main = {
        "name": "",
        "user": args["user"],
        "home": args["home"],
        "pip_cache_dir": args.get("pip_cache_dir"),
        "settings": args["settings"],
        "runners": args.get("runners"),
    }
    found = []
    found += _overlaps([main, *good])
    ids = Counter(
        runner["gitlab"]["id"]
        for one in (main, *good)
        for runner in _mappings(one["runners"])
        if isinstance(runner.get("gitlab"), Mapping) and "id" in runner["gitlab"]
    )
    found += [
        f"{VARIABLE}: two runners of the host have the gitlab.id {number}; each is one alone"
        for number, count in ids.items()
        if count > 1
    ]
    for key in ("name", "user", "home"):
        counted = Counter(str(one[key]) for one in (main, *good))
        found += [
            f"{VARIABLE}: two services of the host have the {key} {value!r}; each takes its own"
            for value, count in counted.items()
            if count > 1
        ]
    addresses = [
        str(one["settings"].get("listen_address"))
        for one in (main, *good)
        if isinstance(one["settings"], Mapping) and one["settings"].get("listen_address")
    ]
    found += [
        f"{VARIABLE}: two services of the host listen on one address: {first} and {second}"
        for first, second in combinations(addresses, 2)
        if _clash(first, second)
    ]
    return found


def _clash(first: str, second: str) -> bool:
    """Whether two addresses ``HOST:PORT`` cannot be listened on at a time."""
    (host, __, port), (other, __, same) = first.rpartition(":"), second.rpartition(":")
    return port == same and (host == other or bool({host, other} & {"", "0.0.0.0", "[::]"}))


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _overlaps(services: list[dict[str, Any]]) -> list[str]:
    """Folders of one service that lie in another one's, or are another one's."""
    owned = [
        (str(one["name"]), os.path.normpath(str(folder)))
        for one in services
        for runner in (
            {"home": one["home"], "pip_cache_dir": one.get("pip_cache_dir")},
            *_mappings(one["runners"]),
        )
        for key in ("home", "pip_cache_dir", "builds_dir", "cache_dir")
        if (folder := runner.get(key))
    ]
    return sorted(
        f"{VARIABLE}: {inner} ({of or 'gitlab_runner_runners'}) "
        + (f"lies in {outer} (" if inner != outer else "is used twice (also by ")
        + f"{other or 'gitlab_runner_runners'}); each service takes folders of its own"
        for of, inner in owned
        for other, outer in owned
        if of != other and (f"{inner}/".startswith(f"{outer}/")) and (inner != outer or of > other)
    )
