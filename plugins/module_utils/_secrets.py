# SPDX-License-Identifier: GPL-3.0-or-later
"""What is a secret, and how to show a text without it.

Used on the controller and on the hosts: standard library of Python 3.10 alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

HIDDEN = "(hidden)"


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Tokens that are known by their shape. GitLab's (GitLab docs, "Token overview") may have a prefix
# of the instance in front, with or without a hyphen (docs, "Instance token prefix").
_TOKEN_VALUE = re.compile(
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
_BEARER = re.compile(r"\b(?P<head>bearer\s+)(?P<secret>(?=\S*\d)[0-9A-Za-z._~+/=\-]{16,})", re.I)
# A password, or a user name as long as only a token is.
_URL_PASSWORD = re.compile(
    r"(?P<head>(?<![A-Za-z0-9+.\-])[A-Za-z][A-Za-z0-9+.\-]*://[^/\s:@\"']*:)(?P<secret>[^/\s\"']+)(?=@)"
)
_URL_USER = re.compile(r"(?P<head>\bhttps?://)(?P<secret>[^/\s:@\"']{16,})(?=@)", re.I)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----.*?"
    r"(?:-----END (?P=kind)-----|\Z)",
    re.S,
)

# Words of a name that tell of a secret, wherever they stand in it (TWINE_PASSWORD_2).
_WORDS = _set(
    "token password passwd passphrase passcode pwd pw pass secret secrets credential credentials "
    "apikey apitoken authtoken accesskey secretkey privatekey storepass keypass"
)
# The same, but only at its end (NPM_AUTH, Authorization).
_LAST_WORDS = frozenset({"auth", "authorization", "cookie"})
_ENDINGS = ("token", "password", "passwd", "passphrase", "secret", "apikey", "accesskey")
# Kinds of keys that are secrets.
_KEYS = _set(
    "api access secret private signing encryption account master deploy ssh gpg auth shared "
    "session webhook storage app"
)
# After these words a name no longer means the secret itself (PASSWORD_FILE, TOKEN_TTL).
_ABOUT = _set(
    "file files path paths dir directory folder url uri endpoint host hostname port domain ttl "
    "timeout interval seconds minutes hours days expiry expires expiration lifetime age at "
    "length size count limit max min type kind method mode provider backend scheme realm name "
    "names user username login id ids env var variable format version enabled disabled required "
    "policy prefix suffix scope scopes algorithm issuer audience sha digest fingerprint stdin fd "
    "helper command cmd program plugin module class driver service server store manager "
    "strategy flow group groups role region label title description status state retries retry "
    "sock socket rotation check checks"
)
# Keys of config.toml whose value is never shown though their name does not tell: an address with
# a key in it, and options of cloud drivers.
_SECRET_KEYS = frozenset({"sentry_dsn", "MachineOptions"})
_EMPTY: tuple[Any, ...] = ("", None, [], {})

_REFERENCE = re.compile(
    r"(?:\$\w+|\$\{\w+(?::?[?+][^}]*)?\}|\$\((?!\s*(?:echo|printf)\b)[^)]*\)|\$\[\[.*?\]\]|%\w+%"
    r"|\{\{(?!.*default\s*\().*?\}\}|`(?!\s*(?:echo|printf)\b)[^`]*`)+\Z",
    re.S,
)
_CALL = re.compile(r"[A-Za-z_][\w.]*(?:\(.*\)|\[[^\]]*\])\Z")
_PLACEHOLDER = re.compile(r"<[^<>]*>|\*+|x{3,}|\.{3}|…|\[MASKED\]|\(hidden\)|!vault\b.*", re.I)
_PLAIN_WORDS = _set(
    "true false yes no on off null none nil ~ read write inherit required optional string "
    "basic digest bearer negotiate kerberos gssapi ldap oauth oauth2 oidc saml"
)
# What follows a name in a sentence.
_PROSE = _set(
    "a an and as at be by can cannot for from has have in is it may must not of on option options "
    "or that the this to was were will with"
)
_FILE = re.compile(
    r"[\w.@%+~,/\-]+\.(?:json|ya?ml|toml|ini|cfg|conf|cnf|pem|key|crt|cer|p12|pfx|jks|env|txt|gpg|"
    r"asc|pub|sock|properties|xml|sh|py)\Z"
)
_PATH = re.compile(r"(?:~\w*|\.{1,2}|\$\w+|\$\{\w+\}|[A-Za-z]:)?[/\\]\S*\Z")
_PLAIN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s@]*\Z")


def _words(name: str) -> list[str]:
    """A name's words: ``SecretAccessKey``, ``SECRET_ACCESS_KEY`` and ``secret-access-key``."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    found = [word.rstrip("0123456789") for word in re.split(r"[^a-z0-9]+", parted)]
    return [word for word in found if word]


