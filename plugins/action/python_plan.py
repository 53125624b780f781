# SPDX-License-Identifier: Apache-2.0
"""Decides, before the host is touched, which Python packages it needs and whence."""

from __future__ import annotations

import datetime
import fnmatch
import re
from typing import Any, ClassVar

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _apt_sources, _pythons
from ansible_collections.runnerhost.toolkit.plugins.module_utils._dpkg import is_installed
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import unfit
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _python_releases
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    DISTRIBUTION_SOURCES,
    LOOK,
    ToolkitAction,
)

# The packages of Pythons, whatever the version.
FAMILY = ("python3.*", "libpython3.*", "idle-python3.*")
STAMP = "/var/lib/runnerhost/pythons.json"
# Nothing of the repository replaces anything; what only it has may come in as a dependency.
LOW_PRIORITY = 1
WANTED_PRIORITY = 600
_INTERPRETER = re.compile(r"python(3\.\d+)\Z")


class ActionModule(ToolkitAction):
    """The task's controller side."""

    variables_of: ClassVar[list[str]] = ["python_versions"]

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns ``plan``; fails with every refusal at once."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        args = self._task.args
        home = variables.get("gitlab_runner_home") or ""
        home = str(self._templar.template(home)) if home else ""
        said = self.validate(["python_versions"], variables, _problems(args, home))
        ways = self.ways(variables)
        wanted = [v for v in (_pythons.parse(str(value)) for value in args["wanted"]) if v]
        patterns = [str(pattern) for pattern in args["patterns"]]
        sources_path, preferences_path = str(args["sources_path"]), str(args["preferences_path"])
        also = [str(name).partition("=")[0] for name in args.get("look_also") or []]
        look = self.ask(
            LOOK,
            {
                "packages": [*FAMILY, *also],
                "texts": [sources_path, preferences_path, STAMP, DISTRIBUTION_SOURCES],
            },
            variables,
        )["look"]
        seen = look["packages"]
        look["packages"] = {
            name: record
            for name, record in seen.items()
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in FAMILY)
        }
        key, warnings = self.key(
            "python_versions_repository_key",
            str(args["key"]),
            str(args["fingerprint"]),
            look["files"][sources_path].get("text", ""),
        )
        system = str(look["system_python"])
        warnings += said + _python_releases.warnings(
            [str(v) for v in wanted],
            datetime.date.today(),
            int(args["end_of_life_warning_days"]),
            system,
        )
        where = _pythons.by_origin(wanted, system)
        url, suite = str(args["url"]), str(args["suite"])
        components = [str(c) for c in args["components"]]
        texts = {}
        if where.repository:
            pin = f"release o={args['origin']}"
            texts = {
                sources_path: _apt_sources.render_sources(
                    url, suite, components, key, "Python versions beside the system's own"
                ),
                preferences_path: "\n".join(
                    [
                        _apt_sources.render_pin(["*"], pin, LOW_PRIORITY),
                        _apt_sources.render_pin(
                            _pythons.pinned(where.repository), pin, WANTED_PRIORITY
                        ),
                    ]
                ),
            }
        names = {v: v.packages(patterns) for v in wanted}
        noted = _pythons.noted(look["files"][STAMP].get("text", ""))
        perhaps = {v: v.optional(patterns) for v in wanted}
        # With what is wanted where there is one: asked anew when that list changes.
        marked = "".join(f" {pattern}" for pattern in patterns if pattern.endswith("?"))
        source = f"{url} {suite} {' '.join(components)}{marked}; system {system}"
        # Of a release that the host had before, or of a run that was killed before the packages.
        moved = noted.source != source
        # A third party's builds of what has become the system's own with a new release.
        foreign = [v for v in where.distribution if _is_foreign(v, look["packages"], noted, source)]
        missing = [
            name
            for version in wanted
            for name in names[version]
            if not is_installed(look["packages"].get(name))
        ]
        stale = {
            path: text for path, text in texts.items() if look["files"][path].get("text") != text
        }
        builds: dict[str, str] = {}
        offered: dict[str, list[str]] = {}
        if missing or stale or moved or foreign:
            answer: dict[str, Any] = {"offer": {}, "distribution_offer": {}, "origins": []}
            own = [n for v in where.distribution for n in names[v] if n in missing]
            family = {v: _family(v, look["packages"]) for v in wanted}
            theirs = [n for v in where.repository for n in [*names[v], *family[v]]]
            maybe = [n for v in where.repository for n in perhaps[v]]
            if where.repository or own or foreign or any(perhaps[v] for v in where.distribution):
                # The role network_access warns of its key.
                distribution, _ = self.distribution_offer(
                    variables, look["files"][DISTRIBUTION_SOURCES].get("text", "")
                )
                answer = self.offer(
                    {
                        "sources": texts.get(sources_path, ""),
                        "path": sources_path if texts else "",
                        "packages": list(dict.fromkeys([*theirs, *maybe])),
                        "names": r"python3\.\d+(-nogil)?",
                        "distribution_packages": own,
                        "distribution_names": [
                            *(n for v in foreign for n in family[v]),
                            *(n for v in where.distribution for n in perhaps[v]),
                        ],
                        **distribution,
                    },
                    ways,
                    variables,
                )
            self.refuse(
                _pythons.refusals(
                    where.repository,
                    system,
                    patterns,
                    answer,
                    {"url": url, "suite": suite, "origin": str(args["origin"])},
                )
            )
            for version in wanted:
                at = "offer" if version in where.repository else "distribution_offer"
                names[version] += [n for n in perhaps[version] if answer[at].get(n)]
            offered = {n: answer["offer"][n] for v in where.repository for n in names[v]}
            # What another repository, or the one of another release, has put there before is
            # replaced by the wanted one's build.
            builds = {
                name: versions[0]
                for name, versions in {**answer["offer"], **answer["distribution_offer"]}.items()
                if versions
                and is_installed(look["packages"].get(name))
                and look["packages"][name]["version"] not in versions
            }
            left = [
                name
                for name in dict.fromkeys([*theirs, *(n for v in foreign for n in family[v])])
                if is_installed(look["packages"].get(name))
                and not answer["offer"].get(name)
                and not answer["distribution_offer"].get(name)
            ]
            if left:
                warnings.append(
                    f"the host has {', '.join(sorted(left))}, which no source offers for this "
                    "release: they stay as they are until apt takes them away"
                )
        for version in wanted:
            # What is there is kept, whatever is on offer now.
            names[version] += [
                name
                for name in perhaps[version]
                if name not in names[version] and is_installed(look["packages"].get(name))
            ]
        missing = [
            name
            for version in wanted
            for name in names[version]
            if not is_installed(look["packages"].get(name))
        ]
        interpreters = {names[v][0]: v.executable for v in wanted}
        flat = [name for version in wanted for name in names[version]]
        result["plan"] = {
            "system": system,
            "wanted": [str(v) for v in wanted],
            "sources": texts.get(sources_path, ""),
            "preferences": texts.get(preferences_path, ""),
            # What `packages` simulates an installation with.
            "repository": {
                "files": {path: texts.get(path, "") for path in (sources_path, preferences_path)},
                "twins": [
                    {"uris": [url], "suites": [suite]},
                    {"uris": [str(args["upstream"])], "suites": []},
                ]
                if texts
                else [],
                "versions": offered,
            },
            "packages": [f"{name}={builds[name]}" if name in builds else name for name in flat],
            "companions": [f"{name}={builds[name]}" for name in builds if name not in flat],
            # A build of another release may have the higher number.
            "allow_downgrade": bool(builds),
            "automatic": look["automatic"],
            "from_repository": [n for v in where.repository for n in names[v]],
            "look": look["packages"],
            "look_all": {**seen, **look.get("provided", {})},
            "unfinished": look["unfinished"],
            "missing": missing,
            "fresh": sources_path in stale,
            "interpreters": interpreters,
            "source": source,
            "moved": moved,
            "unproven": [
                name
                for name in interpreters
                if name in builds
                or not is_installed(look["packages"].get(name))
                or noted.versions.get(name) != look["packages"][name]["version"]
            ],
            **_unlisted(look["packages"], [v.base for v in wanted], system),
        }
        if warnings:
            result["warnings"] = warnings
        return result


