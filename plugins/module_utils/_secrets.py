# SPDX-License-Identifier: GPL-3.0-or-later
"""How to show a text or data without the secrets in it.

Used on the controller and on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _secret_assignments,
    _secret_rules,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._secret_rules import (
    TOKEN_VALUE,
    URL_PASSWORD,
    has_secret_word,
    holds_secret,
    is_harmless,
    looks_secret_name,
)

HIDDEN = _secret_rules.HIDDEN

_BEARER = re.compile(r"\b(?P<head>bearer\s+)(?P<secret>(?=\S*\d)[0-9A-Za-z._~+/=\-]{16,})", re.I)
# A user name as long as only a token is.
_URL_USER = re.compile(r"(?P<head>\bhttps?://)(?P<secret>[^/\s:@\"']{16,})(?=@)", re.I)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----.*?"
    r"(?:-----END (?P=kind)-----|\Z)",
    re.S,
)
# Keys of config.toml whose value is never shown though their name does not tell: an address with
# a key in it, and options of cloud drivers.
_SECRET_KEYS = frozenset({"sentry_dsn", "MachineOptions"})
_EMPTY: tuple[Any, ...] = ("", None, [], {})

# Secrets in the arguments of commands, each with the secret as its last group.
_VALUE = r"(?P<secret>\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\s\"'|;&]+)"
_IN_COMMANDS = [
    # netrc, and apt's auth.conf.
    re.compile(
        r"(?P<head>\b(?:machine(?:\s|\\n)+\S+|default(?=(?:\s|\\n)+login))"
        r"(?:(?:\s|\\n)+(?:login|account)(?:\s|\\n)+\S+)*(?:\s|\\n)+password(?:\s|\\n)+)"
        r"(?P<secret>\"[^\"\n]*\"|'[^'\n]*'|(?:(?!\\n)[^\s\"'])+)"
    ),
    # Options of one letter mean a password to these alone.
    re.compile(
        r"(?P<head>\b(?:sshpass|twine|ldap(?:search|modify|add|passwd)|redis-cli|smbclient|"
        r"(?:docker|podman|nerdctl|buildah|skopeo|helm|oras|az|oc|cf)\b[^\n|;&]*?\blogin)\b"
        r"(?:[^\n|;&]|\\\n)*?\s-(?:p|w|a)\s*)" + _VALUE
    ),
    re.compile(r"(?P<head>\b(?:mysql\w*|mariadb\S*)\b(?:[^\n|;&]|\\\n)*?\s-p)" + _VALUE),
    re.compile(r"(?P<head>\s-pass(?:in|out)?\s+pass:)" + _VALUE),
    re.compile(
        r"(?P<head>\b(?:echo|printf)\s+(?:-\w+\s+)*[\"']?[\w.\-]+:)(?P<secret>[^\s\"'|]+)"
        r"(?=[\"']?\s*\|\s*(?:sudo\s+)?chpasswd)"
    ),
    # What a command reads its password from.
    re.compile(
        r"(?P<head>\b(?:echo|printf)\s+(?:-\w+\s+)*(?:[\"']%s(?:\\n)?[\"']\s+)?)"
        + _VALUE
        + r"(?=\s*\|[^\n|]*(?:--?password-stdin|--with-token|--passphrase-fd|sudo\s+-S))"
    ),
    re.compile(
        r"(?P<head>(?:--?password-stdin|--with-token|--passphrase-fd|sudo\s+-S)[^\n|]*<<<\s*)"
        + _VALUE
    ),
]
_INTO_FILE = re.compile(
    r"(?P<head>\b(?:echo|printf)\s+(?:-\w+\s+)*)"
    + _VALUE
    + r"(?P<tail>\s*>>?\s*[\"']?(?P<file>[^\s\"';|&]+))"
)
_LOGIN = re.compile(
    r"(?P<head>\s(?:-[A-Za-z]*[uU]|--(?:proxy-)?user)(?P<gap>\s+|=)?[\"']?[^\s:\"'=$\-][^\s:\"'=]*:)"
    r"(?P<secret>[^\s\"']+)"
)
# A message about one of the toolkit's variables. What follows is prose, which no name tells of.
_SAYS = re.compile(
    r"\b((?:gitlab_runner|python_versions|build_tools|network_access|publish_tools|release_pipeline|"
    r"gitlab_project)_[a-z_]+|index_credentials(?:_[a-z_]+)?)(?=: )"
)
# A shorter text may be a word of any message.
_KNOWN_LENGTH = 8
# In these, user:group is no login.
_NO_LOGIN = re.compile(r"\b(?:docker|podman|nerdctl|kubectl|sudo|chown|install|runuser|setpriv)\b")
# {"name": "DB_PASSWORD", "value": "…"}, in YAML too.
_PAIR = re.compile(
    r"(?P<head>\b(?:name|key)\\*[\"']?\s*[:=]\s*\\*[\"']?(?P<name>[\w.\-]+)\\*[\"']?,?\s+"
    r"\\*[\"']?value\\*[\"']?\s*[:=]\s*)" + _VALUE
)
_ELEMENT = re.compile(r"(?P<head><(?P<name>[A-Za-z][\w.\-]*)>)(?P<secret>[^<>\n]+)(?=</)")


def redact_text(text: str, secrets: frozenset[str] | set[str] = frozenset()) -> str:
    """The text with every known kind of secret, and each of ``secrets``, replaced.

    Works on texts of any length: scripts, configuration files, logs. What is no secret stays
    readable.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            text = text.replace(secret, HIDDEN)
    text = _PRIVATE_KEY.sub(HIDDEN, text)
    text = _secret_assignments.hide(text)
    for pattern in _IN_COMMANDS:
        text = pattern.sub(_hide_secret, text)
    text = _INTO_FILE.sub(_hide_file, text)
    text = _LOGIN.sub(_hide_login, text)
    for pattern in (_PAIR, _ELEMENT):
        text = pattern.sub(_hide_named, text)
    text = TOKEN_VALUE.sub(HIDDEN, text)
    text = _BEARER.sub(_hide_secret, text)
    text = URL_PASSWORD.sub(_hide_secret, text)
    return _URL_USER.sub(_hide_secret, text)


