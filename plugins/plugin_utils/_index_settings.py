# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with the variable of the role index_credentials, and its entries as data.

No message shows a password, nor an address that may hold one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import HIDDEN, unfit
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _index_tokens,
    _publish_lock,
    _runner_validation,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._network import host_of

VARIABLE = "index_credentials_indexes"
# The two whose addresses twine itself knows; they take nothing but tokens.
PUBLIC = ("pypi", "testpypi")
KINDS = (*PUBLIC, "gitlab", "other")
KEYS = (
    *("name", "kind", "url", "upload_url", "login", "password", "install", "forwarding", "users"),
)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
_URL = re.compile(r"https://[^\s/@\"'\\?#]+(?:/[^\s\"'\\@?#]*)?\Z")
# GitLab docs, "PyPI packages in the package registry".
_REGISTRY = re.compile(
    r"(?P<base>https://[^\s/@\"'\\?#]+(?:/[^\s\"'\\@?#]*)?/api/v4/"
    r"(?:projects/[\w.%-]+|groups/[\w.%-]+/-)/packages/pypi)(?:/simple)?/?\Z"
)
# The readers of .netrc differ in what they take for a quote, an escape and a comment.
_WORD = re.compile(r"[^\s\"'\\#]+\Z")
_REGISTRY_FORM = (
    "https://HOST/api/v4/projects/ID/packages/pypi or https://HOST/api/v4/groups/ID/-/packages/pypi"
)


@dataclass(frozen=True)
class Index:
    """An index and its credentials.

    Attributes:
        name: the section of .pypirc, and the index's name for uv.
        kind: pypi, testpypi, gitlab or other.
        source: the address of the simple index; empty for the public ones.
        upload: where uploads go; empty if twine knows, or if there are none.
        login, password: the credentials.
        install: whether pip and uv install from it.
        forwarding: whether a GitLab registry may send unknown names on to pypi.
        users: the job users that get it; empty for that of the package's own service.
    """

    name: str
    kind: str
    source: str
    upload: str
    login: str
    password: str = field(repr=False)
    install: bool = False
    forwarding: bool = False
    users: tuple[str, ...] = ()

    def hosts(self) -> list[str]:
        """The hosts that get the credentials from .netrc."""
        return list(dict.fromkeys(host_of(url) for url in (self.source, self.upload) if url))


def index_of(entry: Mapping[str, Any]) -> Index:
    """A validated entry as data."""
    kind = str(entry["kind"])
    source, upload = str(entry.get("url") or ""), str(entry.get("upload_url") or "")
    if kind == "gitlab" and (match := _REGISTRY.match(source)):
        source = f"{match['base']}/simple"
        # A group's registry takes no uploads.
        upload = match["base"] if "/api/v4/projects/" in source else ""
    return Index(
        name=str(entry.get("name") or kind),
        kind=kind,
        source=source,
        upload=upload,
        login=str(entry.get("login") or "__token__"),
        password=str(entry["password"]),
        install=bool(entry.get("install")),
        forwarding=bool(entry.get("forwarding")),
        users=tuple(str(user) for user in entry.get("users") or ()),
    )


def problems(entries: Any) -> list[str]:
    """What is wrong with the list itself."""
    if not isinstance(entries, list):
        return [f"{VARIABLE}: {unfit(entries)}; expected a list of mappings"]
    found: list[str] = []
    for at, entry in enumerate(entries):
        found += _entry_problems(f"{VARIABLE}[{at}]", entry)
    if found:
        return found
    names = Counter(index_of(entry).name for entry in entries)
    return [
        f"{VARIABLE}: the name {name!r} is listed twice; name each index once"
        for name, count in names.items()
        if count > 1
    ]


def _entry_problems(at: str, entry: Any) -> list[str]:
    if not isinstance(entry, Mapping):
        return [f"{at}: {unfit(entry)}; expected a mapping: {', '.join(KEYS)}"]
    found = [
        f"{at}: unknown key {key!r}; {_runner_validation.nearest(str(key), KEYS, {})}"
        for key in entry
        if key not in KEYS
    ]
    kind = entry.get("kind")
    if kind not in KINDS:
        shown = repr(kind) if isinstance(kind, str) else unfit(kind)
        return [*found, f"{at}.kind: invalid value {shown}; expected {', '.join(KINDS)}"]
    name = entry.get("name", kind if kind in PUBLIC else None)
    if not isinstance(name, str) or not _NAME.match(name) or name == "distutils":
        return [
            *found,
            f"{at}.name: invalid value {name!r}; expected lower-case letters, digits and -",
        ]
    at = f"{at} ({name})"
    if (name in PUBLIC) != (kind in PUBLIC) or (kind in PUBLIC and name != kind):
        found.append(
            f"{at}.name: invalid value {name!r}; {' and '.join(PUBLIC)} are the names of the kinds "
            "pypi and testpypi, and of no other"
        )
    found += _switch_problems(at, entry)
    found += _address_problems(at, entry)
    found += _login_problems(at, entry)
    return [*found, *_password_problems(at, str(kind), entry.get("password"))]


