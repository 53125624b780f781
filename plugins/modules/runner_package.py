#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pair of runner packages: the previous one kept, put back, and the new one checked."""

from __future__ import annotations

DOCUMENTATION = r"""
module: runner_package
short_description: Keeps the installed pair of runner packages, puts it back, checks a new one
description:
  - A release can install well and die at its start. So an upgrade keeps the installed pair on the
    host first, and is done only when the service has stayed up with one process and GitLab takes
    the runners that it took before.
version_added: 0.1.0
options:
  op:
    description:
      - C(keep) has the installed pair's files on the host, C(restore) installs kept ones.
      - C(check_health) checks the health of the service; it reports and does not fail.
      - C(finish) ends an upgrade that passed its health check and whose runner takes jobs again.
    type: str
    choices: [keep, restore, check_health, finish]
    required: true
  version:
    description: The package version to keep or to restore.
    type: str
    default: ""
  seconds:
    description: For C(check_health), how long the service must stay up with one process.
    type: int
    default: 10
  stop_timeout:
    description: For C(check_health), the seconds that the stop of a service waits for its jobs.
    type: int
    default: 7200
  without:
    description: For C(keep), whether the upgrade goes on if nothing could be kept.
    type: bool
    default: false
  expected:
    description: For C(check_health), the runners that GitLab accepted before.
    type: list
    elements: str
    default: []
  services:
    description:
      - The names of the services that are checked; an empty one is that of the package's own
        service. The first has been started by the package, the others are restarted.
    type: list
    elements: str
    default: [""]
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
- name: Keep the installed pair
  runnerhost.toolkit.runner_package:
    op: keep
    version: 18.5.0-1
"""

RETURN = r"""
kept:
  description: For C(keep), whether a rollback to that version is possible.
  type: bool
  returned: when O(op=keep)
valid:
  description: The runners that GitLab calls valid now.
  type: list
  elements: str
  returned: when O(op=keep) or O(op=check_health)
problem:
  description: For C(check_health), what is wrong with the new version; empty if nothing.
  type: str
  returned: when O(op=check_health)
"""

import glob
import json
import os
import shutil
import time
from contextlib import suppress
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _dpkg,
    _drain,
    _files,
    _runner_cli,
    _runner_facts,
    _secrets,
    _system,
    _systemd,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import place
from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import (
    PACKAGE,
    PAIR,
    has_the_images_itself,
)

FOLDER = _runner_facts.KEPT_FOLDER
ARCHIVES = "/var/cache/apt/archives"
UNCONFIRMED = _runner_facts.UNCONFIRMED
"""State of an upgrade that has not passed its health check, for a run after a dead controller."""
OPS = ["keep", "restore", "check_health", "finish"]
# How long a service that was just installed may take to be up.
START_SECONDS = 30.0
# What a restart may take beside the wait for a job.
RESTART_SECONDS = 120
# As long as a drain's own lease.
LEASE_SECONDS = 120
_NO_ENTRY = "no runner matches"


def names(folder: str) -> list[str]:
    """The runners that the toolkit's note beside config.toml names."""
    try:
        entries = json.loads(_files.read_text(f"{folder}/runnerhost.json"))["entries"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(entry.get("name")) for entry in entries]


def gitlab_environment(unit: str) -> dict[str, str]:
    """How the service reaches GitLab: the proxies of its own environment."""
    pid = int(_systemd.units([unit]).get(unit, {}).get("MainPID") or 0)
    wanted = ("http_proxy", "https_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")
    found = _system.process_environment(pid) if pid else {}
    return {name: value for name, value in found.items() if name.lower() in wanted}


def extend_pause(folder: str) -> None:
    """Extends the lease of the upgrade's pause; a longer one stays."""
    if _drain.is_paused(folder) and _drain.lease_left(folder) < LEASE_SECONDS:
        _drain.renew(folder, LEASE_SECONDS)


