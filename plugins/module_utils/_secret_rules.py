# SPDX-License-Identifier: GPL-3.0-or-later
"""What is a secret, by its name and by its value.

Used on the controller and on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "(hidden)"


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


# Tokens that are known by their shape. GitLab's (GitLab docs, "Token overview") may have a prefix
# of the instance in front, with or without a hyphen (docs, "Instance token prefix").
TOKEN_VALUE = re.compile(
    r"gl(?:rt|pat|rtr|dt|cbt|ptt|oas|soat|ft|agent|ffct|imt|wt)-[0-9A-Za-z_.=\-]{8,}"
    r"|GR1348941[0-9A-Za-z_\-]{8,}"
    r"|\b(?:pypi-[0-9A-Za-z_\-]{16,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|gh[pousr]_[0-9A-Za-z]{20,}|github_pat_[0-9A-Za-z_]{20,}"
    r"|xox[a-z]-[0-9A-Za-z\-]{8,}|npm_[0-9A-Za-z]{30,}|dckr_pat_[0-9A-Za-z_\-]{16,}"
    r"|hv[sbr]\.[0-9A-Za-z_\-]{20,}|AIza[0-9A-Za-z_\-]{30,}|sk_live_[0-9A-Za-z]{16,}"
    r"|eyJ[0-9A-Za-z_\-]{8,}\.[0-9A-Za-z_\-]{8,}\.[0-9A-Za-z_\-]*)"
    r"|(?<=hooks\.slack\.com/services/)[0-9A-Za-z/]{8,}"
)
# A password in a URL.
URL_PASSWORD = re.compile(
    r"(?P<head>(?<![A-Za-z0-9+.\-])[A-Za-z][A-Za-z0-9+.\-]*://[^/\s:@\"']*:)(?P<secret>[^/\s\"']+)(?=@)"
)

# Words of a name that tell of a secret, wherever they stand in it (TWINE_PASSWORD_2).
_WORDS = words(
    "token password passwd passphrase passcode pwd pw pass secret secrets credential credentials "
    "apikey apitoken authtoken accesskey secretkey privatekey storepass keypass"
)
# The same, but only at its end (NPM_AUTH, Authorization).
_LAST_WORDS = frozenset({"auth", "authorization", "cookie"})
_ENDINGS = ("token", "password", "passwd", "passphrase", "secret", "apikey", "accesskey")
# Kinds of keys that are secrets.
_KEYS = words(
    "api access secret private signing encryption account master deploy ssh gpg auth shared "
    "session webhook storage app"
)
# After these words a name no longer means the secret itself (PASSWORD_FILE, TOKEN_TTL).
_ABOUT = words(
    "file files path paths dir directory folder url uri endpoint host hostname port domain ttl "
    "timeout interval seconds minutes hours days expiry expires expiration lifetime age at "
    "length size count limit max min type kind method mode provider backend scheme realm name "
    "names user username login id ids env var variable format version enabled disabled required "
    "policy prefix suffix scope scopes algorithm issuer audience sha digest fingerprint stdin fd "
    "helper command cmd program plugin module class driver service server store manager "
    "strategy flow group groups role region label title description status state retries retry "
    "sock socket rotation check checks"
)

_REFERENCE = re.compile(
    r"(?:\$\w+|\$\{\w+(?::?[?+][^}]*)?\}|\$\((?!\s*(?:echo|printf)\b)[^)]*\)|\$\[\[.*?\]\]|%\w+%"
    r"|\{\{(?!.*default\s*\().*?\}\}|`(?!\s*(?:echo|printf)\b)[^`]*`)+\Z",
    re.S,
)
_CALL = re.compile(r"[A-Za-z_][\w.]*(?:\(.*\)|\[[^\]]*\])\Z")
_PLACEHOLDER = re.compile(r"<[^<>]*>|\*+|x{3,}|\.{3}|…|\[MASKED\]|\(hidden\)|!vault\b.*", re.I)
_PLAIN_WORDS = words(
    "true false yes no on off null none nil ~ read write inherit required optional string "
    "basic digest bearer negotiate kerberos gssapi ldap oauth oauth2 oidc saml"
)
_FILE = re.compile(
    r"[\w.@%+~,/\-]+\.(?:json|ya?ml|toml|ini|cfg|conf|cnf|pem|key|crt|cer|p12|pfx|jks|env|txt|gpg|"
    r"asc|pub|sock|properties|xml|sh|py)\Z"
)
_PATH = re.compile(r"(?:~\w*|\.{1,2}|\$\w+|\$\{\w+\}|[A-Za-z]:)?[/\\]\S*\Z")
_PLAIN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s@]*\Z")


def _parts(name: str) -> list[str]:
    """A name's words: ``SecretAccessKey``, ``SECRET_ACCESS_KEY`` and ``secret-access-key``."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    found = [word.rstrip("0123456789") for word in re.split(r"[^a-z0-9]+", parted)]
    return [word for word in found if word]


def looks_secret_name(name: str) -> bool:
    """True if a variable of this name is expected to hold a secret (``TWINE_PASSWORD``)."""
    parts = _parts(name)
    if not parts:
        return False
    if parts[-2:] == ["secret", "id"] or parts[-3:] == ["access", "key", "id"]:
        return True
    if parts[-1] in _ABOUT:
        return False
    return (
        parts[-1] in _LAST_WORDS
        or has_secret_word(name)
        or any(parts[at] == "key" and parts[at - 1] in _KEYS for at in range(1, len(parts)))
        or ("auth" in parts and parts[-1] in ("config", "header", "json"))
    )


def has_secret_word(name: str) -> bool:
    """True if any word of a name tells of a secret, as in the name of a file (``db.password``)."""
    return any(word in _WORDS or word.endswith(_ENDINGS) for word in _parts(name))


def looks_secret_value(value: str) -> bool:
    """True if the text holds a known token, a private key or a password in a URL."""
    return bool(
        TOKEN_VALUE.search(value)
        or any(not is_harmless(m["secret"]) for m in URL_PASSWORD.finditer(value))
        or "PRIVATE KEY-----" in value
    )


def holds_secret(name: str, value: Any) -> bool:
    """True if a variable of this name and value is taken for a secret.

    The name of a secret with a path, a switch, a small number or a reference as its value is none.
    """
    return looks_secret_name(name) and not is_harmless(str(value), name)


def is_harmless(value: str, name: str = "") -> bool:
    """True if a value cannot be the secret that its name promises."""
    value = value.strip().strip("\"'").rstrip(",;").strip()
    if not value or value.lower() in _PLAIN_WORDS or _PLACEHOLDER.fullmatch(value):
        return True
    if re.fullmatch(r"[+-]?\d+(?:\.\d+)?", value):
        # A PIN or a password of digits has four or more.
        return len(value) <= (3 if re.search("pass|pwd|pin", name, re.I) else 6)
    if _REFERENCE.match(value) or _CALL.match(value) or _FILE.match(value):
        return True
    if _PLAIN_URL.match(value):
        return not TOKEN_VALUE.search(value)
    return bool(_PATH.match(value)) and not any(map(_is_random, re.split(r"[/\\]", value)))


def _is_random(part: str) -> bool:
    """True if a part of a path looks like base64: some secrets begin with a slash."""
    kinds = sum(bool(re.search(kind, part)) for kind in ("[a-z]", "[A-Z]", "[0-9]", "[+=]"))
    return (len(part) >= 8 and kinds >= 3) or part.endswith("=")
