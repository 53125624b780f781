#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""What a repository offers, asked of apt before the host's apt knows it; see DOCUMENTATION."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import pwd
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_simulation,
    _apt_sources,
    _dpkg,
    _files,
    _system,
)

DOCUMENTATION = r"""
module: apt_candidates_info
short_description: Asks apt what a repository offers, without touching the host's own apt
description:
  - Runs C(apt-get update) with a scratch folder for sources and lists (C(Dir::Etc),
    C(Dir::State::lists)), so that a wrong address, key or suite shows before the host is changed.
  - Read-only; runs in check mode too.
version_added: 0.1.0
options:
  sources:
    description: The repository as the text of a deb822 file.
    type: str
    default: ""
  path:
    description: Where it is, or will be, on the host; then RV(other_origins) is told.
    type: str
    default: ""
  packages:
    description: Names whose versions are wanted.
    type: list
    elements: str
    default: []
  names:
    description: A regular expression; all of the repository's package names that match are told.
    type: str
    default: ""
  distribution_packages:
    description: Names that the host's own sources must offer.
    type: list
    elements: str
    default: []
  distribution_names:
    description: Names whose versions in the host's own sources are wanted.
    type: list
    elements: str
    default: []
  distribution_sources:
    description: The distribution's mirror as the text of a deb822 file, where it is to be another.
    type: str
    default: ""
  distribution_suites:
    description: Releases whose entries O(distribution_sources) replaces.
    type: list
    elements: str
    default: []
  distribution_restored:
    description: Whether entries that such a mirror had replaced come back, as there is none.
    type: bool
    default: false
  install:
    description: Packages whose installation is simulated, each alone or as C(name=version).
    type: list
    elements: str
    default: []
  allow_downgrade:
    description: Whether the simulated transaction may put a lower version in place of a higher one.
    type: bool
    default: false
  files:
    description:
      - The files of sources and pins that are written before O(install), as text by path; an empty
        text stands for a file that is absent then.
    type: dict
    default: {}
  twins:
    description: Sources of which other entries are disabled before O(install).
    type: list
    elements: dict
    default: []
    suboptions:
      uris:
        description: Their addresses.
        type: list
        elements: str
        required: true
      suites:
        description: Their suites; empty for whatever lies at the addresses.
        type: list
        elements: str
        default: []
  lists_age:
    description: Seconds that the host's own lists may be old for O(install).
    type: int
    default: 3600
  network:
    description:
      - The proxies and private CAs to use, which the host may not have yet. C(@ROOT@) in a text
        stands for the scratch folder.
    type: dict
    default: {}
    suboptions:
      conf:
        description: Settings, as apt.conf(5) takes them.
        type: str
        default: ""
      direct:
        description: The program that tells which addresses need no proxy.
        type: str
        default: ""
      authorities:
        description: Private CAs, as PEM text.
        type: str
        default: ""
  auth:
    description: Credentials of repositories and proxies, as apt_auth.conf(5) takes them.
    type: str
    default: ""
  timeout:
    description: Seconds that one update may take.
    type: int
    default: 180
author:
  - The Runnerhost developers
"""

EXAMPLES = r"""
- name: Ask for two packages
  runnerhost.toolkit.apt_candidates_info:
    sources: "{{ lookup('ansible.builtin.template', 'example.sources.j2') }}"
    packages: [python3.12, python3.12-venv]
"""

