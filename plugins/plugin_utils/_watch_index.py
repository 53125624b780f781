# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a project on a package index: PEP 691's JSON, or PEP 503's HTML."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

if TYPE_CHECKING:
    from packaging.version import Version

_ACCEPTED = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
_SECONDS = 30


class IndexProblem(Exception):
    """An index did not say what it has; the text says why, without a secret."""


@dataclass(frozen=True)
class Listed:
    """A file of an index.

    Attributes:
        version: None for a name that tells none.
        sha256: in hex; empty if the index does not tell it.
        uploaded: None if the index does not tell it (PEP 700 does).
    """

    name: str
    version: Version | None
    sha256: str
    uploaded: datetime | None = None


def public_simple(index: str) -> str:
    """The simple index of pypi or testpypi, as the controller's pip knows it; or an empty text."""
    try:
        # pip's own constants, since no setting names the test index.
        from pip._internal.models import index as known
    except ImportError:
        return ""
    return str((known.TestPyPI if index == "testpypi" else known.PyPI).simple_url)


def files_of(
    simple: str, package: str, verify: str | bool = True, login: tuple[str, str] | None = None
) -> list[Listed]:
    """What an index has of a project; nothing where it does not know it.

    Args:
        simple: the address of the simple index.
        package: the project's name there.
        verify: a PEM file; or True for what the controller trusts.
        login: user and password; None for those of .netrc, if any.

    Raises:
        IndexProblem: without an answer that can be read.
    """
    import requests

    url = f"{simple.rstrip('/')}/{re.sub('[-_.]+', '-', package).lower()}/"
    try:
        answer = requests.get(
            url, headers={"Accept": _ACCEPTED}, verify=verify, auth=login, timeout=_SECONDS,
            allow_redirects=False,
        )  # fmt: skip
    except (requests.RequestException, OSError) as error:
        raise IndexProblem(f"{url}: no answer: {type(error).__name__}") from None
    if answer.status_code == 404:
        return []
    if answer.is_redirect:
        place = urlsplit(urljoin(url, answer.headers["Location"]))
        # GitLab's registry forwards what it does not have to another host.
        if login and place.hostname != urlsplit(url).hostname:
            return []
        there = f"{place.scheme}://{place.netloc.rpartition('@')[2]}{place.path}"
        raise IndexProblem(f"{url}: redirects to {there}: set its final address")
    if answer.status_code != 200:
        raise IndexProblem(f"{url}: HTTP {answer.status_code}")
    if "json" not in answer.headers.get("Content-Type", ""):
        links = _Links()
        links.feed(answer.text)
        return links.files
    try:
        return [_listed(one) for one in answer.json()["files"]]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise IndexProblem(f"{url}: its JSON is not a simple index's") from None


def _listed(one: dict[str, Any]) -> Listed:
    name, uploaded = str(one["filename"]), str(one.get("upload-time") or "")
    when = datetime.fromisoformat(uploaded.replace("Z", "+00:00")) if uploaded else None
    if when and not when.tzinfo:
        # PEP 700 has all times in UTC.
        when = when.replace(tzinfo=timezone.utc)
    return Listed(
        name,
        version_of(name),
        str(one["hashes"].get("sha256", "")),
        when,
    )


class _Links(HTMLParser):
    """Files and digests in the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[Listed] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = urlsplit(dict(attrs).get("href") or "") if tag == "a" else None
        if address is not None:
            name = unquote(address.path.rpartition("/")[2])
            kind, __, value = address.fragment.partition("=")
            self.files.append(Listed(name, version_of(name), value if kind == "sha256" else ""))


def version_of(name: str) -> Version | None:
    """The version in a file's name."""
    # ansible-core brings it.
    from packaging.utils import (
        InvalidSdistFilename,
        InvalidWheelFilename,
        parse_sdist_filename,
        parse_wheel_filename,
    )
    from packaging.version import InvalidVersion

    try:
        if name.endswith(".whl"):
            return parse_wheel_filename(name)[1]
        return parse_sdist_filename(name)[1]
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None


def version(text: str) -> Version | None:
    """A version; None if the text is none."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(text)
    except InvalidVersion:
        return None