def looks_secret_name(name: str) -> bool:
    """True if a variable of this name is expected to hold a secret (``TWINE_PASSWORD``)."""
    words = _words(name)
    if not words:
        return False
    if words[-2:] == ["secret", "id"] or words[-3:] == ["access", "key", "id"]:
        return True
    if words[-1] in _ABOUT:
        return False
    return (
        words[-1] in _LAST_WORDS
        or any(word in _WORDS or word.endswith(_ENDINGS) for word in words)
        or any(words[at] == "key" and words[at - 1] in _KEYS for at in range(1, len(words)))
        or ("auth" in words and words[-1] in ("config", "header", "json"))
    )


def looks_secret_value(value: str) -> bool:
    """True if the text holds a known token, a private key or a password in a URL."""
    return bool(
        _TOKEN_VALUE.search(value)
        or any(not _is_harmless(m["secret"]) for m in _URL_PASSWORD.finditer(value))
        or "PRIVATE KEY-----" in value
    )


def holds_secret(name: str, value: Any) -> bool:
    """True if a variable of this name and value is taken for a secret.

    The name of a secret with a path, a switch, a small number or a reference as its value is none.
    """
    return looks_secret_name(name) and not _is_harmless(str(value), name)


def _is_harmless(value: str, name: str = "") -> bool:
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
        return not _TOKEN_VALUE.search(value)
    return bool(_PATH.match(value)) and not any(map(_is_random, re.split(r"[/\\]", value)))


def _is_random(part: str) -> bool:
    """True if a part of a path looks like base64: some secrets begin with a slash."""
    kinds = sum(bool(re.search(kind, part)) for kind in ("[a-z]", "[A-Z]", "[0-9]", "[+=]"))
    return (len(part) >= 8 and kinds >= 3) or part.endswith("=")


