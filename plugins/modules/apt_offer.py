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
import tempfile
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import apt_sources, host

DOCUMENTATION = r"""
module: apt_offer
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
    required: true
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
  runnerhost.toolkit.apt_offer:
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
"""


_CONFIG = """\
Dir::Etc::sourcelist "{root}/none.list";
Dir::Etc::sourceparts "{root}/parts";
Dir::Etc::preferences "{root}/none.pref";
Dir::Etc::preferencesparts "{root}/none.d";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
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


# What the role network_access writes: the scratch folder has the wanted texts instead.
_OURS = ("51runnerhost-network", "runnerhost.conf")
_MIRROR = os.path.basename(apt_sources.DISTRIBUTION_SOURCES)
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# Not /tmp: hardened hosts run no program there, and apt must run the one of a host with proxies.
_PLACE = "/var/lib"
_PREFIX = "runnerhost-offer-"
_FOLDERS = ("", "parts", "none.d", "conf.d", "lists", "lists/partial", "cache", "cache/archives")


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


class Scratch:
    """A folder in which apt reads other sources and keeps other lists."""

    def __init__(self, network: dict[str, str], auth: str) -> None:
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
        for name in ("none.list", "none.pref", "status"):
            self._write(name, "")
        for here, there in (("conf.d", "/etc/apt/apt.conf.d"), ("auth.d", "/etc/apt/auth.conf.d")):
            for name in os.listdir(there) if os.path.isdir(there) else ():
                if name not in _OURS:
                    os.symlink(f"{there}/{name}", f"{self.root}/{here}/{name}")
        conf = network.get("conf", "").replace("@ROOT@", self.root)
        if network.get("direct"):
            self._write("apt-direct", network["direct"], 0o755)
        if network.get("authorities"):
            known = host.read_text(_BUNDLE) if os.path.exists(_BUNDLE) else ""
            self._write("authorities.pem", known + network["authorities"])
            conf += f'Acquire::https::CAInfo "{self.root}/authorities.pem";\n'
        if auth:
            self._write("auth.d/runnerhost.conf", auth, 0o600)
        self.config = f"{self.root}/apt.conf"
        self._write("apt.conf", _CONFIG.format(root=self.root) + conf)
        # Read before all others: it says where those are (apt.conf(5)).
        self._write("first.conf", f'Dir::Etc::parts "{self.root}/conf.d";\n')
        self.environment = {"APT_CONFIG": f"{self.root}/first.conf"}

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        handle = os.open(f"{self.root}/{name}", os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(text)

    def add(self, name: str, text: str) -> None:
        """One more source file."""
        self._write(f"parts/{name}", text)

    def update(self, timeout: int) -> str:
        """``apt-get update``: its errors, or an empty text."""
        done = host.run(
            ["apt-get", "-c", self.config, "-q", "update"], timeout=timeout, env=self.environment
        )
        if done.returncode == 0:
            return ""
        lines = [
            line
            for line in (done.stderr + done.stdout).splitlines()
            if line.startswith(("E:", "W:", "Err:", "apt-get:"))
        ]
        return "\n".join(dict.fromkeys(lines)) or done.stderr.strip() or "no answer"

    def cache(self, *arguments: str) -> str:
        """The output of ``apt-cache``."""
        return host.run(["apt-cache", "-c", self.config, *arguments]).stdout

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


def _own_sources() -> list[str]:
    """The file and the folder that the host's own apt reads its sources from."""
    asked = ["FILE", "Dir::Etc::sourcelist/f", "FOLDER", "Dir::Etc::sourceparts/d"]
    text = host.run(["apt-config", "shell", *asked]).stdout
    return [word.partition("=")[2] for word in shlex.split(text)]


def other_origins(path: str, sources: str) -> list[str]:
    """What all else on the host states: not the file at that path, not the repository itself."""
    twins = apt_sources.twins_of(sources)
    found = set()
    for one in apt_sources.indexes():
        entry = apt_sources.Entry([one.uri], [one.suite], [])
        if not one.entry.startswith(f"{path}:") and not twins.match(entry):
            found.add(one.origin)
    return sorted(found - {""})


def elsewhere(names: list[str], config: list[str], ours: apt_sources.Twins) -> dict[str, list[str]]:
    """Versions by package that other repositories than ours have."""
    found: dict[str, list[str]] = {}
    text = host.run(["apt-cache", *config, "madison", *names]).stdout if names else ""
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|")]
        # The address, suite/component, architecture and kind of an index.
        where = parts[2].split() if len(parts) == 3 else []
        if len(where) < 4 or where[3] != "Packages":
            continue
        known = found.setdefault(parts[0], [])
        entry = apt_sources.Entry([where[0]], [where[1].partition("/")[0]], [])
        if not ours.match(entry) and parts[1] not in known:
            known.append(parts[1])
    return {name: versions for name, versions in found.items() if versions}


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
    ours = apt_sources.twins_of(asked["sources"])

    def unknown(config: list[str]) -> list[str]:
        missing = []
        for name in names:
            text = host.run(["apt-cache", *config, "policy", name]).stdout
            match = re.search(r"Candidate: (\S+)", text)
            if not match or match.group(1) == "(none)":
                missing.append(name)
        return missing

    missing = names if distribution else unknown([])
    versions = {} if distribution else elsewhere(asked["distribution_names"], [], ours)
    if not missing and (versions or not asked["distribution_names"]):
        return [], versions, ""
    twins = apt_sources.twins_of(distribution)
    theirs: frozenset[tuple[str, str]] | None = None
    for path in _own_sources():
        entries = [path] if os.path.isfile(path) else []
        if os.path.isdir(path):
            entries = [os.path.join(path, name) for name in sorted(os.listdir(path))]
        for entry in entries:
            # A link that leads nowhere is none of apt's either.
            if not entry.endswith((".list", ".sources")) or not os.path.isfile(entry):
                continue
            if distribution and os.path.basename(entry) == _MIRROR:
                # As it was: apt refuses one repository with two keys.
                continue
            text = host.read_text(entry)
            own = entry in apt_sources.DISTRIBUTION_FILES
            cut = apt_sources.cutter(entry)
            here = replace(twins, releases=tuple(asked["distribution_suites"]) if own else ())
            if here.releases and cut(text, here)[1]:
                # As file_set does when it comes to it.
                theirs = apt_sources.third_parties() if theirs is None else theirs
                here = replace(here, theirs=theirs)
            text, _ = cut(text, here)
            scratch.add(os.path.basename(entry), text)
    if distribution:
        scratch.add("offer-distribution.sources", distribution)
    error = scratch.update(asked["timeout"])
    config = ["-c", scratch.config]
    versions = elsewhere(asked["distribution_names"], config, ours)
    return [name for name in unknown(config) if name in missing], versions, error


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "sources": {"type": "str", "required": True},
            "path": {"type": "str", "default": ""},
            "packages": {"type": "list", "elements": "str", "default": []},
            "names": {"type": "str", "default": ""},
            "distribution_packages": {"type": "list", "elements": "str", "default": []},
            "distribution_names": {"type": "list", "elements": "str", "default": []},
            "distribution_sources": {"type": "str", "default": ""},
            "distribution_suites": {"type": "list", "elements": "str", "default": []},
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
    problem = host.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
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
