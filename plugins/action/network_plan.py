# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans, before the host is changed, its network settings; shows no password."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _pythons
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _network,
    _network_plan,
    _network_settings,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    DISTRIBUTION_SOURCES,
    HOST_INFO,
    NETWORK,
    ToolkitAction,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._network_plan import Mirror

REPOSITORIES = (
    "python_versions_repository_url",
    "gitlab_runner_repository_url",
    f"{NETWORK}distribution_url",
)


class ActionModule(ToolkitAction):
    """The task's controller side."""

    variables_of: ClassVar[list[str]] = ["network_access"]

    def act(self) -> Mapping[str, object]:
        """Returns ``plan``; fails with every refusal at once."""
        result: dict[str, Any] = {}
        variables = self.variables
        values = self.network_values(variables)
        said = self.validate(self.variables_of, variables, _network_settings.problems(values))
        network = self.network(variables)
        # Without a mirror of the distribution there is nothing to ask the host.
        deployed = self._deployed(variables) if values["distribution_url"] else ""
        distribution, warnings = self.distribution_offer(variables, deployed)
        warnings += said
        warnings += _network_settings.security_warnings(values)
        warnings += _network_settings.credential_warnings(
            values["repository_credentials"], self._repositories(variables)
        )
        mirror = Mirror(
            text=distribution["distribution_sources"],
            url=str(values["distribution_url"]),
            suites=[str(suite) for suite in values["distribution_suites"]],
            releases=distribution["distribution_suites"],
        )
        if mirror.text != deployed:
            self._ask_mirror(mirror, network, variables)
        result["plan"] = _network_plan.plan(network, mirror, self._task.args["removes"])
        if warnings:
            result["warnings"] = warnings
        if network.secrets():
            self.hide(result)
        return result

    def _repositories(self, variables: Mapping[str, Any]) -> dict[str, str]:
        """The addresses of apt repositories in the inventory; not those of roles' defaults."""
        found = {}
        for name in REPOSITORIES:
            with suppress(Exception):
                # The role that uses it tells what is wrong with it.
                found[name] = str(self._templar.template(variables.get(name) or ""))
        return found

    def _deployed(self, variables: Mapping[str, Any]) -> str:
        """The mirror's source file as the host has it; empty if it has none."""
        info = self.ask(HOST_INFO, {"texts": [DISTRIBUTION_SOURCES]}, variables)["info"]
        return str(info["files"][DISTRIBUTION_SOURCES].get("text", ""))

    def _ask_mirror(
        self, mirror: Mirror, network: _network.Network, variables: Mapping[str, Any]
    ) -> None:
        """Refuses a mirror of the distribution that apt cannot use."""
        question = {"sources": mirror.text, "packages": ["ca-certificates"]}
        answer = self.candidates(question, network, variables)
        why = _pythons.explain(answer["error"])
        self.refuse(_network_plan.mirror_problems(mirror.url, mirror.suites, answer, why))
        # The pin of python_versions, which keeps an Origin's packages away, must not hit this.
        origin = self._templar.template(variables.get("python_versions_repository_origin"))
        self.refuse(
            _pythons.origin_problems(str(origin), answer["origins"], f"{NETWORK}distribution_url")
        )
