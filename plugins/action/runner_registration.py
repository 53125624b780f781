# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's runners as GitLab sees them: verified, rotated, unregistered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.runnerhost.toolkit.plugins.module_utils import _runner_processes
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import place
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _gitlab_api,
    _gitlab_info,
    _gitlab_sync,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._config_action import (
    TOKENS,
    ConfigAction,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_file import (
    TRIES,
    HostFile,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_toml import Data, dump
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_verification import (
    WORDS,
    Verified,
    report,
)

MODULE = "runnerhost.toolkit.runner_registration_io"
# What gitlab-runner knows a created runner's token by.
_CREATED = "glrt-"
_TLS = ("tls-ca-file", "tls-cert-file", "tls-key-file")
_DONE = {"rotate": "has a new token", "unregister": "is unregistered"}
_COMMANDS = {"rotate": "reset-token", "unregister": "unregister"}
_GONE = "GitLab no longer had it (403); its entry was removed from config.toml"


@dataclass(frozen=True)
class Outcome:
    """What was done to the runners, a line for each, and what failed."""

    changed: bool
    lines: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def result(self, verb: str) -> Mapping[str, object]:
        """As Ansible takes it."""
        failure = {"failed": True, "msg": f"{verb}: " + "; ".join(self.failed)}
        return {
            "changed": self.changed,
            "runners": self.lines,
            **(failure if self.failed else {}),
        }


class ActionModule(ConfigAction):
    """The task's controller side."""

    def act(self) -> Mapping[str, object]:
        """Says or does it of each runner; fails where GitLab refuses one or is silent."""
        args = self._task.args
        verb = str(args["verb"])
        self.no_file_on_host(TOKENS)
        if verb == "verify":
            return self.verify()
        runners = self._named(self.config_of(self.io().read(), args["folder"]))
        if verb == "unregister" and not self._task.check_mode:
            return self.unregister(runners).result(verb)
        return self.change(verb, [str(runner["name"]) for runner in runners]).result(verb)

    def _named(self, config: Data) -> list[Data]:
        """The runners that the task names; all without a name."""
        names = self._task.args["names"]
        runners = [
            runner
            for runner in config.get("runners", [])
            if not names or str(runner.get("name")) in names
        ]
        missing = sorted({*names} - {str(runner.get("name")) for runner in runners})
        self.refuse([f"config.toml on the host has no runner {name!r}" for name in missing])
        return runners

    def verify(self) -> Mapping[str, object]:
        """What GitLab says of each."""
        args = self._task.args
        # The host's other daemons are named once, with the main service's runners.
        others = args["unit"] == place().unit
        asked = {"verb": "verify", "names": args["names"], "read": True, "other_runners": others}
        answer = self.ask_host(asked, module=MODULE)
        file = HostFile.from_answer(answer["read"])
        for text in _runner_processes.warnings(file.other_runners) if others else ():
            self.warn(text)
        runners = self._named(self.config_of(file, args["folder"]))
        verified = Verified.from_answer(answer)
        unread = [str(r["name"]) for r in runners if str(r["name"]) not in verified.answers]
        if unread:
            # Written by hand, in a way that the host's side does not read.
            verified = verified.with_more(
                self.ask_host({"verb": "verify", "names": unread}, module=MODULE)
            )
        found = report(
            runners,
            verified,
            file,
            self._gitlab_info(runners, verified),
            warning_days=args["token_warning_days"],
            unit=args["unit"],
        )
        return {"unit": args["unit"], "version": verified.version, **found.result()}

    def _gitlab_info(self, runners: list[Data], verified: Verified) -> _gitlab_info.GitLabInfo:
        """What only GitLab's API tells; nothing without an access token."""
        to = _gitlab_sync.access(self._task.args, str(self._task.args["url"]))
        if not to.token:
            return _gitlab_info.GitLabInfo()
        try:
            api = to.api(self.find_file)
        except _gitlab_api.ApiProblem as problem:
            return _gitlab_info.GitLabInfo(warnings=[f"GitLab's API: {problem}"])
        return _gitlab_info.gitlab_info(api, runners, verified.system_id, verified.version)

    def change(self, verb: str, names: list[str]) -> Outcome:
        """Has the runner's own command do it for each name: `rotate` or `unregister`."""
        if not names:
            return Outcome(changed=False)
        if verb == "rotate":
            # The runner's own command takes the first of them, each time.
            twice = sorted({name for name in names if names.count(name) > 1})
            self.refuse(
                [
                    f"config.toml has more than one runner {name!r}: rename one of them there, "
                    "or remove it"
                    for name in twice
                ]
            )
        answer = self.ask_host({"verb": _COMMANDS[verb], "names": names}, module=MODULE)
        if self._task.check_mode:
            return Outcome(changed=True, lines=[f"{name}: would {verb}" for name in names])
        problems = {name: said for name, said in answer["problems"].items() if said}
        if verb == "rotate":
            answers = answer["answers"]
            problems |= {
                name: f"rotated, but {WORDS[answers.get(name, 'unanswered')]}"
                for name in names
                if name not in problems and answers.get(name) != "valid"
            }
        done = {name: _GONE if name in answer["gone"] else _DONE[verb] for name in names}
        lines = [f"{name}: {problems.get(name) or done[name]}" for name in names]
        failed = [f"{name}: {problems[name]}" for name in names if name in problems]
        return Outcome(bool(answer["changed"]), lines, failed)

    def unregister(self, runners: list[Data]) -> Outcome:
        """Takes this host off the runners; GitLab keeps each of them for other hosts.

        Of a token that does not begin with glrt- (an instance's prefix; a legacy one), the
        runner's own `unregister` deletes the runner (gitlab-runner 19.3, commands/unregister.go).
        """
        own = [runner for runner in runners if not str(runner.get("token")).startswith(_CREATED)]
        left = [(str(runner["name"]), *self._remove_manager(runner)) for runner in own]
        lines = [f"{name}: {said}" for name, __, said in left]
        failed = {name: said for name, done, said in left if not done}
        # The runner's command takes the first of a name: not one that stayed.
        names = [str(r["name"]) for r in runners if str(r.get("token")).startswith(_CREATED)]
        rest = self.change("unregister", [name for name in names if name not in failed])
        return Outcome(
            rest.changed or len(failed) < len(left),
            lines + rest.lines,
            [*(f"{name}: {said}" for name, said in failed.items()), *rest.failed],
        )

    def _remove_manager(self, runner: Data) -> tuple[bool, str]:
        """Takes this host off one runner by GitLab's API, and the entry out of config.toml."""
        asked = {key: str(runner[key]) for key in ("name", "url", *_TLS) if key in runner}
        answer = self.ask_host(
            {"verb": "manager", "runner": asked, "token": str(runner["token"])}, module=MODULE
        )
        if answer["outcome"] == "failed":
            return False, str(answer["said"])
        same = (runner.get("url"), runner.get("token"))
        for __ in range(TRIES):
            file = self.io().read()
            config = self.config_of(file, self._task.args["folder"])
            config["runners"] = [
                one
                for one in config.get("runners", [])
                if (one.get("url"), one.get("token")) != same
            ]
            if self.io().swap(file.sha256, dump(config)).done:
                return True, _GONE if answer["outcome"] == "gone" else _DONE["unregister"]
        return False, "config.toml was changed by something else meanwhile; run again"