RETURN = r"""
error:
  description: apt's own words if the repository could not be read, else empty.
  type: str
  returned: always
offer:
  description: Versions by package, the newest first.
  type: dict
  returned: always
origins:
  description: The C(Origin) that the repository's Release file states.
  type: list
  elements: str
  returned: always
other_origins:
  description:
    - The C(Origin) of all that the host's apt has read from elsewhere, without other entries for
      the same repository.
  type: list
  elements: str
  returned: always
names:
  description: Package names that matched O(names).
  type: list
  elements: str
  returned: always
missing_from_distribution:
  description: Names of O(distribution_packages) that the host's own sources do not offer.
  type: list
  elements: str
  returned: always
distribution_offer:
  description:
    - Versions of O(distribution_names) by package, the newest first, from other repositories than
      the one asked; names that these do not have are left out.
  type: dict
  returned: always
distribution_error:
  description: apt's own words if not all of those sources could be read, else empty.
  type: str
  returned: always
simulated:
  description:
    - What the transaction would do, with O(install); C(installs), C(upgrades) and C(removes).
      C(error) has apt's own words where it cannot be, C(unknown) the names that apt has nothing for
      with the reason, C(places) the files with what is wrong in them. C(unreadable) names sources
      that apt cannot read, each with its file.
  type: dict
  returned: always
"""