def _switch_problems(at: str, entry: Mapping[str, Any]) -> Iterator[str]:
    kind, users = entry["kind"], entry.get("users", [])
    for key in ("install", "forwarding"):
        if not isinstance(entry.get(key, False), bool):
            yield f"{at}.{key}: {unfit(entry[key])}; expected true or false"
    if entry.get("install") and kind in PUBLIC:
        yield f"{at}.install: not for the kind {kind}, which needs no login to install from"
    if entry.get("forwarding") and not (kind == "gitlab" and entry.get("install")):
        yield f"{at}.forwarding: only for the kind gitlab with install: true"
    if not isinstance(users, list) or not all(isinstance(user, str) for user in users):
        yield f"{at}.users: expected a list of Unix users whose jobs get the credentials"


def _address_problems(at: str, entry: Mapping[str, Any]) -> Iterator[str]:
    kind = entry["kind"]
    given = {key: entry.get(key) for key in ("url", "upload_url") if entry.get(key)}
    if kind in PUBLIC:
        for key in given:
            yield f"{at}.{key}: not for the kind {kind}, whose address twine knows"
        return
    for key, value in given.items():
        if not isinstance(value, str):
            yield f"{at}.{key}: {unfit(value)}; expected an https address"
        elif "@" in value:
            yield (
                f"{at}.{key}: invalid value {HIDDEN}; expected an address without a login "
                "(login and password are keys of their own)"
            )
        elif not _fits(value):
            yield f"{at}.{key}: invalid value {value!r}; expected an https address"
        elif _is_public(value):
            yield f"{at}.{key}: invalid value {value!r}, which is pypi's or testpypi's: give a kind"
        elif key == "url" and kind == "gitlab" and not _REGISTRY.match(value):
            yield f"{at}.url: invalid value {value!r}; expected {_REGISTRY_FORM}"
    if kind == "gitlab" and "upload_url" in given:
        yield f"{at}.upload_url: not for the kind gitlab: uploads go to the project of url"
    if kind == "gitlab" and "url" not in given:
        yield f"{at}.url: missing; expected {_REGISTRY_FORM}"
    if kind == "other" and not given:
        yield f"{at}: url and upload_url are missing; expected at least one https address"
    if entry.get("install") and re.search(r"/legacy/?\Z", str(given.get("url", ""))):
        yield f"{at}.url: an address for uploads: give it as upload_url, and a simple index as url"
    if entry.get("install") and "url" not in given:
        yield f"{at}.install: there is no url to install from"


def _is_public(url: str) -> bool:
    """Whether an address is one of the public indexes', as far as the controller's pip tells."""
    public, host = host_of(_publish_lock.pips_index()), host_of(url)
    return bool(public) and f".{host}".endswith(f".{public}")


def _fits(url: str) -> bool:
    if not _URL.match(url):
        return False
    try:
        # An address with a port that none can be.
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _login_problems(at: str, entry: Mapping[str, Any]) -> Iterator[str]:
    kind, login = entry["kind"], entry.get("login")
    if kind in PUBLIC:
        if login not in (None, "", "__token__"):
            yield f"{at}.login: invalid value; {kind} takes __token__ alone, which is the default"
    elif not isinstance(login, str) or not _WORD.match(login):
        yield (
            f"{at}.login: missing, or not a string without blanks, quotes, # and backslashes; "
            "expected the login that belongs to the password"
        )


def _password_problems(at: str, kind: str, value: Any) -> Iterator[str]:
    where = f"{at}.password"
    if value is None or value == "":
        yield f"{where}: missing; expected a token, from a vault"
    elif not isinstance(value, str):
        yield f"{where}: {unfit(value)} {HIDDEN}; expected a string (quote it)"
    elif value.startswith("$ANSIBLE_VAULT"):
        yield f"{where}: the value is still encrypted; set it as a !vault value"
    elif "\n" in value:
        yield (
            f"{where}: invalid value {HIDDEN} with a line break; remove it "
            "(in YAML, `|` and `>` add one: use `|-`)"
        )
    elif not _WORD.match(value):
        yield (
            f"{where}: invalid value {HIDDEN}; expected a string without blanks, quotes, # and "
            "backslashes"
        )
    elif kind in PUBLIC and not value.startswith("pypi-"):
        yield f"{where}: invalid value {HIDDEN}; expected an API token of {kind}, from pypi- on"
    elif kind in PUBLIC and (wrong := _index_tokens.problem(value, kind)):
        yield f"{where}: invalid value {HIDDEN}: {wrong}"
    elif kind not in PUBLIC and (other := _index_tokens.instance(value)):
        yield f"{where}: invalid value {HIDDEN}: a token of {other}, in an entry of kind {kind}"
    elif "glrt-" in value or "GR1348941" in value:
        yield f"{where}: invalid value {HIDDEN}: a runner's token; expected a deploy token"
    elif "glcbt-" in value or (kind == "gitlab" and value.startswith("eyJ")):
        yield (
            f"{where}: invalid value {HIDDEN}: a job token, which ends with its job; give it in "
            "the job's environment (docs/indexes.md)"
        )
