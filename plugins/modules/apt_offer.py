#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""What a repository offers, asked of apt before the host's apt knows it; see DOCUMENTATION."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import host

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
"""


_CONFIG = """\
Dir::Etc::sourcelist "{root}/none.list";
Dir::Etc::sourceparts "{root}/parts";
Dir::Etc::preferences "{root}/none.pref";
Dir::Etc::preferencesparts "{root}/none.d";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
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


class Scratch:
    """A folder in which apt reads other sources and keeps other lists."""

    def __init__(self) -> None:
        self.root = tempfile.mkdtemp(prefix="runnerhost-offer-")
        # apt downloads as the user _apt, which must be able to get in.
        os.chmod(self.root, 0o755)
        for folder in ("parts", "none.d", "lists/partial", "cache/archives/partial"):
            os.makedirs(f"{self.root}/{folder}", mode=0o755)
        try:
            uid = pwd.getpwnam("_apt").pw_uid
            os.chown(f"{self.root}/lists/partial", uid, -1)
        except KeyError:
            pass
        for name in ("none.list", "none.pref", "status"):
            with open(f"{self.root}/{name}", "w", encoding="utf-8"):
                pass
        self.config = f"{self.root}/apt.conf"
        with open(self.config, "w", encoding="utf-8") as stream:
            stream.write(_CONFIG.format(root=self.root))

    def add(self, name: str, text: str) -> None:
        """One more source file."""
        with open(f"{self.root}/parts/{name}", "w", encoding="utf-8") as stream:
            stream.write(text)

    def update(self, timeout: int) -> str:
        """``apt-get update``: its errors, or an empty text."""
        done = host.run(["apt-get", "-c", self.config, "-q", "update"], timeout=timeout)
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


def not_offered_by_distribution(names: list[str], timeout: int) -> list[str]:
    """Those of the names without a candidate in the host's own sources.

    The host's own lists first; where they know a name not, the same sources are read anew.
    """

    def unknown(config: list[str]) -> list[str]:
        missing = []
        for name in names:
            text = host.run(["apt-cache", *config, "policy", name]).stdout
            match = re.search(r"Candidate: (\S+)", text)
            if not match or match.group(1) == "(none)":
                missing.append(name)
        return missing

    missing = unknown([])
    if not missing:
        return []
    scratch = Scratch()
    try:
        for path in ("/etc/apt/sources.list", "/etc/apt/sources.list.d"):
            entries = [path] if os.path.isfile(path) else []
            if os.path.isdir(path):
                entries = [os.path.join(path, name) for name in sorted(os.listdir(path))]
            for entry in entries:
                if entry.endswith((".list", ".sources")):
                    scratch.add(os.path.basename(entry), host.read_text(entry))
        scratch.update(timeout)
        return [name for name in unknown(["-c", scratch.config]) if name in missing]
    finally:
        scratch.close()


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "sources": {"type": "str", "required": True},
            "packages": {"type": "list", "elements": "str", "default": []},
            "names": {"type": "str", "default": ""},
            "distribution_packages": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    asked = module.params
    problem = host.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    scratch = Scratch()
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
    answer["missing_from_distribution"] = (
        []
        if error or not asked["distribution_packages"]
        else not_offered_by_distribution(asked["distribution_packages"], asked["timeout"])
    )
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
