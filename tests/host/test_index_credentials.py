# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials of package indexes are where the inventory says, for the job users alone.

No command shows a password: what is read of a file are its hosts, sections and addresses.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

MARK = "# Written by runnerhost.toolkit: local changes are lost."
FILES = (".netrc", ".pypirc", ".config/pip/pip.conf", ".config/uv/uv.toml")
OTHERS = (
    *(".pip/pip.conf", ".local/share/uv/credentials/credentials.toml"),
    ".config/pypoetry/auth.toml",
)
SETTINGS = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "/etc/uv/uv.toml", "/etc/xdg/uv/uv.toml")
_SECRET = r"password|token|://[^/@[:space:]]*:[^/@[:space:]]*@"
_SECOND = "^[[:space:]]*(extra[-_]index[-_]url[[:space:]]*[=:]|index-strategy[[:space:]]*=.*unsafe)"
# Asks a registry for a name that it lacks, as a job's pip would; no redirection is followed.
_ASK = """
import base64, netrc, os, sys, urllib.error, urllib.parse, urllib.request
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *given):
        return None
url = sys.argv[1] + "/runnerhost-no-such-package/"
host = urllib.parse.urlsplit(url).hostname
login = netrc.netrc(os.path.expanduser("~/.netrc")).authenticators(host)
request = urllib.request.Request(url)
text = base64.b64encode(f"{login[0]}:{login[2]}".encode()).decode()
request.add_header("Authorization", "Basic " + text)
try:
    print(urllib.request.build_opener(Stay).open(request, timeout=20).status)
except urllib.error.HTTPError as answer:
    print(answer.code)
except OSError as error:
    print(error)
"""


def users(wanted: dict[str, Any]) -> dict[str, str]:
    """The job users and their homes; that of the package's own service first."""
    found = {}
    # Without the role gitlab_runner the inventory may not name them.
    user = wanted.get("gitlab_runner_user") or "gitlab-runner"
    found[user] = wanted.get("gitlab_runner_home") or f"/home/{user}"
    for entry in wanted.get("gitlab_runner_isolated") or []:
        user = entry.get("user") or f"gitlab-runner-{entry['name']}"
        found[user] = entry.get("home") or f"/home/{user}"
    return found


def listed(wanted: dict[str, Any], user: str) -> list[dict[str, Any]]:
    """The indexes whose credentials a user gets."""
    main = next(iter(users(wanted)))
    return [
        {"name": one["kind"], **one}
        for one in wanted["index_credentials_indexes"]
        if user in (one.get("users") or [main])
    ]


def source(one: dict[str, Any]) -> str:
    """The address that packages come from."""
    url = str(one.get("url") or "").rstrip("/")
    return f"{url.removesuffix('/simple')}/simple" if one["kind"] == "gitlab" else url


def expected(indexes: list[dict[str, Any]]) -> dict[str, set[str]]:
    """What of each file is compared: hosts, sections, addresses."""
    found: dict[str, set[str]] = {path: set() for path in FILES}
    for one in indexes:
        url, upload = source(one), one.get("upload_url") or ""
        if one["kind"] == "gitlab" and "/api/v4/projects/" in url:
            upload = url.removesuffix("/simple")
        for address in filter(None, (url, upload)):
            found[".netrc"].add(urlsplit(address).hostname or "")
        if upload or one["kind"] in ("pypi", "testpypi"):
            found[".pypirc"] |= {"distutils", one["name"]}
        if one.get("install"):
            found[".config/pip/pip.conf"].add(one["url"] if one["kind"] == "other" else url)
        if url:
            found[".config/uv/uv.toml"].add(one["url"] if one["kind"] == "other" else url)
    return found


_READ = {
    ".netrc": "s/^machine //p",
    ".pypirc": r"s/^\[\(.*\)\]$/\1/p",
    ".config/pip/pip.conf": "s/^index-url = //p",
    ".config/uv/uv.toml": 's/^url = "\\(.*\\)"$/\\1/p',
}


