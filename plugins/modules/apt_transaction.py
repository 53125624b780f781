#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One transaction of apt with all that it takes before and after; see DOCUMENTATION."""

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_transaction
short_description: One transaction of apt, in one call
description:
  - Waits until cloud-init, which may still be installing at first boot, has ended; not where the
    system was not booted (a chroot). Its own failure is not ours.
  - Finishes what a transaction of dpkg that was cut off has left undone. A host that lost its
    power, or whose upgrade was killed, has packages that are unpacked and not configured. apt
    refuses every other transaction then. Runs C(dpkg --configure -a), and
    C(apt-get --fix-broken install) if packages still lack others. Both keep changed configuration
    files.
  - Reads apt's lists anew if they are old, by C(apt-get update), and once more where the
    transaction fails.
  - Removes nothing if others would go along which are not named, in check mode too, and fails then.
  - Installs or removes by C(apt-get), with the options of M(ansible.builtin.apt). That module does
    the same, but opens apt's cache several times, which takes it some eight seconds for the
    packages of a new host. What is missing must be known before.
version_added: 0.1.0
options:
  names:
    description: Packages, each alone or as C(name=version); a version may be a pattern.
    type: list
    elements: str
    default: []
  state:
    description: Whether they should be there.
    type: str
    choices: [present, absent]
    default: present
  manual:
    description: Installed packages that autoremove may not take any more.
    type: list
    elements: str
    default: []
  automatic:
    description: Packages of O(names) that autoremove may take afterwards.
    type: list
    elements: str
    default: []
  allow_downgrade:
    description: Whether a lower version may replace a higher one.
    type: bool
    default: false
  lock_timeout:
    description: Seconds to wait for another process that works on packages.
    type: int
    default: 600
  lists_age:
    description: Seconds that apt's lists may be old.
    type: int
    default: 3600
  background:
    description:
      - Start the transaction, which goes on by itself, and return its RV(job). An answer to O(job)
        ends it.
    type: bool
    default: false
  job:
    description: A transaction that was started; wait for its end.
    type: str
    default: ""
  patience:
    description: Seconds to wait for the end of O(job), at most.
    type: int
    default: 10
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
- name: Install two packages
  runnerhost.toolkit.apt_transaction:
    names: [git, cmake]
"""

RETURN = r"""
job:
  description: The transaction that is running.
  type: str
  returned: with O(background), and with O(job) while it runs
phase:
  description: What apt is doing.
  type: str
  returned: with O(job) while it runs
finished:
  description: What was, or in check mode would be, finished.
  type: list
  elements: str
  returned: always
unreadable:
  description: Sources that apt cannot read, each with its file; the transaction did not need them.
  type: list
  elements: str
  returned: if there are any
replaced:
  description: Packages of O(names) that are not as they were before the transaction that failed.
  type: list
  elements: str
  returned: failure
company:
  description: What a removal would have taken along.
  type: list
  elements: str
  returned: failure
ending:
  description: The end of what apt said.
  type: list
  elements: str
  returned: failure
