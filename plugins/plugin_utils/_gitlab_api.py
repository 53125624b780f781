# SPDX-License-Identifier: GPL-3.0-or-later
"""GitLab's runners API, called from the controller with a token that stays there.

python-gitlab does the calls: it is the client that GitLab's own docs list first, and it keeps to
rate limits. `community.general.gitlab_runner` finds a runner by its description, cannot reset a
token, and knows no scope below ``api``; so it cannot give a rebuilt host its own runner back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urljoin, urlsplit

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import (
    EXPECTED_FILE,
    EXPECTED_FILE_OF_CONTROLLER,
    missing_packages,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_reach import (
    Place,
    is_gitlabs,
    without_words,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import (
    CHANGEABLE_KEYS,
    CREATION_KEYS,
)

SECONDS = 30
# GitLab docs, "Personal access token scopes": api includes both.
CREATE, MANAGE = "create_runner", "manage_runner"
TOKEN_WARNING_DAYS = 30
_MARK = "Managed by Runnerhost: "


class ApiProblem(Exception):
    """GitLab did not do what was asked; the text says why, without a secret.

    Attributes:
        status: the HTTP status, 0 where no answer came.
    """

    def __init__(self, said: str, status: int = 0) -> None:
        super().__init__(said)
        self.status = status

    @property
    def unseen(self) -> bool:
        """Whether the token may not see what was asked for: GitLab hides it, or says so."""
        return self.status in (403, 404)


def mark(host: str, name: str) -> str:
    """The line in a runner's maintenance note by which a rebuilt host finds it."""
    return f"{_MARK}{host} / {name}"


def noted(note: str, line: str) -> str:
    """A maintenance note with the mark as its last line."""
    return f"{note.strip()}\n\n{line}".strip()


def is_marked(details: Mapping[str, Any], line: str) -> bool:
    """True if a runner's maintenance note has the mark."""
    return line in [part.strip() for part in str(details.get("maintenance_note") or "").split("\n")]


def differences(
    wanted: Mapping[str, Any], details: Mapping[str, Any], line: str
) -> dict[str, tuple[Any, Any]]:
    """What GitLab holds and what it should hold, of the keys that the entry names.

    Args:
        wanted: an entry's ``gitlab``.
        details: GitLab's answer about the runner.
        line: the mark; empty for a runner that the toolkit has not created, whose note stays
            as it is unless the entry names one.
    """
    found = {}
    for key in CHANGEABLE_KEYS:
        if key == "maintenance_note" or key not in wanted:
            continue
        before, after = details.get(key), wanted[key]
        if key == "tag_list":
            # GitLab keeps tags as a set, in lower and upper case as given.
            same = sorted(set(before or [])) == sorted(set(after))
        else:
            same = before == after
        if not same:
            found[key] = (before, after)
    before = str(details.get("maintenance_note") or "")
    after = before
    if line:
        after = noted(str(wanted.get("maintenance_note", _bare(before))), line)
    elif "maintenance_note" in wanted:
        after = str(wanted["maintenance_note"])
    if before.strip() != after.strip():
        found["maintenance_note"] = (before, after)
    return found


def _bare(note: str) -> str:
    return "\n".join(part for part in note.split("\n") if not part.startswith(_MARK)).strip()


class _OtherError(Exception):
    """A page where GitLab's API would have answered with JSON."""


