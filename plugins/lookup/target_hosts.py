# SPDX-License-Identifier: Apache-2.0
"""The group that a playbook works on, refused where the run would work on no host of it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: target_hosts
author: The Runnerhost developers
version_added: 0.1.0
short_description: The group of hosts of a play, refused where it is empty
description:
  - For the keyword C(hosts) of a play. Ansible itself ends a run without hosts with exit 0.
  - Refuses an inventory that does not exist, a group that the inventory lacks or that is empty, a
    limit with no host of the group, and, where the collection's own playbooks are run directly,
    tags that no task has.
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
        return list(terms)


def problem(group: str, tags: Sequence[str], variables: Mapping[str, Any]) -> str:
    """Why a run would not do what it was asked for; empty if it does."""
    sources = [str(source) for source in variables.get("ansible_inventory_sources") or []]
    for source in sources:
        # With a comma it is a list of hosts.
        if "," not in source and not os.path.exists(source):
            return f"--inventory: '{source}' does not exist; expected an inventory file or folder"
    groups = variables.get("groups") or {}
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
        return (
            f"--limit: invalid value '{variables.get('ansible_limit')}', which names no host of "
            f"the group {group}; expected any of {_some(groups[group])}"
        )
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


def _own(playbook: str) -> bool:
    by_name = playbook.startswith("runnerhost.toolkit.")
    return by_name or Path(playbook).resolve().parent == OWN_PLAYBOOKS


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
