# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's variables against the roles' argument specs: unknown names and wrong types.

Ansible ignores a variable that no role reads, and its own check of a spec prints the whole spec.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.module_utils.common.yaml import yaml_load
from jinja2 import Environment, TemplateError, nodes

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secret_rules, _secrets
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _slips

try:
    # Where a value was written (ansible-core 2.19 and later); without it only less is noticed.
    from ansible._internal._datatag._tags import Origin
except ImportError:  # pragma: no cover
    Origin = None

ROLES_FOLDER = Path(__file__).resolve().parents[2] / "roles"
ROLES = (
    *("network_access", "build_tools", "python_versions", "publish_tools", "gitlab_runner"),
    "index_credentials",
)
SWITCH = "runnerhost_unknown_variables"
EVERY_ROLE = (*ROLES, "runner_host")
RENAMED = {
    "adopt_folder": "gitlab_runner_adopt_folder",
    "prepare_upgrade_accept": "runner_host_prepare_upgrade_accept",
    "prepare_upgrade_apply": "runner_host_prepare_upgrade_apply",
    "prepare_upgrade_free_mb": "runner_host_prepare_upgrade_free_mb",
    "prepare_upgrade_target": "runner_host_prepare_upgrade_target",
    "prepare_upgrade_target_python": "runner_host_prepare_upgrade_target_python",
    "prepare_upgrade_venv_places": "runner_host_prepare_upgrade_venv_places",
    "reboot_always": "gitlab_runner_reboot_always",
    "reboot_boot_time_command": "gitlab_runner_reboot_boot_time_command",
    "reboot_command": "gitlab_runner_reboot_command",
    "reboot_serial": "gitlab_runner_reboot_serial",
    "reboot_timeout": "gitlab_runner_reboot_timeout",
    "retire_without_gitlab": "gitlab_runner_retire_without_gitlab",
    "rotate_names": "gitlab_runner_rotate_names",
    "upgrade_serial": "gitlab_runner_upgrade_serial",
    "verify_report": "runner_host_verify_report",
    "verify_roles": "runner_host_verify_roles",
}
"""Former names, which the defaults of the new ones still read in this release."""
RESULTS = (
    "build_tools_plan",
    "gitlab_runner_file_set",
    "gitlab_runner_host_files",
    "gitlab_runner_plan",
    "gitlab_runner_verified",
    "index_credentials_file_set",
    "index_credentials_plan",
    "network_access_file_set",
    "network_access_plan",
    "publish_tools_plan",
    "python_versions_file_set",
    "python_versions_plan",
)
"""What entry points return: variables of the play, and none of the inventory."""
_HIDEPID = "recipe: docs/operations.md, Job tokens and people who log in"
REMOVED = {
    "gitlab_runner_hidepid": _HIDEPID,
    "gitlab_runner_hidepid_exempt": _HIDEPID,
    "python_versions_remove_dead_venvs": "`make verify` names the command for each",
}
"""Variables that roles had once, each with what to do instead."""
# The most letters that a typo changes; fewer in a short name.
_SLIPS = 3
_LETTERS_PER_SLIP = 6
_FOREIGN = ("ansible_", "_", "vault_")
TAKES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
}
# What a number counts whose name ends so.
UNITS = {"timeout": "seconds", "deadline": "seconds", "days": "days"}
# Texts that a list takes, where that is a matter of their form alone.
_PACKAGE = (
    r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?(=[A-Za-z0-9.+~:*-]+)?",
    "a package name, alone or as name=version",
)
_FORMS = {"build_tools_packages": _PACKAGE, "build_tools_extra_packages": _PACKAGE}
_LACKING = re.compile(r"(\w+): (empty|missing|invalid or missing)\b")
_WORDS = {"list": "a list", "dict": "a mapping", "nothing": "nothing"}
_FOLDER = "inventory_dir"
_NO_FOLDER = (
    "inventory_dir is not defined for the controller, which is no host of the inventory; write the "
    "path from the folder in which you run make, such as inventories/production/files/ca.pem"
)
_TRUE = ("true", "yes", "on", "1", "y", "t")


