# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""config.toml by compare-and-swap: read, merge here, swap if it is still the one that was read."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _gitlab_sync,
    _runner_config_plan,
    _services,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._config_action import (
    TOKENS,
    ConfigAction,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import ApiProblem
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_convergence import (
    Convergence,
)


class ActionModule(ConfigAction):
    """The task's controller side."""

    def act(self) -> Mapping[str, object]:
        """Brings one service's config.toml to its wanted state."""
        args = self._task.args
        exposed = self.no_file_on_host(TOKENS)
        variable = "gitlab_runner_runners"
        if args["isolated"]:
            args["runners"] = _services.protected(args["runners"])
            variable = f"{_services.VARIABLE} ({args['isolated']}).runners"
        self.refuse(_runner_config_plan.problems(args, variable))
        wanted = _runner_config_plan.wanted_config(args, variable)
        try:
            gitlab = _gitlab_sync.gitlab_sync(
                wanted.runners,
                _gitlab_sync.access(args, str(args["url"])),
                str(self.variables.get("inventory_hostname", "")),
                self.find_file,
                recreate=args["recreate"],
            )
        except ApiProblem as problem:
            self.refuse([str(problem)])
            raise
        run = Convergence(self.io(), gitlab, wanted, check_mode=self._task.check_mode)
        outcome = run.run()
        outcome.warnings = [*exposed, *outcome.warnings]
        return outcome.result()
