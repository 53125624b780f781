# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH keys and host keys for jobs that clone dependencies: checked, and as files of the host.

Nothing is written into a home, where a job could put a link in the way: the files lie in a folder
of root's, and ssh finds them by a file of its own in ssh_config.d.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import kind_of

FOLDER = "/var/lib/runnerhost/ssh"
KEY_KEYS = ("name", "key", "hosts")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_HOST = re.compile(r"[A-Za-z0-9*?][A-Za-z0-9*?._:-]*\Z")
_KEY_TYPE = re.compile(r"(?:sk-)?(?:ssh|ecdsa)-[a-z0-9@.-]+\Z")
_PEM = re.compile(
    r"-----BEGIN ((?:[A-Z]+ )*PRIVATE KEY)-----\n(.*?)-----END \1-----\n\Z", re.DOTALL
)
_MAGIC = b"openssh-key-v1\0"


def whole_lines(text: str) -> str:
    """A key's text with Unix line ends and a line break at its end, which ssh asks for."""
    return text.replace("\r\n", "\n").strip() + "\n"


def key_problem(value: Any) -> str:
    """Why a text is no private key that ssh can use without asking; empty if it is one."""
    if not isinstance(value, str):
        return f"expected the text of a private key, found {kind_of(value)}"
    text = whole_lines(value)
    if not text.strip():
        return "is empty; expected the text of a private key"
    if text.startswith(("ssh-", "ecdsa-", "sk-", "---- BEGIN SSH2", "-----BEGIN PUBLIC")):
        return "is a public key (hidden); expected the private one, the file without .pub"
    if text.startswith("PuTTY-User-Key-File"):
        return "is a key of PuTTY (hidden); convert it: puttygen KEY -O private-openssh -o NEW"
    if text.startswith("$ANSIBLE_VAULT"):
        return "is still encrypted by ansible-vault (hidden); refer to a decrypted variable"
    match = _PEM.match(text)
    if not match:
        return (
            "is no whole private key in OpenSSH or PEM format (hidden); give all its lines, "
            "with `|` in YAML"
        )
    kind, body = match.groups()
    if kind.startswith("ENCRYPTED") or "ENCRYPTED" in body:
        return _PASSPHRASE
    try:
        raw = base64.b64decode("".join(body.split()), validate=True)
        if kind.startswith("OPENSSH"):
            if not raw.startswith(_MAGIC):
                raise ValueError
            cipher, rest = _string(raw[len(_MAGIC) :])
            if cipher != b"none":
                return _PASSPHRASE
            __, rest = _string(rest)
            __, rest = _string(rest)
            __, rest = _string(rest[4:])
            __, rest = _string(rest)
            if rest:
                raise ValueError
        elif raw[:1] != b"\x30" or len(raw) != _length(raw):
            raise ValueError
    except (binascii.Error, ValueError, IndexError):
        return "is a damaged private key (hidden); copy all its lines again"
    return ""


_PASSPHRASE = (
    "is a private key with a passphrase (hidden), which no job can enter; "
    "remove it from a copy: ssh-keygen -p -N '' -f KEY"
)


def _string(raw: bytes) -> tuple[bytes, bytes]:
    """The first string of SSH's wire format (RFC 4251, section 5), and the rest."""
    size = int.from_bytes(raw[:4], "big")
    if len(raw) < 4 + size:
        raise ValueError
    return raw[4 : 4 + size], raw[4 + size :]


def _length(raw: bytes) -> int:
    """How long a DER sequence says that it is, with its head."""
    first = raw[1]
    if first < 0x80:
        return 2 + first
    count = first & 0x7F
    return 2 + count + int.from_bytes(raw[2 : 2 + count], "big")


