# SPDX-License-Identifier: Apache-2.0
"""Decides, before the host is touched, what its ways in and out need; shows no password."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _pythons
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import _network
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    CA_FOLDER,
    DISTRIBUTION_SOURCES,
    LOOK,
    NETWORK,
    ToolkitAction,
)

# What another role that sets the ways up leaves out.
REMOVALS = ("absent", "distribution_restored")


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns ``plan``; fails with every refusal at once."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        values = self.network_values(variables)
        said = self.validate(["network_access"], variables, _network.problems(values))
        ways = self.ways(variables)
        # Without a mirror of the distribution there is nothing to ask the host.
        deployed = self._deployed(variables) if values["distribution_url"] else ""
        distribution, warnings = self.distribution_offer(variables, deployed)
        warnings += said
        text = distribution["distribution_sources"]
        if text != deployed:
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
                    "state": "duplicates_absent",
                    "uris": [str(values["distribution_url"])],
                    "suites": [str(suite) for suite in values["distribution_suites"]],
                    "releases": distribution["distribution_suites"],
                },
            ]
        removes = bool(self._task.args.get("removes", True))
        files = [
            *self._authority_files(ways),
            _file(_network.APT_AUTH, ways.apt_auth(), mode="0600", secret=True),
            *_proxy_files(ways),
            *own,
        ]
        result["plan"] = {
            "files": [one for one in files if removes or one.get("state") not in REMOVALS],
            "authorities": {
                "folder": CA_FOLDER,
                "unless_found": {
                    "glob": "/etc/ssl/certs/runnerhost-*.pem",
                    "names": [
                        os.path.basename(path).replace(".crt", ".pem")
                        for path, _ in ways.authorities
                    ],
                    "others": not removes,
                },
            },
        }
        if warnings:
            result["warnings"] = warnings
        if ways.secrets():
            self.hide(result)
        return result

    @staticmethod
    def _authority_files(ways: _network.Network) -> list[dict[str, Any]]:
        keep = [path for path, _ in ways.authorities]
        return [
            {"path": f"{CA_FOLDER}/runnerhost-*.crt", "state": "absent", "keep": keep},
            *({"path": path, "content": text} for path, text in ways.authorities),
        ]

    def _deployed(self, variables: dict[str, Any]) -> str:
        """The mirror's source file as the host has it; empty if it has none."""
        look = self.ask(LOOK, {"texts": [DISTRIBUTION_SOURCES]}, variables)["look"]
        return str(look["files"][DISTRIBUTION_SOURCES].get("text", ""))

    def _ask_mirror(
        self, text: str, url: str, ways: _network.Network, variables: dict[str, Any]
    ) -> None:
        """Refuses a mirror of the distribution that apt cannot use."""
        # What every release has: a suite that exists and is empty is no distribution.
        answer = self.offer({"sources": text, "packages": ["ca-certificates"]}, ways, variables)
        if answer["error"]:
            suites = ", ".join(map(str, self.network_values(variables)["distribution_suites"]))
            self.refuse(
                [
                    f"{NETWORK}distribution_url: {url} (suites {suites}) cannot be used; "
                    + _pythons.explain(answer["error"])
                ]
            )
        if not answer["offer"].get("ca-certificates"):
            self.refuse([f"{NETWORK}distribution_url: {url} offers no ca-certificates"])
        self.refuse(self._origin_problems(answer["origins"], variables))

    def _origin_problems(self, origins: list[str], variables: dict[str, Any]) -> list[str]:
        """The pin of python_versions, which keeps an Origin's packages away, must not hit this."""
        name = "python_versions_repository_origin"
        pinned = self._templar.template(variables.get(name))
        return _pythons.origin_problems(str(pinned), origins, f"{NETWORK}distribution_url")


def _proxy_files(ways: _network.Network) -> list[dict[str, Any]]:
    """apt's setting, and the program that it names, which is never missing meanwhile."""
    program = _file(_network.APT_DIRECT, ways.apt_direct(), mode="0755")
    setting = _file(_network.APT_CONF, ways.apt_conf())
    if not ways.apt_direct():
        return [setting, program]
    # apt runs it as the user _apt, whatever umask the folder was once made with.
    folder = {"path": os.path.dirname(_network.APT_DIRECT), "state": "directory", "mode": "0755"}
    return [folder, program, setting]


def _file(path: str, text: str, **more: Any) -> dict[str, Any]:
    """A file that is there as long as it has anything to say."""
    return {"path": path, "state": "file" if text else "absent", "content": text, **more}