def redact_message(text: str, secrets: frozenset[str] | set[str] = frozenset()) -> str:
    """The same for a message of the toolkit's own: what it says of a variable is no value.

    `gitlab_runner_api_token: GitLab answered 401` stays whole.
    """
    return redact_text(_SAYS.sub(r"\1\0", text), secrets).replace("\0", "")


def known(value: Any) -> set[str]:
    """The secrets in plain data, told by their keys' names: for `redact_text`."""
    if isinstance(value, dict):
        pairs = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        # NAME=value of a list such as environment.
        parted = [item.partition("=") for item in value if isinstance(item, str)]
        pairs = [(name, item) for name, mark, item in parted if mark]
        pairs += [("", item) for item in value if not isinstance(item, str)]
    else:
        return set()
    found: set[str] = set()
    for key, item in pairs:
        if not isinstance(item, str):
            found |= known(item)
        elif len(item) >= _KNOWN_LENGTH and _hides(key, item):
            found.add(item)
    return found


def _hide_secret(match: re.Match[str]) -> str:
    """A match with its group ``secret`` hidden, in the quotes that it has."""
    secret = match["secret"]
    if is_harmless(secret):
        return match[0]
    begin, end = match.start("secret") - match.start(), match.end("secret") - match.start()
    mark = secret[0] if secret[0] in "\"'" and secret[-1] == secret[0] else ""
    return match[0][:begin] + mark + HIDDEN + mark + match[0][end:]


def _hide_named(match: re.Match[str]) -> str:
    return _hide_secret(match) if looks_secret_name(match["name"]) else match[0]


def _hide_file(match: re.Match[str]) -> str:
    name = match["file"].rsplit("/", 1)[-1]
    return _hide_secret(match) if has_secret_word(name) else match[0]


def _hide_login(match: re.Match[str]) -> str:
    """``-u user:password``, but not ``docker run -u 1000:1000``."""
    begin = match.start()
    line = match.string[_line_start(match.string, begin) : begin]
    if _NO_LOGIN.search(line) or match["secret"].isdigit():
        return match[0]
    if not match["gap"] and not re.search(r"\bcurl\b", line):
        return match[0]
    return _hide_secret(match)


def _line_start(text: str, at: int) -> int:
    """Where the line begins in which a place is; a backslash at its end goes on with it."""
    begin = text.rfind("\n", 0, at)
    while begin > 0 and text[begin - 1] == "\\":
        begin = text.rfind("\n", 0, begin)
    return begin + 1


def redact(value: Any, secrets: frozenset[str] | set[str] = frozenset()) -> Any:
    """A copy of plain data with secrets replaced: by key, by value, and by ``secrets``."""
    if isinstance(value, dict):
        pair = looks_secret_name(str(value.get("name", value.get("key", ""))))
        return {
            key: HIDDEN
            if _hides(str(key), item) or (pair and key == "value" and not is_harmless(str(item)))
            else redact(item, secrets)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redact_entry(item, secrets) for item in value]
    if isinstance(value, str):
        return redact_text(value, secrets)
    return value


def _redact_entry(item: Any, secrets: frozenset[str] | set[str]) -> Any:
    """An entry of a list such as environment: all behind its first = is the value."""
    if isinstance(item, str):
        name, mark, value = item.partition("=")
        if mark and re.fullmatch(r"[\w.\-]+", name) and "\n" not in item:
            return f"{name}={HIDDEN}" if holds_secret(name, value) else redact_text(item, secrets)
    return redact(item, secrets)


def _hides(key: str, item: Any) -> bool:
    # What is empty holds no secret.
    if item in _EMPTY:
        return False
    if key in _SECRET_KEYS:
        return True
    if isinstance(item, dict | list | tuple):
        return looks_secret_name(key)
    return holds_secret(key, item)


def kind_of(value: Any) -> str:
    """A value's type in plain words: Ansible's tagged subclasses are what they subclass."""
    for kind in (bool, int, float, str, dict, list):
        if isinstance(value, kind):
            return kind.__name__
    return "nothing" if value is None else type(value).__name__


_TYPES = {
    "bool": "boolean",
    "dict": "mapping",
    "float": "number",
    "int": "number",
    "str": "string",
    "nothing": "null",
}


def unfit(value: Any) -> str:
    """What a refusal says of a value of the wrong type, without showing it."""
    kind = kind_of(value)
    return f"invalid value of type {_TYPES.get(kind, kind)}"


def digest(secret: str) -> str:
    """A token's fingerprint, to tell whether it is the one given before: sha256, hex.

    A runner token has 20 random characters or more, so a plain hash does not reveal it.
    """
    return hashlib.sha256(secret.encode()).hexdigest()
