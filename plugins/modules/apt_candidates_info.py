#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repository offers, asked of apt before the host's apt knows it; see DOCUMENTATION."""

from __future__ import annotations

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
  duplicates:
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
attributes:
  check_mode:
    description: Can run in check mode and predict the result without changing the host.
    support: full
  diff_mode:
    description: Shows what changes, and no secret, in diff mode.
    support: none
author:
  - The Runnerhost developers (@runnerhost)
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
      that apt cannot read, each with its file, C(no_room) file systems with too little room.
  type: dict
  returned: always
"""

import contextlib
import errno
import re
import subprocess
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_copies,
    _apt_request,
    _apt_scratch,
    _apt_simulation,
    _apt_sources,
    _apt_space,
    _dpkg,
    _files,
    _system,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_request import Request
from ansible_collections.runnerhost.toolkit.plugins.module_utils._apt_scratch import Scratch


def other_origins(path: str, sources: str) -> list[str]:
    """What all else on the host states: not the file at that path, not the repository itself."""
    duplicates = _apt_sources.duplicates_of(sources)
    found = set()
    for one in _apt_sources.indexes():
        entry = _apt_sources.Entry([one.uri], [one.suite], [])
        if not one.entry.startswith(f"{path}:") and not duplicates.match(entry):
            found.add(one.origin)
    return sorted(found - {""})


def elsewhere(
    names: list[str], config: list[str], ours: _apt_sources.Duplicates
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


def simulate(asked: Request) -> dict[str, Any]:
    """What the installation would do to the host, once the planned files are written."""
    own = _apt_scratch.own_places()
    if not own["status"]:
        said = _system.run(["apt-config", "dump"]).stderr
        return {**_apt_simulation.NOTHING, "error": _apt_simulation.words(said), "stops": True}
    full: dict[str, Any] = {
        **_apt_simulation.NOTHING,
        "no_room": [_apt_space.full(_apt_scratch.PLACE)],
    }
    try:
        with contextlib.closing(Scratch(asked.network, asked.auth, own)) as scratch:
            answer = simulate_in(scratch, asked, own)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return full
    return full if _apt_space.FULL in answer["error"] else answer


def simulate_in(scratch: Scratch, asked: Request, own: Mapping[str, str]) -> dict[str, Any]:
    """The same, in a world of its own."""
    sources = _apt_copies.copy_sources(asked, scratch, own)
    pins = _apt_copies.copy_pins(asked.files, scratch, own)
    left = copy_status(scratch, own["status"])
    scratch.take_lists(own["lists"])
    done, errors = transaction(asked, scratch)
    answer: dict[str, Any] = {
        **_apt_simulation.NOTHING,
        **_apt_simulation.changes(done.stdout),
        "unreadable": _apt_simulation.unreadable(errors, sources) if errors else [],
        "unfinished": left,
        "pins": pins,
    }
    if done.returncode != 0:
        return {**answer, **failure(done, scratch, sources)}
    if coming := _apt_space.names(answer):
        records = scratch.cache("show", *coming)
        answer["no_room"] = _apt_space.lacking(records, list(answer["upgrades"]), own["archives"])
    return answer


def copy_status(scratch: Scratch, path: str) -> list[str]:
    """dpkg's record of the host; returns what a transaction that was cut off has left undone."""
    left = _dpkg.unfinished(path)
    text = _files.read_text(path)
    if left:
        # The run finishes it first.
        text = re.sub(
            r"(?m)^(Status: \S+) \S+ (?:half|unpacked|triggers)\S*", r"\1 ok installed", text
        )
    scratch.add("./status", text)
    return left


def transaction(asked: Request, scratch: Scratch) -> tuple[subprocess.CompletedProcess[str], str]:
    """apt's simulation, and the errors of reading its lists.

    Lists that are not old are read anew only if the simulation fails with them.
    """
    downgrade = ["--allow-downgrades"] if asked.allow_downgrade else []
    words = ["--no-install-recommends", *downgrade, "install", *asked.install]
    if asked.lists_age > 0 and _apt_sources.lists_age() < asked.lists_age:
        done = scratch.simulate(words, asked.timeout)
        if done.returncode == 0:
            return done, ""
    errors = scratch.update(asked.timeout)
    return scratch.simulate(words, asked.timeout), errors