@cache
def options(role: str) -> dict[str, Any]:
    """The variables of a role and of its other entry points, each with its spec."""
    text = (ROLES_FOLDER / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    entry_points = yaml_load(text)["argument_specs"].values()
    return {name: option for one in entry_points for name, option in one["options"].items()}


def problems(
    roles: Iterable[str], variables: Mapping[str, Any], template: Callable[[Any], Any]
) -> tuple[list[str], list[str]]:
    """What is wrong with the roles' variables, and what is to be warned of.

    Args:
        roles: the roles that the play uses; names that belong to others are not checked.
        variables: all of a host's variables, not templated.
        template: makes a variable's value.
    """
    chosen = list(roles)
    found = list(_unknown(chosen, variables))
    warnings: list[str] = []
    switch = variables.get(SWITCH, "error")
    if switch == "warn":
        found, warnings = [], found
    elif switch != "error":
        found.append(f"{SWITCH}: invalid value {switch!r}; expected error or warn")
    elif found:
        found[-1] += f" ({SWITCH}: warn accepts unknown variables)"
    warnings += [
        f"{old}: this variable is now called {new}; the next release no longer reads the old name"
        for old, new in RENAMED.items()
        if old in variables and any(new in options(role) for role in chosen)
    ]
    for role in chosen:
        for name, option in options(role).items():
            if name in set(_referred(variables.get(name))):
                found.append(f"{name}: refers to itself; name another variable in it")
            elif name in variables and option["type"] != "raw":
                try:
                    value = template(variables[name])
                except Exception:
                    # The task that uses it tells why, in many lines.
                    if _FOLDER in _referred(variables[name]) and not variables.get(_FOLDER):
                        found.append(f"{name}: {_NO_FOLDER}")
                    continue
                found += _type_problems(name, value, option)
    return found, warnings


def _referred(value: Any) -> Iterator[str]:
    """The variables to which a value that is not templated refers."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _referred(item)
    elif isinstance(value, list):
        for item in value:
            yield from _referred(item)
    elif isinstance(value, str) and "{" in value:
        # Ansible itself tells what is wrong with a template that is none.
        with contextlib.suppress(TemplateError):
            names = Environment().parse(value).find_all(nodes.Name)
            yield from (one.name for one in names if one.ctx == "load")


def _unknown(roles: list[str], variables: Mapping[str, Any]) -> Iterator[str]:
    known = [name for role in roles for name in options(role)]
    public = {*known, *RENAMED, SWITCH}
    counts = {name: Counter(name) for name in public}
    for given in sorted(variables, key=str):
        name = str(given)
        if name in public or name in RESULTS or name.startswith(_FOREIGN):
            continue
        if name in REMOVED and any(name.startswith(f"{role}_") for role in roles):
            yield f"{name}: no longer supported; remove it ({REMOVED[name]})"
            continue
        plain = name.replace("-", "_").lower()
        if plain in roles:
            some, *__ = options(plain)
            yield f"{name}: unknown variable; a role's settings are variables such as {some}"
            continue
        role = next((role for role in roles if plain.startswith(f"{role}_")), "")
        if role:
            # Without what all of them have in common.
            ends = [known_name.removeprefix(f"{role}_") for known_name in options(role)]
            end = plain.removeprefix(f"{role}_")
            near = difflib.get_close_matches(end, ends, n=1, cutoff=0.6)
            hint = f"did you mean {role}_{near[0]}?" if near else f"{role} has no such variable"
            yield f"{name}: unknown variable; {hint}"
        elif near_name := _slip(plain, counts):
            yield f"{name}: unknown variable; did you mean {RENAMED.get(near_name, near_name)}?"


def set_elsewhere(
    problems: Iterable[str],
    hosts: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Iterable[str]],
    here: str,
) -> list[str]:
    """The same problems; of a variable that lacks a value here and is set for hosts, where it is.

    A play on the controller sees the variables of the group all alone.

    Args:
        problems: each begins with the variable.
        hosts: the variables of each host of the inventory.
        groups: its groups, each with its hosts.
        here: the host that the play works on.
    """
    found = []
    for problem in problems:
        match = _LACKING.match(problem)
        name = match[1] if match else ""
        having = {str(host) for host in hosts if host != here and name and name in hosts[host]}
        if not having or not match:
            found.append(problem)
            continue
        group = next(
            (
                str(one)
                for one, its in groups.items()
                if one not in ("all", "ungrouped") and {str(host) for host in its} == having
            ),
            "",
        )
        where = f"the group {group}" if group else f"the host {sorted(having)[0]}"
        found.append(
            f"{name}: {match[2]} for {here}; it is set for {where}: move it to group_vars/all"
        )
    return found


def misnamed_files(
    folders: Iterable[str], groups: Iterable[str], hosts: Iterable[str]
) -> list[str]:
    """Entries of group_vars and host_vars that Ansible ignores because of a typo.

    Folders that several inventories share hold names that are in none of this one's: those are
    left alone.

    Args:
        folders: where Ansible searches for both.
        groups: the inventory's.
        hosts: the inventory's.
    """
    found = []
    kinds = (("group", sorted(groups)), ("host", sorted({*hosts, "localhost"})))
    for folder in dict.fromkeys(map(os.path.realpath, folders)):
        for kind, names in kinds:
            place = Path(folder, f"{kind}_vars")
            for entry in sorted(os.listdir(place)) if place.is_dir() else []:
                name, ending = os.path.splitext(entry)
                if ending not in constants.YAML_FILENAME_EXTENSIONS:
                    name, ending = entry, ""
                near = "" if name in names else _slips.misnamed(name, names)
                if near:
                    found.append(
                        f"{place / entry}: the inventory has no {kind} {name}; "
                        f"did you mean {near}{ending}?"
                    )
    return found


def _slip(name: str, counts: Mapping[str, Counter[str]]) -> str:
    """The public name that this one is a typo of; empty if it is another word."""
    longer = {old for old, new in RENAMED.items() if abs(len(new) - len(name)) <= _SLIPS}
    if any(name.endswith(f"_{other}") for other in counts if other not in longer):
        # A helper of the user's, such as old_gitlab_runner_url.
        return ""
    mine = Counter(name)
    best = ("", _SLIPS + 1)
    for other, theirs in counts.items():
        most = min(_SLIPS, len(other) // _LETTERS_PER_SLIP)
        if abs(len(name) - len(other)) > most:
            continue
        if other.endswith(name) and len(name) < len(other) - 1:
            # Another first word, such as lab_runner_version.
            continue
        if ((mine - theirs) | (theirs - mine)).total() > 2 * most:
            continue
        slips = _slips.distance(name, other)
        if slips <= most and slips < best[1]:
            best = (other, slips)
    return best[0]


def _type_problems(name: str, value: Any, option: Mapping[str, Any]) -> Iterator[str]:
    if value is None:
        # `name:` without a value says what leaving it out says.
        return
    kind = str(option["type"])
    if not _fits(value, kind):
        expected = f"{takes(name, kind)}{_advice(name, value, kind)}"
        yield f"{name}: invalid value {shown(name, value)}; expected {expected}"
    elif "choices" in option and value not in option["choices"]:
        choices = " or ".join(map(str, option["choices"]))
        yield f"{name}: invalid value {shown(name, value)}; expected {choices}"
    elif kind == "list" and option.get("elements") == "str":
        form, expected = _FORMS.get(name, ("", "a string"))
        for index, item in enumerate(value):
            if not isinstance(item, str):
                expected += _advice(name, item, "str")
            elif not form or re.fullmatch(form, item):
                continue
            yield f"{name}[{index}]: invalid value {shown(name, item)}; expected {expected}"


def _fits(value: Any, kind: str) -> bool:
    if kind == "bool":
        # A text is true wherever it is used, "false" too.
        return isinstance(value, bool) or (isinstance(value, str) and value.lower() in _TRUE)
    if kind in ("int", "float"):
        pattern = r"-?\d+" if kind == "int" else r"-?\d+(\.\d*)?"
        # The command line gives texts.
        if isinstance(value, str):
            return bool(re.fullmatch(pattern, value))
        numbers = int if kind == "int" else int | float
        return isinstance(value, numbers) and not isinstance(value, bool)
    of = {"str": str, "list": list, "dict": Mapping}[kind]
    return isinstance(value, of)


def _advice(name: str, value: Any, kind: str) -> str:
    if kind == "str" and not isinstance(value, list | Mapping):
        return quote_it(value)
    if kind == "bool" and value in ("false", "False", "no", "off", "0"):
        return f", on the command line as JSON: -e '{{\"{name}\": false}}'"
    return ""


def takes(name: str, kind: str) -> str:
    """What a variable or option takes, with the unit that its name tells."""
    unit = UNITS.get(re.split(r"[._]", name)[-1]) if kind in ("int", "float") else None
    return TAKES.get(kind, f"a {kind}") + (f" of {unit}" if unit else "")


def quote_it(value: Any) -> str:
    """What to do where YAML has made something else of what was to be a text."""
    text = written(value)
    if text and text != str(value):
        return f": quote it (YAML reads {text} as {value})"
    return ": quote it"


def shown(name: str, value: Any) -> str:
    """A value for a message: no secret, and of a list or mapping only what it is."""
    kind = _secrets.kind_of(value)
    if kind in _WORDS:
        return _WORDS[kind]
    if isinstance(value, bool):
        return str(value).lower()
    plain = str(value) if not isinstance(value, str) else value
    hidden = _secrets.redact({name: plain})[name]
    return repr(hidden) if isinstance(value, str) else str(hidden)


def misread(where: str, values: Any) -> list[str]:
    """Numbers that stand for a text and that YAML has read as something else, such as 0755."""
    if not isinstance(values, Mapping):
        return []
    found = []
    for name, value in values.items():
        if isinstance(value, int) and not isinstance(value, bool):
            text = written(value)
            if text and text != str(value) and not _secret_rules.looks_secret_name(str(name)):
                found.append(
                    f"{where}.{name}: invalid value {value}; expected a string{quote_it(value)}"
                )
    return found


def file_of(value: Any) -> str:
    """The file in which a value was written; empty where that is not known."""
    origin = Origin.get_tag(value) if Origin is not None else None
    return str(origin.path or "") if origin is not None and origin.line_num else ""


def written(value: Any) -> str:
    """A number's or date's text in the file that it comes from; empty where that is not known."""
    origin = Origin.get_tag(value) if Origin is not None else None
    if origin is None or not origin.path or not origin.line_num or not origin.col_num:
        return ""
    try:
        with open(origin.path, encoding="utf-8") as stream:
            lines = stream.read().splitlines()
        rest = lines[origin.line_num - 1][origin.col_num - 1 :]
    except (OSError, ValueError, IndexError):
        return ""
    # A number, a time or a date: what a template makes, or an alias, is none.
    match = re.match(r"[-+]?[0-9][0-9A-Za-z_.:+-]*(?=\s*(?:[,\]}#]|$))", rest)
    return match[0] if match else ""
