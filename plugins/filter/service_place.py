# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a runner service lives on its host; see DOCUMENTATION."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import place

DOCUMENTATION = r"""
name: service_place
short_description: Names the unit, the folder and so on of a runner service
description:
  - Used by the role gitlab_runner alone.
version_added: 0.1.0
positional: _input
options:
  _input:
    description: The name of an isolated runner; empty for the package's own service.
    type: str
    required: true
author:
  - The Runnerhost developers
"""

EXAMPLES = r"""
- name: Name the units of two services
  ansible.builtin.debug:
    msg: "{{ ['', 'publish'] | map('runnerhost.toolkit.service_place') | map(attribute='unit') }}"
"""

RETURN = r"""
_value:
  description: C(name), C(service), C(unit), C(drop_in), C(folder), C(resume) and C(clean).
  type: dict
"""


def service_place(name: str) -> dict[str, str]:
    """See DOCUMENTATION."""
    return {"name": name, **asdict(place(name))}


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """The filters of this file, by name."""
        return {"service_place": service_place}