def answers_of(folder: str, unit: str, ours: bool) -> dict[str, str]:
    """What GitLab says of the runners, asked through the installed binary.

    Args:
        folder: where config.toml lies.
        unit: the service.
        ours: whether a pause is this upgrade's own, and lasts as long as the questions.
    """
    told: dict[str, str] = {}
    reasons: dict[str, str] = {}
    to_gitlab = gitlab_environment(unit)
    for name in names(folder):
        # A pause that ends between two questions would take the file away that is asked about.
        if ours:
            extend_pause(folder)
        path = (
            f"{folder}/{_drain.KEPT}" if _drain.is_paused(folder) else f"{folder}/{_drain.CONFIG}"
        )
        told |= _runner_cli.verify(path, [name], to_gitlab, reasons)
    # An entry that was removed from config.toml gets no answer.
    return {name: said for name, said in told.items() if _NO_ENTRY not in reasons.get(name, "")}


def files(folder: str, version: str) -> list[str]:
    """The package files of a version in a folder, as apt names them; the pair or what is there."""
    plain = version.replace(":", "%3a")
    return [path for name in PAIR for path in glob.glob(f"{folder}/{name}_{plain}_*.deb")]


def wanted(version: str) -> list[str]:
    """The packages whose files are a way back to this version."""
    records = _dpkg.packages(list(PAIR))
    if has_the_images_itself(version):
        # The images on the host may be a newer version's that came in between, and stayed.
        return [n for n in PAIR if n == PACKAGE or records.get(n, {}).get("version") == version]
    # In the middle of a dead controller's transaction, one of them or both are not.
    return [name for name in PAIR if _dpkg.is_installed(records.get(name))] or list(PAIR)


def keep(version: str) -> tuple[bool, bool]:
    """Whether the files of the version are in our folder now, and whether that is a change.

    From apt's own archives, where it keeps what it has installed; else from the repository.
    """
    packages = wanted(version)
    if len(files(FOLDER, version)) >= len(packages):
        return True, False
    # Beside the kept ones, which are the way back until the new ones are all there.
    new = f"{FOLDER}/new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new, mode=0o755)
    for path in files(ARCHIVES, version):
        shutil.copy(path, new)
    if len(files(new, version)) < len(packages):
        _system.run(
            [
                *("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download"),
                *(f"{name}={version}" for name in packages),
            ],
            timeout=300,
            cwd=new,
        )
    found = files(new, version)
    kept = len(found) >= len(packages)
    if kept:
        older = set(glob.glob(f"{FOLDER}/*.deb"))
        for path in found:
            os.replace(path, f"{FOLDER}/{os.path.basename(path)}")
        for path in older - set(files(FOLDER, version)):
            os.unlink(path)
    shutil.rmtree(new)
    return kept, True


def begun() -> dict[str, Any]:
    """The upgrade without a health check so far; empty if there is none."""
    try:
        found = json.loads(_files.read_text(UNCONFIRMED))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def begin(version: str, now: list[str], silent: list[str]) -> list[str]:
    """Notes an upgrade; one that was cut off stays as it began. Returns who was valid then."""
    found = begun()
    installed = (_dpkg.packages([PACKAGE]).get(PACKAGE) or {}).get("version")
    # With the version from which it began on the host, what is valid now is what was before: a
    # runner that was deleted in GitLab since is not the new version's fault.
    if not found or found.get("from") == installed:
        os.makedirs(FOLDER, mode=0o755, exist_ok=True)
        if found.get("restored"):
            # What was rolled back still needs its health check, even if GitLab does not answer now.
            waiting = set(found.get("valid", [])) & set(silent)
            found = {**found, "valid": sorted({*now, *waiting})}
        else:
            found = {"from": version, "valid": now}
        _files.write_atomic(UNCONFIRMED, json.dumps(found) + "\n", 0o644)
    return [str(name) for name in found.get("valid", [])]


def end() -> None:
    """The upgrade is over: checked and resumed, or rolled back."""
    with suppress(FileNotFoundError):
        os.unlink(UNCONFIRMED)


