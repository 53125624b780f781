# SPDX-License-Identifier: GPL-3.0-or-later
"""The files with credentials of package indexes: for which user, with what in them.

One index is the source of packages for pip and uv, or none is named: pip takes the highest version
that any of its indexes has (pip docs, "pip install", `--extra-index-url`), so that whoever uploads
a company's name to pypi would get into its builds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._credential_files import (
    MARK,
    NETRC,
    PIP_CONF,
    PYPIRC,
    UV_TOML,
    WRITTEN,
    Found,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._index_settings import (
    PUBLIC,
    VARIABLE,
    Index,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._services import Service

DOCS = "docs/indexes.md"
_SECRET = (NETRC, PYPIRC)
# What beats the files, and what adds a source beside the one that they name.
_REPLACES = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
_ADDS = ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX")

Item = dict[str, Any]
"""An item of file_set."""


@dataclass(frozen=True)
class User:
    """A user of jobs, and what they are to have.

    Attributes:
        service: the runner service.
        indexes: those whose credentials its jobs get.
    """

    service: Service
    indexes: tuple[Index, ...]

    @property
    def source(self) -> Index | None:
        """The index that packages come from."""
        return next((one for one in self.indexes if one.install), None)


def users(services: Sequence[Service], indexes: Iterable[Index]) -> list[User]:
    """Each service's user with its indexes: those without `users` are the first service's."""
    listed = list(indexes)
    main = services[0].user
    return [
        User(one, tuple(index for index in listed if one.user in (index.users or (main,))))
        for one in services
    ]


def user_problems(services: Iterable[Service], indexes: Iterable[Index]) -> list[str]:
    """What names a user that runs no jobs."""
    known = [service.user for service in services]
    return [
        f"{VARIABLE} ({index.name}).users: {user} runs no jobs on this host; expected one or "
        f"more of: {', '.join(known)}"
        for index in indexes
        for user in index.users
        if user not in known
    ]


def open_tokens(services: Sequence[Service], indexes: Iterable[Index]) -> list[str]:
    """Warnings for tokens that upload, and that jobs of merge requests get."""
    isolated = [one.user for one in services if one.isolated]
    return [
        f"{VARIABLE} ({index.name}): has no users, so that the jobs of {services[0].user} get its "
        f"token, which uploads; users: [{isolated[0]}] gives it to the isolated runner alone"
        for index in indexes
        # A login at a project's registry may be one that only reads.
        if isolated
        and not index.users
        and (index.kind in PUBLIC or (index.upload and index.kind == "other"))
    ]


def order_problems(user: User, index_url: str) -> Iterator[str]:
    """What would leave the origin of a package to chance, or two settings at odds.

    Args:
        user: whose jobs.
        index_url: `network_access_package_index_url`.
    """
    name, source = user.service.user, user.source
    sources = [one.name for one in user.indexes if one.install]
    if len(sources) > 1:
        yield (
            f"{VARIABLE}: {' and '.join(sources)} are both to install from for {name}, and pip "
            "has no order among indexes: it takes the highest version of any. Keep install: true "
            f"at one that has all packages ({DOCS})"
        )
    if source is None:
        return
    at = f"{VARIABLE} ({source.name}).install"
    if index_url and index_url.rstrip("/") != source.source.rstrip("/"):
        yield (
            f"{at}: network_access_package_index_url names {index_url}, which jobs have in their "
            "environment, where it beats every file; empty it, or leave install out"
        )
    for where, variable, value in _environment(user.service):
        if variable in _REPLACES and value.rstrip("/") != source.source.rstrip("/"):
            yield f"{at}: {where} has {variable}, which beats every file; remove one of both"
        elif variable in _ADDS:
            yield (
                f"{at}: {where} has {variable}, a second index: a name of yours may then come "
                f"from it; remove it ({DOCS})"
            )
        elif variable == "UV_INDEX_STRATEGY" and value.startswith("unsafe"):
            yield f"{at}: {where} has {variable}={value}, which mixes indexes; remove it"


def _environment(service: Service) -> Iterator[tuple[str, str, str]]:
    """The variables of a service's jobs: where each is set, its name and its value."""
    for name, value in service.environment.items():
        yield service.variable("environment"), str(name), str(value)
    for runner in service.present:
        for line in runner.get("environment") or ():
            name, __, value = str(line).partition("=")
            yield f"{service.variable('runners')} ({runner.get('name')}).environment", name, value