"""

import os
import re
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _apt_job,
    _apt_simulation,
    _apt_sources,
    _apt_space,
    _dpkg,
    _files,
    _secrets,
    _system,
)

_KEEP = ("--force-confdef", "--force-confold")
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "DEBIAN_PRIORITY": "critical"}
# A host half way through is no time to restart services.
_REPAIR = {**_ENVIRONMENT, "NEEDRESTART_SUSPEND": "1"}
# dpkg's own words for a lock that another process holds (lib/dpkg/file.c), and debconf's.
_LOCKED = re.compile(r"\b(?:is|was) locked by another process")
_SECONDS = 3600.0
# A package's script may wait for jobs as long as the service's TimeoutStopSec: a transaction that
# is cut off is worse than one that takes a day.
_DAY = 86_400.0
CLOUD_INIT = "/usr/bin/cloud-init"
# How much of apt's output a failure shows: its screens are hundreds of lines.
_ENDING_LINES = 12


def configure(lock_timeout: float) -> str:
    """Why dpkg cannot finish, or an empty text. Waits while another process is at it."""
    end = time.monotonic() + lock_timeout
    while True:
        done = _system.run(["dpkg", *_KEEP, "--configure", "-a"], timeout=_DAY, env=_REPAIR)
        if done.returncode == 0:
            return ""
        said = done.stderr.strip()
        if not _LOCKED.search(said) or time.monotonic() > end:
            return said[-800:] or "no answer"
        time.sleep(2)


def booted(proc: str = "/proc") -> bool:
    """True if systemd is really PID 1, and of this system: a chroot may see another's.

    Not `_systemd.has_systemd`: while an image is baked that says no, and a folder there says yes.
    """
    try:
        same = os.path.samefile(f"{proc}/1/root", "/")
        return same and _files.read_text(f"{proc}/1/comm").strip() == "systemd"
    except OSError:
        return False


def apt_get(
    words: Sequence[str], lock_timeout: int, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A transaction, with the options of Ansible's apt module; waits for dpkg's lock."""
    env = env or _ENVIRONMENT
    keep = [word for one in _KEEP for word in ("-o", f"Dpkg::Options::={one}")]
    lock = ["-o", f"DPkg::Lock::Timeout={lock_timeout}"]
    command = ["apt-get", "-q", "-y", *lock, *keep]
    with _apt_job.status() as handle:
        if handle is None:
            return _system.run([*command, *words], timeout=_DAY, env=env)
        command += ["-o", f"APT::Status-Fd={handle}"]
        return _system.run([*command, *words], timeout=_DAY, env=env, pass_fds=[handle])


def fix(lock_timeout: int) -> str:
    """Why apt cannot bring what unpacked packages lack, or an empty text."""
    done = apt_get(["--fix-broken", "install"], lock_timeout, _REPAIR)
    if done.returncode == 0:
        return ""
    # It fetches, and an address may hold a password.
    return _secrets.redact_text(done.stderr.strip()[-800:]) or "no answer"


def update(lock_timeout: float) -> str:
    """Why apt cannot read its lists, or an empty text. Waits while another process is at it."""
    end = time.monotonic() + lock_timeout
    options = ["-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=3"]
    while True:
        done = _system.run(
            ["apt-get", "-q", *options, "update"], timeout=_SECONDS, env=_ENVIRONMENT
        )
        if done.returncode == 0:
            return ""
        said = done.stderr.strip()
        if "Could not get lock" not in said or time.monotonic() > end:
            return _secrets.redact_text(said) or "no answer"
        time.sleep(2)


def mark(how: str, names: Sequence[str]) -> str:
    """Why packages could not be marked ``manual`` or ``auto``, or an empty text."""
    if not names:
        return ""
    done = _system.run(["apt-mark", how, *names])
    return "" if done.returncode == 0 else done.stderr.strip()[-800:] or "no answer"


# What a host's apt.conf may have apt take away besides; a removal here takes what is named.
_ONLY_NAMED = ("-o", "APT::Get::AutomaticRemove=false")


class Failed(Exception):
    """The end of a transaction; the message, and more for the answer."""

    def __init__(self, msg: str, **more: Any) -> None:
        super().__init__(msg)
        self.answer = {"failed": True, "msg": msg, **more}


def refuse_company(names: Sequence[str], left: Sequence[str], check: bool) -> None:
    """Fails where a removal would take along what is not named; apt-get -y asks nobody."""
    # Without -y, which makes apt refuse held packages in its own words later.
    done = _system.run(["apt-get", "-q", "-s", *_ONLY_NAMED, "remove", *names], timeout=120)
    if done.returncode:
        if left and check:
            # apt judges nothing before dpkg has finished, which check mode does not do.
            return
        said = _secrets.redact_text(done.stderr.strip()[-800:])
        raise Failed(f"apt-get -s remove: {said or 'no answer'}")
    going = re.findall(r"(?m)^(?:Remv|Purg) ([^\s:]+)", done.stdout)
    company = sorted(set(going) - {name.partition(":")[0] for name in names})
    if company:
        raise Failed(
            f"nothing was removed: {', '.join(names)} would take along {', '.join(company)}. "
            "Remove what needs them yourself, or let them stay",
            company=company,
        )