def restore(version: str) -> str:
    """Installs the kept files; apt's words if it could not."""
    paths = files(FOLDER, version)
    if not paths:
        return f"no package files of {version} in {FOLDER}"
    # What is in the newer version's package of images now, the older runner brings itself; dpkg
    # takes no file that is another package's otherwise.
    over = ["-o", "Dpkg::Options::=--force-overwrite"] if has_the_images_itself(version) else []
    done = _system.run(
        [
            *("apt-get", "-q", "-y", "--allow-downgrades", "--no-install-recommends"),
            *("-o", "Dpkg::Options::=--force-confold", "-o", "DPkg::Lock::Timeout=600"),
            *(*over, "install", *paths),
        ],
        timeout=7200,
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip()


def uptime_problem(unit: str, seconds: float) -> str:
    """Why the service is not up with one process for so long; empty if it is."""
    state: dict[str, str] = {}

    def main_pid() -> str:
        state.update(_systemd.units([unit]).get(unit, {}))
        return state.get("MainPID", "0") if state.get("ActiveState") == "active" else "0"

    end = time.monotonic() + START_SECONDS
    while (pid := main_pid()) == "0":
        if time.monotonic() > end:
            return f"{unit} is {state.get('ActiveState')} ({state.get('SubState')})"
        time.sleep(0.2)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if main_pid() != pid:
            return f"{unit} did not stay up: {state.get('ActiveState')} ({state.get('SubState')})"
        time.sleep(0.2)
    return ""


def ask_gitlab(places: list[tuple[str, str]], ours: bool) -> dict[str, str]:
    """What GitLab says of the runners, over all services of the host."""
    return {name: said for where in places for name, said in answers_of(*where, ours).items()}


def names_with(said: str, told: dict[str, str]) -> list[str]:
    """The runners of which GitLab says this."""
    return sorted(name for name, answer in told.items() if answer == said)


def check_health(
    places: list[tuple[str, str]], seconds: float, expected: list[str], stop_timeout: float
) -> str:
    """Why the installed version fails its health check; empty if it passes.

    The package's scripts start only its own service: the isolated ones are restarted here.
    """
    for number, (__, unit) in enumerate(places):
        for folder, __ in places:
            extend_pause(folder)
        if number:
            # A drain that goes on at its deadline leaves jobs, and their end is waited for.
            limit = stop_timeout + RESTART_SECONDS
            _drain.await_listening(unit)
            done = _system.run(["systemctl", "restart", unit], timeout=limit)
            if done.returncode:
                return f"{unit} did not restart: {(done.stderr or done.stdout).strip()}"
        problem = uptime_problem(unit, seconds)
        if problem:
            journal = _system.run(["journalctl", "-u", unit, "-n", "5", "--no-pager", "-o", "cat"])
            return f"{problem}; its last words: {_secrets.redact_text(journal.stdout.strip())}"
    lost = sorted(set(expected) - set(names_with("valid", ask_gitlab(places, ours=True))))
    return f"GitLab takes {', '.join(lost)} no more" if lost else ""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "op": {"type": "str", "choices": OPS, "required": True},
            "version": {"type": "str", "default": ""},
            "seconds": {"type": "int", "default": 10},
            "stop_timeout": {"type": "int", "default": 7200},
            "without": {"type": "bool", "default": False},
            "expected": {"type": "list", "elements": "str", "default": []},
            "services": {"type": "list", "elements": "str", "default": [""]},
        },
        supports_check_mode=True,
    )
    asked = module.params
    if module.check_mode:
        module.exit_json(changed=False, kept=True, valid=[], problem="", skipped=True)
    places = [
        (of.folder, of.unit)
        for number, of in enumerate(map(place, asked["services"]))
        # One that this run adds has nothing to check yet.
        if not number or _drain.raw(f"{of.folder}/{_drain.CONFIG}") is not None
    ]
    if asked["op"] == "keep":
        kept, changed = keep(asked["version"])
        # A pause that is found before the drain may be a dead controller's.
        told = ask_gitlab(places, ours=False)
        now = names_with("valid", told)
        if kept or asked["without"]:
            now = begin(asked["version"], now, names_with("unanswered", told))
        module.exit_json(changed=changed, kept=kept, valid=now)
    if asked["op"] == "restore":
        problem = restore(asked["version"])
        if problem:
            module.fail_json(msg=f"{asked['version']} could not be put back: {problem}")
        # Until it passes its check, too: a run that finds the state file checks the service again.
        _files.write_atomic(UNCONFIRMED, json.dumps({**begun(), "restored": True}) + "\n", 0o644)
        module.exit_json(changed=True)
    if asked["op"] == "finish":
        end()
        module.exit_json(changed=False)
    problem = check_health(places, asked["seconds"], asked["expected"], asked["stop_timeout"])
    found = [] if problem else names_with("valid", ask_gitlab(places, ours=True))
    module.exit_json(changed=False, problem=problem, valid=found)


if __name__ == "__main__":
    main()
