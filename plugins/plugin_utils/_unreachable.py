# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps Ansible or the tests from reaching a host: the words of ssh or sudo, and the remedy.

Pure: texts in, one line out. OpenSSH 8.9 to 10, sudo 1.9, Ubuntu's shells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

CONNECTION, CONTROLLER = "connection", "controller"
_SHOWN = 300
_KNOWN_HOSTS = "log in once by hand, or put the host's key into known_hosts"
_ASK = "add --ask-become-pass (with make: ARGS='--ask-become-pass')"
_SUDOERS = "see the file with `sudo visudo -c` in a root shell on the host"
_ROOM = "make room on the host"
_CONTROL = (
    "set control_path_dir in ansible.cfg (or ControlPath in your ssh_args) to a short path "
    "of a folder that you can write"
)

# In this order: what ssh says last is often only what follows from what it said before.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    # --- this machine
    (r"unix_listener: .*|ControlPath too long.*|muxserver_listen.*", _CONTROL, CONTROLLER),
    (
        r"Load key .*|.*UNPROTECTED PRIVATE KEY FILE.*|.*bad permissions.*",
        "check ansible_ssh_private_key_file: the file must be a private key that only you can read",
        CONTROLLER,
    ),
    (
        r".*no such identity: .*|.*Identity file .* not accessible.*",
        "check ansible_ssh_private_key_file: there is no such file",
        CONTROLLER,
    ),
    (
        r".*(?:Bad owner or permissions on|Bad configuration option:|\d+ bad configuration opt).*",
        "correct the ssh client's configuration file that the message names",
        CONTROLLER,
    ),
    (
        r"command-line.*: .*|unknown option -- .*|Bad .* '.*'\.",
        "correct ssh_args, ansible_ssh_common_args or ansible_ssh_extra_args",
        CONTROLLER,
    ),
    # --- who the host is
    (
        r".*REMOTE HOST IDENTIFICATION HAS CHANGED.*",
        "the host was reinstalled, or another machine answers at its address; if it was "
        "reinstalled, remove the old key with `ssh-keygen -R HOST` and log in once by hand",
        CONNECTION,
    ),
    (r"No \S+ host key is known for .*|Host key verification failed.*", _KNOWN_HOSTS, CONNECTION),
    (
        r"Unable to negotiate with .*",
        "ssh on the controller and on the host have no algorithm in common: update the older one",
        CONNECTION,
    ),
    # --- the way to it
    (
        r"ssh: Could not resolve hostname .*",
        "check the host's name in the inventory, or set ansible_host",
        CONNECTION,
    ),
    (
        r"ssh: connect to (?:host|address) .*: Connection refused.*",
        "start sshd on the host, or correct ansible_port",
        CONNECTION,
    ),
    (
        r"ssh: connect to (?:host|address) .*|.*Connection timed out.*|.*Operation timed out.*|"
        r"Timeout, server .* not responding.*",
        "check ansible_host, ansible_port and the firewalls in between",
        CONNECTION,
    ),
    (
        r"(?:kex_exchange_identification|ssh_exchange_identification|banner exchange): .*|"
        r"Connection (?:closed|reset) by .*|.*Connection reset by peer.*",
        "sshd closes the connection: see `journalctl -u ssh` on the host (fail2ban, MaxStartups, "
        "AllowUsers)",
        CONNECTION,
    ),
    # --- the login
    (
        r".*Too many authentication failures.*",
        "name the one key: ansible_ssh_private_key_file, and IdentitiesOnly=yes",
        CONNECTION,
    ),
    (
        r".*Permission denied \(.*|Permission denied, please try again\.|"
        r"Invalid/incorrect password: .*",
        "check ansible_user and the key or password of that login",
        CONNECTION,
    ),
    (
        r".*(?:[Pp]assword has expired|Password change required|required to change your password|"
        r"account has expired|[Aa]ccount or password is expired|account validation failure).*",
        "renew the login's password or account on the host (`chage -l LOGIN` as root shows which)",
        CONNECTION,
    ),
    (
        r".*System is booting up.*|.*System is going down.*|.*pam_nologin.*",
        "wait until the host has started, then run again",
        CONNECTION,
    ),
    (
        r".*account is currently not available.*|.*[Pp]lease login as the user .*",
        "take a login that has a shell: ansible_user",
        CONNECTION,
    ),
    # --- sudo
    (
        r".*must have a tty to run sudo.*",
        "Defaults requiretty is set on the host; write `Defaults:LOGIN !requiretty` into a file of "
        "/etc/sudoers.d there (`visudo -f`)",
        CONNECTION,
    ),
    (
        r".*(?:Sorry, try again|incorrect password attempt|[Ii]ncorrect (?:sudo|su) password).*",
        "the password for sudo is wrong: check ansible_become_password or what you typed",
        CONNECTION,
    ),
    (
        r".*(?:a password is required|a terminal is required|no password was provided|"
        r"[Mm]issing sudo password|no askpass program|waiting for privilege escalation prompt).*",
        _ASK,
        CONNECTION,
    ),
    (
        r".*(?:not in the sudoers file|is not allowed to execute|may not run sudo).*",
        "let the login run every command as root by sudo, or set another ansible_user",
        CONNECTION,
    ),
    (
        r".*sudo: (?:\d+: )?(?:command )?not found.*|.*exec: sudo: .*not found.*|"
        r".*sudo\W?: No such file or directory.*",
        "install sudo on the host, or log in as root",
        CONNECTION,
    ),
    (r"sudo: unknown user:? .*", "correct ansible_become_user", CONNECTION),
    (
        r".*(?:sudoers.*(?:syntax|parse) error|(?:syntax|parse) error .*sudoers|"
        r"no valid sudoers|sudoers is (?:world|group) writable|sudoers is owned by).*",
        _SUDOERS,
        CONNECTION,
    ),
    (
        r".*sudo: .*(?:setuid|no new privileges|effective uid|unable to initialize policy).*",
        "sudo itself does not work on the host: repair it there",
        CONNECTION,
    ),
    # --- the host's files and its Python
    (
        r".*No space left on device.*|.*Disk quota exceeded.*|.*No usable temporary directory.*",
        _ROOM,
        CONNECTION,
    ),
    (
        r".*Read-only file system.*",
        "a file system of the host is mounted read-only: see `dmesg` there",
        CONNECTION,
    ),
    (
        r".*python3?[\d.]*: (?:\d+: )?(?:not found|No such file or directory|command not found).*|"
        r".*(?:not found|No such file or directory).*python3?[\d.]*.*|"
        r".*module interpreter '.*' was not found.*",
        "install python3 on the host (`sudo apt-get install python3`), and set "
        "ansible_python_interpreter: /usr/bin/python3",
        CONNECTION,
    ),
    (
        r".*python3?[\d.]*: Permission denied.*",
        "the login cannot run /usr/bin/python3: check its mode on the host",
        CONNECTION,
    ),
    (
        r".*Failed to create temporary directory.*",
        "Ansible needs a folder that the login can write: its home, or ansible_remote_tmp",
        CONNECTION,
    ),
    (
        r".*Broken pipe.*|.*Cannot allocate memory.*|.*Resource temporarily unavailable.*",
        "the host is short of memory or processes: see `dmesg` there, then run again",
        CONNECTION,
    ),
)
# Lines that ssh and sudo say beside what matters.
_NOISE = re.compile(
    r"Warning: Permanently added|Pseudo-terminal|Shared connection to|debug\d|@{5}|"
    r"sudo: unable to resolve host|\*\* (?:WARNING|This|The server)|Control[Ss]ocket .* already"
)
# What Ansible puts before ssh's words.
_ANSIBLES = re.compile(
    r"Failed to connect to the host via \w+: ?|"
    r'Data could not be sent to remote host "[^"]*"\. '
    r"Make sure this host can be reached over ssh: ?"
)
_FORCED = (
    "the login runs another command than the one it is given (ForceCommand, a command= before the "
    "key, or a shell of its own): use a login without one"
)