def transact(asked: dict[str, Any]) -> list[str]:
    """Installs or removes; a second time with new lists where they were not just read.

    Returns the sources that apt cannot read, which the transaction did not need.
    """
    names, patience = asked["names"], asked["lock_timeout"]
    if asked["state"] == "absent":
        words, ages = [*_ONLY_NAMED, "remove", *names], [float("inf")]
    else:
        downgrade = ["--allow-downgrades"] if asked["allow_downgrade"] else []
        words = ["--no-install-recommends", *downgrade, "install", *names]
        # Young lists may be those of other sources, or gone.
        ages = [float(asked["lists_age"]), 0.0]
    bare = [re.split("[=:]", name)[0] for name in names]
    before = _dpkg.packages(bare)
    errors = ""
    for age in ages:
        # At 0 in any case: a clock that was set back makes lists of the future.
        old = asked["state"] == "present" and (age <= 0 or _apt_sources.lists_age() >= age)
        if old:
            _apt_job.phase("reading the package lists")
        errors = update(patience) if old else ""
        _apt_job.phase("")
        done = apt_get(words, patience)
        if done.returncode == 0:
            return _apt_simulation.unreadable(errors, _apt_sources.source_texts()) if errors else []
        if old:
            break
    now = _dpkg.packages(bare)
    said = _secrets.redact_text(done.stderr.strip()[-800:]) or "no answer"
    if _apt_space.FULL in done.stdout + done.stderr:
        said = f"the disk is full ({_apt_space.FULL}): make room, then run this again. {said}"
    raise Failed(
        f"apt-get {'remove' if asked['state'] == 'absent' else 'install'}: {said}"
        + (f" (apt-get update: {errors[-800:]})" if errors else ""),
        ending=_secrets.redact_text(done.stdout).splitlines()[-_ENDING_LINES:],
        replaced=sorted(name for name in bare if before.get(name) != now.get(name)),
    )


def perform(asked: dict[str, Any]) -> dict[str, Any]:
    """All of it; the module's answer."""
    patience = asked["lock_timeout"]
    removes = asked["state"] == "absent" and bool(asked["names"])
    # Where it was not started it says for ever that it has not run yet.
    if os.path.exists(CLOUD_INIT) and booted():
        _apt_job.phase("waiting for cloud-init")
        _system.run([CLOUD_INIT, "status", "--wait"], timeout=patience)
    left = _dpkg.unfinished()
    if left:
        _apt_job.phase("finishing what another transaction has left")
        said = configure(patience)
        if _dpkg.unfinished():
            # apt's answer is the one that names what is missing.
            said = fix(patience)
        still = _dpkg.unfinished()
        if still:
            raise Failed(
                f"packages are left unfinished ({', '.join(still)}), and neither dpkg "
                "--configure -a nor apt-get --fix-broken install could help: "
                f"{said or 'they said nothing'}"
            )
    if removes:
        refuse_company(asked["names"], left, check=False)
    unreadable = transact(asked) if asked["names"] else []
    for how, packages in (("manual", asked["manual"]), ("auto", asked["automatic"])):
        said = mark(how, packages)
        if said:
            raise Failed(f"apt-mark {how}: {said}", changed=True)
    return {
        "changed": bool(left or asked["names"] or asked["manual"]),
        "finished": left,
        **({"unreadable": unreadable} if unreadable else {}),
    }


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return perform(asked)
    except Failed as failed:
        return failed.answer


def main() -> None:
    """Entry point of the module."""
    names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "names": names,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "manual": names,
            "automatic": names,
            "allow_downgrade": {"type": "bool", "default": False},
            "lock_timeout": {"type": "int", "default": 600},
            "lists_age": {"type": "int", "default": 3600},
            "background": {"type": "bool", "default": False},
            "job": {"type": "str", "default": ""},
            "patience": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    problem = _system.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    asked = module.params
    try:
        if module.check_mode:
            left = _dpkg.unfinished()
            if asked["state"] == "absent" and asked["names"]:
                refuse_company(asked["names"], left, check=True)
            changed = bool(left or asked["names"] or asked["manual"])
            answer = {"changed": changed, "finished": left}
        elif asked["job"]:
            answer = _apt_job.wait(asked["job"], asked["patience"])
        elif asked["background"]:
            answer = {"changed": False, "job": _apt_job.start(lambda: _answer(asked))}
        else:
            answer = perform(asked)
    except Failed as failed:
        answer = failed.answer
    if answer.pop("failed", False):
        module.fail_json(**answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
