# SPDX-License-Identifier: Apache-2.0
"""A host's runners as GitLab sees them: verified, rotated, unregistered."""

from __future__ import annotations

import re
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.runnerhost.toolkit.plugins.module_utils import (
    _runner_cli,
    _runner_health,
    _runner_processes,
)
from ansible_collections.runnerhost.toolkit.plugins.module_utils._instances import place
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils import (
    _gitlab_api,
    _runner_toml,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._controller import ToolkitAction
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_file import (
    IO,
    TRIES,
    decode,
    encode,
    gitlab_environment,
    seconds,
)
from ansible_collections.runnerhost.toolkit.plugins.plugin_utils._runner_keys import same_url

MODULE = "runnerhost.toolkit.runner_registration"
_DAY = 86400.0
# What gitlab-runner knows a created runner's token by.
_CREATED = "glrt-"
_TLS = ("tls-ca-file", "tls-cert-file", "tls-key-file")
_DONE = "is unregistered"
_GONE = "GitLab had it no more (403); its entry is dropped from config.toml"
_SAID = {
    "valid": "valid",
    "refused": "REFUSED by GitLab (403): its token is not valid any more",
    "unanswered": _runner_cli.unanswered(""),
}


class ActionModule(ToolkitAction):
    """The task's controller side."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Returns ``runners``, a line for each; fails where GitLab refuses one or is silent."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._task_vars = task_vars or {}
        args = self._task.args
        verb = str(args.get("verb"))
        known = ("verify", "rotate", "unregister")
        if verb not in known:
            raise AnsibleActionFail(f"verb got {verb!r}, it takes one of {', '.join(known)}")
        self._where = {
            "folder": args.get("folder", "/etc/gitlab-runner"),
            "unit": args.get("unit", "gitlab-runner.service"),
        }
        self.no_file_on_host("the runners' tokens")
        # The host's other daemons are named once, with the main service's runners.
        others = verb == "verify" and self._where["unit"] == place().unit
        read = self._ask(IO, {"op": "read", "other_runners": others})["read"]
        if others:
            for text in _runner_processes.warnings(read["other_runners"]):
                self.warn(text)
        try:
            config = _runner_toml.parse(decode(read["text"]))
        except _runner_toml.TomlError as error:
            raise AnsibleActionFail(
                f"config.toml on the host is no valid TOML ({error}): mend it first"
            ) from None
        wanted = [str(name) for name in args.get("names") or []]
        runners = [
            runner
            for runner in config.get("runners", [])
            if not wanted or str(runner.get("name")) in wanted
        ]
        missing = sorted(set(wanted) - {str(runner.get("name")) for runner in runners})
        self.refuse([f"the host has no runner {name!r}" for name in missing])
        names = [str(runner["name"]) for runner in runners]
        if verb == "verify":
            said = [(moment, decode(text)) for moment, text in read["complaints"]]
            asleep = _runner_health.asleep(said, runners, float(read["now"]))
            causes = _runner_health.causes(said, runners, float(read["now"]))
            answer = self._ask(MODULE, {"verb": "verify", "names": names})
            judged = self._judge(runners, {**answer, "asleep": asleep, "causes": causes}, read)
            return {**result, "unit": self._where["unit"], **judged}
        if verb == "unregister" and not self._task.check_mode:
            return {**result, **self._unregister(runners)}
        return {**result, **self._do(verb, names)}

    def _ask(self, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
        with self.quiet():
            environment = gitlab_environment(
                self.ways(self._task_vars).environment(),
                self._task.args.get("environment") or {},
            )
            return self.ask(
                module, {**arguments, **self._where, "environment": environment}, self._task_vars
            )

    def _do(self, verb: str, names: list[str]) -> dict[str, Any]:
        if not names:
            return {"changed": False, "runners": []}
        if verb == "rotate":
            # The runner's own command takes the first of them, each time.
            twice = sorted({name for name in names if names.count(name) > 1})
            self.refuse(
                [
                    f"config.toml has more than one runner {name!r}: rename one of them there, "
                    "or take it away"
                    for name in twice
                ]
            )
        command = {"rotate": "reset-token", "unregister": "unregister"}[verb]
        answer = self._ask(MODULE, {"verb": command, "names": names})
        if self._task.check_mode:
            return {"changed": True, "runners": [f"{name}: would {verb}" for name in names]}
        done = {"rotate": "has a new token", "unregister": _DONE}[verb]
        lines, failed = [], []
        for name in names:
            said = answer["problems"].get(name, "")
            if not said and verb == "rotate" and answer["answers"].get(name) != "valid":
                said = f"rotated, but {_SAID[answer['answers'].get(name, 'unanswered')]}"
            well = _GONE if name in answer["gone"] else done
            lines.append(f"{name}: {said or well}")
            if said:
                failed.append(f"{name}: {said}")
        result: dict[str, Any] = {"changed": answer["changed"], "runners": lines}
        if failed:
            result.update(failed=True, msg=f"{verb}: " + "; ".join(failed))
        return result

    def _unregister(self, runners: list[_runner_toml.Data]) -> dict[str, Any]:
        """Takes this host off the runners; GitLab keeps each of them for other hosts.

        Of a token that does not begin with glrt- (an instance's prefix; a legacy one), the
        runner's own `unregister` deletes the runner (gitlab-runner 19.3, commands/unregister.go).
        """
        own = [runner for runner in runners if not str(runner.get("token")).startswith(_CREATED)]
        said = [(str(runner["name"]), *self._remove_manager(runner)) for runner in own]
        failed = {name: words for name, well, words in said if not well}
        # The runner's command takes the first of a name: not one that stayed.
        names = [str(r["name"]) for r in runners if str(r.get("token")).startswith(_CREATED)]
        result = self._do("unregister", [name for name in names if name not in failed])
        result["runners"] = [f"{name}: {words}" for name, _, words in said] + result["runners"]
        result["changed"] = result["changed"] or len(failed) < len(said)
        if failed:
            problems = [f"{name}: {words}" for name, words in failed.items()]
            more = [str(result["msg"]).removeprefix("unregister: ")] if "msg" in result else []
            result.update(failed=True, msg="unregister: " + "; ".join(problems + more))
        return result

    def _remove_manager(self, runner: _runner_toml.Data) -> tuple[bool, str]:
        """Takes this host off one runner by GitLab's API, and the entry out of config.toml."""
        same = (runner.get("url"), runner.get("token"))
        asked = {key: str(runner[key]) for key in ("name", "url", *_TLS) if key in runner}
        answer = self._ask(
            MODULE, {"verb": "manager", "runner": asked, "token": str(runner["token"])}
        )
        if answer["outcome"] == "failed":
            return False, str(answer["said"])
        for _ in range(TRIES):
            read = self._ask(IO, {"op": "read"})["read"]
            config = _runner_toml.parse(decode(read["text"]))
            config["runners"] = [
                one
                for one in config.get("runners", [])
                if (one.get("url"), one.get("token")) != same
            ]
            text = encode(_runner_toml.dump(config))
            if self._ask(IO, {"op": "swap", "expected": read["sha256"], "text": text})["swapped"]:
                return True, _GONE if answer["outcome"] == "gone" else _DONE
        return False, "config.toml was changed by something else meanwhile; run again"

    def _judge(
        self, runners: list[_runner_toml.Data], answer: dict[str, Any], read: dict[str, Any]
    ) -> dict[str, Any]:
        lines: list[str] = []
        problems: list[dict[str, str]] = []
        warnings: list[str] = []
        limit = float(self._task.args.get("token_warning_days", 3))
        made = str(answer["system_id"])
        if runners and made != read["system_id"]:
            warnings.append(
                f".runner_system_id was lost or damaged; the runner made it anew: {made}"
            )
        told = self._of_gitlab(runners, made, answer["version"], warnings)
        for runner in runners:
            name = str(runner["name"])
            said = answer["answers"].get(name, "unanswered")
            parts = [_SAID[said]]
            if answer["reasons"].get(name):
                parts[0] = _runner_cli.unanswered(answer["reasons"][name])
            if name in answer.get("causes", {}):
                sleeps = f"its daemon leaves it alone: {answer['causes'][name]}"
                parts.append(sleeps)
                warnings.append(f"{name}: {sleeps}")
            elif name in answer["asleep"] and said == "valid":
                sleeps = "its daemon leaves it alone, after three refusals: provision wakes it"
                parts.append(sleeps)
                warnings.append(f"{name}: {sleeps}")
            ends = seconds(runner.get("token_expires_at"))
            if ends is None:
                parts.append("its token has no end")
            else:
                days = (ends - float(read["now"])) / _DAY
                parts.append(f"its token lives {days:.1f} days more")
                if days < limit:
                    warnings.append(
                        f"{name}: its token ends in {days:.1f} days; the runner renews it by "
                        "itself once three quarters of its life are over: is GitLab in its reach?"
                    )
            parts += told.get(name, [])
            line = f"{name}: {', '.join(parts)}"
            lines.append(line)
            if said != "valid":
                problems.append({"runner": name, "said": parts[0]})
        if read["exists"] and not runners:
            warnings.append("config.toml has no runner")
        failed = [f"{one['runner']}: {one['said']}" for one in problems]
        if not read["exists"] and self._where["unit"] != place().unit:
            failed.append(f"{self._where['unit']} has no config.toml: provision brings it")
        result: dict[str, Any] = {
            "changed": False,
            "runners": lines,
            "problems": problems,
            "version": answer["version"],
            "warnings": warnings,
            "msg": lines,
            "_ansible_verbose_always": True,
        }
        if failed:
            result.update(failed=True, msg="; ".join(failed))
        return result

    def _of_gitlab(
        self, runners: list[_runner_toml.Data], system_id: str, version: str, warnings: list[str]
    ) -> dict[str, list[str]]:
        """What only GitLab's API tells; nothing without an access token."""
        args = self._task.args
        if not args.get("api_token"):
            return {}
        authority = str(args.get("api_ca_certificate") or "")
        url = str(args.get("url"))
        told: dict[str, list[str]] = {}
        try:
            api = _gitlab_api.Api(
                url,
                str(args["api_token"]),
                self.find_file(authority) if authority else "",
                str(args.get("api_proxy") or ""),
            )
            self._compare_versions(api, version, warnings)
            for runner in runners:
                if not same_url(str(runner.get("url")), url) or not runner.get("id"):
                    continue
                details = api.get(int(runner["id"]))
                if details is None:
                    continue
                parts = told[str(runner["name"])] = []
                if details.get("paused"):
                    parts.append("PAUSED in GitLab")
                    warnings.append(f"{runner['name']} is paused in GitLab: it gets no job")
                mine = [
                    manager
                    for manager in api.managers(int(runner["id"]))
                    if str(manager["system_id"]) == system_id
                ]
                contact = mine[0].get("contacted_at") if mine else None
                parts.append(f"last contact {contact or 'never'}")
        except _gitlab_api.ApiProblem as problem:
            warnings.append(f"GitLab's API: {problem}")
        return told

    @staticmethod
    def _compare_versions(api: _gitlab_api.Api, version: str, warnings: list[str]) -> None:
        """Warns of a runner whose minor version is not GitLab's, as GitLab's docs ask for."""
        try:
            theirs = api.version()
        except _gitlab_api.ApiProblem as problem:
            if problem.status != 403:
                raise
            return
        ours = re.match(r"(\d+)\.(\d+)", version)
        other = re.match(r"(\d+)\.(\d+)", theirs)
        if ours and other and ours.groups() != other.groups():
            older = tuple(map(int, ours.groups())) < tuple(map(int, other.groups()))
            hint = "make upgrade" if older else "GitLab's docs ask for the same minor version"
            warnings.append(f"the runner is {version}, GitLab is {theirs}: {hint}")
