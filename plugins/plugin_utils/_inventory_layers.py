# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables that an inventory sets in several places, of which Ansible takes one without a word.

How Ansible orders them: its documentation, "Understanding variable precedence", and
`ansible.inventory.helpers.sort_groups`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ansible import constants

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _secret_rules
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _slips, _variables


class Group(Protocol):
    """What is used of Ansible's groups."""

    name: str
    depth: int
    priority: int
    vars: Mapping[str, Any]


class Host(Protocol):
    """What is used of Ansible's hosts."""

    name: str
    vars: Mapping[str, Any]

    def get_groups(self) -> list[Any]:
        """Its groups."""


@dataclass(frozen=True)
class Setting:
    """One place that sets a variable.

    Attributes:
        place: the file, or what the inventory file says of the group or host.
        value: not templated.
        folder: in which group_vars or host_vars lie; empty for the inventory file.
    """

    place: str
    value: Any
    folder: str = ""


Layer = Mapping[str, Sequence[Setting]]
"""The settings of one group or host by variable, the one that counts at the end."""


class Inventory:
    """The variables of an inventory, place by place.

    Args:
        folders: where Ansible looks for group_vars and host_vars, the strongest, the playbook's,
            last.
        loader: Ansible's.
        names: the variables that are looked at.
    """

    def __init__(self, folders: Iterable[str], loader: Any, names: Iterable[str]) -> None:
        real = list(map(os.path.realpath, folders))
        self._folders = list(dict.fromkeys(real))
        self.several = len({*real[:-1]}) > 1
        """Whether there are several inventories, of which a later one is meant to count."""
        self._loader = loader
        self._names = frozenset(names)
        self._layers: dict[tuple[str, str], Layer] = {}

    def layer(self, kind: str, one: Group | Host) -> Layer:
        """What a group or host sets.

        Args:
            kind: group or host.
            one: which.
        """
        key = (kind, one.name)
        if key not in self._layers:
            found: dict[str, list[Setting]] = {}
            own = {name: one.vars[name] for name in one.vars if name in self._names}
            for name, value in own.items():
                found[name] = [Setting(f"the inventory's own vars of {one.name}", value)]
            for path in self._files(kind, one.name):
                for name, value in self._values(path).items():
                    folder = next(one for one in self._folders if path.startswith(f"{one}/"))
                    found.setdefault(name, []).append(Setting(path, value, folder))
            self._layers[key] = found
        return self._layers[key]

    def ignored(self, kind: str, name: str) -> Iterator[str]:
        """Files that Ansible does not read, since there is a folder of the same name."""
        for folder in self._folders:
            place = Path(folder, f"{kind}_vars", name)
            for ending in constants.YAML_FILENAME_EXTENSIONS if place.is_dir() else ():
                file = place.with_name(f"{name}{ending}")
                if file.is_file():
                    yield (
                        f"{file}: Ansible does not read it, since there is the folder {place}; "
                        "move it there"
                    )

    def by_address(self, hosts: Sequence[Host]) -> Iterator[str]:
        """Files in host_vars that have a host's address in place of its name."""
        names = {*(host.name for host in hosts), "localhost"}
        for host in hosts:
            address = str(host.vars.get("ansible_host") or host.name)
            for path in self._files("host", address) if address not in names else ():
                yield (
                    f"{path}: the inventory has no host {address}, which is the address of "
                    f"{host.name}; name it after the host"
                )

    def by_short_name(self, hosts: Sequence[Host]) -> Iterator[str]:
        """Files in host_vars whose name is a part of one host's, or the other way round."""
        names = {host.name for host in hosts}
        for folder in self._folders:
            place = Path(folder, "host_vars")
            for entry in sorted(os.listdir(place)) if place.is_dir() else []:
                name, ending = os.path.splitext(entry)
                if ending not in constants.YAML_FILENAME_EXTENSIONS:
                    name = entry
                if name.startswith(".") or name.endswith(_COPIES):
                    continue
                # Those of several inventories may lie here.
                near = [
                    one
                    for one in names
                    if one.startswith((f"{name}.", f"{name}-")) or name.startswith(f"{one}.")
                ]
                if name not in {*names, "localhost"} and len(near) == 1:
                    yield (
                        f"{place / entry}: the inventory has no host {name}, and Ansible reads it "
                        f"for none; did you mean {near[0]}?"
                    )

    def open_vaults(self, kind: str, name: str) -> Iterator[str]:
        """Files of the vault that are not encrypted."""
        for path in self._files(kind, name):
            named = self._clear(self._plain(path)) if "vault" in os.path.basename(path) else []
            if named:
                # At the end, since what follows the name of a secret is taken for one.
                yield (
                    f"{path}: is not encrypted: ansible-vault encrypt {path}; it has "
                    f"{', '.join(named[:3])}"
                )

    def secrets_outside(self, kind: str, one: Group | Host) -> Iterator[str]:
        """Secrets of the toolkit and of the connection that stand outside an encrypted file."""
        files = [
            path for path in self._files(kind, one.name) if "vault" not in os.path.basename(path)
        ]
        for place, values in [*_written(one.vars), *((path, self._plain(path)) for path in files)]:
            if named := self._clear(values):
                yield (
                    f"{place}: has a secret that is not encrypted; move it to a file that "
                    "ansible-vault encrypts, as inventories/example does: "
                    f"{', '.join(named[:3])}"
                )

    def _plain(self, path: str) -> Mapping[str, Any]:
        """A file's variables; none if it is encrypted as a whole."""
        values = self._read(path)
        return {} if values and _encrypted(path) else values

    def _clear(self, values: Mapping[str, Any]) -> list[str]:
        """Names of variables that hold a secret in clear text."""
        looked_at = self._names | set(_PASSWORDS)
        return [
            str(name)
            for name, value in values.items()
            if (name in looked_at or str(name).startswith("vault_")) and _in_clear(str(name), value)
        ]

    def below_vars(self, kind: str, name: str) -> Iterator[str]:
        """Files whose variables lie below a key ``vars``, as in an inventory file."""
        for path in self._files(kind, name):
            found = self._read(path).get("vars")
            if isinstance(found, Mapping) and self._names & {str(key) for key in found}:
                yield (
                    f"{path}: its variables lie below vars:, where no role looks for them; remove "
                    "that line, and the indentation of those below it"
                )

    def _files(self, kind: str, name: str) -> Iterator[str]:
        for folder in self._folders:
            yield from self._loader.find_vars_files(os.path.join(folder, f"{kind}_vars"), name)

    def _read(self, path: str) -> Mapping[str, Any]:
        try:
            found = self._loader.load_from_file(path)
        except Exception:
            # Encrypted as a whole, or no YAML: Ansible itself tells what is wrong.
            return {}
        return found if isinstance(found, Mapping) else {}

    def _values(self, path: str) -> dict[str, Any]:
        found = self._read(path)
        return {str(name): found[name] for name in found if name in self._names}