class Api:
    """One GitLab, for one access token.

    Args:
        url: the GitLab's address.
        token: an access token with the scopes create_runner and manage_runner, or api.
        ca_certificate: a PEM file on the controller; empty for what the controller trusts.
        proxy: of the controller; empty for what its environment says.
        variable: what the inventory calls the token, for messages; those with the address, the
            CA and the proxy are named like it.
        secrets: what else GitLab is told, and no message may show.

    Attributes:
        calls: how many answers there were.
    """

    def __init__(
        self,
        url: str,
        token: str,
        ca_certificate: str = "",
        proxy: str = "",
        variable: str = "gitlab_runner_api_token",
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        for text in missing_packages("python-gitlab"):
            raise ApiProblem(text)
        # Only here: a controller whose entries all bring a token needs no client.
        import gitlab
        import requests

        self.url, self._variable = url, variable
        self._place = Place(url, variable.removesuffix("_api_token"), ca_certificate)
        if ca_certificate and not os.path.exists(ca_certificate):
            of_host = variable.startswith("gitlab_runner")
            expected = EXPECTED_FILE if of_host else EXPECTED_FILE_OF_CONTROLLER
            raise ApiProblem(
                f"{self._place.authority}: the file {ca_certificate} does not exist; {expected}"
            )
        session = requests.Session()
        self.calls = 0
        # The Content-Type of the last answer.
        self._kind = ""
        session.hooks["response"].append(self._note)
        if proxy:
            session.proxies = {"http": proxy, "https": proxy}
        self._errors = (gitlab.exceptions.GitlabError, requests.RequestException, OSError)
        self._secrets = frozenset({token, *secrets})
        self._client = gitlab.Gitlab(
            url,
            private_token=token,
            ssl_verify=ca_certificate or True,
            timeout=SECONDS,
            session=session,
            user_agent="runnerhost.toolkit",
        )

    def _note(self, answer: Any, *_args: object, **_more: object) -> None:
        self.calls += 1
        self._kind = str(answer.headers.get("Content-Type", "")).partition(";")[0].strip()
        target = urlsplit(urljoin(answer.url, answer.headers.get("Location", "")))
        asked = urlsplit(answer.url)
        moved = (target.scheme, target.netloc) != (asked.scheme, asked.netloc)
        if answer.is_redirect and moved and target.path == asked.path:
            # Only what changes nothing would get through, with the token in the open before.
            there = f"{target.scheme}://{target.netloc}"
            raise _OtherError(
                f"{self._place.address}: {self.url} redirects to {there}; set that address"
            )
        # GitLab's web pages lead to its login, and another server's may answer to everything.
        if 200 <= answer.status_code < 300 and self._kind == "text/html":
            raise _OtherError(self._place.other(answer.status_code, self._kind, ""))

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        try:
            yield
        except _OtherError as error:
            raise ApiProblem(str(error)) from None
        except self._errors as error:
            status = int(getattr(error, "response_code", 0) or 0)
            body = getattr(error, "response_body", None) or b""
            text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
            # Without a status: that nothing is there of what was asked for is not known.
            if status and (other := self._place.other(status, self._kind, text)):
                raise ApiProblem(other) from None
            said = _secrets.redact_text(str(error), self._secrets)
            why = self._why(status, said, is_gitlabs(text))
            raise ApiProblem(f"{self.url}, asked to {what}: {why}", status) from None

    def scopes(self) -> tuple[set[str], str]:
        """What the token may do, and a warning if it ends soon.

        GitLab docs, "Personal access tokens API": any token may ask about itself.
        """
        with self._asked("tell what the access token may do"):
            found: Any = self._client.http_get("/personal_access_tokens/self")
        warning = ""
        ends = found.get("expires_at")
        if ends:
            left = datetime.fromisoformat(str(ends)[:10]).replace(tzinfo=timezone.utc)
            if left - datetime.now(timezone.utc) < timedelta(days=TOKEN_WARNING_DAYS):
                warning = f"{self._variable} expires on {str(ends)[:10]}"
        granted = {str(scope) for scope in found.get("scopes", [])}
        return granted | ({CREATE, MANAGE} if "api" in granted else set()), warning

    def get(self, runner: int) -> dict[str, Any] | None:
        """A runner's details, None if GitLab no longer has it."""
        try:
            with self._asked(f"show runner {runner}"):
                found: Any = self._client.http_get(f"/runners/{runner}")
        except ApiProblem as problem:
            if problem.status == 404:
                return None
            raise
        return dict(found)

    def has(self, place: str) -> bool:
        """Whether GitLab has a project or group; also where it does not let this token look."""
        try:
            with self._asked(f"show {place}"):
                self._client.http_get(f"/{place}")
        except ApiProblem as problem:
            # Of a token without a scope for it GitLab says 403.
            return problem.status != 404
        return True

    def find(self, wanted: Mapping[str, Any], line: str) -> dict[str, Any] | None:
        """The runner that carries the mark, None if there is none.

        The lists have no maintenance notes, so each runner of the place is asked about; this
        happens only where a host does not hold the runner of an entry.

        Raises:
            ApiProblem: without an answer, or if two carry the mark.
        """
        kind = wanted["runner_type"]
        place = {
            "instance_type": "/runners/all",
            "group_type": f"/groups/{wanted.get('group_id')}/runners",
            "project_type": f"/projects/{wanted.get('project_id')}/runners",
        }[kind]
        with self._asked("list its runners"):
            listed: Any = list(
                self._client.http_list(place, iterator=True, query_data={"type": kind})
            )
        found = []
        for item in listed:
            details = self.get(int(item["id"]))
            if details is not None and is_marked(details, line):
                found.append(details)
        if len(found) > 1:
            ids = ", ".join(str(item["id"]) for item in found)
            raise ApiProblem(
                f"{self.url} has several runners with the note {line!r}: {ids}; "
                "delete those that no host uses, or name one as gitlab.id"
            )
        return found[0] if found else None

    def create(self, wanted: Mapping[str, Any], line: str) -> tuple[int, str]:
        """A new runner: its id, and its token, which GitLab tells only now."""
        body = {key: wanted[key] for key in CREATION_KEYS if wanted.get(key) is not None}
        body["maintenance_note"] = noted(str(wanted.get("maintenance_note", "")), line)
        if "tag_list" in body:
            body["tag_list"] = ",".join(body["tag_list"])
        with self._asked("create a runner"):
            # No retry: the runner may be there though its answer was lost.
            answer: Any = self._client.http_post("/user/runners", post_data=body)
        return int(answer["id"]), str(answer["token"])

    def reset(self, runner: int) -> str:
        """A runner's new token; its old one is dead from now on."""
        with self._asked(f"reset the token of runner {runner}"):
            answer: Any = self._client.http_post(f"/runners/{runner}/reset_authentication_token")
        return str(answer["token"])

    def update(self, runner: int, changes: Mapping[str, Any]) -> None:
        """Sets what differs."""
        body = dict(changes)
        if "tag_list" in body:
            body["tag_list"] = ",".join(body["tag_list"])
        with self._asked(f"change {', '.join(changes)} of runner {runner}"):
            self._client.http_put(f"/runners/{runner}", post_data=body)

    def managers(self, runner: int) -> list[dict[str, Any]]:
        """The hosts that use a runner: system_id, version, status, contacted_at."""
        with self._asked(f"list the hosts of runner {runner}"):
            found: Any = list(self._client.http_list(f"/runners/{runner}/managers", iterator=True))
        return [dict(item) for item in found]

    def forget_manager(self, token: str, system_id: str) -> None:
        """Removes a dead host from a runner, by the runner's own token."""
        with self._asked(f"forget the host {system_id}"):
            self._client.http_request(
                "delete", "/runners/managers", post_data={"token": token, "system_id": system_id}
            )

    def version(self) -> str:
        """GitLab's own version."""
        with self._asked("tell its version"):
            found: Any = self._client.http_get("/version")
        return str(found["version"])

    def _why(self, status: int, said: str, gitlabs: bool) -> str:
        if status == 401:
            return f"it does not know {self._variable} (401): expired, revoked, or another GitLab's"
        if status and not gitlabs and self._kind == "text/html":
            return without_words(status, self._kind)
        if status == 403:
            return f"{self._variable} may not do that (403): {said}"
        if status:
            return f"it answered {status}: {said}"
        if "redirection" in said:
            return f"set {self._place.address} to its final address: {said}"
        return f"no answer: {self._place.no_answer(said) or said}"