_CONFIG = """\
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "{root}/parts";
Dir::Etc::preferences "{root}/preferences";
Dir::Etc::preferencesparts "{root}/preferences.d";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Cache::archives "{root}/cache/archives";
Dir::Cache::pkgcache "{root}/cache/pkgcache.bin";
Dir::Cache::srcpkgcache "{root}/cache/srcpkgcache.bin";
Dir::Etc::netrcparts "{root}/auth.d";
APT::Update::Error-Mode "any";
APT::Get::List-Cleanup "false";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
# Of the host's apt, what means its own sources: another world knows no such release.
_ALONE = """\
#clear APT::Default-Release;
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
"""


# What the role network_access writes: the scratch folder has the wanted texts instead.
_OURS = ("51runnerhost-network", "runnerhost.conf")
_MIRROR = os.path.basename(_apt_sources.DISTRIBUTION_SOURCES)
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# Not /tmp: hardened hosts run no program there, and apt must run the one of a host with proxies.
_PLACE = "/var/lib"
_PREFIX = "runnerhost-offer-"
_FOLDERS = (
    *("", "parts", "preferences.d", "conf.d", "lists", "lists/partial", "cache", "cache/archives"),
)
# Where the host's own apt has what a simulation reads (apt-config(8)).
_OWN = {
    "main": "Dir::Etc::main/f",
    "parts": "Dir::Etc::parts/d",
    "sources": "Dir::Etc::sourcelist/f",
    "sources_folder": "Dir::Etc::sourceparts/d",
    "preferences": "Dir::Etc::preferences/f",
    "preferences_folder": "Dir::Etc::preferencesparts/d",
    "lists": "Dir::State::lists/d",
    "status": "Dir::State::status/f",
    "states": "Dir::State::extended_states/f",
}


def sweep() -> None:
    """Removes what killed runs have left: passwords may lie there."""
    for path in glob.glob(f"{_PLACE}/{_PREFIX}*"):
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                # BlockingIOError: the run that made it is alive.
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)


def own_places() -> dict[str, str]:
    """Where the host's own apt has its files, by the names of `_OWN`.

    All are empty where its configuration has a mistake: then it does nothing.
    """
    asked = [word for name, option in _OWN.items() for word in (name, option)]
    text = _system.run(["apt-config", "shell", *asked]).stdout
    found = dict(word.partition("=")[::2] for word in shlex.split(text))
    return {name: found.get(name, "").rstrip("/") for name in _OWN}


class Scratch:
    """A folder in which apt reads other sources and keeps other lists.

    Args:
        network: proxies and private CAs.
        auth: credentials.
        own: the host's places, where its own pins, lists and packages count too.
    """

    def __init__(
        self, network: dict[str, str], auth: str, own: Mapping[str, str] | None = None
    ) -> None:
        sweep()
        self.root = tempfile.mkdtemp(prefix=_PREFIX, dir=_PLACE)
        self._lock = os.open(self.root, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        for folder in (*_FOLDERS, "cache/archives/partial"):
            os.makedirs(f"{self.root}/{folder}", exist_ok=True)
            # apt downloads as the user _apt, which must be able to get in whatever the umask is.
            os.chmod(f"{self.root}/{folder}", 0o755)
        os.mkdir(f"{self.root}/auth.d", mode=0o700)
        try:
            uid = pwd.getpwnam("_apt").pw_uid
            os.chown(f"{self.root}/lists/partial", uid, -1)
        except KeyError:
            pass
        for name in ("sources.list", "preferences", "status"):
            self._write(name, "")
        places = own or own_places()
        self._real = {f"{self.root}/conf.d/": f"{places['parts']}/"}
        for here, there in (("conf.d", places["parts"]), ("auth.d", "/etc/apt/auth.conf.d")):
            for name in os.listdir(there) if os.path.isdir(there) else ():
                if name not in _OURS:
                    os.symlink(f"{there}/{name}", f"{self.root}/{here}/{name}")
        conf = network.get("conf", "").replace("@ROOT@", self.root)
        if network.get("direct"):
            self._write("apt-direct", network["direct"], 0o755)
        if network.get("authorities"):
            known = _files.read_text(_BUNDLE) if os.path.exists(_BUNDLE) else ""
            self._write("authorities.pem", known + network["authorities"])
            conf += f'Acquire::https::CAInfo "{self.root}/authorities.pem";\n'
        if auth:
            self._write("auth.d/runnerhost.conf", auth, 0o600)
        self.config = f"{self.root}/apt.conf"
        world = f'Dir::State::extended_states "{own["states"]}";\n' if own else _ALONE
        self._write("apt.conf", _CONFIG.format(root=self.root) + world + conf)
        # Read before all others: it says where those are (apt.conf(5)).
        self._write(
            "first.conf",
            f'Dir::Etc::parts "{self.root}/conf.d";\n'
            + (f'Dir::Etc::main "{places["main"]}";\n' if places["main"] else ""),
        )
        self.environment = {"APT_CONFIG": f"{self.root}/first.conf"}

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        handle = os.open(f"{self.root}/{name}", os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)

    def add(self, name: str, text: str, real: str = "") -> None:
        """One more file, by default one of sources; errors call it by its real path."""
        name = name if "/" in name else f"parts/{name}"
        if name in ("./sources.list", "./preferences", "./status"):
            os.unlink(f"{self.root}/{name}")
        self._write(name, text)
        if real:
            self._real[os.path.normpath(f"{self.root}/{name}")] = real

    def by_real_paths(self, text: str) -> str:
        """apt's words with the host's own paths in place of the scratch folder's."""
        for here in sorted(self._real, key=len, reverse=True):
            text = text.replace(here, self._real[here])
        return text

    def take_lists(self, folder: str) -> None:
        """The host's own lists, so that what has not changed since is not fetched again."""
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            path, here = f"{folder}/{name}", f"{self.root}/lists/{name}"
            if name == "lock" or not os.path.isfile(path):
                continue
            try:
                # apt writes a new file and renames it: the host's own stays as it is.
                os.link(path, here)
            except OSError:
                shutil.copy2(path, here)

    def simulate(self, words: Sequence[str], timeout: int) -> subprocess.CompletedProcess[str]:
        """``apt-get -s``."""
        return _system.run(
            ["apt-get", "-c", self.config, "-q", "-y", "-s", *words],
            timeout=timeout,
            env=self.environment,
        )

    def update(self, timeout: int) -> str:
        """``apt-get update``: its errors, or an empty text."""
        done = _system.run(
            ["apt-get", "-c", self.config, "-q", "update"], timeout=timeout, env=self.environment
        )
        if done.returncode == 0:
            return ""
        lines = [
            line
            for line in (done.stderr + done.stdout).splitlines()
            if line.startswith(("E:", "W:", "Err:", "apt-get:"))
        ]
        return self.by_real_paths(
            "\n".join(dict.fromkeys(lines)) or done.stderr.strip() or "no answer"
        )

    def cache(self, *arguments: str) -> str:
        """The output of ``apt-cache``."""
        return _system.run(
            ["apt-cache", "-c", self.config, *arguments], env=self.environment
        ).stdout

    def versions(self, names: list[str]) -> dict[str, list[str]]:
        """Versions on offer by package."""
        found: dict[str, list[str]] = {name: [] for name in names}
        for line in self.cache("madison", *names).splitlines() if names else []:
            parts = [part.strip() for part in line.split("|")]
            if len(parts) == 3 and parts[1] not in found.setdefault(parts[0], []):
                found[parts[0]].append(parts[1])
        return found

    def origins(self) -> list[str]:
        """The origins of all Release files read."""
        return sorted(set(re.findall(r"\brelease\b.*?\bo=([^,\n]*)", self.cache("policy"))))

    def close(self) -> None:
        """Leaves nothing behind."""
        shutil.rmtree(self.root, ignore_errors=True)
        os.close(self._lock)


