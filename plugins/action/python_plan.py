# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans, before the host is changed, which Python packages it needs and from where."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _network,
    _python_releases,
    _python_settings,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    DISTRIBUTION_SOURCES,
    HOST_INFO,
    ToolkitAction,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._python_plan import (
    FAMILY,
    STAMP,
    Candidates,
    Host,
    Planner,
    Wanted,
)


class ActionModule(ToolkitAction):
    """The task's controller side."""

    variables_of: ClassVar[list[str]] = ["python_versions"]

    def act(self) -> Mapping[str, object]:
        """Returns ``plan``; fails with every refusal at once."""
        result: dict[str, Any] = {}
        variables = self.variables
        args = self._task.args
        home = variables.get("gitlab_runner_home") or ""
        home = str(self._templar.template(home)) if home else ""
        said = self.validate(self.variables_of, variables, _python_settings.problems(args, home))
        network = self.network(variables)
        wanted = Wanted.of(args)
        host = self._host(wanted, args["info_also"], variables)
        key, warnings = self.key(
            "python_versions_repository_key",
            args["key"],
            args["fingerprint"],
            host.texts[wanted.sources_path],
        )
        warnings += said + _python_releases.warnings(
            [str(version) for version in wanted.versions],
            datetime.date.today(),
            args["end_of_life_warning_days"],
            host.system,
        )
        facts = variables.get("ansible_facts") or {}
        warnings += _python_settings.without_headers(args["wanted"], args["patterns"])
        warnings += _python_settings.suite_warnings(
            str(args["suite"]), str(facts.get("distribution_release", ""))
        )
        planner = Planner(wanted, host, key)
        asked = self._candidates(planner, network, variables)
        # Where the sources were not asked, nothing is known of what they offer.
        if asked and (left := planner.left(asked)):
            warnings.append(
                f"the host has {', '.join(left)}, which no source offers for this release: they "
                "stay as they are until apt takes them away"
            )
        plan = planner.plan(asked or Candidates())
        # Not asdict, which copies dpkg's records.
        result["plan"] = {field.name: getattr(plan, field.name) for field in fields(plan)}
        if warnings:
            result["warnings"] = warnings
        return result

    def _host(self, wanted: Wanted, also: list[str], variables: Mapping[str, Any]) -> Host:
        """What the host has, in one call."""
        texts = [wanted.sources_path, wanted.preferences_path, STAMP, DISTRIBUTION_SOURCES]
        names = [name.partition("=")[0] for name in also]
        asked = {"packages": [*FAMILY, *names], "texts": texts}
        return Host.of(self.ask(HOST_INFO, asked, variables)["info"])

    def _candidates(
        self, planner: Planner, network: _network.Network, variables: Mapping[str, Any]
    ) -> Candidates | None:
        """What the sources offer, if they are asked; refuses wanted versions that they lack."""
        question = planner.question() if planner.asks() else {}
        if not question:
            return None
        # The role network_access warns of its key.
        distribution, __ = self.distribution_offer(
            variables, planner.host.texts[DISTRIBUTION_SOURCES]
        )
        answer = self.candidates({**question, **distribution}, network, variables)
        self.refuse(planner.refusals(answer))
        return Candidates(answer["offer"], answer["distribution_offer"])