def _problems(args: dict[str, Any], home: str = "") -> list[str]:
    """What is wrong with the role's variables; `home` is gitlab_runner_home."""
    found = _pythons.problems("python_versions_wanted", args["wanted"])
    for name, value in (
        ("packages", "patterns"),
        ("repository_components", "components"),
        ("venv_places", "venv_places"),
    ):
        if not isinstance(args[value], list):
            wrong = unfit(args[value])
            # Else its letters would be taken for the list.
            return [*found, f"python_versions_{name}: {wrong}; expected a list of names"]
    for pattern in args["patterns"]:
        if not re.fullmatch(r"(?:lib)?python\{version\}(?:-[a-z0-9+.-]+)?\??", str(pattern)):
            found.append(
                f"python_versions_packages got {pattern!r}, it takes a package name with "
                "{version} in it, such as python{version}-dev, or python{version}-tk? for the "
                "versions that have one"
            )
    for place in args["venv_places"]:
        if not re.fullmatch(r"(?:/[^/\x00-\x1f]+)+/?", str(place)) or ".." in str(place).split("/"):
            if str(place) == home:
                # By default the one is the other.
                found.append(
                    f"gitlab_runner_home: invalid value {home!r}; expected an absolute path such "
                    "as /home/gitlab-runner"
                )
                continue
            found.append(
                f"python_versions_venv_places got {place!r}, it takes absolute paths of folders "
                "such as /home/gitlab-runner"
            )
    days = str(args["end_of_life_warning_days"])
    if not re.fullmatch(r"-1|[0-9]{1,4}", days):
        found.append(
            f"python_versions_end_of_life_warning_days got {days}, it takes a number of days, "
            "or -1 for no warning"
        )
    # A source file can be read by every user of the host: no password in it.
    if not re.fullmatch(r"https?://[^\s/@]+(?:/\S*)?", str(args["url"])):
        shown = repr(args["url"]) if "@" not in str(args["url"]) else "(hidden)"
        found.append(
            f"python_versions_repository_url got {shown}, it takes an http(s) address "
            "without a password"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", str(args["suite"])):
        found.append(
            f"python_versions_repository_suite got {args['suite']!r}, "
            "it takes a suite such as jammy"
        )
    if not re.fullmatch(r"[^,\n]+", str(args["origin"])):
        found.append(
            f"python_versions_repository_origin got {args['origin']!r}, it takes the Origin that "
            "the repository's Release file states"
        )
    return found


def _family(version: _pythons.Version, records: dict[str, Any]) -> list[str]:
    """Everything of a version that is installed."""
    return _pythons.family(version.base, (n for n, r in records.items() if is_installed(r)))


def _is_foreign(
    version: _pythons.Version, records: dict[str, Any], noted: _pythons.Noted, source: str
) -> bool:
    """True if the build of the system's own version is another's: of a PPA by its name, or the one
    that the repository has brought when the host's own version was another."""
    name = f"python{version}"
    installed = str(records.get(name, {}).get("version", ""))
    own = source.rpartition("; ")[2]
    before = noted.source.rpartition("; ")[2]
    brought = bool(before) and before != own and noted.versions.get(name) == installed
    return _apt_sources.is_ppas(installed) or (bool(installed) and brought)


def _unlisted(records: dict[str, Any], wanted: list[str], system: str) -> dict[str, Any]:
    """Versions on the host that the inventory does not list, and their packages."""
    versions = sorted(
        match.group(1)
        for name, record in records.items()
        if (match := _INTERPRETER.match(name)) and is_installed(record)
    )
    extra = [v for v in versions if v not in wanted and v != system]
    packages = sorted(
        {name for v in extra for name in _pythons.family(v, records) if is_installed(records[name])}
    )
    return {
        "unlisted": extra,
        "unlisted_packages": packages,
        "unlisted_interpreters": [
            f"/usr/bin/python{v}{build}" for v in extra for build in ("", "-nogil", "t")
        ],
    }
