# SPDX-License-Identifier: GPL-3.0-or-later
"""Repository keys: from a file or an address, or from the host that holds it already."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from ansible.errors import AnsibleError

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _apt_sources, _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _openpgp
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import unreadable

# Days before its expiry from which on a key is warned of.
WARNING_DAYS = 60


def is_remote(source: str) -> bool:
    """Whether a key is to be fetched."""
    return source.startswith(("https://", "http://"))


def read(
    variable: str, source: str, fingerprint: str, deployed: str, fetch: Callable[[str], str]
) -> tuple[str, list[str]]:
    """A repository key, checked, and warnings about its expiry.

    An address is asked only if the host does not hold the key yet or it nears its end: a no-op
    needs no internet. A file is read always.

    Args:
        variable: name of the Ansible variable, for messages.
        source: path on the controller, or an http(s) address.
        fingerprint: the only one that is trusted.
        deployed: the text of the host's source file, in which a key may stand.
        fetch: reads the source.

    Raises:
        KeyProblem: the whole message.
    """
    now = datetime.now(timezone.utc)
    shown = _secrets.redact_text(source)
    held = _held(deployed, fingerprint, now) if is_remote(source) else None
    if held is not None:
        days = held.days_left(now)
        if days is None or days >= WARNING_DAYS:
            return held.armour, []
    warnings = []
    try:
        key = _openpgp.read(fetch(source))
        _openpgp.check(key, fingerprint, now)
    except _openpgp.KeyProblem as problem:
        hint = ""
        if isinstance(problem, _openpgp.OtherKey):
            hint = (
                f" ({variable}_fingerprint); compare both with what the vendor publishes, and set "
                "the one that is wrong"
            )
        raise _openpgp.KeyProblem(f"{variable}: the key from {shown} {problem}{hint}") from None
    except (OSError, AnsibleError) as error:
        if held is None:
            said = _secrets.redact_text(unreadable(variable, shown, error))
            raise _openpgp.KeyProblem(said) from None
        key = held
        warnings.append(f"{variable}: cannot read {shown}; the host's own copy is used")
    left = key.days_left(now)
    if left is not None and left < WARNING_DAYS:
        warnings.append(
            f"{variable}: the key from {shown} expires on {key.expires:%Y-%m-%d}, in {left} days"
        )
    return key.armour, warnings


def _held(deployed: str, fingerprint: str, now: datetime) -> _openpgp.Key | None:
    """The key inside a host's source file, if it is the trusted one and still valid."""
    try:
        key = _openpgp.read(_apt_sources.without_indent(deployed))
        _openpgp.check(key, fingerprint, now)
    except _openpgp.KeyProblem:
        return None
    return key
