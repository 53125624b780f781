# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides, before the host is touched, what the runner needs there; shows no token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.runnerhost.toolkit.plugins.module_utils._runner_facts import PAIR
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _gitlab_sync,
    _job_folders,
    _job_scripts,
    _job_user,
    _network,
    _runner_checks,
    _runner_config_plan,
    _runner_file,
    _runner_host,
    _runner_lists,
    _runner_planning,
    _runner_settings,
    _runner_versions,
    _setting_warnings,
    _tokens,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._arguments import missing_packages
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import (
    HOST_INFO,
    ToolkitAction,
    kept_files,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._gitlab_api import (
    CREATE,
    MANAGE,
    ApiProblem,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_settings import Settings
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_state import (
    parse_state,
    state_entries,
)


class ActionModule(ToolkitAction):
    """The task's controller side."""

    variables_of: ClassVar[list[str]] = ["gitlab_runner"]
    # Of runners that GitLab is asked about.
    _sync: _gitlab_sync.GitLabSync | None = None

    def act(self) -> Mapping[str, object]:
        """Returns ``plan``; fails with every refusal at once."""
        result: dict[str, Any] = {}
        warnings = self._validate()
        args = self._task.args
        settings = _runner_settings.settings_of(
            args, str(self.variables.get("inventory_hostname", ""))
        )
        warnings += self._ask_gitlab(settings)
        network = self.network(self.variables)
        self.refuse_legacy(settings)
        has_keys = any(one.ssh_keys for one in settings.services)
        if has_keys:
            warnings += self.no_file_on_host("the jobs' SSH keys")
        made = None if settings.image else _job_user.certificates(network.authorities)
        self.refuse(
            [
                *_job_user.login_problems(settings.services, self._login()),
                *_job_folders.problems(settings.services),
            ]
        )
        if made is not None:
            # A shell that the role build_tools brings, after this.
            made |= {
                f"{place}/{one}" for one in self._build_tools() for place in ("/usr/bin", "/bin")
            }
        question = _runner_host.question(settings, made, str(args["gitlab_url"]), network)
        # Tokens are in the question, and may be a proxy's password.
        with self.quiet():
            facts = _runner_host.facts(self.ask(HOST_INFO, question, self.variables)["info"])
        warnings += _runner_checks.host_warnings(settings, facts)
        key, warned = self.key(
            "gitlab_runner_repository_key",
            str(args["key"]),
            str(args["fingerprint"]),
            facts.texts.get(settings.paths.sources, ""),
        )
        warnings += _job_scripts.warnings(settings.services)
        warnings += warned + _setting_warnings.warnings(
            settings.services, int(args["stop_timeout"])
        )
        self.refuse(self._twin(settings, facts))
        self.refuse(self._not_creatable(settings, facts))
        problems, new_groups = _runner_checks.host_problems(settings, facts, self._build_tools())
        self.refuse(problems)
        repository = _runner_versions.repository(settings.wanted, key)
        offer = None
        if _runner_planning.needs_offer(settings, facts, repository):
            offer = self._offer(repository, network)
            lacks = _runner_versions.missing(facts.packages, settings.wanted.pattern)
            self.refuse(_runner_versions.refusals(settings.wanted, offer, facts.packages, lacks))
        packages = _runner_versions.packages(settings.wanted, facts, offer)
        self.refuse(_runner_checks.other_runner_problems(settings, facts, packages))
        plan = _runner_planning.make(settings, facts, network, repository, packages, new_groups)
        result["plan"] = plan.public()
        if warnings:
            result["warnings"] = warnings
        if network.login or has_keys:
            # The environment has the proxy's password in it, the files have the SSH keys.
            self.hide(result)
        return result

    def _validate(self) -> list[str]:
        """Refuses variables that cannot be, all at once; returns warnings."""
        args = self._task.args
        # Nothing after the colon is no value.
        args |= {key: args.get(key) or value for key, value in _job_user.DEFAULTS.items()}
        return self.validate(
            ["gitlab_runner"],
            self.variables,
            [
                *kept_files("the runners' tokens"),
                *_runner_settings.problems(args),
            ],
        )

    def _login(self) -> str:
        """Whom Ansible logs in as, if the inventory says it."""
        given = self.variables.get("ansible_user") or self.variables.get("ansible_ssh_user")
        return str(self._templar.template(given)) if given else ""

    def _not_creatable(self, settings: Settings, facts: _runner_host.HostFacts) -> list[str]:
        """Runners that have to be created, with a token that may only manage others."""
        sync = self._sync
        if sync is None or CREATE in sync.scopes():
            return []
        held = {
            entry.name
            for service in settings.services
            for entry in state_entries(
                parse_state(facts.texts.get(_runner_host.state_of(service), ""))
            )
        }
        try:
            names = [
                sync.runners[index].name
                for index in sorted(sync.created - set(sync.ids()))
                if sync.runners[index].name not in held and sync.creates(index)
            ]
        except ApiProblem as problem:
            return [str(problem)]
        has = " ".join(sorted(sync.scopes()))
        return [
            f"gitlab_runner_api_token: has the scopes {has}; GitLab has no runner for "
            f"{', '.join(names)} yet, and to create it takes {CREATE}, or api"
        ] * bool(names)

    def _twin(self, settings: Settings, facts: _runner_host.HostFacts) -> list[str]:
        """A refusal if the machine is another host of the inventory, whatever --limit says."""
        note = facts.texts.get(settings.paths.machine, "")
        before = _runner_checks.provisioned_as(note, facts.machine)
        if before not in ((self.variables.get("groups") or {}).get("all") or []):
            return []
        hosts = self.variables.get("hostvars") or {}
        here, there = (
            str(hosts[name].get("ansible_host") or name) for name in (settings.host, before)
        )
        return _runner_checks.twin_problems(settings.host, before, here, there)

    def _build_tools(self) -> list[str]:
        """The packages of the role build_tools, which may bring a group."""
        listed = self.variables.get("build_tools_extra_packages") or []
        found = self._templar.template(listed)
        return list(found) if isinstance(found, list) else []

    def _offer(
        self, repository: _runner_versions.Repository, network: _network.Network
    ) -> _runner_versions.Offer:
        """What apt says that the repository offers."""
        answer = self.candidates(
            {"sources": repository.sources, "packages": list(PAIR)}, network, self.variables
        )
        return _runner_versions.Offer(str(answer["error"]), answer["offer"])

    def refuse_legacy(self, settings: Settings) -> None:
        """Refuses legacy tokens of runners that the host does not have; asks only if there are."""
        found = []
        for service in settings.services:
            runners = _runner_lists.wanted_runners(
                service.variable("runners"), settings.gitlab_url, list(service.runners)
            )
            if any(_tokens.is_legacy(runner.token) for runner in runners):
                with self.quiet():
                    asked = {"runner_config": {"folder": service.folder, "unit": service.unit}}
                    read = self.ask(HOST_INFO, asked, self.variables)["info"]["runner_config"]
                file = _runner_file.HostFile.from_answer(read)
                found += _runner_config_plan.legacy_problems(runners, file)
        self.refuse(found)

    def _ask_gitlab(self, settings: Settings) -> list[str]:
        """Refuses an access token that cannot do what the runners need; returns warnings."""
        entries = [runner for service in settings.services for runner in service.present]
        runners = _runner_lists.wanted_runners("runners", settings.gitlab_url, entries)
        if all(runner.gitlab is None for runner in runners):
            return []
        self.refuse(missing_packages("python-gitlab"))
        try:
            sync = _gitlab_sync.gitlab_sync(
                runners,
                _gitlab_sync.access(self._task.args, settings.gitlab_url),
                settings.host,
                self.find_file,
            )
            scopes = sync.scopes()
            lacking = sync.lacking()
        except ApiProblem as problem:
            # Without an answer the token is not what is wrong.
            about = "gitlab_runner_api_token: " if problem.status else ""
            self.refuse([f"{about}{problem}"])
            raise
        self.refuse(lacking)
        self._sync = sync
        if sync.created and CREATE not in scopes and MANAGE not in scopes:
            self.refuse(
                [
                    f"gitlab_runner_api_token has the scopes {' '.join(sorted(scopes)) or 'none'}; "
                    f"to create runners it takes {CREATE}, to change them and to bring them back "
                    f"{MANAGE}, or api for both"
                ]
            )
        return sync.warnings