def host_lines(values: Any) -> list[str]:
    """The lines of a list of known hosts; what ssh-keyscan says besides is left out."""
    texts = values if isinstance(values, list) else []
    lines = [line.strip() for text in texts for line in str(text).splitlines()]
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def known_hosts_problems(variable: str, values: Any) -> list[str]:
    """What is wrong with lines of known_hosts (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT")."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return [f"{variable}: expected a list of lines of known_hosts"]
    found = []
    for line in host_lines(values):
        fields = line.split()
        if fields[0] in ("@cert-authority", "@revoked"):
            fields = fields[1:]
        shown = repr(line if len(line) <= 60 else f"{line[:60]}…")
        if "PRIVATE KEY" in line:
            found.append(f"{variable}: a private key (hidden) does not belong here")
        elif fields and _KEY_TYPE.match(fields[0]) and not any(map(_KEY_TYPE.match, fields[1:2])):
            found.append(
                f"{variable}: invalid line {shown}; expected the host's name before the key: "
                "HOST ssh-ed25519 AAAA…"
            )
        elif fields and re.search(r"(?:^|,)[^\[\]:,]+:\d+(?:,|\Z)", fields[0]):
            found.append(
                f"{variable}: invalid line {shown}; expected the host of a port in brackets: "
                "[HOST]:PORT"
            )
        elif fields and re.search(r"@|://", fields[0]):
            found.append(
                f"{variable}: invalid line {shown}; expected the host's name alone, without a user "
                "or https://"
            )
        elif len(fields) < 3 or not _KEY_TYPE.match(fields[1]) or not _is_key(*fields[1:3]):
            found.append(
                f"{variable}: invalid line {shown}; expected HOST TYPE KEY as ssh-keyscan prints it"
            )
    return found


def _is_key(kind: str, text: str) -> bool:
    try:
        return _string(base64.b64decode(text, validate=True))[0] == kind.encode()
    except (binascii.Error, ValueError):
        return False


def keys_problems(variable: str, values: Any) -> list[str]:
    """What is wrong with a list of SSH keys; never a key's text."""
    if not isinstance(values, list):
        return [f"{variable}: expected a list of mappings, found {kind_of(values)}"]
    found: list[str] = []
    names: list[str] = []
    for index, entry in enumerate(values):
        at = f"{variable}[{index}]"
        if not isinstance(entry, Mapping):
            found.append(f"{at}: expected a mapping of {', '.join(KEY_KEYS)}")
            continue
        found += [
            f"{at}: unknown key {key!r}; expected {', '.join(KEY_KEYS)}"
            for key in entry
            if key not in KEY_KEYS
        ]
        name = entry.get("name")
        if not isinstance(name, str) or not _NAME.match(name) or name in ("known_hosts", ".."):
            found.append(f"{at}.name: invalid value; expected letters, digits, - and _")
        else:
            at = f"{at} ({name})"
            names.append(name)
        problem = key_problem(entry.get("key"))
        if problem:
            found.append(f"{at}.key {problem}")
        hosts = entry.get("hosts")
        if not isinstance(hosts, list) or not hosts:
            found.append(f"{at}.hosts: expected a list of the hosts that the key is for")
            continue
        found += [
            f"{at}.hosts: invalid value {host!r}; expected a host name such as gitlab.example.com, "
            "without a user or port"
            for host in hosts
            if not isinstance(host, str)
            or not _HOST.match(host)
            or re.fullmatch(r"[^:]+:\d+", host)
        ]
    found += [
        f"{variable} names {n!r} twice" for n in sorted({n for n in names if names.count(n) > 1})
    ]
    return found


def files(
    service: str, user: str, lines: list[str], keys: Sequence[Mapping[str, Any]]
) -> list[Any]:
    """A service's files on the host, for `file_set`; what is no longer named goes."""
    folder, config = f"{FOLDER}/{service}", f"/etc/ssh/ssh_config.d/runnerhost-{service}.conf"
    if not lines and not keys:
        return [{"path": config, "state": "absent"}, {"path": folder, "state": "absent"}]
    text = ["# Written by runnerhost.toolkit: local changes are lost."]
    kept = [f"{folder}/{key['name']}" for key in keys]
    found: list[dict[str, Any]] = [{"path": folder, "state": "directory", "mode": "0755"}]
    if lines:
        known = f"{folder}/known_hosts"
        kept.append(known)
        found.append({"path": known, "content": "\n".join(lines) + "\n"})
        text += [
            f"Match localuser {user}",
            f"    GlobalKnownHostsFile {known} /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2",
        ]
    for key in keys:
        path = f"{folder}/{key['name']}"
        found.append(
            {
                "path": path,
                "content": whole_lines(str(key["key"])),
                "mode": "0600",
                "owner": user,
                "secret": True,
            }
        )
        text += [
            f"Match localuser {user} host {','.join(key['hosts'])}",
            f"    IdentityFile {path}",
        ]
    return [
        {"path": f"{folder}/*", "state": "absent", "keep": kept},
        *found,
        {"path": config, "content": "\n".join(text) + "\n"},
    ]