# NAME=value, NAME: value, "name": "value", name => value, --name=value; also in a text in which
# line breaks and quotes are escaped.
_ASSIGNMENT = re.compile(
    r"(?:(?<=\\[nrt])|(?<![\w\\\-]))(?:-[A-Za-z](?=[A-Z_])|-{1,2}|(?P<open>\$\{))?"
    r"(?P<name>[A-Za-z_][\w\-]*(?:\.[\w\-]+)*)(?P<close>\\*[\"']?\]?)"
    r"(?P<separator>[ \t]*(?:=>|:=|:-|\+=|(?<![!<>=])=(?![=~])|:(?![:/]))[ \t]*)"
)
# --password value, also as entries of a list.
_OPTION = re.compile(
    r"(?<![\w\-])--?(?P<name>[A-Za-z][\w\-]*)(?P<close>)"
    r"(?P<separator>[ \t]+(?:\\\n\s*)?|[\"'][ \t]*,[ \t]*(?=[\"']))"
)
_QUOTED = re.compile(
    r"\"\"\"(?P<a>.*?)\"\"\"|'''(?P<b>.*?)'''|\"(?P<c>(?:[^\"\\]|\\.)*)\"|'(?P<d>[^']*)'"
    r"|(?P<q>\\+[\"'])(?P<e>.*?)(?P=q)",
    re.S,
)
_WORD = re.compile(
    r"(?:\"(?:[^\"\\]|\\.)*\"|'[^'\n]*'|\$\([^)\n]*\)|\$\{[^}\n]*\}|\{\{.*?\}\}|\\.|[^\s;&|<>()]|\([^\s()]*\))+",
    re.S,
)
# Right behind a quote: all in it is the value, unless the quotes hold a whole command.
_DIRECT = re.compile(r"(?<!c )(?<!c\t)[\"'`]-{0,2}\Z")
_BLOCK = re.compile(r"[|>][+\-]?\d?[ \t]*\n")
_AUTHORIZATION = re.compile(r"(?:bearer|basic|token|digest|negotiate)\s+", re.I)
# What may stand before a key: the begin of a line, of a table, of a list's entry, a diff's mark.
_BEFORE_KEY = re.compile(
    r"(?:^|[{\[,(\"';|&])[ \t]*(?:[-+][ \t]*)?\\*[\"']?\Z|(?:^|\s)-H\s+\Z", re.M
)

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
    r"\b((?:gitlab_runner|python_versions|build_tools|network_access)_[a-z_]+)(?=: )"
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
    text = _hide_spans(text, _ASSIGNMENT, _is_assignment)
    text = _hide_spans(text, _OPTION, _is_option)
    for pattern in _IN_COMMANDS:
        text = pattern.sub(_hide_secret, text)
    text = _INTO_FILE.sub(_hide_file, text)
    text = _LOGIN.sub(_hide_login, text)
    for pattern in (_PAIR, _ELEMENT):
        text = pattern.sub(_hide_named, text)
    text = _TOKEN_VALUE.sub(HIDDEN, text)
    text = _BEARER.sub(_hide_secret, text)
    text = _URL_PASSWORD.sub(_hide_secret, text)
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
    if _is_harmless(secret):
        return match[0]
    begin, end = match.start("secret") - match.start(), match.end("secret") - match.start()
    mark = secret[0] if secret[0] in "\"'" and secret[-1] == secret[0] else ""
    return match[0][:begin] + mark + HIDDEN + mark + match[0][end:]


def _hide_named(match: re.Match[str]) -> str:
    return _hide_secret(match) if looks_secret_name(match["name"]) else match[0]


def _hide_file(match: re.Match[str]) -> str:
    name = match["file"].rsplit("/", 1)[-1]
    words = _words(name)
    return (
        _hide_secret(match) if any(w in _WORDS or w.endswith(_ENDINGS) for w in words) else match[0]
    )


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


def _hide_spans(text: str, pattern: re.Pattern[str], tells: Callable[[re.Match[str]], bool]) -> str:
    """The text without the values that follow the matches of a pattern."""
    parts: list[str] = []
    done = 0
    for match in pattern.finditer(text):
        if match.start() < done or not looks_secret_name(match["name"]) or not tells(match):
            continue
        for begin, end in _values(match):
            if end > begin >= done:
                parts += [text[done:begin], HIDDEN]
                done = end
    return "".join([*parts, text[done:]])


def _is_assignment(match: re.Match[str]) -> bool:
    """False for what only looks like one: a reference, a sentence, a name in a path."""
    text, begin = match.string, match.start()
    separator = match["separator"].strip()
    if match["open"]:
        # ${NAME:-value}
        return separator in (":-", ":=", "=") and not match["close"]
    if separator == ":-":
        return False
    before = text[max(0, begin - 1) : begin]
    if before == "$":
        return False
    if separator != ":":
        return True
    name = match["name"]
    if match["close"] or name.lower() == "authorization":
        return True
    if _BEFORE_KEY.search(text, text.rfind("\n", 0, begin) + 1, begin):
        return True
    compound = bool(re.search(r"[_\-]", name)) or name.isupper()
    return compound and before not in ("/", ".")


def _is_option(match: re.Match[str]) -> bool:
    word = _WORD.match(match.string, match.end())
    if word is None or word[0] in _PROSE:
        return False
    # The second: docker build --secret id=NAME,src=FILE
    return not word[0].startswith(("-", "id="))


