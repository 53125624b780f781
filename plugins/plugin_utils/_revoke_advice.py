# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a person can do after an incident, on the web, in its order and with reasons. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_note import Taken
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._revoke_plan import kinds

_SITES = {"PyPI": "pypi", "TestPyPI": "testpypi"}


def advice(
    values: Collection[str],
    variables: Sequence[Taken],
    *,
    leaked: bool,
    note: str,
    todo: Sequence[str],
) -> list[str]:
    """The list.

    Args:
        values: what was leaked, as far as it is known.
        variables: what was taken out, by this run and earlier ones.
        leaked: whether variables were to be taken out.
        note: the file, for the undo.
        todo: what this run could not do.
    """
    steps = [*todo]
    if leaked:
        steps = [*_tokens(values, variables), *todo, *_account()]
    steps += _releases()
    steps.append(
        "Undo, once the cause is removed"
        + (" and the inventory has a new token" if leaked else "")
        + f": the same command with -e gitlab_project_revoke_undo={note}. Until then, nothing is "
        "published."
    )
    return [f"{n}. {step}" for n, step in enumerate(steps, 1)]


def _tokens(values: Collection[str], variables: Sequence[Taken]) -> Iterator[str]:
    # An earlier run knew values that nobody can read any more.
    found = {kind for one in variables for kind in one.attributes.get("kinds", ())}
    found.update(*map(kinds, values))
    sites = sorted(_SITES[kind] for kind in found if kind in _SITES)
    for site in sites or ["the index"]:
        yield (
            f"Revoke each token that was taken out, at {site}: Account settings > API tokens, "
            "Options > Remove token. Whoever has it can upload until then; nothing that was done "
            "here ends that."
        )
    numbers = {
        (one.place, int(one.attributes["deploy_token"]))
        for one in variables
        if one.attributes.get("deploy_token")
    }
    for place, number in sorted(numbers):
        yield (
            f"Revoke deploy token {number}, in GitLab: Settings > Repository > Deploy tokens of "
            f"{place}. Taking its variable out does not end it."
        )
    if "gldt-" in found and not numbers:
        yield (
            "Revoke the deploy token, in GitLab: Settings > Repository > Deploy tokens of the "
            "project. Taking its variable out does not end it."
        )
    if "glpat-" in found:
        yield (
            "Revoke the access token, in GitLab: Access tokens of its user, group or project. "
            "Taking its variable out does not end it."
        )


def _account() -> Iterator[str]:
    yield (
        "Check the account at the index: security history, other tokens, two-factor devices, "
        "owners and publishers of each project. A thief may have made a second way in. A new "
        "password ends open sessions."
    )
    yield (
        "Compare each release since the first job above with your tags, at the index: Releases, "
        "each file. A file that no job of yours uploaded is the thief's."
    )
    yield (
        "In GitLab, check the audit events and members of the projects, and revoke access tokens "
        "that were kept in the same place as the leaked one. If a host is in doubt, run make "
        "rotate: its runners' tokens are on it."
    )


def _releases() -> Iterator[str]:
    yield (
        "Yank a bad release, at the index: the project's Releases, Options > Yank. Only the web "
        "page can, and only for the whole release. New installations pass over it, pinned ones "
        "go on."
    )
    yield (
        "Do not delete it: nobody can ever upload a file of the same name again, and pinned "
        "installations break. Publish a new version."
    )
    yield (
        "For a vulnerability, publish an advisory: affected versions, the fixed one, what to do "
        "until then; request a CVE number. Who has installed the release hears of it only so."
    )
