# SPDX-License-Identifier: Apache-2.0
"""Decides, before the host is touched, what the runner needs there; shows no token."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any, ClassVar
from urllib.parse import urlsplit

from ansible.errors import AnsibleError

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_sources,
    _pythons,
    _runner_processes,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._dpkg import is_installed
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import place
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import unfit
from ansible_collections.runnerhost.toolkit.plugins.module_utils._systemd import masked
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _env_file,
    _gitlab_sync,
    _isolated,
    _job_user,
    _network,
    _runner_config_plan,
    _runner_file,
    _runner_lists,
    _runner_validation,
    _tokens,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import missing_packages
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    LOOK,
    ToolkitAction,
    kept_files,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import (
    CREATE,
    MANAGE,
    ApiProblem,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._variables import misread

# helper-images depends on nothing, gitlab-runner on exactly its version: one transaction.
PAIR = ("gitlab-runner", "gitlab-runner-helper-images")
# Where GitLab's own script points apt: it goes where a mirror takes its place.
UPSTREAM = "https://packages.gitlab.com/runner/gitlab-runner/ubuntu/"
# Enough for the wanted version; above 1000 apt would downgrade unasked.
PIN_PRIORITY = 990
DOWNGRADE_PRIORITY = 1001
# The first version that depends on helper-images (GitLab's docs, "Install GitLab Runner").
IMAGES_SINCE = [17, 7]
# GitLab's manual installation; the package's script would run it in place of the package's own.
OTHER_BINARY = "/usr/local/bin/gitlab-runner"
OWN_ID = (
    "on the copy, rm /etc/machine-id /etc/gitlab-runner/.runner_system_id, then "
    "systemd-machine-id-setup, and reboot when no job runs"
)
IMAGE_REASON = "an image is made of a machine without runners"
UPGRADE_REASON = "an upgrade replaces the binary of its jobs, and waits for their end"
# Written by runner_package before it changes anything.
UNPROVEN = "/var/lib/runnerhost/gitlab-runner/unproven.json"
# Which host of the inventory this machine is, written by the role.
MACHINE = "/var/lib/runnerhost/machine.json"
SERVICE = "gitlab-runner.service"
# The generation of a service that comes out of an image.
IMAGE = "image"
USER_MANAGER = "user@{uid}.service"
LOGIND = "systemd-logind.service"
# Those that the role writes on every host.
OWN_UNITS = (
    *("runnerhost-clean.service", "runnerhost-clean.timer"),
    *("runnerhost-disk.service", "runnerhost-disk.timer"),
    *("runnerhost-resume.service", "runnerhost-resume.timer"),
)

_VERSION = re.compile(r"(?:latest|\d+\.\d+\.\d+(?:-\d+)?)\Z")


def starved(args: Mapping[str, Any]) -> list[str]:
    """Warnings for services with fewer jobs at once than runners: those wait for each other.

    A runner's question for a job counts as one of ``concurrent``, and GitLab may hold it for 50 s;
    gitlab-runner 18.4 and later warns of it at each load ("Worker starvation").
    """
    services = [("gitlab_runner_concurrent", args["concurrent"], args["runners"])]
    services += [
        (f"{_isolated.VARIABLE} ({e['name']}).concurrent", e.get("concurrent", 1), e["runners"])
        for e in args["isolated"]
    ]
    found = []
    for variable, concurrent, runners in services:
        count = sum(1 for runner in runners if runner.get("state", "present") != "absent")
        if concurrent < count:
            found.append(
                f"{variable}: {concurrent} is less than the number of runners, {count}: each waits "
                f"while another one asks GitLab for a job, up to 50 s; set it to {count} or more"
            )
    return found


class ActionModule(ToolkitAction):
    """The task's controller side."""

    variables_of: ClassVar[list[str]] = ["gitlab_runner"]

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns ``plan``; fails with every refusal at once."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        args = dict(self._task.args)
        # Nothing after the colon is no entry.
        args["isolated"] = args.get("isolated") or []
        args |= {key: args.get(key) or value for key, value in _job_user.DEFAULTS.items()}
        warnings = self.validate(
            ["gitlab_runner"],
            variables,
            kept_files("the runners' tokens") + problems(args),
        )
        everyone = args["isolated"]
        args["isolated"] = _present(everyone)
        paths = args["paths"]
        host = str(variables.get("inventory_hostname", ""))
        warnings += self._gitlab(args, host)
        ways = self.ways(variables)
        self.refuse(self._unknown_legacy(args, variables))
        secret = any(one.get("ssh_keys") for one in (args, *args["isolated"]))
        if secret:
            warnings += self.no_file_on_host("the jobs' SSH keys")
        made = None if args.get("image") else _job_user.certificates(ways.authorities)
        look = self.ask(
            LOOK,
            {
                "packages": list(PAIR),
                "texts": [
                    paths["sources"],
                    paths["preferences"],
                    UNPROVEN,
                    MACHINE,
                    _job_user.NOTE,
                ],
                "groups": args["groups"],
                "files": [OTHER_BINARY, args["home"]],
                "user": args["user"],
                "checks": _job_user.checks("gitlab_runner_", "gitlab_runner_runners", args, made),
                "units": [SERVICE, USER_MANAGER, LOGIND, *OWN_UNITS],
                "logind": True,
                "logind_ours": paths["logind"],
                "globs": [_isolated.HERE],
                "other_runners": True,
            },
            variables,
        )["look"]
        self.refuse(masked(look.get("units", {})))
        here = _isolated.names_of(look["globs"][_isolated.HERE])
        known = {str(entry["name"]) for entry in everyone}
        warnings += [
            f"the host has the isolated runner {name!r}, which gitlab_runner_isolated does not "
            "name: it runs on as it is; state: absent on its entry takes it away"
            for name in here
            if name not in known
        ]
        strangers = look["other_runners"]
        warnings += _runner_processes.warnings(strangers)
        warnings += _copied(look["files"][MACHINE].get("text", ""), host, look["machine"])
        key, warned = self.key(
            "gitlab_runner_repository_key",
            str(args["key"]),
            str(args["fingerprint"]),
            look["files"][paths["sources"]].get("text", ""),
        )
        warnings += warned
        for variable, settings in (
            ("gitlab_runner_settings", args.get("settings")),
            *(
                (f"{_isolated.VARIABLE} ({e['name']}).settings", e.get("settings"))
                for e in args["isolated"]
            ),
        ):
            address = str((settings or {}).get("listen_address") or "")
            if address and not re.match(r"127\.|\[::1\]|localhost\b", address):
                warnings.append(
                    f"{variable}.listen_address got {address!r}: the runner's metrics and its "
                    "debugging pages are open to whoever reaches that; 127.0.0.1:9252 is safe"
                )
        warnings += starved(args)
        found = look.get("user")
        groups = _Groups(self._build_tools(variables))
        before = _job_user.noted(look["files"][_job_user.NOTE].get("text", ""))
        self.refuse(
            _home_problems("gitlab_runner_home", args, found)
            + _job_user.account_problems("gitlab_runner_user", args["user"], found)
            + look["problems"]
            + groups.refused(_job_user.MAIN["groups"], look["missing_groups"])
        )
        if look["files"][OTHER_BINARY]["kind"] != "absent":
            self.refuse(
                [
                    f"the host has another runner at {OTHER_BINARY}, which the package's script "
                    "would start in place of its own: stop its service when no job runs, and "
                    "move it away"
                ]
            )
        environment = _environment(args, ways)
        generation = _generation(args, environment, [path for path, _ in ways.authorities])
        version = str(args["version"])
        pattern = "" if version == "latest" else version if "-" in version else f"{version}-*"
        url, suite = str(args["url"]), str(args["suite"])
        sources = _apt_sources.render_sources(
            url, suite, [str(c) for c in args["components"]], key, "GitLab Runner"
        )
        preferences = _preferences(
            url, pattern, DOWNGRADE_PRIORITY if args["allow_downgrade"] else PIN_PRIORITY
        )
        records = look["packages"]
        missing = _missing(records, pattern)
        offered: dict[str, list[str]] = {}
        newest = version == "latest" and bool(args.get("newest")) and not missing
        fresh = look["files"][paths["sources"]].get("text") != sources
        if (
            missing
            or newest
            or fresh
            or look["files"][paths["preferences"]].get("text") != preferences
        ):
            answer = self.offer({"sources": sources, "packages": list(PAIR)}, ways, variables)
            self.refuse(refusals(args, answer, records, pattern, missing))
            if newest and _is_newer(common(answer["offer"]), records[PAIR[0]]["version"]):
                # The pin is by origin, so that apt takes the newest by itself.
                missing = list(PAIR)
                pattern = common(answer["offer"])[0]
            offered = {name: answer["offer"].get(name, []) for name in missing}
            if not answer["offer"].get(PAIR[1]):
                missing = [name for name in missing if name == PAIR[0]]
        wanted = [f"{name}={pattern}" if pattern else name for name in missing]
        installed = records[PAIR[0]]["version"] if is_installed(records.get(PAIR[0])) else ""
        began = _unproven(look["files"][UNPROVEN].get("text", ""), installed)
        if args.get("image"):
            self.refuse(_runner_processes.refusal(*_stands(strangers, "refuse", IMAGE_REASON)))
        if is_upgrade(installed, missing, began) and args.get("at_deadline") != "go_on":
            self.refuse(_runner_processes.refusal(*_stands(strangers, "wait", UPGRADE_REASON)))
        kill = _logind(args, look)
        others = [
            self._isolated(e, args, ways, kill, (made, groups, before), variables)
            for e in args["isolated"]
        ]
        itself = {
            "isolated": False,
            "generation": generation,
            "user": args["user"],
            "home": args["home"],
            "umask": args["umask"],
            "places": _isolated.places(
                str(args["home"]), str(args["pip_cache_dir"]), _present(args["runners"])
            ),
            **asdict(place()),
        }
        result["plan"] = {
            "user_missing": found is None,
            # Its mode is that of where it leads, which is not ours.
            "home_is_link": look["files"][args["home"]]["kind"] == "link",
            "environment": environment,
            "generation": generation,
            "kill_only": kill["only"],
            "logind": kill,
            "sources": sources,
            "preferences": preferences,
            "fresh": fresh,
            "packages": wanted,
            # What `packages` simulates an installation with.
            "repository": {
                "files": {paths["sources"]: sources, paths["preferences"]: preferences},
                "twins": [{"uris": [url], "suites": [suite]}, {"uris": [UPSTREAM], "suites": []}],
                "versions": offered,
            },
            "units_stale": _units_stale(look, paths),
            "service_there": _service_there(look),
            "missing": missing,
            # What a rollback brings back.
            "installed": began or installed,
            "upgrade": is_upgrade(installed, missing, began),
            "look": records,
            "settled": _settled(
                look, generation, kill, (SERVICE, str(paths["drop_in"])), bool(args["user_manager"])
            ),
            "itself": itself,
            "machine": look["machine"],
            "own_id": OWN_ID,
            "machine_path": MACHINE,
            "machine_note": json.dumps({"host": host, "machine": look["machine"]}) + "\n",
            "names": sorted(
                str(runner["name"])
                for runners in (args["runners"], *(e["runners"] for e in args["isolated"]))
                for runner in _present(runners)
            ),
            "isolated_leaving": [
                str(entry["name"])
                for entry in everyone
                if entry not in args["isolated"] and entry["name"] in here
            ],
            "isolated": [
                {key: value for key, value in one.items() if key not in ("environment", "access")}
                for one in others
            ],
            "folders": [
                *_job_user.folders(args),
                *_job_user.access(place().service, args, bool(args.get("image"))),
                _job_user.note([args, *others]),
            ],
            "accounts": [_job_user.account(args, found, before), *(o["account"] for o in others)],
            "new_groups": sorted(groups.brought),
            "isolated_files": [
                file for one in others for file in _isolated.files(one, bool(ways.login))
            ],
        }
        if warnings:
            result["warnings"] = warnings
        if ways.login or secret:
            # The environment has the proxy's password in it, the files have the SSH keys.
            self.hide(result)
        return result

    def _build_tools(self, variables: dict[str, Any]) -> list[str]:
        """The packages of the role build_tools, which may bring a group."""
        listed = variables.get("build_tools_extra_packages") or []
        found = self._templar.template(listed)
        return list(found) if isinstance(found, list) else []

    def _isolated(
        self,
        entry: dict[str, Any],
        args: dict[str, Any],
        ways: _network.Network,
        kill: dict[str, Any],
        host_has: tuple[Collection[str] | None, _Groups, dict[str, list[str]]],
        variables: dict[str, Any],
    ) -> dict[str, Any]:
        """What one isolated runner needs on the host."""
        made, groups, before = host_has
        one = _isolated.whole(entry)
        own = {
            **one,
            "pip_cache_dir": f"{one['home']}/.cache/pip",
            "umask": _isolated.UMASK,
            "hide_processes": True,
        }
        of = place(one["name"])
        at = f"{_isolated.VARIABLE} ({one['name']})."
        own_units = [f"{of.resume}.service", f"{of.resume}.timer", f"{of.clean}.service"]
        look = self.ask(
            LOOK,
            {
                "user": one["user"],
                "groups": one["groups"],
                "checks": _job_user.checks(at, f"{at}runners", own, made),
                "units": [of.unit, USER_MANAGER, *own_units],
            },
            variables,
        )["look"]
        self.refuse(masked(look.get("units", {})))
        found = look.get("user")
        self.refuse(
            _home_problems(f"{at}home", one, found)
            + _job_user.account_problems(f"{at}user", one["user"], found)
            + look["problems"]
            + groups.refused(f"{at}groups", look["missing_groups"])
        )
        environment = _environment(own, ways)
        generation = _generation(
            own, environment, [path for path, _ in ways.authorities], args["home"]
        )
        drop_in = f"/etc/systemd/system/{of.unit}.d/zz-runnerhost.conf"
        unit = look.get("units", {}).get(of.unit, {})
        runners = _present(one["runners"])
        return {
            "isolated": True,
            "name": one["name"],
            "user": one["user"],
            "home": one["home"],
            "umask": _isolated.UMASK,
            **asdict(of),
            "drop_in": drop_in,
            "environment": environment,
            "generation": generation,
            "user_missing": found is None,
            "unit_missing": unit.get("LoadState") != "loaded",
            "settled": _settled(look, generation, kill, (of.unit, drop_in), False, False),
            "folders": _job_user.folders(one),
            "access": _job_user.access(of.service, one, bool(args.get("image"))),
            "account": _job_user.account(one, found, before),
            "groups": one["groups"],
            # Where its jobs write.
            "places": _isolated.places(one["home"], own["pip_cache_dir"], runners),
        }

    def _unknown_legacy(self, args: dict[str, Any], variables: dict[str, Any]) -> list[str]:
        """Refuses legacy tokens of runners that the host does not have; asks only if there are."""
        lists = [("gitlab_runner_runners", args["runners"], place())]
        lists += [
            (f"{_isolated.VARIABLE} ({e['name']}).runners", e["runners"], place(e["name"]))
            for e in args["isolated"]
        ]
        found = []
        for variable, entries, of in lists:
            runners = _runner_lists.wanted_runners(variable, str(args["gitlab_url"]), entries)
            if any(_tokens.is_legacy(runner.token) for runner in runners):
                with self.quiet():
                    asked = {"op": "read", "folder": of.folder, "unit": of.unit}
                    read = self.ask(_runner_file.IO, asked, variables)["read"]
                file = _runner_file.HostFile.from_answer(read)
                found += _runner_config_plan.legacy_problems(runners, file)
        return found

    def _gitlab(self, args: dict[str, Any], host: str) -> list[str]:
        """Refuses an access token that cannot do what the runners need; returns warnings."""
        given = [
            *args["runners"],
            *(r for entry in args["isolated"] for r in _isolated.protected(entry["runners"])),
        ]
        runners = _runner_lists.wanted_runners("runners", str(args["gitlab_url"]), given)
        if all(runner.gitlab is None for runner in runners):
            return []
        self.refuse(missing_packages("python-gitlab"))
        try:
            sync = _gitlab_sync.gitlab_sync(
                runners,
                _gitlab_sync.access(args, str(args["gitlab_url"])),
                host,
                self.find_file,
            )
            scopes = sync.scopes()
        except AnsibleError as error:
            self.refuse([f"gitlab_runner_api_ca_certificate: {error}"])
            raise
        except ApiProblem as problem:
            self.refuse([f"gitlab_runner_api_token: {problem}"])
            raise
        if sync.created and CREATE not in scopes and MANAGE not in scopes:
            self.refuse(
                [
                    f"gitlab_runner_api_token has the scopes {' '.join(sorted(scopes)) or 'none'}; "
                    f"to create runners it takes {CREATE}, to change them and to bring them back "
                    f"{MANAGE}, or api for both"
                ]
            )
        return sync.warnings


