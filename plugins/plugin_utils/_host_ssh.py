# SPDX-License-Identifier: GPL-3.0-or-later
"""One SSH connection to a host, as Ansible's ssh plugin would make it, for commands as root."""

from __future__ import annotations

import os
import secrets as random
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._unreachable import (
    CONNECTION,
    CONTROLLER,
    Obstacle,
    of_command,
)

PROBE_SECONDS = 60
# A socket's path has at most 107 bytes, of which ssh takes 17 for a name of its own meanwhile.
SOCKET_BYTES = 88


@dataclass(frozen=True)
class Ssh:
    """How to run a command on a host as root.

    Attributes:
        argv: the ssh command, to which one argument is added.
        remote: what stands in front of a shell script there.
        mark: printed on both streams before the script's output.
        stdin: what sudo reads first; a password may be in it.
        password: for sshpass.
        socket: of the one connection that all commands use.
    """

    argv: list[str]
    remote: list[str]
    mark: str
    stdin: str = field(repr=False)
    password: str = field(repr=False)
    socket: str

    def probe(self) -> Obstacle | None:
        """Whether one command runs on the host as root; opens the connection."""
        program = self.argv[0]
        if not shutil.which(program):
            text = f"{program}: command not found"
            return Obstacle(CONTROLLER, text, f"install {program} on this machine")
        test = "test $(id -u) = 0 && file=$(mktemp) && rm $file"
        try:
            done = self._run(test, PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            text = f"the host has not answered within {PROBE_SECONDS} s"
            return Obstacle(CONNECTION, text, "try the same login with ssh by hand")
        if self.mark in done.stdout and not done.returncode:
            return None
        __, begun, said = done.stderr.partition(self.mark)
        return of_command(done.returncode, "" if begun else done.stdout, said or done.stderr)

    def run(self, script: str, seconds: float) -> subprocess.CompletedProcess[str]:
        """A shell script's result, without what the login and sudo print of their own."""
        done = self._run(script, seconds)
        out, err = (text.partition(f"{self.mark}\n")[2] for text in (done.stdout, done.stderr))
        return subprocess.CompletedProcess([], done.returncode, out, err or done.stderr)

    def _run(self, script: str, seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.argv, shlex.join([*self.remote, script])],
            input=self.stdin,
            env={**os.environ, **({"SSHPASS": self.password} if self.password else {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )

    def close(self) -> None:
        """Ends the connection, if one was opened."""
        if os.path.exists(self.socket):
            *words, target = self.argv
            subprocess.run(
                [*words, "-O", "exit", target], capture_output=True, timeout=10, check=False
            )


def of_connection(connection: Any, name: str, become_password: str, folder: str) -> Ssh:
    """The connection of a task.

    Args:
        connection: Ansible's connection plugin.
        name: of the host in the inventory.
        become_password: empty if sudo asks for none.
        folder: where the socket may lie.
    """
    if not str(connection.ansible_name).endswith("ssh"):
        raise AnsibleActionFail(
            f"verify reaches hosts over ssh, this one has the connection {connection.ansible_name}"
        )
    option = connection.get_option
    host = str(option("host") or name)
    user = option("remote_user")
    mark = f"runnerhost-{random.token_hex(8)}"
    sudo = ["sudo", "-S", "-p", ""] if become_password else ["sudo", "-n"]
    begin = f'echo {mark}; echo {mark} >&2; exec /bin/sh -c "$1"'
    socket = os.path.join(folder, "ssh")
    return Ssh(
        argv=[*_command(connection, socket), f"{user}@{host}" if user else host],
        # What the login and sudo print of their own comes before the mark.
        # In English, since sudo's words are read.
        remote=[
            *("env", "LC_ALL=C.UTF-8", "LANGUAGE="),
            *([] if user == "root" else sudo),
            *("/bin/sh", "-c", begin, "sh"),
        ],
        mark=mark,
        stdin=f"{become_password}\n" if become_password and user != "root" else "",
        password=str(option("password") or ""),
        socket=socket,
    )


def _command(connection: Any, socket: str) -> list[str]:
    """The ssh command with its options."""
    option = connection.get_option
    words = [str(option("ssh_executable") or "ssh")]
    if option("password"):
        words = ["sshpass", "-e", *words]
    else:
        words += ["-o", "BatchMode=yes"]
    if not option("host_key_checking"):
        words += ["-o", "StrictHostKeyChecking=no"]
    words += ["-o", f"ConnectTimeout={int(option('timeout') or 10)}"]
    for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
        words += connection._split_ssh_args(option(name) or "")
    if not any("ControlPath" in word for word in words):
        # One connection for all commands: each then costs a few hundredths of a second.
        if len(os.fsencode(socket)) <= SOCKET_BYTES:
            words += ["-o", "ControlMaster=auto", "-o", "ControlPersist=60s"]
            words += ["-o", f"ControlPath={socket.replace('%', '%%')}"]
        else:
            words += ["-o", "ControlPath=none"]
    if option("port"):
        words += ["-p", str(option("port"))]
    if option("private_key_file"):
        words += ["-i", os.path.expanduser(str(option("private_key_file")))]
    return words
