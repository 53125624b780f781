# SPDX-License-Identifier: GPL-3.0-or-later
"""Validation of tokens, without showing them.

A role's argument spec prints the value that it refuses, `no_log` or not (ansible-core 2.19);
so variables that carry tokens are checked here.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._secrets import HIDDEN, unfit

# GitLab docs, "Token overview"; routable tokens (17.x and newer) have dots and further parts. An
# instance may put a prefix of its own in front (docs, "Instance token prefix").
_RUNNER_TOKEN = re.compile(r"[0-9A-Za-z_.\-]*glrt-[0-9A-Za-z_.=\-]{20,}\Z")
# Of a runner that was registered by a registration token: 20 characters, or glrtr-.
_LEGACY_TOKEN = re.compile(r"[0-9A-Za-z_.\-]{18,}\Z")
_OTHER_TOKEN = re.compile(
    r"(?:^|[_.\-])gl(?:dt|cbt|ptt|oas|soat|ft|agent|ffct|imt|wt)-|^(?:pypi-|gh[pousr]_|AKIA)"
)
_HOW = (
    "expected a runner authentication token (glrt-…), shown once when a runner is created in "
    "GitLab under Settings > CI/CD > Runners > New runner"
)


def problem(variable: str, value: Any) -> str | None:
    """What is wrong with a token, without the token; None if it looks right."""
    if value is None or value == "":
        return f"{variable}: missing; {_HOW}"
    if not isinstance(value, str):
        return f"{variable}: {unfit(value)} {HIDDEN}; {_HOW}"
    if _RUNNER_TOKEN.match(value):
        return None
    if "GR1348941" in value:
        return (
            f"{variable}: invalid value {HIDDEN}, a registration token, which GitLab no longer "
            f"accepts (410 Gone; removed in 20.0); {_HOW}"
        )
    if "glpat-" in value:
        return f"{variable}: invalid value {HIDDEN}, a personal access token; {_HOW}"
    if "$ANSIBLE_VAULT" in value:
        return f"{variable}: invalid value {HIDDEN}, a vault text that was not decrypted; {_HOW}"
    if "glrt-" in value:
        why = "with spaces or a line break" if re.search(r"\s", value) else "cut short or malformed"
        return (
            f"{variable}: invalid value {HIDDEN}, a token {why} ({len(value)} characters); {_HOW}"
        )
    if is_legacy(value):
        # Only the host shows whether it has the runner.
        return None
    return f"{variable}: invalid value {HIDDEN} of {len(value)} characters; {_HOW}"


def is_legacy(value: Any) -> bool:
    """True if it can be the token of a runner made by the legacy registration.

    GitLab 20.0 removes that registration; a runner that a host already has goes on working.
    """
    return (
        isinstance(value, str)
        and bool(_LEGACY_TOKEN.match(value))
        and not re.search("glrt-|GR1348941|glpat-", value)
        and not _OTHER_TOKEN.search(value)
    )


def access_problems(variable: str, value: Any) -> list[str]:
    """What is wrong with an access token of GitLab's API, without the token.

    An instance may give its tokens a prefix of its own (GitLab docs, account and limit settings).
    """
    how = (
        "expected a personal, group or project access token "
        "with the scopes named in docs/runners.md"
    )
    if not isinstance(value, str):
        return [f"{variable}: {unfit(value)} {HIDDEN}; {how}"]
    if "$ANSIBLE_VAULT" in value:
        return [f"{variable}: invalid value {HIDDEN}, a vault text that was not decrypted; {how}"]
    if re.search("glrtr?-|GR1348941", value):
        return [f"{variable}: invalid value {HIDDEN}, a runner's token; {how}"]
    if not re.fullmatch(r"[\x21-\x7e]{8,}", value):
        return [f"{variable}: invalid value {HIDDEN} of {len(value)} characters; {how}"]
    return []
