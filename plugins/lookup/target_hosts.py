# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The group that a playbook works on, refused where the run would work on no host of it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: target_hosts
author: The Runnerhost developers (@runnerhost)
version_added: 0.1.0
short_description: The group of hosts of a play, refused where it is empty
description:
  - For the keyword C(hosts) of a play. Ansible itself ends a run without hosts with exit 0.
  - Refuses an inventory that does not exist, a group that the inventory lacks or that is empty, a
    limit with no host of the group, and, where the collection's own playbooks are run directly,
    tags that no task has.
  - For V(localhost), which is in no group, any limit is refused instead.
  - Refuses a file or folder in C(group_vars) or C(host_vars) whose name differs from that of a
    group or host by a typo; C(runnerhost_unknown_variables=warn) only warns about it.
options:
  _terms:
    description: The group.
    type: list
    elements: str
    required: true
  tags:
    description: The tags that the playbook's tasks have.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Provision runner hosts
  hosts: "{{ lookup('runnerhost.toolkit.target_hosts', 'runner_hosts') }}"
"""

RETURN = r"""
_raw:
  description: The group.
  type: list
  elements: str
"""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleLookupError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible.vars.manager import VariableManager

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _inventory_layers
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _variables as variables_of_inventory,
)

CONTROLLER = "localhost"
OWN_PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
SPECIAL_TAGS = ("all", "always", "never", "tagged", "untagged")
MOLECULE_TAGS = ("molecule-idempotence-notest", "molecule-notest", "notest")
"""What Molecule skips in every run."""
SHOWN = 10
"""So many names stand in a message."""


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup."""

    def run(
        self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[str]:
        """The group, if the run works on any host of it."""
        self.set_options(var_options=variables, direct=kwargs)
        tags = [str(tag) for tag in self.get_option("tags")]
        for group in terms:
            # ansible-lint and Molecule check the syntax without an inventory.
            found = (
                "" if context.CLIARGS.get("syntax") else problem(str(group), tags, variables or {})
            )
            if found:
                raise AnsibleLookupError(f"refused, nothing was changed: {found}")
            if not context.CLIARGS.get("syntax"):
                self._look_for_misnamed_files(str(group), variables or {})
        return list(terms)

    def _look_for_misnamed_files(self, group: str, given: Mapping[str, Any]) -> None:
        """Refuses group_vars and host_vars that Ansible ignores because of a typo in their name."""
        groups = given.get("groups") or {}
        folders = [
            source if os.path.isdir(source) else os.path.dirname(source)
            for source in map(str, given.get("ansible_inventory_sources") or [])
            if "," not in source
        ]
        found = variables_of_inventory.misnamed_files(
            # Beside the playbook too.
            [*folders, self._loader.get_basedir()],
            groups,
            groups.get("all", []),
        )
        if not found:
            return
        switch = variables_of_inventory.SWITCH
        if given.get(switch) == "warn" or self._some_host_has(
            groups.get(group) or groups.get("all", []), switch, given
        ):
            for text in found:
                Display().warning(text)
            return
        raise AnsibleLookupError(
            "refused, nothing was changed: "
            + "\n- ".join(found if len(found) == 1 else [f"{len(found)} problems:", *found])
            + f" ({switch}: warn accepts files of such names)"
        )

    def _some_host_has(self, hosts: Sequence[str], switch: str, given: Mapping[str, Any]) -> bool:
        """Whether the inventory itself says ``warn``: a play's keywords see no host's variables."""
        inventory = InventoryManager(self._loader, given.get("ansible_inventory_sources"))
        manager = VariableManager(self._loader, inventory)
        every = (
            manager.get_vars(host=inventory.get_host(host), include_hostvars=False)
            for host in hosts
        )
        return any(one.get(switch) == "warn" for one in every)


def problem(group: str, tags: Sequence[str], variables: Mapping[str, Any]) -> str:
    """Why a run would not do what it was asked for; empty if it does."""
    sources = [str(source) for source in variables.get("ansible_inventory_sources") or []]
    for source in sources:
        # With a comma it is a list of hosts.
        if "," not in source and not os.path.exists(source):
            return f"--inventory: '{source}' does not exist; expected an inventory file or folder"
    limit = variables.get("ansible_limit")
    if group == CONTROLLER and limit:
        return (
            f"--limit: invalid value '{limit}'; expected no limit, since this playbook works on "
            "the controller alone"
        )
    found = "" if group == CONTROLLER else _group_problem(group, sources, variables)
    if found:
        return found
    # A playbook of a user's own may give its tags to what it imports.
    if not all(_own(str(playbook)) for playbook in context.CLIARGS.get("args", ())):
        return ""
    known = {*tags, *SPECIAL_TAGS, *MOLECULE_TAGS}
    for option, name in (("--tags", "ansible_run_tags"), ("--skip-tags", "ansible_skip_tags")):
        unknown = sorted({str(tag) for tag in variables.get(name) or []} - known)
        if unknown:
            takes = f"any of {', '.join(tags)}" if tags else "none: this playbook has no tags"
            return f"{option}: invalid value '{', '.join(unknown)}'; expected {takes}"
    return ""


def _group_problem(group: str, sources: Sequence[str], variables: Mapping[str, Any]) -> str:
    for text in _no_hosts(sources):
        return text
    groups = variables.get("groups") or {}
    # A variable that is not indented below its host.
    named = [*groups, *groups.get("all", [])]
    lost = [name for name in named if name in _inventory_layers.CONNECTION]
    if lost:
        return (
            f"inventory {', '.join(sources) or 'none'}: {lost[0]} is a host or a group there; "
            "indent this variable below the name of its host"
        )
    shown = ", ".join(sources) or "none"
    if not groups.get(group):
        lacks = "no hosts in the group" if group in groups else "no group"
        others = [name for name in groups if name not in ("all", "ungrouped", group)]
        near = difflib.get_close_matches(group, others, 1)
        has = f" (but {near[0]})" if near else ""
        return (
            f"inventory {shown}: {lacks} {group}{has}; "
            f"expected hosts under the group {group}, as in inventories/example/hosts.yml"
        )
    # The whole inventory, cut down by --limit: `hosts` is a template here.
    if not set(groups[group]) & set(variables.get("ansible_play_hosts_all") or []):
        if variables.get("ansible_limit") is None:
            return (
                f"inventory {shown}: could not be read as it was meant; see the warnings above: is "
                "a line indented wrongly?"
            )
        return (
            f"--limit: invalid value '{variables.get('ansible_limit')}', which names no host of "
            f"the group {group}; expected any of {_some(groups[group])}"
        )
    return ""


def _no_hosts(sources: Sequence[str]) -> Iterator[str]:
    """What stands below ``hosts`` of YAML files and is no host: Ansible reads up to there."""
    loader = DataLoader()
    for source in sources:
        folder = Path(source)
        files = sorted(folder.glob("*.y*ml")) if folder.is_dir() else [folder]
        for file in (one for one in files if one.suffix in (".yml", ".yaml") and one.is_file()):
            try:
                found = loader.load_from_file(str(file))
            except Exception:
                # Ansible itself tells what is wrong with it.
                continue
            # The settings of a plugin have keys of their own.
            plugin = isinstance(found, Mapping) and "plugin" in found
            for name, value in () if plugin else _hosts_below(found):
                if value is not None and not isinstance(value, Mapping):
                    yield (
                        f"{file}: {name} stands below hosts: and is no host; a variable is "
                        "indented below the name of its host"
                    )


def _hosts_below(tree: Any) -> Iterator[tuple[str, Any]]:
    for key, below in tree.items() if isinstance(tree, Mapping) else ():
        if key == "hosts" and isinstance(below, Mapping):
            yield from ((str(name), value) for name, value in below.items())
        elif key != "vars":
            yield from _hosts_below(below)


def _own(playbook: str) -> bool:
    by_name = playbook.startswith("runnerhost.toolkit.")
    return by_name or Path(playbook).resolve().parent == OWN_PLAYBOOKS


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
