# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner services of a host that is retired; see DOCUMENTATION."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import names_of
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _service_files, _services

DOCUMENTATION = r"""
name: services_to_remove
short_description: Names all runner services of a host that is retired, with their files
description:
  - The package's own service first, then the isolated ones, those of an older inventory too.
  - Used by the role gitlab_runner alone.
version_added: 0.1.0
positional: _input
options:
  _input:
    description: Paths of drop-ins on the host; of other files among them nothing is made.
    type: list
    elements: str
    required: true
  isolated:
    description: The variable of the role gitlab_runner.
    type: raw
  user:
    description: The user of the package's own service.
    type: str
    required: true
  home:
    description: That user's home.
    type: str
    required: true
author:
  - The Runnerhost developers
"""

EXAMPLES = r"""
- name: Name the services of a host
  ansible.builtin.debug:
    msg: >-
      {{ ['/etc/systemd/system/gitlab-runner-publish.service.d/zz-runnerhost.conf']
      | runnerhost.toolkit.services_to_remove(user='gitlab-runner', home='/home/gitlab-runner') }}
"""

RETURN = r"""
_value:
  description:
    - Each service with its name, unit, folder and so on, and with RV(_value[].files), what goes
      with it, an item of M(runnerhost.toolkit.file_set) each.
  type: list
  elements: dict
"""


def services_to_remove(
    paths: Iterable[str], user: str, home: str, isolated: Any = None
) -> list[Mapping[str, Any]]:
    """See DOCUMENTATION."""
    variables = {"isolated": isolated or [], "user": user, "home": home}
    found = _services.services_to_remove(variables, names_of(map(str, paths)))
    return [_service_files.with_files_to_remove(service) for service in found]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """The filters of this file, by name."""
        return {"services_to_remove": services_to_remove}
