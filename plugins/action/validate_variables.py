# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuses unknown variables and wrong types, all of them in one message; asks no host."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _variables
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction


class ActionModule(ToolkitAction):
    """The task's controller side, which is all of it."""

    def act(self) -> Mapping[str, object]:
        """Returns warnings; fails with every refusal at once."""
        roles = self._task.args.get("roles") or _variables.EVERY_ROLE
        warnings = self.validate([str(role) for role in roles], self.variables)
        return {"changed": False, **({"warnings": warnings} if warnings else {})}
