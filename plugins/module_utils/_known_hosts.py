# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether ssh knows a host's key for a user, so that no job is asked whether to trust it.

Runs on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import tempfile

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _files, _system

# ssh_config(5), GlobalKnownHostsFile.
SYSTEM = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
CONFIG = "/etc/ssh/ssh_config"


def problem(host: str, home: str, lines: str) -> str:
    """Why ssh would ask about a host, which ends a job; empty if it would not.

    Args:
        host: its name, without a pattern.
        home: of the user.
        lines: known hosts that this run brings.
    """
    if not (shutil.which("ssh-keygen") and shutil.which("ssh")):
        return ""
    said = _settings(host, home)
    if (
        not re.search(r"(?m)^stricthostkeychecking (ask|yes|true)$", said)
        or re.search(r"(?m)^knownhostscommand (?!none$)", said)
        or re.search(r"(?m)^verifyhostkeydns (yes|true)$", said)
    ):
        return ""
    named = re.findall(r"(?m)^(?:global|user)knownhostsfile (.*)$", said)
    files = [*SYSTEM, f"{home}/.ssh/known_hosts", f"{home}/.ssh/known_hosts2"]
    files += [path for line in named for path in line.split()]
    text = "\n".join([lines, *(_files.read_text(path) for path in files if os.path.isfile(path))])
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="runnerhost-known-") as known:
        known.write(f"{text}\n")
        known.flush()
        found = _system.run(["ssh-keygen", "-F", host, "-f", known.name])
    # The port is in the address that a job clones from.
    if found.returncode == 0 or f"[{host}]:" in text:
        return ""
    return (
        "has no host key that jobs know, and each clone from there would fail; add the line of "
        f"`ssh-keyscan {host}` to the known hosts, once you have compared it"
    )


def _settings(host: str, home: str) -> str:
    """What ssh goes by for a host: the user's file, then the system's (ssh_config(5))."""
    own = f"{home}/.ssh/config"
    # Not by Include: ssh refuses a file that is another user's.
    text = _files.read_text(own) if os.path.isfile(own) else ""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="runnerhost-ssh-") as both:
        both.write(f"{text}\nMatch all\nInclude {CONFIG}\n")
        both.flush()
        said = _system.run(["ssh", "-G", "-F", both.name, host]).stdout
    # ssh has put this user's home in the place of ~.
    return said.replace(f" {pwd.getpwuid(os.geteuid()).pw_dir}/", f" {home}/")