def written(host: Any, path: str) -> bool:
    """Whether the toolkit has written a file."""
    head = host.run(f"test -f {path} && ! test -L {path} && head -n 1 {path}")
    return str(head.stdout).strip() == MARK


@pytest.mark.parametrize("name", FILES)
def test_files_have_the_listed_indexes_for_their_user_alone(
    host: Any, wanted: dict[str, Any], name: str
) -> None:
    for user, home in users(wanted).items():
        path, entries = f"{home}/{name}", expected(listed(wanted, user))[name]
        if not entries:
            continue
        assert written(host, path), f"{path}: expected the toolkit's file, found none of it"
        there = host.file(path)
        assert (there.user, f"mode {there.mode:04o}") == (user, "mode 0600"), path
        lines = host.check_output(f"sed -n '{_READ[name]}' {path}").splitlines()
        assert set(lines) == entries, path


def test_files_that_no_index_needs_are_gone(host: Any, wanted: dict[str, Any]) -> None:
    paths = [
        f"{home}/{name}"
        for user, home in users(wanted).items()
        for name, entries in expected(listed(wanted, user)).items()
        if not entries
    ]
    # One command for all; a link is not the toolkit's.
    first = f"head -qn 1 $f 2>/dev/null | grep -qxF {shlex.quote(MARK)}"
    asked = " ".join(map(shlex.quote, paths))
    each = f"if test ! -L $f && {first}; then echo $f; fi"
    found = host.run(f"for f in {asked}; do {each}; done").stdout.split()
    assert found == [], f"expected no such files, found {', '.join(found)}"


def test_other_files_with_credentials_are_named(
    host: Any, wanted: dict[str, Any], note: Callable[[str], None]
) -> None:
    paths = {
        f"{home}/{name}": user for user, home in users(wanted).items() for name in (*FILES, *OTHERS)
    }
    found = host.run(f"grep -lsE '{_SECRET}' {' '.join(paths)}").stdout.split()
    for path in found:
        if not written(host, path):
            note(
                f"{path} holds a credential that the toolkit has not written; each job of "
                f"{paths[path]} can read it"
            )


def test_packages_come_from_one_index(host: Any, wanted: dict[str, Any]) -> None:
    """A second one beside the company's own, and a name of its own may come from there."""
    for user, home in users(wanted).items():
        sources = [one["name"] for one in listed(wanted, user) if one.get("install")]
        if not sources:
            continue
        paths = " ".join((*SETTINGS, *(f"{home}/{name}" for name in (*FILES, *OTHERS))))
        found = host.run(f"grep -lsE '{_SECOND}' {paths}").stdout.split()
        assert found == [], (
            f"indexes beside {sources[0]}, from which its names may come: expected none, found a "
            f"setting in {', '.join(found)} (remove it: docs/indexes.md)"
        )


def test_registries_forward_only_what_may_be(
    host: Any, wanted: dict[str, Any], note: Callable[[str], None]
) -> None:
    for user, home in users(wanted).items():
        for one in listed(wanted, user):
            if not (one["kind"] == "gitlab" and one.get("install")):
                continue
            ask = f"env HOME={home} /usr/bin/python3 -I -c {shlex.quote(_ASK)} {source(one)}"
            said = host.run(f"cd / && runuser -u {user} -- {ask}").stdout.strip()
            name = f"forwarding of {one['name']} to pypi"
            assert said not in ("401", "403"), (
                f"{one['name']}: expected the registry to accept the login, found HTTP {said}"
            )
            forwards = said.startswith("30")
            if not forwards and said != "404":
                note(f"{name} was not checked: {said or 'no answer'}")
            elif forwards and not one.get("forwarding"):
                pytest.fail(
                    f"{name}: expected off, found on: whoever uploads a name there that the "
                    "registry lacks gets into your builds (switch it off in the group's settings, "
                    "Packages and registries, or set forwarding: true)"
                )
