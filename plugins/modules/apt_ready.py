#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Gets a host ready for a transaction of apt; see DOCUMENTATION."""

from __future__ import annotations

import os
import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import host, secrets

DOCUMENTATION = r"""
module: apt_ready
short_description: Gets a host ready for a transaction of apt, in one call
description:
  - Waits until cloud-init, which may still be installing at first boot, has ended. Its own failure
    is not ours.
  - Finishes what a transaction of dpkg that was cut off has left undone. A host that lost its
    power, or whose upgrade was killed, has packages that are unpacked and not configured. apt
    refuses every other transaction then. Runs C(dpkg --configure -a), and
    C(apt-get --fix-broken install) if packages still lack others. Both keep changed configuration
    files.
  - Reads apt's lists anew if they are old, by C(apt-get update). Ansible's own apt module opens its
    cache twice for that, which takes a second and more.
version_added: 0.1.0
options:
  lock_timeout:
    description: Seconds to wait for another process that works on packages, which may be at it.
    type: int
    default: 600
  lists_age:
    description: Seconds that apt's lists may be old; -1 to leave them as they are.
    type: int
    default: -1
author:
  - The Runnerhost developers
"""

EXAMPLES = r"""
- name: Get ready
  runnerhost.toolkit.apt_ready:
    lists_age: 3600
"""

RETURN = r"""
finished:
  description: What was, or in check mode would be, finished.
  type: list
  elements: str
  returned: always
"""


_KEEP = ("--force-confdef", "--force-confold")
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
# dpkg's own words for a lock that another process holds (lib/dpkg/dbmodify.c).
_LOCKED = "lock"
_SECONDS = 3600.0
CLOUD_INIT = "/usr/bin/cloud-init"


def configure(lock_timeout: float) -> str:
    """Why dpkg cannot finish, or an empty text. Waits while another process is at it."""
    end = time.monotonic() + lock_timeout
    while True:
        done = host.run(["dpkg", *_KEEP, "--configure", "-a"], timeout=_SECONDS, env=_ENVIRONMENT)
        if done.returncode == 0:
            return ""
        said = done.stderr.strip()
        if _LOCKED not in said or time.monotonic() > end:
            return said[-800:] or "no answer"
        time.sleep(2)


def fix(lock_timeout: int) -> str:
    """Why apt cannot bring what unpacked packages lack, or an empty text."""
    options = [word for one in _KEEP for word in ("-o", f"Dpkg::Options::={one}")]
    lock = ["-o", f"DPkg::Lock::Timeout={lock_timeout}"]
    done = host.run(
        ["apt-get", "-q", "-y", *lock, *options, "--fix-broken", "install"],
        timeout=_SECONDS,
        env=_ENVIRONMENT,
    )
    return "" if done.returncode == 0 else done.stderr.strip()[-800:] or "no answer"


def lists_age() -> float:
    """Seconds since apt's lists were read, as Ansible's apt module takes it."""
    # The first is Ubuntu's (update-notifier).
    for path in ("/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/lists"):
        if os.path.exists(path):
            return time.time() - os.stat(path).st_mtime
    return float("inf")


def update(lock_timeout: float) -> str:
    """Why apt cannot read its lists, or an empty text. Waits while another process is at it."""
    end = time.monotonic() + lock_timeout
    options = ["-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=3"]
    while True:
        done = host.run(["apt-get", "-q", *options, "update"], timeout=_SECONDS, env=_ENVIRONMENT)
        if done.returncode == 0:
            return ""
        said = done.stderr.strip()
        if "Could not get lock" not in said or time.monotonic() > end:
            return secrets.redact_text(said[-800:]) or "no answer"
        time.sleep(2)


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "lock_timeout": {"type": "int", "default": 600},
            "lists_age": {"type": "int", "default": -1},
        },
        supports_check_mode=True,
    )
    problem = host.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    left = host.unfinished()
    if module.check_mode:
        module.exit_json(changed=bool(left), finished=left)
    patience, most = module.params["lock_timeout"], module.params["lists_age"]
    if os.path.exists(CLOUD_INIT):
        host.run([CLOUD_INIT, "status", "--wait"], timeout=patience)
        left = host.unfinished()
    if left:
        said = configure(patience)
        if host.unfinished():
            # apt's answer is the one that names what is missing.
            said = fix(patience)
        still = host.unfinished()
        if still:
            module.fail_json(
                msg=f"packages are left unfinished ({', '.join(still)}), and neither dpkg "
                "--configure -a nor apt-get --fix-broken install could help: "
                f"{said or 'they said nothing'}"
            )
    if 0 <= most <= lists_age():
        said = update(patience)
        if said:
            module.fail_json(msg=f"apt cannot read its lists: {said}", changed=bool(left))
    module.exit_json(changed=bool(left), finished=left)


if __name__ == "__main__":
    main()