def other_origins(path: str, sources: str) -> list[str]:
    """What all else on the host states: not the file at that path, not the repository itself."""
    twins = _apt_sources.twins_of(sources)
    found = set()
    for one in _apt_sources.indexes():
        entry = _apt_sources.Entry([one.uri], [one.suite], [])
        if not one.entry.startswith(f"{path}:") and not twins.match(entry):
            found.add(one.origin)
    return sorted(found - {""})


def elsewhere(
    names: list[str], config: list[str], ours: _apt_sources.Twins
) -> dict[str, list[str]]:
    """Versions by package that other repositories than ours have."""
    found: dict[str, list[str]] = {}
    text = _system.run(["apt-cache", *config, "madison", *names]).stdout if names else ""
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        # The address, suite/component, architecture and kind of an index.
        where = parts[2].split() if len(parts) == 3 else []
        if len(where) < 4 or where[3] != "Packages":
            continue
        known = found.setdefault(parts[0], [])
        entry = _apt_sources.Entry([where[0]], [where[1].partition("/")[0]], [])
        if not ours.match(entry) and parts[1] not in known:
            known.append(parts[1])
    return {name: versions for name, versions in found.items() if versions}


def copy_sources(asked: dict[str, Any], scratch: Scratch, own: Mapping[str, str]) -> dict[str, str]:
    """The host's own sources, as the run that is planned leaves them; the texts by path."""
    distribution, planned = asked["distribution_sources"], asked.get("files", {})
    mirror = _apt_sources.twins_of(distribution)
    theirs: frozenset[tuple[str, str]] | None = None
    folder, release = own["sources_folder"], _system.release()
    known = {}
    for path, text in _apt_sources.source_texts().items():
        if path in planned:
            continue
        restored = asked.get("distribution_restored", False) and not distribution
        if (distribution or restored) and os.path.basename(path) == _MIRROR:
            # As it was: apt refuses one repository with two keys.
            continue
        if restored:
            text = _apt_sources.with_distribution(text, release)
        is_own = path in _apt_sources.DISTRIBUTION_FILES
        cut = _apt_sources.cutter(path)
        here = replace(mirror, releases=tuple(asked["distribution_suites"]) if is_own else ())
        if here.releases and cut(text, here)[1]:
            # As file_set does when it comes to it.
            theirs = _apt_sources.third_parties() if theirs is None else theirs
            here = replace(here, theirs=theirs)
        # file_set never touches the toolkit's own.
        ours = os.path.basename(path).startswith("runnerhost-")
        for twins in (here, *(() if ours else planned_twins(asked))):
            text, _ = cut(text, twins)
        known[path] = text
    if distribution:
        known[_apt_sources.DISTRIBUTION_SOURCES] = distribution
    known.update({p: t for p, t in planned.items() if t and os.path.dirname(p) == folder})
    for path, text in known.items():
        inside = "./sources.list" if path == own["sources"] else os.path.basename(path)
        scratch.add(inside, text, path)
    return known


