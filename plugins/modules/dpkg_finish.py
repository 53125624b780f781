#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ends what a transaction of dpkg that was cut off has left; see DOCUMENTATION."""

from __future__ import annotations

import time

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.runnerhost.toolkit.plugins.module_utils import host

DOCUMENTATION = r"""
module: dpkg_finish
short_description: Finishes what a transaction of dpkg that was cut off has left undone
description:
  - A host that lost its power, or whose upgrade was killed, has packages that are unpacked and not
    configured. apt refuses every other transaction then.
  - Runs C(dpkg --configure -a), and C(apt-get --fix-broken install) if packages still lack others.
    Both keep changed configuration files. Nothing is done where nothing is left.
version_added: 0.1.0
options:
  lock_timeout:
    description: Seconds to wait for another process that works on packages, which may be at it.
    type: int
    default: 600
author:
  - The Runnerhost developers
"""

EXAMPLES = r"""
- name: Finish
  runnerhost.toolkit.dpkg_finish:
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


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={"lock_timeout": {"type": "int", "default": 600}},
        supports_check_mode=True,
    )
    problem = host.system_python_problem()
    if problem:
        module.fail_json(msg=problem)
    left = host.unfinished()
    if not left or module.check_mode:
        module.exit_json(changed=bool(left), finished=left)
    said = configure(module.params["lock_timeout"])
    if host.unfinished():
        # apt's answer is the one that names what is missing.
        said = fix(module.params["lock_timeout"])
    still = host.unfinished()
    if still:
        module.fail_json(
            msg=f"packages are left unfinished ({', '.join(still)}), and neither dpkg --configure "
            f"-a nor apt-get --fix-broken install could help: {said or 'they said nothing'}"
        )
    module.exit_json(changed=True, finished=left)


if __name__ == "__main__":
    main()
