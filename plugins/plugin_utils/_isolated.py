# SPDX-License-Identifier: Apache-2.0
"""Isolated runners: what an entry of ``gitlab_runner_isolated`` may say and what it needs."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import (
    NAME,
    SERVICE,
    place,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import unfit
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _env_file,
    _job_user,
    _runner_validation,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._variables import misread

VARIABLE = "gitlab_runner_isolated"
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
HERE = "/etc/systemd/system/gitlab-runner-*.service.d/zz-runnerhost.conf"
"""Where the host tells which isolated runners the toolkit has made there."""
UMASK = "0077"
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
FOLDER = re.compile(r"/[^\s:\"'$`\\]*\Z")
# Parts of the names of units that the toolkit itself has beside the package's service.
TAKEN = ("helper-images",)


def names_of(paths: list[str]) -> list[str]:
    """The isolated runners whose drop-ins these are."""
    found = (re.search(rf"/{SERVICE}-([^/]+)\.service\.d/", path) for path in paths)
    return [match[1] for match in found if match]


def whole(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with its defaults."""
    user = str(entry.get("user") or f"{SERVICE}-{entry['name']}")
    return {
        "concurrent": 1,
        "settings": {},
        "environment": {},
        **_job_user.DEFAULTS,
        **entry,
        "user": user,
        "home": str(entry.get("home") or f"/home/{user}"),
    }


def protected(runners: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries' runners; one that GitLab is to create takes jobs of protected refs alone.

    A variable that an unprotected branch could read is no secret (GitLab docs, "Protected
    branches", and "Prevent runners from revealing sensitive information").
    """
    found = []
    for runner in runners:
        wanted = runner.get("gitlab")
        # One that is there already may be other hosts' as well.
        if isinstance(wanted, Mapping) and not runner.get("token") and "id" not in wanted:
            runner = {**runner, "gitlab": {"access_level": "ref_protected", **wanted}}
        found.append(runner)
    return found


def places(home: str, pip_cache: str, runners: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Where a service's jobs write: ``builds`` and ``cache``, the folders of each."""

    def folders(key: str, *first: str) -> list[str]:
        given = (str(runner[key]) for runner in runners if runner.get(key))
        return list(dict.fromkeys([*first, *given]))

    return {
        "builds": folders("builds_dir", f"{home}/builds"),
        "cache": folders("cache_dir", f"{home}/cache", pip_cache),
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
        if not isinstance(entry, Mapping):
            found.append(f"{at}: {unfit(entry)}; expected a mapping: {', '.join(KEYS)}")
            continue
        found += [
            f"{at}: unknown key {key!r}; {_runner_validation.nearest(str(key), KEYS, {})}"
            for key in entry
            if key not in KEYS
        ]
        name = entry.get("name")
        if not isinstance(name, str) or not NAME.match(name) or name in TAKEN:
            found.append(
                f"{at}.name got {name!r}, it takes up to 16 lower case letters, digits and -, "
                "a letter first"
            )
            continue
        at = f"{at} ({name})"
        state = entry.get("state", "present")
        if state not in ("present", "absent"):
            found.append(f"{at}.state got {state!r}, it takes present or absent")
        if state == "absent":
            # What it once was makes no difference.
            continue
        one = whole(entry)
        good.append(one)
        concurrent = one["concurrent"]
        if not isinstance(concurrent, int) or isinstance(concurrent, bool) or concurrent < 1:
            found.append(
                f"{at}.concurrent got {concurrent!r}, it takes a whole number of 1 or more"
            )
        if not USER.match(one["user"]) or one["user"] == "root":
            found.append(
                f"{at}.user got {one['user']!r}, it takes a Unix user name other than root: lower "
                "case letters, digits, - and _"
            )
        if not FOLDER.match(one["home"]) or ".." in one["home"].split("/"):
            found.append(f"{at}.home got {one['home']!r}, it takes an absolute path")
        found += _env_file.problems(
            f"{at}.environment", one["environment"], args.get("environment_allowed") or []
        )
        found += _job_user.problems(at, one)
        found += misread(f"{at}.environment", one["environment"])
        found += _runner_validation.settings_problems(f"{at}.settings", one["settings"])
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


def _shared(args: Mapping[str, Any], good: list[dict[str, Any]]) -> list[str]:
    """What two of the host's services would have in common."""
    main = {
        "name": "",
        "user": args["user"],
        "home": args["home"],
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
    addresses = Counter(
        str(one["settings"].get("listen_address"))
        for one in (main, *good)
        if isinstance(one["settings"], Mapping) and one["settings"].get("listen_address")
    )
    found += [
        f"{VARIABLE}: two services of the host have the listen_address {address!r}"
        for address, count in addresses.items()
        if count > 1
    ]
    return found


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _overlaps(services: list[dict[str, Any]]) -> list[str]:
    """Folders of one service that lie in another one's, or are another one's."""
    owned = [
        (str(one["name"]), os.path.normpath(str(folder)))
        for one in services
        for runner in ({"home": one["home"]}, *_mappings(one["runners"]))
        for key in ("home", "builds_dir", "cache_dir")
        if (folder := runner.get(key))
    ]
    return sorted(
        f"{VARIABLE}: {inner} ({of or 'gitlab_runner_runners'}) lies in {outer} "
        f"({other or 'gitlab_runner_runners'}); each service takes folders of its own"
        for of, inner in owned
        for other, outer in owned
        if of != other and (f"{inner}/".startswith(f"{outer}/")) and (inner != outer or of > other)
    )


def files(plan: Mapping[str, Any], secret: bool) -> list[dict[str, Any]]:
    """What lies on the host for one isolated runner, for `file_set`."""
    units = "/etc/systemd/system"
    templates = "etc/systemd/system"
    of = place(str(plan["name"]))
    user, home = str(plan["user"]), str(plan["home"])
    shown = {key: value for key, value in plan.items() if key not in ("environment", "access")}
    own = {"vars": {"instance": shown}}
    return [
        {"path": home, "state": "directory", "mode": "0700", "owner": user},
        {"path": f"{home}/.bash_logout", "state": "absent"},
        {"path": f"{home}/.cache/pip", "state": "directory", "mode": "0700", "owner": user},
        *plan["folders"],
        *plan["access"],
        {"path": f"/var/lib/systemd/linger/{user}", "state": "absent"},
        {
            "path": f"{units}/user@{{uid:{user}}}.service.d/zz-runnerhost.conf",
            "template": f"{templates}/user@.service.d/zz-runnerhost.conf.j2",
        },
        {
            "path": f"{units}/{of.unit}",
            "template": f"{templates}/gitlab-runner-NAME.service.j2",
            **own,
        },
        {
            "path": f"{units}/{of.unit}.d/zz-runnerhost.conf",
            "template": f"{templates}/gitlab-runner.service.d/zz-runnerhost.conf.j2",
            **own,
        },
        *(
            {
                "path": f"{units}/{of.resume}.{kind}",
                "template": f"{templates}/runnerhost-resume.{kind}.j2",
                **own,
            }
            for kind in ("service", "timer")
        ),
        {
            "path": f"{units}/{of.clean}.service",
            "template": f"{templates}/runnerhost-clean.service.j2",
            **own,
        },
        {"path": of.folder, "state": "directory", "mode": "0700"},
        {
            "path": f"{of.folder}/env-file",
            "template": "etc/gitlab-runner/env-file.j2",
            "vars": {"environment_lines": plan["environment"]},
            "mode": "0600",
            "secret": secret,
        },
    ]