@dataclass(frozen=True)
class Obstacle:
    """Why a host could not be checked.

    Attributes:
        source: ``connection``, or ``controller`` for what is wrong on this machine.
        found: ssh's, sudo's or Ansible's own words.
        remedy: what to do.
    """

    source: str
    found: str
    remedy: str

    def __str__(self) -> str:
        found = self.found.rstrip(".") if self.remedy else self.found
        return f"{self.source}: {found}" + (f"; {self.remedy}" if self.remedy else "")


def recognised(text: str) -> Obstacle | None:
    """The obstacle that these words of ssh, sudo, a shell or Ansible tell of, if they do."""
    lines = _lines(text)
    for pattern, remedy, source in _KNOWN:
        for line in lines:
            if re.fullmatch(pattern, line):
                return Obstacle(source, _short(line.strip("@ ")), remedy)
    return None


def of_command(code: int, stdout: str, stderr: str) -> Obstacle:
    """The obstacle where a command on the host did not come to its first word."""
    known = recognised(stderr) or recognised(stdout)
    if known:
        return known
    said = _lines(stderr) or _lines(stdout)
    if code == 255:
        found = said[-1] if said else "ssh ended with exit code 255 and no message"
        return Obstacle(CONNECTION, _short(found), "try the same login with ssh by hand")
    found = f"the login answers with {said[-1]!r}" if said else "the login answers with nothing"
    return Obstacle(CONNECTION, _short(f"{found} (exit code {code})"), _FORCED)


def of_module(answer: Mapping[str, object]) -> Obstacle | None:
    """The obstacle that a module's answer tells of: it never ran, and sudo or a shell spoke."""
    texts = [str(answer.get(name) or "") for name in ("module_stderr", "module_stdout", "msg")]
    for text in texts:
        known = recognised(text)
        # What a module that ran says of its own work is no obstacle.
        if known and (answer.get("unreachable") or not answer.get("_ansible_parsed", True)):
            return known
    if answer.get("_ansible_parsed", True):
        return None
    said = _lines(texts[0]) or _lines(texts[1])
    if not said:
        return None
    return Obstacle(CONNECTION, _short(f"the host answered with {said[-1]!r}"), _FORCED)


def _lines(text: str) -> list[str]:
    """What is said, a line each, without noise and control characters."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f]", "", text)
    plain = _ANSIBLES.sub("", plain)
    return [line.strip() for line in plain.splitlines() if line.strip() and not _NOISE.match(line)]


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