def _values(match: re.Match[str]) -> Iterator[tuple[int, int]]:
    """Where the value of an assignment or option begins and ends, without its quotes."""
    text, at = match.string, match.end()
    name, separator = match["name"], match["separator"]
    colon = separator.strip() == ":"
    if match.re is _ASSIGNMENT and match["open"]:
        end = text.find("}", at)
        yield from _unless_harmless(text, at, end if end >= 0 else at, name)
        return
    if block := _BLOCK.match(text, at):
        yield from _block(text, match.start(), block.end())
        return
    closed = match["close"].strip("]") or "," in separator
    opened = "" if closed else _open_quote(text, match.start())
    if not (opened and text.startswith(opened, at)) and (quoted := _QUOTED.match(text, at)):
        group = next((key for key in "abcde" if quoted[key] is not None), "a")
        begin, end = quoted.span(group)
        # A shell's word may go on behind the quotes.
        rest = _WORD.match(text, quoted.end())
        if rest and not separator.endswith((" ", "\t")) and rest[0].rstrip(",}])\\\"'"):
            yield from _unless_harmless(text, quoted.start(), rest.end(), name)
            return
        yield from _unless_harmless(text, begin, end, name)
        return
    line_end = text.find("\n", at)
    line_end = len(text) if line_end < 0 else line_end
    line = text[text.rfind("\n", 0, at) + 1 : match.start()]
    if opened:
        if text.startswith(opened, at):
            # "NAME="value
            at += 1
            word = _WORD.match(text, at)
            end = word.end() if word else at
        else:
            close = text.find(opened, at, line_end)
            close = line_end if close < 0 else close
            direct = _DIRECT.search(text, max(0, match.start() - 8), match.start()) is not None
            end = close
            if not (direct or colon):
                end = at + len(re.match(r"[^\s&;]*", text[at:close])[0])  # type: ignore[index]
    elif match.re is _ASSIGNMENT and (
        (colon and separator.endswith((" ", "\t")))
        or separator[:1].isspace()
        or re.fullmatch(r"[ +]*-[ \t]+", line)
    ):
        end = line_end
        if line.count("{") > line.count("}"):
            end = at + len(re.match(r"[^,}]*", text[at:line_end])[0])  # type: ignore[index]
    else:
        word = _WORD.match(text, at)
        end = word.end() if word else at
        pairs = {"}": "{", "]": "[", ")": "("}
        while end > at and text[end - 1] in ",}])\"'`":
            # What closes nothing in the value belongs to what is around it.
            if pairs.get(text[end - 1], "\n") in text[at:end]:
                break
            end -= 1
    yield from _unless_harmless(text, at, end, name)


def _unless_harmless(text: str, begin: int, end: int, name: str) -> Iterator[tuple[int, int]]:
    while end > begin and text[end - 1].isspace():
        end -= 1
    value = text[begin:end]
    if name.lower().endswith("authorization") and (scheme := _AUTHORIZATION.match(value)):
        begin += scheme.end()
        value = text[begin:end]
    if not _is_harmless(value, name):
        yield begin, end


def _block(text: str, key: int, at: int) -> Iterator[tuple[int, int]]:
    """YAML's ``name: |`` and what stands deeper below it."""
    line = text[text.rfind("\n", 0, key) + 1 :]
    depth = len(line) - len(line.lstrip(" -+"))
    end, begin = at, -1
    for entry in text[at:].splitlines(keepends=True):
        inner = len(entry) - len(entry.lstrip(" +"))
        if entry.strip() and inner <= depth:
            break
        if entry.strip() and begin < 0:
            begin = end + inner
        end += len(entry)
    if begin >= 0:
        yield from _unless_harmless(text, begin, end, "")


def _open_quote(text: str, at: int) -> str:
    """The quote inside which a place of a line is; empty for none."""
    opened = ""
    begin = text.rfind("\n", 0, at) + 1
    skip = False
    for character in text[begin:at]:
        if skip:
            skip = False
        elif character == "\\" and opened != "'":
            skip = True
        elif character == opened:
            opened = ""
        elif not opened and character in "\"'`":
            opened = character
    return opened


def redact(value: Any, secrets: frozenset[str] | set[str] = frozenset()) -> Any:
    """A copy of plain data with secrets replaced: by key, by look, and by ``secrets``."""
    if isinstance(value, dict):
        pair = looks_secret_name(str(value.get("name", value.get("key", ""))))
        return {
            key: HIDDEN
            if _hides(str(key), item) or (pair and key == "value" and not _is_harmless(str(item)))
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