class _Groups:
    """Groups that the host lacks: those that a package of this run brings, and all others."""

    def __init__(self, packages: list[str]) -> None:
        self.packages = packages
        self.brought: set[str] = set()

    def refused(self, variable: str, missing: list[str]) -> list[str]:
        """A refusal for each group that nothing brings."""
        brought, refusals = _job_user.new_groups(variable, missing, self.packages)
        self.brought |= {*brought}
        return refusals


def _stands(
    found: dict[str, Any], how: str, reason: str
) -> tuple[list[_runner_processes.Daemon], str]:
    """The daemons, of those that the toolkit does not manage, for which a run is refused."""
    return _runner_processes.in_the_way(found["daemons"], how)[0], reason


def problems(args: dict[str, Any]) -> list[str]:
    """Everything that is wrong with the role's variables, without asking anybody."""
    found = []
    if not _VERSION.match(str(args["version"])):
        found.append(
            f"gitlab_runner_version got {args['version']!r}, it takes a version such as 18.5.0 "
            "or 18.5.0-1, or latest"
        )
    if not _isolated.USER.match(str(args["user"])):
        found.append(
            f"gitlab_runner_user got {args['user']!r}, it takes a Unix user name: "
            "lower case letters, digits, - and _"
        )
    for variable, value in (("home", args["home"]), ("pip_cache_dir", args["pip_cache_dir"])):
        if not _isolated.FOLDER.match(str(value)) or ".." in str(value).split("/"):
            found.append(f"gitlab_runner_{variable} got {value!r}, it takes an absolute path")
    if str(args["user"]) == "root":
        found.append("gitlab_runner_user got 'root', jobs must not run as root")
    if not re.fullmatch(r"0[0-7]{3}", str(args["umask"])):
        found.append(
            f"gitlab_runner_umask got {args['umask']!r}, it takes four octal digits, quoted"
        )
    if not isinstance(args["stop_timeout"], int) or args["stop_timeout"] < 1:
        found.append(
            f"gitlab_runner_stop_timeout got {args['stop_timeout']!r}, it takes seconds, 1 or more"
        )
    concurrent = args["concurrent"]
    if not isinstance(concurrent, int) or isinstance(concurrent, bool) or concurrent < 1:
        # A running daemon that reads concurrent = 0 exits and takes its jobs along.
        found.append(
            f"gitlab_runner_concurrent got {concurrent!r}, it takes a whole number of 1 or more"
        )
    for name, value in (("path", "path"), ("repository_components", "components")):
        if not isinstance(args[value], list):
            found.append(f"gitlab_runner_{name}: {unfit(args[value])}; expected a list")
    for index, folder in enumerate(_list(args["path"])):
        if not _isolated.FOLDER.match(str(folder)):
            found.append(
                f"gitlab_runner_path[{index}] got {folder!r}, it takes an absolute path without "
                "blanks, colons, quotes or $"
            )
    if not re.fullmatch(r"https?://[^\s/@]+(?:/\S*)?", str(args["url"])):
        shown = repr(args["url"]) if "@" not in str(args["url"]) else "(hidden)"
        found.append(
            f"gitlab_runner_repository_url got {shown}, it takes an http(s) address "
            "without a password"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", str(args["suite"])):
        found.append(
            f"gitlab_runner_repository_suite got {args['suite']!r}, it takes a suite such as jammy"
        )
    found += fitness_problems(args.get("fitness", {}))
    found += _env_file.problems(
        "gitlab_runner_environment", args["environment"], args.get("environment_allowed") or []
    )
    found += misread("gitlab_runner_environment", args["environment"])
    found += _runner_validation.settings_problems("gitlab_runner_settings", args["settings"])
    found += _job_user.problems("", {**_job_user.DEFAULTS, **args})
    found += _isolated.problems(args)
    found += _runner_lists.url_problems("gitlab_runner_url", args["gitlab_url"])
    found += _runner_lists.entries_problems(
        args["gitlab_url"],
        {
            "gitlab_runner_runners": args["runners"],
            **{
                f"{_isolated.VARIABLE}[{index}].runners": entry.get("runners")
                for index, entry in enumerate(_list(args.get("isolated")))
                if isinstance(entry, dict) and entry.get("state", "present") != "absent"
            },
        },
        args.get("api_token"),
        args.get("environment_allowed") or [],
    )
    if args.get("api_token"):
        found += _tokens.access_problems("gitlab_runner_api_token", args["api_token"])
    proxy = str(args.get("api_proxy") or "")
    if proxy and not re.fullmatch(r"https?://[^\s/@]+", proxy):
        shown = repr(proxy) if "@" not in proxy else "(hidden)"
        found.append(f"gitlab_runner_api_proxy got {shown}, it takes http://HOST:PORT")
    return found


_SIZE = (r"\d+[KMGT]?|\d+%|infinity", "a size such as 8G or 80%, or infinity")
_LIMITS = {
    "MemoryMax": _SIZE,
    "MemoryHigh": _SIZE,
    "MemorySwapMax": _SIZE,
    "CPUQuota": (r"\d+%", "a share such as 200% (two CPUs)"),
    "CPUWeight": (r"\d+|idle", "a number such as 100, or idle"),
    "IOWeight": (r"\d+", "a number such as 100"),
    "TasksMax": (r"\d+|\d+%|infinity", "a number such as 4096, a share such as 80%, or infinity"),
}
"""systemd's settings for a slice, and what each takes (systemd.resource-control)."""


def fitness_problems(fitness: dict[str, Any]) -> list[str]:
    """What is wrong with limits, ages and thresholds."""
    found = []
    limits = fitness.get("job_limits", {})
    if not isinstance(limits, dict):
        limits = {}
        found.append("gitlab_runner_job_limits takes a mapping such as {MemoryMax: 8G}")
    for name, value in limits.items():
        if name not in _LIMITS:
            found.append(
                f"gitlab_runner_job_limits: unknown limit {name!r}; it takes {', '.join(_LIMITS)}"
            )
        elif not re.fullmatch(_LIMITS[name][0], str(value)):
            found.append(
                f"gitlab_runner_job_limits.{name}: invalid value {value!r}; "
                f"expected {_LIMITS[name][1]}"
            )
    for name, most in (
        *((f"{kind}_max_age_days", 36500) for kind in ("builds", "cache", "temporary")),
        *((f"min_free_{kind}_percent", 90) for kind in ("space", "inodes")),
    ):
        value = fitness.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            found.append(f"gitlab_runner_{name} got {value!r}, it takes a number of 0 to {most}")
    file = str(fitness.get("metrics_file") or "")
    if file and not re.fullmatch(r"/[^\s\"\\]+\.prom", file):
        found.append(
            f"gitlab_runner_metrics_file got {file!r}, it takes an absolute path that ends in .prom"
        )
    size = str(fitness.get("journal_max_use") or "")
    if size and not re.fullmatch(r"\d+[KMGTPE]?", size):
        found.append(
            f"gitlab_runner_journal_max_use got {size!r}, it takes a size such as 1G, or nothing"
        )
    return found


def _present(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry for entry in entries if not _runner_lists.is_absent(entry)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def refusals(
    args: dict[str, Any],
    answer: dict[str, Any],
    records: dict[str, Any],
    pattern: str,
    missing: list[str],
) -> list[str]:
    """Why the wanted version cannot be installed; empty if it can."""
    place = f"{args['url']} (suite {args['suite']})"
    if answer["error"]:
        return [
            f"gitlab_runner_repository_url: {place} cannot be used; "
            + _pythons.explain(answer["error"])
        ]
    offer = answer["offer"]
    fitting = [v for v in common(offer) if not pattern or fnmatch.fnmatchcase(v, pattern)]
    if not fitting:
        halves = ", ".join(f"{name}: {' '.join(offer.get(name, [])) or 'none'}" for name in PAIR)
        return [
            f"gitlab_runner_version got {args['version']!r}, which {place} does not have for both "
            f"packages; on offer there: {halves}"
        ]
    held = [n for n in PAIR if records.get(n, {}).get("status", "").startswith("hold ")]
    if held and missing:
        return [
            f"gitlab_runner_version got {args['version']!r}, but the host holds "
            f"{' and '.join(held)} back: apt-mark unhold {' '.join(held)}"
        ]
    installed = records.get(PAIR[0])
    if pattern and installed and is_installed(installed) and not args["allow_downgrade"]:
        have = installed["version"]
        if _numbers(fitting[0]) < _numbers(have):
            return [
                f"gitlab_runner_version got {args['version']!r}, lower than the installed {have}; "
                "gitlab_runner_allow_downgrade=true lets it"
            ]
    return []


def common(offer: dict[str, Any]) -> list[str]:
    """The versions that a repository has for both packages, the newest first."""
    return [
        version
        for version in offer.get(PAIR[0], [])
        if version in offer.get(PAIR[1], []) or _numbers(version)[:2] < IMAGES_SINCE
    ]


def _missing(records: dict[str, Any], pattern: str) -> list[str]:
    """What of the pair the host lacks in the wanted version.

    A runner older than 17.7 may well have no helper images beside it.
    """
    runner = records.get(PAIR[0])
    fits = runner is not None and is_installed(runner)
    if fits and pattern:
        fits = fnmatch.fnmatchcase(records[PAIR[0]]["version"], pattern)
    if not fits:
        return list(PAIR)
    version = records[PAIR[0]]["version"]
    images = records.get(PAIR[1])
    if is_installed(images):
        return [] if records[PAIR[1]]["version"] == version else list(PAIR)
    return [] if _numbers(version)[:2] < IMAGES_SINCE else list(PAIR)


def _units_stale(look: dict[str, Any], paths: dict[str, Any]) -> bool:
    """True if systemd has not loaded what lies on disk; a killed run may have left it so."""
    service = look.get("units", {}).get(SERVICE, {})
    manager = look.get("units", {}).get(USER_MANAGER, {})
    return service.get("LoadState") == "loaded" and (
        "yes" in (service.get("NeedDaemonReload"), manager.get("NeedDaemonReload"))
        or str(paths["drop_in"]) not in service.get("DropInPaths", "").split()
    )


def _service_there(look: dict[str, Any]) -> bool:
    """True unless the host has no such service; one whose file is gone may still run."""
    service = look.get("units", {}).get(SERVICE, {})
    return (service.get("LoadState", "not-found"), service.get("ActiveState", "inactive")) != (
        "not-found",
        "inactive",
    )


def is_upgrade(installed: str, missing: list[str], began: str) -> bool:
    """True for another version in the place of one that may have jobs, or one not proven yet.

    In the middle of a dead controller's transaction nothing counts as installed.
    """
    return bool(began or (installed and missing))


def _unproven(text: str, installed: str) -> str:
    """The version that an upgrade began with whose controller died before its proof."""
    try:
        note = json.loads(text or "{}")
        began = str(note.get("from", ""))
    except (ValueError, AttributeError):
        return ""
    return began if began != installed or note.get("restored") else ""


def _is_newer(offered: list[str], installed: str) -> bool:
    """True if the first of the versions on offer is higher than the installed one."""
    return bool(offered) and _numbers(offered[0]) > _numbers(installed)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _environment(args: dict[str, Any], ways: _network.Network) -> str:
    """The env file's lines: the user's, and what the ways out need where the user has not said."""
    ours = {"PIP_CACHE_DIR": args["pip_cache_dir"], **ways.environment()}
    return _env_file.render(_network.with_given(ours, args["environment"]))


def _home_problems(where: str, wanted: dict[str, Any], found: Any) -> list[str]:
    """A user that is there already keeps its home."""
    if not found or found["home"] == wanted["home"]:
        return []
    return [
        f"{where} got {wanted['home']!r}, but the user {wanted['user']} exists with the home "
        f"{found['home']!r}: set the variable to that"
    ]


def _copied(noted: str, host: str, machine: str) -> list[str]:
    """A warning if the machine was another host of the inventory when it was provisioned last."""
    try:
        note = json.loads(noted or "{}")
        before, same = str(note["host"]), note["machine"] == machine
    except (ValueError, KeyError, TypeError):
        return []
    if before == host:
        return []
    if same:
        return [
            f"this machine was provisioned as {before}, and its machine id is the same still. If "
            f"{before} was renamed in the inventory, all is well. If this is a copy of it, GitLab "
            f"takes both for one host: {OWN_ID}"
        ]
    return [
        f"this machine is a copy of {before}, with a machine id of its own. If GitLab shows one "
        "host for both: rm /etc/gitlab-runner/.runner_system_id on the copy, and restart its "
        "runner when no job runs"
    ]


def _generation(
    args: dict[str, Any], environment: str, authorities: list[str], hidden: str = ""
) -> str:
    """What the service reads at its start alone; a service with another one needs a restart.

    That of an image is nobody's: a clone's service starts before its environment is there.
    """
    if args.get("image"):
        return IMAGE
    settings = args["settings"]
    facts = {
        "environment": environment,
        "listen_address": settings.get("listen_address", ""),
        "session_server": settings.get("session_server", {}),
        "user": [args["user"], args["home"]],
        "umask": args["umask"],
        "hide_processes": args["hide_processes"],
        "authorities": authorities,
    }
    if hidden:
        facts["hidden"] = hidden
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _preferences(url: str, pattern: str, priority: int) -> str:
    """The pin: one version, or one repository, and nothing else (it fails closed)."""
    pin = f"version {pattern}" if pattern else f'origin "{urlsplit(url).hostname}"'
    return "\n".join(
        [
            _apt_sources.render_pin(list(PAIR), pin, priority),
            _apt_sources.render_pin(list(PAIR), "version *", -1),
        ]
    )


def _logind(args: dict[str, Any], look: dict[str, Any]) -> dict[str, Any]:
    """What logind should have in force.

    A host that kills every user's processes already goes on doing so: naming users would narrow it.
    """
    foreign = look["logind_foreign"]
    foreign = {"kill": foreign["kill"], "only": sorted(set(foreign["only"]))}
    if not args["kill_leftover_processes"]:
        return {"wanted": False, "kill": foreign["kill"], "only": sorted(foreign["only"])}
    if foreign["kill"] and not foreign["only"]:
        return {"wanted": True, "kill": True, "only": []}
    others = foreign["only"] if foreign["kill"] else []
    users = [str(args["user"]), *(_isolated.whole(e)["user"] for e in args["isolated"])]
    return {"wanted": True, "kill": True, "only": sorted({*others, *users})}


def _settled(
    look: dict[str, Any],
    generation: str,
    kill: dict[str, Any],
    unit: tuple[str, str],
    user_manager: bool,
    logind: bool = True,
) -> bool:
    """True if neither systemd nor logind has anything left to do for a unit with its drop-in."""
    name, drop_in = unit
    service = look.get("units", {}).get(name, {})
    manager = look.get("units", {}).get(USER_MANAGER, {})
    wanted = {"kill": kill["kill"], "only": kill["only"]}
    in_force = wanted
    if logind:
        in_force = {
            "kill": look["logind"].get("kill"),
            "only": sorted(set(look["logind"].get("only", []))),
        }
    masked = any("zz-runnerhost" in p for p in manager.get("DropInPaths", "").split())
    return (
        service.get("ActiveState") == "active"
        and service.get("UnitFileState") == "enabled"
        and service.get("NeedDaemonReload") == "no"
        and (service.get("KillSignal"), service.get("KillMode")) == ("3", "mixed")
        and drop_in in service.get("DropInPaths", "").split()
        and service.get("generation") == generation
        and masked == (not user_manager)
        and in_force == wanted
    )
