# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the toolkit's own code that hosts keep, as items of file_set."""

from __future__ import annotations

DOCUMENTATION = r"""
name: host_code
author: The Runnerhost developers (@runnerhost)
version_added: 0.1.0
short_description: The toolkit's own code that a host keeps, as items of file_set
description:
  - Used by the role gitlab_runner alone, whose timers and services start such code.
  - Takes the named files of C(plugins/module_utils) and all that they import there. Other Python
    files of the folder, from an earlier version, are removed.
options:
  _terms:
    description: What the host starts, by the names of its modules.
    type: list
    elements: str
    required: true
  folder:
    description: The folder on the host.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write the code of the timers
  runnerhost.toolkit.file_set:
    files: "{{ lookup('runnerhost.toolkit.host_code', '_drain', folder='/usr/local/lib/example') }}"
"""

RETURN = r"""
_raw:
  description: Items for O(runnerhost.toolkit.file_set#module:files).
  type: list
  elements: dict
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _host_code


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup."""

    def run(
        self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **options: Any
    ) -> list[list[dict[str, Any]]]:
        """The items, as one list, so that ``lookup`` does not join them to a text."""
        self.set_options(var_options=variables, direct=options)
        folder = str(self.get_option("folder"))
        files = [
            {"path": f"{folder}/{name}.py", "content": text, "code": True}
            for name, text in _host_code.sources(terms).items()
        ]
        keep = [file["path"] for file in files]
        return [[*files, {"path": f"{folder}/*.py", "state": "absent", "keep": keep}]]