def planned_twins(asked: dict[str, Any]) -> list[_apt_sources.Twins]:
    """Other entries for the repositories that are planned, which file_set disables."""
    return [
        _apt_sources.Twins(tuple(one["uris"]), tuple(_apt_sources.of_any_release(one["suites"])))
        for one in asked.get("twins", [])
        if one["uris"]
    ]


def copy_pins(planned: Mapping[str, str], scratch: Scratch, own: Mapping[str, str]) -> list[str]:
    """The host's own pins and the planned ones; returns the host's own files."""
    folder, found = own["preferences_folder"], {}
    if os.path.isfile(own["preferences"]):
        found[own["preferences"]] = _files.read_text(own["preferences"])
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = f"{folder}/{name}"
        # What apt reads of such a folder (apt_preferences(5)).
        if os.path.isfile(path) and re.fullmatch(r"[A-Za-z0-9_-]+(?:\.pref)?", name):
            found[path] = _files.read_text(path)
    theirs = [path for path, text in found.items() if text.strip() and path not in planned]
    ours = {p: t for p, t in planned.items() if t and os.path.dirname(p) == folder}
    for path, text in {**{p: found[p] for p in theirs}, **ours}.items():
        name = "preferences.d/" + os.path.basename(path)
        scratch.add("./preferences" if path == own["preferences"] else name, text, path)
    return theirs


def simulate(asked: dict[str, Any]) -> dict[str, Any]:
    """What the installation would do to the host, once the planned files are written."""
    own = own_places()
    if not own["status"]:
        said = _system.run(["apt-config", "dump"]).stderr
        nothing: dict[str, Any] = {**_apt_simulation.changes(""), "unreadable": [], "pins": []}
        return {**nothing, "error": _apt_simulation.words(said), "stops": True, "unfinished": []}
    scratch = Scratch(asked["network"], asked["auth"], own)
    try:
        sources = copy_sources(asked, scratch, own)
        pins = copy_pins(asked["files"], scratch, own)
        left = _dpkg.unfinished(own["status"])
        text = _files.read_text(own["status"])
        if left:
            # The run finishes it first.
            text = re.sub(
                r"(?m)^(Status: \S+) \S+ (?:half|unpacked|triggers)\S*", r"\1 ok installed", text
            )
        scratch.add("./status", text)
        scratch.take_lists(own["lists"])
        downgrade = ["--allow-downgrades"] if asked["allow_downgrade"] else []
        words = ["--no-install-recommends", *downgrade, "install", *asked["install"]]
        errors = ""
        for age in (float(asked["lists_age"]), 0.0):
            old = age <= 0 or _apt_sources.lists_age() >= age
            errors = scratch.update(asked["timeout"]) if old else ""
            done = scratch.simulate(words, asked["timeout"])
            if old or done.returncode == 0:
                break
        said = scratch.by_real_paths(f"{done.stdout}\n{done.stderr}")
        answer: dict[str, Any] = {
            **_apt_simulation.changes(done.stdout),
            "unreadable": _apt_simulation.unreadable(errors, sources) if errors else [],
            "error": "",
            "unfinished": left,
            "pins": pins,
        }
        if done.returncode == 0:
            return answer
        unknown = _apt_simulation.unknown(said)
        names = scratch.cache("pkgnames").split() if unknown else []
        if _apt_simulation.STOPS.search(said):
            answer["unreadable"] = _apt_simulation.places(said, sources)
        return {
            **answer,
            "error": _apt_simulation.words(said),
            "stops": bool(_apt_simulation.STOPS.search(said)),
            "unknown": unknown,
            "nearest": {name: _apt_simulation.nearest(name, names) for name in unknown},
            "pinned": [
                name
                for name in unknown
                if re.search(r"\(none\)\n  Version table:\n.*\d", scratch.cache("policy", name))
            ],
        }
    finally:
        scratch.close()


