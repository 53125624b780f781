# SPDX-License-Identifier: Apache-2.0
"""Decides, before the host is touched, what its ways in and out need; shows no password."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import network, pythons
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils.controller import (
    CA_FOLDER,
    DISTRIBUTION_SOURCES,
    LOOK,
    NETWORK,
    ToolkitAction,
)


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns ``plan``; fails with every refusal at once."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        ways = self.ways(variables)
        values = self.network_values(variables)
        distribution = self.distribution_offer(variables)
        text = distribution["distribution_sources"]
        if text:
            self._ask_mirror(text, str(values["distribution_url"]), ways, variables)
        own: list[dict[str, Any]] = [
            {"path": DISTRIBUTION_SOURCES, "state": "absent"},
            {"path": DISTRIBUTION_SOURCES, "state": "distribution_restored"},
        ]
        if text:
            own = [
                {"path": DISTRIBUTION_SOURCES, "content": text},
                {
                    "path": DISTRIBUTION_SOURCES,
                    "state": "twins_absent",
                    "uris": [str(values["distribution_url"])],
                    "suites": [str(suite) for suite in values["distribution_suites"]],
                    "releases": distribution["distribution_suites"],
                },
            ]
        result["plan"] = {
            "files": [
                *self._authority_files(ways),
                _file(network.APT_AUTH, ways.apt_auth(), mode="0600", secret=True),
                # The program before the setting that names it.
                _file(network.APT_DIRECT, ways.apt_direct(), mode="0755"),
                _file(network.APT_CONF, ways.apt_conf()),
                *own,
            ],
            "authorities": {
                "folder": CA_FOLDER,
                "links": [
                    os.path.basename(path).replace(".crt", ".pem") for path, _ in ways.authorities
                ],
            },
        }
        if ways.secrets():
            result["_ansible_no_log"] = True
        return result

    @staticmethod
    def _authority_files(ways: network.Network) -> list[dict[str, Any]]:
        keep = [path for path, _ in ways.authorities]
        return [
            {"path": f"{CA_FOLDER}/runnerhost-*.crt", "state": "absent", "keep": keep},
            *({"path": path, "content": text} for path, text in ways.authorities),
        ]

    def _ask_mirror(
        self, text: str, url: str, ways: network.Network, variables: dict[str, Any]
    ) -> None:
        """Refuses a mirror of the distribution that apt cannot use."""
        look = self.ask(LOOK, {"texts": [DISTRIBUTION_SOURCES]}, variables)["look"]
        if look["files"][DISTRIBUTION_SOURCES].get("text") == text:
            return
        # What every release has: a suite that exists and is empty is no distribution.
        answer = self.offer({"sources": text, "packages": ["ca-certificates"]}, ways, variables)
        if answer["error"]:
            self.refuse(
                [
                    f"{NETWORK}distribution_url: {url} cannot be used; "
                    + pythons.explain(answer["error"])
                ]
            )
        if not answer["offer"].get("ca-certificates"):
            self.refuse([f"{NETWORK}distribution_url: {url} offers no ca-certificates"])


def _file(path: str, text: str, **more: Any) -> dict[str, Any]:
    """A file that is there as long as it has anything to say."""
    return {"path": path, "state": "file" if text else "absent", "content": text, **more}
