# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps verify and provision from a host, in the words of OpenSSH, sudo and shells."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _unreachable
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._host_ssh import Ssh

WARNING = "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @"
SAID: list[tuple[str, str, str]] = [
    ("unix_listener: cannot bind to path /h/.ssh/x: No such file or directory", "controller", "co"),
    ('unix_listener: path "/a/long/one" too long for Unix domain socket', "controller", "control_"),
    ('Load key "/h/id": bad permissions', "controller", "ansible_ssh_private_key_file"),
    ('Load key "/h/id": error in libcrypto', "controller", "ansible_ssh_private_key_file"),
    ("/h/.ssh/config: line 3: Bad configuration option: foo", "controller", "configuration"),
    (f"{'@' * 59}\n{WARNING}\nHost key verification failed.", "connection", "ssh-keygen -R"),
    (
        "No ED25519 host key is known for h and you have requested strict checking.\r\n"
        "Host key verification failed.",
        "connection",
        "known_hosts",
    ),
    ("ssh: connect to host h port 22: Connection refused", "connection", "start sshd"),
    ("ssh: connect to host h port 22: Connection timed out", "connection", "firewalls"),
    ("ssh: connect to host h port 22: No route to host", "connection", "firewalls"),
    ("Connection timed out during banner exchange", "connection", "firewalls"),
    ("ssh: Could not resolve hostname h: Name or service not known", "connection", "ansible_host"),
    ("kex_exchange_identification: read: Connection reset by peer", "connection", "journalctl"),
    ("Connection closed by 192.0.2.1 port 22", "connection", "journalctl"),
    (
        "Unable to negotiate with 192.0.2.1 port 22: no matching host key type found. "
        "Their offer: ssh-rsa",
        "connection",
        "algorithm",
    ),
    ("a@h: Permission denied (publickey,password).", "connection", "ansible_user"),
    (
        "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures",
        "connection",
        "IdentitiesOnly",
    ),
    ("WARNING: Your password has expired.", "connection", "renew"),
    ("Password change required but no TTY available.", "connection", "renew"),
    (
        "sudo: Account or password is expired, reset your password and try again",
        "connection",
        "renew",
    ),
    ("This account is currently not available.", "connection", "ansible_user"),
    (
        'Please login as the user "ubuntu" rather than the user "root".',
        "connection",
        "ansible_user",
    ),
    ("sudo: sorry, you must have a tty to run sudo", "connection", "!requiretty"),
    ("sudo: a password is required", "connection", "--ask-become-pass"),
    (
        "sudo: a terminal is required to read the password; either use the -S option to read from "
        "standard input or configure an askpass helper",
        "connection",
        "--ask-become-pass",
    ),
    ("Missing sudo password", "connection", "--ask-become-pass"),
    ("Sorry, try again.\nsudo: no password was provided", "connection", "wrong"),
    ("sudo: 1 incorrect password attempt", "connection", "wrong"),
    ("a is not in the sudoers file.  This incident will be reported.", "connection", "root by"),
    (
        "Sorry, user a is not allowed to execute '/bin/sh -c x' as root on h.",
        "connection",
        "root by",
    ),
    ("sh: 1: exec: sudo: not found", "connection", "install sudo"),
    ("bash: line 1: sudo: command not found", "connection", "install sudo"),
    ("env: \u2018sudo\u2019: No such file or directory", "connection", "install sudo"),
    ("sudo: unknown user: nobodyhere", "connection", "ansible_become_user"),
    ("sudo: no valid sudoers sources found, quitting", "connection", "visudo -c"),
    ("/etc/sudoers:31:9: syntax error", "connection", "visudo -c"),
    (
        "mktemp: failed to create file via template '/tmp/tmp.XXXXXXXXXX': No space left on device",
        "connection",
        "make room",
    ),
    ("/bin/sh: 1: /usr/bin/python3: not found", "connection", "install python3"),
]


@pytest.mark.parametrize(("said", "source", "remedy"), SAID, ids=[one[0][:40] for one in SAID])
def test_each_is_told_in_its_own_words_with_a_remedy(said: str, source: str, remedy: str) -> None:
    for text in (said, f"sudo: unable to resolve host h: Name or service not known\n{said}"):
        found = _unreachable.of_command(255, "", text)
        assert found.source == source
        assert remedy in found.remedy
        assert found.found.strip("@ ") in said
        assert "unable to resolve" not in found.found


@pytest.mark.parametrize(
    ("code", "out", "err", "found"),
    [
        (255, "", "some new words of ssh", "some new words of ssh"),
        (255, "", "", "ssh ended with exit code 255 and no message"),
        (0, "Welcome. Menu: 1) backup 2) quit", "", "Menu: 1)"),
        (0, "", "", "answers with nothing"),
    ],
)
def test_what_is_not_known_keeps_its_words(code: int, out: str, err: str, found: str) -> None:
    one = _unreachable.of_command(code, out, err)
    assert one.source == "connection"
    assert found in one.found
    assert one.remedy


def test_a_module_that_never_ran_tells_of_sudo() -> None:
    """Ansible's own message is "Module result deserialization failed: No start of json char"."""
    answer: dict[str, Any] = {
        "failed": True,
        "_ansible_parsed": False,
        "msg": "Module result deserialization failed: No start of json char found",
        "module_stdout": "",
        "module_stderr": "sudo: sorry, you must have a tty to run sudo\n",
    }
    one = _unreachable.of_module(answer)
    assert one
    assert "No start of json" not in str(one)
    assert str(one).startswith("connection: sudo: sorry, you must have a tty to run sudo; ")
    # What a module that ran says of its own work is none.
    assert _unreachable.of_module({"failed": True, "msg": "No space left on device"}) is None
    assert _unreachable.of_module({"failed": True, "_ansible_parsed": True, "msg": "x"}) is None


def fake(folder: Path, script: str) -> Ssh:
    """The connection to a host whose ssh is a script."""
    program = folder / "ssh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return Ssh(
        argv=[str(program), "host"],
        remote=["/bin/sh", "-c", 'echo mark; echo mark >&2; exec /bin/sh -c "$1"', "sh"],
        mark="mark",
        stdin="",
        password="",
        socket=str(folder / "socket"),
    )


def test_probe_is_content_with_a_login_that_prints_text(tmp_path: Path) -> None:
    # The user of this test may be none that is root.
    body = 'shift; echo Welcome; echo oops >&2; id() { echo 0; }; eval "$1"'
    ssh = fake(tmp_path, body.replace('eval "$1"', "echo mark; echo mark >&2"))
    assert ssh.probe() is None


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 'a@h: Permission denied (publickey).' >&2; exit 255", "Permission denied"),
        ("echo 'sudo: a password is required' >&2; exit 1", "a password is required"),
        ("echo 'git shell only'; exit 0", "git shell only"),
        (
            "echo mark; echo mark >&2; echo 'mktemp: failed: No space left on device' >&2; exit 1",
            "No space left on device",
        ),
    ],
)
def test_probe_tells_what_is_in_the_way(tmp_path: Path, script: str, found: str) -> None:
    one = fake(tmp_path, script).probe()
    assert one
    assert one.source == "connection"
    assert found in one.found


def test_a_program_that_this_machine_lacks_is_named(tmp_path: Path) -> None:
    argv = ["sshpass-that-is-not-there", "-e", "ssh", "host"]
    ssh = replace(fake(tmp_path, ""), argv=argv)
    one = ssh.probe()
    assert one
    assert (one.source, one.remedy) == (
        "controller",
        "install sshpass-that-is-not-there on this machine",
    )