def login_problems(user: User) -> Iterator[str]:
    """Hosts with two logins: .netrc has one for each."""
    seen: dict[str, Index] = {}
    for index in user.indexes:
        for host in index.hosts():
            other = seen.setdefault(host, index)
            if (other.login, other.password) != (index.login, index.password):
                yield (
                    f"{VARIABLE}: {other.name} and {index.name} have different logins at {host}, "
                    f"and .netrc has one for each host; give both the same, such as a deploy token "
                    f"of the group, or other users than {user.service.user}"
                )


def host_problems(user: User, found: Mapping[str, Found]) -> Iterator[str]:
    """What on the host is in the way."""
    texts = contents(user.indexes)
    for name in texts:
        path = os.path.join(user.service.home, name)
        if path in found and found[path]["writer"] == "other":
            yield (
                f"{path}: exists on the host and was not written by the toolkit; move its entries "
                f"to {VARIABLE} and remove the file"
            )
    if user.source is None:
        return
    mine = f"{user.service.home}/"
    for path, file in found.items():
        if file["second_index"] and path.startswith(("/etc/", mine)):
            yield (
                f"{path}: {file['second_index']} gives jobs a second index beside "
                f"{user.source.name}: a name of yours may then come from it; remove the line "
                f"({DOCS})"
            )


def strays(user: User, found: Mapping[str, Found]) -> list[str]:
    """Files with secrets that the list does not name, for warnings."""
    return [
        f"{path} holds a secret and was not written by the toolkit; each job of {user.service.user}"
        " can read it"
        for path, file in found.items()
        if path.startswith(f"{user.service.home}/") and file["secret"] and file["writer"] == "other"
    ]


def contents(indexes: Sequence[Index]) -> dict[str, str]:
    """The files that a user has, by their path below the home."""
    source = next((one for one in indexes if one.install), None)
    found = {NETRC: _netrc(indexes), PYPIRC: _pypirc(indexes), UV_TOML: _uv_toml(indexes)}
    if source:
        found[PIP_CONF] = f"[global]\nindex-url = {source.source}\n"
    return {name: MARK + text for name, text in found.items() if text}


def _netrc(indexes: Iterable[Index]) -> str:
    """netrc(5): what pip, Pipenv and uv send to a host, uv publish too (tried with uv 0.13)."""
    lines = {
        host: f"machine {host}\n  login {index.login}\n  password {index.password}\n"
        for index in indexes
        for host in index.hosts()
    }
    return "".join(lines.values())


def _pypirc(indexes: Iterable[Index]) -> str:
    """twine's file; it knows the addresses of pypi and testpypi itself."""
    targets = [one for one in indexes if one.upload or one.kind in PUBLIC]
    if not targets:
        return ""
    parts = ["[distutils]\nindex-servers =\n" + "".join(f"    {one.name}\n" for one in targets)]
    for one in targets:
        address = f"repository = {one.upload}\n" if one.upload else ""
        parts.append(f"[{one.name}]\n{address}username = {one.login}\npassword = {one.password}\n")
    return "\n".join(parts)


def _uv_toml(indexes: Iterable[Index]) -> str:
    """uv's indexes: one for all packages, the others only for what a project says.

    `authenticate`: to whom does not log in, GitLab answers with an address of pypi (uv docs,
    "Package indexes").
    """
    parts = []
    for one in indexes:
        if not one.source:
            continue
        lines = [f'name = "{one.name}"', f'url = "{one.source}"']
        lines.append("default = true" if one.install else "explicit = true")
        lines.append('authenticate = "always"')
        if one.upload:
            lines.append(f'publish-url = "{one.upload}"')
        parts.append("[[index]]\n" + "".join(f"{line}\n" for line in lines))
    return "\n".join(parts)


def files(user: User) -> list[Item]:
    """Items of file_set: the user's files, and what of them goes."""
    texts = contents(user.indexes)
    found: list[Item] = []
    for name in WRITTEN:
        item: Item = {"path": os.path.join(user.service.home, name), "own": True}
        item["owner"] = user.service.user
        if name in texts:
            item |= {"content": texts[name], "mode": "0600", "secret": name in _SECRET}
        else:
            item["state"] = "absent"
        found.append(item)
    return found
