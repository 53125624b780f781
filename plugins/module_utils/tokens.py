# SPDX-License-Identifier: Apache-2.0
"""What a runner token looks like, said without showing one.

A role's argument spec prints the value that it refuses, `no_log` or not (ansible-core 2.19);
so variables that carry tokens are checked here.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils.secrets import HIDDEN, kind_of

# GitLab docs, "Token overview"; routable tokens (17.x and newer) have dots and further parts.
_RUNNER_TOKEN = re.compile(r"glrt-[0-9A-Za-z_.=\-]{20,}\Z")
_HOW = (
    "it takes a runner authentication token (glrt-…), shown once when a runner is created in "
    "GitLab under Settings > CI/CD > Runners > New runner"
)


def problem(variable: str, value: Any) -> str | None:
    """What is wrong with a token, without the token; None if it looks right."""
    if value is None or value == "":
        return f"{variable} is empty, {_HOW}"
    if not isinstance(value, str):
        return f"{variable} is a {kind_of(value)} {HIDDEN}, {_HOW}"
    if _RUNNER_TOKEN.match(value):
        return None
    if value.startswith("glrtr-"):
        return (
            f"{variable} got the token of a runner that was made by the legacy registration "
            f"{HIDDEN}; {_HOW}"
        )
    if value.startswith("GR1348941"):
        return (
            f"{variable} got a registration token {HIDDEN}; GitLab has switched those off "
            f"(410 Gone) and removes them in 20.0: {_HOW}"
        )
    if value.startswith("glpat-"):
        return f"{variable} got a personal access token {HIDDEN}; {_HOW}"
    if "$ANSIBLE_VAULT" in value:
        return f"{variable} is a vault text that was not decrypted {HIDDEN}; {_HOW}"
    if value.startswith("glrt-"):
        why = "with blanks or a line break" if re.search(r"\s", value) else "cut short or malformed"
        return f"{variable} got a token {why}, {len(value)} characters {HIDDEN}; {_HOW}"
    return f"{variable} got a text of {len(value)} characters {HIDDEN}; {_HOW}"


def access_problems(variable: str, value: Any) -> list[str]:
    """What is wrong with an access token of GitLab's API, without the token.

    An instance may give its tokens a prefix of its own (GitLab docs, account and limit settings).
    """
    how = "it takes a personal, group or project access token with the scopes named in the README"
    if not isinstance(value, str):
        return [f"{variable} is a {kind_of(value)} {HIDDEN}, {how}"]
    if "$ANSIBLE_VAULT" in value:
        return [f"{variable} is a vault text that was not decrypted {HIDDEN}; {how}"]
    if value.startswith(("glrt-", "glrtr-", "GR1348941")):
        return [f"{variable} got a runner's token {HIDDEN}; {how}"]
    if not re.fullmatch(r"[\x21-\x7e]{8,}", value):
        return [f"{variable} got a text of {len(value)} characters {HIDDEN}; {how}"]
    return []
