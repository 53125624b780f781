# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuses unknown variables and wrong types, all of them in one message; asks no host."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _variables
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction

_COMPILER = re.compile(r"build-essential|gcc|clang|g\+\+")


class ActionModule(ToolkitAction):
    """The task's controller side, which is all of it."""

    def act(self) -> Mapping[str, object]:
        """Returns warnings; fails with every refusal at once."""
        roles = self._task.args.get("roles") or _variables.EVERY_ROLE
        warnings = self.validate([str(role) for role in roles], self.variables)
        if "build_tools" in roles:
            warnings += self._without_compiler()
        return {"changed": False, **({"warnings": warnings} if warnings else {})}

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