def from_distribution(
    asked: dict[str, Any], scratch: Scratch
) -> tuple[list[str], dict[str, list[str]], str]:
    """What the host's own sources offer.

    The host's own lists first; where they know a name not, the same sources are read anew. A mirror
    that takes the place of the distribution's entries is always read: the host's lists say nothing
    of it.

    Returns:
        Those of ``distribution_packages`` without a candidate, the versions of
        ``distribution_names``, and apt's errors.
    """
    names, distribution = asked["distribution_packages"], asked["distribution_sources"]
    ours = _apt_sources.twins_of(asked["sources"])

    def unknown(config: list[str]) -> list[str]:
        missing = []
        for name in names:
            text = _system.run(["apt-cache", *config, "policy", name]).stdout
            match = re.search(r"Candidate: (\S+)", text)
            if not match or match.group(1) == "(none)":
                missing.append(name)
        return missing

    missing = names if distribution else unknown([])
    versions = {} if distribution else elsewhere(asked["distribution_names"], [], ours)
    if not missing and (versions or not asked["distribution_names"]):
        return [], versions, ""
    copy_sources(asked, scratch, own_places())
    error = scratch.update(asked["timeout"])
    config = ["-c", scratch.config]
    versions = elsewhere(asked["distribution_names"], config, ours)
    return [name for name in unknown(config) if name in missing], versions, error


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "sources": {"type": "str", "default": ""},
            "path": {"type": "str", "default": ""},
            "packages": {"type": "list", "elements": "str", "default": []},
            "names": {"type": "str", "default": ""},
            "distribution_packages": {"type": "list", "elements": "str", "default": []},
            "distribution_names": {"type": "list", "elements": "str", "default": []},
            "distribution_sources": {"type": "str", "default": ""},
            "distribution_suites": {"type": "list", "elements": "str", "default": []},
            "distribution_restored": {"type": "bool", "default": False},
            "install": {"type": "list", "elements": "str", "default": []},
            "allow_downgrade": {"type": "bool", "default": False},
            "files": {"type": "dict", "default": {}},
            "twins": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "uris": {"type": "list", "elements": "str", "required": True},
                    "suites": {"type": "list", "elements": "str", "default": []},
                },
            },
            "lists_age": {"type": "int", "default": 3600},
            "network": {
                "type": "dict",
                "default": {},
                "options": {
                    "conf": {"type": "str", "default": ""},
                    "direct": {"type": "str", "default": ""},
                    "authorities": {"type": "str", "default": ""},
                },
            },
            "auth": {"type": "str", "default": "", "no_log": True},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    asked = module.params
    problem = _system.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    if asked["install"]:
        module.exit_json(changed=False, simulated=simulate(asked))
    scratch = Scratch(asked["network"], asked["auth"])
    try:
        scratch.add("offer.sources", asked["sources"])
        error = scratch.update(asked["timeout"])
        names = []
        if asked["names"] and not error:
            pattern = re.compile(asked["names"])
            names = sorted(n for n in scratch.cache("pkgnames").split() if pattern.fullmatch(n))
        answer = {
            "error": error,
            "offer": {} if error else scratch.versions(asked["packages"]),
            "origins": [] if error else scratch.origins(),
            "names": names,
        }
    finally:
        scratch.close()
    answer["other_origins"] = (
        other_origins(asked["path"], asked["sources"]) if asked["path"] else []
    )
    missing: list[str] = []
    versions: dict[str, list[str]] = {}
    problem = ""
    if not error and (asked["distribution_packages"] or asked["distribution_names"]):
        scratch = Scratch(asked["network"], asked["auth"])
        try:
            missing, versions, problem = from_distribution(asked, scratch)
        finally:
            scratch.close()
    answer["missing_from_distribution"], answer["distribution_offer"] = missing, versions
    answer["distribution_error"] = problem
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