CONNECTION = (
    "ansible_host", "ansible_port", "ansible_user", "ansible_password", "ansible_connection",
    "ansible_become", "ansible_become_user", "ansible_become_method", "ansible_become_password",
    "ansible_ssh_private_key_file", "ansible_ssh_common_args", "ansible_python_interpreter",
)  # fmt: skip
"""Ansible's variables for its connection that inventories have (its documentation, "Inventory")."""


def _encrypted(path: str) -> bool:
    return Path(path).read_bytes().startswith(b"$ANSIBLE_VAULT")


def _written(values: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What inventory files say themselves, by file; not what a plugin or a program has found."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        path = _variables.file_of(value)
        if os.path.isfile(path) and not os.access(path, os.X_OK) and not _encrypted(path):
            found.setdefault(path, {})[name] = value
    return list(found.items())


def _in_clear(name: str, value: Any) -> bool:
    """True if a value that is neither encrypted nor a reference holds a secret.

    What an environment may hold is decided elsewhere.
    """
    if name.endswith("environment"):
        return False
    if isinstance(value, Mapping):
        label = str(value.get("key") or value.get("name") or "")
        return any(
            _in_clear(label if key == "value" and label else str(key), item)
            for key, item in value.items()
        )
    if isinstance(value, list):
        return any(_in_clear("", item) for item in value)
    if not isinstance(value, str) or "REPLACE-ME" in value:
        return False
    named = "{{" not in value and _secret_rules.holds_secret(name, value)
    return named or _secret_rules.looks_secret_value(value)


# Of editors, of copies, and of a plugin that reads encrypted files (community.sops).
_COPIES = ("~", "#", ".bak", ".orig", ".old", ".sops")


def connection_slips(hosts: Iterable[Host]) -> list[str]:
    """Names of the inventory file that almost are variables of the connection."""
    found: dict[str, None] = {}
    for host in hosts:
        for one in (*host.get_groups(), host):
            for name in one.vars:
                near = "" if name in CONNECTION else _slips.slip_of(name, CONNECTION)
                # A list is meant for something else, such as ansible_users.
                plain = not isinstance(one.vars[name], list | dict)
                if near and plain and name.startswith("ansible"):
                    found[
                        f"{one.name}: {name}: unknown variable; did you mean {near}? "
                        "(runnerhost_unknown_variables: warn accepts it)"
                    ] = None
    return list(found)


_PASSWORDS = (
    "ansible_password", "ansible_ssh_pass", "ansible_become_password", "ansible_become_pass",
    "ansible_sudo_pass",
)  # fmt: skip


GROWING = ("build_tools_extra_packages", "network_access_ca_certificates", "gitlab_runner_path")
"""Lists to which a group or host adds."""


def outside(inventory: Inventory, hosts: Iterable[Host]) -> list[str]:
    """Hosts that have variables of the toolkit and are in no group that it works on."""
    found = []
    for host in hosts:
        groups = [one for one in host.get_groups() if one.name not in ("all", "ungrouped")]
        layers = [*(inventory.layer("group", one) for one in groups), inventory.layer("host", host)]
        if names := sorted({name for layer in layers for name in layer}):
            found.append(
                f"{host.name}: has {', '.join(names[:3])} and is not in the group runner_hosts: it "
                "is not provisioned; add it, or its group as a child"
            )
    return found


def empty_children(groups: Mapping[str, Any], target: str) -> list[str]:
    """Groups inside the target that have no host: Ansible makes one of each misspelt name.

    Args:
        groups: Ansible's groups by name.
        target: the group that is worked on.
    """
    found = []
    for child in getattr(groups.get(target), "child_groups", []):
        others = [name for name, one in groups.items() if one.get_hosts() and name != target]
        near = "" if child.get_hosts() else _slips.misnamed(child.name, others)
        if near:
            found.append(f"group {child.name} of {target}: has no host; did you mean {near}?")
    return found


def twice(inventory: Inventory, hosts: Iterable[Host]) -> list[str]:
    """Settings of one group or host that another one of the same replaces."""
    found: dict[str, None] = {}
    for host in hosts:
        entities: list[tuple[str, Group | Host]] = [("group", one) for one in host.get_groups()]
        for kind, one in [*entities, ("host", host)]:
            for name, settings in inventory.layer(kind, one).items():
                *others, last = settings
                places = [
                    each.place
                    for each in others
                    if not _same(each.value, last.value)
                    and (each.folder == last.folder or not inventory.several)
                ]
                if places:
                    found[
                        f"{name}: set in {' and '.join(places)}, and again in {last.place}, which "
                        "alone counts; remove one of them"
                    ] = None
    return list(found)


def between_siblings(inventory: Inventory, hosts: Iterable[Host]) -> list[str]:
    """Settings of groups of which none is inside the other, so that their names decide."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for host in hosts:
        own = inventory.layer("host", host)
        last: dict[str, tuple[Group, Any]] = {}
        for group in _in_order(host):
            for name, settings in inventory.layer("group", group).items():
                before = last.get(name)
                value = settings[-1].value
                if before and name not in own and _equals(before[0], group):
                    if not _same(before[1], value):
                        found.setdefault((name, before[0].name, group.name), []).append(host.name)
                elif before:
                    # A group that is further inside decides.
                    for key in [key for key in found if key[0] == name]:
                        found[key] = [one for one in found[key] if one != host.name]
                last[name] = (group, value)
    return [
        f"{name}: the groups {first} and {second} both set it for {', '.join(names)}, and none of "
        f"them is inside the other: Ansible takes that of {second}, by its name; make one a child "
        "of the other (children:), or set it in host_vars"
        for (name, first, second), names in found.items()
        if names
    ]


def replaced_mappings(inventory: Inventory, hosts: Iterable[Host]) -> list[str]:
    """Mappings and lists that lose what a more general place sets: Ansible merges neither."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for host in hosts:
        before: dict[str, Setting] = {}
        layers = [inventory.layer("group", group) for group in _in_order(host)]
        for layer in [*layers, inventory.layer("host", host)]:
            for name, settings in layer.items():
                one, old = settings[-1], before.get(name)
                before[name] = one
                lost = _lost(name, old.value, one.value) if old else []
                if old and lost:
                    key = (name, old.place, one.place, ", ".join(lost))
                    found.setdefault(key, []).append(host.name)
    return [
        f"{name}: {place} replaces what {old} sets, since Ansible merges neither mappings nor "
        f"lists: {', '.join(hosts_)} does not get {lost}; repeat there what is to be kept"
        for (name, old, place, lost), hosts_ in found.items()
    ]


def _lost(name: str, before: Any, now: Any) -> list[str]:
    """What a more special place drops of a mapping, or of a list that is meant to grow."""
    if not now:
        # Switched off.
        return []
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        if constants.DEFAULT_HASH_BEHAVIOUR == "merge":
            return []
        return sorted(str(key) for key in before if key not in now)
    if name in GROWING and isinstance(before, list) and isinstance(now, list):
        return [str(item) for item in before if item not in now and isinstance(item, str)]
    return []


def _in_order(host: Host) -> list[Group]:
    return sorted(host.get_groups(), key=lambda one: (one.depth, one.priority, one.name))


def _equals(one: Group, other: Group) -> bool:
    return (one.depth, one.priority) == (other.depth, other.priority)


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:
        # A value of the vault without its password.
        return False
