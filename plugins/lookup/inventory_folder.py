# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's folder, for plays on the controller, where Ansible sets no inventory_dir."""

from __future__ import annotations

DOCUMENTATION = r"""
name: inventory_folder
author: The Runnerhost developers (@runnerhost)
version_added: 0.2.0
short_description: The folder of the inventory, for a play on localhost
description:
  - Ansible sets C(inventory_dir) only for hosts that the inventory lists, and C(localhost) rarely
    is one. With this value a play on C(localhost) reads variables such as
    C({{ inventory_dir }}/files/ca.pem) as the hosts do.
  - This is C(inventory_dir) of C(localhost) where the inventory lists it; else the folder of the
    first inventory that is a file or folder.
options:
  _terms:
    description: None are taken.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the folder
  ansible.builtin.debug:
    msg: "{{ lookup('runnerhost.toolkit.inventory_folder') }}"
"""

RETURN = r"""
_raw:
  description: The folder.
  type: list
  elements: str
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup."""

    def run(
        self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[str]:
        """The folder; an inventory that is a list of hosts has none."""
        given = variables or {}
        listed = (given.get("hostvars") or {}).get("localhost") or {}
        # hostvars has no variables of a play: no loop.
        folder = listed.get("inventory_dir")
        sources = [
            os.path.abspath(str(one)) for one in given.get("ansible_inventory_sources") or []
        ]
        folders = [one if os.path.isdir(one) else os.path.dirname(one) for one in sources
                   if os.path.exists(one)]  # fmt: skip
        if not folder and not folders:
            raise AnsibleLookupError(
                "inventory_dir: the inventory is no file or folder; expected one after -i "
                "(with make: INVENTORY=…)"
            )
        return [str(folder or folders[0])]
