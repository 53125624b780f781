# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run tells about a service's runners though nothing failed; no token."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import digest
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _runner_compare, _tokens
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_config_plan import (
    Found,
    WantedConfig,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_lists import WantedRunner
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_match import Question
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_merge import Merged
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import (
    BYTE_ORDER_MARK,
    Data,
)


def byte_order_mark(wanted: WantedConfig, found: Found) -> list[str]:
    """That an editor has put a mark before the file's text."""
    if not found.file.text.startswith(BYTE_ORDER_MARK):
        return []
    return [
        f"{wanted.folder}/config.toml begins with a byte order mark: the runner skips it, and the "
        "next change removes it"
    ]


def lost(wanted: WantedConfig, found: Found) -> list[str]:
    """Which runners the host had that are no longer in its file."""
    held = {int(runner.get("id") or 0) for runner in found.config.get("runners", [])}
    names = {runner.name for runner in wanted.runners}
    gone = [one.name for one in found.known if one.name in names and one.id not in held]
    if not gone:
        return []
    return [
        f"config.toml lacks runners that this host had: {', '.join(gone)}; GitLab is asked about "
        "them, and they come back"
    ]


def dropped_keys(host: Data, config: Data, *, check: bool) -> list[str]:
    """Which keys of the host's file go, before they go."""
    verb = "would be" if check else "are"
    found = []
    for name, keys in _runner_compare.dropped_keys(host, config).items():
        whose = f"of runner {name!r} " if name else ""
        found.append(
            f"config.toml has keys {whose}that the inventory does not set; they {verb} removed: "
            f"{', '.join(keys)}"
        )
    return found


def replaced(
    wanted: WantedConfig,
    found: Found,
    merged: Merged,
    unasked: Mapping[int, Question],
    *,
    check: bool,
) -> list[str]:
    """Which entries become another runner than the host has for them."""
    digests = {entry.token_sha256 for entry in found.known}
    warnings = []
    for index, runner in enumerate(wanted.runners):
        position = found.matches.positions.get(index)
        if position is None or runner.created:
            continue
        held = found.runner(index).get("id")
        now = merged.config["runners"][position].get("id")
        before = held
        if held == now and digest(runner.token) not in digests:
            # It has the token of another of the host's runners.
            before = found.known_id(runner) or held
        if before and now and before != now:
            verb = "would take" if check else "takes"
            warnings.append(
                f"{runner.at}: its token belongs to runner {now} in GitLab, the host has runner "
                f"{before} for it: runner {now} {verb} its place here. If that is not intended, "
                f"give the token of runner {before}"
            )
        elif held and index in unasked and unasked[index].fallback is None:
            there = found.runner(index)
            if there.get("token") == runner.token:
                warnings.append(
                    f"{runner.at}: its url changes from {there.get('url')} to {runner.url}: the "
                    f"runner that GitLab has there for the same token takes the place of runner "
                    f"{held}"
                )
                continue
            warnings.append(
                f"{runner.at}: its token is not the one of runner {held}, which the host has for "
                "it: the runner that GitLab has for this token takes its place here"
            )
    return warnings


def refused_tokens(wanted: WantedConfig, refused: Collection[int]) -> list[str]:
    """Tokens that GitLab refuses where the host's own stays."""
    return [
        f"{wanted.runners[index].at}: GitLab refuses its token; the one that config.toml holds "
        "stays in use"
        for index in sorted(refused)
    ]


def legacy(runners: Sequence[WantedRunner]) -> list[str]:
    """Runners that were made by a registration that GitLab removes."""
    return [
        f"{runner.at}: its runner was made by the legacy registration, which GitLab 20.0 removes: "
        "it works as it is, but cannot be registered again. Create a new one in GitLab in time and "
        "give its token"
        for runner in runners
        if _tokens.is_legacy(runner.token)
    ]


def foreign(wanted: WantedConfig, names: Sequence[str]) -> list[str]:
    """Runners of the file that the inventory does not name."""
    if not names:
        return []
    return [
        f"config.toml holds runners that {wanted.variable} does not name; they are kept as they "
        f"are: {', '.join(names)}",
        *(
            f"{wanted.variable} ({gone}): state is absent, and the host has no runner of this "
            f"name; did you mean {near[0]}?"
            for gone in sorted(wanted.leaving)
            if (near := difflib.get_close_matches(gone, names, n=1))
        ),
    ]


def shared_builds(config: Data) -> list[str]:
    """Runners whose jobs gitlab-runner puts into one folder.

    It names the folder by the 9 characters behind the prefix glrt-, and knows no prefix in front of
    that (19.3, helpers/shorten_token.go; gitlab-runner#39938).
    """
    folders: dict[tuple[str, str], list[str]] = {}
    for runner in config.get("runners", []):
        token = str(runner.get("token", ""))
        if "glrt-" in token and not token.startswith("glrt-"):
            place = (token[:9], str(runner.get("builds_dir") or ""))
            folders.setdefault(place, []).append(str(runner.get("name")))
    return [
        f"runners {', '.join(names)}: their tokens have a prefix of the GitLab instance, which "
        "gitlab-runner up to 19.3 does not know; it builds their jobs in the same folders, where "
        "two jobs of one project disturb each other. Give each runner a builds_dir of its own"
        for names in folders.values()
        if len(names) > 1
    ]
