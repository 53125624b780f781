# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuses unknown variables and wrong types, all of them in one message; asks no host."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Mapping

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _pythons
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _inventory_layers,
    _variables,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._inventory_layers import Inventory

_COMPILER = re.compile(r"build-essential|gcc|clang|g\+\+")


def _is_here(address: str) -> bool:
    """Whether an address, or the name of one, belongs to this machine."""
    with contextlib.suppress(OSError):
        for family, kind, protocol, __, place in socket.getaddrinfo(
            address, 0, type=socket.SOCK_DGRAM
        ):
            with socket.socket(family, kind, protocol) as one, contextlib.suppress(OSError):
                one.bind(place)
                return True
    return False


class ActionModule(ToolkitAction):
    """The task's controller side, which is all of it."""

    def act(self) -> Mapping[str, object]:
        """Returns warnings; fails with every refusal at once."""
        roles = self._task.args.get("roles") or _variables.EVERY_ROLE
        self.refuse(self._local())
        warnings = self.validate([str(role) for role in roles], self.variables)
        if {*_variables.EVERY_ROLE} <= {*roles}:
            warnings += self._nothing_set()
            warnings += self._other_system()
        if "build_tools" in roles:
            warnings += self._without_compiler()
        warnings += self._layers([str(role) for role in roles])
        return {"changed": False, **({"warnings": warnings} if warnings else {})}

    def _local(self) -> list[str]:
        """A refusal of an address that the connection does not use."""
        name = str(self.variables.get("inventory_hostname"))
        if name == "localhost":
            # The controller, which Ansible itself makes local, has the group all's variables too.
            return []
        given = {one: self.variables.get(one) for one in ("ansible_host", "ansible_connection")}
        found = self._templar.template(given)
        address = str(found["ansible_host"] or "")
        connection = str(found["ansible_connection"] or "").rpartition(".")[2]
        # Without an address of its own, a host's name is its address.
        if connection != "local" or address in ("", name) or _is_here(address):
            return []
        return [
            f"{name}: ansible_connection is local, and ansible_host {address}: the machine that "
            "runs Ansible would be changed; remove ansible_connection, or the address"
        ]

    def _nothing_set(self) -> list[str]:
        """A warning if neither the inventory nor the play sets anything."""
        names = {name for role in _variables.ROLES for name in _variables.options(role)}
        if names & {*self.variables}:
            return []
        return [
            f"no variable of the toolkit is set for {self.variables.get('inventory_hostname')}: "
            "all have their defaults; Ansible reads group_vars and host_vars beside the inventory "
            "file alone"
        ]

    def _other_system(self) -> list[str]:
        """A warning of a host that is no Ubuntu that the toolkit knows."""
        facts = self.variables.get("ansible_facts") or {}
        release = str(facts.get("distribution_release") or "")
        if not release or release in _pythons.SYSTEMS:
            return []
        return [
            f"{self.variables.get('inventory_hostname')}: the system is "
            f"{facts.get('distribution')} {facts.get('distribution_version')} ({release}); the "
            f"toolkit is made for Ubuntu: {', '.join(_pythons.SYSTEMS)}"
        ]

    def _layers(self, roles: list[str]) -> list[str]:
        """What the inventory sets in several places; once for all hosts."""
        manager = getattr(self.variables.get("hostvars"), "_inventory", None)
        name = str(self.variables.get("inventory_hostname"))
        played = [str(one) for one in self.variables.get("ansible_play_hosts_all") or [name]]
        # The first that answers speaks for all.
        active = [str(one) for one in self.variables.get("ansible_play_hosts") or played]
        if manager is None or name != active[0]:
            return []
        sources = [str(one) for one in self.variables.get("ansible_inventory_sources") or []]
        folders = [one if os.path.isdir(one) else os.path.dirname(one) for one in sources]
        inventory = Inventory(
            [*folders, self._loader.get_basedir()],
            self._loader,
            [option for role in roles for option in _variables.options(role)],
        )
        hosts = [host for one in played if (host := manager.get_host(one))]
        kinds = {("group", group.name) for host in hosts for group in host.get_groups()}
        # The controller, which is no host of the inventory, has the variables of this group.
        kinds |= {("group", "all"), *(("host", host.name) for host in hosts)}
        every = list(manager.get_hosts(ignore_limits=True, ignore_restrictions=True))
        slips = _inventory_layers.connection_slips(hosts)
        if self.variables.get(_variables.SWITCH) != "warn":
            self.refuse(slips)
            slips = []
        unread = [said for kind, one in sorted(kinds) for said in inventory.ignored(kind, one)]
        unread += [said for kind, one in sorted(kinds) for said in inventory.below_vars(kind, one)]
        self.refuse([*unread, *inventory.by_address(every)])
        targets = (self.variables.get("groups") or {}).get("runner_hosts") or []
        outside = (
            [host for host in every if host.name not in targets] if {*played} <= {*targets} else []
        )
        found = [
            (kind, manager.groups[one] if kind == "group" else manager.get_host(one))
            for kind, one in sorted(kinds)
        ]
        return [
            *slips,
            *(said for kind, one in found for said in inventory.secrets_outside(kind, one)),
            *(said for kind, one in sorted(kinds) for said in inventory.open_vaults(kind, one)),
            *inventory.by_short_name(every),
            *_inventory_layers.empty_children(manager.groups, "runner_hosts"),
            *_inventory_layers.outside(inventory, outside),
            *_inventory_layers.twice(inventory, hosts),
            *_inventory_layers.between_siblings(inventory, hosts),
            *_inventory_layers.replaced_mappings(inventory, hosts),
        ]

    def _without_compiler(self) -> list[str]:
        """A warning if the packages that stand for the default bring no compiler."""
        name = "build_tools_packages"
        given = self._templar.template(self.variables.get(name))
        if not isinstance(given, list) or any(_COMPILER.match(str(one)) for one in given):
            return []
        return [
            f"{name} replaces the default, and has no compiler (build-essential); packages that "
            "come in addition belong in build_tools_extra_packages"
        ]