def failure(
    done: subprocess.CompletedProcess[str], scratch: Scratch, sources: Mapping[str, str]
) -> dict[str, Any]:
    """Why apt refuses the transaction."""
    said = scratch.by_real_paths(f"{done.stdout}\n{done.stderr}")
    unknown = _apt_simulation.unknown(said)
    names = scratch.cache("pkgnames").split() if unknown else []
    stops = bool(_apt_simulation.STOPS.search(said))
    return {
        **({"unreadable": _apt_simulation.places(said, sources)} if stops else {}),
        "error": _apt_simulation.words(said),
        "stops": stops,
        "unknown": unknown,
        "nearest": {name: _apt_simulation.nearest(name, names) for name in unknown},
        "pinned": [
            name
            for name in unknown
            if re.search(r"\(none\)\n  Version table:\n.*\d", scratch.cache("policy", name))
        ],
    }


def from_distribution(
    asked: Request, scratch: Scratch
) -> tuple[list[str], dict[str, list[str]], str]:
    """What the host's own sources offer.

    The host's own lists first; where they know a name not, the same sources are read anew. A mirror
    that takes the place of the distribution's entries is always read: the host's lists say nothing
    of it.

    Returns:
        Those of ``distribution_packages`` without a candidate, the versions of
        ``distribution_names``, and apt's errors.
    """
    names, distribution = asked.distribution_packages, asked.distribution_sources
    ours = _apt_sources.duplicates_of(asked.sources)

    def unknown(config: list[str]) -> list[str]:
        missing = []
        for name in names:
            text = _system.run(["apt-cache", *config, "policy", name]).stdout
            match = re.search(r"Candidate: (\S+)", text)
            if not match or match.group(1) == "(none)":
                missing.append(name)
        return missing

    missing = names if distribution else unknown([])
    versions = {} if distribution else elsewhere(asked.distribution_names, [], ours)
    if not missing and (versions or not asked.distribution_names):
        return [], versions, ""
    _apt_copies.copy_sources(asked, scratch, _apt_scratch.own_places())
    error = scratch.update(asked.timeout)
    config = ["-c", scratch.config]
    versions = elsewhere(asked.distribution_names, config, ours)
    return [name for name in unknown(config) if name in missing], versions, error


def candidates(asked: Request) -> dict[str, Any]:
    """What the repository offers, and what the host's own sources do."""
    scratch = Scratch(asked.network, asked.auth)
    try:
        scratch.add("offer.sources", asked.sources)
        error = scratch.update(asked.timeout, whole=True)
        names = []
        if asked.names and not error:
            pattern = re.compile(asked.names)
            names = sorted(n for n in scratch.cache("pkgnames").split() if pattern.fullmatch(n))
        answer = {
            "error": error,
            "offer": {} if error else scratch.versions(asked.packages),
            "origins": [] if error else scratch.origins(),
            "names": names,
        }
    finally:
        scratch.close()
    answer["other_origins"] = other_origins(asked.path, asked.sources) if asked.path else []
    missing: list[str] = []
    versions: dict[str, list[str]] = {}
    problem = ""
    if not error and (asked.distribution_packages or asked.distribution_names):
        scratch = Scratch(asked.network, asked.auth)
        try:
            missing, versions, problem = from_distribution(asked, scratch)
        finally:
            scratch.close()
    answer["missing_from_distribution"], answer["distribution_offer"] = missing, versions
    answer["distribution_error"] = problem
    return answer


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=_apt_request.arguments(), supports_check_mode=True)
    problem = _system.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    asked = Request(**module.params)
    if asked.install:
        module.exit_json(changed=False, simulated=simulate(asked))
    module.exit_json(changed=False, **candidates(asked))


if __name__ == "__main__":
    main()
