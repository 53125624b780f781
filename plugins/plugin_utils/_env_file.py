# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's env file: which names and values it takes, and its text.

The reader is systemd (systemd.exec(5), ``EnvironmentFile=``): ``NAME="value"`` lines, where a
backslash in double quotes escapes ``"``, ``\\``, `````` and ``$``; no ``export``, no expansion.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secret_rules, _secrets

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SPECIAL = re.compile(r'(["\\`$])')

# Names that must not be set here, with where the wish belongs.
_MISPLACED = {
    "PATH": "a job's login shell sets PATH again: list the directories in gitlab_runner_path",
    "PYTHONPATH": "it leaks one version's packages into every Python and venv: "
    "install the package in the job's own venv",
    "PYTHONHOME": "it breaks every other Python and venv of the host: leave it out",
    "HOME": "su sets it for the job user: use gitlab_runner_home",
    "USER": "su sets it for the job user: use gitlab_runner_user",
    "LOGNAME": "su sets it for the job user: use gitlab_runner_user",
    "SHELL": "su sets it for the job user: leave it out",
    "CONFIG_FILE": "the unit names the configuration file itself: leave it out",
    "RUNNERHOST_GENERATION": "the toolkit sets it itself: leave it out",
}
ALLOWED = "gitlab_runner_environment_allowed"
_SECRET_HINT = (
    "every job on the host could read it. Keep it in GitLab as a masked and protected CI/CD "
    f"variable, or list the name in {ALLOWED} if jobs may read it"
)


def problems(variable: str, wanted: Any, allowed: Collection[str] = ()) -> list[str]:
    """What is wrong with a mapping of names to values, one message each; never a secret's value.

    Args:
        variable: the name of the Ansible variable that the messages speak of.
        wanted: its value.
        allowed: names that may look like secrets.
    """
    if not isinstance(wanted, Mapping):
        return [f"{variable}: {_secrets.unfit(wanted)}; expected a mapping of names to values"]
    return [
        text
        for name, value in wanted.items()
        for text in entry_problems(variable, name, value, allowed)
    ]


def entry_problems(
    variable: str, name: Any, value: Any, allowed: Collection[str] = ()
) -> list[str]:
    """The same for one name and its value."""
    if not isinstance(name, str) or not _NAME.match(name):
        hint = (
            " (no `export`: systemd ignores such a line)" if str(name).startswith("export") else ""
        )
        return [
            f"{variable}: the name {str(name)!r} is not one: it takes letters, digits and "
            f"underscores, not starting with a digit{hint}"
        ]
    if name in _MISPLACED:
        return [f"{variable}: {name} does not belong here; {_MISPLACED[name]}"]
    if name not in allowed and _secret_rules.holds_secret(name, value):
        return [f"{variable}: {name} {_secrets.HIDDEN} is by its name a secret; {_SECRET_HINT}"]
    if isinstance(value, float):
        return [
            f"{variable}.{name}: invalid value {value}; expected a string: quote it (YAML reads "
            "3.10 as 3.1)"
        ]
    if isinstance(value, bool) or not isinstance(value, str | int):
        return [
            f"{variable}.{name}: {_secrets.unfit(value)}; expected a string or a whole number "
            "(quote true, false and empty values)"
        ]
    text = str(value)
    if name not in allowed and _secret_rules.looks_secret_value(text):
        return [f"{variable}: {name} holds a secret {_secrets.HIDDEN}; {_SECRET_HINT}"]
    bad = sorted({f"U+{ord(c):04X}" for c in text if (ord(c) < 32 and c != "\t") or ord(c) == 127})
    if bad:
        return [f"{variable}: {name} holds control characters ({', '.join(bad)}): one line of text"]
    try:
        text.encode()
    except UnicodeEncodeError:
        return [f"{variable}: {name} is not valid UTF-8"]
    return []


def quote(value: str) -> str:
    """One value in systemd's double quotes."""
    return '"' + _SPECIAL.sub(r"\\\1", value) + '"'


def render(wanted: Mapping[str, Any]) -> str:
    """The file's lines, sorted by name. The mapping has passed `problems`."""
    return "".join(f"{name}={quote(str(wanted[name]))}\n" for name in sorted(wanted))
